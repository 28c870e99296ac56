//! The plan of the region route as a graph.
//!
//! - One group for each disk in the hub of each region: the upload of the disk, its golden snapshot, and the removal of
//!   the disk. The snapshots of a region open its gate.
//! - One group for each target: copies of the golden snapshots in its subscription, the image, and the removal of the
//!   copies.
//! - One group for each gallery: copies of the golden snapshots in its resource group, the version, and the removal of
//!   temporaries.

use goldfleet_galleries::graph::{GalleryRow, Golden, PlannedGallery};
use goldfleet_galleries::spec::PublishSpec;
use goldfleet_model::artifact::{ArtifactDisk, DiskRef, DiskRole};
use goldfleet_model::graph::GateCondition;
use goldfleet_model::ids::Region;
use goldfleet_model::operation::{GroupId, OperationId};
use goldfleet_model::resource::{DataSnapshot, ResourceId, ResourceType};
use goldfleet_snapshots::graph::{CreateSpec, GoldenSpec, RowSpec as SnapshotSpec};
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::names;
use goldfleet_snapshots::remove::TemporarySpec;
use serde_json::Value;

use crate::graph::{ImageFrom, chained};
use crate::plan::{HubPlace, PlannedTarget};
use crate::region::RegionDelivery;
use crate::region_body as body;
use crate::rows::{Place, after, create_spec, hub_gate, resource_id};

/// The ids of the kinds that the graph uses, in the order in which they are shown.
pub const KINDS: [&str; 5] = ["hub", "image", "snapshot", "publish", "remove"];

/// The step that creates a golden snapshot.
const GOLDEN: &str = "golden";

/// The group of a disk in the hub of a region. It is the same in all jobs of the version: its operations find those of
/// other jobs that fill a disk for the same golden snapshot.
fn hub_group(delivery: &RegionDelivery, region: &Region, hub: &HubPlace, disk: &ArtifactDisk) -> GroupId {
    let prefix = match disk.disk.role {
        DiskRole::Os => format!("hub-{region}"),
        role => format!("hub-{region}-{role}"),
    };
    GroupId::of(&prefix, &["hub", &delivery.golden(region, hub, disk).key()])
}

/// A disk in a hub that is filled from chunks.
#[derive(Debug, Clone, PartialEq)]
pub struct HubRow {
    /// The disk of the version.
    pub disk: DiskRef,
    /// The number of bytes of its chunks.
    pub data_bytes: u64,
    /// The managed disk.
    pub id: ResourceId,
    /// The body of the request for it.
    pub body: Value,
    /// The golden snapshot.
    pub golden: ResourceId,
}

/// What a row has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum RegionRowSpec {
    /// Fill a disk.
    Hub(Box<HubRow>),
    /// Create or remove a disk or snapshot.
    Resource(SnapshotSpec),
    /// Create a managed image.
    Image(ImageFrom),
    /// Publish a gallery version.
    Publish(Box<PublishSpec>),
}

/// A row.
pub type RegionRow = goldfleet_snapshots::graph::Row<RegionRowSpec>;

/// The rows of a group, which are a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionGroup<'a> {
    /// The target, if its rows act on one.
    pub target: Option<&'a PlannedTarget>,
    /// The gallery, if its rows act on one.
    pub gallery: Option<&'a PlannedGallery>,
    /// The rows.
    pub rows: Vec<RegionRow>,
}

/// A plan as a graph. Groups are created one by one.
#[derive(Clone, Copy)]
pub struct RegionGraph<'a>(&'a RegionDelivery);

impl<'a> RegionGraph<'a> {
    /// The graph of a plan without refusals.
    #[must_use]
    pub fn new(delivery: &'a RegionDelivery) -> Self {
        Self(delivery)
    }

    /// The groups: those of hubs, of targets, and of galleries. Each is created when it is needed.
    pub fn into_groups(self) -> impl Iterator<Item = RegionGroup<'a>> + 'a {
        let delivery = self.0;
        let hubs = delivery.regions().flat_map(move |(region, hub)| {
            delivery.disks.iter().map(move |disk| {
                let rows = chained(self.hub(region, hub, disk));
                RegionGroup { target: None, gallery: None, rows }
            })
        });
        let targets = delivery.targets.iter().map(move |planned| RegionGroup {
            target: Some(planned),
            gallery: None,
            rows: chained(if planned.is_done { vec![self.image(planned)] } else { self.target(planned) }),
        });
        let galleries = delivery.galleries.iter().map(move |planned| RegionGroup {
            target: None,
            gallery: Some(planned),
            rows: self.gallery(planned),
        });
        hubs.chain(targets).chain(galleries)
    }

    /// The rows that fill a disk in the hub of a region, create its golden snapshot, and remove the disk.
    fn hub(&self, region: &Region, hub: &HubPlace, disk: &ArtifactDisk) -> Vec<RegionRow> {
        let delivery = self.0;
        let (id, golden) = (delivery.hub_disk(region, hub, disk), delivery.golden(region, hub, disk));
        let group = hub_group(delivery, region, hub, disk);
        let on = Place { group: &group, region, subscription: &hub.group };
        let filled = HubRow {
            disk: disk.disk,
            data_bytes: disk.data_bytes,
            id: id.clone(),
            body: body::hub_disk(delivery, region, hub, disk),
            golden: golden.clone(),
        };
        let fill = on.row("hub", "hub", RegionRowSpec::Hub(Box::new(filled)));
        let create = create_spec(&golden, None, body::golden(delivery, region, hub, disk, &id));
        let spec = GoldenSpec { create, filled_by: OperationId::new(group.clone(), "hub") };
        let mut snapshot = on.row(GOLDEN, "snapshot", RegionRowSpec::Resource(SnapshotSpec::Golden(Box::new(spec))));
        snapshot.opens = vec![hub_gate(region)];
        vec![fill, snapshot, self.remove(on, "remove-disk", &id)]
    }

