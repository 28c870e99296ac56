//! What the check says of files of every kind. The snapshot is what an operator reads.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use goldfleet_disk::vhd::{Report, check};
use goldfleet_model::manifest::Generation::{self, V1, V2};

use crate::images::{Dynamic, MIB, convert, golden, patch, patch_footer, qemu_img, seal};

const SIZE: u64 = 24 * MIB;
const LINUX: [u8; 16] = 0x0FC6_3DAF_8483_4772_8E79_3D69_D847_7DE4_u128.to_be_bytes();

/// Makes a file of each kind in `dir` and checks it as `stated`.
struct Corpus {
    dir: tempfile::TempDir,
    text: String,
}

impl Corpus {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), text: String::new() }
    }

    fn add(&mut self, name: &str, stated: Option<Generation>, make: impl FnOnce(&Path)) -> Report {
        let path = self.dir.path().join(name);
        make(&path);
        let report = check(&path, stated);
        let stated = stated.map_or_else(String::new, |generation| format!(", stated {generation}"));
        let _ = writeln!(
            self.text,
            "{name}{stated}: {:?}, size {:?}, generation {:?}, usable {}",
            report.format,
            report.size,
            report.generation,
            report.is_usable()
        );
        for finding in &report.findings {
            let _ = writeln!(self.text, "  {} [{}] {}", finding.severity, finding.code, finding.message);
            let _ = writeln!(self.text, "    {}", finding.remedy);
        }
        report
    }

    /// What was said, the same on every machine.
    fn finish(self) -> String {
        self.text.replace(&self.dir.path().display().to_string(), "DIR")
    }
}

/// What people pass by mistake, by the first bytes.
const MISTAKEN: [(&str, &[u8]); 10] = [
    ("disk.vhd.gz", b"\x1f\x8b\x08\0"),
    ("disk.vhd.xz", b"\xfd7zXZ\0"),
    ("disk.vhd.zst", b"\x28\xb5\x2f\xfd"),
    ("disk.vhd.bz2", b"BZh91AY&SY"),
    ("disk.zip", b"PK\x03\x04"),
    ("disk.7z", b"7z\xbc\xaf\x27\x1c"),
    ("install.wim", b"MSWIM\0\0\0"),
    ("luks.img", b"LUKS\xba\xbe"),
    ("error.vhd", b"<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code></Error>"),
    ("pointer.vhd", b"version https://git-lfs.github.com/spec/v1\n"),
];

/// A file that begins like a boot sector, as hybrid ISO images do, and has a signature elsewhere.
fn write_at(path: &Path, at: usize, signature: &[u8]) {
    let mut bytes = vec![0; 40_000];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[at..][..signature.len()].copy_from_slice(signature);
    fs::write(path, bytes).unwrap();
}

fn qemu_create(format: &str, path: &Path) {
    qemu_img(["create".as_ref(), "-q".as_ref(), "-f".as_ref(), format.as_ref(), path.as_os_str(), "24M".as_ref()]);
}

fn without_footer(path: &Path, generation: Generation) {
    golden(path, SIZE, generation);
    File::options().write(true).open(path).unwrap().set_len(SIZE).unwrap();
}

#[test]
fn other_formats_and_no_files() {
    let mut corpus = Corpus::new();
    corpus.add("gold.vhdx", None, |path| qemu_create("vhdx", path));
    corpus.add("gold.qcow2", None, |path| qemu_create("qcow2", path));
    corpus.add("gold.vmdk", None, |path| qemu_create("vmdk", path));
    corpus.add("descriptor.vmdk", None, |path| fs::write(path, "# Disk DescriptorFile\nversion=1\n").unwrap());
    corpus.add("gold-s001.vmdk", None, |path| {
        qemu_create("vmdk", path);
        patch(path, |bytes| bytes[28..36].fill(0));
    });
    for format in ["vdi", "qed", "parallels"] {
        corpus.add(&format!("gold.{format}"), None, |path| qemu_create(format, path));
    }
    for (name, head) in MISTAKEN {
        corpus.add(name, None, |path| fs::write(path, [head, &[7; 40_000]].concat()).unwrap());
    }
    corpus.add("disk.tar", None, |path| write_at(path, 257, b"ustar\x0000"));
    corpus.add("install.iso", None, |path| write_at(path, 32769, b"CD001"));
    corpus.add("bios.img", None, |path| without_footer(path, V1));
    corpus.add("uefi.img", None, |path| without_footer(path, V2));
    corpus.add("it's raw.img", None, |path| without_footer(path, V2));
    corpus.add("empty.vhd", None, |path| fs::write(path, "").unwrap());
    corpus.add("short.vhd", None, |path| fs::write(path, "short").unwrap());
    corpus.add("text.vhd", None, |path| fs::write(path, "text ".repeat(2000)).unwrap());
    corpus.add("folder.vhd", None, |path| fs::create_dir(path).unwrap());
    corpus.add("missing.vhd", None, |_| ());
    insta::assert_snapshot!(corpus.finish());
}

