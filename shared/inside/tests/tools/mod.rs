//! What the tests with real tools share. `tests/run.sh` installs the tools; a tool that is missing fails the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod ntfs;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

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
    Arc::new(Budget::new(Limits { bytes_read: 1 << 40, time: Duration::from_secs(3600), ..Limits::default() }))
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

/// Reads everything in a damaged file system as far as it can be read: at most `files` files, each to its end or 256
/// KiB.
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

/// A hive with only a root key: the smallest valid one.
pub fn empty_hive() -> Vec<u8> {
    let cell = |content: &[u8]| {
        let length = (content.len() + 4).next_multiple_of(8);
        let mut cell = (-i32::try_from(length).unwrap()).to_le_bytes().to_vec();
        cell.extend(content);
        cell.resize(length, 0);
        cell
    };
    let mut key = vec![0; 0x4c];
    key[..2].copy_from_slice(b"nk");
    key[2] = 0x2c;
    for at in [0x1c, 0x20, 0x28, 0x30] {
        key[at..at + 4].fill(0xff);
    }
    key[0x48] = 4;
    key.extend(b"ROOT");
    // The security descriptor is shared by all keys; it is the second cell.
    let at = u32::try_from(32 + cell(&key).len()).unwrap().to_le_bytes();
    key[0x2c..0x30].copy_from_slice(&at);
    let descriptor = [1, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let security = [b"sk\0\0", &at[..], &at, &[1, 0, 0, 0], &[20, 0, 0, 0], &descriptor].concat();
    let mut bin = [b"hbin", &[0; 4][..], &4096_u32.to_le_bytes(), &[0; 20]].concat();
    bin.extend(cell(&key));
    bin.extend(cell(&security));
    let free = i32::try_from(4096 - bin.len()).unwrap();
    bin.extend(free.to_le_bytes());
    bin.resize(4096, 0);
    let mut header = vec![0; 4096];
    header[..4].copy_from_slice(b"regf");
    for (at, word) in [(4, 1_u32), (8, 1), (0x14, 1), (0x18, 5), (0x20, 1), (0x24, 32), (0x28, 4096), (0x2c, 1)] {
        header[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    let sum = header[..508].chunks_exact(4).fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().unwrap()));
    header[508..512].copy_from_slice(&sum.to_le_bytes());
    [header, bin].concat()
}
