//! Small inputs with their expected outcome: creators of footers, files that are not VHDs, partition tables, generations, sizes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use common::gpt::{BIOS, ESP, Gpt, LINUX, Pieces, mbr, os_disk};
use common::vhd::FooterSpec;
use common::{KIB, MIB, Rng, qemu, vhd};
use goldfleet_disk::{
    AzureDisk, CheckOptions, Checked, ConvertOptions, Format, Generation, MemoryDisk, OpenOptions, Report, Severity,
    StatedFormat, check, codes, convert, first_difference, types,
};

const M: u64 = 1 << 20;
/// Sectors of a disk of 64 MiB.
const N: u64 = 64 * M / 512;

fn with(path: &Path, change: impl FnOnce(&mut CheckOptions)) -> Checked {
    let mut options = CheckOptions::default();
    change(&mut options);
    check(path, &options)
}

fn codes_of(report: &Report, severity: Severity) -> Vec<&'static str> {
    report.findings.iter().filter(|finding| finding.severity == severity).map(|finding| finding.code).collect()
}

fn errors(report: &Report) -> Vec<&'static str> {
    codes_of(report, Severity::Error)
}

/// The errors of a disk in a fixed VHD, for a stated generation.
fn errors_of(disk: &Pieces, generation: Option<Generation>) -> Vec<&'static str> {
    errors(&report_of(disk, generation))
}

fn report_of(disk: &Pieces, generation: Option<Generation>) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    disk.write(&path, Some(&FooterSpec::fixed(disk.size).bytes()));
    let checked = with(&path, |options| options.generation = generation);
    // Whatever is accepted is delivered byte for byte, except for the backup of a GPT.
    if let (true, Some(azure)) = (checked.report.is_usable(), &checked.disk)
        && disk.size < 1 << 30
    {
        let same = first_difference(azure, &MemoryDisk(disk.bytes()), disk.size).unwrap();
        assert!(same.is_none() || !azure.changes().is_empty(), "{same:?}");
    }
    checked.report
}

