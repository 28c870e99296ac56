//! What lies at a VHD's place, and how much of it is in place.
//!
//! That is learnt from the blob and the operation's row alone, in one way for every blob, whoever made it: an attempt looks at
//! what it has just made itself as at what it found. The row's progress counts only for the blob that it was made in: each is
//! given an incarnation, a number by chance, which is in its metadata and on the row.

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

/// The time between two looks at a copy that the service makes.
const COPY_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What a blob begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InitialContent {
    /// A copy of an earlier version, if there is one; else zeros.
    BaseVersion,
    /// Zeros.
    Zeros,
}

/// How often an attempt makes the blob, and as what. More than once, as a request of an earlier attempt may arrive late, and
/// its blob be there when this one makes its own. A copy of an earlier version that came to nothing is not tried again.
const CREATE_ATTEMPTS: [InitialContent; 3] =
    [InitialContent::BaseVersion, InitialContent::Zeros, InitialContent::Zeros];

/// A page blob of the operation's version at the VHD's place.
pub(super) struct PreparedVhd {
    /// Tells it from all other blobs that ever lay there. None only of a whole one, which an earlier release made.
    pub(super) incarnation: Option<Uuid>,
    /// The version that it began as; none where it began as zeros.
    pub(super) base: Option<BaseVersion>,
    /// The chunks that are in place, as the row has recorded of this blob.
    pub(super) done: ChunkSet,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Whether its footer is there: then nothing is left to do.
    pub(super) whole: bool,
}

/// Sees to it that a page blob of this version lies at the VHD's place.
pub(super) struct VhdPreparation<'a> {
    pub(super) attempt: Attempt<'a>,
    pub(super) assembly: VhdPlan<'a>,
}

impl VhdPreparation<'_> {
    /// Finds the blob, or makes it.
    pub(super) async fn prepare(&self) -> Result<PreparedVhd, StepError> {
        let mut found = self.inspect(None).await?;
        for beginning in CREATE_ATTEMPTS {
            if let Some(found) = found {
                return Ok(found);
            }
            let made = self.make(beginning).await?;
            found = self.inspect(Some(made)).await?;
        }
        let message = || format!("{} is made by someone else at the same time", self.assembly.vhd);
        found.ok_or_else(|| PortError::new(ErrorKind::Conflict, message()).into())
    }

    /// What the blob at the VHD's place is; none where there is none, or it was of no use and is gone. The one that this
    /// attempt has just made, by its incarnation, has no footer yet, which saves reading it from far away.
    async fn inspect(&self, made: Option<Uuid>) -> Result<Option<PreparedVhd>, StepError> {
        let Some(properties) = self.wait_for_pending_copy().await? else { return Ok(None) };
        let VhdPlan { image, manifest, vhd, .. } = self.assembly;
        if digest_of(vhd, &properties)? != image.digest.to_string() || properties.length != manifest.vhd_length() {
            return self.remove(&properties, "it is of other content under the same version").await;
        }
        let incarnation = properties.metadata.get(VhdMetadata::INCARNATION).and_then(|id| id.parse().ok());
        let just_made = made.is_some() && made == incarnation;
        if !just_made && self.has_footer().await? {
            return Ok(Some(self.complete_vhd(incarnation)));
        }
        let Some(incarnation) = incarnation else {
            // An earlier release of goldfleet began it.
            return self.remove(&properties, "which chunks are in place is not known").await;
        };
        let base = match properties.metadata.get(VhdMetadata::BASE) {
            None => None,
            Some(named) => match self.assembly.base_from_metadata(self.attempt.shared, named).await? {
                Some(base) => Some(base),
                None => {
                    return self.remove(&properties, "what it began with, of which some must go, is not known").await;
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

    /// The blob's properties, once no copy that the service makes is under way any more; none where there is no blob, or the
    /// copy came to nothing and the blob is gone.
    async fn wait_for_pending_copy(&self) -> Result<Option<BlobProperties>, StepError> {
        let blobs = self.attempt.blobs();
        loop {
            self.attempt.lease.ensure_held()?;
            // The properties come first: the status is then of this version of the blob or of a later one. Where a copy has failed
            // and the blob is still in this version when it is removed, it is the one that failed, and no successor.
            let Some(properties) = blobs.properties(self.assembly.vhd).await? else { return Ok(None) };
            if !properties.metadata.contains_key(VhdMetadata::BASE) {
                return Ok(Some(properties));
            }
            match blobs.copy_status(self.assembly.vhd).await?.map(|status| status.state) {
                None | Some(CopyState::Done) => return Ok(Some(properties)),
                Some(CopyState::Pending { .. }) => self.attempt.shared.ports.clock.sleep(COPY_POLL_INTERVAL).await,
                Some(state @ (CopyState::Aborted | CopyState::Failed(_))) => {
                    tracing::info!(vhd = %self.assembly.vhd, ?state, "the copy of an earlier version came to nothing");
                    self.attempt.lease.ensure_held()?;
                    match blobs.delete(self.assembly.vhd, Some(&properties.etag)).await {
                        Ok(_) => return Ok(None),
                        // It has changed since it was looked at: the end of the copy does that, and so does a successor.
                        Err(error) if error.kind == ErrorKind::Conflict => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    /// Removes a blob that is of no use, if it is still as it was looked at.
    async fn remove(&self, properties: &BlobProperties, why: &str) -> Result<Option<PreparedVhd>, StepError> {
        self.attempt.lease.ensure_held()?;
        tracing::info!(vhd = %self.assembly.vhd, "a VHD is removed and made anew: {why}");
        self.attempt.blobs().delete(self.assembly.vhd, Some(&properties.etag)).await?;
        Ok(None)
    }

    async fn has_footer(&self) -> Result<bool, StepError> {
        let read = self.attempt.blobs().get(self.assembly.vhd, Some(self.assembly.manifest.footer_range())).await?;
        Ok(read[..] == self.assembly.manifest.footer[..])
    }

    /// Makes the blob where there is none. Returns its incarnation.
    async fn make(&self, beginning: InitialContent) -> Result<Uuid, StepError> {
        let incarnation = rng::random_uuid();
        let metadata = BTreeMap::from([
            (VhdMetadata::DIGEST.to_owned(), self.assembly.image.digest.to_string()),
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

    /// Makes an empty blob, and its container where that is missing, unless there is a blob.
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
