//! Reading VHDs made by qemu-img, damaged ones, and what a check says of bad inputs.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::format_push_string, reason = "tests")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use goldfleet_shared::chunk::is_zero;
use goldfleet_shared::model::manifest::Generation;
use goldfleet_shared::vhd::{Disk, DiskType, Footer, GoldenSpec, check, same_disk};
use proptest::prelude::*;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn qemu(arguments: &[&str], folder: &Path) {
    let output = Command::new("qemu-img")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("these tests need qemu-img: install qemu-utils");
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A raw disk with data at some places.
fn raw(path: &Path, size: u64, extents: &[(u64, u64, u8)]) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(size).unwrap()];
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for &(offset, length, byte) in extents {
        let offset = offset % (size / 512) * 512;
        let end = (offset + length * 512).min(size);
        let range = usize::try_from(offset).unwrap()..usize::try_from(end).unwrap();
        for (n, byte_at) in content[range.clone()].iter_mut().enumerate() {
            *byte_at = byte.wrapping_add(u8::try_from(n % 251).unwrap()) | 1;
        }
        file.write_all_at(&content[range], offset).unwrap();
    }
    content
}

fn read_all(disk: &Disk) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(disk.size()).unwrap()];
    // Pieces that are no multiple of anything.
    for (n, piece) in content.chunks_mut(700_001).enumerate() {
        disk.read_at(n as u64 * 700_001, piece).unwrap();
    }
    content
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]
    #[test]
    fn what_qemu_writes_is_read(
        mib in 1_u64..9,
        extents in prop::collection::vec((any::<u64>(), 1_u64..3000, any::<u8>()), 0..6),
        dynamic in any::<bool>(),
    ) {
        let folder = TempDir::new().unwrap();
        let content = raw(&folder.path().join("disk.raw"), mib * MIB, &extents);
        let options = if dynamic { "subformat=dynamic,force_size" } else { "subformat=fixed,force_size" };
        qemu(&["convert", "-f", "raw", "-O", "vpc", "-o", options, "disk.raw", "disk.vhd"], folder.path());
        let disk = Disk::open(&folder.path().join("disk.vhd")).unwrap();
        prop_assert_eq!(disk.is_dynamic(), dynamic);
        prop_assert_eq!(disk.size(), mib * MIB);
        prop_assert!(read_all(&disk) == content, "the disk differs");
        let footer = Footer::parse(&disk.footer()).unwrap();
        prop_assert_eq!((footer.disk_type(), footer.size(), footer.data_offset()), (DiskType::Fixed, mib * MIB, u64::MAX));
        // Outside the data ranges there is nothing.
        let mut outside = content;
        for range in disk.data_ranges().unwrap() {
            outside[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].fill(0);
        }
        prop_assert!(is_zero(&outside));
    }

    /// Whatever is damaged in a dynamic disk's structures, reading it ends.
    #[test]
    fn damaged_dynamic_disks_are_refused_or_read(
        damage in prop::collection::vec((0_usize..2560, any::<u8>()), 1..6),
        mend in any::<bool>(),
    ) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk.vhd");
        fs::write(&path, dynamic_disk()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        if mend {
            // With right checksums, the fields behind them are believed.
            mend_checksum(&mut bytes[512..1536], 36);
            let footer = bytes.len() - 512;
            mend_checksum(&mut bytes[footer..], 64);
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(disk) = Disk::open(&path) && disk.size() <= 64 * MIB {
            let mut buffer = vec![0; 4096];
            for range in disk.data_ranges().unwrap().iter().take(4) {
                let _ = disk.read_at(range.start, &mut buffer);
            }
        }
        let _ = check(&path, None);
    }
}

fn dynamic_disk() -> &'static [u8] {
    static DISK: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    DISK.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        raw(&folder.path().join("disk.raw"), 8 * MIB, &[(8192, 40, 3)]);
        qemu(
            &["convert", "-f", "raw", "-O", "vpc", "-o", "subformat=dynamic,force_size", "disk.raw", "disk.vhd"],
            folder.path(),
        );
        fs::read(folder.path().join("disk.vhd")).unwrap()
    })
}

fn mend_checksum(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum = bytes.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(byte.into()));
    bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

#[test]
fn a_comparison_sees_every_difference() {
    let folder = TempDir::new().unwrap();
    let (golden, copy) = (folder.path().join("golden.vhd"), folder.path().join("copy.vhd"));
    GoldenSpec::spread(24 * MIB, Generation::V2, 3 * MIB, 3, 1).write(&golden).unwrap();
    let disk = Disk::open(&golden).unwrap();
    let with = |offset: u64, byte: u8| {
        fs::copy(&golden, &copy).unwrap();
        OpenOptions::new().write(true).open(&copy).unwrap().write_all_at(&[byte], offset).unwrap();
        same_disk(&disk, &copy).unwrap()
    };
    fs::copy(&golden, &copy).unwrap();
    assert_eq!(same_disk(&disk, &copy).unwrap(), None);
    assert_eq!(with(1_000, 9), Some(1_000), "in the partition table");
    assert_eq!(with(20 * MIB + 77, 1), Some(20 * MIB + 77), "in a hole");
    assert_eq!(with(20 * MIB + 77, 0), None, "a zero that is written is no difference");
    assert_eq!(with(24 * MIB + 100, 9), Some(24 * MIB), "in the footer");
    OpenOptions::new().write(true).open(&copy).unwrap().set_len(24 * MIB).unwrap();
    assert_eq!(same_disk(&disk, &copy).unwrap(), Some(24 * MIB), "without a footer");
}

