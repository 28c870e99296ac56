//! The rows of one disk: its snapshots in its region and in the hubs, and at targets.

use std::collections::BTreeMap;

use goldfleet_galleries::graph::{Golden, PlannedGallery};
use goldfleet_galleries::temporary::Scratch;
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::Region;
use goldfleet_model::operation::GroupId;
use goldfleet_model::resource::{DataSnapshot, ResourceId, ResourceType, VersionRef};
use goldfleet_model::sink::Sink;
use goldfleet_model::target::Target;
use goldfleet_snapshots::graph::RowSpec as SnapshotSpec;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::names;

use crate::body::{self, Made, Way};
use crate::graph::{ImageFrom, Row, RowSpec, connect_to_version, remove, sink_id};
use crate::plan::{Delivery, PlannedTarget};
use crate::rows::{Place, after, gate, resource_id};
use crate::source::{Content, Source};

/// Where a row finds the snapshot that it copies.
#[derive(Debug, Clone)]
struct Origin {
    id: ResourceId,
    /// None for a temporary of the job.
    unique_id: Option<String>,
    /// The gates of a temporary: the one that waits for it, and the one that its users open.
    gates: Option<(GateKey, GateKey)>,
}

impl Origin {
    /// Has a row wait for the snapshot, and the removal of the snapshot wait for the row.
    fn connect(&self, row: &mut Row) {
        let Some((ready, used)) = &self.gates else { return };
        row.after.push(after(ready.clone(), GateCondition::Opened, 1));
        row.opens.push(used.clone());
    }
}

/// The number of snapshots that a target copies of a disk from its region. A managed image is created from a snapshot
/// without security type, and what else the target receives keeps it.
pub(crate) fn copies_of(source: &Source, target: &Target) -> u32 {
    let sinks = target.sinks;
    let keeps_security = sinks.has(Sink::Snapshot) || sinks.has(Sink::Disk);
    let splits = sinks.has(Sink::Image) && keeps_security && source.security_type().is_some();
    if splits { 2 } else { 1 }
}

/// The rows of one disk.
pub(crate) struct DiskGraph<'a> {
    delivery: &'a Delivery,
    source: &'a Source,
    /// The number of rows that copy the temporary snapshot of each place: a region, or the source for none.
    users: BTreeMap<Option<Region>, u32>,
}

impl<'a> DiskGraph<'a> {
    pub(crate) fn new(delivery: &'a Delivery, source: &'a Source) -> Self {
        let mut users: BTreeMap<Option<Region>, u32> = BTreeMap::new();
        let mut add = |region: &Region, count| {
            let place = (region != source.region()).then(|| region.clone());
            *users.entry(place).or_default() += count;
        };
        for planned in delivery.to_do() {
            add(&planned.target.region, copies_of(source, &planned.target));
        }
        for planned in delivery.galleries_to_do() {
            add(&planned.settings.region, 1);
        }
        if !source.is_disk() {
            // Targets in the region of a snapshot copy the snapshot itself.
            users.remove(&None);
        }
        if delivery.needs_scratch(source) {
            let hubs = u32::try_from(delivery.remote_regions().count()).unwrap_or(u32::MAX);
            *users.entry(None).or_default() += hubs;
        }
        Self { delivery, source, users }
    }

    /// A text with the role of a data disk at its end.
    fn of_role(&self, text: &str, separator: char) -> String {
        match self.source.role {
            DiskRole::Os => text.to_owned(),
            role => format!("{text}{separator}{role}"),
        }
    }

    /// The gate that opens when the snapshot in a place can be copied, and the one that its users open.
    fn gates(&self, place: &str, ready: &str) -> (GateKey, GateKey) {
        let place = self.of_role(place, '.');
        (gate(&format!("{place}{ready}")), gate(&format!("{place}.used")))
    }

    fn source_gates(&self) -> (GateKey, GateKey) {
        self.gates("source", ".ready")
    }

