//! Blobs: chunks and manifests as block blobs, VHDs as page blobs. If possible, bytes are copied from server to server.
//!
//! A write that returns `Ok` is verified: the bytes at the destination have the checksum that the caller gave. The
//! evidence is a checksum that the service computed from the bytes that it wrote. If the response of the service
//! contains none, the adapter reads the bytes back. A service that accepts a checksum in the request proves nothing:
//! see [`SourceRange`].

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

/// Sizes of page writes and page blobs are multiples of this, in bytes. Source: Azure page blobs, 512 bytes.
pub const PAGE: u64 = 512;

/// The properties of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobProperties {
    /// Its length in bytes.
    pub length: u64,
    /// The ETag of its version.
    pub etag: ETag,
    /// When it was last written or touched, see [`BlobStore::touch`].
    pub modified: Timestamp,
    /// Its metadata. Keys are lower case.
    pub metadata: BTreeMap<String, String>,
}

/// A blob in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBlob {
    /// The name in the container.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// The ETag of its version.
    pub etag: ETag,
    /// When it was last written or touched.
    pub modified: Timestamp,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlobPage {
    /// The blobs of this page, in the order of their names.
    pub blobs: Vec<ListedBlob>,
    /// The marker of the next page. None on the last page.
    pub next: Option<String>,
}

/// The checksums of bytes, computed before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksums {
    /// Their CRC-64/NVME.
    pub crc64: u64,
    /// Their MD5, if it is known.
    pub md5: Option<Md5Sum>,
}

impl From<u64> for Checksums {
    /// A CRC-64/NVME without an MD5.
    fn from(crc64: u64) -> Self {
        Self { crc64, md5: None }
    }
}

/// A range of a blob, and the checksums that its bytes must have.
///
/// Not every service rejects a source with another checksum. Azure's Put Page From URL accepts
/// `x-ms-source-content-crc64` and does not verify it (azure-sdk-for-go pull request 20616, whose live test is skipped
/// for that reason). It verifies `x-ms-source-content-md5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRange {
    /// The blob.
    pub blob: BlobAddress,
    /// The byte range.
    pub range: Range<u64>,
    /// The CRC-64/NVME of the range.
    pub crc64: u64,
    /// The MD5 of the range, if it is known.
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
    /// A fence that is newer than all fences taken before `now`, including those of blobs that were deleted since: the
    /// microseconds since 1970. A later fence adds one, and no process takes a million fences per second. The clock
    /// difference between two holders must be less than the time between them; leases leave that time.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        // `now` is before 1970 only if the clock is wrong. Then fences start at zero and only count.
        Self(u64::try_from(now.as_microsecond()).unwrap_or(0))
    }
}

/// The state of a copy that the service performs asynchronously.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// The copy is in progress. Not every service reports the progress.
    Pending {
        /// The bytes copied so far.
        done: u64,
        /// The length of the source in bytes.
        total: u64,
    },
    /// The copy is complete.
    Done,
    /// The copy was stopped on request. The blob is empty.
    Aborted,
    /// The service stopped the copy for this reason.
    Failed(String),
}

/// The status of a current or completed copy that the service performs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyStatus {
    /// The id of the copy.
    pub id: String,
    /// The state of the copy.
    pub state: CopyState,
}