#[test]
fn damaged_and_cut_vhds() {
    let mut corpus = Corpus::new();
    corpus.add("cookie.vhd", None, |path| {
        golden(path, SIZE, V1);
        patch(path, |bytes| {
            let at = bytes.len() - 512;
            bytes[at] = b'C';
            bytes[510] = 0;
        });
    });
    corpus.add("checksum.vhd", None, |path| {
        golden(path, SIZE, V1);
        patch(path, |bytes| *bytes.last_mut().unwrap() ^= 1);
    });
    corpus.add("type.vhd", None, |path| {
        golden(path, SIZE, V1);
        patch_footer(path, |footer| footer[63] = 6);
    });
    corpus.add("differencing.vhd", None, |path| {
        golden(path, SIZE, V1);
        patch_footer(path, |footer| footer[63] = 4);
    });
    corpus.add("shorter-than-it-says.vhd", None, |path| {
        golden(path, SIZE, V1);
        patch(path, |bytes| drop(bytes.drain(8 << 20..12 << 20)));
    });
    corpus.add("longer-than-it-says.vhd", None, |path| {
        golden(path, SIZE, V1);
        patch(path, |bytes| drop(bytes.splice(8 << 20..8 << 20, [0; 1024])));
    });
    corpus.add("dynamic-cut.vhd", None, |path| {
        fs::write(path, Dynamic::new(4, &[(0, [0xff; 2], 1)]).bytes()).unwrap();
        patch(path, |bytes| bytes.truncate(5000));
    });
    corpus.add("dynamic-head-only.vhd", None, |path| {
        fs::write(path, Dynamic::new(4, &[(0, [0xff; 2], 1)]).bytes()).unwrap();
        patch(path, |bytes| bytes.truncate(512));
    });
    corpus.add("dynamic-blocks-upon-blocks.vhd", None, |path| {
        let mut image = Dynamic::new(4, &[(0, [0xff; 2], 1)]);
        image.table[1] = image.table[0];
        fs::write(path, image.bytes()).unwrap();
    });
    insta::assert_snapshot!(corpus.finish());
}

/// A file of another format that was converted as if it were a raw disk.
#[test]
fn vhds_that_hold_a_file() {
    let mut corpus = Corpus::new();
    for (name, head) in MISTAKEN {
        corpus.add(&format!("{name}.vhd"), Some(V1), |path| {
            golden(path, SIZE, V1);
            patch(path, |bytes| bytes[..head.len()].copy_from_slice(head));
        });
    }
    corpus.add("dynamic.vhd", Some(V1), |path| {
        golden(path, SIZE, V1);
        patch(path, |bytes| bytes[..8].copy_from_slice(b"conectix"));
    });
    corpus.add("fixed.vhd", None, |path| {
        golden(path, SIZE, V1);
        patch(path, |bytes| {
            let footer = bytes[bytes.len() - 512..].to_vec();
            bytes.extend(footer);
        });
        patch_footer(path, |footer| footer[48..56].copy_from_slice(&(SIZE + 512).to_be_bytes()));
    });
    // Left over from the time when the disk was an installation medium.
    corpus.add("iso-behind-gpt.vhd", None, |path| {
        golden(path, SIZE, V2);
        patch(path, |bytes| bytes[32769..][..5].copy_from_slice(b"CD001"));
    });
    insta::assert_snapshot!(corpus.finish());
}

#[test]
fn sizes() {
    let mut corpus = Corpus::new();
    corpus.add("tiny-and-odd.vhd", None, |path| {
        golden(path, 4 * MIB, V2);
        patch(path, |bytes| drop(bytes.drain(3 << 20..(3 << 20) + 512)));
        patch_footer(path, |footer| footer[48..56].copy_from_slice(&(4 * MIB - 512).to_be_bytes()));
    });
    corpus.add("huge-and-odd.vhd", None, |path| {
        golden(path, (4095 << 30) + MIB, V2);
        let size: u64 = (4095 << 30) + 512;
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut footer = [0; 512];
        file.read_exact_at(&mut footer, (4095 << 30) + MIB).unwrap();
        footer[48..56].copy_from_slice(&size.to_be_bytes());
        seal(&mut footer, 64..68);
        file.set_len(size).unwrap();
        file.write_all_at(&footer, size).unwrap();
    });
    corpus.add("not-whole-mib.vhd", None, |path| {
        golden(path, SIZE, V1);
        patch(path, |bytes| drop(bytes.drain(9 << 20..(9 << 20) + 512)));
        patch_footer(path, |footer| footer[48..56].copy_from_slice(&(SIZE - 512).to_be_bytes()));
    });
    corpus.add("smallest.vhd", None, |path| golden(path, 20 * MIB, V1));
    corpus.add("too-small.vhd", None, |path| golden(path, 19 * MIB, V2));
    corpus.add("largest.vhd", None, |path| golden(path, 4095 << 30, V2));
    corpus.add("too-large.vhd", None, |path| golden(path, 4096 << 30, V2));
    corpus.add("largest-mbr.vhd", None, |path| golden(path, 2 << 40, V1));
    corpus.add("too-large-for-mbr.vhd", None, |path| golden(path, (2 << 40) + MIB, V1));
    insta::assert_snapshot!(corpus.finish());
}

