//! The blobs of the directory cloud: storage accounts are folders, containers are folders in them, and blobs are files.
//!
//! Any number of processes may share a directory cloud. The guarantees of the port hold across them: a blob exists
//! completely or not at all, only one of several concurrent writers creates it, and an older fence never writes after a
//! newer one. Blobs survive processes that are killed or stopped at any moment, but not a power failure, because
//! nothing is synced. The file system must support hard links and locks that work across all processes.
//!
//! - A blob is the file `<root>/<account>/<container>/<name>`. A page blob is a sparse file. An operator may view
//!   blobs, copy them and add files. The locks of goldfleet do not prevent changes by other programs.
//! - The metadata and the sequence number of a page blob are in `<root>/<account>/.goldfleet/<container>/<name>.json`.
//!   A file without it has no metadata and is not a page blob.
//! - Files that will become blobs are in `<root>/<account>/.goldfleet/tmp`.
//! - Writes use the time of the file system, touches use the injected clock. Two page writes within one tick of the
//!   file system's clock (a few milliseconds) may leave the ETag unchanged.
//!
//! If a file exists at the path of an account's folder, the account fails with `account-unusable`. This is an easy way
//! to test how goldfleet handles a failing target.

pub(crate) mod buffers;
mod files;
mod listing;
mod locks;
mod pages;
pub(super) mod paths;
mod sidecar;
pub(crate) mod source;
mod temp_blob;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::ETag;
use goldfleet_ports::blob_store::{
    BlobPage, BlobProperties, BlobStore, Checksums, CopyState, CopyStatus, Fence, SourceRange, check_body, check_pages,
    check_pages_from,
};
use goldfleet_ports::clock::Clock;
use goldfleet_ports::error::PortResult;

use self::buffers::Buffer;
use self::paths::{BlobPath, ContainerPath};
use self::source::SourceReader;
use super::blocking::blocking;

/// The number of blobs in one page of a list. Source: Azure, List Blobs, 5,000.
const LIST_PAGE: usize = 5_000;

/// Blobs as files in a folder.
#[derive(Clone)]
pub struct DirectoryBlobs {
    root: Arc<PathBuf>,
    clock: Arc<dyn Clock>,
    list_page: usize,
}

impl DirectoryBlobs {
    /// Opens the blobs under `root`.
    #[must_use]
    pub fn new(root: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { root: Arc::new(root), clock, list_page: LIST_PAGE }
    }

    /// Returns the same store with shorter list pages, for tests of several pages.
    #[must_use]
    pub fn with_list_page(mut self, blobs: usize) -> Self {
        self.list_page = blobs.max(1);
        self
    }

    fn blob_path(&self, blob: &BlobAddress) -> PortResult<BlobPath> {
        BlobPath::parse(&self.root, blob)
    }
}

