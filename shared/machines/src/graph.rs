//! A plan as a graph: groups of rows, with gates between them.
//!
//! - One group for the source: it is deallocated, and started again. The start runs in any case. It waits until no
//!   snapshot of a source disk is being created.
//! - Or one group for a restore point of the source, which may run, and its removal, which runs in any case.
//! - One group for each disk: a snapshot, or with a restore point a temporary disk and a snapshot of that, its copy in
//!   another region, the disk, and the removal of the temporaries, which runs in any case.
//! - One group for the clone. It waits for all disks.
//!
//! An image is created from snapshots in its subscription and region: in place of a disk there is a full snapshot, and
//! the temporaries are removed when the image exists.

use std::collections::BTreeMap;

use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::ids::Region;
use goldfleet_model::operation::{GroupId, OperationId};
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_snapshots::graph::{CreateSpec, Downtime, RequiresStopped, Restored, RowSpec as SnapshotSpec};
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::remove::TemporarySpec;
use goldfleet_snapshots::tags::{self, Role};

use crate::body::{self, Way};
use crate::plan::{ClonePlan, Cloner, PlannedDisk};
use crate::spec::{CaptureSpec, DeallocateSpec, MachineSpec, RestoreSpec, Row, RowSpec, StartSpec};

/// The gate that opens when the source is deallocated.
pub const STOPPED: &str = "vm.stopped";
/// The gate that opens when all disks of the source have a snapshot.
pub const FROZEN: &str = "vm.frozen";
/// The gate that opens when all disks of the clone exist.
pub const DISKS: &str = "vm.disks";

/// The gate that opens when the image exists.
pub const IMAGE: &str = "vm.image";

/// The gate that opens when the source has a restore point.
pub const RESTORABLE: &str = "vm.restorable";
/// The gate that opens when a disk was created from each disk in the restore point.
pub const RESTORED: &str = "vm.restored";

/// The step that starts the source again.
const START: &str = "start";
/// The step that stops the source.
const STOP: &str = "deallocate";

/// The ids of the kinds of a clone, in the order in which they are shown.
pub const KINDS: [&str; 8] = ["deallocate", "restore", "snapshot", "start", "disk", "machine", "capture", "remove"];

/// The groups of a plan. The rows of a group are a chain.
#[must_use]
pub fn groups(plan: &ClonePlan<'_>, by: &Cloner) -> Vec<Vec<Row>> {
    let live = plan.request.live.then(|| restore_point(plan, by));
    let source = plan.request.stop.then(|| source(plan));
    let disks = plan.disks.iter().map(|disk| self::disk(plan, by, disk));
    let machine = plan.machine.as_ref().map(|id| vec![machine(plan, by, id)]);
    let image = plan.image.as_ref().map(|id| vec![image(plan, by, id)]);
    let groups = source.into_iter().chain(live).chain(disks).chain(machine).chain(image);
    groups.map(|rows| (0..).zip(rows).map(|(position, row)| Row { position, ..row }).collect()).collect()
}

/// The rows that stop and start the source.
fn source(plan: &ClonePlan<'_>) -> Vec<Row> {
    let (id, vm_id, region) = (&plan.source.id, plan.source.vm_id(), &plan.source.body.region);
    let group = source_group(plan);
    let started_by = OperationId::new(group.clone(), START);
    let deallocate = DeallocateSpec { id: id.clone(), vm_id: vm_id.clone(), started_by };
    let mut stop = row(&group, STOP, "deallocate", id, region, RowSpec::Deallocate(deallocate));
    stop.opens = vec![gate(STOPPED)];
    let start = StartSpec { id: id.clone(), vm_id, deallocated_by: stop.id.clone() };
    let mut start = row(&group, START, "start", id, region, RowSpec::Start(start));
    start.always = true;
    start.after = vec![after(FROZEN, GateCondition::Ended, plan.disks.len())];
    vec![stop, start]
}

