//! How far a job is: counted from its rows.

use std::collections::BTreeMap;

use goldfleet_shared::model::event::Event;
use goldfleet_shared::model::job::{Approval, Job, JobState};
use goldfleet_shared::model::operation::{Kind, Operation, OperationState};
use goldfleet_shared::model::upload::{Upload, UploadState};
use goldfleet_shared::ports::Versioned;
use goldfleet_shared::ports::clock::between;
use goldfleet_shared::state::{JobEvent, next_job};
use goldfleet_worker::settle::COPY_FAILED;
use jiff::Timestamp;
use serde::Serialize;

use crate::desk::{Desk, DeskError};
use crate::regions::{RegionStatus, by_region};
use crate::rings::{self, Next};
use crate::sweep::end_of;

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
}

/// How far the operations of one kind are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Phase {
    /// All of them.
    pub total: usize,
    /// Done.
    pub succeeded: usize,
    /// Given up.
    pub failed: usize,
    /// In a worker's hands.
    pub running: usize,
    /// Ready, or waiting for something.
    pub waiting: usize,
    /// Nothing was to be done.
    pub skipped: usize,
    /// Stopped, or never begun because what they need did not come about.
    pub cancelled: usize,
    /// 0 to 100: by bytes where there are any, else by count.
    pub percent: f64,
    /// Bytes to put in place, without zero runs.
    pub bytes_total: u64,
    /// Bytes in place.
    pub bytes_done: u64,
    /// Bytes that went over the wire.
    pub bytes_moved: u64,
}

/// The three phases of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Filling the regions' stores.
    pub seed: Phase,
    /// Assembling VHDs.
    pub copy: Phase,
    /// Making managed images.
    pub image: Phase,
}

impl Phases {
    /// Each with its name, in order.
    #[must_use]
    pub fn named(&self) -> [(Kind, &Phase); 3] {
        [(Kind::Seed, &self.seed), (Kind::Copy, &self.copy), (Kind::Image, &self.image)]
    }

    fn of(&mut self, kind: Kind) -> &mut Phase {
        match kind {
            Kind::Seed => &mut self.seed,
            Kind::Copy => &mut self.copy,
            Kind::Image => &mut self.image,
        }
    }
}

/// How far the upload of the job's image version is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UploadStatus {
    /// Where it stands.
    pub state: UploadState,
    /// 0 to 100.
    pub percent: f64,
    /// Bytes of the file that hold data.
    pub bytes_total: u64,
    /// Bytes of them read.
    pub bytes_read: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes that the store already had.
    pub bytes_reused: u64,
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

/// Which rings of a job have their approval, and which one waits for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Approvals {
    /// The ring that waits for approval now: all before it have succeeded.
    pub waits: Option<u32>,
    /// The rings that were approved, with by whom and when.
    pub given: Vec<Approval>,
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
    /// Bytes put in place a second, since the first operation began.
    pub bytes_per_second: f64,
    /// Seconds since the job was asked for; until its end, if it has ended.
    pub seconds: f64,
    /// Seconds left at this rate; none where nothing tells.
    pub seconds_left: Option<f64>,
    /// What failed, and why. Images that were not begun because their copy failed are counted as cancelled, and not
    /// listed.
    pub failures: Vec<FailureLine>,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

impl Status {
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

/// Counts a job's rows. Pure.
#[must_use]
pub fn summarise(job: &Job, upload: Option<&Upload>, operations: &[Versioned<Operation>], now: Timestamp) -> Status {
    let mut phases = Phases::default();
    let mut wan_bytes = BTreeMap::new();
    let mut failures = Vec::new();
    for operation in operations.iter().map(|row| &row.value) {
        count(phases.of(operation.id.kind()), operation);
        if let Some((region, bytes)) = over_the_wan(operation) {
            *wan_bytes.entry(region).or_default() += bytes;
        }
        failures.extend(failure_line(operation));
    }
    for kind in Kind::ALL {
        let phase = phases.of(kind);
        phase.percent = percent(phase);
    }
    let end = job.finished.unwrap_or(now);
    let begun = operations.iter().filter_map(|row| row.value.started).min().unwrap_or(job.created);
    let moving = between(begun, end).as_secs_f64();
    let (done, total) =
        (phases.seed.bytes_done + phases.copy.bytes_done, phases.seed.bytes_total + phases.copy.bytes_total);
    let rate = if moving > 0.0 { as_f64(done) / moving } else { 0.0 };
    let standing = standing(job, operations);
    let approvals = approvals(job, operations);
    let waits = approvals.as_ref().is_some_and(|approvals| approvals.waits.is_some());
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
        upload: upload.map(upload_status),
        phases,
        regions: by_region(operations),
        wan_bytes,
        bytes_per_second: rate,
        seconds: between(job.created, end).as_secs_f64(),
        // How long an operator takes nobody can tell.
        seconds_left: (standing == Standing::Running && !waits && rate > 0.0 && total > done)
            .then(|| as_f64(total - done) / rate),
        failures,
        created: job.created,
        finished: job.finished,
    }
}

