//! What the check tells people to do: every command that it prints is run as it stands, and must make the disk that was
//! meant and overwrite nothing.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use goldfleet_disk::vhd::{Report, check};
use goldfleet_model::manifest::Generation::{self, V1, V2};

use crate::images::{MIB, convert, golden, patch, patch_footer, qemu_img};

const SIZE: u64 = 24 * MIB;

/// The programs whose VHDs people have, by the four bytes in the footer: VirtualBox, Azure's exports, Virtual PC, Virtual
/// Server, goldfleet, Hyper-V, QEMU with and without `force_size`, Disk2vhd, two of XenServer's, and VMware's converter.
/// By them qemu-img decides which of two sizes it takes (`vpc_open` in `block/vpc.c`).
const CREATORS: [&[u8; 4]; 12] =
    [b"vbox", b"wa\0\0", b"vpc ", b"vs  ", b"gold", b"win ", b"qemu", b"qem2", b"d2v ", b"tap\0", b"CTXS", b"\0\0\0\0"];

/// What tools are called that change disks and files. None is named outside the commands that are run here.
const TOOLS: [&str; 9] =
    ["qemu-img", "gdisk", "fdisk", "parted", "dd ", "truncate", "VBoxManage", "vhdtool", "Resize-VHD"];

/// The commands in the remedies of a report.
fn commands(report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    for finding in &report.findings {
        match finding.remedy.split_once(" file: test ") {
            Some((_, command)) => found.push(format!("test {command}")),
            None => {
                let named: Vec<_> = TOOLS.iter().filter(|tool| finding.remedy.contains(**tool)).collect();
                assert!(named.is_empty(), "a command that is not run here: {}", finding.remedy);
            }
        }
    }
    found
}

fn shell(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).status().unwrap().success()
}

/// A file's disk must be `size` bytes that begin with `disk`, and zero behind that.
fn assert_is_disk(vhd: &Path, disk: &[u8], size: u64) {
    let report = check(vhd, None);
    assert_eq!(report.size, Some(size), "{report:?}");
    let bytes = fs::read(vhd).unwrap();
    let (own, rest) = bytes[..usize::try_from(size).unwrap()].split_at(disk.len());
    assert!(own == disk, "{}: the disk differs", vhd.display());
    assert!(rest.iter().all(|byte| *byte == 0), "{}: something else was appended", vhd.display());
}

