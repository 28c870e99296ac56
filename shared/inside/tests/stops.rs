//! An inspection that is stopped: exactly one finding says why, and no finding is made of what was not read.
#![allow(clippy::unwrap_used)]

mod tools;

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use goldfleet_disk::{DiskError, DiskReader, Finding, Severity};
use goldfleet_inside::budget::Limits;
use goldfleet_inside::{Inspection, Options, inspect};
use tools::{RawFile, content, run, text};

const UUID: &str = "11111111-2222-3333-4444-555555555555";

/// A disk without a partition table, with a small Linux system that has many findings.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join("root").join(name);
        let write = |name: &str, bytes: &[u8]| {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), bytes).unwrap();
        };
        write("etc/os-release", b"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=12\n");
        write("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
        write("etc/fstab", format!("UUID={UUID} / ext4 defaults 0 1\n/dev/vdb1 /data ext4 defaults 0 2\n").as_bytes());
        // The header of xz, whose decompression needs memory.
        write("boot/initrd.img-6.1.0", &[&b"\xfd7zXZ\0"[..], &content(3, 600_000)].concat());
        write("boot/vmlinuz-6.1.0", &content(4, 200_000));
        for number in 0..40 {
            write(&format!("etc/modprobe.d/{number}.conf"), &content(number, 5000));
        }
        let disk = folder.path().join("disk");
        let root = path("");
        run("e2fsprogs", "mke2fs", &["-q", "-F", "-t", "ext4", "-U", UUID, "-d", text(&root), text(&disk), "16M"]);
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn inspect(&self, limits: Limits) -> Inspection {
        inspect(Arc::new(RawFile::open(&self.path())), &Options { limits, ..Options::default() })
    }
}

/// A disk whose reads fail from the nth on.
#[derive(Debug)]
struct Failing {
    disk: RawFile,
    left: AtomicU64,
}

impl DiskReader for Failing {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() {
            return Err(DiskError::Damaged("a broken cluster".into()));
        }
        self.disk.read_at(offset, buffer)
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.disk.next_data(offset)
    }
}

/// The findings other than the one that states the cause, and the one about the system.
fn others(inspection: &Inspection) -> impl Iterator<Item = &Finding> {
    inspection.findings.iter().filter(|finding| !["not-inspected", "system"].contains(&finding.code))
}

#[track_caller]
fn assert_stopped(inspection: &Inspection, complete: &Inspection, reason: &str) {
    let stops: Vec<&Finding> = inspection.findings.iter().filter(|finding| finding.code == "not-inspected").collect();
    let [stop] = stops.as_slice() else { panic!("not one finding: {:#?}", inspection.findings) };
    assert_eq!((stop.severity, stop.message.as_str()), (Severity::Warning, reason));
    for finding in others(inspection) {
        assert!(complete.findings.contains(finding), "{finding:?} is not a finding of the complete inspection");
    }
}

#[test]
fn a_limit_on_the_bytes_read_gives_one_finding() {
    let disk = Disk::new();
    let complete = disk.inspect(Limits::default());
    assert!(others(&complete).count() > 5, "{:#?}", complete.findings);
    let windows = complete.usage.bytes_read >> 16;
    assert!(windows > 10, "{:?}", complete.usage);
    for window in 0..windows {
        let limits = Limits { bytes_read: window << 16, ..Limits::default() };
        let reason = format!("the inspection was stopped: more than {} MiB had to be read", limits.bytes_read >> 20);
        assert_stopped(&disk.inspect(limits), &complete, &reason);
    }
    assert_eq!(disk.inspect(Limits { bytes_read: windows << 16, ..Limits::default() }).findings, complete.findings);
}

#[test]
fn a_limit_on_the_time_or_the_memory_gives_one_finding() {
    let disk = Disk::new();
    let complete = disk.inspect(Limits::default());
    let none = disk.inspect(Limits { time: Duration::ZERO, ..Limits::default() });
    assert_stopped(&none, &complete, "the inspection was stopped: it took longer than 0 s");
    assert_eq!(none.system, None);
    let little = disk.inspect(Limits { memory: 1000, ..Limits::default() });
    assert_stopped(&little, &complete, "the inspection was stopped: more than 0 MB of memory was needed");
}

#[test]
fn a_disk_that_cannot_be_read_gives_one_finding() {
    let disk = Disk::new();
    let complete = disk.inspect(Limits::default());
    let reason = "the inspection was stopped: the disk cannot be read: the image is damaged: a broken cluster";
    let mut reads = 0;
    loop {
        let failing = Failing { disk: RawFile::open(&disk.path()), left: AtomicU64::new(reads) };
        let inspection = inspect(Arc::new(failing), &Options::default());
        if inspection.findings == complete.findings {
            break;
        }
        assert_stopped(&inspection, &complete, reason);
        reads += 1;
    }
    assert!(reads > 10, "{reads} reads");
}