#[test]
fn footers_of_all_creators_are_kept_byte_for_byte() {
    let disk = os_disk(64 * M);
    let fixed = || FooterSpec::fixed(disk.size);
    let creators = ["vbox", "d2v ", "vpc ", "vs  ", "qemu", "qem2", "tap\0", "CTXS", "wa\0\0", "\0\0\0\0", "gold"];
    let mut specs: Vec<FooterSpec> = creators
        .iter()
        .map(|creator| FooterSpec { creator: creator.as_bytes().try_into().unwrap(), ..fixed() })
        .collect();
    specs.extend([
        FooterSpec { host: *b"Mac ", ..fixed() },
        FooterSpec { creator_version: 0x000a_0000, ..fixed() },
        FooterSpec { geometry: Some([0xff, 0xff, 0x10, 0xff]), ..fixed() },
        FooterSpec { geometry: Some([0; 4]), ..fixed() },
        FooterSpec { stamp: 0, ..fixed() },
        FooterSpec { stamp: 0xfff0_0000, ..fixed() },
        FooterSpec { saved: 1, ..fixed() },
        FooterSpec { features: 0, ..fixed() },
        FooterSpec { features: 3, ..fixed() },
        FooterSpec { original: 32 * M, ..fixed() },
        FooterSpec { id: [0; 16], ..fixed() },
        FooterSpec { data_offset: 0, ..fixed() },
        FooterSpec { data_offset: 0xffff_ffff, ..fixed() },
        FooterSpec { version: 0, ..fixed() },
        FooterSpec { reserved: 1, ..fixed() },
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    for spec in specs {
        let footer = spec.bytes();
        disk.write(&path, Some(&footer));
        let checked = with(&path, |_| {});
        assert_eq!(errors(&checked.report), [""; 0], "{spec:?}");
        let azure = checked.disk.unwrap();
        assert_eq!((azure.footer(), azure.changes().len()), (footer, 0), "{spec:?}");
        assert_eq!(first_difference(&azure, &MemoryDisk(disk.bytes()), disk.size).unwrap(), None);
    }
}

/// A size for which the geometry of the specification gives less than the disk has.
#[test]
fn a_disk_keeps_its_end_whatever_its_creator() {
    let size = 65 * M + 300 * 512;
    for creator in ["vbox", "wa\0\0", "vpc ", "vs  ", "gold", "win "] {
        let mut disk = Pieces::new(size);
        Gpt::default().write(&mut disk, &[(ESP, 2048, 4095), (LINUX, 4096, size / 512 - 2048)]);
        disk.put(size - 40 * 512, [0x77; 512]);
        let folder = tempfile::tempdir().unwrap();
        let (path, output) = (folder.path().join("a.vhd"), folder.path().join("out.vhd"));
        let spec = FooterSpec { creator: creator.as_bytes().try_into().unwrap(), ..FooterSpec::fixed(size) };
        disk.write(&path, Some(&spec.bytes()));
        let checked = with(&path, |_| {});
        assert_eq!(errors(&checked.report), [""; 0]);
        assert_eq!(codes_of(&checked.report, Severity::Note), ["rounded", "gpt-backup-moved"]);
        write_vhd(&checked.disk.unwrap(), &output);
        only_allowed_changes(&disk.bytes(), &output);
        // QEMU reads the same size.
        let info = qemu::run("qemu-img", &["info", "-f", "vpc", qemu::text(&output)]);
        assert!(info.contains(&format!("({} bytes)", 66 * M)), "{info}");
    }
}

fn write_vhd(azure: &AzureDisk, output: &Path) {
    let options = ConvertOptions { no_sync: true, ..ConvertOptions::default() };
    convert(azure, output, &options, &|_, _| {}, &AtomicBool::new(false)).unwrap();
}

/// The file is the disk with zeros appended, the backup of the GPT at the end, and in the first header only AlternateLBA,
/// LastUsableLBA and the checksum changed.
fn only_allowed_changes(original: &[u8], output: &Path) {
    let file = std::fs::read(output).unwrap();
    let disk = &file[..file.len() - 512];
    assert!(disk.len().is_multiple_of(MIB) && disk.len() >= original.len() && disk.len() - original.len() < MIB);
    let mut expected = original.to_vec();
    expected.resize(disk.len(), 0);
    for field in [16..20, 32..40, 48..56] {
        let field = 512 + field.start..512 + field.end;
        expected[field.clone()].copy_from_slice(&disk[field]);
    }
    let backup = disk.len() - 33 * 512;
    expected[backup..].copy_from_slice(&disk[backup..]);
    assert!(expected == disk, "something else was changed");
    // The table is the first one's, and the copy is accepted as it is.
    assert_eq!(disk[backup..backup + 32 * 512], original[1024..1024 + 32 * 512]);
    let again = with(output, |_| {});
    assert_eq!((errors(&again.report), again.disk.unwrap().changes().len()), (vec![], 0));
    let verified = qemu::run("sgdisk", &["-v", qemu::text(&raw_copy(output, disk))]);
    assert!(verified.contains("No problems found"), "{verified}");
}

fn raw_copy(output: &Path, disk: &[u8]) -> PathBuf {
    let raw = output.with_extension("raw");
    std::fs::write(&raw, disk).unwrap();
    raw
}

/// Files that are not what they should be: the code of the error, or nothing if they are accepted.
#[test]
fn the_actual_cause_is_named() {
    let disk = os_disk(32 * M);
    let fixed = FooterSpec::fixed(disk.size);
    let (blob, foot) = ([disk.bytes(), fixed.bytes().to_vec()].concat(), fixed.bytes().to_vec());
    let body = &blob[..blob.len() - 512];
    let ending = |tail: &[u8]| [body, tail].concat();
    let other = |kind: u32, data_offset: u64| FooterSpec { kind, data_offset, ..fixed.clone() }.bytes().to_vec();
    let longer = |length: usize| {
        let mut file = blob.clone();
        file.resize(length, 0);
        file
    };
    let cases: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
        ("plain", blob.clone(), None),
        ("padded by 512", longer(blob.len() + 512), Some("padded")),
        ("padded to MiB", longer(33 * MIB), Some("padded")),
        ("padded to MiB + 512", longer(33 * MIB + 512), Some("padded")),
        ("one byte more", [&blob[..], b"\n"].concat(), Some("padded")),
        ("footer of 511 bytes", blob[..blob.len() - 1].to_vec(), Some("footer-511")),
        ("two footers", ending(&[foot.clone(), foot.clone()].concat()), Some("footer-size-mismatch")),
        ("2 MiB more", ending(&[vec![0; 2 * MIB], foot.clone()].concat()), Some("footer-size-mismatch")),
        ("1 MiB less", [&blob[..31 * MIB], &foot].concat(), Some("truncated")),
        // The backup of the GPT is in the last sector, so that this is a complete raw disk.
        ("footer lost", body.to_vec(), None),
        ("half a footer", blob[..blob.len() - 256].to_vec(), Some("raw")),
        ("footer zeroed", ending(&[0; 512]), Some("raw")),
        ("footer at the head only", [&foot[..], body].concat(), Some("unknown-format")),
        ("text for a footer", ending(&b"<!DOCTYPE html>".repeat(40)[..512]), Some("raw")),
        ("checksum 0", ending(&FooterSpec { checksum: Some(0), ..fixed.clone() }.bytes()), Some("footer-checksum")),
        ("type 0", ending(&other(0, u64::MAX)), Some("footer-type")),
        ("type 5", ending(&other(5, u64::MAX)), Some("footer-type")),
        ("type 3, but fixed", ending(&other(3, 512)), Some("damaged")),
        ("type 3 without header", ending(&other(3, u64::MAX)), Some("damaged")),
        ("type 4 without header", ending(&other(4, 1 << 40)), Some("truncated")),
        ("zeros", vec![0; 32 * MIB + 512], Some("unknown-format")),
        ("short", b"abc".to_vec(), Some("unknown-format")),
        ("empty", vec![], Some("empty")),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, expected) in cases {
        let path = folder.path().join("a.vhd");
        std::fs::write(&path, bytes).unwrap();
        let report = with(&path, |_| {}).report;
        assert_eq!(errors(&report), Vec::from_iter(expected), "{name}: {report:?}");
    }
}

#[test]
fn a_padded_vhd_and_a_short_footer_are_read_when_the_format_is_stated() {
    let disk = os_disk(32 * M);
    let blob = [disk.bytes(), FooterSpec::fixed(disk.size).bytes().to_vec()].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    let mut padded = blob.clone();
    padded.resize(33 * MIB, 0);
    for bytes in [&padded[..], &blob[..blob.len() - 1]] {
        std::fs::write(&path, bytes).unwrap();
        let checked = with(&path, |options| options.open.format = Some(StatedFormat::Vhd));
        assert_eq!(errors(&checked.report), [""; 0]);
        let azure = checked.disk.unwrap();
        assert_eq!(azure.footer(), blob[blob.len() - 512..]);
        assert_eq!(first_difference(&azure, &MemoryDisk(disk.bytes()), disk.size).unwrap(), None);
    }
    // Something that is not zero behind the footer is not padding.
    std::fs::write(&path, [&blob[..], b"\n"].concat()).unwrap();
    let checked = with(&path, |options| options.open.format = Some(StatedFormat::Vhd));
    assert_eq!(errors(&checked.report), ["padded"]);
}

/// Read as raw, an image becomes a disk that no machine boots, and nothing would notice.
#[test]
fn an_image_of_another_format_is_not_read_as_raw() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, image) = (folder.path().join("a.raw"), folder.path().join("a.image"));
    os_disk(32 * M).write(&raw, None);
    for format in ["qcow2", "vhdx", "vmdk", "vpc"] {
        qemu::convert(&raw, format, "", &image, &[]);
        let report = with(&image, |options| options.open.format = Some(StatedFormat::Raw)).report;
        assert_eq!(errors(&report), ["format-mismatch"], "{format}");
    }
}

