//! How far a job is: counted from its rows.

mod pace;
mod phases;
mod regions;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::BTreeMap;

use goldfleet_model::job::{Approval, Job, JobState};
use goldfleet_model::operation::{Kind, Operation, OperationState, Work};
use goldfleet_model::state::next_job;
use goldfleet_model::upload::Upload;
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::between;
use goldfleet_workflow::release::COPY_FAILED;
use jiff::Timestamp;
use serde::Serialize;

use crate::control::desk::{Desk, DeskError, states};
use crate::control::rings::{self, Next};
use phases::as_f64;
pub use phases::{Phase, Phases};
pub use regions::RegionStatus;
use regions::by_region;
pub use upload::UploadStatus;

/// A job's state as operators see it: what is asked for or stopping is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Not ended.
    Running,
    /// Ended, all well.
    Succeeded,
    /// Ended, something failed.
    Failed,
    /// Ended on request.
    Cancelled,
}

impl Standing {
    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The exit code of a command that waited for the job.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Succeeded | Self::Running => 0,
            Self::Failed | Self::Cancelled => 1,
        }
    }

    /// What a job's rows say of its end, whether or not a dispatcher has written it to the job's own row.
    fn of(job: &Job, operations: &[Versioned<Operation>]) -> Self {
        let planned = matches!(job.state, JobState::Running | JobState::Cancelling);
        let ended = if planned { job.end(states(operations)) } else { None };
        match ended.and_then(|event| next_job(job.state, event)).unwrap_or(job.state) {
            JobState::Requested | JobState::Running | JobState::Cancelling => Self::Running,
            JobState::Succeeded => Self::Succeeded,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureLine {
    /// `subscription/region`, or the store of a seed.
    pub target: String,
    /// The kind of operation.
    pub phase: Kind,
    /// The stable code, listed in `docs/failures.md`.
    pub code: String,
    /// What happened.
    pub reason: String,
    /// The service's request id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
}

impl FailureLine {
    /// None of what did not fail, or only as its copy did.
    fn of(operation: &Operation) -> Option<Self> {
        let failure = operation.failure.as_ref()?;
        if operation.state != OperationState::Failed || failure.code == COPY_FAILED {
            return None;
        }
        Some(Self {
            target: operation.id.place(),
            phase: operation.id.kind(),
            code: failure.code.clone(),
            reason: failure.message.clone(),
            request_id: failure.request_id.clone(),
            attempts: operation.attempts,
        })
    }
}

/// Which rings of a job have their approval, and which one waits for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Approvals {
    /// The ring that waits for approval now: all before it have succeeded.
    pub waits: Option<u32>,
    /// The rings that were approved, with by whom and when.
    pub given: Vec<Approval>,
}

impl Approvals {
    /// None of a job whose rings need no approval.
    fn of(job: &Job, operations: &[Versioned<Operation>]) -> Option<Self> {
        let given = job.approvals.clone()?;
        let waits = match rings::next(job, operations) {
            Next::Await(ring) if job.state == JobState::Running => Some(ring),
            _ => None,
        };
        Some(Self { waits, given })
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The job.
    pub job: String,
    /// The image.
    pub image: String,
    /// Its version.
    pub version: String,
    /// The digest of its content.
    pub digest: String,
    /// Where it stands.
    pub state: Standing,
    /// The state of the job's row, which tells more than [`Status::state`].
    pub detail: JobState,
    /// Why it could not be planned, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Approvals of its rings, where they need any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// Bytes of the image, without zero runs.
    pub data_bytes: u64,
    /// The upload, if it is known.
    pub upload: Option<UploadStatus>,
    /// Counts by kind of operation.
    pub phases: Phases,
    /// How far the targets of each region are.
    pub regions: BTreeMap<String, RegionStatus>,
    /// Bytes that crossed between regions, by the region that they went to.
    pub wan_bytes: BTreeMap<String, u64>,
    /// Bytes put in place a second: while it runs, in what was worked of the last five minutes, and 0 where nothing was seen to
    /// arrive in them; else from the first operation's begin to the job's end.
    pub bytes_per_second: f64,
    /// Seconds since the job was asked for; until its end, if it has ended.
    pub seconds: f64,
    /// Seconds left at this rate for the bytes of the operations that have not ended; none where nothing tells.
    pub seconds_left: Option<f64>,
    /// What failed, and why. Images that were not begun because their copy failed are counted as cancelled, and not
    /// listed.
    pub failures: Vec<FailureLine>,
    /// Whether it was planned to its end: only then can it be tried again.
    pub planned: bool,
    /// Whether its staged VHDs were removed.
    pub staged_removed: bool,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

impl Status {
    /// Where it stands, in words for people.
    #[must_use]
    pub fn in_words(&self) -> &'static str {
        match self.detail {
            JobState::Requested => "not planned yet",
            _ => self.state.as_str(),
        }
    }

    /// Whether there is nothing to count yet, or never was: nobody has planned it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.planned && self.phases.named().iter().all(|(_, phase)| phase.total == 0)
    }

    /// What an operator has to do before the job goes on, if it waits for that.
    #[must_use]
    pub fn awaits(&self) -> Option<String> {
        let ring = self.approvals.as_ref()?.waits?;
        Some(format!("ring {ring} waits for approval: goldfleet approve {}", self.job))
    }
}

/// Reads how far a job is.
///
/// # Errors
/// Where the table can't be reached.
pub async fn status(desk: &Desk, job: &Job) -> Result<Status, DeskError> {
    let operations = desk.ports.table.operations(&job.id).await?;
    status_of(desk, job, &operations).await
}

/// The same for rows that have been read already.
///
/// # Errors
/// Where the table can't be reached.
pub async fn status_of(desk: &Desk, job: &Job, operations: &[Versioned<Operation>]) -> Result<Status, DeskError> {
    let upload = desk.ports.table.newest_upload(&job.image.name, &job.image.version).await?;
    Ok(summarise(job, upload.as_ref(), operations, desk.ports.clock.now()))
}

/// Counts a job's rows.
fn summarise(job: &Job, upload: Option<&Upload>, operations: &[Versioned<Operation>], now: Timestamp) -> Status {
    let mut phases = Phases::of(operations);
    if job.tree.is_none() && operations.is_empty() {
        phases.undo_percent();
    }
    let end = job.finished.unwrap_or(now);
    let standing = Standing::of(job, operations);
    let rate = match standing {
        Standing::Running => pace::lately(operations, now).unwrap_or(0.0),
        _ => pace::on_average(job, operations, end),
    };
    let left = pace::bytes_left(operations);
    let approvals = Approvals::of(job, operations);
    let waits = approvals.as_ref().is_some_and(|approvals| approvals.waits.is_some());
    // How long an operator takes nobody can tell, and what is stopping does not reach its end.
    let goes_on = standing == Standing::Running && job.state != JobState::Cancelling && !waits;
    Status {
        job: job.id.to_string(),
        image: job.image.name.to_string(),
        version: job.image.version.to_string(),
        digest: job.image.digest.to_string(),
        state: standing,
        detail: job.state,
        reason: job.failure.as_ref().map(|failure| failure.message.clone()),
        approvals,
        data_bytes: job.payload.data_bytes,
        upload: upload.map(UploadStatus::of),
        phases,
        regions: by_region(operations),
        wan_bytes: over_the_wan(operations),
        bytes_per_second: rate,
        seconds: between(job.created, end).as_secs_f64(),
        seconds_left: (goes_on && rate > 0.0 && left > 0).then(|| as_f64(left) / rate),
        failures: operations.iter().filter_map(|row| FailureLine::of(&row.value)).collect(),
        planned: job.tree.is_some(),
        staged_removed: job.cleaned,
        created: job.created,
        finished: job.finished,
    }
}

/// What seeds moved from one region to another, by the region that they fill.
fn over_the_wan(operations: &[Versioned<Operation>]) -> BTreeMap<String, u64> {
    let mut bytes = BTreeMap::new();
    for operation in operations.iter().map(|row| &row.value) {
        if let Work::Seed { store, from } = &operation.work
            && from.first().is_some_and(|parent| parent.region != store.region)
        {
            *bytes.entry(store.region.to_string()).or_default() += operation.progress.bytes_moved;
        }
    }
    bytes
}