/// The restore point of the source. It is in the subscription and region of the source.
fn point(plan: &ClonePlan<'_>, by: &Cloner) -> (ResourceId, ResourceId) {
    let (place, source, region) = (plan.snapshot_group(), plan.source.vm_id(), &plan.source.body.region);
    let name = goldfleet_snapshots::names::of_temporary(by.fleet, &by.job, &source, &place, region, "restore");
    let named = |name: &str| -> goldfleet_model::ids::ResourceName {
        #[expect(clippy::expect_used, reason = "letters, digits and hyphens")]
        name.parse().expect("the name of a restore point")
    };
    let (subscription, resource_group) = (place.subscription, place.resource_group);
    let resource_type = ResourceType::RestorePointCollection;
    let collection = ResourceId { subscription, resource_group, resource_type, name: named(&name) };
    let point = collection.child(ResourceType::RestorePoint, &named("live"));
    (collection, point)
}

/// The rows that create and remove the restore point of the source. Deleting a collection deletes what is in it.
fn restore_point(plan: &ClonePlan<'_>, by: &Cloner) -> Vec<Row> {
    let region = &plan.source.body.region;
    let (collection, point) = point(plan, by);
    let group = group("restore", &plan.source.id, region);
    let tags = tags::of_temporary(by.fleet, &by.job, &plan.source.vm_id());
    let body = body::collection(plan.source, &tags);
    let spec = RestoreSpec { point, vm_id: plan.source.vm_id(), id: collection.clone(), body };
    let mut create = row(&group, "restore", "restore", &collection, region, RowSpec::Restore(Box::new(spec)));
    create.opens = vec![gate(RESTORABLE)];
    let mut removal = remove(&group, "remove-restore", by, &collection, region);
    removal.after = vec![after(RESTORED, GateCondition::Ended, plan.disks.len())];
    vec![create, removal]
}

/// The row that creates a disk from one in the restore point.
fn restore_disk(
    plan: &ClonePlan<'_>,
    by: &Cloner,
    disk: &PlannedDisk<'_>,
    (group, step, id): (&GroupId, &str, &ResourceId),
    body: serde_json::Value,
) -> Row {
    let restored = Restored { point: point(plan, by).1.to_string(), lun: disk.source.attachment.lun };
    let spec = CreateSpec { restored: Some(restored), ..create_spec(id, None, body, None) };
    let spec = RowSpec::Resource(SnapshotSpec::Create(spec));
    let mut row = row(group, step, "disk", id, &disk.source.body.region, spec);
    row.after = vec![after(RESTORABLE, GateCondition::Opened, 1)];
    row.opens = vec![gate(RESTORED)];
    row
}

fn source_group(plan: &ClonePlan<'_>) -> GroupId {
    group("source", &plan.source.id, &plan.source.body.region)
}

/// The limit of the time for which the source is stopped.
fn downtime(plan: &ClonePlan<'_>) -> Option<Downtime> {
    let seconds = plan.request.max_downtime.filter(|_| plan.request.stop)?;
    Some(Downtime { deallocated_by: OperationId::new(source_group(plan), STOP), seconds })
}