#[test]
fn a_dynamic_vhd_that_is_cut_short_is_named() {
    let mut rng = Rng(5);
    let file = vhd::Dynamic { gap: 0, header_at: 512, ..vhd::Dynamic::random(&mut rng) }
        .write(&os_disk(32 * M).bytes(), &mut rng);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    std::fs::write(&path, &file[..file.len() - 1000]).unwrap();
    let report = with(&path, |_| {}).report;
    assert_eq!((errors(&report), report.format), (vec!["truncated"], Format::DynamicVhd));
    let report = with(&path, |options| options.open.format = Some(StatedFormat::Vhd)).report;
    assert_eq!(errors(&report), ["truncated"]);
    // A dynamic disk whose footer says that it is fixed.
    let mut fixed = file.clone();
    let end = fixed.len() - 512;
    fixed[end..].copy_from_slice(&FooterSpec::fixed(32 * M).bytes());
    std::fs::write(&path, fixed).unwrap();
    assert!(!with(&path, |_| {}).report.is_usable());
}

/// Files of other formats are named. So is a VHD that holds one, as converting them "as raw" makes it.
#[test]
fn other_formats_are_named_also_inside_a_vhd() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (disk, raw) = (os_disk(32 * M), file("m.raw"));
    disk.write(&raw, None);
    let mut random = vec![0; MIB];
    Rng(3).fill(&mut random);
    let mut cases: Vec<(PathBuf, &str)> = Vec::new();
    for (format, code) in [("vdi", "other-format"), ("qed", "other-format"), ("parallels", "other-format")] {
        qemu::convert(&raw, format, "", &file(format), &[]);
        cases.push((file(format), code));
    }
    let magic = |head: &[u8]| [head, &random].concat();
    let at = |offset: usize, magic: &[u8]| {
        let mut bytes = vec![0; 64 * KIB];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        bytes
    };
    for (name, bytes, code) in [
        ("luks", magic(b"LUKS\xba\xbe\0\x01"), "not-a-disk-image"),
        ("iso", at(0x8001, b"CD001\x01"), "not-a-disk-image"),
        ("wim", magic(b"MSWIM\0\0\0"), "not-a-disk-image"),
        ("ova", at(257, b"ustar\0"), "not-a-disk-image"),
        ("zip", magic(b"PK\x03\x04"), "not-a-disk-image"),
        ("7z", magic(b"7z\xbc\xaf\x27\x1c"), "not-a-disk-image"),
        ("elf", magic(b"\x7fELF\x02"), "not-a-disk-image"),
        (
            "xml",
            b"<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code></Error>\n".to_vec(),
            "not-a-disk-image",
        ),
        (
            "lfs",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 33554944\n".to_vec(),
            "not-a-disk-image",
        ),
        ("dmg", [&random[..], &[b"koly".as_slice(), &[0; 508]].concat()].concat(), "other-format"),
        ("zstd", magic(b"\x28\xb5\x2f\xfd\0\0\xff\xff\xff"), "damaged"),
        ("gzip", magic(b"\x1f\x8b\x08\0\0\0\0\0\0\0"), "damaged"),
    ] {
        std::fs::write(file(name), bytes).unwrap();
        cases.push((file(name), code));
    }
    for (path, code) in cases {
        let report = with(&path, |_| {}).report;
        assert_eq!(errors(&report), [code], "{}: {report:?}", path.display());
        // The end of a DMG says what it is; and a disk may be encrypted as a whole, or have been an installation medium.
        if ["dmg", "luks", "iso"].iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.resize(bytes.len().next_multiple_of(MIB).max(20 * MIB), 0);
        bytes.extend(FooterSpec::fixed(bytes.len() as u64).bytes());
        let wrapped = path.with_extension("wrapped.vhd");
        std::fs::write(&wrapped, bytes).unwrap();
        let report = with(&wrapped, |options| options.generation = Some(Generation::V2)).report;
        assert_eq!(errors(&report), ["wrapped-file"], "{}: {report:?}", wrapped.display());
    }
}

