//! The route `platform`: the disks of a source reach the targets by copies that the platform makes. No byte passes
//! through goldfleet.
//!
//! - A group for the temporary gallery version of a managed image.
//! - For each disk, a group for the source, if it cannot be copied directly: an incremental snapshot of it.
//! - For each disk, a group for each other region: the copy of that snapshot to the hub of the region.
//! - For each disk, a group for each target: a snapshot copy in its subscription, and what the target receives.
//! - A group for each gallery: a snapshot copy in its resource group, and the version.
//! - The first operations at the targets of every ring except the first wait for the gate of their ring.

use async_trait::async_trait;
use goldfleet_hubs::graph::{Graph, Group, KINDS, RowSpec, steps};
use goldfleet_hubs::plan::PlannedTarget;
use goldfleet_kinds::context::write_spec;
use goldfleet_model::job::{Finding, Job, Subject};
use goldfleet_model::operation::Operation;
use goldfleet_ports::Ports;
use goldfleet_snapshots::id::GroupRef;
use jiff::Timestamp;

use crate::control::context::{ControlContext, ControlError};
use crate::control::galleries;
use crate::control::platform::plan::{PlannedDelivery, plan};
use crate::control::platform::{PlatformSpec, ROUTE};
use crate::control::routes::rings::Rings;
use crate::control::routes::{Groups, PlannedJob, Route, rows};

/// The route.
pub struct Platform;

#[async_trait]
impl Route for Platform {
    fn id(&self) -> &'static str {
        ROUTE
    }

    fn kinds(&self) -> &'static [&'static str] {
        &KINDS
    }

    fn groups(&self, subject: &Subject) -> Vec<GroupRef> {
        let Subject::Image { delivery: Some(delivery), .. } = subject else { return Vec::new() };
        let Ok(spec) = PlatformSpec::in_delivery(delivery) else { return Vec::new() };
        spec.groups().collect()
    }

    async fn plan(&self, control: &ControlContext, job: &Job) -> Result<Box<dyn PlannedJob>, ControlError> {
        Ok(Box::new(plan(control, job).await?))
    }
}

#[async_trait]
impl PlannedJob for PlannedDelivery {
    fn groups<'p>(&'p self, job: &'p Job, now: Timestamp) -> Groups<'p> {
        let writer = Writer { planned: self, job, now, rings: rings(self, job) };
        Box::new(Graph::new(&self.delivery).into_groups().map(move |group| writer.operations(group)))
    }

    fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }

    async fn prepare(&self, ports: &Ports) -> Result<(), ControlError> {
        galleries::remember(ports, &self.delivery.galleries).await
    }
}

fn rings(planned: &PlannedDelivery, job: &Job) -> Rings {
    let delivery = &planned.delivery;
    let of = |is_done: bool| -> Vec<(u32, u32)> {
        let targets = delivery.targets.iter().filter(|planned| planned.is_done == is_done);
        let targets = targets.map(|planned| (planned.target.ring, steps(delivery, planned)));
        let galleries = delivery.galleries.iter().filter(|planned| planned.is_done == is_done);
        targets.chain(galleries.map(|planned| (planned.settings.ring, planned.steps()))).collect()
    };
    Rings::of(job, &of(false), &of(true))
}

/// Writes groups of rows as operations.
struct Writer<'a> {
    planned: &'a PlannedDelivery,
    job: &'a Job,
    now: Timestamp,
    rings: Rings,
}

impl Writer<'_> {
    fn operations(&self, Group { target, gallery, rows }: Group<'_>) -> Vec<Operation> {
        let (job, now) = (self.job, self.now);
        let operations = rows.into_iter().map(|row| {
            let spec = self.spec(&row.spec);
            rows::operation(job, row, spec, 0, now)
        });
        match (target, gallery) {
            (Some(target), _) => operations.map(|operation| self.at_target(target, operation)).collect(),
            (None, Some(gallery)) => {
                let (ring, is_done) = (gallery.settings.ring, gallery.is_done);
                operations.map(|operation| rows::in_ring(&self.rings, ring, is_done, operation)).collect()
            }
            (None, None) => operations.collect(),
        }
    }

    fn spec(&self, spec: &RowSpec) -> goldfleet_model::document::Document {
        match spec {
            RowSpec::Resource(spec) => write_spec(spec),
            RowSpec::Publish(spec) => write_spec(spec),
            RowSpec::Gallery(spec) => write_spec(spec),
            RowSpec::Image(from) => {
                let version = &self.planned.delivery.version;
                let (os, generation) = (version.os, version.generation);
                rows::image_spec(from, os, generation)
            }
        }
    }

    fn at_target(&self, planned: &PlannedTarget, operation: Operation) -> Operation {
        rows::at_target(&self.rings, &planned.target, planned.is_done, operation)
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_kinds::registry::Registry;

    use super::*;

    #[test]
    fn every_kind_is_registered() {
        let registry = Registry::default();
        assert!(KINDS.map(rows::kind_id).iter().all(|kind| registry.get(kind).is_some()));
    }
}
