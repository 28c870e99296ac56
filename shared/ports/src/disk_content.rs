//! The content of managed disks and snapshots, read by a SAS.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use super::disk_access::DiskSas;
use super::error::{ErrorKind, PortError, PortResult};

/// The maximum number of bytes of one read. The platform has no such limit. A failed read is repeated, so it is kept
/// small.
pub const MAX_READ: u64 = 4 * 1024 * 1024;

/// The code of an error for a SAS that gives no access: it has expired, or the access was ended.
pub const ACCESS_ENDED: &str = "access-ended";

/// The code of an error for two contents whose difference the service does not list: they are not incremental snapshots
/// of one disk, or the first is older than the second.
pub const NO_DIFFERENCE: &str = "difference-unsupported";

/// The ranges of the content that have data. Everything outside of the ranges is zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentLayout {
    /// The length of the content in bytes. The content of an uploaded or exported disk can end with the 512 bytes of a
    /// VHD footer.
    pub length: u64,
    /// The ranges that may hold data: in order, not empty, separate, and inside the content.
    pub data: Vec<Range<u64>>,
}

impl ContentLayout {
    /// A layout with ranges as a service returned them. `what` names the content in errors.
    ///
    /// # Errors
    /// `Invalid` with the code `page-ranges-invalid` if the ranges are not in order, overlap, or exceed the content. In
    /// this case, the layout could lack data.
    pub fn checked(what: &str, length: u64, data: Vec<Range<u64>>) -> PortResult<Self> {
        check_ranges(what, length, &data)?;
        Ok(Self { length, data })
    }
}

/// Checks the ranges that a service returned for a content of `length` bytes, for all adapters.
///
/// # Errors
/// As [`ContentLayout::checked`].
pub fn check_ranges(what: &str, length: u64, ranges: &[Range<u64>]) -> PortResult<()> {
    let mut end = 0;
    for range in ranges {
        if range.start < end || range.is_empty() || range.end > length {
            let (start, last) = (range.start, range.end);
            let message = format!(
                "{what}: the service lists data from {start} to {last} after {end}, of {length} bytes in all: \
                 the ranges must be in order and inside the content"
            );
            return Err(PortError::new(ErrorKind::Invalid, message).with_code("page-ranges-invalid"));
        }
        end = range.end;
    }
    Ok(())
}

/// Reads the content of disks and snapshots to which a SAS gives access. Errors name the resource if the adapter knows
/// it, and never the SAS.
///
/// If the SAS gives no access any more, the error is `Denied` with the code [`ACCESS_ENDED`].
#[async_trait]
pub trait DiskContent: Send + Sync {
    /// The length of the content, and where it has data.
    ///
    /// # Errors
    /// `Denied` if the SAS has expired or was ended, or if the service refuses or cannot be reached.
    async fn layout(&self, sas: &DiskSas) -> PortResult<ContentLayout>;

    /// The ranges in which the content may differ from an earlier one: in order, separate, and inside the content. A
    /// range that had data and is zero now is among them. Both are complete incremental snapshots of one disk, with
    /// equal sizes.
    ///
    /// # Errors
    /// `Denied` if a SAS has expired or was ended, `Invalid` with the code [`NO_DIFFERENCE`] if the service does not
    /// list the difference of these, or if it refuses or cannot be reached.
    async fn changes_since(&self, sas: &DiskSas, earlier: &DiskSas) -> PortResult<Vec<Range<u64>>>;

    /// The bytes of a range of at most [`MAX_READ`] bytes.
    ///
    /// # Errors
    /// `Denied` if the SAS has expired or was ended, `Invalid` if the range is too long or not inside the content, or
    /// if the service refuses or cannot be reached.
    async fn read(&self, sas: &DiskSas, range: Range<u64>) -> PortResult<Bytes>;
}

/// Checks the range of a read, for all adapters.
///
/// # Errors
/// `Invalid` if the range is empty or longer than [`MAX_READ`].
pub fn check_read(range: &Range<u64>) -> PortResult<()> {
    if !range.is_empty() && range.end - range.start <= MAX_READ {
        return Ok(());
    }
    let message = format!("{} to {}: a read has 1 to {MAX_READ} bytes", range.start, range.end);
    Err(PortError::new(ErrorKind::Invalid, message))
}

/// Checks that the range of a read is inside a content of `length` bytes, for all adapters.
///
/// # Errors
/// `Invalid` if the range ends beyond the content.
pub fn check_inside_content(range: &Range<u64>, length: u64) -> PortResult<()> {
    if range.end <= length {
        return Ok(());
    }
    let message = format!("{} to {} are outside the content, which has {length} bytes", range.start, range.end);
    Err(PortError::new(ErrorKind::Invalid, message))
}

/// The error for contents whose difference the service does not list.
#[must_use]
pub fn no_difference(what: &str, why: &str) -> PortError {
    let message = format!("{what}: the service lists no difference to the earlier snapshot: {why}");
    PortError::new(ErrorKind::Invalid, message).with_code(NO_DIFFERENCE)
}

/// The error for a SAS that gives no access.
#[must_use]
pub fn access_ended() -> PortError {
    let message = "the access to the content of a disk or snapshot has ended";
    PortError::new(ErrorKind::Denied, message).with_code(ACCESS_ENDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_service_are_checked() {
        let checked = |data: &[Range<u64>]| ContentLayout::checked("d", 2048, data.to_vec()).map_err(|e| e.code);
        assert_eq!(checked(&[]).unwrap().data, []);
        assert_eq!(checked(&[0..512, 512..1024, 1536..2048]).unwrap().length, 2048);
        for bad in [[0..512, 512..512], [512..1024, 0..512], [0..1024, 512..2048], [0..512, 512..2560]] {
            assert_eq!(checked(&bad), Err("page-ranges-invalid".to_owned()), "{bad:?}");
        }
    }

    #[test]
    fn reads_are_limited() {
        assert!(check_read(&(512..512 + MAX_READ)).is_ok());
        assert_eq!(check_read(&(0..0)).unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(check_read(&(0..MAX_READ + 1)).unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(check_inside_content(&(0..513), 512).unwrap_err().kind, ErrorKind::Invalid);
    }
}