/// The bad inputs, and what an operator reads of them.
#[test]
fn bad_inputs_are_told_with_a_remedy() {
    let folder = TempDir::new().unwrap();
    let mut told = String::new();
    for (name, generation) in bad_inputs(folder.path()) {
        let report = check(&folder.path().join(name), generation);
        let stated = generation.map_or_else(String::new, |generation| format!(" --generation {generation}"));
        told += &format!("{name}{stated}: {}\n", if report.is_usable() { "usable" } else { "refused" });
        for finding in &report.findings {
            told += &format!("  {} [{}] {}\n    {}\n", finding.severity, finding.code, finding.message, finding.remedy);
        }
    }
    insta::assert_snapshot!(told.replace(&folder.path().display().to_string(), "FOLDER"));
}

fn bad_inputs(folder: &Path) -> Vec<(&'static str, Option<Generation>)> {
    let at = |name: &str| folder.join(name);
    let good = |name: &str, generation| {
        GoldenSpec::spread(24 * MIB, generation, MIB, 2, 1).write(&at(name)).unwrap();
    };
    let write = |name: &str, offset: u64, bytes: &[u8]| {
        OpenOptions::new().write(true).open(at(name)).unwrap().write_all_at(bytes, offset).unwrap();
    };
    let footer_only = |name: &str, size: u64| {
        let file = File::create(at(name)).unwrap();
        file.set_len(size + 512).unwrap();
        file.write_all_at(&Footer::fixed_for(size, 1).to_bytes(), size).unwrap();
    };
    fs::create_dir(at("folder.vhd")).unwrap();
    fs::write(at("empty.vhd"), "").unwrap();
    fs::write(at("short.vhd"), "short").unwrap();
    fs::write(at("text.vhd"), "not a disk at all\n".repeat(100)).unwrap();
    qemu(&["create", "-q", "-f", "vhdx", "a.vhdx", "32M"], folder);
    qemu(&["create", "-q", "-f", "qcow2", "a.qcow2", "32M"], folder);
    qemu(&["create", "-q", "-f", "vmdk", "a.vmdk", "32M"], folder);
    good("mbr.vhd", Generation::V1);
    good("gpt.vhd", Generation::V2);
    good("cut.vhd", Generation::V1);
    OpenOptions::new().write(true).open(at("cut.vhd")).unwrap().set_len(20 * MIB).unwrap();
    good("cookie.vhd", Generation::V1);
    write("cookie.vhd", 24 * MIB, b"x");
    write("cookie.vhd", 510, &[0, 0]);
    good("checksum.vhd", Generation::V1);
    write("checksum.vhd", 24 * MIB + 70, &[1]);
    good("type.vhd", Generation::V1);
    retype(&at("type.vhd"), 24 * MIB, 6);
    good("differencing.vhd", Generation::V1);
    retype(&at("differencing.vhd"), 24 * MIB, 4);
    good("longer.vhd", Generation::V1);
    fs::copy(at("longer.vhd"), at("head.vhd")).unwrap();
    File::create(at("longer.vhd")).unwrap().set_len(10 * MIB).unwrap();
    write("longer.vhd", 10 * MIB, &Footer::fixed_for(24 * MIB, 1).to_bytes());
    fs::write(at("dynamic-cut.vhd"), &dynamic_disk()[..dynamic_disk().len() - 512]).unwrap();
    footer_only("odd.vhd", 24 * MIB + 512);
    footer_only("small.vhd", 8 * MIB);
    footer_only("huge.vhd", 5 << 40);
    good("gpt-damaged.vhd", Generation::V2);
    write("gpt-damaged.vhd", 1024 + 40, &[9]);
    footer_only("blank.vhd", 24 * MIB);
    vec![
        ("missing.vhd", None),
        ("folder.vhd", None),
        ("empty.vhd", None),
        ("short.vhd", None),
        ("text.vhd", None),
        ("a.vhdx", None),
        ("a.qcow2", None),
        ("a.vmdk", None),
        ("cut.vhd", None),
        ("cookie.vhd", None),
        ("checksum.vhd", None),
        ("type.vhd", None),
        ("differencing.vhd", None),
        ("longer.vhd", None),
        ("dynamic-cut.vhd", None),
        ("odd.vhd", Some(Generation::V1)),
        ("small.vhd", Some(Generation::V1)),
        ("huge.vhd", Some(Generation::V2)),
        ("mbr.vhd", Some(Generation::V2)),
        ("gpt.vhd", Some(Generation::V1)),
        ("gpt-damaged.vhd", None),
        ("blank.vhd", None),
        ("blank.vhd", Some(Generation::V1)),
        ("mbr.vhd", None),
        ("gpt.vhd", None),
    ]
}

/// Gives a VHD's footer another disk type, with the right checksum.
fn retype(path: &PathBuf, at: u64, kind: u32) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut footer = [0; 512];
    file.read_exact_at(&mut footer, at).unwrap();
    footer[60..64].copy_from_slice(&kind.to_be_bytes());
    mend_checksum(&mut footer, 64);
    file.write_all_at(&footer, at).unwrap();
}