/// Blobs in containers of storage accounts.
///
/// An error that the source causes, and not the destination, is marked as such: see
/// [`SourceFault`](super::error::SourceFault) for its kind and its code.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Creates a private container if it does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn ensure_container(&self, container: &Container) -> PortResult<()>;

    /// Writes a whole block blob if no blob of that name exists.
    ///
    /// # Errors
    /// `AlreadyExists` if a blob exists. `Corrupt` if `body` or the written bytes do not have these checksums. Then the
    /// written blob is deleted, unless the call is interrupted.
    async fn put_blob(&self, blob: &BlobAddress, body: Bytes, checksums: Checksums) -> PortResult<()>;

    /// Writes a whole block blob from a whole source blob, server to server, if no blob of that name exists. The range
    /// must be the whole source: Azure's Put Blob From URL does not accept a part of a blob.
    ///
    /// # Errors
    /// `AlreadyExists` if a blob exists. `Corrupt` if the source does not have its checksum (or is longer than the
    /// range), or if the written bytes do not have it. Then the written blob is deleted, unless the call is
    /// interrupted. `NotFound` if the source does not exist.
    async fn put_blob_from(&self, blob: &BlobAddress, source: &SourceRange) -> PortResult<()>;

    /// Reads a blob or a range of it.
    ///
    /// # Errors
    /// `NotFound` if the blob does not exist, `Invalid` if the range is not within it.
    async fn get(&self, blob: &BlobAddress, range: Option<Range<u64>>) -> PortResult<Bytes>;

    /// Whether the stored bytes of a range have its CRC-64. The bytes are read back.
    ///
    /// # Errors
    /// The errors of [`BlobStore::get`].
    async fn holds(&self, range: &SourceRange) -> PortResult<bool> {
        let bytes = self.get(&range.blob, Some(range.range.clone())).await?;
        Ok(goldfleet_model::checksum::crc64(&bytes) == range.crc64)
    }

    /// The properties of a blob. None if it does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn properties(&self, blob: &BlobAddress) -> PortResult<Option<BlobProperties>>;

    /// Lists blobs whose names begin with `prefix`, in order. `marker` is [`BlobPage::next`] of the previous page. The
    /// list is empty if the container does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn list(&self, container: &Container, prefix: &str, marker: Option<&str>) -> PortResult<BlobPage>;

    /// Gives a blob a new ETag and sets its modification time to the present. Its bytes do not change.
    ///
    /// # Errors
    /// `Conflict` if its ETag is no longer `if_match`. A blob that does not exist can be `NotFound` or `Conflict`,
    /// because services check these conditions in different orders.
    async fn touch(&self, blob: &BlobAddress, if_match: &ETag) -> PortResult<()>;

    /// Deletes a blob, on condition of its ETag if one is given. Returns whether the blob existed.
    ///
    /// # Errors
    /// `Conflict` if its ETag is no longer `if_match`.
    async fn delete(&self, blob: &BlobAddress, if_match: Option<&ETag>) -> PortResult<bool>;

    /// Creates a page blob of `length` zero bytes (a multiple of [`PAGE`]) if no blob of that name exists. Fences taken
    /// on an earlier blob of that name are `Fenced` on this one.
    ///
    /// # Errors
    /// `AlreadyExists` if a blob exists.
    async fn create_page_blob(
        &self,
        blob: &BlobAddress,
        length: u64,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<()>;

    /// Takes the right to write a page blob from its present holder: raises the sequence number of the blob and returns
    /// it. All later writes under a lower fence are `Fenced`. A fence is never issued twice for one name, even if the
    /// blob was deleted and created again in between, by [`BlobStore::create_page_blob`] or as a copy.
    ///
    /// # Errors
    /// `NotFound` if the blob does not exist.
    async fn take_fence(&self, blob: &BlobAddress) -> PortResult<Fence>;

    /// Writes pages.
    ///
    /// # Errors
    /// `Fenced` if a newer fence was taken. `Invalid` if offset or length are not multiples of [`PAGE`], if the length
    /// exceeds [`MAX_PAGE_WRITE`], or if the range exceeds the blob. `Corrupt` if `body` or the written bytes do not
    /// have the checksum `crc64`; the content of the pages is then undefined.
    async fn put_pages(&self, blob: &BlobAddress, fence: Fence, offset: u64, body: Bytes, crc64: u64)
    -> PortResult<()>;

    /// Writes pages from a range of another blob, server to server.
    ///
    /// # Errors
    /// The errors of [`BlobStore::put_pages`] and [`BlobStore::put_blob_from`]; see [`check_pages_from`]. After
    /// `Corrupt` the content of the pages is undefined, because some services write a source before they check it.
    async fn put_pages_from(
        &self,
        blob: &BlobAddress,
        fence: Fence,
        offset: u64,
        source: &SourceRange,
    ) -> PortResult<()>;

    /// Sets pages to zero.
    ///
    /// # Errors
    /// The errors of [`BlobStore::put_pages`], without a limit of the length.
    async fn clear_pages(&self, blob: &BlobAddress, fence: Fence, range: Range<u64>) -> PortResult<()>;

    /// Starts a copy of a whole page blob, which the service performs asynchronously, if no blob of that name exists.
    /// The new blob has the given metadata. Within an account a copy takes seconds for any length; elsewhere it takes
    /// up to days. No checksum verifies its bytes, so callers that rely on them must read them back, see
    /// [`BlobStore::holds`].
    ///
    /// # Errors
    /// `AlreadyExists` if a blob exists, `NotFound` if the source does not exist.
    async fn start_copy(
        &self,
        blob: &BlobAddress,
        source: &BlobAddress,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<CopyStatus>;

    /// The status of the copy that created or is creating a blob. None if the blob does not exist or was created in
    /// another way.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn copy_status(&self, blob: &BlobAddress) -> PortResult<Option<CopyStatus>>;

    /// Stops a copy that is in progress. It is not an error if the copy has ended.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn abort_copy(&self, blob: &BlobAddress, id: &str) -> PortResult<()>;

    /// The ranges of a page blob that can contain data, in order.
    ///
    /// # Errors
    /// `NotFound` if the blob does not exist.
    async fn page_ranges(&self, blob: &BlobAddress) -> PortResult<Vec<Range<u64>>>;
}

/// Checks that a body has the checksum with which it is written.
///
/// # Errors
/// `Corrupt` if it has another checksum.
pub fn check_body(blob: &BlobAddress, body: &[u8], crc64: u64) -> PortResult<()> {
    let actual = goldfleet_model::checksum::crc64(body);
    if actual == crc64 {
        return Ok(());
    }
    let message = format!("{blob}: the body has the checksum {actual:016x}, not {crc64:016x}");
    Err(PortError::new(ErrorKind::Corrupt, message))
}

/// Checks the arguments of a page write, for all adapters.
///
/// # Errors
/// `Invalid` if offset or length are not multiples of [`PAGE`], or if the length is zero or exceeds [`MAX_PAGE_WRITE`].
pub fn check_pages(blob: &BlobAddress, offset: u64, length: u64) -> PortResult<()> {
    let aligned = offset.is_multiple_of(PAGE) && length.is_multiple_of(PAGE);
    if aligned && (1..=MAX_PAGE_WRITE).contains(&length) {
        Ok(())
    } else {
        Err(PortError::new(
            ErrorKind::Invalid,
            format!(
                "{blob}: {length} bytes at {offset} are not a page write: use multiples of {PAGE}, at most {MAX_PAGE_WRITE}"
            ),
        ))
    }
}

/// Checks the arguments of a page write from a source, for all adapters.
///
/// # Errors
/// The errors of [`check_pages`], and `Invalid` if the range in the source does not begin at a multiple of [`PAGE`].
pub fn check_pages_from(blob: &BlobAddress, offset: u64, source: &SourceRange) -> PortResult<()> {
    check_pages(blob, offset, source.range.end.saturating_sub(source.range.start))?;
    if source.range.start.is_multiple_of(PAGE) {
        return Ok(());
    }
    let message = format!("{blob}: {} in {} is not a multiple of {PAGE}", source.range.start, source.blob);
    Err(PortError::new(ErrorKind::Invalid, message))
}

/// Checks the arguments of [`BlobStore::clear_pages`], for all adapters.
///
/// # Errors
/// `Invalid` if the range is empty or its bounds are not multiples of [`PAGE`].
pub fn check_clear(blob: &BlobAddress, range: &Range<u64>) -> PortResult<()> {
    if range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE) && !range.is_empty() {
        return Ok(());
    }
    let message = format!("{blob}: {} to {} are not whole pages", range.start, range.end);
    Err(PortError::new(ErrorKind::Invalid, message))
}