#[test]
fn formats_that_need_random_access_are_refused_inside_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let raw = file("m.raw");
    os_disk(32 * M).write(&raw, None);
    for (format, output) in [("qcow2", "a.qcow2"), ("vhdx", "a.vhdx"), ("vmdk", "a.vmdk"), ("vpc", "a.vhd")] {
        qemu::convert(&raw, format, "", &file(output), &[]);
        qemu::run("gzip", &["-1", qemu::text(&file(output))]);
        let report = with(&file(&format!("{output}.gz")), |_| {}).report;
        assert_eq!(errors(&report), ["compressed-random-access"], "{format}");
        assert!(report.findings[0].remedy.contains("gzip -dk"), "{report:?}");
    }
    qemu::run("tar", &["-cf", qemu::text(&file("a.tar")), "-C", qemu::text(folder.path()), "m.raw"]);
    qemu::run("xz", &["-1", qemu::text(&file("a.tar"))]);
    let report = with(&file("a.tar.xz"), |_| {}).report;
    assert_eq!(errors(&report), ["not-a-disk-image"]);
    assert!(report.findings[0].message.contains("tar archive"), "{report:?}");
    // A raw disk and a fixed VHD are read.
    qemu::run("zstd", &["-q", qemu::text(&raw)]);
    let checked = with(&file("m.raw.zst"), |_| {});
    assert_eq!(errors(&checked.report), [""; 0]);
    let image = checked.image.unwrap();
    assert!(image.sequential && image.format == Format::Raw);
}

/// A GPT in a disk of 64 MiB with data.
fn gpt(parts: &[(goldfleet_disk::PartitionType, u64, u64)], table: Gpt) -> Pieces {
    let mut disk = Pieces::new(64 * M);
    table.write(&mut disk, parts);
    let mut data = vec![0; 100_000];
    Rng(9).fill(&mut data);
    disk.put(4 * M, data);
    disk
}

fn mbr_disk(parts: &[(u8, u8, u32, u32)]) -> Pieces {
    let mut disk = Pieces::new(64 * M);
    disk.put(0, mbr(parts)).put(4 * M, [5; 4096]);
    disk
}

const E: (goldfleet_disk::PartitionType, u64, u64) = (ESP, 2048, 4095);
const L: (goldfleet_disk::PartitionType, u64, u64) = (LINUX, 4096, N - 2048);
const B: (goldfleet_disk::PartitionType, u64, u64) = (BIOS, 34, 2047);
const V1: Option<Generation> = Some(Generation::V1);
const V2: Option<Generation> = Some(Generation::V2);
const NONE: [&str; 0] = [];

#[test]
fn the_generation_follows_from_the_partition_table() {
    let plain = Gpt::default;
    assert_eq!(errors_of(&gpt(&[E, L], plain()), None), NONE);
    assert_eq!(errors_of(&gpt(&[E, L], plain()), V1), ["generation-mismatch"]);
    assert_eq!(errors_of(&gpt(&[B, L], plain()), None), NONE);
    assert_eq!(errors_of(&gpt(&[B, L], plain()), V2), ["no-efi-system-partition"]);
    assert_eq!(errors_of(&gpt(&[B, E, L], plain()), None), NONE);
    assert_eq!(errors_of(&gpt(&[B, E, L], plain()), V1), NONE);
    assert_eq!(errors_of(&gpt(&[L], plain()), None), ["generation-unknown"]);
    assert_eq!(errors_of(&gpt(&[L], plain()), V1), NONE);
    assert_eq!(errors_of(&gpt(&[L], plain()), V2), ["no-efi-system-partition"]);
    let n = u32::try_from(N).unwrap();
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0x83, 2048, n - 2048)]), None), NONE);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0x83, 2048, n - 2048)]), V2), ["generation-mismatch"]);
    assert_eq!(errors_of(&mbr_disk(&[(0, 0x83, 2048, n - 2048)]), None), NONE);
    let efi = mbr_disk(&[(0, 0xef, 2048, 4096), (0, 0x83, 8192, n - 8192)]);
    assert_eq!(errors_of(&efi, None), NONE);
    assert_eq!(codes_of(&report_of(&efi, V2), Severity::Warning), ["mbr-efi"]);
}

/// FreeBSD, illumos, and syslinux (a partition marked as bootable, and boot code) boot from BIOS without a BIOS boot partition.
#[test]
fn disks_that_boot_from_bios_in_other_ways_are_accepted() {
    let code = |boot: bool| {
        let mut sector = mbr(&[(0, 0xee, 1, u32::try_from(N).unwrap() - 1)]);
        sector[..3].copy_from_slice(if boot { b"\xeb\x63\x90" } else { b"\0\0\0" });
        Some(sector)
    };
    for kind in [types::FREEBSD_BOOT, types::SOLARIS_BOOT] {
        let disk = gpt(&[(kind, 40, 1063), L], Gpt::default());
        assert_eq!(report_of(&disk, None).generation, V1);
        assert_eq!(errors_of(&disk, V1), NONE);
    }
    let syslinux = gpt(&[L], Gpt { attributes: 4, protective: code(true), ..Gpt::default() });
    let report = report_of(&syslinux, None);
    assert_eq!((report.generation, codes_of(&report, Severity::Warning)), (V1, vec![]));
    // Boot code alone is worth a warning.
    let boot_code = gpt(&[L], Gpt { protective: code(true), ..Gpt::default() });
    for stated in [None, V1] {
        let report = report_of(&boot_code, stated);
        assert_eq!((errors(&report), report.generation), (vec![], V1));
        assert_eq!(codes_of(&report, Severity::Warning), ["no-bios-boot-partition"]);
    }
    let both = gpt(&[E, L], Gpt { protective: code(true), ..Gpt::default() });
    assert_eq!(codes_of(&report_of(&both, V1), Severity::Warning), ["no-bios-boot-partition"]);
    assert_eq!(report_of(&both, None).generation, V2);
    // Windows writes boot code, too, but boots from a GPT only by UEFI.
    let windows = gpt(&[E, (types::MICROSOFT_RESERVED, 4096, 8191)], Gpt { protective: code(true), ..Gpt::default() });
    assert_eq!(errors_of(&windows, V1), ["generation-mismatch"]);
}

