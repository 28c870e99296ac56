//! Retention of the history: removes the rows of jobs that ended long ago and that nothing needs.
//!
//! Commands and the garbage collection need some rows of ended jobs:
//! - The newest job is the default of commands without a job id. It is kept.
//! - A job's tree names stores. The garbage collection finds a store only through such a tree, unless it is the source
//!   store or is named in the targets file. Of the jobs that are the only ones to name a store, the newest is kept.
//! - A job's tree names the source store whose manifests say which chunks are in use. Another configuration may know
//!   that store only from the tree. The newest job of each source store is kept.
//! - Only the rows of a job's copies name its staged VHDs. The job is kept until these are removed, and also if one of
//!   its rows cannot be read.
//!
//! A row is first marked for removal by compare-and-swap. A marked job cannot be retried. If the removal is
//! interrupted, the next run continues it.

use std::collections::BTreeSet;
use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::store::Container;
use goldfleet_ports::clock::before;
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::{Ports, Versioned};
use jiff::Timestamp;

use crate::control::cleanup::Mode;
use crate::control::context::{ControlContext, ControlError};
use crate::control::dead_letters::delete_stale;
use crate::control::garbage_collection::configured_stores;
use crate::control::job_store::JobStore;

/// The result for jobs that ended long enough ago.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RetentionReport {
    /// Jobs whose rows were removed.
    pub removed: Vec<JobId>,
    /// Jobs that are kept because their staged VHDs were not removed.
    pub staged: Vec<JobId>,
    /// Jobs that are kept because no other job names one of their stores.
    pub stores: Vec<JobId>,
    /// Jobs that are kept because another process changed them in the meantime.
    pub changed: Vec<JobId>,
}

/// The stores that are still known after old jobs are removed.
struct Known {
    /// All known stores.
    stores: BTreeSet<Container>,
    /// The source stores in the trees of jobs that are kept.
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

/// What to do with a job that ended long enough ago.
enum RetentionDecision {
    Remove,
    KeepForStagedVhds,
    KeepForStores,
}

/// Removes the rows of jobs that ended more than `age` ago, except those that are still needed.
///
/// # Errors
/// [`ControlError`] if the table cannot be reached. Completed removals are kept, and the next call continues.
pub async fn remove_old_jobs(control: &ControlContext, age: Duration) -> Result<RetentionReport, ControlError> {
    forget(control, age, Mode::Delete).await
}

/// [`remove_old_jobs`], or a dry run of it.
///
/// # Errors
/// As [`remove_old_jobs`].
pub async fn forget(control: &ControlContext, age: Duration, mode: Mode) -> Result<RetentionReport, ControlError> {
    let ago = before(control.ports.clock.now(), age);
    let mut jobs = control.ports.table.list_jobs().await?.rows.into_iter();
    let newest = jobs.next();
    let (old, young): (Vec<_>, Vec<_>) = jobs.partition(|row| is_old(&row.value, ago));
    let mut known = Known { stores: configured_stores(&control.config), sources: BTreeSet::new() };
    newest.iter().chain(&young).for_each(|row| known.add(&row.value));
    let mut forgotten = RetentionReport::default();
    for row in old {
        let id = row.value.id.clone();
        match retention_decision(&control.jobs, &row.value, &known).await? {
            RetentionDecision::Remove if mode == Mode::DryRun || remove(&control.ports, &row).await? => {
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
    if mode == Mode::Delete && !forgotten.removed.is_empty() {
        delete_stale(&control.ports).await;
    }
    Ok(forgotten)
}

fn is_old(job: &Job, ago: Timestamp) -> bool {
    job.removing || (job.state.is_terminal() && job.finished.is_some_and(|finished| finished < ago))
}

async fn retention_decision(jobs: &JobStore, job: &Job, known: &Known) -> PortResult<RetentionDecision> {
    Ok(if job.removing {
        RetentionDecision::Remove
    } else if has_staged(jobs, job).await? {
        RetentionDecision::KeepForStagedVhds
    } else if known.has_all(job) {
        RetentionDecision::Remove
    } else {
        RetentionDecision::KeepForStores
    })
}

/// Whether staged VHDs of the job may exist.
async fn has_staged(jobs: &JobStore, job: &Job) -> PortResult<bool> {
    if job.cleaned {
        return Ok(false);
    }
    let operations = jobs.ports.table.list_operations(&job.id).await?;
    if !job.removing && !operations.unreadable.is_empty() {
        // Nobody knows what they left behind.
        return Ok(true);
    }
    let operations = operations.rows;
    let leaves_blob = |operation: &Operation| jobs.registry.temporary_blob(&jobs.ports, operation).is_some();
    let mut begun = operations.iter().map(|row| &row.value).filter(|operation| operation.attempts > 0);
    Ok(begun.any(|operation| operation.state != OperationState::Skipped && leaves_blob(operation)))
}

/// Removes a job's rows. False if another process changed its row first.
async fn remove(ports: &Ports, row: &Versioned<Job>) -> PortResult<bool> {
    let table = &ports.table;
    let etag = if row.value.removing {
        row.etag.clone()
    } else {
        let told = Job { removing: true, updated: ports.clock.now(), ..row.value.clone() };
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
