//! The rows of a gallery in the graph of a job.
//!
//! A group has a snapshot of each disk in the resource group of the gallery, the version that is created from them, and
//! the removal of temporaries. A snapshot is full: it is not documented that a version can be created from an
//! incremental one. It is in the subscription of the gallery, because an encrypted source must be (source: Azure,
//! image-version-encryption).

use goldfleet_model::graph::{After, GateKey};
use goldfleet_model::ids::Region;
use goldfleet_model::operation::{GroupId, OperationId};
use goldfleet_model::resource::ResourceId;
use goldfleet_snapshots::graph::{CreateSpec, Row, RowSpec as SnapshotSpec};
use goldfleet_snapshots::remove::TemporarySpec;
use serde_json::Value;

use crate::settings::Gallery;
use crate::spec::PublishSpec;

/// The id of the kind that publishes versions.
pub const KIND: &str = "publish";

/// A gallery that receives a version.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedGallery {
    /// Its settings.
    pub settings: Gallery,
    /// What it receives.
    pub spec: PublishSpec,
    /// The group of its operations.
    pub group: GroupId,
    /// Whether it has the version, ready in all wanted regions.
    pub is_done: bool,
}

impl PlannedGallery {
    /// The group of the operations of a gallery. Its place is the version.
    #[must_use]
    pub fn group_of(settings: &Gallery, version: &ResourceId) -> GroupId {
        GroupId::of(&format!("gallery-{}", settings.region), &["gallery", &version.key()])
    }

    /// The number of operations that open later rings.
    #[must_use]
    pub fn steps(&self) -> u32 {
        let copies = if self.is_done { 0 } else { self.spec.sources().count() };
        u32::try_from(copies).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// The golden snapshot of a disk in the region of a gallery, or the snapshot itself that a job copies.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// Its unique id. None for a temporary of the job.
    pub unique_id: Option<String>,
    /// The gates that its users wait for.
    pub after: Vec<After>,
    /// The gates that its users open.
    pub opens: Vec<GateKey>,
    /// The body of the snapshot that is a copy of it.
    pub copy: Value,
    /// The operation that created it. Its output has the unique id. None for what a job did not create from chunks.
    pub created_by: Option<OperationId>,
}

/// What a row of a gallery has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum GalleryRow {
    /// Create or remove a temporary.
    Resource(Box<SnapshotSpec>),
    /// Publish the version.
    Publish(Box<PublishSpec>),
}

/// The rows of a gallery, in their order. Every route that has golden snapshots in the region of the gallery yields
/// them. `golden` has the snapshot of each disk, in the order of [`PublishSpec::sources`].
#[must_use]
pub fn rows(gallery: &PlannedGallery, golden: Vec<Golden>) -> Vec<Row<GalleryRow>> {
    let PlannedGallery { spec, .. } = gallery;
    let publish = row(gallery, "publish", KIND, GalleryRow::Publish(Box::new(spec.clone())));
    if gallery.is_done {
        return numbered(vec![publish]);
    }
    let disks = std::iter::once(String::new()).chain(spec.data.iter().map(|data| format!("-data-{}", data.lun)));
    let (mut rows, mut removals) = (Vec::new(), vec![remove(gallery, "remove-trial", &spec.trial)]);
    for ((disk, id), golden) in disks.zip(spec.sources()).zip(golden) {
        rows.push(snapshot(gallery, &format!("snapshot{disk}"), id, golden));
        removals.push(remove(gallery, &format!("remove-snapshot{disk}"), id));
    }
    rows.push(publish);
    rows.extend(removals);
    numbered(rows)
}

/// A row that copies a golden snapshot to the resource group of the gallery.
fn snapshot(gallery: &PlannedGallery, step: &str, id: &ResourceId, golden: Golden) -> Row<GalleryRow> {
    let create = CreateSpec {
        id: id.to_string(),
        copied_unique_id: golden.unique_id,
        body: golden.copy,
        requires_stopped: None,
        once: false,
        copied_from: golden.created_by,
        restored: None,
    };
    let create = GalleryRow::Resource(Box::new(SnapshotSpec::Create(create)));
    Row { after: golden.after, opens: golden.opens, ..row(gallery, step, "snapshot", create) }
}

/// A row that deletes a temporary. It runs in any case.
fn remove(gallery: &PlannedGallery, step: &str, id: &ResourceId) -> Row<GalleryRow> {
    let PublishSpec { fleet, job, .. } = &gallery.spec;
    let spec = TemporarySpec { fleet: *fleet, id: id.to_string(), job: job.clone() };
    let spec = GalleryRow::Resource(Box::new(SnapshotSpec::RemoveTemporary(spec)));
    Row { always: true, ..row(gallery, step, "remove", spec) }
}

fn row(gallery: &PlannedGallery, step: &str, kind: &'static str, spec: GalleryRow) -> Row<GalleryRow> {
    let region: &Region = &gallery.settings.region;
    Row {
        id: OperationId::new(gallery.group.clone(), step),
        kind,
        position: 0,
        region: region.clone(),
        label: format!("{}/{region}", gallery.settings.subscription),
        after: Vec::new(),
        opens: Vec::new(),
        always: false,
        spec,
    }
}

fn numbered(rows: Vec<Row<GalleryRow>>) -> Vec<Row<GalleryRow>> {
    (0..).zip(rows).map(|(position, row)| Row { position, ..row }).collect()
}