/// The rows of one disk.
fn disk(plan: &ClonePlan<'_>, by: &Cloner, disk: &PlannedDisk<'_>) -> Vec<Row> {
    let to = &plan.request.to;
    let (from, here) = (&disk.source.body.region, plan.snapshot_group());
    let temporaries = tags::of_temporary(by.fleet, &by.job, &disk.source.unique_id());
    let group = group("disk", disk.id.as_ref().unwrap_or(&disk.source.id), &to.region);
    let temporary = |place: &GroupRef, region: &Region| temporary_named(by, disk, place, region, "machine");
    let machine =
        RequiresStopped { machine: plan.source.id.to_string(), vm_id: plan.source.vm_id(), downtime: downtime(plan) };

    // In the place of the source, a disk of the clone is created from the restore point itself.
    if let Some(id) = disk.id.as_ref().filter(|_| plan.request.live && !plan.is_elsewhere()) {
        let own = own_tags(by, &disk.source.unique_id());
        let body = body::disk(plan.request, disk.source, None, plan.zone.as_deref(), &own);
        let mut create = restore_disk(plan, by, disk, (&group, "disk", id), body);
        create.opens.push(gate(DISKS));
        return vec![create];
    }
    let taken = temporary(&here, from);
    let own_set = disk.source.encryption_set();
    // An image in the same place needs no other snapshot.
    let way = if plan.image.is_some() && !plan.is_elsewhere() { Way::Full } else { Way::Copy };
    let restored =
        ResourceId { resource_type: ResourceType::Disk, ..temporary_named(by, disk, &here, from, "restored") };
    let mut rows = Vec::new();
    let mut temporary_rows = Vec::new();
    let (copied, unique_id, machine) = if plan.request.live {
        let body = body::restored(disk.source, &temporaries);
        rows.push(restore_disk(plan, by, disk, (&group, "restored", &restored), body));
        temporary_rows.push(("remove-restored", restored.clone(), from));
        (&restored, None, None)
    } else {
        (&disk.source.id, Some(disk.source.unique_id()), Some(machine))
    };
    let body = body::snapshot(disk.source, &copied.to_string(), way, from, own_set, &temporaries);
    let spec = create(&taken, unique_id, body, machine);
    let mut snapshot = row(&group, "snapshot", "snapshot", &taken, from, spec);
    if !plan.request.live {
        snapshot.opens = vec![gate(FROZEN)];
    }
    if plan.request.stop {
        snapshot.after = vec![after(STOPPED, GateCondition::Opened, 1)];
    }
    temporary_rows.push(("remove-snapshot", taken.clone(), from));
    rows.push(snapshot);
    let mut last = (taken.clone(), from);
    if plan.is_remote() {
        let copied = temporary(&to.group(), &to.region);
        let set = plan.request.disk_encryption_set.as_deref();
        let source = taken.to_string();
        let body = body::snapshot(disk.source, &source, Way::CopyStart, &to.region, set, &temporaries);
        rows.push(row(&group, "copy", "snapshot", &copied, &to.region, create(&copied, None, body, None)));
        temporary_rows.push(("remove-copy", copied.clone(), &to.region));
        last = (copied, &to.region);
    }
    if let Some(id) = &disk.id {
        let own = own_tags(by, &disk.source.unique_id());
        let body = body::disk(plan.request, disk.source, Some(&last.0), plan.zone.as_deref(), &own);
        rows.push(row(&group, "disk", "disk", id, &to.region, create(id, None, body, None)));
    } else if plan.is_elsewhere() {
        let full = full_snapshot(plan, by, disk);
        let set = plan.request.disk_encryption_set.as_deref();
        let body = body::snapshot(disk.source, &last.0.to_string(), Way::Full, &to.region, set, &temporaries);
        rows.push(row(&group, "full", "snapshot", &full, &to.region, create(&full, None, body, None)));
        temporary_rows.push(("remove-full", full, &to.region));
    }
    if let Some(last) = rows.last_mut() {
        last.opens.push(gate(DISKS));
    }
    let removes = temporary_rows.iter().rev().map(|(step, id, region)| remove(&group, step, by, id, region));
    let mut removes: Vec<Row> = removes.collect();
    if let (Some(first), Some(_)) = (removes.first_mut(), &plan.image) {
        first.after = vec![after(IMAGE, GateCondition::Ended, 1)];
    }
    rows.extend(removes);
    rows
}

/// The snapshot of a disk from which an image is created.
fn full_snapshot(plan: &ClonePlan<'_>, by: &Cloner, disk: &PlannedDisk<'_>) -> ResourceId {
    let to = &plan.request.to;
    match plan.is_elsewhere() {
        true => temporary_named(by, disk, &to.group(), &to.region, "image"),
        false => temporary_named(by, disk, &plan.snapshot_group(), &disk.source.body.region, "machine"),
    }
}

/// The row that creates the image.
fn image(plan: &ClonePlan<'_>, by: &Cloner, id: &ResourceId) -> Row {
    let to = &plan.request.to;
    let snapshots: Vec<ResourceId> = plan.disks.iter().map(|disk| full_snapshot(plan, by, disk)).collect();
    let own = own_tags(by, &plan.source.vm_id());
    let body = body::image(plan.request, plan.source, &snapshots, &own);
    let group = group("image", id, &to.region);
    let spec = RowSpec::Capture(Box::new(CaptureSpec { id: id.clone(), body }));
    let row = row(&group, "capture", "capture", id, &to.region, spec);
    let disks = after(DISKS, GateCondition::Opened, plan.disks.len());
    Row { after: vec![disks], opens: vec![gate(IMAGE)], ..row }
}

