//! Reading a disk window by window.

use std::ops::Range;

use goldfleet_model::manifest::CHUNK_SIZE;

use super::WindowBuffer;
use crate::{DiskError, DiskReader};

/// The windows of a disk of `size` bytes that contain data, in order. `ranges` are the data ranges, in order.
pub fn windows(ranges: &[Range<u64>], size: u64) -> impl Iterator<Item = Range<u64>> {
    let mut next = 0;
    ranges.iter().filter(|range| range.start < range.end).flat_map(move |range| {
        let first = (range.start / CHUNK_SIZE).max(next);
        next = range.end.min(size).div_ceil(CHUNK_SIZE).max(next);
        (first..next).map(move |n| n * CHUNK_SIZE..((n + 1) * CHUNK_SIZE).min(size))
    })
}

/// Reads a window into `buffer`: data ranges from the disk, and zeros for holes. `ranges` are all data ranges of the
/// disk, in order. Returns the number of bytes that were read.
///
/// # Errors
/// [`DiskError`] if the disk cannot be read.
pub fn read_window(
    disk: &dyn DiskReader,
    ranges: &[Range<u64>],
    window: &Range<u64>,
    buffer: &mut WindowBuffer,
) -> Result<u64, DiskError> {
    // A window is at most 4 MiB.
    let position = |offset: u64| usize::try_from(offset - window.start).unwrap_or(usize::MAX);
    let (mut filled, mut read) = (0, 0);
    buffer.set_length(position(window.end));
    let first = ranges.partition_point(|range| range.end <= window.start);
    for range in ranges[first..].iter().take_while(|range| range.start < window.end) {
        let (from, to) = (range.start.max(window.start), range.end.min(window.end));
        let (start, end) = (position(from), position(to));
        buffer.clear(filled..start);
        disk.read_at(from, buffer.data(start..end))?;
        read += to - from;
        filled = end;
    }
    buffer.clear(filled..buffer.len());
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_is_yielded_once() {
        const W: u64 = CHUNK_SIZE;
        let ranges = [0..512, 1024..2048, W - 512..W + 512, 3 * W..3 * W + 512, 5 * W..6 * W + 512];
        let found: Vec<u64> = windows(&ranges, 6 * W + 512).map(|window| window.start / W).collect();
        assert_eq!(found, [0, 1, 3, 5, 6]);
        assert_eq!(windows(&ranges, 6 * W + 512).last().unwrap(), 6 * W..6 * W + 512);
    }
}
