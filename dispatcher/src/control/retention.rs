//! Removing the history of jobs: rows of jobs that ended long ago and that nothing relies on.
//!
//! Of the rows of jobs that have ended, these are read by anything but a look at that job:
//! - the newest job is what commands mean that name none;
//! - a job's tree names stores, and whoever collects chunks knows of a store by that, unless it is the source's or named in the
//!   targets file: of the jobs that alone name a store, the newest stays;
//! - a job's tree names the source store whose manifests say which chunks are in use, and another configuration may know of it
//!   by that alone: the newest job of each source store stays;
//! - a job's copies name its staged VHDs, and nothing else does: it stays until they were removed.
//!
//! A row that is to go says so first, on condition that it is still as it was read: from then on the job can't be taken up again,
//! and whatever cuts the removal short, the next one goes on with it.

use std::collections::BTreeSet;
use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::store::Container;
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::before;
use goldfleet_ports::error::{ErrorKind, PortResult};
use jiff::Timestamp;

use crate::control::cleanup::Mode;
use crate::control::context::{ControlContext, ControlError};
use crate::control::garbage_collection::configured_stores;

/// What became of the jobs that ended long enough ago.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RetentionReport {
    /// Jobs whose rows were removed.
    pub removed: Vec<JobId>,
    /// Jobs that stay, as their staged VHDs were not removed.
    pub staged: Vec<JobId>,
    /// Jobs that stay, as only they name a store.
    pub stores: Vec<JobId>,
    /// Jobs that stay, as somebody has changed them meanwhile.
    pub changed: Vec<JobId>,
}

/// The stores that will still be known when old jobs are gone.
struct Known {
    /// All of them.
    stores: BTreeSet<Container>,
    /// Those that the tree of a job that stays names as its source.
    sources: BTreeSet<Container>,
}

impl Known {
    fn add(&mut self, job: &Job) {
        self.stores.extend(job.stores());
        self.sources.extend(job.sources());
    }

    fn has_all(&self, job: &Job) -> bool {
        job.stores().all(|store| self.stores.contains(&store))
            && job.sources().all(|source| self.sources.contains(&source))
    }
}

/// What is to become of a job that ended long enough ago.
enum RetentionDecision {
    Remove,
    KeepForStagedVhds,
    KeepForStores,
}

/// Removes the rows of the jobs that ended longer than `age` ago, but for those that something relies on.
///
/// # Errors
/// [`ControlError`] where the table can't be reached; what was removed stays so, and the next call goes on.
pub async fn remove_old_jobs(control: &ControlContext, age: Duration) -> Result<RetentionReport, ControlError> {
    forget(control, age, Mode::Delete).await
}

/// The same as [`remove_old_jobs`], or a dry run of it.
///
/// # Errors
/// As [`remove_old_jobs`].
pub async fn forget(control: &ControlContext, age: Duration, mode: Mode) -> Result<RetentionReport, ControlError> {
    let ago = before(control.ports.clock.now(), age);
    let mut jobs = control.ports.table.jobs().await?.into_iter();
    let newest = jobs.next();
    let (old, young): (Vec<_>, Vec<_>) = jobs.partition(|row| is_old(&row.value, ago));
    let mut known = Known { stores: configured_stores(control), sources: BTreeSet::new() };
    newest.iter().chain(&young).for_each(|row| known.add(&row.value));
    let mut forgotten = RetentionReport::default();
    for row in old {
        let id = row.value.id.clone();
        match retention_decision(control, &row.value, &known).await? {
            RetentionDecision::Remove if mode == Mode::DryRun || remove(control, &row).await? => {
                forgotten.removed.push(id);
            }
            RetentionDecision::Remove => forgotten.changed.push(id),
            RetentionDecision::KeepForStagedVhds => forgotten.staged.push(id),
            RetentionDecision::KeepForStores => {
                known.add(&row.value);
                forgotten.stores.push(id);
            }
        }
    }
    Ok(forgotten)
}

fn is_old(job: &Job, ago: Timestamp) -> bool {
    job.removing || (job.state.is_terminal() && job.finished.is_some_and(|finished| finished < ago))
}

async fn retention_decision(control: &ControlContext, job: &Job, known: &Known) -> PortResult<RetentionDecision> {
    Ok(if job.removing {
        RetentionDecision::Remove
    } else if has_staged(control, job).await? {
        RetentionDecision::KeepForStagedVhds
    } else if known.has_all(job) {
        RetentionDecision::Remove
    } else {
        RetentionDecision::KeepForStores
    })
}

/// Whether there may be VHDs that the job has staged.
async fn has_staged(control: &ControlContext, job: &Job) -> PortResult<bool> {
    if job.cleaned {
        return Ok(false);
    }
    let operations = control.ports.table.operations(&job.id).await?;
    let leaves_blob = |operation: &Operation| control.registry.temporary_blob(&control.ports, operation).is_some();
    let mut begun = operations.iter().map(|row| &row.value).filter(|operation| operation.attempts > 0);
    Ok(begun.any(|operation| operation.state != OperationState::Skipped && leaves_blob(operation)))
}

/// Removes a job's rows. Returns false where somebody changed its row first.
async fn remove(control: &ControlContext, row: &Versioned<Job>) -> PortResult<bool> {
    let table = &control.ports.table;
    let etag = if row.value.removing {
        row.etag.clone()
    } else {
        let told = Job { removing: true, updated: control.ports.clock.now(), ..row.value.clone() };
        match table.commit_job(&told, &row.etag, &[]).await {
            Err(error) if error.kind == ErrorKind::Conflict => return Ok(false),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(true),
            committed => committed?,
        }
    };
    match table.remove_job(&row.value.id, &etag).await {
        Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
        removed => removed.map(|()| true),
    }
}
