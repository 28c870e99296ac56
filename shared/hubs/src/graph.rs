//! A plan as a graph: groups of rows, with gates between them.
//!
//! - One group for the source, if a disk or a full snapshot cannot be copied directly: an incremental snapshot of it, and
//!   the removal of the temporaries.
//! - One group for each other region: the copy of the snapshot to the hub of the region, and its removal.
//! - One group for each target: a snapshot copy in its subscription, what it receives, and the removal of temporaries.
//! - One group for each gallery: a snapshot copy in its resource group, the version, and the removal of temporaries.
//!
//! Removals run in any case, after all rows that use a temporary have ended in any way.

use std::collections::BTreeMap;

use goldfleet_galleries::graph::{GalleryRow, Golden, PlannedGallery};
use goldfleet_galleries::spec::PublishSpec;
use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::{ManagedImageName, Region};
use goldfleet_model::operation::GroupId;
use goldfleet_model::resource::{DataSnapshot, ResourceId, ResourceType};
use goldfleet_model::sink::Sink;
use goldfleet_model::target::Target;
use goldfleet_snapshots::graph::RowSpec as SnapshotSpec;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::names;
use goldfleet_snapshots::remove::TemporarySpec;

use crate::body::{self, Made, Way};
use crate::plan::{Delivery, PlannedTarget};
use crate::rows::{Place, after, gate, hub_gate, hub_used, resource_id};

/// The ids of the kinds that the graph uses, in the order in which they are shown.
pub const KINDS: [&str; 5] = ["image", "disk", "snapshot", "publish", "remove"];

/// The gate that opens when the source has a snapshot that can be copied to other regions.
const SOURCE_READY: &str = "source.ready";
/// The gate that opens when all copies of that snapshot exist.
const SOURCE_USED: &str = "source.used";

/// The managed image of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFrom {
    /// Its name.
    pub name: ManagedImageName,
    /// The snapshot from which it is created, with its OS disk.
    pub snapshot: ResourceId,
    /// The snapshots of its data disks.
    pub data: Vec<DataSnapshot>,
}

/// What a row has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum RowSpec {
    /// Create or remove a disk or snapshot.
    Resource(SnapshotSpec),
    /// Create a managed image.
    Image(ImageFrom),
    /// Publish a gallery version.
    Publish(Box<PublishSpec>),
}

/// A row.
pub type Row = goldfleet_snapshots::graph::Row<RowSpec>;

/// The rows of a group, which are a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Group<'a> {
    /// The target, if its rows act on one.
    pub target: Option<&'a PlannedTarget>,
    /// The gallery, if its rows act on one.
    pub gallery: Option<&'a PlannedGallery>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// Where a row finds the snapshot that it copies.
#[derive(Debug, Clone)]
struct Origin {
    id: ResourceId,
    /// None for a temporary of the job.
    unique_id: Option<String>,
    /// The gates of a temporary: the one that waits for it, and the one that its users open.
    gates: Option<(GateKey, GateKey)>,
}

/// A plan as a graph. Groups are created one by one.
#[derive(Clone)]
pub struct Graph<'a> {
    delivery: &'a Delivery,
    /// The number of rows that copy the temporary snapshot of each place: a region, or the source for none.
    users: BTreeMap<Option<Region>, u32>,
}

impl<'a> Graph<'a> {
    /// The graph of a plan without refusals.
    #[must_use]
    pub fn new(delivery: &'a Delivery) -> Self {
        let mut users: BTreeMap<Option<Region>, u32> = BTreeMap::new();
        for planned in delivery.to_do() {
            let region = &planned.target.region;
            let place = (region != delivery.source.region()).then(|| region.clone());
            *users.entry(place).or_default() += copies_of(delivery, &planned.target);
        }
        for planned in delivery.galleries_to_do() {
            let region = &planned.settings.region;
            let place = (region != delivery.source.region()).then(|| region.clone());
            *users.entry(place).or_default() += 1;
        }
        if !delivery.source.is_disk() {
            // Targets in the region of a snapshot copy the snapshot itself.
            users.remove(&None);
        }
        if delivery.needs_scratch() {
            let hubs = u32::try_from(delivery.remote_regions().count()).unwrap_or(u32::MAX);
            *users.entry(None).or_default() += hubs;
        }
        Self { delivery, users }
    }