/// Changes one of the two copies of a GPT, and its checksums with it.
fn patch_gpt(bytes: &mut [u8], [header, table]: [usize; 2], change: impl Fn(&mut [u8])) {
    let crc = |bytes: &[u8]| {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes);
        u32::try_from(crc).unwrap().to_le_bytes()
    };
    change(&mut bytes[table..][..128 * 128]);
    let entries = crc(&bytes[table..][..128 * 128]);
    bytes[header + 88..][..4].copy_from_slice(&entries);
    bytes[header + 16..][..4].fill(0);
    let whole = crc(&bytes[header..][..92]);
    bytes[header + 16..][..4].copy_from_slice(&whole);
}

/// Where header and table of the first copy of a GPT lie.
const FIRST: [usize; 2] = [512, 1024];

/// Where header and table of its backup lie, on a disk of [`SIZE`].
const BACKUP: [usize; 2] = [(24 << 20) - 512, (24 << 20) - 33 * 512];

/// Changes the type of the partition with this number, in both copies of the table.
fn set_partition_type(path: &Path, number: usize, kind: [u8; 16]) {
    let change = |table: &mut [u8]| table[number * 128..][..16].copy_from_slice(&kind);
    patch(path, |bytes| [FIRST, BACKUP].into_iter().for_each(|copy| patch_gpt(bytes, copy, change)));
}

/// A VHD of a disk whose content ends at `end`, and whose size is `size`.
fn with_size(path: &Path, end: u64, size: u64) {
    patch(path, |bytes| {
        let footer = bytes.split_off(usize::try_from(SIZE).unwrap());
        bytes.truncate(usize::try_from(end).unwrap());
        bytes.resize(usize::try_from(size).unwrap(), 0);
        bytes.extend(footer);
    });
    patch_footer(path, |footer| {
        footer[40..48].copy_from_slice(&size.to_be_bytes());
        footer[48..56].copy_from_slice(&size.to_be_bytes());
    });
}

fn bios_and_uefi(path: &Path) {
    golden(path, SIZE, V2);
    set_partition_type(path, 1, *b"Hah!IdontNeedEFI");
}

fn without_esp(path: &Path) {
    golden(path, SIZE, V2);
    set_partition_type(path, 0, LINUX);
}

#[test]
fn partitions_and_generations() {
    let mut corpus = Corpus::new();
    for stated in [None, Some(V1), Some(V2)] {
        corpus.add("bios.vhd", stated, |path| golden(path, SIZE, V1));
        corpus.add("uefi.vhd", stated, |path| golden(path, SIZE, V2));
        corpus.add("bios-and-uefi.vhd", stated, bios_and_uefi);
        corpus.add("no-esp.vhd", stated, without_esp);
        corpus.add("bios-on-gpt.vhd", stated, |path| {
            without_esp(path);
            set_partition_type(path, 0, *b"Hah!IdontNeedEFI");
        });
        corpus.add("no-table.vhd", stated, |path| {
            golden(path, SIZE, V1);
            patch(path, |bytes| bytes[..512].fill(0));
        });
    }
    corpus.add("file-system-only.vhd", Some(V1), |path| {
        golden(path, SIZE, V1);
        // The signature, and text where a partition table would be.
        patch(path, |bytes| bytes[440..510].fill(b'x'));
    });
    corpus.add("old-gpt-behind-mbr.vhd", None, |path| {
        golden(path, SIZE, V2);
        patch(path, |bytes| bytes[450] = 0x83);
    });
    corpus.add("only-protective.vhd", None, |path| {
        golden(path, SIZE, V2);
        patch(path, |bytes| bytes[512..1024].fill(0));
    });
    corpus.add("no-protective.vhd", None, |path| {
        golden(path, SIZE, V2);
        patch(path, |bytes| bytes[..512].fill(0));
    });
    corpus.add("gpt-header.vhd", None, |path| {
        golden(path, SIZE, V2);
        patch(path, |bytes| bytes[512 + 60] ^= 1);
    });
    corpus.add("gpt-table.vhd", None, |path| {
        golden(path, SIZE, V2);
        patch(path, |bytes| bytes[1024 + 300] ^= 1);
    });
    // The raw disk was cut short before it became a VHD.
    corpus.add("gpt-cut-short.vhd", None, |path| {
        golden(path, SIZE, V2);
        with_size(path, SIZE / 2, SIZE / 2);
    });
    corpus.add("gpt-claims-much.vhd", None, |path| {
        golden(path, SIZE, V2);
        patch(path, |bytes| bytes[512 + 80..512 + 88].fill(0xff));
    });
    insta::assert_snapshot!(corpus.finish());
}