    /// The rows of a target.
    fn target(&self, planned: &PlannedTarget) -> Vec<RegionRow> {
        let delivery = self.0;
        let place = GroupRef::from(&planned.target);
        let on = Place { group: &planned.group, region: &planned.target.region, subscription: &place };
        let (mut rows, mut removals) = (Vec::new(), Vec::new());
        let Some(hub) = delivery.hubs.get(on.region) else { return rows };
        for disk in &delivery.disks {
            let role = disk.disk.role;
            let step = |name: &str| match role {
                DiskRole::Os => name.to_owned(),
                role => format!("{name}-{role}"),
            };
            let id = self.copy(planned, role);
            let set = planned.target.disk_encryption_set.as_deref();
            let golden = self.golden(on.region, hub, set, disk);
            let copied_from = golden.created_by;
            let spec = SnapshotSpec::Create(CreateSpec { copied_from, ..create_spec(&id, None, golden.copy) });
            let mut copy = on.row(&step("snapshot"), "snapshot", RegionRowSpec::Resource(spec));
            copy.after = golden.after;
            rows.push(copy);
            removals.push(self.remove(on, &step("remove-snapshot"), &id));
        }
        rows.push(self.image(planned));
        rows.extend(removals);
        rows
    }

    /// The golden snapshot of a disk in a region, for a copy with this disk encryption set. The first copy of a chain
    /// waits for all golden snapshots of the region.
    fn golden(&self, region: &Region, hub: &HubPlace, set: Option<&str>, disk: &ArtifactDisk) -> Golden {
        let delivery = self.0;
        let disks = u32::try_from(delivery.disks.len()).unwrap_or(u32::MAX);
        let gate = after(hub_gate(region), GateCondition::Opened, disks);
        Golden {
            unique_id: None,
            after: if disk.disk.role == DiskRole::Os { vec![gate] } else { Vec::new() },
            opens: Vec::new(),
            copy: body::copy(delivery, region, set, disk, &delivery.golden(region, hub, disk)),
            created_by: Some(OperationId::new(hub_group(delivery, region, hub, disk), GOLDEN)),
        }
    }

    /// The rows of a gallery.
    fn gallery(&self, planned: &PlannedGallery) -> Vec<RegionRow> {
        let delivery = self.0;
        let region = &planned.settings.region;
        let set = planned.settings.encryption_set();
        let hub = delivery.hubs.get(region);
        let golden = hub.into_iter().flat_map(|hub| delivery.disks.iter().map(move |disk| (hub, disk)));
        let golden = golden.map(|(hub, disk)| self.golden(region, hub, set, disk)).collect();
        let spec = |row: GalleryRow| match row {
            GalleryRow::Resource(spec) => RegionRowSpec::Resource(*spec),
            GalleryRow::Publish(spec) => RegionRowSpec::Publish(spec),
        };
        goldfleet_galleries::graph::rows(planned, golden).into_iter().map(|row| row.map(spec)).collect()
    }

    fn image(&self, planned: &PlannedTarget) -> RegionRow {
        let place = GroupRef::from(&planned.target);
        let on = Place { group: &planned.group, region: &planned.target.region, subscription: &place };
        let data = self.0.disks.iter().filter_map(|disk| {
            let role = disk.disk.role;
            Some(DataSnapshot { lun: role.lun()?, snapshot: self.copy(planned, role) })
        });
        let (name, snapshot, data) = (planned.name.clone(), self.copy(planned, DiskRole::Os), data.collect());
        let from = ImageFrom { name, snapshot, data };
        on.row("image", "image", RegionRowSpec::Image(from))
    }

    /// The copy of a golden snapshot at a target.
    fn copy(&self, planned: &PlannedTarget, role: DiskRole) -> ResourceId {
        let RegionDelivery { fleet, job, version, .. } = self.0;
        let (group, region) = (GroupRef::from(&planned.target), &planned.target.region);
        let digest = version.image.digest.to_string();
        let name = names::of_temporary(*fleet, job, &digest, &group, region, &format!("target-{role}"));
        resource_id(&group, ResourceType::Snapshot, &name)
    }

    /// A row that deletes a temporary. It runs in any case.
    fn remove(&self, on: Place<'_>, step: &str, id: &ResourceId) -> RegionRow {
        let RegionDelivery { fleet, job, .. } = self.0;
        let spec = TemporarySpec { fleet: *fleet, id: id.to_string(), job: job.clone() };
        let spec = RegionRowSpec::Resource(SnapshotSpec::RemoveTemporary(spec));
        RegionRow { always: true, ..on.row(step, "remove", spec) }
    }
}

/// The number of operations at a target that create something: all but the removal of temporaries.
#[must_use]
pub fn region_steps(delivery: &RegionDelivery, planned: &PlannedTarget) -> u32 {
    let copies = if planned.is_done { 0 } else { delivery.disks.len() };
    u32::try_from(copies).unwrap_or(u32::MAX).saturating_add(1)
}
