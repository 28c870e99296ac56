//! The route `region`: the version's chunks fill a disk in the hub of each region for each disk of the version, and a
//! golden snapshot is created of it. Each target gets copies of the snapshots, and a managed image; each gallery gets
//! copies, and a version. No staging account is used.
//!
//! - A group for each store and disk: its seed.
//! - A group for each disk of the version in each hub: the upload, which reads from seeds while they run; the golden
//!   snapshot; and the removal of the disk.
//! - A group for each target: the copies, the image, and the removal of the copies. It waits for the snapshots of its
//!   region.
//! - A group for each gallery: the copies, the version, and the removal of temporaries. It waits in the same way.
//! - The first operations at the targets and galleries of every ring except the first wait for the gate of their ring
//!   too.

use async_trait::async_trait;
use goldfleet_hubs::plan::PlannedTarget;
use goldfleet_hubs::region_graph::{HubRow, RegionGraph, RegionGroup, RegionRow, RegionRowSpec, region_steps};
use goldfleet_kinds::context::write_spec;
use goldfleet_kinds::hub::HubSpec;
use goldfleet_kinds::seed::{self, SeedSpec};
use goldfleet_model::artifact::ArtifactDisk;
use goldfleet_model::document::Document;
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, Place, TransferProgress};
use goldfleet_model::store::Store;
use goldfleet_model::tree::Tree;
use goldfleet_ports::Ports;
use jiff::Timestamp;

use crate::control::artifacts::load_version_of;
use crate::control::context::{ControlContext, ControlError};
use crate::control::galleries;
use crate::control::region::ROUTE;
use crate::control::region::plan::{PlannedRegions, plan};
use crate::control::routes::rings::Rings;
use crate::control::routes::staging::seeds_of;
use crate::control::routes::{Groups, PlannedJob, Route, rows};

/// The ids of the kinds that the route uses, in order.
pub const KINDS: [&str; 6] = ["seed", "hub", "image", "snapshot", "publish", "remove"];

/// The route.
pub struct RegionRoute;

#[async_trait]
impl Route for RegionRoute {
    fn id(&self) -> &'static str {
        ROUTE
    }

    fn kinds(&self) -> &'static [&'static str] {
        &KINDS
    }

    fn uses_chunks(&self) -> bool {
        true
    }

    async fn plan(&self, control: &ControlContext, job: &Job) -> Result<Box<dyn PlannedJob>, ControlError> {
        let version = load_version_of(&control.ports, &control.config, job).await?;
        Ok(Box::new(plan(control, job, &version).await?))
    }
}

#[async_trait]
impl PlannedJob for PlannedRegions {
    fn groups<'p>(&'p self, job: &'p Job, now: Timestamp) -> Groups<'p> {
        let writer = Writer { planned: self, job, now, rings: rings(self, job) };
        let seeds = self.plan.tree.seeds().flat_map(move |(store, from)| {
            let disks = self.delivery.disks.iter();
            disks.map(|disk| vec![seed(job, now, disk, store, &from)]).collect::<Vec<_>>()
        });
        let groups = RegionGraph::new(&self.delivery).into_groups();
        Box::new(seeds.chain(groups.map(move |group| writer.operations(group))))
    }

    fn tree(&self) -> Option<&Tree> {
        Some(&self.plan.tree)
    }

    async fn prepare(&self, ports: &Ports) -> Result<(), ControlError> {
        galleries::remember(ports, &self.delivery.galleries).await
    }
}

fn rings(planned: &PlannedRegions, job: &Job) -> Rings {
    let delivery = &planned.delivery;
    let of = |is_done: bool| -> Vec<(u32, u32)> {
        let targets = delivery.targets.iter().filter(|planned| planned.is_done == is_done);
        let targets = targets.map(|planned| (planned.target.ring, region_steps(delivery, planned)));
        let galleries = delivery.galleries.iter().filter(|planned| planned.is_done == is_done);
        targets.chain(galleries.map(|planned| (planned.settings.ring, planned.steps()))).collect()
    };
    Rings::of(job, &of(false), &of(true))
}

fn seed(job: &Job, now: Timestamp, disk: &ArtifactDisk, store: &Store, from: &[Store]) -> Operation {
    let place = Place { region: store.region.clone(), label: store.to_string(), target: None };
    Operation {
        spec: write_spec(&SeedSpec { disk: disk.disk, store: store.clone(), from: from.to_vec() }),
        streams: seeds_of(from, disk.disk.role),
        progress: TransferProgress { bytes_total: disk.data_bytes, ..TransferProgress::default() },
        ..rows::ready(job, seed::operation_id(store, disk.disk.role), "seed", place, now)
    }
}

/// Writes groups of rows as operations.
struct Writer<'a> {
    planned: &'a PlannedRegions,
    job: &'a Job,
    now: Timestamp,
    rings: Rings,
}

impl Writer<'_> {
    fn operations(&self, RegionGroup { target, gallery, rows }: RegionGroup<'_>) -> Vec<Operation> {
        let operations = rows.into_iter().map(|row| self.operation(row));
        match (target, gallery) {
            (Some(target), _) => operations.map(|operation| self.at_target(target, operation)).collect(),
            (None, Some(gallery)) => {
                let (ring, is_done) = (gallery.settings.ring, gallery.is_done);
                operations.map(|operation| rows::in_ring(&self.rings, ring, is_done, operation)).collect()
            }
            (None, None) => operations.collect(),
        }
    }

    fn operation(&self, row: RegionRow) -> Operation {
        let (spec, bytes, streams) = match &row.spec {
            RegionRowSpec::Hub(hub) => {
                let from = self.planned.plan.tree.sources_for(&row.region);
                (hub_spec(hub, &from), hub.data_bytes, seeds_of(&from, hub.disk.role))
            }
            RegionRowSpec::Resource(spec) => (write_spec(spec), 0, Vec::new()),
            RegionRowSpec::Image(from) => {
                let version = &self.planned.delivery.version;
                (rows::image_spec(from, version.os, version.generation), 0, Vec::new())
            }
            RegionRowSpec::Publish(spec) => (write_spec(spec), 0, Vec::new()),
        };
        Operation { streams, ..rows::operation(self.job, row, spec, bytes, self.now) }
    }

    /// An operation at a target. Removals do not open rings: what a target receives does not depend on them.
    fn at_target(&self, planned: &PlannedTarget, operation: Operation) -> Operation {
        rows::at_target(&self.rings, &planned.target, planned.is_done, operation)
    }
}

fn hub_spec(hub: &HubRow, from: &[Store]) -> Document {
    let HubRow { disk, id, body, golden, .. } = hub;
    let (id, body, golden) = (id.clone(), body.clone(), golden.clone());
    write_spec(&HubSpec { disk: *disk, from: from.to_vec(), id, body, golden })
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
