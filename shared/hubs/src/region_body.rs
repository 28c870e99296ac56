//! The bodies of the requests of the region route. Source: Microsoft.Compute, DiskRP 2025-01-02.

use std::collections::BTreeMap;

use goldfleet_model::artifact::{ArtifactDisk, DiskRole};
use goldfleet_model::ids::Region;
use goldfleet_model::image::ImageTags;
use goldfleet_model::resource::ResourceId;
use goldfleet_snapshots::tags;
use serde_json::{Map, Value, json};

use crate::body::{SNAPSHOT_SKU, no_export, resource};
use crate::plan::HubPlace;
use crate::region::RegionDelivery;

/// The length of the footer of a VHD in bytes.
const FOOTER: u64 = 512;

/// The body of the disk that is filled. It must permit export: a SAS gives the access with which it is written.
pub(crate) fn hub_disk(delivery: &RegionDelivery, region: &Region, hub: &HubPlace, disk: &ArtifactDisk) -> Value {
    let data = json!({ "createOption": "Upload", "uploadSizeBytes": disk.size + FOOTER });
    let properties = common(delivery, disk, data, hub.encryption_set.as_deref());
    resource(region, &temporary_tags(delivery, disk), SNAPSHOT_SKU, properties)
}

/// The body of the golden snapshot. Only incremental snapshots can be copied to other regions. Nobody can export its
/// content.
pub(crate) fn golden(
    delivery: &RegionDelivery,
    region: &Region,
    hub: &HubPlace,
    disk: &ArtifactDisk,
    copied: &ResourceId,
) -> Value {
    let tags = tags::of_golden(delivery.fleet, &image_tags(delivery), &disk.disk.manifest.to_string());
    let set = hub.encryption_set.as_deref();
    resource(region, &tags, SNAPSHOT_SKU, snapshot(delivery, disk, copied, set, true))
}

/// The body of the copy of a golden snapshot at a target or gallery. Nobody can export its content.
pub(crate) fn copy(
    delivery: &RegionDelivery,
    region: &Region,
    set: Option<&str>,
    disk: &ArtifactDisk,
    golden: &ResourceId,
) -> Value {
    let properties = snapshot(delivery, disk, golden, set, false);
    resource(region, &temporary_tags(delivery, disk), SNAPSHOT_SKU, properties)
}

fn snapshot(
    delivery: &RegionDelivery,
    disk: &ArtifactDisk,
    copied: &ResourceId,
    set: Option<&str>,
    is_incremental: bool,
) -> Map<String, Value> {
    let data = json!({ "createOption": "Copy", "sourceResourceId": copied });
    let mut properties = common(delivery, disk, data, set);
    properties.insert("incremental".to_owned(), json!(is_incremental));
    properties.extend(no_export());
    properties
}

fn common(delivery: &RegionDelivery, disk: &ArtifactDisk, data: Value, set: Option<&str>) -> Map<String, Value> {
    let mut properties = Map::from_iter([("creationData".to_owned(), data)]);
    if disk.disk.role == DiskRole::Os {
        properties.insert("osType".to_owned(), json!(delivery.version.os.as_str()));
        properties.insert("hyperVGeneration".to_owned(), json!(delivery.version.generation.as_str()));
    }
    if let Some(id) = set {
        let encryption = json!({ "type": "EncryptionAtRestWithCustomerKey", "diskEncryptionSetId": id });
        properties.insert("encryption".to_owned(), encryption);
    }
    properties
}

fn image_tags(delivery: &RegionDelivery) -> ImageTags {
    ImageTags { image: delivery.version.image.clone(), job: delivery.job.clone() }
}

/// The tags of a temporary. The manifest of the disk stands for its source.
fn temporary_tags(delivery: &RegionDelivery, disk: &ArtifactDisk) -> BTreeMap<String, String> {
    let RegionDelivery { fleet, job, .. } = delivery;
    let mut all = tags::of_temporary(*fleet, job, &disk.disk.manifest.to_string());
    all.extend(image_tags(delivery).to_map());
    all
}
