//! The route `staging`: the version's chunks fill one store per region, each target's VHD is assembled from its
//! region's store, and a managed image is created from the VHD.
//!
//! - A group for each store: its seed.
//! - A group for each target: the copy, then the image. The copy reads from seeds while they run.
//! - The copies of every ring except the first wait for the gate of their ring. All operations at the targets of lower
//!   rings open it.

use std::sync::Arc;

use async_trait::async_trait;
use goldfleet_kinds::context::write_spec;
use goldfleet_kinds::copy::CopySpec;
use goldfleet_kinds::image::{ImageOrigin, ImageSpec};
use goldfleet_kinds::seed::{self, SeedSpec};
use goldfleet_model::artifact::ArtifactDisk;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::ids::ManagedImageName;
use goldfleet_model::job::{Job, Payload};
use goldfleet_model::operation::{Operation, OperationId, OperationState, Place, TransferProgress};
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

/// The number of operations at a target: its copy and its image.
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
        let version = load_version_of(control, job).await?;
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
}

/// A plan as a graph.
struct Graph<'a> {
    job: &'a Job,
    payload: &'a Payload,
    /// The disk of the version.
    disk: &'a ArtifactDisk,
    plan: &'a JobPlan,
    now: Timestamp,
    rings: Rings,
}

impl<'a> Graph<'a> {
    /// The graph of a job by this plan, written at `now`. None if the job distributes no image version.
    fn new(job: &'a Job, plan: &'a JobPlan, now: Timestamp) -> Option<Self> {
        let (payload, disk) = (job.payload()?, plan.disks.first()?);
        let rings = |targets: &[(Target, ManagedImageName)]| -> Vec<(u32, u32)> {
            targets.iter().map(|(target, _)| (target.ring, ROWS_A_TARGET)).collect()
        };
        let rings = Rings::of(job, &rings(&plan.targets), &rings(&plan.skipped));
        Some(Self { job, payload, disk, plan, now, rings })
    }

    /// The groups, those of stores first.
    fn into_groups(self) -> impl Iterator<Item = Vec<Operation>> + 'a {
        let plan = self.plan;
        let graph = Arc::new(self);
        let (of_stores, of_targets, of_skipped) = (Arc::clone(&graph), Arc::clone(&graph), graph);
        let stores = plan.plan.tree.seeds().map(move |(store, from)| vec![of_stores.seed(store, from)]);
        let targets = plan.targets.iter().map(move |(target, name)| of_targets.target(target, name, false));
        let skipped = plan.skipped.iter().map(move |(target, name)| of_skipped.target(target, name, true));
        stores.chain(targets).chain(skipped)
    }

    fn seed(&self, store: &Store, from: Vec<Store>) -> Operation {
        let place = Place { region: store.region.clone(), label: store.to_string(), target: None };
        Operation {
            spec: write_spec(&SeedSpec { disk: self.disk.disk, store: store.clone(), from: from.clone() }),
            streams: seeds_of(&from),
            progress: self.transfer(),
            ..self.operation(seed::operation_id(store), "seed", place)
        }
    }

    fn target(&self, target: &Target, name: &ManagedImageName, is_skipped: bool) -> Vec<Operation> {
        let group = rows::group_of(target, name);
        let operation = |step: &str| {
            let place = Place::of_target(target.clone());
            let opens = self.rings.opens(target.ring);
            Operation { opens, ..self.operation(OperationId::new(group.clone(), step), step, place) }
        };
        let from = self.plan.plan.sources_for(target);
        let after = if is_skipped { Vec::new() } else { self.rings.after(target.ring) };
        let state = |waits: bool| match (is_skipped, waits) {
            (true, _) => OperationState::Skipped,
            (false, true) => OperationState::Waiting,
            (false, false) => OperationState::Ready,
        };
        let (os, generation) = (self.payload.os, self.payload.generation);
        let copy = Operation {
            state: state(!after.is_empty()),
            after,
            streams: seeds_of(&from),
            spec: write_spec(&CopySpec { disk: self.disk.disk, from }),
            progress: self.transfer(),
            ..operation("copy")
        };
        let image = Operation {
            position: 1,
            state: state(true),
            spec: write_spec(&ImageSpec { name: name.clone(), os, generation, from: ImageOrigin::Vhd(self.disk.disk) }),
            ..operation("image")
        };
        vec![copy, image]
    }

    fn transfer(&self) -> TransferProgress {
        TransferProgress { done: ChunkSet::default(), bytes_total: self.disk.data_bytes, ..TransferProgress::default() }
    }

    fn operation(&self, id: OperationId, kind: &str, place: Place) -> Operation {
        rows::ready(self.job, id, kind, place, self.now)
    }
}

/// The seeds that fill these stores. The last store is the source store, which no seed fills.
pub(super) fn seeds_of(from: &[Store]) -> Vec<OperationId> {
    let filled = &from[..from.len().saturating_sub(1)];
    filled.iter().map(seed::operation_id).collect()
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
