//! The route `staging`: the version's chunks fill one store per region, each target's VHD is assembled from its
//! region's store, and a managed image is created from the VHD.
//!
//! - A group for each store and disk: its seed.
//! - A group for each target: the copy of the OS disk, then the image. A copy reads from seeds while they run.
//! - A group for each target and data disk: its copy. The copies of all data disks of a target open a gate, and the
//!   image waits for it. So no disk waits for another one.
//! - The copies of every ring except the first wait for the gate of their ring. All operations at the targets of lower
//!   rings open it.

use std::sync::Arc;

use async_trait::async_trait;
use goldfleet_kinds::context::write_spec;
use goldfleet_kinds::copy::CopySpec;
use goldfleet_kinds::image::{ImageOrigin, ImageSpec, VhdDisks};
use goldfleet_kinds::seed::{self, SeedSpec};
use goldfleet_model::artifact::{ArtifactDisk, DiskRole};
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::ids::ManagedImageName;
use goldfleet_model::job::{Finding, Job, Payload};
use goldfleet_model::operation::{GroupId, Operation, OperationId, OperationState, Place, TransferProgress};
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_model::tree::Tree;
use jiff::Timestamp;

use crate::control::artifacts::load_version_of;
use crate::control::context::{ControlContext, ControlError};
use crate::control::fan_out::{JobPlan, plan_with_preferred_time};
use crate::control::routes::rings::Rings;
use crate::control::routes::{Groups, PlannedJob, Route, rows};

/// The id of the route.
pub const ID: &str = "staging";

/// The ids of the kinds that the route uses, in order.
pub const KINDS: [&str; 3] = ["seed", "copy", "image"];

/// The number of operations at a target besides the copies of its data disks: the copy of the OS disk, and the image.
const ROWS_A_TARGET: u32 = 2;

/// The route.
pub struct Staging;

#[async_trait]
impl Route for Staging {
    fn id(&self) -> &'static str {
        ID
    }

    fn kinds(&self) -> &'static [&'static str] {
        &KINDS
    }

    fn uses_chunks(&self) -> bool {
        true
    }

    async fn plan(&self, control: &ControlContext, job: &Job) -> Result<Box<dyn PlannedJob>, ControlError> {
        let version = load_version_of(&control.ports, &control.config, job).await?;
        Ok(Box::new(plan_with_preferred_time(control, &version, &job.selection).await?))
    }
}

impl PlannedJob for JobPlan {
    fn groups<'p>(&'p self, job: &'p Job, now: Timestamp) -> Groups<'p> {
        // The route plans only jobs with an image version.
        Box::new(Graph::new(job, self, now).into_iter().flat_map(Graph::into_groups))
    }

    fn tree(&self) -> Option<&Tree> {
        Some(&self.plan.tree)
    }

    fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }
}

/// A plan as a graph.
struct Graph<'a> {
    job: &'a Job,
    payload: &'a Payload,
    /// The OS disk of the version.
    os_disk: &'a ArtifactDisk,
    /// Its data disks.
    data_disks: &'a [ArtifactDisk],
    plan: &'a JobPlan,
    now: Timestamp,
    rings: Rings,
}

impl<'a> Graph<'a> {
    /// The graph of a job by this plan, written at `now`. None if the job distributes no image version.
    fn new(job: &'a Job, plan: &'a JobPlan, now: Timestamp) -> Option<Self> {
        let payload = job.payload()?;
        let (os_disk, data_disks) = plan.disks.split_first()?;
        let rows = ROWS_A_TARGET + count(data_disks);
        let rings = |targets: &[(Target, ManagedImageName)]| -> Vec<(u32, u32)> {
            targets.iter().map(|(target, _)| (target.ring, rows)).collect()
        };
        let rings = Rings::of(job, &rings(&plan.targets), &rings(&plan.skipped));
        Some(Self { job, payload, os_disk, data_disks, plan, now, rings })
    }

