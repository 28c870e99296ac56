//! Snapshots: runs of syncs and copies on request, as jobs of the route
//! [`snapshots`](crate::control::routes::snapshots).
//!
//! - [`request`] creates the jobs, [`schedule`] those of syncs with an interval.
//! - [`listing`] and [`run`] read both sides and compare them. `goldfleet-snapshots` decides.
//! - [`estimate`] has the bytes, the cost and the time of a run.
//! - [`state`] is the state that a sync stores between its runs.
//! - [`overview`] is what `goldfleet snapshots list` shows.

pub mod estimate;
pub mod listing;
pub mod overview;
pub mod request;
pub mod run;
pub mod schedule;
pub mod state;

use goldfleet_config::{Sync, SyncDestination};
use goldfleet_model::job::Work;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::names::ReplicaName;
use serde::{Deserialize, Serialize};

use crate::control::context::ControlError;

/// The id of the route of these jobs.
pub const ROUTE: &str = "snapshots";

/// The version of [`RunSpec`].
const VERSION: u16 = 1;

/// What a job replicates. The job has the rules as they were when it was requested, so all dispatchers plan the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The rules.
    pub sync: Sync,
    /// Whether replicas may be deleted if no source is selected at all.
    #[serde(default)]
    pub allow_empty: bool,
    /// The limit of deletions for this run. None for the limit of the sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_deletes: Option<u32>,
    /// The names of the replicas. None if a replica has the name of its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ReplicaName>,
}

/// The resource groups of a sync.
#[must_use]
pub fn groups_of(sync: &Sync) -> Vec<GroupRef> {
    let to = sync.to.iter().map(SyncDestination::group);
    to.chain(sync.scratch.clone()).chain([sync.from.clone()]).collect()
}

impl RunSpec {
    /// The specification of a job.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if it cannot be read.
    pub fn of(work: &Work) -> Result<Self, ControlError> {
        let refused = |error| ControlError::Refused(format!("the specification of the job: {error}"));
        work.spec.read(VERSION).map_err(refused)
    }
}