    fn hub_gates(&self, region: &Region) -> (GateKey, GateKey) {
        self.gates(&format!("hub.{region}"), "")
    }

    /// The rows that create and remove the incremental snapshot in the region of the source. None if it is copied
    /// itself.
    pub(crate) fn source_rows(&self) -> Option<Vec<Row>> {
        let source = self.source;
        if !self.delivery.needs_scratch(source) {
            return None;
        }
        let (place, region) = (self.delivery.scratch(source), source.region());
        let (snapshot, disk) = (self.temporary(&place, region, "source"), self.scratch_disk(&place));
        let group = GroupId::of(&self.of_role(&format!("source-{region}"), '-'), &["source", &self.key()]);
        let encryption_set = match source.content {
            Content::Version(_) => self.delivery.hubs.get(region).and_then(|hub| hub.encryption_set.as_deref()),
            Content::Resource | Content::Image => source.encryption_set(),
        };
        let made = |copied| Made { source, copied, way: Way::Copy, region, encryption_set };
        let on = Place { group: &group, region, subscription: &place };
        let unique_id = Some(source.unique_id.clone());
        let mut rows = Vec::new();
        let (copied, copied_id) = match &source.content {
            Content::Resource if source.is_disk() => (&source.id, unique_id),
            Content::Resource => {
                let body = body::temporary_disk(self.delivery, made(&source.id));
                rows.push(on.create("disk", "disk", &disk, unique_id, body));
                (&disk, None)
            }
            Content::Version(version) => {
                let body = body::disk_of_version(self.delivery, made(&source.id), version);
                rows.push(on.create("disk", "disk", &disk, unique_id, body));
                (&disk, None)
            }
            Content::Image => {
                let Delivery { fleet, job, source: os_disk, .. } = self.delivery;
                let scratch = Scratch { fleet: *fleet, job, source: &os_disk.unique_id, place: &place, region };
                let version = VersionRef::Own(scratch.version());
                let body = body::disk_of_version(self.delivery, made(&source.id), &version);
                let mut create = on.create("disk", "disk", &disk, None, body);
                connect_to_version(&mut create);
                rows.push(create);
                (&disk, None)
            }
        };
        let (ready, used) = self.source_gates();
        let body = body::temporary_snapshot(self.delivery, made(copied), true, true);
        let mut create = on.create("snapshot", "snapshot", &snapshot, copied_id, body);
        create.opens = vec![ready];
        if let RowSpec::Resource(SnapshotSpec::Create(spec)) = &mut create.spec {
            // All targets get the same content, and the content of a disk may change.
            spec.once = source.can_change();
            spec.requires_stopped.clone_from(&source.machine);
        }
        rows.push(create);
        let mut removal = remove(self.delivery, on, "remove-snapshot", &snapshot);
        removal.after = vec![after(used, GateCondition::Ended, self.users_of(None))];
        rows.push(removal);
        if *copied == disk {
            rows.push(remove(self.delivery, on, "remove-disk", &disk));
        }
        Some(rows)
    }

    /// The rows that create and remove the snapshot in the hub of a region. None if the region has no hub.
    pub(crate) fn hub(&self, region: &Region) -> Option<Vec<Row>> {
        let hub = self.delivery.hubs.get(region)?;
        let snapshot = self.temporary(&hub.group, region, "hub");
        let group = GroupId::of(&self.of_role(&format!("hub-{region}"), '-'), &["hub", &snapshot.key()]);
        let on = Place { group: &group, region, subscription: &hub.group };
        let origin = self.carrier();
        let made = Made {
            source: self.source,
            copied: &origin.id,
            way: Way::CopyStart,
            region,
            encryption_set: hub.encryption_set.as_deref(),
        };
        let (ready, used) = self.hub_gates(region);
        let body = body::temporary_snapshot(self.delivery, made, true, true);
        let mut copy = on.create("copy", "snapshot", &snapshot, origin.unique_id.clone(), body);
        copy.opens = vec![ready];
        origin.connect(&mut copy);
        let mut removal = remove(self.delivery, on, "remove-copy", &snapshot);
        removal.after = vec![after(used, GateCondition::Ended, self.users_of(Some(region)))];
        Some(vec![copy, removal])
    }

