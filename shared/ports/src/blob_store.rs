//! Blobs: chunks and manifests as block blobs, VHDs as page blobs. Bytes go from server to server where they can.
//!
//! A write that returns `Ok` is proven: the bytes at the destination have the checksum that the caller gave. An adapter takes
//! a checksum that the service computed of what it wrote as the proof. Where the service's answer has none, the adapter reads
//! back what was written. That the service accepted a checksum in the request proves nothing: see [`SourceRange`].

mod refusals;

use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::hash::Md5Sum;
use goldfleet_model::store::{BlobAddress, Container};
use jiff::Timestamp;

use super::ETag;
use super::error::{ErrorKind, PortError, PortResult};

pub use refusals::{
    blob_exists, check_fence, check_inside, check_page_blob_length, check_source, check_whole_source, corrupt_source,
    missing_source, no_blob, not_a_page_blob, version_changed,
};

/// The most bytes that one page write takes. Source: Azure, Put Page and Put Page From URL, 4 MiB.
pub const MAX_PAGE_WRITE: u64 = 4 * 1024 * 1024;

/// The size that page writes and page blobs are multiples of. Source: Azure page blobs, 512 bytes.
pub const PAGE: u64 = 512;

/// What is known of a blob without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobProperties {
    /// Its length in bytes.
    pub length: u64,
    /// Its version.
    pub etag: ETag,
    /// When it was last written or touched.
    pub modified: Timestamp,
    /// Its metadata. Keys are lower case.
    pub metadata: BTreeMap<String, String>,
}

/// A blob in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBlob {
    /// Its name in the container.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its version.
    pub etag: ETag,
    /// When it was last written or touched.
    pub modified: Timestamp,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlobPage {
    /// Some blobs, in the order of their names.
    pub blobs: Vec<ListedBlob>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
}

/// The checksums of some bytes, taken before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksums {
    /// Their CRC-64/NVME.
    pub crc64: u64,
    /// Their MD5, where it is known.
    pub md5: Option<Md5Sum>,
}

impl From<u64> for Checksums {
    /// A CRC-64/NVME alone.
    fn from(crc64: u64) -> Self {
        Self { crc64, md5: None }
    }
}

/// A range of a blob, and the checksums that its bytes must have.
///
/// Not every service refuses a source that has another checksum. Azure's Put Page From URL accepts
/// `x-ms-source-content-crc64` and does not verify it (azure-sdk-for-go pull request 20616, whose live test is skipped for
/// that reason); it does verify `x-ms-source-content-md5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRange {
    /// The blob.
    pub blob: BlobAddress,
    /// Bytes of it.
    pub range: Range<u64>,
    /// The CRC-64/NVME of the range.
    pub crc64: u64,
    /// The MD5 of the range, where it is known.
    pub md5: Option<Md5Sum>,
}

impl SourceRange {
    /// The checksums of the range.
    #[must_use]
    pub fn checksums(&self) -> Checksums {
        Checksums { crc64: self.crc64, md5: self.md5 }
    }
}

/// The right to write a page blob: see [`BlobStore::take_fence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

impl Fence {
    /// A fence that is newer than those which were taken before `now`, whatever became of their blobs: the microseconds since
    /// 1970. Fences count from there one by one, and nobody takes a million of them a second. What clocks differ by must be
    /// less than the time between a holder and the next, which is what leases leave for it.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        // The clock is before 1970 only where it is wrong; then only the count is left.
        Self(u64::try_from(now.as_microsecond()).unwrap_or(0))
    }
}

/// How far a copy is that a service makes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// Under way. The service may not say how far.
    Pending {
        /// Bytes copied.
        done: u64,
        /// Bytes of the source.
        total: u64,
    },
    /// The blob is whole.
    Done,
    /// Stopped on request: the blob is empty.
    Aborted,
    /// Given up by the service, for this reason.
    Failed(String),
}

/// A copy that a service makes, or made, by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyStatus {
    /// Which copy it is.
    pub id: String,
    /// How far it is.
    pub state: CopyState,
}

