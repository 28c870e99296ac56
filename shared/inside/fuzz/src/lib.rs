//! What the fuzz targets share.

use std::sync::Arc;

use goldfleet_disk::{DiskReader, MemoryDisk};
use goldfleet_inside::budget::{Budget, Limits};
use goldfleet_inside::fs::{FileKind, FileSystem};
use goldfleet_inside::window::Windowed;

/// The most files of one file system that are read.
const MAX_FILES: usize = 200;
/// The most bytes of one file that are read.
const MAX_BYTES: u64 = 1 << 20;

/// A disk in memory behind the cache of an inspection, and the inspection's limits.
pub fn disk(bytes: Vec<u8>) -> (Arc<dyn DiskReader>, Arc<Budget>) {
    let budget = Arc::new(Budget::new(Limits::default()));
    (Arc::new(Windowed::new(Arc::new(MemoryDisk(bytes)), Arc::clone(&budget))), budget)
}

/// Reads what can be read of a file system.
pub fn read(fs: &dyn FileSystem) {
    read_folder(fs, "/", 8, &mut MAX_FILES.clone());
}

fn read_folder(fs: &dyn FileSystem, folder: &str, depth: usize, files: &mut usize) {
    for entry in fs.list(folder).unwrap_or_default() {
        let Some(left) = files.checked_sub(1) else { return };
        *files = left;
        let path = format!("{}/{}", folder.trim_end_matches('/'), entry.name);
        let _ = (fs.stat(&path), fs.link(&path));
        if let Ok(mut file) = fs.open(&path) {
            let mut buffer = vec![0; 64 << 10];
            let mut offset = 0;
            while let Ok(count @ 1..) = file.read_at(offset, &mut buffer) {
                offset += count as u64;
                if offset > MAX_BYTES {
                    break;
                }
            }
        }
        if entry.kind == FileKind::Directory && depth > 0 {
            read_folder(fs, &path, depth - 1, files);
        }
    }
}

/// Recomputes the checksum of a hive's header.
pub fn seal_hive(bytes: &mut [u8]) {
    if bytes.len() < 512 {
        return;
    }
    let words = bytes[..508].chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let sum = match words.fold(0, |sum, word| sum ^ word) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    };
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

/// Repairs the fix-ups of NTFS: the last two bytes of each sector of a record become what the record's header states.
pub fn seal_ntfs(bytes: &mut [u8]) {
    const SECTOR: usize = 512;
    let starts: Vec<usize> = (0..bytes.len().saturating_sub(SECTOR)).step_by(SECTOR).collect();
    for start in starts {
        let record = &mut bytes[start..];
        if !record.starts_with(b"FILE") && !record.starts_with(b"INDX") {
            continue;
        }
        let at = usize::from(u16::from_le_bytes([record[4], record[5]]));
        let count = usize::from(u16::from_le_bytes([record[6], record[7]]));
        if at + 2 > SECTOR || count > 129 || record.len() < count.saturating_sub(1) * SECTOR {
            continue;
        }
        let number = [record[at], record[at + 1]];
        for sector in record.chunks_exact_mut(SECTOR).take(count.saturating_sub(1)) {
            sector[SECTOR - 2..].copy_from_slice(&number);
        }
    }
}
