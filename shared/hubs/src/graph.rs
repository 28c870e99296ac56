//! A plan as a graph: groups of rows, with gates between them.
//!
//! - One group for the temporary gallery version of a managed image.
//! - For each disk, one group for its source, if it cannot be copied directly: an incremental snapshot of it, and the
//!   removal of the temporaries.
//! - For each disk, one group for each other region: the copy of the snapshot to the hub of the region, and its
//!   removal.
//! - One group for each target: a snapshot copy of the OS disk in its subscription, what it receives, and the removal
//!   of temporaries. The copies of each data disk have a group, so that no disk waits for another one. They open a gate
//!   for the image.
//! - One group for each gallery: snapshot copies in its resource group, the version, and the removal of temporaries.
//!
//! Removals run in any case, after all rows that use a temporary have ended in any way.

use std::sync::Arc;

use goldfleet_galleries::graph::{GalleryRow, PlannedGallery};
use goldfleet_galleries::spec::PublishSpec;
use goldfleet_galleries::temporary::{CapturedImage, ItemSpec, Scratch};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::graph::GateCondition;
use goldfleet_model::ids::{ManagedImageName, Region};
use goldfleet_model::operation::GroupId;
use goldfleet_model::resource::{DataSnapshot, ResourceId, ResourceType};
use goldfleet_model::sink::Sink;
use goldfleet_snapshots::graph::RowSpec as SnapshotSpec;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::names;
use goldfleet_snapshots::remove::TemporarySpec;

use crate::disk_graph::{DiskGraph, copies_of};
use crate::plan::{Delivery, PlannedTarget};
use crate::rows::{Place, after, gate, resource_id};
use crate::source::Source;

/// The ids of the kinds that the graph uses, in the order in which they are shown.
pub const KINDS: [&str; 6] = ["image", "gallery", "disk", "snapshot", "publish", "remove"];

/// The gate that opens when the temporary gallery version of an image exists.
const VERSION_READY: &str = "version.ready";
/// The gate that opens when a disk has been created from each disk of that version.
const VERSION_USED: &str = "version.used";

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
    /// Create a part of the temporary gallery version of an image.
    Gallery(Box<ItemSpec>),
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

/// A plan as a graph. Groups are created one by one.
pub struct Graph<'a> {
    delivery: &'a Delivery,
    /// The OS disk first, then the data disks.
    disks: Vec<DiskGraph<'a>>,
}

impl<'a> Graph<'a> {
    /// The graph of a plan without refusals.
    #[must_use]
    pub fn new(delivery: &'a Delivery) -> Self {
        Self { delivery, disks: delivery.disks().map(|disk| DiskGraph::new(delivery, disk)).collect() }
    }

    /// The groups: those of the source, those of regions, and those of targets and galleries. Each is created when it
    /// is needed.
    pub fn into_groups(self) -> impl Iterator<Item = Group<'a>> + 'a {
        let delivery = self.delivery;
        let graph = Arc::new(self);
        let (of_version, of_disks, of_targets, of_galleries) =
            (Arc::clone(&graph), Arc::clone(&graph), Arc::clone(&graph), graph);
        let version = std::iter::once_with(move || of_version.version()).flatten();
        let disks = (0..of_disks.disks.len()).flat_map(move |disk| {
            let graph = Arc::clone(&of_disks);
            let source = graph.disks[disk].source_rows();
            let regions: Vec<&'a Region> = delivery.remote_regions().collect();
            let hubs = regions.into_iter().filter_map(move |region| graph.disks[disk].hub(region));
            source.into_iter().chain(hubs)
        });
        let places = version.chain(disks).map(|rows| Group { target: None, gallery: None, rows: chained(rows) });
        let targets = delivery.targets.iter().flat_map(move |planned| {
            let groups = of_targets.disks.iter().map(|disk| disk.at_target(planned));
            let groups: Vec<Vec<Row>> = groups.filter(|rows| !rows.is_empty()).collect();
            groups.into_iter().map(move |rows| Group { target: Some(planned), gallery: None, rows: chained(rows) })
        });
        let galleries = delivery.galleries.iter().map(move |planned| Group {
            target: None,
            gallery: Some(planned),
            rows: of_galleries.gallery(planned),
        });
        places.chain(targets).chain(galleries)
    }