    /// The snapshot that a gallery copies.
    pub(crate) fn golden(&self, planned: &PlannedGallery) -> Golden {
        let region = &planned.settings.region;
        let origin = self.origin(region);
        let encryption_set = planned.settings.encryption_set();
        let made = Made { source: self.source, copied: &origin.id, way: Way::Copy, region, encryption_set };
        let (ready, opens): (Vec<GateKey>, Vec<GateKey>) = origin.gates.iter().cloned().unzip();
        Golden {
            unique_id: origin.unique_id.clone(),
            after: ready.into_iter().map(|gate| after(gate, GateCondition::Opened, 1)).collect(),
            opens,
            copy: body::temporary_snapshot(self.delivery, made, false, true),
            created_by: None,
        }
    }

    /// The rows of a target. Those of the OS disk create the image.
    pub(crate) fn at_target(&self, planned: &PlannedTarget) -> Vec<Row> {
        if !planned.is_done {
            return self.target(planned);
        }
        // A target that has all that it should receive has only the rows that deliver. They never run.
        let is_delivery = |row: &Row| matches!(row.spec, RowSpec::Image(_) | RowSpec::Resource(SnapshotSpec::Sink(_)));
        let rows = self.target(planned).into_iter().filter(is_delivery);
        rows.map(|row| Row { after: Vec::new(), opens: Vec::new(), ..row }).collect()
    }

