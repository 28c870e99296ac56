//! Routes: how a job reaches its goal, as a graph of operations. One file per route.
//!
//! A route yields groups one by one, so that a large plan needs no list of all its rows.

pub mod machine;
pub mod platform;
pub mod region;
mod rings;
pub(crate) mod rows;
pub mod snapshots;
pub mod staging;

use async_trait::async_trait;
use goldfleet_model::job::{Finding, Job, Subject};
use goldfleet_model::operation::{KindId, Operation};
use goldfleet_model::tree::Tree;
use goldfleet_ports::Ports;
use goldfleet_snapshots::id::GroupRef;
use jiff::Timestamp;

use crate::control::context::{ControlContext, ControlError};

/// A way to plan jobs.
#[async_trait]
pub trait Route: Send + Sync {
    /// The id, which [`Work::route`](goldfleet_model::job::Work::route) or
    /// [`Delivery::route`](goldfleet_model::job::Delivery::route) names.
    fn id(&self) -> &'static str;

    /// The ids of the kinds of its operations, in the order in which they are shown.
    fn kinds(&self) -> &'static [&'static str];

    /// Whether its jobs transfer the chunks of an uploaded version.
    fn uses_chunks(&self) -> bool {
        false
    }

    /// The resource groups, besides those of targets and hubs, in which jobs with this subject create temporaries.
    fn groups(&self, _subject: &Subject) -> Vec<GroupRef> {
        Vec::new()
    }

    /// Plans a job. Changes nothing.
    ///
    /// # Errors
    /// [`ControlError`] if the job cannot be planned, or if a service cannot be reached.
    async fn plan(&self, control: &ControlContext, job: &Job) -> Result<Box<dyn PlannedJob>, ControlError>;
}

/// A planned job. It is plain data that is created before anything is written.
#[async_trait]
pub trait PlannedJob: Send + Sync {
    /// The groups of operations of the job, written at `now`. The job has the number of the planning attempt. Each call
    /// yields the same groups.
    fn groups<'p>(&'p self, job: &'p Job, now: Timestamp) -> Groups<'p>;

    /// Which store fills which, if chunks are transferred.
    fn tree(&self) -> Option<&Tree> {
        None
    }

    /// The findings of the plan, the most important first. The job's row contains only the first ones.
    fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// Writes what later runs need, before the plan takes effect. It can be repeated.
    ///
    /// # Errors
    /// If another process has written it since the plan was made, or if the table cannot be reached.
    async fn prepare(&self, _ports: &Ports) -> Result<(), ControlError> {
        Ok(())
    }
}

/// The groups of a planned job.
pub type Groups<'p> = Box<dyn Iterator<Item = Vec<Operation>> + Send + 'p>;

/// All routes.
const ROUTES: [&dyn Route; 5] =
    [&staging::Staging, &region::RegionRoute, &platform::Platform, &snapshots::Snapshots, &machine::Machine];

/// The route of jobs about this. None if this program does not know it.
#[must_use]
pub fn find(subject: &Subject) -> Option<&'static dyn Route> {
    let id = match subject {
        Subject::Image { delivery: None, .. } => staging::ID,
        Subject::Image { delivery: Some(delivery), .. } => delivery.route.as_str(),
        Subject::Work { work } => work.route.as_str(),
    };
    ROUTES.into_iter().find(|route| route.id() == id)
}

/// Whether jobs about this transfer the chunks of an uploaded version. A route that this program does not know may.
#[must_use]
pub fn uses_chunks(subject: &Subject) -> bool {
    find(subject).is_none_or(Route::uses_chunks)
}

/// The kinds of the operations of jobs about this.
#[must_use]
pub fn kinds(subject: &Subject) -> Vec<KindId> {
    let ids = find(subject).map(Route::kinds).unwrap_or_default();
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}
