//! Copy: assemble a target's VHD, a fixed VHD as a page blob, from its region's store as chunks arrive there.
//!
//! The footer is written last, when every chunk is in place: a VHD with its footer is whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use goldfleet_shared::chunk::crc64;
use goldfleet_shared::model::chunk_set::ChunkSet;
use goldfleet_shared::model::ids::AccountName;
use goldfleet_shared::model::image::VhdMetadata;
use goldfleet_shared::model::manifest::{ChunkEntry, Manifest};
use goldfleet_shared::model::operation::Operation;
use goldfleet_shared::model::store::{BlobAddress, Store};
use goldfleet_shared::model::target::Target;
use goldfleet_shared::ports::blob_store::{BlobProperties, BlobStore, Fence, SourceRange};
use goldfleet_shared::ports::error::{ErrorKind, PortError, PortResult};

use super::base::{Base, Named, copied, length};
use super::transfer::{Destination, fill};
use super::{Outcome, Shared, StepError};
use crate::failed::Failed;
use crate::hold::Hold;

/// How often a blob is looked at that appears while it is made.
const TRIES: u32 = 3;

/// Runs a copy.
///
/// # Errors
/// [`StepError`] where it was stopped or the attempt failed.
pub async fn run(
    shared: &Shared,
    hold: &Hold,
    operation: &Operation,
    target: &Target,
    from: &[Store],
) -> Result<Outcome, StepError> {
    let Some(source) = from.last() else { return Ok(Outcome::Done) };
    let blobs = shared.ports.blobs.as_ref();
    let manifest = shared.manifests.get(blobs, source, &operation.image).await?;
    let vhd = target.vhd(&operation.image);
    let preparing = Preparing { shared, hold, operation, source, manifest: &manifest, vhd: &vhd };
    let found = preparing.prepare().await?;
    let chunks = u32::try_from(manifest.chunks.len()).unwrap_or(ChunkSet::MAX_LEN);
    let (begun, base) = match found {
        Found::Whole => {
            hold.set_progress(ChunkSet::full(chunks), manifest.data_bytes(), manifest.data_bytes());
            return Ok(Outcome::Done);
        }
        Found::Nothing => (false, None),
        Found::Cloned(base) => (false, Some(base)),
        Found::Begun(base) => (true, base),
    };
    if !begun || operation.progress.done.len() != chunks {
        let (done, bytes) = base.as_ref().map_or_else(|| (ChunkSet::empty(chunks), 0), |base| base.same(&manifest));
        hold.set_progress(done, bytes, manifest.data_bytes());
    }
    hold.check()?;
    let fence = blobs.take_fence(&vhd).await?;
    for range in base.iter().flat_map(|base| base.vanished(&manifest)) {
        hold.check()?;
        blobs.clear_pages(&vhd, fence, range).await?;
    }
    let requests = shared.settings.chunk_requests;
    let destination = VhdDestination { blobs, vhd: &vhd, fence, base: base.as_ref(), requests };
    match fill(shared, hold, operation, &manifest, from, &destination).await? {
        Outcome::Done => {}
        wait @ Outcome::Continue(_) => return Ok(wait),
    }
    hold.check()?;
    let footer = Bytes::copy_from_slice(&manifest.footer);
    let checksum = crc64(&footer);
    blobs.put_pages(&vhd, fence, manifest.size, footer, checksum).await?;
    Ok(Outcome::Done)
}

/// What lies at the VHD's place.
enum Found {
    /// An empty page blob: there was nothing, or something stale that was removed.
    Nothing,
    /// A copy of an earlier version.
    Cloned(Base),
    /// A VHD of this version that some attempt has begun, from nothing or from an earlier version.
    Begun(Option<Base>),
    /// This version, whole.
    Whole,
}

/// Sees to it that a page blob of this version lies at the VHD's place.
struct Preparing<'a> {
    shared: &'a Shared,
    hold: &'a Hold,
    operation: &'a Operation,
    source: &'a Store,
    manifest: &'a Manifest,
    vhd: &'a BlobAddress,
}

