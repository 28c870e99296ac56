//! Comparing a fixed VHD with the disk it should be.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use goldfleet_model::ranges::{pieces, without};

use super::disk::Disk;
use super::footer::FOOTER_SIZE;
use crate::chunk::is_zero;
use crate::sparse::data_ranges;

/// Bytes that are compared at once.
const PIECE: usize = 1 << 20;

/// Whether the file at `copy` is, byte for byte, the fixed VHD that `golden` stands for, its footer included. Returns the
/// offset of the first difference, if there is one. What is a hole in both is not read.
///
/// # Errors
/// Where one of them can't be read.
pub fn same_disk(golden: &Disk, copy: &Path) -> io::Result<Option<u64>> {
    let file = File::open(copy)?;
    let (size, length) = (golden.size(), file.metadata()?.len());
    if length != size + FOOTER_SIZE as u64 {
        return Ok(Some(length.min(size)));
    }
    let ours = golden.data_ranges().map_err(io::Error::other)?;
    let theirs = data_ranges(&file, size)?;
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for range in &ours {
        if let Some(at) = compare(range, &mut expected, &mut found, golden, &file)? {
            return Ok(Some(at));
        }
    }
    for range in &theirs {
        for outside in without(range, &ours) {
            if let Some(at) = first_data(&outside, &mut found, &file)? {
                return Ok(Some(at));
            }
        }
    }
    let mut footer = [0; FOOTER_SIZE];
    file.read_exact_at(&mut footer, size)?;
    Ok((footer != golden.footer()).then_some(size))
}

fn compare(
    range: &Range<u64>,
    expected: &mut Vec<u8>,
    found: &mut Vec<u8>,
    golden: &Disk,
    file: &File,
) -> io::Result<Option<u64>> {
    for (start, length) in pieces(range, PIECE) {
        expected.resize(length, 0);
        found.resize(length, 0);
        golden.read_at(start, expected).map_err(io::Error::other)?;
        file.read_exact_at(found, start)?;
        if expected != found {
            let same = expected.iter().zip(found.iter()).take_while(|(a, b)| a == b).count();
            return Ok(Some(start + same as u64));
        }
    }
    Ok(None)
}

/// Where something other than zero is, in a range where the golden disk has a hole.
fn first_data(range: &Range<u64>, found: &mut Vec<u8>, file: &File) -> io::Result<Option<u64>> {
    for (start, length) in pieces(range, PIECE) {
        found.resize(length, 0);
        file.read_exact_at(found, start)?;
        if !is_zero(found) {
            let zeros = found.iter().take_while(|&&byte| byte == 0).count();
            return Ok(Some(start + zeros as u64));
        }
    }
    Ok(None)
}