    fn target(&self, planned: &PlannedTarget) -> Vec<Row> {
        let (target, sinks) = (&planned.target, planned.target.sinks);
        let (region, place) = (&target.region, GroupRef::from(target));
        let group = self.group_at(planned);
        let on = Place { group: &group, region, subscription: &place };
        let origin = self.origin(region);
        let made = Made {
            source: self.source,
            copied: &origin.id,
            way: Way::Copy,
            region,
            encryption_set: target.disk_encryption_set.as_deref(),
        };
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
            removals.push(remove(self.delivery, on, "remove-image-snapshot", &plain));
        }
        let is_data_of_image = sinks.has(Sink::Image) && self.source.role != DiskRole::Os;
        if let Some(last) = rows.last_mut().filter(|_| is_data_of_image) {
            last.opens.push(GateKey::data_disks(&planned.group));
        }
        rows.extend(self.image(on, planned, &plain));
        rows.extend(self.disk(on, planned, &main));
        if !sinks.has(Sink::Snapshot) {
            removals.push(remove(self.delivery, on, "remove-snapshot", &main));
        }
        if let Some(first) = removals.first_mut().filter(|_| is_data_of_image) {
            first.after.push(after(image_gate(planned), GateCondition::Ended, 1));
        }
        rows.extend(removals);
        rows
    }

    /// The group of the rows at a target.
    fn group_at(&self, planned: &PlannedTarget) -> GroupId {
        match self.source.role {
            DiskRole::Os => planned.group.clone(),
            role => {
                let prefix = format!("{}-{role}", planned.target.region);
                GroupId::of(&prefix, &[planned.group.as_str(), &role.to_string()])
            }
        }
    }

    /// The row that creates the image of a target. It waits for the snapshots of all data disks.
    fn image(&self, on: Place<'_>, planned: &PlannedTarget, snapshot: &ResourceId) -> Option<Row> {
        if self.source.role != DiskRole::Os || !planned.target.sinks.has(Sink::Image) {
            return None;
        }
        let delivery = self.delivery;
        let data = delivery.data.iter().filter_map(|source| {
            let snapshot = Self { delivery, source, users: BTreeMap::new() }.image_snapshot(planned);
            Some(DataSnapshot { lun: source.role.lun()?, snapshot })
        });
        let data: Vec<DataSnapshot> = data.collect();
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let from = ImageFrom { name: planned.name.clone(), snapshot: snapshot.clone(), data };
        let mut row = on.row("image", "image", RowSpec::Image(from));
        if count > 0 {
            row.after = vec![after(GateKey::data_disks(&planned.group), GateCondition::Opened, count)];
            row.opens = vec![image_gate(planned)];
        }
        Some(row)
    }

    fn disk(&self, on: Place<'_>, planned: &PlannedTarget, snapshot: &ResourceId) -> Option<Row> {
        let target = &planned.target;
        if !target.sinks.has(Sink::Disk) {
            return None;
        }
        let made = Made {
            source: self.source,
            copied: snapshot,
            way: Way::Copy,
            region: &target.region,
            encryption_set: target.disk_encryption_set.as_deref(),
        };
        let id = sink_id(planned, ResourceType::Disk, self.source.role);
        Some(on.sink("disk", "disk", &id, None, body::disk(self.delivery, made)))
    }

    /// The snapshot of which a target receives copies: what it receives itself, or a temporary.
    fn main_snapshot(&self, planned: &PlannedTarget) -> ResourceId {
        let target = &planned.target;
        if target.sinks.has(Sink::Snapshot) {
            return sink_id(planned, ResourceType::Snapshot, self.source.role);
        }
        self.temporary(&GroupRef::from(target), &target.region, "target")
    }

    /// The snapshot from which the managed image of a target is created.
    fn image_snapshot(&self, planned: &PlannedTarget) -> ResourceId {
        if copies_of(self.source, &planned.target) < 2 {
            return self.main_snapshot(planned);
        }
        self.temporary(&GroupRef::from(&planned.target), &planned.target.region, "image")
    }

    /// What is copied to other regions.
    fn carrier(&self) -> Origin {
        if self.delivery.needs_scratch(self.source) { self.source_temporary() } else { self.source_itself() }
    }

    /// What the targets of a region copy.
    fn origin(&self, region: &Region) -> Origin {
        if region == self.source.region() {
            return if self.source.is_disk() { self.source_temporary() } else { self.source_itself() };
        }
        let hub = self.delivery.hubs.get(region).map(|hub| hub.group.clone());
        let place = hub.unwrap_or_else(|| self.delivery.scratch(self.source));
        Origin { id: self.temporary(&place, region, "hub"), unique_id: None, gates: Some(self.hub_gates(region)) }
    }

    fn source_itself(&self) -> Origin {
        Origin { id: self.source.id.clone(), unique_id: Some(self.source.unique_id.clone()), gates: None }
    }

    fn source_temporary(&self) -> Origin {
        let id = self.temporary(&self.delivery.scratch(self.source), self.source.region(), "source");
        Origin { id, unique_id: None, gates: Some(self.source_gates()) }
    }

    fn users_of(&self, region: Option<&Region>) -> u32 {
        self.users.get(&region.cloned()).copied().unwrap_or(0)
    }

    /// What distinguishes the disk from the others.
    fn key(&self) -> String {
        self.of_role(&self.source.id.key(), '#')
    }

    fn temporary(&self, place: &GroupRef, region: &Region, part: &str) -> ResourceId {
        let Delivery { fleet, job, .. } = self.delivery;
        let name = names::of_temporary(*fleet, job, &self.source.unique_id, place, region, part);
        resource_id(place, ResourceType::Snapshot, &name)
    }

    fn scratch_disk(&self, place: &GroupRef) -> ResourceId {
        let snapshot = self.temporary(place, self.source.region(), "disk");
        ResourceId { resource_type: ResourceType::Disk, ..snapshot }
    }
}

/// The gate that the image of a target opens when it has ended: the removals of the snapshots of its data disks wait
/// for it.
fn image_gate(planned: &PlannedTarget) -> GateKey {
    gate(&format!("image.{}", planned.group))
}
