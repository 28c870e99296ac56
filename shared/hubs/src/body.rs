//! The bodies of the requests. Source: Microsoft.Compute, DiskRP 2025-01-02.

use std::collections::BTreeMap;

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::Region;
use goldfleet_model::image::ImageTags;
use goldfleet_model::resource::{CreationData, ResourceId, VersionRef};
use goldfleet_snapshots::tags::{self, Role};
use serde_json::{Map, Value, json};

use crate::plan::Delivery;
use crate::source::Source;

/// The performance tier of snapshots: the cheapest.
pub(crate) const SNAPSHOT_SKU: &str = "Standard_LRS";

/// Properties of the source that a copy loses unless its request repeats them, besides the system and the security
/// type.
const REPEATED: [&str; 3] = ["purchasePlan", "supportedCapabilities", "supportsHibernation"];

/// How a disk or snapshot gets its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a disk or snapshot in the same region.
    Copy,
    /// From an incremental snapshot in another region.
    CopyStart,
}

/// A disk or snapshot to create.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The disk whose content it has.
    pub source: &'a Source,
    /// The disk or snapshot that is copied.
    pub copied: &'a ResourceId,
    /// How.
    pub way: Way,
    /// The region.
    pub region: &'a Region,
    /// The id of the disk encryption set.
    pub encryption_set: Option<&'a str>,
}

/// The body of a temporary snapshot. Nobody can export its content. `is_incremental` is needed for copies between
/// regions. A snapshot of which a managed image is created has no security type: a managed image has none.
#[must_use]
pub fn temporary_snapshot(delivery: &Delivery, made: Made<'_>, is_incremental: bool, has_security: bool) -> Value {
    let mut properties = common(delivery, made);
    properties.insert("incremental".to_owned(), json!(is_incremental));
    properties.extend(no_export());
    properties.extend(has_security.then(|| security(made.source)).flatten());
    resource(made.region, &temporary_tags(delivery, made.source), SNAPSHOT_SKU, properties)
}

/// The body of a temporary disk.
#[must_use]
pub fn temporary_disk(delivery: &Delivery, made: Made<'_>) -> Value {
    let mut properties = common(delivery, made);
    properties.extend(no_export());
    resource(made.region, &temporary_tags(delivery, made.source), SNAPSHOT_SKU, properties)
}

/// The body of the temporary disk that is created from a disk of a gallery version. The security type of a disk that is
/// created from an image is that of the request.
#[must_use]
pub fn disk_of_version(delivery: &Delivery, made: Made<'_>, version: &VersionRef) -> Value {
    let mut properties = common(delivery, made);
    let data = CreationData::from_disk_of(version, made.source.role.lun());
    properties.insert("creationData".to_owned(), json!(data));
    properties.extend(security(made.source));
    properties.extend(no_export());
    resource(made.region, &temporary_tags(delivery, made.source), SNAPSHOT_SKU, properties)
}

/// The body of a snapshot that a target receives.
#[must_use]
pub fn snapshot(delivery: &Delivery, made: Made<'_>) -> Value {
    let mut properties = common(delivery, made);
    properties.insert("incremental".to_owned(), json!(false));
    properties.extend(export(made.source));
    properties.extend(security(made.source));
    resource(made.region, &sink_tags(delivery, made.source), SNAPSHOT_SKU, properties)
}

/// The body of a disk that a target receives. A disk that is created by a copy takes over the security type, and
/// rejects it in the request.
#[must_use]
pub fn disk(delivery: &Delivery, made: Made<'_>) -> Value {
    let mut properties = common(delivery, made);
    properties.extend(export(made.source));
    resource(made.region, &sink_tags(delivery, made.source), delivery.storage.as_str(), properties)
}

/// The tags of what a target receives. They prove which fleet created it, and of which version it is.
#[must_use]
pub fn sink_tags(delivery: &Delivery, source: &Source) -> BTreeMap<String, String> {
    let mut all = delivery.tags.clone();
    all.extend(temporary_tags(delivery, source));
    all.insert(tags::ROLE.to_owned(), Role::Sink.as_str().to_owned());
    all
}

fn temporary_tags(delivery: &Delivery, source: &Source) -> BTreeMap<String, String> {
    let Delivery { fleet, job, version, .. } = delivery;
    let mut all = tags::of_temporary(*fleet, job, &source.unique_id);
    all.extend(ImageTags { image: version.image.clone(), job: job.clone() }.to_map());
    all
}

pub(crate) fn resource(
    region: &Region,
    tags: &BTreeMap<String, String>,
    sku: &str,
    properties: Map<String, Value>,
) -> Value {
    json!({ "location": region, "tags": tags, "sku": { "name": sku }, "properties": properties })
}

fn common(delivery: &Delivery, made: Made<'_>) -> Map<String, Value> {
    let (version, source) = (&delivery.version, made.source);
    let option = if made.way == Way::Copy { "Copy" } else { "CopyStart" };
    let mut properties = Map::new();
    let mut set = |name: &str, value: Value| drop(properties.insert(name.to_owned(), value));
    set("creationData", json!({ "createOption": option, "sourceResourceId": made.copied }));
    if source.role == DiskRole::Os {
        // The step reads the body as typed properties, which are written in the spelling of the service.
        set("osType", json!(version.os.as_str()));
        set("hyperVGeneration", json!(version.generation.as_str()));
    }
    for name in REPEATED {
        if let Some(value) = source.other(name) {
            set(name, value.clone());
        }
    }
    if let Some(id) = made.encryption_set {
        let kind = source.customer_encryption().unwrap_or("EncryptionAtRestWithCustomerKey");
        set("encryption", json!({ "type": kind, "diskEncryptionSetId": id }));
    }
    properties
}

fn security(source: &Source) -> Option<(String, Value)> {
    let kind = source.security_type()?;
    Some(("securityProfile".to_owned(), json!({ "securityType": kind })))
}

pub(crate) fn no_export() -> [(String, Value); 2] {
    [("networkAccessPolicy", "DenyAll"), ("publicNetworkAccess", "Disabled")]
        .map(|(name, value)| (name.to_owned(), json!(value)))
}

/// The export policy of what a target receives. It is never looser than that of the source. A disk access resource
/// serves only its own region, so a copy denies all access if its source permits private endpoints only.
fn export(source: &Source) -> Map<String, Value> {
    let mut policy = Map::new();
    if let Some(access) = source.other("networkAccessPolicy") {
        let access = if access == "AllowAll" { "AllowAll" } else { "DenyAll" };
        policy.insert("networkAccessPolicy".to_owned(), json!(access));
    }
    for name in ["publicNetworkAccess", "dataAccessAuthMode"] {
        policy.extend(source.other(name).map(|value| (name.to_owned(), value.clone())));
    }
    policy
}
