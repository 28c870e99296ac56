//! The route of a sync: the plan of `goldfleet-snapshots` as rows of a job. The platform copies the content, so no byte
//! passes through goldfleet.
//!
//! - A group for each copy: the snapshot, and the removal of the incomplete replica of a cancelled copy.
//! - Two groups for each full snapshot that is copied to another region: its temporaries, and their removal.
//! - A group for each copy to another tenant: the disk that is filled, the snapshot, and the removal of the disk.
//! - A group for each staged replica that gets its final name, for each removal, and for each lock.

use async_trait::async_trait;
use goldfleet_kinds::context::write_spec;
use goldfleet_model::document::Document;
use goldfleet_model::job::{Finding, Job, Subject};
use goldfleet_model::operation::Operation;
use goldfleet_ports::Ports;
use goldfleet_snapshots::graph::{Row, RowSpec};
use goldfleet_snapshots::id::GroupRef;
use jiff::Timestamp;

use crate::control::context::{ControlContext, ControlError};
use crate::control::routes::rows;
use crate::control::routes::{Groups, PlannedJob, Route};
use crate::control::snapshots::run::{PlannedRun, plan};
use crate::control::snapshots::{ROUTE, RunSpec, groups_of};

/// The ids of the kinds that the route uses, in the order in which they are shown.
pub const KINDS: [&str; 5] = ["disk", "export", "snapshot", "remove", "lock"];

/// The route.
pub struct Snapshots;

#[async_trait]
impl Route for Snapshots {
    fn id(&self) -> &'static str {
        ROUTE
    }

    fn kinds(&self) -> &'static [&'static str] {
        &KINDS
    }

    fn groups(&self, subject: &Subject) -> Vec<GroupRef> {
        let Subject::Work { work } = subject else { return Vec::new() };
        RunSpec::of(work).map_or_else(|_| Vec::new(), |spec| groups_of(&spec.sync))
    }

    async fn plan(&self, control: &ControlContext, job: &Job) -> Result<Box<dyn PlannedJob>, ControlError> {
        let Subject::Work { work } = &job.subject else {
            return Err(ControlError::Refused("the job names no snapshots".to_owned()));
        };
        Ok(Box::new(plan(control, &RunSpec::of(work)?, &job.id).await?))
    }
}

#[async_trait]
impl PlannedJob for PlannedRun {
    fn groups<'p>(&'p self, job: &'p Job, now: Timestamp) -> Groups<'p> {
        Box::new(self.groups.iter().map(move |rows| rows.iter().map(|row| operation(job, row.clone(), now)).collect()))
    }

    fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }

    async fn prepare(&self, ports: &Ports) -> Result<(), ControlError> {
        if let Some((stored, state)) = &self.state {
            stored.replace(ports.records.as_ref(), state).await?;
        }
        Ok(())
    }
}

/// A row as an operation of a job, written at `now`.
#[must_use]
pub fn operation(job: &Job, row: Row, now: Timestamp) -> Operation {
    let bytes_total = match &row.spec {
        RowSpec::Copy(copy) if copy.exported.is_none() => copy.size.unwrap_or(0),
        _ => 0,
    };
    let spec = Document { v: row.spec.version(), ..write_spec(&row.spec) };
    rows::operation(job, row, spec, bytes_total, now)
}

#[cfg(test)]
mod tests {
    use goldfleet_kinds::registry::Registry;

    use super::*;
    use crate::control::routes::rows::kind_id;

    #[test]
    fn every_kind_is_registered() {
        let registry = Registry::default();
        assert!(KINDS.map(kind_id).iter().all(|kind| registry.get(kind).is_some()));
    }
}