/// Blobs in containers of storage accounts.
///
/// An error that is the source's and not the destination's says so: [`SourceFault`](super::error::SourceFault) has its kind
/// and its code.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Makes sure that a container is there, private.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn ensure_container(&self, container: &Container) -> PortResult<()>;

    /// Writes a whole block blob, only if there is none of that name.
    ///
    /// # Errors
    /// `AlreadyExists` where there is one, `Corrupt` where `body` or what was written does not have these checksums. Then
    /// nothing is left of it, unless the caller is cut short.
    async fn put_blob(&self, blob: &BlobAddress, body: Bytes, checksums: Checksums) -> PortResult<()>;

    /// Writes a whole block blob from the whole of another, server to server, only if there is none of that name. The
    /// range must be all of the source: Azure's Put Blob From URL takes no part of a blob.
    ///
    /// # Errors
    /// `AlreadyExists` where there is one, `Corrupt` where the source does not have its checksum (or is longer than the
    /// range), or not when it arrived: then nothing is left of it, unless the caller is cut short. `NotFound` where the
    /// source is not there.
    async fn put_blob_from(&self, blob: &BlobAddress, source: &SourceRange) -> PortResult<()>;

    /// Reads a blob, or a range of it.
    ///
    /// # Errors
    /// `NotFound` where it is not there, `Invalid` where the range is not in it.
    async fn get(&self, blob: &BlobAddress, range: Option<Range<u64>>) -> PortResult<Bytes>;

    /// Whether a range has its CRC-64, as read back from where it is stored.
    ///
    /// # Errors
    /// As [`BlobStore::get`].
    async fn holds(&self, range: &SourceRange) -> PortResult<bool> {
        let bytes = self.get(&range.blob, Some(range.range.clone())).await?;
        Ok(goldfleet_model::checksum::crc64(&bytes) == range.crc64)
    }

    /// What is known of a blob; none where it is not there.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn properties(&self, blob: &BlobAddress) -> PortResult<Option<BlobProperties>>;

    /// Blobs whose names begin with `prefix`, in order, from `marker` (of the page before) on. A container that is not
    /// there has no blobs.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn list(&self, container: &Container, prefix: &str, marker: Option<&str>) -> PortResult<BlobPage>;

    /// Gives a blob a new version and the present time, its bytes unchanged.
    ///
    /// # Errors
    /// `Conflict` where it is no longer in the version `if_match`. One that is not there may be `NotFound` or `Conflict`:
    /// services differ in which condition they check first.
    async fn touch(&self, blob: &BlobAddress, if_match: &ETag) -> PortResult<()>;

    /// Removes a blob, on condition of its version where one is given. Returns whether there was one.
    ///
    /// # Errors
    /// `Conflict` where it is no longer in the version `if_match`.
    async fn delete(&self, blob: &BlobAddress, if_match: Option<&ETag>) -> PortResult<bool>;

    /// Makes a page blob of `length` zero bytes (a multiple of [`PAGE`]), only if there is no blob of that name. Fences that
    /// were taken on an earlier blob of that name are `Fenced` on this one.
    ///
    /// # Errors
    /// `AlreadyExists` where there is one.
    async fn create_page_blob(
        &self,
        blob: &BlobAddress,
        length: u64,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<()>;

    /// Takes the right to write a page blob from whoever has it: raises the blob's sequence number and returns it.
    /// Writes under a lower fence are `Fenced` from now on, wherever they come from. No fence is given out twice under a name,
    /// even where the blob was removed and made again in between, as zeros or as a copy.
    ///
    /// # Errors
    /// `NotFound` where the blob is not there.
    async fn take_fence(&self, blob: &BlobAddress) -> PortResult<Fence>;

    /// Writes pages.
    ///
    /// # Errors
    /// `Fenced` where a newer fence was taken, `Invalid` where offset or length are no multiples of [`PAGE`], over
    /// [`MAX_PAGE_WRITE`] or beyond the blob's end, `Corrupt` where `body` or what was written does not have the checksum
    /// `crc64`: then the pages may hold anything.
    async fn put_pages(&self, blob: &BlobAddress, fence: Fence, offset: u64, body: Bytes, crc64: u64)
    -> PortResult<()>;

    /// Writes pages from a range of another blob, server to server.
    ///
    /// # Errors
    /// As [`BlobStore::put_pages`] and [`BlobStore::put_blob_from`]; see [`check_pages_from`]. After `Corrupt` the pages may
    /// hold anything, as not every service checks a source before it writes.
    async fn put_pages_from(
        &self,
        blob: &BlobAddress,
        fence: Fence,
        offset: u64,
        source: &SourceRange,
    ) -> PortResult<()>;

    /// Makes pages zero.
    ///
    /// # Errors
    /// As [`BlobStore::put_pages`], without a limit of length.
    async fn clear_pages(&self, blob: &BlobAddress, fence: Fence, range: Range<u64>) -> PortResult<()>;

    /// Begins a copy of a whole page blob, which the service makes by itself, only if there is no blob of that name. The
    /// new blob has this metadata. Inside an account it takes seconds whatever the length; elsewhere up to days. No checksum
    /// proves its bytes: whoever relies on them reads them back, see [`BlobStore::holds`].
    ///
    /// # Errors
    /// `AlreadyExists` where there is a blob, `NotFound` where the source is not there.
    async fn start_copy(
        &self,
        blob: &BlobAddress,
        source: &BlobAddress,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<CopyStatus>;

    /// How far the copy is that a blob was or is made by; none where there is no blob, or it was made otherwise.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn copy_status(&self, blob: &BlobAddress) -> PortResult<Option<CopyStatus>>;

    /// Stops a copy that is under way. One that has ended is no error.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn abort_copy(&self, blob: &BlobAddress, id: &str) -> PortResult<()>;

    /// The ranges of a page blob that may hold data, in order.
    ///
    /// # Errors
    /// `NotFound` where the blob is not there.
    async fn page_ranges(&self, blob: &BlobAddress) -> PortResult<Vec<Range<u64>>>;
}

/// Checks that a body has the checksum that it is written with.
///
/// # Errors
/// `Corrupt` where it has another.
pub fn check_body(blob: &BlobAddress, body: &[u8], crc64: u64) -> PortResult<()> {
    let actual = goldfleet_model::checksum::crc64(body);
    if actual == crc64 {
        return Ok(());
    }
    let message = format!("{blob}: the body has the checksum {actual:016x}, not {crc64:016x}");
    Err(PortError::new(ErrorKind::Corrupt, message))
}

/// Checks what every adapter must refuse of a page write.
///
/// # Errors
/// `Invalid` where offset or length are no multiples of [`PAGE`], nothing, or over [`MAX_PAGE_WRITE`].
pub fn check_pages(blob: &BlobAddress, offset: u64, length: u64) -> PortResult<()> {
    let aligned = offset.is_multiple_of(PAGE) && length.is_multiple_of(PAGE);
    if aligned && (1..=MAX_PAGE_WRITE).contains(&length) {
        Ok(())
    } else {
        Err(PortError::new(
            ErrorKind::Invalid,
            format!(
                "{blob}: {length} bytes at {offset} are no page write: use multiples of {PAGE}, at most {MAX_PAGE_WRITE}"
            ),
        ))
    }
}

/// Checks what every adapter must refuse of a page write from a source.
///
/// # Errors
/// As [`check_pages`], and `Invalid` where the range in the source does not begin at a multiple of [`PAGE`].
pub fn check_pages_from(blob: &BlobAddress, offset: u64, source: &SourceRange) -> PortResult<()> {
    check_pages(blob, offset, source.range.end.saturating_sub(source.range.start))?;
    if source.range.start.is_multiple_of(PAGE) {
        return Ok(());
    }
    let message = format!("{blob}: {} in {} is no multiple of {PAGE}", source.range.start, source.blob);
    Err(PortError::new(ErrorKind::Invalid, message))
}

/// Checks what every adapter must refuse of a clearing of pages.
///
/// # Errors
/// `Invalid` where the range is empty or its bounds are no multiples of [`PAGE`].
pub fn check_clear(blob: &BlobAddress, range: &Range<u64>) -> PortResult<()> {
    if range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE) && !range.is_empty() {
        return Ok(());
    }
    let message = format!("{blob}: {} to {} are no pages", range.start, range.end);
    Err(PortError::new(ErrorKind::Invalid, message))
}