#[test]
fn a_deduction_can_be_accepted_and_a_fact_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    let disk = gpt(&[E, L], Gpt::default());
    disk.write(&path, Some(&FooterSpec::fixed(disk.size).bytes()));
    let report = with(&path, |options| {
        options.generation = V1;
        options.accept = vec!["generation-mismatch".to_owned()];
    })
    .report;
    assert_eq!((errors(&report), codes_of(&report, Severity::Warning)), (vec![], vec!["generation-mismatch"]));
    assert!(report.findings[0].message.ends_with("(accepted)"));
    let mut small = Pieces::new(4 * M);
    Gpt::default().write(&mut small, &[(ESP, 2048, 4095)]);
    small.write(&path, Some(&FooterSpec::fixed(small.size).bytes()));
    let report = with(&path, |options| options.accept = vec!["too-small".to_owned()]).report;
    assert_eq!(errors(&report), ["too-small"]);
}

#[test]
fn protective_records_and_hybrids() {
    let n = u32::try_from(N).unwrap();
    let pmbr = |parts: &[(u8, u8, u32, u32)]| gpt(&[E, L], Gpt { protective: Some(mbr(parts)), ..Gpt::default() });
    assert_eq!(
        errors_of(&pmbr(&[(0, 0xee, 1, 2047), (0x80, 0x0c, 2048, 2048), (0, 0x83, 4096, n - 6144)]), None),
        NONE
    );
    assert_eq!(
        errors_of(&pmbr(&[(0x80, 0x0c, 2048, 2048), (0, 0x83, 4096, n - 6144), (0, 0xee, 1, 2047)]), None),
        NONE
    );
    assert_eq!(errors_of(&pmbr(&[(0x80, 0xee, 1, n - 1)]), None), NONE);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 1, u32::MAX)]), None), NONE);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 1, 100)]), None), NONE);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 1, 2047), (0, 0xee, 4096, n - 4096)]), None), NONE);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 0, n)]), None), ["gpt-damaged"]);
    assert_eq!(errors_of(&pmbr(&[(0, 0xee, 2, n - 2)]), None), ["gpt-damaged"]);
    assert_eq!(
        errors_of(&gpt(&[E, L], Gpt { protective: Some(vec![0; 512]), ..Gpt::default() }), None),
        ["gpt-damaged"]
    );
    let mut unsigned = mbr(&[(0, 0xee, 1, n - 1)]);
    unsigned[510] = 0;
    assert_eq!(errors_of(&gpt(&[E, L], Gpt { protective: Some(unsigned), ..Gpt::default() }), None), ["gpt-damaged"]);
    // An old GPT behind a master boot record.
    assert_eq!(errors_of(&pmbr(&[(0x80, 0x83, 2048, n - 2048)]), None), NONE);
}

#[test]
fn entries_that_are_no_ranges_of_the_disk_are_named() {
    let go = |parts: &[(goldfleet_disk::PartitionType, u64, u64)]| report_of(&gpt(parts, Gpt::default()), None);
    let report = go(&[E, (LINUX, 4096, N + 100_000)]);
    assert_eq!(errors(&report), ["partition-beyond-end"]);
    assert!(report.findings[0].message.contains("partition 2 ('p1')"), "{report:?}");
    assert_eq!(errors(&go(&[(ESP, N + 10, N + 4095), L])), ["partition-beyond-end"]);
    assert_eq!(errors(&go(&[(ESP, 4095, 2048), L])), ["partition-empty"]);
    assert_eq!(errors(&go(&[(ESP, u64::MAX, u64::MAX), L])), ["partition-beyond-end"]);
    assert_eq!(errors(&go(&[E, (LINUX, 4096, N)])), ["partition-beyond-end"]);
    let overlapping = go(&[E, (LINUX, 4000, N - 2048)]);
    assert_eq!((errors(&overlapping), codes_of(&overlapping, Severity::Warning)), (vec![], vec!["partitions-overlap"]));
    // A disk shrunk below its last partition, with a table written for the smaller disk.
    let mut shrunk = Pieces::new(48 * M);
    Gpt::default().write(&mut shrunk, &[E, L]);
    assert_eq!(errors_of(&shrunk, None), ["partition-beyond-end"]);
    // The same in a table of a larger disk.
    let cut = gpt(&[E, L], Gpt { backup_at: Some(N + 2047), backup: false, ..Gpt::default() });
    assert_eq!(errors_of(&cut, None), ["partitions-cut-short"]);
    let n = u32::try_from(N).unwrap();
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0x83, 2048, n)]), None), ["partitions-cut-short"]);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0x83, 0, u32::MAX)]), None), ["partitions-cut-short"]);
}