    /// The groups: that of the source, those of regions, and those of targets. Each is created when it is needed.
    pub fn into_groups(self) -> impl Iterator<Item = Group<'a>> + 'a {
        let delivery = self.delivery;
        let of_galleries = self.clone();
        let (of_source, of_hubs, graph) = (self.clone(), self.clone(), self);
        let source = std::iter::once_with(move || of_source.delivery.needs_scratch().then(|| of_source.source()));
        let hubs = delivery.remote_regions().filter_map(move |region| of_hubs.hub(region));
        let places =
            source.flatten().chain(hubs).map(|rows| Group { target: None, gallery: None, rows: chained(rows) });
        let galleries = delivery.galleries.iter().map(move |planned| Group {
            target: None,
            gallery: Some(planned),
            rows: of_galleries.gallery(planned),
        });
        let targets = delivery.targets.iter().map(move |planned| Group {
            target: Some(planned),
            gallery: None,
            rows: chained(if planned.is_done { graph.deliveries(planned) } else { graph.target(planned) }),
        });
        places.chain(targets).chain(galleries)
    }

    /// The rows that create and remove the incremental snapshot in the region of the source.
    fn source(&self) -> Vec<Row> {
        let Delivery { source, .. } = self.delivery;
        let (place, region) = (self.delivery.scratch(), source.region());
        let (snapshot, disk) = (self.temporary(&place, region, "source"), self.scratch_disk(&place));
        let group = GroupId::of(&format!("source-{region}"), &["source", &source.id.key()]);
        let set = source.encryption_set();
        let made = |copied| Made { copied, way: Way::Copy, region, encryption_set: set };
        let on = Place { group: &group, region, subscription: &place };
        let unique_id = Some(source.unique_id.clone());
        let mut rows = Vec::new();
        let (copied, unique_id) = if source.is_disk() {
            (&source.id, unique_id)
        } else {
            let body = body::temporary_disk(self.delivery, made(&source.id));
            rows.push(on.create("disk", "disk", &disk, unique_id, body));
            (&disk, None)
        };
        let body = body::temporary_snapshot(self.delivery, made(copied), true, true);
        let mut create = on.create("snapshot", "snapshot", &snapshot, unique_id, body);
        create.opens = vec![gate(SOURCE_READY)];
        if let RowSpec::Resource(SnapshotSpec::Create(spec)) = &mut create.spec {
            // All targets get the same content, and the content of a disk may change.
            spec.once = source.is_disk();
        }
        rows.push(create);
        let mut remove = self.remove(on, "remove-snapshot", &snapshot);
        remove.after = vec![after(gate(SOURCE_USED), GateCondition::Ended, self.users_of(None))];
        rows.push(remove);
        if !source.is_disk() {
            rows.push(self.remove(on, "remove-disk", &disk));
        }
        rows
    }

    /// The rows that create and remove the snapshot in the hub of a region. None if the region has no hub.
    fn hub(&self, region: &Region) -> Option<Vec<Row>> {
        let hub = self.delivery.hubs.get(region)?;
        let snapshot = self.temporary(&hub.group, region, "hub");
        let group = GroupId::of(&format!("hub-{region}"), &["hub", &snapshot.key()]);
        let on = Place { group: &group, region, subscription: &hub.group };
        let origin = self.carrier();
        let made =
            Made { copied: &origin.id, way: Way::CopyStart, region, encryption_set: hub.encryption_set.as_deref() };
        let body = body::temporary_snapshot(self.delivery, made, true, true);
        let mut copy = on.create("copy", "snapshot", &snapshot, origin.unique_id.clone(), body);
        copy.opens = vec![hub_gate(region)];
        origin.connect(&mut copy);
        let mut remove = self.remove(on, "remove-copy", &snapshot);
        remove.after = vec![after(hub_used(region), GateCondition::Ended, self.users_of(Some(region)))];
        Some(vec![copy, remove])
    }

    /// The rows of a gallery. Its version is created from a full snapshot in its resource group.
    fn gallery(&self, planned: &PlannedGallery) -> Vec<Row> {
        let region = &planned.settings.region;
        let origin = self.origin(region);
        let encryption_set = planned.settings.encryption_set();
        let made = Made { copied: &origin.id, way: Way::Copy, region, encryption_set };
        let (after, opens) = origin.gates.iter().map(|(ready, used)| (ready.clone(), used.clone())).unzip();
        let after: Vec<GateKey> = after;
        let golden = Golden {
            unique_id: origin.unique_id.clone(),
            after: after.into_iter().map(|gate| crate::rows::after(gate, GateCondition::Opened, 1)).collect(),
            opens,
            copy: body::temporary_snapshot(self.delivery, made, false, true),
            created_by: None,
        };
        let spec = |row: GalleryRow| match row {
            GalleryRow::Resource(spec) => RowSpec::Resource(*spec),
            GalleryRow::Publish(spec) => RowSpec::Publish(spec),
        };
        goldfleet_galleries::graph::rows(planned, vec![golden]).into_iter().map(|row| row.map(spec)).collect()
    }