/// The row that creates the clone.
fn machine(plan: &ClonePlan<'_>, by: &Cloner, id: &ResourceId) -> Row {
    let to = &plan.request.to;
    let disks: Vec<ResourceId> = plan.disks.iter().filter_map(|disk| disk.id.clone()).collect();
    let own = own_tags(by, &plan.source.vm_id());
    let body = body::machine(plan.request, plan.source, &disks, plan.zone.as_deref(), &own);
    let group = group("machine", id, &to.region);
    let spec = RowSpec::Machine(Box::new(MachineSpec { id: id.clone(), body }));
    let row = row(&group, "machine", "machine", id, &to.region, spec);
    Row { after: vec![after(DISKS, GateCondition::Opened, plan.disks.len())], ..row }
}

/// The tags by which a disk or machine proves that this job created it. `source` is the unique id of its source.
#[must_use]
pub fn own_tags(by: &Cloner, source: &str) -> BTreeMap<String, String> {
    let mut tags = tags::of_temporary(by.fleet, &by.job, source);
    tags.insert(tags::ROLE.to_owned(), Role::Clone.as_str().to_owned());
    tags
}

fn create(
    id: &ResourceId,
    unique_id: Option<String>,
    body: serde_json::Value,
    stopped: Option<RequiresStopped>,
) -> RowSpec {
    RowSpec::Resource(SnapshotSpec::Create(create_spec(id, unique_id, body, stopped)))
}

fn create_spec(
    id: &ResourceId,
    unique_id: Option<String>,
    body: serde_json::Value,
    stopped: Option<RequiresStopped>,
) -> CreateSpec {
    CreateSpec {
        id: id.to_string(),
        copied_unique_id: unique_id,
        body,
        requires_stopped: stopped,
        once: false,
        copied_from: None,
        restored: None,
    }
}

fn remove(group: &GroupId, step: &str, by: &Cloner, id: &ResourceId, region: &Region) -> Row {
    let spec = TemporarySpec { fleet: by.fleet, id: id.to_string(), job: by.job.clone() };
    let spec = RowSpec::Resource(SnapshotSpec::RemoveTemporary(spec));
    Row { always: true, ..row(group, step, "remove", id, region, spec) }
}

/// The temporary snapshot of a disk in a region.
fn temporary_named(
    by: &Cloner,
    disk: &PlannedDisk<'_>,
    place: &GroupRef,
    region: &Region,
    purpose: &str,
) -> ResourceId {
    let source = disk.source.unique_id();
    let name = goldfleet_snapshots::names::of_temporary(by.fleet, &by.job, &source, place, region, purpose);
    #[expect(clippy::expect_used, reason = "letters, digits and hyphens")]
    let name = name.parse().expect("the name of a snapshot");
    let (subscription, resource_group) = (place.subscription, place.resource_group.clone());
    ResourceId { subscription, resource_group, resource_type: ResourceType::Snapshot, name }
}

fn group(what: &str, id: &ResourceId, region: &Region) -> GroupId {
    GroupId::of(&format!("{what}-{region}"), &[what, &id.key()])
}

fn row(group: &GroupId, step: &str, kind: &'static str, on: &ResourceId, region: &Region, spec: RowSpec) -> Row {
    Row {
        id: OperationId::new(group.clone(), step),
        kind,
        position: 0,
        region: region.clone(),
        label: format!("{}/{region}", on.subscription),
        after: Vec::new(),
        opens: Vec::new(),
        always: false,
        spec,
    }
}

fn after(name: &str, on: GateCondition, openers: usize) -> After {
    After { gate: gate(name), on, count: u32::try_from(openers).unwrap_or(u32::MAX) }
}

fn gate(name: &str) -> GateKey {
    #[expect(clippy::expect_used, reason = "the gates above are letters and dots")]
    name.parse().expect("the key of a gate")
}
