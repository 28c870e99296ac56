//! What the tests with real tools share. `tests/run.sh` installs the tools; a tool that is missing fails the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use goldfleet_disk::{DiskError, DiskReader};
use goldfleet_inside::budget::{Budget, Limits};
use goldfleet_inside::fs::{FileKind, FileSystem};
use goldfleet_inside::window::Windowed;
use proptest::prelude::ProptestConfig;

/// Runs a program of a Debian package, and fails the test if it is missing or fails.
pub fn run(package: &str, program: &str, arguments: &[&str]) -> String {
    let output = output(package, program, arguments);
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn output(package: &str, program: &str, arguments: &[&str]) -> Output {
    // Tools for file systems are in folders that a user's PATH lacks.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    output.unwrap_or_else(|error| {
        panic!("{program} of the package {package} is needed (tests/run.sh installs it): {error}")
    })
}

/// A path as a program's argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A disk image that is a plain file, or a part of it.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    range: Range<u64>,
}

impl RawFile {
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let range = 0..file.metadata().unwrap().len();
        Self { file, range }
    }
}

impl DiskReader for RawFile {
    fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        Ok(self.file.read_exact_at(buffer, self.range.start + offset)?)
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        Ok((offset < self.size()).then(|| offset..self.size()))
    }
}

/// A disk with some bytes changed.
#[derive(Debug)]
pub struct Damaged {
    pub disk: Arc<dyn DiskReader>,
    /// Offset and new value.
    pub changes: Vec<(u64, u8)>,
}

impl DiskReader for Damaged {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, buffer)?;
        for (at, value) in &self.changes {
            if let Some(byte) = at.checked_sub(offset).and_then(|i| buffer.get_mut(usize::try_from(i).ok()?)) {
                *byte = *value;
            }
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.disk.next_data(offset)
    }
}

/// A property over damaged images. A case can take long, so that a failure is not shrunk for hours.
pub fn damaged_config() -> ProptestConfig {
    ProptestConfig {
        cases: damaged_cases(),
        failure_persistence: None,
        max_shrink_iters: 100,
        ..ProptestConfig::default()
    }
}

/// How many damaged images a property tries: `GOLDFLEET_DAMAGED`, or a few hundred.
fn damaged_cases() -> u32 {
    std::env::var("GOLDFLEET_DAMAGED").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

pub fn budget() -> Arc<Budget> {
    Arc::new(Budget::new(Limits::default()))
}

/// A budget for trees that are larger than what one inspection may read.
pub fn large_budget() -> Arc<Budget> {
    Arc::new(Budget::new(Limits { bytes_read: 1 << 40, ..Limits::default() }))
}

/// A disk behind the cache that an inspection uses.
pub fn windowed(disk: Arc<dyn DiskReader>, budget: &Arc<Budget>) -> Arc<dyn DiskReader> {
    Arc::new(Windowed::new(disk, Arc::clone(budget)))
}

/// Bytes that depend on a seed.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Reads everything in a file system: calls `each` with every path. Errors of reading are passed on, not hidden.
pub fn walk(fs: &dyn FileSystem, folder: &str, each: &mut dyn FnMut(&str, FileKind)) -> Result<(), String> {
    for entry in fs.list(folder).map_err(|error| format!("{folder}: {error}"))? {
        let path = format!("{}/{}", folder.trim_end_matches('/'), entry.name);
        each(&path, entry.kind);
        if entry.kind == FileKind::Directory {
            walk(fs, &path, each)?;
        }
    }
    Ok(())
}

/// Reads everything in a damaged file system as far as it can be read: at most `files` files, each to its end or 256 KiB.
pub fn read_what_can_be_read(fs: &dyn FileSystem, folder: &str, depth: usize, files: &mut usize) {
    for entry in fs.list(folder).unwrap_or_default() {
        if *files == 0 {
            return;
        }
        *files -= 1;
        let path = format!("{}/{}", folder.trim_end_matches('/'), entry.name);
        let _ = (fs.stat(&path), fs.link(&path));
        if let Ok(mut file) = fs.open(&path) {
            let mut buffer = vec![0; 64 << 10];
            let mut offset = 0;
            while let Ok(count @ 1..) = file.read_at(offset, &mut buffer) {
                offset += count as u64;
                if offset > 256 << 10 {
                    break;
                }
            }
        }
        if entry.kind == FileKind::Directory && depth > 0 {
            read_what_can_be_read(fs, &path, depth - 1, files);
        }
    }
}

/// Reads a file to its end.
pub fn read(fs: &dyn FileSystem, path: &str) -> Vec<u8> {
    let mut file = fs.open(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let budget = large_budget();
    goldfleet_inside::fs::read(file.as_mut(), u64::MAX, &budget).unwrap_or_else(|error| panic!("{path}: {error}"))
}