    /// The rows of a target.
    fn target(&self, planned: &PlannedTarget) -> Vec<Row> {
        let (target, sinks) = (&planned.target, planned.target.sinks);
        let (region, place) = (&target.region, GroupRef::from(target));
        let on = Place { group: &planned.group, region, subscription: &place };
        let origin = self.origin(region);
        let made =
            Made { copied: &origin.id, way: Way::Copy, region, encryption_set: target.disk_encryption_set.as_deref() };
        let keeps_security = sinks.has(Sink::Snapshot) || sinks.has(Sink::Disk);

        let main = self.main_snapshot(planned);
        let mut create = if sinks.has(Sink::Snapshot) {
            let body = body::snapshot(self.delivery, made);
            on.sink("snapshot", "snapshot", &main, origin.unique_id.clone(), body)
        } else {
            let body = body::temporary_snapshot(self.delivery, made, false, keeps_security);
            on.create("snapshot", "snapshot", &main, origin.unique_id.clone(), body)
        };
        origin.connect(&mut create);
        let (mut rows, mut removals) = (vec![create], Vec::new());
        let plain = self.image_snapshot(planned);
        if plain != main {
            let body = body::temporary_snapshot(self.delivery, made, false, false);
            let mut create = on.create("image-snapshot", "snapshot", &plain, origin.unique_id.clone(), body);
            origin.connect(&mut create);
            rows.push(create);
            removals.push(self.remove(on, "remove-image-snapshot", &plain));
        }
        rows.extend(self.image(planned, &plain));
        rows.extend(self.disk(planned, &main));
        if !sinks.has(Sink::Snapshot) {
            removals.push(self.remove(on, "remove-snapshot", &main));
        }
        rows.extend(removals);
        rows
    }

    /// The rows of a target that has all that it should receive: only those that deliver. They never run.
    fn deliveries(&self, planned: &PlannedTarget) -> Vec<Row> {
        let is_delivery = |row: &Row| matches!(row.spec, RowSpec::Image(_) | RowSpec::Resource(SnapshotSpec::Sink(_)));
        let rows = self.target(planned).into_iter().filter(is_delivery);
        rows.map(|row| Row { after: Vec::new(), opens: Vec::new(), ..row }).collect()
    }

    fn image(&self, planned: &PlannedTarget, snapshot: &ResourceId) -> Option<Row> {
        let place = GroupRef::from(&planned.target);
        let on = Place { group: &planned.group, region: &planned.target.region, subscription: &place };
        let from = ImageFrom { name: planned.name.clone(), snapshot: snapshot.clone(), data: Vec::new() };
        planned.target.sinks.has(Sink::Image).then(|| on.row("image", "image", RowSpec::Image(from)))
    }

    fn disk(&self, planned: &PlannedTarget, snapshot: &ResourceId) -> Option<Row> {
        let target = &planned.target;
        if !target.sinks.has(Sink::Disk) {
            return None;
        }
        let place = GroupRef::from(target);
        let on = Place { group: &planned.group, region: &target.region, subscription: &place };
        let made = Made {
            copied: snapshot,
            way: Way::Copy,
            region: &target.region,
            encryption_set: target.disk_encryption_set.as_deref(),
        };
        let id = sink_id(planned, ResourceType::Disk);
        Some(on.sink("disk", "disk", &id, None, body::disk(self.delivery, made)))
    }

    /// The snapshot of which a target receives copies: what it receives itself, or a temporary.
    fn main_snapshot(&self, planned: &PlannedTarget) -> ResourceId {
        let target = &planned.target;
        if target.sinks.has(Sink::Snapshot) {
            return sink_id(planned, ResourceType::Snapshot);
        }
        self.temporary(&GroupRef::from(target), &target.region, "target")
    }

    /// The snapshot from which the managed image of a target is created.
    fn image_snapshot(&self, planned: &PlannedTarget) -> ResourceId {
        if copies_of(self.delivery, &planned.target) < 2 {
            return self.main_snapshot(planned);
        }
        self.temporary(&GroupRef::from(&planned.target), &planned.target.region, "image")
    }

