//! The status of a job, computed from its rows.

mod disks;
mod phases;
mod rate;
mod regions;
mod rings;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_kinds::kind::Transfer;
use goldfleet_kinds::registry::Registry;
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::job::{Approval, Finding, Job, JobState};
use goldfleet_model::operation::{KindId, Operation, OperationState};
use goldfleet_model::selector::Selector;
use goldfleet_model::state::next_job;
use goldfleet_model::system::System;
use goldfleet_model::text::{HumanBytes, duration};
use goldfleet_model::upload::Upload;
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::listing::{Listing, UnreadableRow};
use jiff::Timestamp;
use serde::Serialize;

use crate::control::context::ControlError;
use crate::control::explain;
use crate::control::fan_out::NOT_LISTED;
use crate::control::job_store::{JobStore, states};
use crate::control::rings::RingAction;
use crate::control::suggest::resume_command;
pub use disks::DiskStatus;
use disks::{by_disk, disk_of};
use phases::as_f64;
pub use phases::{Phase, Phases};
pub use regions::RegionStatus;
use regions::by_region;
pub use rings::RingStatus;
pub use upload::UploadStatus;

/// The state of a job as operators see it. Requested and cancelling jobs are shown as running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportedState {
    /// The job has not ended.
    Running,
    /// The job ended, and everything succeeded.
    Succeeded,
    /// The job ended, and something failed.
    Failed,
    /// The job was cancelled.
    Cancelled,
}

impl ReportedState {
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

    /// The state by the job's rows. It does not depend on whether a dispatcher has already written the end to the job's
    /// own row.
    fn from_rows(job: &Job, operations: &Listing<Versioned<Operation>>) -> Self {
        // Only the reconciler decides when a job has ended of which a row cannot be read.
        let is_known =
            matches!(job.state, JobState::Running | JobState::Cancelling) && operations.unreadable.is_empty();
        let ended = if is_known { job.job_end(states(&operations.rows)) } else { None };
        match ended.and_then(|event| next_job(job.state, event)).unwrap_or(job.state) {
            JobState::Requested | JobState::Running | JobState::Cancelling => Self::Running,
            JobState::Succeeded => Self::Succeeded,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureRow {
    /// `subscription/region`, or the store of a seed.
    pub target: String,
    /// The kind of operation.
    pub phase: KindId,
    /// The disk of the version, if the operation transfers a data disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskRole>,
    /// The stable code, listed in `docs/failures.md`.
    pub code: String,
    /// The error message.
    pub reason: String,
    /// What to do about it. None if goldfleet does not know the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The display name of the target's subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The request id of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The number of attempts.
    pub attempts: u32,
}

impl FailureRow {
    /// None if the operation did not fail.
    fn of(registry: &Registry, operation: &Operation) -> Option<Self> {
        let failure = operation.failure.as_ref()?;
        if operation.state != OperationState::Failed {
            return None;
        }
        Some(Self {
            target: operation.place.label.clone(),
            phase: operation.kind.clone(),
            disk: disk_of(registry, operation).filter(|disk| *disk != DiskRole::Os),
            code: failure.code.clone(),
            reason: failure.message.clone(),
            // Replace the placeholder JOB of the remedy with the job's id.
            remedy: explain::remedy(&failure.code).map(|remedy| remedy.replace("JOB", operation.job.as_str())),
            name: operation.target().and_then(|target| target.name.clone()),
            request_id: failure.request_id.clone(),
            attempts: operation.attempts,
        })
    }
}

/// Which rings of a job are approved, and which ring waits for approval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Approvals {
    /// The ring that waits for approval now. All rings before it have succeeded.
    pub waits: Option<u32>,
    /// The approvals: which ring, by whom and when.
    pub given: Vec<Approval>,
}

impl Approvals {
    /// None if the rings of the job need no approval.
    fn from_rows(job: &Job, operations: &[Versioned<Operation>]) -> Option<Self> {
        let given = job.approvals.clone()?;
        let waits = match crate::control::rings::next_action(job, operations) {
            RingAction::AwaitApproval(ring) if job.state == JobState::Running => Some(ring),
            _ => None,
        };
        Some(Self { waits, given })
    }
}

/// What an operation did and why, or what it reports while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The operation.
    pub operation: String,
    /// The kind of the operation.
    pub phase: String,
    /// The place of its effect.
    pub place: String,
    /// What it did and why.
    pub text: String,
}

impl Remark {
    fn of(registry: &Registry, operation: &Operation) -> Option<Self> {
        let text = registry.get(&operation.kind)?.report(operation)?;
        let place = operation.place.label.clone();
        Some(Self { operation: operation.id.to_string(), phase: operation.kind.to_string(), place, text })
    }
}

/// The status of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The job.
    pub job: String,
    /// What the job does, for people: the image and its version, or the title of other work.
    pub title: String,
    /// The command that continues the job.
    #[serde(skip)]
    pub resume: String,
    /// The image. None for other work; the same holds for its version and its digest.
    pub image: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The digest of its content.
    pub digest: Option<String>,
    /// The state as operators see it.
    pub state: ReportedState,
    /// The state of the job's row, which is more specific than [`Status::state`].
    pub detail: JobState,
    /// Why the job could not be planned. None if it could.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The approvals of its rings. None if they need no approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// Bytes of the image, without zero runs.
    pub data_bytes: u64,
    /// The operating system that the check before the upload found. None if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// The upload of the version. None if it is not known.
    pub upload: Option<UploadStatus>,
    /// Counts by kind of operation.
    pub phases: Phases,
    /// The progress of each disk, if the version has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskStatus>,
    /// The progress of the targets in each region.
    pub regions: BTreeMap<String, RegionStatus>,
    /// Bytes that were copied between regions, by destination region.
    pub wan_bytes: BTreeMap<String, u64>,
    /// Bytes per second that were put in place. For a running job: over the time in which operations ran in the last
    /// five minutes, and 0 if no bytes arrived in that time or no worker is active. For an ended job: from the start of
    /// the first operation to [`Status::finished`]. 0 if the time is less than a second.
    pub bytes_per_second: f64,
    /// Seconds since the job was requested, or from the request to its end if it has ended.
    pub seconds: f64,
    /// The estimated remaining seconds, at this rate, for the bytes of operations that have not ended. None if it
    /// cannot be estimated, and while no worker is active.
    pub seconds_left: Option<f64>,
    /// Seconds since a worker was last active. None if a worker is active or there is no work to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<f64>,
    /// The failed operations, with the reasons. Images that were not started because their copy failed are counted as
    /// cancelled and are not listed.
    pub failures: Vec<FailureRow>,
    /// The operations of which the rows cannot be read. They are in no other count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
    /// Other jobs of which the rows cannot be read. Only the command `status` fills it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable_jobs: Vec<UnreadableRow>,
    /// What operations did and why, if their states do not say it: what was deleted, for example.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Remark>,
    /// What the planning reported besides operations. One that failed makes the job fail.
    pub findings: Vec<Finding>,
    /// Whether planning was completed. Only then can the job be retried.
    pub planned: bool,
    /// Whether its staged VHDs were removed.
    pub staged_removed: bool,
    /// The progress of each ring.
    pub rings: Vec<RingStatus>,
    /// The selection of targets. Empty for all enabled targets.
    pub selection: Vec<Selector>,
    /// Who requested the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// A remark of the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the job was requested.
    pub created: Timestamp,
    /// When its last operation ended. None until then.
    pub finished: Option<Timestamp>,
    /// Whether a group of resources could not be listed, so that the job did less than requested.
    #[serde(skip)]
    pub unlisted: bool,
}