#[test]
fn logical_partitions_are_checked_too() {
    let n = u32::try_from(N).unwrap();
    let primary = &[(0x80, 0x83, 2048, 20480), (0, 0x05, 22528, n - 22528)];
    let mut disk = mbr_disk(primary);
    assert_eq!(codes_of(&report_of(&disk, None), Severity::Warning), ["logical-partitions-damaged"]);
    // Two logical partitions, the second of which is too long.
    disk.put(22528 * 512, mbr(&[(0, 0x83, 2048, 4096), (0, 0x05, 8192, 8192)]));
    disk.put((22528 + 8192) * 512, mbr(&[(0, 0x83, 2048, n)]));
    let report = report_of(&disk, None);
    assert_eq!(errors(&report), ["partitions-cut-short"], "{report:?}");
    // A chain that returns to its beginning ends the search.
    disk.put((22528 + 8192) * 512, mbr(&[(0, 0x83, 2048, 4096), (0, 0x05, 8192, 8192)]));
    let report = report_of(&disk, None);
    assert!(codes_of(&report, Severity::Warning).contains(&"logical-partitions-damaged"), "{report:?}");
}

#[test]
fn a_gpt_for_sectors_of_4096_bytes_has_its_own_code() {
    let disk = gpt(&[(ESP, 256, 511), (LINUX, 512, 8191)], Gpt { sector: 4096, ..Gpt::default() });
    assert_eq!(errors_of(&disk, None), ["sector-size-4096"]);
    // As a raw file, its end is proven, but the sector size is the same.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.raw");
    disk.write(&path, None);
    let report = with(&path, |_| {}).report;
    assert_eq!((report.format, errors(&report)), (Format::Raw, vec!["sector-size-4096"]));
    // A VHDX with such sectors and a master boot record counts in them, too.
    let mut rng = Rng(1);
    let spec = common::vhdx::Vhdx { sector: 4096, ..common::vhdx::Vhdx::random(&mut rng) };
    let path = folder.path().join("a.vhdx");
    std::fs::write(&path, spec.write(&mbr_disk(&[(0x80, 0x83, 256, 4096)]).bytes(), &mut rng)).unwrap();
    assert_eq!(errors(&with(&path, |_| {}).report), ["sector-size-4096"]);
}

#[test]
fn backups_of_a_gpt() {
    // Enlarged: the backup is where the first copy says, and nothing is changed.
    let enlarged = gpt(&[E, (LINUX, 4096, N / 2 - 2048)], Gpt { backup_at: Some(N / 2 - 1), ..Gpt::default() });
    let report = report_of(&enlarged, None);
    assert_eq!(report.findings, []);
    // Missing: it is written again, and nothing else is changed.
    let folder = tempfile::tempdir().unwrap();
    let (path, output) = (folder.path().join("a.vhd"), folder.path().join("b.vhd"));
    let missing = gpt(&[E, L], Gpt { backup: false, ..Gpt::default() });
    missing.write(&path, Some(&FooterSpec::fixed(missing.size).bytes()));
    let checked = with(&path, |_| {});
    assert_eq!(codes_of(&checked.report, Severity::Note), ["gpt-backup-moved"]);
    let azure = checked.disk.unwrap();
    assert_eq!(azure.footer(), FooterSpec::fixed(missing.size).bytes());
    write_vhd(&azure, &output);
    only_allowed_changes(&missing.bytes(), &output);
    // Not where a partition is: the header's LastUsableLBA says that it may use all of the disk.
    let used = gpt(&[E, (LINUX, 4096, N - 1)], Gpt { backup: false, last_usable: Some(N - 1), ..Gpt::default() });
    let report = report_of(&used, None);
    assert_eq!((errors(&report), codes_of(&report, Severity::Warning)), (vec![], vec!["gpt-backup-damaged"]));
}

#[test]
fn a_damaged_first_copy_is_repaired_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (path, output) = (folder.path().join("a.vhd"), folder.path().join("b.vhd"));
    for size in [64 * M, 64 * M + 10 * 512] {
        for fault in [512_usize, 512 + 60, 1024 + 5] {
            let mut whole = Pieces::new(size);
            Gpt::default().write(&mut whole, &[E, L]);
            let whole = whole.bytes();
            let mut damaged = whole.clone();
            damaged[fault] ^= 1;
            if fault == 512 {
                damaged[512..1024].fill(0);
            }
            damaged.extend(FooterSpec::fixed(size).bytes());
            std::fs::write(&path, &damaged).unwrap();
            let report = with(&path, |_| {}).report;
            assert_eq!(errors(&report), ["gpt-repairable"]);
            assert!(report.findings[0].remedy.contains("--repair-gpt"), "{report:?}");
            let checked = with(&path, |options| options.repair_gpt = true);
            assert_eq!(errors(&checked.report), NONE, "{:?}", checked.report);
            assert_eq!(checked.report.generation, V2);
            let _ = std::fs::remove_file(&output);
            write_vhd(&checked.disk.unwrap(), &output);
            only_allowed_changes(&whole, &output);
        }
    }
    // Both copies damaged: nothing to repair from.
    let mut both = gpt(&[E, L], Gpt::default());
    both.put(512, [0; 512]).put((N - 1) * 512, [0; 512]);
    assert_eq!(errors_of(&both, None), ["gpt-damaged"]);
}

