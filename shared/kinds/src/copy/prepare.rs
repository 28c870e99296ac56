//! Determines what exists at the address of a VHD, and which of its chunks are in place.
//!
//! Only the blob and the operation's row decide, in the same way for every blob: an attempt inspects a blob that it
//! just created like a blob that it found. The progress in the row applies only to the blob in which it was made. For
//! that purpose each blob gets an incarnation, a random UUID that is stored in its metadata and in the row.

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::image::VhdMetadata;
use goldfleet_ports::blob_store::{BlobProperties, CopyState};
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_ports::rng;
use uuid::Uuid;

use super::base::{BaseVersion, VhdPlan};
use crate::context::{Attempt, digest_of};
use crate::outcome::StepError;

/// The interval of polling a copy by the service.
const COPY_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The initial content of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InitialContent {
    /// A clone of a base version if one exists, otherwise zeros.
    BaseVersion,
    /// Zeros.
    Zeros,
}

/// The initial content in each try of an attempt to create the blob. Several tries are needed because a late request of
/// an earlier attempt may create its blob first. A failed clone of a base version is not repeated.
const CREATE_ATTEMPTS: [InitialContent; 3] =
    [InitialContent::BaseVersion, InitialContent::Zeros, InitialContent::Zeros];

/// A page blob of the operation's version at the address of the VHD.
pub(super) struct PreparedVhd {
    /// Distinguishes the blob from all other blobs that existed at the address. None only for a complete VHD that an
    /// earlier release created.
    pub(super) incarnation: Option<Uuid>,
    /// The base version. None if the blob was created from zeros.
    pub(super) base: Option<BaseVersion>,
    /// The chunks that are in place according to the row.
    pub(super) done: ChunkSet,
    /// The total size of these chunks in bytes.
    pub(super) bytes: u64,
    /// Whether the footer exists. Then no work remains.
    pub(super) whole: bool,
}

/// Ensures that a page blob of this version exists at the address of the VHD.
pub(super) struct VhdPreparation<'a> {
    pub(super) attempt: Attempt<'a>,
    pub(super) assembly: VhdPlan<'a>,
}

