//! Comparing a fixed VHD with the disk it should be.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::disk::{Disk, file_ranges};
use super::footer::FOOTER_SIZE;
use crate::chunk::is_zero;
use crate::ranges::without;

/// Bytes that are compared at once.
const PIECE: u64 = 1 << 20;

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
    let theirs = file_ranges(&file, size)?;
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

fn pieces(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let end = range.end;
    (range.start..end).step_by(1 << 20).map(move |start| start..(start + PIECE).min(end))
}

fn resize(buffer: &mut Vec<u8>, range: &Range<u64>) {
    // At most a piece.
    buffer.resize(usize::try_from(range.end - range.start).unwrap_or(0), 0);
}

fn compare(
    range: &Range<u64>,
    expected: &mut Vec<u8>,
    found: &mut Vec<u8>,
    golden: &Disk,
    file: &File,
) -> io::Result<Option<u64>> {
    for piece in pieces(range) {
        resize(expected, &piece);
        resize(found, &piece);
        golden.read_at(piece.start, expected).map_err(io::Error::other)?;
        file.read_exact_at(found, piece.start)?;
        if expected != found {
            let at = expected.iter().zip(found.iter()).take_while(|(a, b)| a == b).count();
            return Ok(Some(piece.start + at as u64));
        }
    }
    Ok(None)
}

/// Where something other than zero is, in a range where the golden disk has a hole.
fn first_data(range: &Range<u64>, found: &mut Vec<u8>, file: &File) -> io::Result<Option<u64>> {
    for piece in pieces(range) {
        resize(found, &piece);
        file.read_exact_at(found, piece.start)?;
        if !is_zero(found) {
            let at = found.iter().take_while(|&&byte| byte == 0).count();
            return Ok(Some(piece.start + at as u64));
        }
    }
    Ok(None)
}
