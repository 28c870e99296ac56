//! Copy: assemble a target's VHD, a fixed VHD as a page blob, from its region's store as chunks arrive there.
//!
//! The footer is written last, when every chunk is in place: a VHD with its footer is whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use goldfleet_shared::chunk::crc64;
use goldfleet_shared::model::chunk_set::ChunkSet;
use goldfleet_shared::model::ids::AccountName;
use goldfleet_shared::model::manifest::{ChunkEntry, Manifest};
use goldfleet_shared::model::operation::Operation;
use goldfleet_shared::model::store::{BlobAddress, Store};
use goldfleet_shared::model::target::Target;
use goldfleet_shared::ports::blob_store::{BlobProperties, BlobStore, Fence, SourceRange};
use goldfleet_shared::ports::error::{ErrorKind, PortResult};

use super::transfer::{Destination, fill};
use super::{Outcome, Shared, StepError};
use crate::failed::Failed;
use crate::hold::Hold;

/// Metadata of a VHD: the digest of the image version it is made of.
pub const DIGEST_KEY: &str = "goldfleet_digest";

/// Metadata of a VHD: the job that made it.
pub const JOB_KEY: &str = "goldfleet_job";

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
    let found = prepare(blobs, hold, operation, &manifest, &vhd).await?;
    let chunks = u32::try_from(manifest.chunks.len()).unwrap_or(ChunkSet::MAX_LEN);
    if found == Found::Whole {
        hold.set_progress(ChunkSet::full(chunks), manifest.data_bytes(), manifest.data_bytes());
        return Ok(Outcome::Done);
    }
    let resumed = found == Found::Begun && operation.progress.done.len() == chunks;
    if !resumed {
        hold.set_progress(ChunkSet::empty(chunks), 0, manifest.data_bytes());
    }
    hold.check()?;
    let fence = blobs.take_fence(&vhd).await?;
    let destination = VhdDestination { blobs, vhd: &vhd, fence };
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

/// What lay at the VHD's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing, or something stale that was removed: an empty page blob lies there now.
    Nothing,
    /// A VHD of this version that some attempt has begun.
    Begun,
    /// This version, whole.
    Whole,
}

/// Sees to it that a page blob of this version lies at the VHD's place.
async fn prepare(
    blobs: &dyn BlobStore,
    hold: &Hold,
    operation: &Operation,
    manifest: &Manifest,
    vhd: &BlobAddress,
) -> Result<Found, StepError> {
    let length = manifest.size + manifest.footer.len() as u64;
    let digest = operation.image.digest.to_string();
    if let Some(properties) = blobs.properties(vhd).await? {
        match properties.metadata.get(DIGEST_KEY) {
            Some(found) if *found == digest && properties.length == length => {
                return if is_whole(blobs, manifest, vhd).await? { Ok(Found::Whole) } else { Ok(Found::Begun) };
            }
            Some(_) => remove_stale(blobs, hold, vhd, &properties).await?,
            None => {
                let message = format!("{vhd} is in the way: a blob that goldfleet did not make; remove or rename it");
                return Err(Failed::fatal("vhd-foreign", message).into());
            }
        }
    }
    let metadata = BTreeMap::from([(DIGEST_KEY.to_owned(), digest), (JOB_KEY.to_owned(), operation.job.to_string())]);
    hold.check()?;
    create(blobs, vhd, length, &metadata).await?;
    Ok(Found::Nothing)
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

async fn create(
    blobs: &dyn BlobStore,
    vhd: &BlobAddress,
    length: u64,
    metadata: &BTreeMap<String, String>,
) -> Result<(), StepError> {
    let error = match blobs.create_page_blob(vhd, length, metadata).await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    match error.kind {
        // An earlier attempt's request arrived after all: the same blob, still empty or rewritten from the start.
        ErrorKind::AlreadyExists => Ok(()),
        ErrorKind::NotFound => {
            blobs.ensure_container(&vhd.container).await?;
            match blobs.create_page_blob(vhd, length, metadata).await {
                Err(error) if error.kind != ErrorKind::AlreadyExists => Err(error.into()),
                _ => Ok(()),
            }
        }
        _ => Err(error.into()),
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
}

impl Destination for VhdDestination<'_> {
    fn account(&self) -> &AccountName {
        &self.vhd.container.account
    }

    async fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> PortResult<u64> {
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