#[test]
fn tables_of_other_sizes() {
    for entries in [4, 512, 2048] {
        let first = 2 + entries as u64 / 4 + 2048;
        let parts = [(ESP, first, first + 2047), (LINUX, first + 2048, N - 4096)];
        let disk = gpt(&parts, Gpt { entries, ..Gpt::default() });
        assert_eq!(errors_of(&disk, None), NONE, "{entries}");
    }
}

#[test]
fn disks_without_table_and_other_records() {
    let n = u32::try_from(N).unwrap();
    let mut fat = vec![0; 512];
    fat[..11].copy_from_slice(b"\xeb\x3c\x90mkfs.fat");
    fat[54..62].copy_from_slice(b"FAT16   ");
    // Code where the entries would be.
    fat[446..450].copy_from_slice(b"\x42\x42\x42\x42");
    fat[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut floppy = Pieces::new(64 * M);
    floppy.put(0, fat);
    assert_eq!(errors_of(&floppy, None), ["generation-unknown"]);
    assert_eq!(errors_of(&floppy, V2), NONE);
    assert_eq!(errors_of(&mbr_disk(&[]), None), ["generation-unknown"]);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0xa5, 63, n - 63)]), None), NONE);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0xa5, 0, 50_000)]), None), NONE);
    assert_eq!(errors_of(&mbr_disk(&[(0x80, 0, 0, n), (0, 0xef, 300, 5000)]), V1), NONE);
    assert_eq!(errors_of(&mbr_disk(&[(0x81, 0x83, 2048, n - 2048)]), None), ["generation-unknown"]);
}

#[test]
fn sizes_that_azure_accepts() {
    for (mib, expected) in [(4, vec!["too-small"]), (19, vec!["too-small"]), (20, vec![]), (21, vec![])] {
        let mut disk = Pieces::new(mib * M);
        Gpt::default().write(&mut disk, &[E, (LINUX, 4096, mib * M / 512 - 2048)]);
        assert_eq!(errors_of(&disk, None), expected, "{mib}");
    }
    const T: u64 = 1 << 40;
    let record = |size: u64| {
        let mut disk = Pieces::new(size);
        disk.put(0, mbr(&[(0x80, 0x83, 2048, 0xffff_f000 - 2048)]));
        disk
    };
    let table = |size: u64, first: &[(goldfleet_disk::PartitionType, u64, u64)]| {
        let mut disk = Pieces::new(size);
        Gpt::default().write(&mut disk, &[first, &[(LINUX, 4096, size / 512 - 2048)]].concat());
        disk
    };
    assert_eq!(errors_of(&record(2 * T), None), NONE);
    assert_eq!(errors_of(&record(3 * T), None), ["too-large-for-v1"]);
    assert_eq!(errors_of(&table(3 * T, &[B]), None), ["too-large-for-v1"]);
    assert_eq!(errors_of(&table(3 * T, &[B, E]), V1), ["too-large-for-v1"]);
    assert_eq!(errors_of(&table(3 * T, &[]), V1), ["too-large-for-v1"]);
    assert_eq!(errors_of(&Pieces::new(3 * T), V1), ["too-large-for-v1"]);
    assert_eq!(errors_of(&table(3 * T, &[E]), None), NONE);
    assert_eq!(errors_of(&table(4095 << 30, &[E]), None), NONE);
    assert_eq!(errors_of(&table(4096 << 30, &[E]), None), ["too-large"]);
}

/// A VHD around a VHD, as converting a VHD as raw makes it.
#[test]
fn a_vhd_inside_a_vhd_is_refused() {
    let disk = os_disk(32 * M);
    let inner = [disk.bytes(), FooterSpec::fixed(disk.size).bytes().to_vec()].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    std::fs::write(&path, [&inner[..], &FooterSpec::fixed(inner.len() as u64).bytes()].concat()).unwrap();
    assert_eq!(errors(&with(&path, |_| {}).report), ["wrapped-file"]);
}

/// Commands in remedies can be run as they are: they make a file that can be read, and do nothing if it exists.
#[test]
fn commands_in_remedies_overwrite_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("m.raw");
    os_disk(32 * M).write(&raw, None);
    let backing = format!("backing_file={},backing_fmt=raw", qemu::text(&raw));
    for (name, format, options) in [("it's.vdi", "vdi", ""), ("-a b.qed", "qed", ""), ("b.img", "qcow2", &backing)] {
        let image = folder.path().join(name);
        if format == "qcow2" {
            qemu::run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, qemu::text(&image), "32M"]);
        } else {
            qemu::convert(&raw, format, options, &image, &[]);
        }
        let report = with(&image, |_| {}).report;
        let command = format!("test {}", report.findings[0].remedy.split_once("test ").unwrap().1);
        let shell = || std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success();
        assert!(shell(), "{command}");
        let made = image.with_extension("qcow2");
        let before = std::fs::read(&made).unwrap();
        assert_eq!(errors(&with(&made, |_| {}).report), NONE, "{command}");
        assert!(!shell(), "{command}");
        assert_eq!(std::fs::read(&made).unwrap(), before);
    }
}