impl std::fmt::Debug for DirectoryBlobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectoryBlobs").field("root", &self.root).finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobStore for DirectoryBlobs {
    async fn ensure_container(&self, container: &Container) -> PortResult<()> {
        let home = ContainerPath::new(&self.root, container)?;
        blocking(move || {
            std::fs::create_dir_all(&home.folder).map_err(|error| home.io_error("make the container", error))?;
            // Once per container and process is enough to limit abandoned files.
            temp_blob::remove_abandoned(&home);
            Ok(())
        })
        .await
    }

    async fn put_blob(&self, blob: &BlobAddress, body: Bytes, checksums: Checksums) -> PortResult<()> {
        let blob_path = self.blob_path(blob)?;
        blocking(move || {
            check_body(&blob_path.blob, &body, checksums.crc64)?;
            files::write(&blob_path, &body)
        })
        .await
    }

    async fn put_blob_from(&self, blob: &BlobAddress, source: &SourceRange) -> PortResult<()> {
        let (blob_path, root, source) = (self.blob_path(blob)?, self.root.clone(), source.clone());
        let mut buffer = Buffer::acquire().await?;
        blocking(move || files::write_from(&blob_path, &SourceReader::open_whole(&root, &source)?, buffer.bytes()))
            .await
    }

    async fn get(&self, blob: &BlobAddress, range: Option<Range<u64>>) -> PortResult<Bytes> {
        let blob_path = self.blob_path(blob)?;
        blocking(move || files::read(&blob_path, range)).await
    }

    async fn properties(&self, blob: &BlobAddress) -> PortResult<Option<BlobProperties>> {
        let blob_path = self.blob_path(blob)?;
        blocking(move || files::properties(&blob_path)).await
    }

    async fn list(&self, container: &Container, prefix: &str, marker: Option<&str>) -> PortResult<BlobPage> {
        let (home, limit) = (ContainerPath::new(&self.root, container)?, self.list_page);
        let (prefix, marker) = (prefix.to_owned(), marker.map(str::to_owned));
        blocking(move || listing::list(&home, &prefix, marker.as_deref(), limit)).await
    }

    async fn touch(&self, blob: &BlobAddress, if_match: &ETag) -> PortResult<()> {
        let (blob_path, if_match, now) = (self.blob_path(blob)?, if_match.clone(), self.clock.now());
        blocking(move || files::touch(&blob_path, &if_match, now)).await
    }

    async fn delete(&self, blob: &BlobAddress, if_match: Option<&ETag>) -> PortResult<bool> {
        let (blob_path, if_match) = (self.blob_path(blob)?, if_match.cloned());
        blocking(move || files::delete(&blob_path, if_match.as_ref())).await
    }

    async fn create_page_blob(
        &self,
        blob: &BlobAddress,
        length: u64,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<()> {
        let (blob_path, first, metadata) = (self.blob_path(blob)?, Fence::at(self.clock.now()), metadata.clone());
        blocking(move || pages::create(&blob_path, length, first, &metadata)).await
    }

    async fn take_fence(&self, blob: &BlobAddress) -> PortResult<Fence> {
        let blob_path = self.blob_path(blob)?;
        blocking(move || pages::take_fence(&blob_path)).await
    }

    async fn put_pages(
        &self,
        blob: &BlobAddress,
        fence: Fence,
        offset: u64,
        body: Bytes,
        crc64: u64,
    ) -> PortResult<()> {
        check_pages(blob, offset, body.len() as u64)?;
        let blob_path = self.blob_path(blob)?;
        blocking(move || {
            check_body(&blob_path.blob, &body, crc64)?;
            pages::write(&blob_path, fence, offset, &body)
        })
        .await
    }

    async fn put_pages_from(
        &self,
        blob: &BlobAddress,
        fence: Fence,
        offset: u64,
        source: &SourceRange,
    ) -> PortResult<()> {
        check_pages_from(blob, offset, source)?;
        let (blob_path, root, source) = (self.blob_path(blob)?, self.root.clone(), source.clone());
        let mut buffer = Buffer::acquire().await?;
        blocking(move || {
            let source = SourceReader::open(&root, &source)?;
            let bytes = source.read_whole(buffer.bytes())?;
            pages::write(&blob_path, fence, offset, bytes)
        })
        .await
    }

    async fn clear_pages(&self, blob: &BlobAddress, fence: Fence, range: Range<u64>) -> PortResult<()> {
        let blob_path = self.blob_path(blob)?;
        blocking(move || pages::clear(&blob_path, fence, range)).await
    }

    async fn start_copy(
        &self,
        blob: &BlobAddress,
        source: &BlobAddress,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<CopyStatus> {
        let (blob_path, source, metadata) = (self.blob_path(blob)?, self.blob_path(source)?, metadata.clone());
        let first = Fence::at(self.clock.now());
        blocking(move || pages::copy(&blob_path, &source, first, &metadata)).await?;
        // The copy is already complete, so the id is never used.
        Ok(CopyStatus { id: "done".to_owned(), state: CopyState::Done })
    }

    async fn copy_status(&self, _blob: &BlobAddress) -> PortResult<Option<CopyStatus>> {
        Ok(None)
    }

    async fn abort_copy(&self, _blob: &BlobAddress, _id: &str) -> PortResult<()> {
        Ok(())
    }

    async fn page_ranges(&self, blob: &BlobAddress) -> PortResult<Vec<Range<u64>>> {
        let blob_path = self.blob_path(blob)?;
        blocking(move || pages::ranges(&blob_path)).await
    }
}
