//! The source `blob:`: a page blob or block blob in a storage account, read by token. It holds a disk image of any
//! format.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_disk::{DiskError, OpenOptions, open_reader};
use goldfleet_model::origin::Origin;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::{BlobProperties, BlobStore};
use goldfleet_ports::clock::Clock;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::retry::retry_transient;

use crate::codes::{self, Refusal};
use crate::remote::{READERS, RemoteContent, RemoteDisk, Requests};
use crate::{ArtifactSource, OpenArtifact, Revision, SourceError};

/// The codes with which a service refuses to list the pages of a block blob.
const NO_PAGES: [&str; 2] = ["invalid-blob-type", "not-a-page-blob"];

/// A disk image in a blob. It is the OS disk.
#[derive(Debug)]
pub struct CloudBlob {
    location: PathBuf,
    origin: Origin,
    content: Arc<BlobContent>,
    length: u64,
    data: Vec<Range<u64>>,
    before: Revision,
    requests: Requests,
}

struct BlobContent {
    blobs: Arc<dyn BlobStore>,
    clock: Arc<dyn Clock>,
    blob: BlobAddress,
}

impl fmt::Debug for BlobContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlobContent").field(&self.blob).finish()
    }
}

impl CloudBlob {
    /// Opens a blob. `location` is its name in messages.
    ///
    /// # Errors
    /// [`codes::SOURCE_NOT_FOUND`], or if the service refuses or cannot be reached.
    pub async fn open(
        location: &str,
        blob: BlobAddress,
        (blobs, clock): (Arc<dyn BlobStore>, Arc<dyn Clock>),
        requests: Requests,
    ) -> Result<Self, SourceError> {
        let content = BlobContent { blobs, clock, blob };
        let Some(found) = content.properties().await? else {
            return Err(Refusal::new(&codes::SOURCE_NOT_FOUND, location, "there is no such blob").into());
        };
        let data = match content.ranges().await {
            Ok(data) => data,
            // The pages of a page blob are known, the zeros of a block blob are not.
            Err(error) if NO_PAGES.contains(&error.code.as_str()) => std::iter::once(0..found.length).collect(),
            Err(error) => return Err(error.into()),
        };
        let origin = Origin { source: location.to_owned(), unique_id: Some(found.etag.0.clone()), ..Origin::default() };
        let (length, before) = (found.length, revision(Some(&found)));
        Ok(Self { location: location.into(), origin, content: Arc::new(content), length, data, before, requests })
    }
}

fn revision(found: Option<&BlobProperties>) -> Revision {
    Revision::new(found.map_or_else(|| "gone".to_owned(), |found| format!("{}, {} bytes", found.etag.0, found.length)))
}

impl BlobContent {
    async fn properties(&self) -> PortResult<Option<BlobProperties>> {
        let request = || self.blobs.properties(&self.blob);
        retry_transient(self.clock.as_ref(), PortError::is_retryable, request).await
    }

    async fn ranges(&self) -> PortResult<Vec<Range<u64>>> {
        let again = |error: &PortError| error.is_retryable() && !NO_PAGES.contains(&error.code.as_str());
        retry_transient(self.clock.as_ref(), again, || self.blobs.page_ranges(&self.blob)).await
    }
}

#[async_trait]
impl RemoteContent for BlobContent {
    async fn read(&self, range: Range<u64>) -> PortResult<Bytes> {
        let request = || self.blobs.get(&self.blob, Some(range.clone()));
        retry_transient(self.clock.as_ref(), PortError::is_retryable, request).await
    }
}

impl ArtifactSource for CloudBlob {
    fn location(&self) -> &Path {
        &self.location
    }

    fn open(&self, options: &OpenOptions) -> OpenArtifact {
        let content = Arc::clone(&self.content) as _;
        let disk = RemoteDisk::new(self.length, &self.data, content, self.requests.clone());
        OpenArtifact { os_disk: open_reader(Arc::new(disk), options), data_disks: Vec::new() }
    }

    fn revision(&self) -> Result<Revision, DiskError> {
        let found = self.requests.wait(self.content.properties())?;
        // The ranges with data were listed before this is called for the first time.
        let is_same = revision(found.as_ref()) == self.before;
        Ok(if is_same { self.before.clone() } else { Revision::unequal() })
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }

    fn readers(&self) -> Option<usize> {
        Some(READERS)
    }
}