impl Status {
    /// The exit code of a command that waited for the job. A job that failed only because a service did not list a
    /// group has the code of a service that refused.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.state {
            ReportedState::Failed if self.unlisted && self.failures.is_empty() => 3,
            state => state.exit_code(),
        }
    }

    /// The state as lists and filters show it. It distinguishes requested and cancelling jobs, and shows the result of
    /// a job as soon as its operations have ended.
    #[must_use]
    pub fn shown_state(&self) -> JobState {
        match (self.state, self.detail) {
            (ReportedState::Running, JobState::Requested | JobState::Cancelling) => self.detail,
            (ReportedState::Running, _) => JobState::Running,
            (ReportedState::Succeeded, _) => JobState::Succeeded,
            (ReportedState::Failed, _) => JobState::Failed,
            (ReportedState::Cancelled, _) => JobState::Cancelled,
        }
    }

    /// Whether there is nothing to count, because the job was never planned or is not planned yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.planned && self.phases.named().iter().all(|(_, phase)| phase.total == 0)
    }

    /// A message that no worker is active although there is work, and the command that resumes it. None if that is not
    /// the case.
    #[must_use]
    pub fn idle_words(&self) -> Option<(String, String)> {
        let idle = duration(Duration::from_secs_f64(self.idle_seconds?.clamp(0.0, 1e9)));
        let message = format!(
            "no worker has been active for {idle}; start 'goldfleet-worker' and 'goldfleet dispatcher', or resume with:"
        );
        Some((message, format!("{} --wait", self.resume)))
    }

    /// The rate in words. None if it is 0, or not known.
    #[must_use]
    pub fn rate_words(&self) -> Option<String> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is shown only")]
        let rate = self.bytes_per_second as u64;
        (rate > 0).then(|| format!("{}/s", HumanBytes(rate)))
    }

    /// What the operator has to do before the job continues. None if nothing.
    #[must_use]
    pub fn pending_action(&self) -> Option<String> {
        let ring = self.approvals.as_ref()?.waits?;
        Some(format!("ring {ring} waits for approval: goldfleet approve {}", self.job))
    }
}