    /// What is copied to other regions.
    fn carrier(&self) -> Origin {
        if self.delivery.needs_scratch() { self.source_temporary() } else { self.source_itself() }
    }

    /// What the targets of a region copy.
    fn origin(&self, region: &Region) -> Origin {
        if region == self.delivery.source.region() {
            let is_disk = self.delivery.source.is_disk();
            return if is_disk { self.source_temporary() } else { self.source_itself() };
        }
        let place = self.delivery.hubs.get(region).map_or_else(|| self.delivery.scratch(), |hub| hub.group.clone());
        Origin {
            id: self.temporary(&place, region, "hub"),
            unique_id: None,
            gates: Some((hub_gate(region), hub_used(region))),
        }
    }

    fn source_itself(&self) -> Origin {
        let source = &self.delivery.source;
        Origin { id: source.id.clone(), unique_id: Some(source.unique_id.clone()), gates: None }
    }

    fn source_temporary(&self) -> Origin {
        let id = self.temporary(&self.delivery.scratch(), self.delivery.source.region(), "source");
        Origin { id, unique_id: None, gates: Some((gate(SOURCE_READY), gate(SOURCE_USED))) }
    }

    fn users_of(&self, region: Option<&Region>) -> u32 {
        self.users.get(&region.cloned()).copied().unwrap_or(0)
    }

    fn temporary(&self, place: &GroupRef, region: &Region, part: &str) -> ResourceId {
        let Delivery { fleet, job, source, .. } = self.delivery;
        let name = names::of_temporary(*fleet, job, &source.unique_id, place, region, part);
        resource_id(place, ResourceType::Snapshot, &name)
    }

    fn scratch_disk(&self, place: &GroupRef) -> ResourceId {
        let snapshot = self.temporary(place, self.delivery.source.region(), "disk");
        ResourceId { resource_type: ResourceType::Disk, ..snapshot }
    }

    /// A row that deletes a temporary. It runs in any case.
    fn remove(&self, on: Place<'_>, step: &str, id: &ResourceId) -> Row {
        let Delivery { fleet, job, .. } = self.delivery;
        let spec = TemporarySpec { fleet: *fleet, id: id.to_string(), job: job.clone() };
        let spec = RowSpec::Resource(SnapshotSpec::RemoveTemporary(spec));
        Row { always: true, ..on.row(step, "remove", spec) }
    }
}

impl Origin {
    /// Has a row wait for the snapshot, and the removal of the snapshot wait for the row.
    fn connect(&self, row: &mut Row) {
        let Some((ready, used)) = &self.gates else { return };
        row.after.push(after(ready.clone(), GateCondition::Opened, 1));
        row.opens.push(used.clone());
    }
}

/// The number of snapshots that a target copies from its region. A managed image is created from a snapshot without
/// security type, and what else the target receives keeps it.
fn copies_of(delivery: &Delivery, target: &Target) -> u32 {
    let sinks = target.sinks;
    let keeps_security = sinks.has(Sink::Snapshot) || sinks.has(Sink::Disk);
    let splits = sinks.has(Sink::Image) && keeps_security && delivery.source.security_type().is_some();
    if splits { 2 } else { 1 }
}

/// The number of operations at a target that create something: all but the removal of temporaries.
#[must_use]
pub fn steps(delivery: &Delivery, planned: &PlannedTarget) -> u32 {
    let sinks = planned.target.sinks;
    let others = [Sink::Image, Sink::Disk].into_iter().filter(|sink| sinks.has(*sink)).count();
    let others = u32::try_from(others).unwrap_or(u32::MAX);
    match planned.is_done {
        true => others + u32::from(sinks.has(Sink::Snapshot)),
        false => others + copies_of(delivery, &planned.target),
    }
}

/// The id of the snapshot or disk that a target receives.
#[must_use]
pub fn sink_id(planned: &PlannedTarget, resource_type: ResourceType) -> ResourceId {
    resource_id(&GroupRef::from(&planned.target), resource_type, &names::of_sink(planned.name.as_str()))
}

/// Numbers the rows of a group.
pub(crate) fn chained<S>(rows: Vec<goldfleet_snapshots::graph::Row<S>>) -> Vec<goldfleet_snapshots::graph::Row<S>> {
    let numbered = (0..).zip(rows);
    numbered.map(|(position, row)| goldfleet_snapshots::graph::Row { position, ..row }).collect()
}
