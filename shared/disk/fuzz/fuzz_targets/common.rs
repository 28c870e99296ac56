//! What all targets do with their input.

#![allow(dead_code)] // Each target uses a part of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_disk::{
    CheckOptions, DataRanges, DiskReader, MemoryDisk, OpenOptions, StatedFormat, check_opened, open_reader,
};

/// The largest sparse file that an input is stretched to, so that small inputs can refer to places far away.
const STRETCHED: usize = 5 << 20;

/// Opens the bytes as a format, checks them, and reads the beginning of each range of data.
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

/// Structures at fixed offsets, as a VHDX has them, from a short input: pairs of a length and bytes are put at these offsets.
pub fn scattered(data: &[u8], offsets: &[usize]) -> Vec<u8> {
    let mut file = vec![0; STRETCHED];
    let mut rest = data;
    for &at in offsets {
        let Some((&length, tail)) = rest.split_first() else { break };
        let length = (usize::from(length) * 4).min(tail.len());
        file[at..at + length].copy_from_slice(&tail[..length]);
        rest = &tail[length..];
    }
    file
}

pub fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
