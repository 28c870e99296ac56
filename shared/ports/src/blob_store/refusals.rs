//! Checks and errors that the adapters share, beside those in the parent module.

use std::ops::Range;

use goldfleet_model::store::BlobAddress;

use super::{Fence, PAGE, SourceRange};
use crate::error::{ErrorKind, PortError, PortResult, SourceFault};

/// Checks that a range is in a blob of this length.
///
/// # Errors
/// `Invalid` if the range ends beyond the blob, or before it begins.
pub fn check_inside(blob: &BlobAddress, range: &Range<u64>, length: u64) -> PortResult<()> {
    if range.start <= range.end && range.end <= length {
        return Ok(());
    }
    let message = format!("{blob}: bytes {} to {} are outside the blob, which has {length}", range.start, range.end);
    Err(PortError::new(ErrorKind::Invalid, message))
}

/// Checks the length of a page blob that is to be created.
///
/// # Errors
/// `Invalid` if it is not a multiple of [`PAGE`].
pub fn check_page_blob_length(blob: &BlobAddress, length: u64) -> PortResult<()> {
    if length.is_multiple_of(PAGE) {
        return Ok(());
    }
    let message = format!("{blob}: a page blob cannot have {length} bytes: use a multiple of {PAGE}");
    Err(PortError::new(ErrorKind::Invalid, message))
}

/// Checks that a blob may be written under `fence`. `newest` is the last fence that was taken.
///
/// # Errors
/// `Fenced` if `newest` is another fence.
pub fn check_fence(blob: &BlobAddress, fence: Fence, newest: Fence) -> PortResult<()> {
    if fence >= newest {
        return Ok(());
    }
    let message = format!("{blob}: the fence {} is not valid any more, {} was taken", fence.0, newest.0);
    Err(PortError::new(ErrorKind::Fenced, message))
}

/// Checks that the range of a source is in its blob, which has `length` bytes.
///
/// # Errors
/// `Invalid` if the range ends before it begins, `Corrupt` (`source-corrupt`) if the blob is too short.
pub fn check_source(source: &SourceRange, length: u64) -> PortResult<()> {
    let SourceRange { blob, range, .. } = source;
    if range.start > range.end {
        let message = format!("the source {blob}: the range {} to {} is reversed", range.start, range.end);
        return Err(PortError::new(ErrorKind::Invalid, message));
    }
    if range.end > length {
        return Err(corrupt_source(source, &format!("the blob has only {length} bytes")));
    }
    Ok(())
}

/// Checks that the range of a source is its whole blob, which has `length` bytes.
///
/// # Errors
/// As [`check_source`], and `Corrupt` if the blob is longer than the range.
pub fn check_whole_source(source: &SourceRange, length: u64) -> PortResult<()> {
    check_source(source, length)?;
    if source.range == (0..length) {
        return Ok(());
    }
    Err(corrupt_source(source, &format!("the blob has {length} bytes")))
}

/// `NotFound` of a blob.
#[must_use]
pub fn no_blob(blob: &BlobAddress) -> PortError {
    PortError::new(ErrorKind::NotFound, format!("there is no blob {blob}"))
}

/// `AlreadyExists` of a blob.
#[must_use]
pub fn blob_exists(blob: &BlobAddress) -> PortError {
    PortError::new(ErrorKind::AlreadyExists, format!("the blob {blob} already exists"))
}

/// The error `Conflict` for a blob that is not in the version that a request names.
#[must_use]
pub fn version_changed(blob: &BlobAddress) -> PortError {
    PortError::new(ErrorKind::Conflict, format!("{blob} has changed since its version was read"))
}

/// The error `Invalid` for a request for pages of a blob that is not a page blob.
#[must_use]
pub fn not_a_page_blob(blob: &BlobAddress) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{blob} is no page blob")).with_code("not-a-page-blob")
}

/// `NotFound` of a source.
#[must_use]
pub fn missing_source(source: &BlobAddress) -> PortError {
    let message = format!("the source {source} does not exist");
    PortError::new(ErrorKind::NotFound, message).with_source_fault(SourceFault::Missing)
}

/// `Corrupt` of a source.
#[must_use]
pub fn corrupt_source(source: &SourceRange, why: &str) -> PortError {
    let SourceRange { blob, range, .. } = source;
    let message = format!("the source {blob}, bytes {} to {}: {why}", range.start, range.end);
    PortError::new(ErrorKind::Corrupt, message).with_source_fault(SourceFault::Corrupt)
}