/// What systems do with these: they boot by the first copy of a GPT, and cut partitions of an MBR off at the disk's end.
#[test]
fn ends_of_partition_tables() {
    let mut corpus = Corpus::new();
    let mut gpt = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        corpus.add(name, None, |path| {
            golden(path, SIZE, V2);
            patch(path, change);
        })
    };
    gpt("gpt-backup-zeroed.vhd", &|bytes| bytes[BACKUP[1]..][..33 * 512].fill(0));
    gpt("gpt-backup-header.vhd", &|bytes| bytes[BACKUP[0] + 60] ^= 1);
    gpt("gpt-backup-table.vhd", &|bytes| bytes[BACKUP[1] + 300] ^= 1);
    gpt("gpt-backup-stale.vhd", &|bytes| patch_gpt(bytes, BACKUP, |table| table[40] ^= 1));
    gpt("gpt-backup-nowhere.vhd", &|bytes| {
        bytes[512 + 32..][..8].fill(0xff);
        patch_gpt(bytes, FIRST, |_| ());
    });
    gpt("gpt-elsewhere.vhd", &|bytes| {
        bytes[512 + 24] = 2;
        patch_gpt(bytes, FIRST, |_| ());
    });
    // The backup is where it was: everyday, and mended by what grows the partition.
    corpus.add("gpt-grown.vhd", None, |path| {
        golden(path, SIZE, V2);
        with_size(path, SIZE, SIZE + MIB);
    });
    // Less than the backup takes is cut off, and the disk made whole MiB again with zeros.
    corpus.add("gpt-backup-cut-off.vhd", None, |path| {
        golden(path, SIZE, V2);
        with_size(path, SIZE - 512, SIZE);
    });
    corpus.add("mbr-cut-short.vhd", None, |path| {
        golden(path, SIZE, V1);
        with_size(path, SIZE - MIB, SIZE - MIB);
    });
    corpus.add("mbr-cut-short.vhd", Some(V2), |path| {
        golden(path, SIZE, V1);
        with_size(path, SIZE - MIB, SIZE - MIB);
    });
    corpus.add("mbr-grown.vhd", None, |path| {
        golden(path, SIZE, V1);
        with_size(path, SIZE, SIZE + MIB);
    });
    // A partition without sectors is none, wherever it begins.
    corpus.add("mbr-empty-partition.vhd", None, |path| {
        golden(path, SIZE, V1);
        patch(path, |bytes| {
            bytes[462 + 4] = 0x83;
            bytes[462 + 8..][..4].fill(0xff);
        });
    });
    insta::assert_snapshot!(corpus.finish());
}

#[test]
fn a_dynamic_vhd_is_usable_and_its_report_is_data() {
    let mut corpus = Corpus::new();
    let report = corpus.add("dynamic.vhd", None, |path| {
        let raw = path.with_extension("raw");
        without_footer(&raw, V2);
        convert(&raw, "dynamic", path);
    });
    let json = serde_json::to_string_pretty(&report).unwrap();
    corpus.text += &json;
    insta::assert_snapshot!(corpus.finish());
}

#[test]
fn a_name_that_is_no_unicode_is_reported() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let report = check(Path::new(OsStr::from_bytes(b"/nowhere/\xff.vhd")), None);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["file"], "/nowhere/\u{fffd}.vhd");
    assert_eq!(json["findings"][0]["code"], "not-found");
}

/// A check reads structures only, whatever the disk's size.
#[test]
fn data_bytes_leave_holes_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse.vhd");
    golden(&path, 1 << 40, V2);
    File::options().write(true).open(&path).unwrap().write_all_at(&[1; 4096], 1 << 39).unwrap();
    let report = check(&path, None);
    let data = report.data_bytes.unwrap();
    assert!((MIB..2 * MIB).contains(&data), "{data}");
}
