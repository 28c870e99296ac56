//! The route of a clone of a machine: the plan of `goldfleet-machines` as rows of a job. The platform copies the
//! content, so no byte passes through goldfleet.

use async_trait::async_trait;
use goldfleet_kinds::context::write_spec;
use goldfleet_machines::graph::KINDS;
use goldfleet_machines::spec::{Row, RowSpec};
use goldfleet_model::job::{Finding, Job, Subject};
use goldfleet_model::operation::Operation;
use goldfleet_snapshots::id::GroupRef;
use jiff::Timestamp;

use crate::control::context::{ControlContext, ControlError};
use crate::control::machines::plan::{PlannedClone, plan};
use crate::control::machines::{ROUTE, request_of};
use crate::control::routes::rows;
use crate::control::routes::{Groups, PlannedJob, Route};

/// The route.
pub struct Machine;

#[async_trait]
impl Route for Machine {
    fn id(&self) -> &'static str {
        ROUTE
    }

    fn kinds(&self) -> &'static [&'static str] {
        &KINDS
    }

    fn groups(&self, subject: &Subject) -> Vec<GroupRef> {
        let Subject::Work { work } = subject else { return Vec::new() };
        let Ok(request) = request_of(work) else { return Vec::new() };
        vec![GroupRef::from(&request.source), request.to.group()]
    }

    async fn plan(&self, control: &ControlContext, job: &Job) -> Result<Box<dyn PlannedJob>, ControlError> {
        let Subject::Work { work } = &job.subject else {
            return Err(ControlError::Refused("the job names no machine".to_owned()));
        };
        let planned = plan(control, &request_of(work)?, &job.id).await?;
        if planned.is_refused() {
            return Err(ControlError::Refused(planned.refusal()));
        }
        Ok(Box::new(planned))
    }
}

#[async_trait]
impl PlannedJob for PlannedClone {
    fn groups<'p>(&'p self, job: &'p Job, now: Timestamp) -> Groups<'p> {
        Box::new(self.groups.iter().map(move |rows| rows.iter().map(|row| operation(job, row.clone(), now)).collect()))
    }

    fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }
}

/// A row as an operation of a job, written at `now`.
fn operation(job: &Job, row: Row, now: Timestamp) -> Operation {
    let spec = match &row.spec {
        RowSpec::Resource(spec) => write_spec(spec),
        RowSpec::Deallocate(spec) => write_spec(spec),
        RowSpec::Start(spec) => write_spec(spec),
        RowSpec::Restore(spec) => write_spec(spec),
        RowSpec::Machine(spec) => write_spec(spec),
        RowSpec::Capture(spec) => write_spec(spec),
    };
    rows::operation(job, row, spec, 0, now)
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