    /// The rows that create and remove the temporary gallery version of an image. None for other sources.
    fn version(&self) -> Option<Vec<Row>> {
        let Delivery { fleet, job, source, version, image, .. } = self.delivery;
        let image = image.as_ref().filter(|_| self.delivery.needs_scratch(source))?;
        let (place, region) = (self.delivery.scratch(source), source.region());
        let captured = CapturedImage {
            id: &image.id,
            os: version.os,
            generation: version.generation,
            encryption_sets: &image.encryption_sets,
        };
        let scratch = Scratch { fleet: *fleet, job, source: &source.unique_id, place: &place, region };
        let items = scratch.items(&captured, &image.fingerprint);
        let group = GroupId::of(&format!("version-{region}"), &["version", &image.id.key()]);
        let on = Place { group: &group, region, subscription: &place };
        let steps = ["gallery", "definition", "version"];
        let mut removals: Vec<Row> = steps
            .iter()
            .zip(&items)
            .rev()
            .map(|(step, item)| remove(self.delivery, on, &format!("remove-{step}"), &item.id))
            .collect();
        if let Some(first) = removals.first_mut() {
            let disks = u32::try_from(self.disks.len()).unwrap_or(u32::MAX);
            first.after = vec![after(gate(VERSION_USED), GateCondition::Ended, disks)];
        }
        let create = |(step, item)| on.row(step, "gallery", RowSpec::Gallery(Box::new(item)));
        let mut rows: Vec<Row> = steps.into_iter().zip(items).map(create).collect();
        if let Some(last) = rows.last_mut() {
            last.opens = vec![gate(VERSION_READY)];
        }
        rows.extend(removals);
        Some(rows)
    }

    /// The rows of a gallery. Its version is created from full snapshots in its resource group.
    fn gallery(&self, planned: &PlannedGallery) -> Vec<Row> {
        let golden = self.disks.iter().map(|disk| disk.golden(planned)).collect();
        let spec = |row: GalleryRow| match row {
            GalleryRow::Resource(spec) => RowSpec::Resource(*spec),
            GalleryRow::Publish(spec) => RowSpec::Publish(spec),
        };
        goldfleet_galleries::graph::rows(planned, golden).into_iter().map(|row| row.map(spec)).collect()
    }
}

/// Has the row that creates a disk from the temporary version of an image wait for that version.
pub(crate) fn connect_to_version(row: &mut Row) {
    row.after.push(after(gate(VERSION_READY), GateCondition::Opened, 1));
    row.opens.push(gate(VERSION_USED));
}

/// A row that deletes a temporary. It runs in any case.
pub(crate) fn remove(delivery: &Delivery, on: Place<'_>, step: &str, id: &ResourceId) -> Row {
    let Delivery { fleet, job, .. } = delivery;
    let spec = TemporarySpec { fleet: *fleet, id: id.to_string(), job: job.clone() };
    let spec = RowSpec::Resource(SnapshotSpec::RemoveTemporary(spec));
    Row { always: true, ..on.row(step, "remove", spec) }
}

/// The number of operations at a target that create something: all but the removal of temporaries.
#[must_use]
pub fn steps(delivery: &Delivery, planned: &PlannedTarget) -> u32 {
    let sinks = planned.target.sinks;
    let of_disk = |source: &Source| {
        let image = sinks.has(Sink::Image) && source.role == DiskRole::Os;
        let others = u32::from(image) + u32::from(sinks.has(Sink::Disk));
        match planned.is_done {
            true => others + u32::from(sinks.has(Sink::Snapshot)),
            false => others + copies_of(source, &planned.target),
        }
    };
    delivery.disks().map(of_disk).sum()
}

/// The id of the snapshot or disk that a target receives.
#[must_use]
pub fn sink_id(planned: &PlannedTarget, resource_type: ResourceType, role: DiskRole) -> ResourceId {
    let name = match role {
        DiskRole::Os => names::of_sink(planned.name.as_str()),
        role => names::of_sink(&format!("{}-{role}", planned.name)),
    };
    resource_id(&GroupRef::from(&planned.target), resource_type, &name)
}

/// Numbers the rows of a group.
pub(crate) fn chained<S>(rows: Vec<goldfleet_snapshots::graph::Row<S>>) -> Vec<goldfleet_snapshots::graph::Row<S>> {
    let numbered = (0..).zip(rows);
    numbered.map(|(position, row)| goldfleet_snapshots::graph::Row { position, ..row }).collect()
}