    /// The groups, those of stores first.
    fn into_groups(self) -> impl Iterator<Item = Vec<Operation>> + 'a {
        let plan = self.plan;
        let graph = Arc::new(self);
        let (of_stores, of_targets, of_skipped) = (Arc::clone(&graph), Arc::clone(&graph), graph);
        let stores = plan.plan.tree.seeds().flat_map(move |(store, from)| of_stores.seeds(store, &from));
        let targets = plan.targets.iter().flat_map(move |(target, name)| of_targets.target(target, name, false));
        let skipped = plan.skipped.iter().flat_map(move |(target, name)| of_skipped.target(target, name, true));
        stores.chain(targets).chain(skipped)
    }

    /// All disks, the OS disk first.
    fn disks(&self) -> impl Iterator<Item = &'a ArtifactDisk> {
        std::iter::once(self.os_disk).chain(self.data_disks)
    }

    /// The groups that fill a store.
    fn seeds(&self, store: &Store, from: &[Store]) -> Vec<Vec<Operation>> {
        self.disks().map(|disk| vec![self.seed(disk, store, from)]).collect()
    }

    fn seed(&self, disk: &ArtifactDisk, store: &Store, from: &[Store]) -> Operation {
        let place = Place { region: store.region.clone(), label: store.to_string(), target: None };
        Operation {
            spec: write_spec(&SeedSpec { disk: disk.disk, store: store.clone(), from: from.to_vec() }),
            streams: seeds_of(from, disk.disk.role),
            progress: transfer(disk),
            ..self.operation(seed::operation_id(store, disk.disk.role), "seed", place)
        }
    }

    /// The groups of a target.
    fn target(&self, target: &Target, name: &ManagedImageName, is_skipped: bool) -> Vec<Vec<Operation>> {
        let group = rows::group_of(target, name);
        // Without data disks there is no gate.
        let gate = (!self.data_disks.is_empty()).then(|| GateKey::data_disks(&group));
        let mut groups = Vec::with_capacity(1 + self.data_disks.len());
        let os_disk = self.copy(self.os_disk, group.clone(), target, is_skipped);
        let disks =
            |gate: &GateKey| After { gate: gate.clone(), on: GateCondition::Opened, count: count(self.data_disks) };
        let data = self.data_disks.iter().map(|disk| disk.disk).collect();
        let spec = ImageSpec {
            name: name.clone(),
            os: self.payload.os,
            generation: self.payload.generation,
            from: ImageOrigin::Vhds(VhdDisks { os: self.os_disk.disk, data }),
        };
        let image = Operation {
            position: 1,
            state: if is_skipped { OperationState::Skipped } else { OperationState::Waiting },
            after: gate.iter().filter(|_| !is_skipped).map(disks).collect(),
            spec: spec.to_document(),
            ..self.at_target(target, OperationId::new(group.clone(), "image"), "image")
        };
        groups.push(vec![os_disk, image]);
        for disk in self.data_disks {
            let copy = self.copy(disk, rows::group_of_disk(target, name, disk.disk.role), target, is_skipped);
            let opens = copy.opens.iter().chain(&gate).cloned().collect();
            groups.push(vec![Operation { opens, ..copy }]);
        }
        groups
    }

    /// The copy of a disk to a target.
    fn copy(&self, disk: &ArtifactDisk, group: GroupId, target: &Target, is_skipped: bool) -> Operation {
        let from = self.plan.plan.sources_for(target);
        let after = if is_skipped { Vec::new() } else { self.rings.after(target.ring) };
        Operation {
            state: match (is_skipped, after.is_empty()) {
                (true, _) => OperationState::Skipped,
                (false, false) => OperationState::Waiting,
                (false, true) => OperationState::Ready,
            },
            after,
            streams: seeds_of(&from, disk.disk.role),
            spec: write_spec(&CopySpec { disk: disk.disk, from }),
            progress: transfer(disk),
            ..self.at_target(target, OperationId::new(group, "copy"), "copy")
        }
    }

    fn at_target(&self, target: &Target, id: OperationId, kind: &str) -> Operation {
        let opens = self.rings.opens(target.ring);
        Operation { opens, ..self.operation(id, kind, Place::of_target(target.clone())) }
    }

    fn operation(&self, id: OperationId, kind: &str, place: Place) -> Operation {
        rows::ready(self.job, id, kind, place, self.now)
    }
}

/// A version has at most 64 data disks.
fn count(disks: &[ArtifactDisk]) -> u32 {
    u32::try_from(disks.len()).unwrap_or(u32::MAX)
}

fn transfer(disk: &ArtifactDisk) -> TransferProgress {
    TransferProgress { done: ChunkSet::default(), bytes_total: disk.data_bytes, ..TransferProgress::default() }
}

/// The seeds that fill these stores with a disk. The last store is the source store, which no seed fills.
pub(super) fn seeds_of(from: &[Store], disk: DiskRole) -> Vec<OperationId> {
    let filled = &from[..from.len().saturating_sub(1)];
    filled.iter().map(|store| seed::operation_id(store, disk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::routes::rows::kind_id;

    #[test]
    fn kinds_have_valid_ids() {
        assert_eq!(KINDS.map(kind_id).map(|id| id.to_string()), KINDS);
    }
}
