//! The difference between two sparse files.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use goldfleet_disk::sparse::data_ranges;

/// The bytes that are compared at once.
const BLOCK: u64 = 1 << 20;

/// The size of a page: the ranges begin and end at multiples of it.
const PAGE: usize = 512;

/// The ranges of pages in which two files with `length` bytes differ, in order. Blocks.
pub(super) fn between(file: &File, other: &File, length: u64) -> io::Result<Vec<Range<u64>>> {
    let mut ranges = data_ranges(file, length)?;
    ranges.extend(data_ranges(other, length)?);
    let mut blocks: Vec<u64> = ranges.iter().flat_map(|range| range.start / BLOCK..range.end.div_ceil(BLOCK)).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let mut found: Vec<Range<u64>> = Vec::new();
    for block in blocks {
        let range = block * BLOCK..length.min((block + 1) * BLOCK);
        let (one, two) = (bytes(file, &range)?, bytes(other, &range)?);
        let mut start = range.start;
        for (one, two) in one.chunks(PAGE).zip(two.chunks(PAGE)) {
            let end = start + one.len() as u64;
            if one != two {
                match found.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => found.push(start..end),
                }
            }
            start = end;
        }
    }
    Ok(found)
}

/// The bytes of a range. What is beyond the end of the file is zero.
fn bytes(file: &File, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
    let end = file.metadata()?.len().clamp(range.start, range.end);
    let present = usize::try_from(end - range.start).map_err(io::Error::other)?;
    file.read_exact_at(&mut bytes[..present], range.start)?;
    Ok(bytes)
}
