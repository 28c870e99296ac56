//! Comparison of a fixed VHD with the disk that it should hold.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::azure::AzureDisk;
use crate::bytes::index;
use crate::file::FileDisk;
use crate::formats::vhd::FOOTER_SIZE;
use crate::{DiskError, DiskReader};

/// Bytes that are compared at once.
const PIECE: u64 = 1 << 20;

/// Compares the file at `copy` with the fixed VHD of a disk, footer included. Returns the offset of the first
/// difference. Holes of both are not read.
///
/// # Errors
/// [`DiskError`] if one of them cannot be read.
pub fn same_disk(golden: &AzureDisk, copy: &Path) -> Result<Option<u64>, DiskError> {
    let file = File::open(copy)?;
    let (size, length) = (golden.size(), file.metadata()?.len());
    if length != size + FOOTER_SIZE as u64 {
        return Ok(Some(length.min(size)));
    }
    let mut footer = [0; FOOTER_SIZE];
    file.read_exact_at(&mut footer, size)?;
    let different = first_difference(golden, &FileDisk::new(file)?, size)?;
    Ok(different.or((footer != golden.footer()).then_some(size)))
}

/// The offset of the first difference in the first `size` bytes of two disks.
///
/// # Errors
/// [`DiskError`] if one of them cannot be read.
pub fn first_difference(a: &dyn DiskReader, b: &dyn DiskReader, size: u64) -> Result<Option<u64>, DiskError> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < size {
        // Holes of both disks are equal.
        let next = [a.next_data(at)?, b.next_data(at)?].into_iter().flatten().min_by_key(|range| range.start);
        let Some(Range { start, end }) = next.filter(|range| range.start < size) else { return Ok(None) };
        let end = end.min(start + PIECE).min(size);
        let length = index(end - start);
        left.resize(length, 0);
        right.resize(length, 0);
        a.read_at(start, &mut left)?;
        b.read_at(start, &mut right)?;
        if left != right {
            let same = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
            return Ok(Some(start + same as u64));
        }
        at = end;
    }
    Ok(None)
}
