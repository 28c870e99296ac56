//! Findings about whole volumes: each has a disk that has it, and a similar one that does not.
#![allow(clippy::unwrap_used)]

mod tools;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use goldfleet_disk::Severity;
use goldfleet_inside::{Destination, Options, inspect};
use tools::{RawFile, run, text};

/// The size of each of the two volumes.
const VOLUME: u64 = 16 << 20;

/// A disk with a GPT and two volumes: one for data, and one for swap space.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        File::create(disk.path()).unwrap().set_len(2 * VOLUME + (2 << 20)).unwrap();
        let path = disk.path();
        let arguments = ["-n", "1:2048:+16M", "-t", "1:8300", "-n", "2:0:+16M", "-t", "2:8200", text(&path)];
        run("gdisk", "sgdisk", &arguments);
        disk.data(|path| {
            run("e2fsprogs", "mke2fs", &["-q", "-F", "-t", "ext4", "-O", "^metadata_csum", text(path)]);
        })
        .swap(|path| {
            run("util-linux", "mkswap", &[text(path)]);
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Makes the content of a volume in a file of its own.
    fn volume(self, number: u64, make: impl FnOnce(&Path)) -> Self {
        let volume = self.folder.path().join("volume");
        File::create(&volume).unwrap().set_len(VOLUME).unwrap();
        make(&volume);
        self.write((1 << 20) + number * VOLUME, &std::fs::read(&volume).unwrap())
    }

    fn data(self, make: impl FnOnce(&Path)) -> Self {
        self.volume(0, make)
    }

    fn swap(self, make: impl FnOnce(&Path)) -> Self {
        self.volume(1, make)
    }

    fn write(self, at: u64, bytes: &[u8]) -> Self {
        File::options().write(true).open(self.path()).unwrap().write_all_at(bytes, at).unwrap();
        self
    }

    /// The first volume with these bytes at an offset.
    fn with(self, at: u64, bytes: &[u8]) -> Self {
        self.write((1 << 20) + at, bytes)
    }

    /// The severity and message of the finding with this code.
    fn finding(&self, code: &str, destination: Destination) -> Option<(Severity, String)> {
        let inspection = inspect(Arc::new(RawFile::open(&self.path())), &Options { destination, ..Options::default() });
        let found = inspection.findings.into_iter().find(|finding| finding.code == code);
        found.map(|finding| (finding.severity, finding.message))
    }

    #[track_caller]
    fn has(&self, code: &str, severity: Severity, part: &str) {
        let found = self.finding(code, Destination::default());
        let Some((actual, message)) = &found else { panic!("{code} is missing") };
        assert!(*actual == severity && message.contains(part), "{found:?}");
    }

    #[track_caller]
    fn has_not(&self, code: &str) {
        assert_eq!(self.finding(code, Destination::default()), None);
    }
}

fn fat(path: &Path) {
    run("dosfstools", "mkfs.vfat", &["-F", "16", text(path)]);
}

#[test]
fn an_encrypted_volume_is_an_error_if_the_image_is_generalised() {
    Disk::new().has_not("encrypted");
    Disk::new().data(fat).has_not("encrypted");
    for (at, magic, name) in [(0, &b"LUKS\xba\xbe\0\x02"[..], "LUKS"), (3, b"-FVE-FS-", "BitLocker")] {
        let disk = Disk::new().data(|_| {}).with(at, magic);
        disk.has("encrypted", Severity::Error, &format!("partition 1 is encrypted by {name}"));
        let found = disk.finding("encrypted", Destination::GallerySpecialized);
        assert_eq!(found.map(|(severity, _)| severity), Some(Severity::Warning), "{name}");
    }
}

#[test]
fn the_memory_of_a_hibernated_system_is_an_error() {
    let disk = Disk::new();
    disk.has_not("hibernated");
    // The kernel replaces the signature of the swap space, at the end of its first page.
    disk.write((1 << 20) + VOLUME + 4086, b"S1SUSPEND\0").has("hibernated", Severity::Error, "partition 2");
}

#[test]
fn a_file_system_that_was_not_unmounted_is_a_warning() {
    Disk::new().has_not("fs-dirty");
    // The state in the superblock of ext4: the bit for a clean file system is not set.
    Disk::new().with(1024 + 58, &[0]).has("fs-dirty", Severity::Warning, "partition 1");
    Disk::new().data(fat).has_not("fs-dirty");
    // The same in the flags of FAT16's boot sector.
    Disk::new().data(fat).with(0x25, &[1]).has("fs-dirty", Severity::Warning, "partition 1");
}