/// What a job's rows say of its end, whether or not a dispatcher has written it to the job's own row.
fn standing(job: &Job, operations: &[Versioned<Operation>]) -> Standing {
    let planned = matches!(job.state, JobState::Running | JobState::Cancelling);
    let ended = if planned { end_of(operations) } else { None };
    let state = ended.and_then(|event: JobEvent| next_job(job.state, event)).unwrap_or(job.state);
    match state {
        JobState::Requested | JobState::Running | JobState::Cancelling => Standing::Running,
        JobState::Succeeded => Standing::Succeeded,
        JobState::Failed => Standing::Failed,
        JobState::Cancelled => Standing::Cancelled,
    }
}

fn approvals(job: &Job, operations: &[Versioned<Operation>]) -> Option<Approvals> {
    let given = job.approvals.clone()?;
    let waits = match rings::next(job, operations) {
        Next::Await(ring) if job.state == JobState::Running => Some(ring),
        _ => None,
    };
    Some(Approvals { waits, given })
}

fn count(phase: &mut Phase, operation: &Operation) {
    phase.total += 1;
    *match operation.state {
        OperationState::Waiting | OperationState::Ready => &mut phase.waiting,
        OperationState::Running | OperationState::Cancelling => &mut phase.running,
        OperationState::Succeeded => &mut phase.succeeded,
        OperationState::Failed => &mut phase.failed,
        OperationState::Cancelled => &mut phase.cancelled,
        OperationState::Skipped => &mut phase.skipped,
    } += 1;
    if operation.state != OperationState::Skipped {
        phase.bytes_total += operation.progress.bytes_total;
        phase.bytes_done += operation.progress.bytes_done;
        phase.bytes_moved += operation.progress.bytes_moved;
    }
}

fn percent(phase: &Phase) -> f64 {
    let ended = phase.succeeded + phase.skipped;
    if ended == phase.total {
        return 100.0;
    }
    if phase.bytes_total > 0 {
        // Everything in place is not yet everything done.
        return (as_f64(phase.bytes_done) / as_f64(phase.bytes_total) * 100.0).min(99.9);
    }
    as_f64(ended as u64) / as_f64(phase.total as u64) * 100.0
}

/// The region and the bytes of a seed that crosses between regions.
fn over_the_wan(operation: &Operation) -> Option<(String, u64)> {
    use goldfleet_shared::model::operation::Work;
    match &operation.work {
        Work::Seed { store, from } if from.first().is_some_and(|parent| parent.region != store.region) => {
            Some((store.region.to_string(), operation.progress.bytes_moved))
        }
        _ => None,
    }
}

fn failure_line(operation: &Operation) -> Option<FailureLine> {
    let failure = operation.failure.as_ref()?;
    if operation.state != OperationState::Failed || failure.code == COPY_FAILED {
        return None;
    }
    Some(FailureLine {
        target: operation.id.place(),
        phase: operation.id.kind(),
        code: failure.code.clone(),
        reason: failure.message.clone(),
        request_id: failure.request_id.clone(),
        attempts: operation.attempts,
    })
}

/// How far an upload is.
#[must_use]
pub fn upload_status(upload: &Upload) -> UploadStatus {
    let percent = match upload.state {
        UploadState::Complete => 100.0,
        _ if upload.bytes_total == 0 => 0.0,
        _ => (as_f64(upload.bytes_read) / as_f64(upload.bytes_total) * 100.0).min(99.9),
    };
    UploadStatus {
        state: upload.state,
        percent,
        bytes_total: upload.bytes_total,
        bytes_read: upload.bytes_read,
        bytes_sent: upload.bytes_sent,
        bytes_reused: upload.bytes_reused,
    }
}

/// For rates and shares, where the last digits do not matter.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

/// The events of a job, or of those of its operations whose id contains `filter`.
///
/// # Errors
/// Where the table can't be reached.
pub async fn events(desk: &Desk, job: &Job, filter: Option<&str>) -> Result<Vec<Event>, DeskError> {
    let mut events = desk.ports.table.events(&job.id, None).await?;
    if let Some(filter) = filter {
        events.retain(|event| event.operation.as_ref().is_some_and(|id| id.to_string().contains(filter)));
    }
    Ok(events)
}