/// A small disk of no whole MiB gets remedies that do not contradict each other.
#[test]
fn remedies_are_consistent_and_never_name_harmful_commands() {
    let mut disk = Pieces::new(4 * M + 512);
    Gpt::default().write(&mut disk, &[(ESP, 2048, 4095)]);
    let report = report_of(&disk, None);
    assert_eq!(errors(&report), ["too-small"]);
    assert!(report.findings.iter().all(|finding| !finding.remedy.contains("5 MiB")), "{report:?}");
    for code in codes::ALL {
        for harmful in ["gdisk", "-f vpc", ".raw", "-f raw"] {
            assert!(!code.remedy.contains(harmful), "{}", code.name);
        }
    }
}

#[test]
fn the_same_disk_gets_the_same_footer_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("m.raw");
    os_disk(32 * M).write(&raw, None);
    let mut footers = vec![AzureDisk::open(&raw).unwrap().footer()];
    for format in ["qcow2", "vhdx", "vmdk"] {
        let image = folder.path().join(format);
        qemu::convert(&raw, format, "", &image, &[]);
        footers.push(AzureDisk::open(&image).unwrap().footer());
    }
    assert!(footers.windows(2).all(|pair| pair[0] == pair[1]));
    // Without a GUID, the id comes from size and content.
    let id = |byte: u8| {
        let mut disk = Pieces::new(32 * M);
        disk.put(0, mbr(&[(0x80, 0x83, 2048, 4096)])).put(100_000, [byte; 10]);
        disk.write(&raw, None);
        let options = OpenOptions { format: Some(StatedFormat::Raw), ..OpenOptions::default() };
        AzureDisk::new(&goldfleet_disk::open(&raw, &options).unwrap(), false).unwrap().footer()
    };
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
}

#[test]
fn an_existing_file_is_never_replaced_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let (path, output) = (folder.path().join("a.vhd"), folder.path().join("out.vhd"));
    let disk = os_disk(32 * M);
    disk.write(&path, Some(&FooterSpec::fixed(disk.size).bytes()));
    let azure = AzureDisk::open(&path).unwrap();
    std::fs::write(&output, "mine").unwrap();
    let go = |force: bool, cancel: bool| {
        let options = ConvertOptions { force, ..ConvertOptions::default() };
        convert(&azure, &output, &options, &|_, _| {}, &AtomicBool::new(cancel))
    };
    assert!(go(false, false).unwrap_err().to_string().ends_with("exists"));
    assert!(go(true, true).unwrap_err().to_string().contains("cancelled"));
    assert_eq!(std::fs::read(&output).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "a temporary file is left");
    go(true, false).unwrap();
    assert_eq!(std::fs::read(&output).unwrap(), std::fs::read(&path).unwrap());
}

#[test]
fn parents_are_checked_by_their_id() {
    let mut rng = Rng(4);
    let folder = tempfile::tempdir().unwrap();
    let (parent, child) = (folder.path().join("parent.vhd"), folder.path().join("child.vhd"));
    let content = os_disk(32 * M).bytes();
    let spec = |id: [u8; 16], of: Option<[u8; 16]>| vhd::Dynamic {
        id,
        parent: of.map(|id| (id, content.clone())),
        ..vhd::Dynamic::random(&mut Rng(8))
    };
    std::fs::write(&parent, spec([1; 16], None).write(&content, &mut rng)).unwrap();
    std::fs::write(&child, spec([2; 16], Some([1; 16])).write(&content, &mut rng)).unwrap();
    assert_eq!(errors(&with(&child, |_| {}).report), ["differencing"]);
    let parents = |paths: &[&PathBuf]| paths.iter().map(|path| (*path).clone()).collect::<Vec<_>>();
    assert_eq!(errors(&with(&child, |options| options.open.parents = parents(&[&parent])).report), NONE);
    std::fs::write(&parent, spec([3; 16], None).write(&content, &mut rng)).unwrap();
    let report = with(&child, |options| options.open.parents = parents(&[&parent])).report;
    assert_eq!(errors(&report), ["parent-mismatch"]);
    assert!(report.findings[0].message.contains("03030303-0303"), "{report:?}");
    // A file is not its own parent.
    let report = with(&child, |options| options.open.parents = parents(&[&child])).report;
    assert_eq!(errors(&report), ["differencing"]);
}

#[test]
fn files_named_inside_an_image_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let raw = file("base.raw");
    os_disk(32 * M).write(&raw, None);
    let create = |options: &str, output: &str| {
        qemu::run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, qemu::text(&file(output)), "32M"]);
    };
    create(&format!("backing_file={},backing_fmt=raw", qemu::text(&raw)), "backed.qcow2");
    create(&format!("data_file={}", qemu::text(&file("data.raw"))), "external.qcow2");
    for name in ["backed.qcow2", "external.qcow2"] {
        assert_eq!(errors(&with(&file(name), |_| {}).report), ["external-file"], "{name}");
    }
    let secret = ["--object", "secret,id=s,data=x"];
    let options = ["-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"];
    let encrypted = file("encrypted.qcow2");
    qemu::run(
        "qemu-img",
        &[&["create", "-q"], &secret[..], &["-f", "qcow2"], &options, &[qemu::text(&encrypted), "32M"]].concat(),
    );
    assert_eq!(errors(&with(&encrypted, |_| {}).report), ["encrypted-image"]);
}
