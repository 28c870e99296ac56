//! Rows of a plan as operations of a job.

use goldfleet_hubs::graph::ImageFrom;
use goldfleet_kinds::image::{ImageOrigin, ImageSpec, SnapshotDisks};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::document::Document;
use goldfleet_model::ids::ManagedImageName;
use goldfleet_model::job::Job;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::operation::{GroupId, KindId, Operation, OperationId, OperationState, Place, TransferProgress};
use goldfleet_model::target::Target;
use goldfleet_snapshots::graph::Row;
use jiff::Timestamp;

use super::rings::Rings;

/// A row as an operation of a job, written at `now`. `spec` is the specification in the form in which its kind reads
/// it, `bytes_total` the number of bytes that it transfers.
pub(super) fn operation<S>(job: &Job, row: Row<S>, spec: Document, bytes_total: u64, now: Timestamp) -> Operation {
    let starts = row.position == 0 && row.after.is_empty();
    let place = Place { region: row.region, label: row.label, target: None };
    Operation {
        position: row.position,
        after: row.after,
        opens: row.opens,
        always: row.always,
        spec,
        state: if starts { OperationState::Ready } else { OperationState::Waiting },
        progress: TransferProgress { bytes_total, ..TransferProgress::default() },
        ..ready(job, row.id, row.kind, place, now)
    }
}

/// The specification of a managed image that is created from snapshots.
pub(super) fn image_spec(from: &ImageFrom, os: OsType, generation: Generation) -> Document {
    let ImageFrom { name, snapshot, data } = from.clone();
    let from = ImageOrigin::Snapshot(SnapshotDisks { snapshot, data });
    ImageSpec { name, os, generation, from }.to_document()
}

/// An operation of a job that is ready at `now`: the first of its group, without gates and specification.
pub(super) fn ready(job: &Job, id: OperationId, kind: &str, place: Place, now: Timestamp) -> Operation {
    Operation {
        plan: job.plan,
        image: job.image().cloned(),
        state: OperationState::Ready,
        ..Operation::waiting(&job.id, id, kind_id(kind), place, now)
    }
}

/// An operation of copies at a target. `is_done` is whether the target has all that it should receive. Removals do not
/// open rings: what a target receives does not depend on them.
pub(super) fn at_target(rings: &Rings, target: &Target, is_done: bool, mut operation: Operation) -> Operation {
    operation.place = Place::of_target(target.clone());
    in_ring(rings, target.ring, is_done, operation)
}

/// An operation of a ring, at a target or gallery. `is_done` is whether that has all that it should receive. Removals
/// do not open rings.
pub(super) fn in_ring(rings: &Rings, ring: u32, is_done: bool, mut operation: Operation) -> Operation {
    if !operation.always {
        operation.opens.extend(rings.opens(ring));
    }
    if is_done {
        return Operation { state: OperationState::Skipped, ..operation };
    }
    if operation.position == 0 {
        operation.after.extend(rings.after(ring));
        if !operation.after.is_empty() {
            operation.state = OperationState::Waiting;
        }
    }
    operation
}

/// The group of a target. Its place is the image that the target gets.
pub(crate) fn group_of(target: &Target, name: &ManagedImageName) -> GroupId {
    group_with(target, name, None)
}

/// The group of a data disk of the image that a target gets.
pub(super) fn group_of_disk(target: &Target, name: &ManagedImageName, disk: DiskRole) -> GroupId {
    group_with(target, name, Some(disk.to_string()))
}

fn group_with(target: &Target, name: &ManagedImageName, disk: Option<String>) -> GroupId {
    let subscription = target.subscription.to_string();
    let tenant = target.tenant.as_deref().unwrap_or_default();
    // The names of resource groups and images are compared without regard to case.
    let group = target.resource_group.as_str().to_lowercase();
    let name = name.as_str().to_lowercase();
    let mut parts = vec![tenant, subscription.as_str(), target.region.as_str(), group.as_str(), name.as_str()];
    parts.extend(disk.as_deref());
    let short = subscription.rsplit('-').next().unwrap_or_default().trim_start_matches('0');
    let disk = disk.as_ref().map_or_else(String::new, |disk| format!("-{disk}"));
    GroupId::of(&format!("{}-{short}{disk}", target.region), &parts)
}

/// The id of a kind. The routes name only valid ones, and a test of each route reads them all.
pub(super) fn kind_id(kind: &str) -> KindId {
    #[expect(clippy::expect_used, reason = "the ids are constants, and the tests of the routes read them all")]
    kind.parse().expect("the id of a kind")
}
