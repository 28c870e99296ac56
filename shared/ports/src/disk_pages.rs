//! Writes to the content of a disk that awaits an upload, with the checksums that the service returns.
//!
//! Writes to such content cannot be conditional, so no write is refused because of an earlier one. All writers of a
//! disk must therefore write the same bytes to the same places.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::hash::Md5Sum;
use goldfleet_model::store::BlobAddress;

use super::blob_store::{Checksums, MAX_PAGE_WRITE, PAGE};
use super::disk_access::DiskSas;
use super::error::{ErrorKind, PortError, PortResult};

/// The source from which the service reads the bytes of a write.
#[derive(Debug, Clone)]
pub enum PageSource {
    /// Another disk or snapshot.
    Disk(DiskSas),
    /// A block blob.
    Blob(BlobAddress),
}

/// The checksums of the written bytes in the response to a write, as far as the service returns them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageAnswer {
    /// Their MD5.
    pub md5: Option<Md5Sum>,
    /// Their CRC-64/NVME.
    pub crc64: Option<u64>,
}

impl PageAnswer {
    /// Whether the service wrote the bytes with these checksums. None if the response does not prove it.
    #[must_use]
    pub fn proves(&self, expected: &Checksums) -> Option<bool> {
        let md5 = self.md5.zip(expected.md5).map(|(written, expected)| written == expected);
        let crc64 = self.crc64.map(|written| written == expected.crc64);
        match (md5, crc64) {
            (None, None) => None,
            (Some(false), _) | (_, Some(false)) => Some(false),
            _ => Some(true),
        }
    }
}

/// Writes to the content of a disk. Ranges are multiples of 512 bytes, and at most [`MAX_PAGE_WRITE`] long.
#[async_trait]
pub trait DiskPages: Send + Sync {
    /// Writes bytes. With `crc64`, the request contains this checksum.
    ///
    /// # Errors
    /// `Denied` with the code [`ACCESS_ENDED`](super::disk_content::ACCESS_ENDED) if the SAS gives no access any more,
    /// `Corrupt` or `Invalid` if the service finds another checksum, or if it refuses or cannot be reached.
    async fn write(&self, sas: &DiskSas, offset: u64, bytes: Bytes, crc64: Option<u64>) -> PortResult<PageAnswer>;

    /// Requests that the service reads a range of a source and writes it at `offset`. With `checksums`, the request
    /// contains the checksums of the source's bytes that the service supports. Not every service verifies them.
    ///
    /// # Errors
    /// As [`DiskPages::write`]. If the source is at fault, the error has a
    /// [`SourceFault`](super::error::SourceFault). `Invalid` if the service does not support the source or the checksum.
    async fn write_from(
        &self,
        sas: &DiskSas,
        offset: u64,
        source: &PageSource,
        range: Range<u64>,
        checksums: Option<Checksums>,
    ) -> PortResult<PageAnswer>;

    /// Reads back a range, and compares its CRC-64.
    ///
    /// # Errors
    /// As [`DiskContent::read`](super::disk_content::DiskContent::read).
    async fn holds(&self, sas: &DiskSas, range: Range<u64>, checksums: Checksums) -> PortResult<bool>;
}

/// Checks the place of a write, for all adapters.
///
/// # Errors
/// `Invalid` if offset or length are not multiples of [`PAGE`], or if the length is 0 or more than [`MAX_PAGE_WRITE`].
pub fn check_write(offset: u64, length: u64) -> PortResult<()> {
    if offset.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && (1..=MAX_PAGE_WRITE).contains(&length) {
        return Ok(());
    }
    let message =
        format!("{length} bytes at {offset}: a write has whole pages of {PAGE} bytes, at most {MAX_PAGE_WRITE}");
    Err(PortError::new(ErrorKind::Invalid, message))
}

/// Checks that a write ends inside of a content of `length` bytes, for all adapters.
///
/// # Errors
/// `Invalid` if it does not.
pub fn check_inside(offset: u64, written: u64, length: u64) -> PortResult<()> {
    match offset.checked_add(written) {
        Some(end) if end <= length => Ok(()),
        _ => {
            let message = format!("{written} bytes at {offset} exceed the content, which has {length} bytes");
            Err(PortError::new(ErrorKind::Invalid, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_proves_only_what_it_contains() {
        let md5 = Md5Sum::of(b"a");
        let expected = Checksums { crc64: 1, md5: Some(md5) };
        let answer = |md5, crc64| PageAnswer { md5, crc64 }.proves(&expected);
        assert_eq!(answer(None, None), None);
        assert_eq!(answer(Some(md5), None), Some(true));
        assert_eq!(answer(Some(Md5Sum::of(b"b")), Some(1)), Some(false));
        assert_eq!((answer(None, Some(1)), answer(None, Some(2))), (Some(true), Some(false)));
        let without_md5 = PageAnswer { md5: Some(md5), crc64: None }.proves(&Checksums::from(1));
        assert_eq!(without_md5, None);
    }

    #[test]
    fn writes_are_whole_pages_inside_the_content() {
        assert!(check_write(512, MAX_PAGE_WRITE).is_ok());
        for (offset, length) in [(1, 512), (0, 0), (0, 513), (0, MAX_PAGE_WRITE + 512)] {
            assert_eq!(check_write(offset, length).unwrap_err().kind, ErrorKind::Invalid, "{offset} {length}");
        }
        assert!(check_inside(512, 512, 1024).is_ok());
        assert!(check_inside(1024, 512, 1024).is_err() && check_inside(u64::MAX, 1, 1024).is_err());
    }
}