impl Preparing<'_> {
    async fn prepare(&self) -> Result<Found, StepError> {
        let (blobs, vhd) = (self.shared.ports.blobs.as_ref(), self.vhd);
        // A request of an earlier attempt may arrive late, and its blob be there when this one makes its own: then it is
        // looked at like any other.
        for _ in 0..TRIES {
            if let Some(properties) = blobs.properties(vhd).await?
                && let Some(found) = self.look(&properties).await?
            {
                return Ok(found);
            }
            // What is recorded of an earlier blob says nothing of the next.
            let chunks = u32::try_from(self.manifest.chunks.len()).unwrap_or(ChunkSet::MAX_LEN);
            self.hold.set_progress(ChunkSet::empty(chunks), 0, self.manifest.data_bytes());
            if let Some(found) = self.begin().await? {
                return Ok(found);
            }
        }
        let message = format!("{vhd} is made by someone else at the same time");
        Err(PortError::new(ErrorKind::Conflict, message).into())
    }

    /// Makes the blob, from an earlier version where there is one; none where there is a blob already.
    async fn begin(&self) -> Result<Option<Found>, StepError> {
        let (blobs, vhd) = (self.shared.ports.blobs.as_ref(), self.vhd);
        let digest = self.operation.image.digest.to_string();
        let job = self.operation.job.to_string();
        let metadata = BTreeMap::from([(VhdMetadata::DIGEST.to_owned(), digest), (VhdMetadata::JOB.to_owned(), job)]);
        let image = &self.operation.image;
        if let Some(base) = Base::find(self.shared, self.source, image, self.manifest, vhd).await
            && base.clone_to(self.shared, self.hold, vhd, metadata.clone()).await?
        {
            return Ok(Some(Found::Cloned(base)));
        }
        self.hold.check()?;
        let made = create(blobs, vhd, length(self.manifest), &metadata).await?;
        Ok(made.then_some(Found::Nothing))
    }

    /// What a blob at the VHD's place is; none where it was stale, and is gone.
    async fn look(&self, properties: &BlobProperties) -> Result<Option<Found>, StepError> {
        let (blobs, vhd) = (self.shared.ports.blobs.as_ref(), self.vhd);
        let digest = self.operation.image.digest.to_string();
        match properties.metadata.get(VhdMetadata::DIGEST) {
            Some(found) if *found == digest && properties.length == length(self.manifest) => {}
            Some(_) => {
                remove_stale(blobs, self.hold, vhd, properties).await?;
                return Ok(None);
            }
            None => {
                let message = format!("{vhd} is in the way: a blob that goldfleet did not make; remove or rename it");
                return Err(Failed::fatal("vhd-foreign", message).into());
            }
        }
        let image = &self.operation.image;
        let named = Base::of(self.shared, self.source, image, self.manifest, vhd, properties).await;
        if !matches!(named, Named::None) && !copied(self.shared, self.hold, vhd).await? {
            return Ok(None);
        }
        if is_whole(blobs, self.manifest, vhd).await? {
            return Ok(Some(Found::Whole));
        }
        match named {
            Named::None => Ok(Some(Found::Begun(None))),
            Named::Known(base) => Ok(Some(Found::Begun(Some(*base)))),
            // What it began with is not known any more, so neither is what of it must go.
            Named::Lost => {
                remove_stale(blobs, self.hold, vhd, properties).await?;
                Ok(None)
            }
        }
    }
}

/// A version that was removed and uploaded anew with other content leaves VHDs of the same name.
async fn remove_stale(
    blobs: &dyn BlobStore,
    hold: &Hold,
    vhd: &BlobAddress,
    properties: &BlobProperties,
) -> Result<(), StepError> {
    hold.check()?;
    tracing::info!(%vhd, "a VHD of other content under the same version is replaced");
    blobs.delete(vhd, Some(&properties.etag)).await?;
    Ok(())
}

/// Returns whether the blob was made; false where there is one.
async fn create(
    blobs: &dyn BlobStore,
    vhd: &BlobAddress,
    length: u64,
    metadata: &BTreeMap<String, String>,
) -> Result<bool, StepError> {
    let mut made = blobs.create_page_blob(vhd, length, metadata).await;
    if made.as_ref().is_err_and(|error| error.kind == ErrorKind::NotFound) {
        blobs.ensure_container(&vhd.container).await?;
        made = blobs.create_page_blob(vhd, length, metadata).await;
    }
    match made {
        Ok(()) => Ok(true),
        Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn is_whole(blobs: &dyn BlobStore, manifest: &Manifest, vhd: &BlobAddress) -> Result<bool, StepError> {
    let footer = blobs.get(vhd, Some(manifest.size..manifest.size + manifest.footer.len() as u64)).await?;
    Ok(footer[..] == manifest.footer[..])
}

struct VhdDestination<'a> {
    blobs: &'a dyn BlobStore,
    vhd: &'a BlobAddress,
    fence: Fence,
    base: Option<&'a Base>,
    requests: usize,
}

impl Destination for VhdDestination<'_> {
    fn account(&self) -> &AccountName {
        &self.vhd.container.account
    }

    fn requests(&self) -> usize {
        self.requests
    }

    /// Every request has a chunk's place written with the bytes of its checksum, or cleared where it has none, or is
    /// refused by the fence: in whatever order they land, the place is the same.
    async fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> PortResult<u64> {
        for range in self.base.iter().flat_map(|base| base.leftovers(entry)) {
            self.blobs.clear_pages(self.vhd, self.fence, range).await?;
        }
        let mut moved = 0;
        for run in &entry.runs {
            let at = u64::from(run.at);
            let length = u64::from(run.length);
            let range = SourceRange { blob: source.clone(), range: at..at + length, crc64: run.crc64 };
            self.blobs.put_pages_from(self.vhd, self.fence, run.offset, &range).await?;
            moved += length;
        }
        Ok(moved)
    }
}
