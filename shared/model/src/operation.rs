//! Operations: the nodes of a job's graph, one row each in the job table.

mod id;
mod index;
mod kind;
mod state;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chunk_set::ChunkSet;
use super::document::Document;
use super::graph::{After, GateKey};
use super::ids::{JobId, Region};
use super::image::ImageRef;
use super::target::Target;

pub use id::{GroupId, OperationId};
pub use index::{Census, GateRole, GateRoles, StateCount};
pub use kind::KindId;
pub use state::OperationState;

/// The name of a process, by which other processes detect its end. No two processes ever have the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessName(pub Uuid);

/// A worker's temporary right to an operation. Only the worker that knows the token holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A random id, new for each claim.
    pub token: Uuid,
    /// The name of the holder, for people.
    pub holder: String,
    /// The process of the holder, if others can detect its end. Then the lease ends with the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessName>,
    /// When the lease expires and another worker may claim the operation.
    pub expires: Timestamp,
}

impl Lease {
    /// The longest lease that a configuration permits.
    pub const LONGEST: SignedDuration = SignedDuration::from_hours(1);
}

/// Why an operation or a job failed, or why an operation was last retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code in kebab case, listed in `docs/failures.md`.
    pub code: String,
    /// A description for operators. It contains no secrets.
    pub message: String,
    /// The request or correlation id of the service, if it returned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When the failure occurred.
    pub at: Timestamp,
}

/// The progress of a transfer. All counts are bytes of chunk data, without zero runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TransferProgress {
    /// The chunks that are in place, by their order in the manifest. Stored beside the row's other fields, because it
    /// can be larger than one table property.
    #[serde(skip)]
    pub done: ChunkSet,
    /// The sum of the lengths of all chunks.
    pub bytes_total: u64,
    /// The sum of the lengths of the chunks in place.
    pub bytes_done: u64,
    /// Bytes moved by all attempts together: more than `bytes_done` if something was moved twice, less if chunks were
    /// in place before. Bytes that a killed worker moved after its last heartbeat are not counted.
    pub bytes_moved: u64,
    /// The blob that the chunks are written to, by its [`VhdMetadata::INCARNATION`]. Progress of one incarnation does
    /// not count for another. None before the blob exists, and for transfers whose chunks are blobs.
    ///
    /// [`VhdMetadata::INCARNATION`]: super::image::VhdMetadata::INCARNATION
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Uuid>,
}

/// Consecutive attempts without a long pause between them. The transfer rate is computed from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkPeriod {
    /// When the first attempt began.
    pub from: Timestamp,
    /// When a worker last wrote to the row.
    pub until: Timestamp,
    /// [`TransferProgress::bytes_done`] when the first attempt began.
    pub bytes_before: u64,
}

/// The place that an operation acts on, for people and selectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The region in which its effect lies.
    pub region: Region,
    /// The name of the place for operators: `subscription/region` for a target, account and container for a store.
    pub label: String,
    /// The target, if it acts on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

impl Place {
    /// A target.
    #[must_use]
    pub fn of_target(target: Target) -> Self {
        Self { region: target.region.clone(), label: target.key().to_string(), target: Some(target) }
    }
}

/// One node of a job's graph: a row of the job table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The job.
    pub job: JobId,
    /// Which operation of the job.
    pub id: OperationId,
    /// The planning attempt that wrote the row: see [`Job::plan`](crate::job::Job::plan). Rows of another attempt than
    /// the job's are not part of the graph.
    pub plan: u32,
    /// The image version it serves, if its job distributes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// What the operation does. The registry of kinds has the code.
    pub kind: KindId,
    /// Its place in the chain of its group, counted from 0.
    pub position: u16,
    /// The place that it acts on.
    pub place: Place,
    /// The gates that it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
    /// Whether the gates that it waits for have opened for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opened: bool,
    /// The gates that it opens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opens: Vec<GateKey>,
    /// The operations whose output it reads while they are still running. A failure does not propagate along such an
    /// edge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<OperationId>,
    /// Whether it runs despite cancellation and broken gates, as clean-up does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// The specification: what the operation must do. Its kind owns the format.
    pub spec: Document,
    /// The output: what it produced, for later operations of the group and operations that wait for its gates. Its kind
    /// owns the format; at most [`Document::MAX_OUTPUT`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Document>,
    /// Its state.
    pub state: OperationState,
    /// The number of times it was claimed.
    pub attempts: u32,
    /// The number of attempts that failed since an operator or the job last made it ready.
    pub failures: u32,
    /// How many workers were lost while they held it, since it last made progress.
    #[serde(default)]
    pub lost: u32,
    /// Who works on it, while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The time before which it cannot be claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When its message was last sent, if that is known. The reconciler sends it again after a long time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Timestamp>,
    /// The progress of its transfer.
    pub progress: TransferProgress,
    /// Why it failed, or why it was last retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When the row was written.
    pub created: Timestamp,
    /// When it was first claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The current or last period of work. None if it is to be retried and no worker has claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_period: Option<WorkPeriod>,
    /// When it last changed.
    pub updated: Timestamp,
}

impl Operation {
    /// An operation of the first planning attempt that waits: the first of its group, without gates, image version and
    /// specification.
    #[must_use]
    pub fn waiting(job: &JobId, id: OperationId, kind: KindId, place: Place, at: Timestamp) -> Self {
        Self {
            job: job.clone(),
            id,
            plan: 1,
            image: None,
            kind,
            position: 0,
            place,
            after: Vec::new(),
            opened: false,
            opens: Vec::new(),
            streams: Vec::new(),
            always: false,
            spec: Document::default(),
            output: None,
            state: OperationState::Waiting,
            attempts: 0,
            failures: 0,
            lost: 0,
            lease: None,
            not_before: None,
            queued: None,
            progress: TransferProgress::default(),
            failure: None,
            created: at,
            started: None,
            work_period: None,
            updated: at,
        }
    }

    /// The target, if it acts on one.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.place.target.as_ref()
    }

    /// Whether it still waits for a gate.
    #[must_use]
    pub fn awaits_gate(&self) -> bool {
        !self.after.is_empty() && !self.opened
    }

    /// Records that its worker was active until `at`.
    pub fn extend_work_period(&mut self, at: Timestamp) {
        self.updated = at;
        if let Some(period) = &mut self.work_period {
            period.until = at;
        }
    }

    /// Whether the lease has expired at `now`. A lease of more than [`Lease::LONGEST`] has expired too: the clock of
    /// its holder was ahead, or this clock was set back since.
    #[must_use]
    pub fn lease_expired(&self, now: Timestamp) -> bool {
        let has_expired = |lease: &Lease| lease.expires <= now || lease.expires.duration_since(now) > Lease::LONGEST;
        self.state.is_leased() && self.lease.as_ref().is_none_or(has_expired)
    }

    /// Whether the row has the lease with this token.
    #[must_use]
    pub fn held_by(&self, token: Uuid) -> bool {
        self.state.is_leased() && self.lease.as_ref().is_some_and(|lease| lease.token == token)
    }
}
