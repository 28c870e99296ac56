//! Operations: the steps of a job, one row each in the job table.

mod id;
mod state;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chunk_set::ChunkSet;
use super::ids::{JobId, ManagedImageName};
use super::image::ImageRef;
use super::manifest::{Generation, OsType};
use super::store::Store;
use super::target::Target;

pub use id::{Kind, OperationId};
pub use state::OperationState;

/// A worker's right to an operation, as a value: whoever can't show the token has lost it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Made anew at each claim.
    pub token: Uuid,
    /// Who holds it, for people to read.
    pub holder: String,
    /// When anyone else may claim.
    pub expires: Timestamp,
}

/// Why an operation (or a job) failed, or last had to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code in kebab case, listed in `docs/failures.md`.
    pub code: String,
    /// What happened, in words; no secrets.
    pub message: String,
    /// The service's request or correlation id, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// How far a seed or copy is. All counts are bytes of chunk data, without zero runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TransferProgress {
    /// The chunks that are in place, by their order in the manifest. Kept beside the row's other fields, as it can be
    /// larger than one table property may be.
    #[serde(skip)]
    pub done: ChunkSet,
    /// Bytes of all chunks.
    pub bytes_total: u64,
    /// Bytes of the chunks in place.
    pub bytes_done: u64,
    /// Bytes moved by all attempts together: more than `bytes_done` where something had to be moved twice, less where
    /// chunks were there before. What a killed worker moved after its last heartbeat is not in it.
    pub bytes_moved: u64,
    /// The blob that the chunks of a copy are in, by its [`VhdMetadata::INCARNATION`]: what is recorded of one says nothing of
    /// another that has taken its place. None before there is one, and of a seed, whose chunks are blobs each.
    ///
    /// [`VhdMetadata::INCARNATION`]: super::image::VhdMetadata::INCARNATION
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Uuid>,
}

/// Attempts at an operation that followed each other without a long rest, so that what they put in place tells how fast it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkPeriod {
    /// When the first of them began.
    pub from: Timestamp,
    /// When a worker last wrote that it takes it up, works on it, or does no more.
    pub until: Timestamp,
    /// [`TransferProgress::bytes_done`] when the first of them began.
    pub bytes_before: u64,
}

/// What an operation is to do, complete: a worker needs nothing else but the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum OperationSpec {
    /// Fill a store.
    #[serde(rename = "seed")]
    Replicate {
        /// The store to fill.
        store: Store,
        /// Where from: the planned parent first, then its parents up to the source.
        from: Vec<Store>,
    },
    /// Assemble a target's VHD.
    #[serde(rename = "copy")]
    Assemble {
        /// The target.
        target: Target,
        /// Where from: the region's store first, then its parents up to the source.
        from: Vec<Store>,
    },
    /// Make a managed image.
    Image {
        /// The target.
        target: Target,
        /// The managed image's name.
        name: ManagedImageName,
        /// The operating system on the disk.
        os: OsType,
        /// The disk's Hyper-V generation.
        generation: Generation,
    },
}

impl OperationSpec {
    /// The target, if the work has one.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Replicate { .. } => None,
            Self::Assemble { target, .. } | Self::Image { target, .. } => Some(target),
        }
    }
}

/// One step of a job: a row of the job table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The job.
    pub job: JobId,
    /// Which operation of the job.
    pub id: OperationId,
    /// The image version it serves.
    pub image: ImageRef,
    /// What is to be done.
    pub work: OperationSpec,
    /// Where it stands.
    pub state: OperationState,
    /// How often it was claimed.
    pub attempts: u32,
    /// How many attempts failed since it was last made ready by an operator (or the job).
    pub failures: u32,
    /// Who works on it, while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Not to be claimed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When its message was last put in a queue, so far as is known: the reconciler sends it again when this is long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Timestamp>,
    /// How far it is.
    pub progress: TransferProgress,
    /// Why it failed, or why it was last tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When the row was made.
    pub created: Timestamp,
    /// When it was first claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The work that it is in, or was in last; none where it is to be tried again and no worker has taken it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<WorkPeriod>,
    /// When it last changed.
    pub updated: Timestamp,
}

impl Operation {
    /// Notes that its worker was at work on it until `at`.
    pub fn extend_work_period(&mut self, at: Timestamp) {
        self.updated = at;
        if let Some(stretch) = &mut self.stretch {
            stretch.until = at;
        }
    }

    /// Whether a worker's right to it has run out at `now`.
    #[must_use]
    pub fn lease_expired(&self, now: Timestamp) -> bool {
        self.state.is_leased() && self.lease.as_ref().is_none_or(|lease| lease.expires <= now)
    }

    /// Whether `token` is the lease that stands on the row.
    #[must_use]
    pub fn held_by(&self, token: Uuid) -> bool {
        self.state.is_leased() && self.lease.as_ref().is_some_and(|lease| lease.token == token)
    }
}
