//! The part that all targets share: reading an image, and building a large file from a short input.

#![allow(dead_code, reason = "each target uses a part of this module")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_disk::{
    CheckOptions, DataRanges, DiskReader, MemoryDisk, OpenOptions, StatedFormat, check_opened, open_reader,
};

/// The length of a file that [`scattered`] builds, in bytes.
const SCATTERED_LENGTH: usize = 6 << 20;

/// Opens the bytes as a format, checks them, and reads the start of each data range.
pub fn read(bytes: Vec<u8>, format: Option<StatedFormat>) {
    let open = OpenOptions { format, time: Some(Duration::from_secs(5)), ..OpenOptions::default() };
    let options = CheckOptions { open, repair_gpt: true, ..CheckOptions::default() };
    let source: Arc<dyn DiskReader> = Arc::new(MemoryDisk(bytes));
    let checked = check_opened(Path::new("input"), open_reader(source, &options.open), &options);
    let Some(disk) = checked.disk else {
        assert!(!checked.report.is_usable());
        return;
    };
    let mut buffer = vec![0; 70_000];
    for range in DataRanges::new(&disk).take(32) {
        let Ok(range) = range else { break };
        assert!(range.start < range.end && range.end <= disk.size());
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(buffer.len());
        let _ = disk.read_at(range.start, &mut buffer[..length]);
    }
}

/// Builds a file with structures at fixed offsets, as a VHDX has them. The input has for each offset one byte, the
/// length in units of 4 bytes, and then the bytes.
pub fn scattered(data: &[u8], offsets: &[usize]) -> Vec<u8> {
    let mut file = vec![0; SCATTERED_LENGTH];
    let mut rest = data;
    for &at in offsets {
        let Some((&length, tail)) = rest.split_first() else { break };
        let length = (usize::from(length) * 4).min(tail.len());
        file[at..at + length].copy_from_slice(&tail[..length]);
        rest = &tail[length..];
    }
    file
}

/// Writes bytes into the file if they fit.
pub fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