/// Reads the status of a job.
///
/// # Errors
/// If the table cannot be reached.
pub async fn status(jobs: &JobStore, job: &Job) -> Result<Status, ControlError> {
    let operations = jobs.list_operations(job).await?;
    status_of(jobs, job, &operations).await
}

/// The status of a job whose operations have already been read.
///
/// # Errors
/// If the table cannot be reached.
pub async fn status_of(
    jobs: &JobStore,
    job: &Job,
    operations: &Listing<Versioned<Operation>>,
) -> Result<Status, ControlError> {
    let upload = match job.image() {
        Some(image) => jobs.ports.table.newest_upload(&image.name, &image.version).await?,
        None => None,
    };
    Ok(count_rows(&jobs.registry, job, upload.as_ref(), operations, jobs.ports.clock.now()))
}

/// Computes the status from a job's rows.
fn count_rows(
    registry: &Registry,
    job: &Job,
    upload: Option<&Upload>,
    listing: &Listing<Versioned<Operation>>,
    now: Timestamp,
) -> Status {
    let operations = listing.rows.as_slice();
    let mut phases = Phases::of(registry, job, operations);
    if job.operations.is_none() && operations.is_empty() {
        phases.clear_percent();
    }
    let standing = ReportedState::from_rows(job, listing);
    let has_ended = standing != ReportedState::Running;
    // Before the reconciler writes it to the job's row, use the same moment, so that values derived from it do not
    // change.
    let finished = has_ended.then(|| job.end_time(operations.iter().map(|row| row.value.updated).max()));
    let end = finished.unwrap_or(now);
    let left = rate::bytes_left(operations);
    let approvals = Approvals::from_rows(job, operations);
    let waits = approvals.as_ref().is_some_and(|approvals| approvals.waits.is_some());
    // The time of an approval cannot be estimated, and a cancelling job does not copy the rest.
    let goes_on = standing == ReportedState::Running && job.state != JobState::Cancelling && !waits;
    let idle = if goes_on { rate::idle(operations, now) } else { None };
    let rate = match standing {
        ReportedState::Running if idle.is_some() => 0.0,
        ReportedState::Running => rate::recent_rate(operations, now).unwrap_or(0.0),
        _ => rate::average_rate(job, operations, end),
    };
    // If no worker is active, the time at which work continues is not known.
    let is_worked_on = goes_on && rate::is_active(operations, now);
    Status {
        job: job.id.to_string(),
        title: job.subject.to_string(),
        resume: resume_command(job),
        image: job.image().map(|image| image.name.to_string()),
        version: job.image().map(|image| image.version.to_string()),
        digest: job.image().map(|image| image.digest.to_string()),
        state: standing,
        detail: job.state,
        reason: job.failure.as_ref().map(|failure| failure.message.clone()),
        approvals,
        data_bytes: job.payload().map_or(0, |payload| payload.data_bytes),
        system: job.payload().and_then(|payload| payload.system.clone()),
        upload: upload.map(UploadStatus::of),
        phases,
        disks: by_disk(registry, operations),
        regions: by_region(registry, operations),
        wan_bytes: wan_bytes_by_region(registry, operations),
        bytes_per_second: rate,
        seconds: elapsed(job.created, end).as_secs_f64(),
        seconds_left: (is_worked_on && rate > 0.0 && left > 0).then(|| as_f64(left) / rate),
        idle_seconds: idle,
        failures: operations.iter().filter_map(|row| FailureRow::of(registry, &row.value)).collect(),
        unreadable: listing.unreadable.clone(),
        unreadable_jobs: Vec::new(),
        remarks: operations.iter().filter_map(|row| Remark::of(registry, &row.value)).collect(),
        findings: job.findings.clone(),
        planned: job.operations.is_some(),
        staged_removed: job.cleaned,
        rings: rings::by_ring(registry, job, operations),
        selection: job.selection.clone(),
        requested_by: job.requested_by.clone(),
        note: job.note.clone(),
        created: job.created,
        finished,
        unlisted: is_unlisted(job),
    }
}

fn is_unlisted(job: &Job) -> bool {
    let is_left_out = |finding: &Finding| finding.code == "destination-incomplete";
    job.failure.as_ref().is_some_and(|failure| failure.code == NOT_LISTED) || job.findings.iter().any(is_left_out)
}

/// Bytes that were copied from one region to another, by destination region.
fn wan_bytes_by_region(registry: &Registry, operations: &[Versioned<Operation>]) -> BTreeMap<String, u64> {
    let mut bytes = BTreeMap::new();
    for operation in operations.iter().map(|row| &row.value) {
        let transfer = registry.get(&operation.kind).and_then(|kind| kind.transfer(operation));
        let Some(Transfer { fills: Some(store), from }) = transfer else { continue };
        if from.first().is_some_and(|parent| parent.region != store.region) {
            *bytes.entry(store.region.to_string()).or_default() += operation.progress.bytes_moved;
        }
    }
    bytes
}