/// A folder with files of the user that have the names a careless command would write to.
struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    const OTHERS: [&str; 4] = ["gold.raw", "gold.img", "gold.fixed.raw", "gold.tmp"];

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in Self::OTHERS {
            fs::write(folder.path().join(name), name).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs what the check says of a file, and says it again where the result exists: that must stay as it is.
    fn follow(&self, file: &Path, stated: Option<Generation>) -> Vec<PathBuf> {
        let before = fs::read(file).unwrap();
        let known: Vec<PathBuf> = self.files();
        for command in commands(&check(file, stated)) {
            assert!(shell(&command), "{command}");
            let made: Vec<(PathBuf, Vec<u8>)> = self
                .files()
                .into_iter()
                .filter(|path| !known.contains(path))
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect();
            assert!(!shell(&command), "it does nothing where its result exists: {command}");
            assert!(made.iter().all(|(path, content)| fs::read(path).unwrap() == *content), "{command}");
        }
        assert!(fs::read(file).unwrap() == before, "the file itself was changed");
        for name in Self::OTHERS {
            assert_eq!(fs::read_to_string(self.path(name)).unwrap(), name, "a file of the user was overwritten");
        }
        self.files().into_iter().filter(|path| !known.contains(path)).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// VHDs with every fault that once had a command as its remedy, by every program that makes VHDs. Whatever a command makes
/// of one has all of its disk.
#[test]
fn remedies_for_vhds_keep_the_disk() {
    for creator in CREATORS {
        let size_of = |size: u64| move |footer: &mut [u8]| footer[48..56].copy_from_slice(&size.to_be_bytes());
        type Make = fn(&mut Vec<u8>);
        let faults: [(&str, Generation, u64, Make); 5] = [
            ("not-whole-mib", V1, SIZE - 512, |bytes| drop(bytes.drain(9 << 20..(9 << 20) + 512))),
            ("gpt-backup-damaged", V2, SIZE, |bytes| bytes[(24 << 20) - 512..(24 << 20)].fill(0)),
            ("gpt-damaged", V2, SIZE, |bytes| bytes[512 + 60] ^= 1),
            ("too-small", V1, 19 * MIB, |bytes| drop(bytes.drain(9 << 20..14 << 20))),
            ("not-whole-mib", V1, 4 * MIB + 512, |bytes| drop(bytes.drain((4 << 20) + 512..24 << 20))),
        ];
        for (code, generation, size, make) in faults {
            let folder = Folder::new();
            let file = folder.path("gold.vhd");
            golden(&file, SIZE, generation);
            patch(&file, |bytes| {
                // Data at the very end, where what rounds the size down cuts it off.
                let end = (24 << 20) - 4096;
                bytes[end..end + 1024].fill(0xa5);
                make(bytes);
            });
            patch_footer(&file, size_of(size));
            patch_footer(&file, |footer| footer[28..32].copy_from_slice(creator));
            let report = check(&file, None);
            assert!(report.findings.iter().any(|finding| finding.code == code), "{code}: {report:?}");
            let disk = fs::read(&file).unwrap()[..usize::try_from(size).unwrap()].to_vec();
            for made in folder.follow(&file, None) {
                assert_is_disk(&made, &disk, size.max(20 * MIB).next_multiple_of(MIB));
            }
        }
    }
}

/// Faults of size that come together have one remedy.
#[test]
fn remedies_for_sizes_agree() {
    let folder = Folder::new();
    let file = folder.path("gold.vhd");
    golden(&file, SIZE, V1);
    patch(&file, |bytes| drop(bytes.drain((4 << 20) + 512..24 << 20)));
    patch_footer(&file, |footer| footer[48..56].copy_from_slice(&(4 * MIB + 512).to_be_bytes()));
    let report = check(&file, None);
    let of_sizes = |code: &str| ["not-whole-mib", "too-small"].contains(&code);
    let remedies: Vec<&str> = report
        .findings
        .iter()
        .filter(|finding| of_sizes(finding.code))
        .map(|finding| finding.remedy.as_str())
        .collect();
    assert_eq!(remedies.len(), 2, "{report:?}");
    assert_eq!(remedies[0], remedies[1]);
    assert!(remedies[0].contains("20 MiB"), "{report:?}");
}

/// Images that qemu-img converts: the fixed VHD has their disk, byte for byte.
#[test]
fn other_formats_become_the_same_disk() {
    for (name, format, options) in [
        ("it's gold.vhdx", "vhdx", "subformat=dynamic"),
        ("fixed gold.vhdx", "vhdx", "subformat=fixed"),
        ("gold.qcow2", "qcow2", "compat=1.1"),
        ("old.qcow2", "qcow2", "compat=0.10"),
        ("gold.vmdk", "vmdk", "subformat=monolithicSparse"),
        ("stream.vmdk", "vmdk", "subformat=streamOptimized"),
        ("flat.vmdk", "vmdk", "subformat=monolithicFlat"),
        ("split.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse"),
    ] {
        let folder = Folder::new();
        let (raw, image) = (folder.path("source"), folder.path(name));
        golden(&raw, SIZE, V2);
        File::options().write(true).open(&raw).unwrap().set_len(SIZE).unwrap();
        let words = ["convert", "-f", "raw", "-O", format, "-o", options].map(std::ffi::OsStr::new);
        qemu_img(words.into_iter().chain([raw.as_os_str(), image.as_os_str()]));
        let made = folder.follow(&image, None);
        assert_eq!(made.len(), 1, "{name}");
        assert_is_disk(&made[0], &fs::read(&raw).unwrap(), SIZE);
        assert!(check(&made[0], None).is_usable(), "{name}");
    }
}

/// An extent holds only a part of a disk: a command would make a disk of that part.
#[test]
fn an_extent_of_a_split_disk_is_not_converted() {
    let folder = Folder::new();
    let (raw, image) = (folder.path("source"), folder.path("split.vmdk"));
    golden(&raw, SIZE, V2);
    let options = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"];
    qemu_img(options.map(std::ffi::OsStr::new).into_iter().chain([raw.as_os_str(), image.as_os_str()]));
    let extent = folder.path("split-s001.vmdk");
    let report = check(&extent, None);
    assert_eq!((report.findings[0].code, commands(&report)), ("vmdk", vec![]), "{report:?}");
    assert!(report.findings[0].remedy.contains("descriptor"), "{report:?}");
}

/// A compressed file, or a disk that is cut short, is never made a VHD: the check would accept that.
#[test]
fn what_is_not_known_to_be_a_whole_disk_is_not_converted() {
    let folder = Folder::new();
    for (name, content) in [
        ("disk.vhd.gz", [b"\x1f\x8b\x08\0".as_slice(), &[7; 4096]].concat()),
        ("disk.vdi", [[b' '; 64].as_slice(), b"\x7f\x10\xda\xbe", &[7; 4096]].concat()),
        ("text.vhd", b"text ".repeat(2000)),
    ] {
        let file = folder.path(name);
        fs::write(&file, content).unwrap();
        assert_eq!(commands(&check(&file, None)), [""; 0], "{name}");
    }
    for generation in [V1, V2] {
        let file = folder.path("gold.vhd");
        golden(&file, SIZE, generation);
        File::options().write(true).open(&file).unwrap().set_len(SIZE - MIB).unwrap();
        let report = check(&file, None);
        assert_eq!((report.findings[0].code, commands(&report)), ("raw", vec![]), "{report:?}");
    }
}

/// A name that cannot be shown as it is has no command: it would be another file's.
#[test]
fn a_name_that_a_shell_cannot_take_has_no_command() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    for name in [b"gold\xff.qcow2".as_slice(), b"gold\n.qcow2"] {
        let file = folder.folder.path().join(OsStr::from_bytes(name));
        fs::write(&file, b"QFI\xfb\0\0\0\x03").unwrap();
        let report = check(&file, None);
        assert_eq!((report.findings[0].code, commands(&report)), ("qcow2", vec![]), "{report:?}");
    }
}

/// What docs/images.md says of raw disks.
#[test]
fn a_raw_disk_becomes_a_fixed_vhd_of_the_same_size() {
    let folder = Folder::new();
    let (raw, vhd) = (folder.path("source"), folder.path("gold.vhd"));
    golden(&raw, SIZE, V2);
    let file = File::options().write(true).open(&raw).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(&[0xa5; 512], SIZE - 64 * 512).unwrap();
    convert(&raw, "fixed", &vhd);
    assert_is_disk(&vhd, &fs::read(&raw).unwrap(), SIZE);
}
