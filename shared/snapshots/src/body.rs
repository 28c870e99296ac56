//! The bodies of the requests that create snapshots and disks. Source: Microsoft.Compute DiskRP 2025-01-02.

use std::collections::BTreeMap;

use goldfleet_model::ids::Region;
use serde_json::{Map, Value, json};

use crate::plan::Method;
use crate::rules::{Destination, Rules, Speed};
use crate::snapshot::{ExportPolicy, JsonText, Snapshot};
use crate::tags;

/// The performance tier of everything that a sync creates: the cheapest.
const SKU: &str = "Standard_LRS";

/// The length of the footer of a VHD in bytes.
const FOOTER: u64 = 512;

/// The body of a replica of a source. `copied` is the id of the snapshot that the service copies: the source, a
/// temporary, or a staged replica. `own_tags` are the tags of the replica itself.
///
/// The body repeats what a copy would lose otherwise: tags, operating system, generation, plan, capabilities, security
/// profile, hibernation, and the export policy.
#[must_use]
pub fn of_replica(
    source: &Snapshot,
    copied: &str,
    method: Method,
    rules: &Rules,
    destination: &Destination,
    own_tags: BTreeMap<String, String>,
) -> Value {
    let mut creation = json!({ "sourceResourceId": copied });
    let arrives = method.is_limited();
    creation["createOption"] = json!(if arrives { "CopyStart" } else { "Copy" });
    if arrives && rules.speed == Speed::Enhanced {
        creation["provisionedBandwidthCopySpeed"] = json!("Enhanced");
    }
    let mut properties = machine(source);
    properties.insert("creationData".to_owned(), creation);
    properties.insert("incremental".to_owned(), json!(source.incremental || arrives));
    properties.extend(export(&source.export, destination.disk_access.as_deref()));
    properties.extend(encryption(source, destination));
    let mut tags = carried_tags(source, rules);
    tags.extend(own_tags);
    resource(&destination.region, &tags, properties)
}

/// The body of the disk in another tenant that receives the content of a source. A VHD is uploaded to it: the disk and
/// a footer.
#[must_use]
pub fn of_export(source: &Snapshot, size: u64, destination: &Destination, tags: &BTreeMap<String, String>) -> Value {
    let creation = json!({ "createOption": "Upload", "uploadSizeBytes": size.saturating_add(FOOTER) });
    let mut properties = machine(source);
    // The plan of a marketplace image belongs to what machines are created from, and is repeated by the replica.
    properties.remove("purchasePlan");
    properties.remove("supportsHibernation");
    properties.insert("creationData".to_owned(), creation);
    properties.extend(encryption(source, destination));
    resource(&destination.region, tags, properties)
}

/// The body of a temporary disk or snapshot in the region of its source. Nobody can export its content. A snapshot is
/// incremental: only incremental snapshots are copied between regions.
#[must_use]
pub fn of_temporary(source: &Snapshot, copied: &str, is_snapshot: bool, tags: &BTreeMap<String, String>) -> Value {
    let mut properties = Map::new();
    properties.insert("creationData".to_owned(), json!({ "createOption": "Copy", "sourceResourceId": copied }));
    properties.insert("networkAccessPolicy".to_owned(), json!("DenyAll"));
    properties.insert("publicNetworkAccess".to_owned(), json!("Disabled"));
    if is_snapshot {
        properties.insert("incremental".to_owned(), json!(true));
    }
    if let Some(set) = &source.encryption.set {
        let kind = source.encryption.kind.as_deref().unwrap_or("EncryptionAtRestWithCustomerKey");
        properties.insert("encryption".to_owned(), json!({ "type": kind, "diskEncryptionSetId": set }));
    }
    resource(&source.region, tags, properties)
}

/// The encryption of what a destination gets.
fn encryption(source: &Snapshot, destination: &Destination) -> Option<(String, Value)> {
    let set = destination.encryption_set.as_ref()?;
    let kind = source.encryption.kind.as_deref().filter(|kind| kind.contains("CustomerKey"));
    let kind = kind.unwrap_or("EncryptionAtRestWithCustomerKey");
    Some(("encryption".to_owned(), json!({ "type": kind, "diskEncryptionSetId": set })))
}

/// The tags that a replica gets from its source: all but those of goldfleet and those that select a snapshot.
#[must_use]
pub fn carried_tags(source: &Snapshot, rules: &Rules) -> BTreeMap<String, String> {
    let is_carried = |name: &str| !tags::is_reserved(name) && !rules.selection.is_trigger(name);
    let carried = source.tags.iter().filter(|(name, _)| is_carried(name));
    carried.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn resource(region: &Region, tags: &BTreeMap<String, String>, properties: Map<String, Value>) -> Value {
    json!({ "location": region, "tags": tags, "sku": { "name": SKU }, "properties": properties })
}

fn machine(source: &Snapshot) -> Map<String, Value> {
    let machine = &source.machine;
    let fields = [
        ("osType", machine.os_type.as_ref().map(|text| json!(text))),
        ("hyperVGeneration", machine.generation.as_ref().map(|text| json!(text))),
        ("purchasePlan", machine.purchase_plan.as_ref().map(JsonText::value)),
        ("supportedCapabilities", machine.capabilities.as_ref().map(JsonText::value)),
        ("securityProfile", machine.security_type.as_ref().map(|kind| json!({ "securityType": kind }))),
        ("supportsHibernation", machine.supports_hibernation.map(|value| json!(value))),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The export policy of a replica. It is never looser than that of the source. A disk access resource serves only its
/// own region, so a replica without one denies all access if its source permits private endpoints only.
fn export(source: &ExportPolicy, disk_access: Option<&str>) -> Map<String, Value> {
    let (network, access) = match (source.network_access.as_deref(), disk_access) {
        (None, _) => (None, None),
        (Some("AllowAll"), _) => (Some("AllowAll"), None),
        (Some("AllowPrivate"), Some(access)) => (Some("AllowPrivate"), Some(access)),
        _ => (Some("DenyAll"), None),
    };
    let fields = [
        ("networkAccessPolicy", network),
        ("diskAccessId", access),
        ("publicNetworkAccess", source.public_network_access.as_deref()),
        ("dataAccessAuthMode", source.data_access_auth.as_deref()),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect()
}
