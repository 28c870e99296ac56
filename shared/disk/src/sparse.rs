//! Sparse files: where they hold data.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// The first range at or after `offset` that is not a hole, in the first `size` bytes of a file. If the file system
/// does not report holes, all of the file is data. Moves the file's cursor.
///
/// # Errors
/// Any error of seeking in the file.
pub fn next_data(file: &File, offset: u64, size: u64) -> io::Result<Option<Range<u64>>> {
    if offset >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start.max(offset),
        // There is only a hole after the offset.
        Err(Errno::NXIO) => return Ok(None),
        // The file system does not report holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(offset..size)),
        Err(error) => return Err(error.into()),
    };
    if start >= size {
        return Ok(None);
    }
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    // If the file changes at the same time, the end may be before the start.
    Ok(Some(start..end.clamp(start + 1, size)))
}

/// All ranges of a file's first `size` bytes that are not holes, in order.
///
/// # Errors
/// Any error of seeking in the file.
pub fn data_ranges(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    while let Some(range) = next_data(file, ranges.last().map_or(0, |last| last.end), size)? {
        ranges.push(range);
    }
    Ok(ranges)
}