impl VhdPreparation<'_> {
    /// Finds or creates the blob.
    pub(super) async fn prepare(&self) -> Result<PreparedVhd, StepError> {
        let mut found = self.inspect(None).await?;
        for beginning in CREATE_ATTEMPTS {
            if let Some(found) = found {
                return Ok(found);
            }
            let made = self.make(beginning).await?;
            found = self.inspect(Some(made)).await?;
        }
        let message = || format!("another worker creates {} at the same time", self.assembly.vhd);
        found.ok_or_else(|| PortError::new(ErrorKind::Conflict, message()).into())
    }

    /// Inspects the blob at the address of the VHD. Returns None if it does not exist, or if it was unusable and was
    /// deleted. `made` is the incarnation of the blob that this attempt just created: it has no footer yet, so the
    /// footer is not read over the network.
    async fn inspect(&self, made: Option<Uuid>) -> Result<Option<PreparedVhd>, StepError> {
        let Some(properties) = self.wait_for_pending_copy().await? else { return Ok(None) };
        let VhdPlan { disk, manifest, vhd, .. } = self.assembly;
        if digest_of(vhd, &properties)? != disk.manifest.to_string() || properties.length != manifest.vhd_length() {
            return self.remove(&properties, "it is of other content under the same version").await;
        }
        let incarnation = properties.metadata.get(VhdMetadata::INCARNATION).and_then(|id| id.parse().ok());
        let just_made = made.is_some() && made == incarnation;
        if !just_made && self.has_footer().await? {
            return Ok(Some(self.complete_vhd(incarnation)));
        }
        let Some(incarnation) = incarnation else {
            // An earlier release of goldfleet created it.
            return self.remove(&properties, "which chunks are in place is not known").await;
        };
        let base = match properties.metadata.get(VhdMetadata::BASE) {
            None => None,
            Some(named) => match self.assembly.base_from_metadata(self.attempt.shared, named).await? {
                Some(base) => Some(base),
                None => {
                    return self
                        .remove(
                            &properties,
                            "the version that it began as cannot be read, so the ranges to clear are not known",
                        )
                        .await;
                }
            },
        };
        Ok(Some(self.partial_vhd(incarnation, base)))
    }

    fn complete_vhd(&self, incarnation: Option<Uuid>) -> PreparedVhd {
        let (done, bytes) = (ChunkSet::full(self.assembly.manifest.chunk_count()), self.assembly.manifest.data_bytes());
        PreparedVhd { incarnation, base: None, done, bytes, whole: true }
    }

    fn partial_vhd(&self, incarnation: Uuid, base: Option<BaseVersion>) -> PreparedVhd {
        let recorded = &self.attempt.operation.progress;
        let chunks = self.assembly.manifest.chunk_count();
        let (done, bytes) = if recorded.incarnation == Some(incarnation) && recorded.done.len() == chunks {
            (recorded.done.clone(), recorded.bytes_done)
        } else {
            (ChunkSet::empty(chunks), 0)
        };
        PreparedVhd { incarnation: Some(incarnation), base, done, bytes, whole: false }
    }

    /// Waits until no copy by the service is in progress and returns the blob's properties. Returns None if the blob
    /// does not exist, or if the copy failed and the blob was deleted.
    async fn wait_for_pending_copy(&self) -> Result<Option<BlobProperties>, StepError> {
        let blobs = self.attempt.blobs();
        loop {
            self.attempt.lease.ensure_held()?;
            // The properties are read first, so the status belongs to this version of the blob or to a later one. If a
            // copy failed and the deletion still finds this version, the deleted blob is the failed copy and not its
            // successor.
            let Some(properties) = blobs.properties(self.assembly.vhd).await? else { return Ok(None) };
            if !properties.metadata.contains_key(VhdMetadata::BASE) {
                return Ok(Some(properties));
            }
            match blobs.copy_status(self.assembly.vhd).await?.map(|status| status.state) {
                None | Some(CopyState::Done) => return Ok(Some(properties)),
                Some(CopyState::Pending { .. }) => self.attempt.pause(COPY_POLL_INTERVAL).await?,
                Some(state @ (CopyState::Aborted | CopyState::Failed(_))) => {
                    tracing::info!(vhd = %self.assembly.vhd, ?state, "the copy of an earlier version failed");
                    self.attempt.lease.ensure_held()?;
                    match blobs.delete(self.assembly.vhd, Some(&properties.etag)).await {
                        Ok(_) => return Ok(None),
                        // The blob has changed since it was inspected, because the copy ended or another worker created
                        // a new blob.
                        Err(error) if error.kind == ErrorKind::Conflict => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    /// Deletes an unusable blob if it has not changed since it was inspected.
    async fn remove(&self, properties: &BlobProperties, why: &str) -> Result<Option<PreparedVhd>, StepError> {
        self.attempt.lease.ensure_held()?;
        tracing::info!(vhd = %self.assembly.vhd, "a VHD is deleted and created again: {why}");
        self.attempt.blobs().delete(self.assembly.vhd, Some(&properties.etag)).await?;
        Ok(None)
    }

    async fn has_footer(&self) -> Result<bool, StepError> {
        let read = self.attempt.blobs().get(self.assembly.vhd, Some(self.assembly.manifest.footer_range())).await?;
        Ok(read[..] == self.assembly.manifest.footer[..])
    }

    /// Creates the blob if it does not exist. Returns its incarnation.
    async fn make(&self, beginning: InitialContent) -> Result<Uuid, StepError> {
        let incarnation = rng::random_uuid();
        let metadata = BTreeMap::from([
            (VhdMetadata::DIGEST.to_owned(), self.assembly.disk.manifest.to_string()),
            (VhdMetadata::JOB.to_owned(), self.attempt.operation.job.to_string()),
            (VhdMetadata::INCARNATION.to_owned(), incarnation.to_string()),
        ]);
        if beginning == InitialContent::BaseVersion
            && self.attempt.shared.settings.clone_and_patch
            && let Some(base) = self.assembly.newest_base(self.attempt.shared).await
            && base.start_clone(self.attempt, self.assembly.vhd, metadata.clone()).await?
        {
            return Ok(incarnation);
        }
        self.attempt.lease.ensure_held()?;
        self.create(&metadata).await?;
        Ok(incarnation)
    }

    /// Creates an empty blob if none exists, and its container if it does not exist.
    async fn create(&self, metadata: &BTreeMap<String, String>) -> Result<(), StepError> {
        let (blobs, vhd, length) = (self.attempt.blobs(), self.assembly.vhd, self.assembly.manifest.vhd_length());
        let mut made = blobs.create_page_blob(vhd, length, metadata).await;
        if made.as_ref().is_err_and(|error| error.kind == ErrorKind::NotFound) {
            blobs.ensure_container(&vhd.container).await?;
            made = blobs.create_page_blob(vhd, length, metadata).await;
        }
        match made {
            Err(error) if error.kind != ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    }
}
