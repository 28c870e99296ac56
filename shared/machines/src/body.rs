//! The bodies of the requests of a clone. Source: Microsoft.Compute, DiskRP 2025-01-02 and ComputeRP 2025-04-01.

use std::collections::BTreeMap;

use goldfleet_model::ids::Region;
use goldfleet_model::resource::ResourceId;
use goldfleet_snapshots::tags;
use serde_json::{Map, Value, json};

use crate::request::CloneRequest;
use crate::source::{Source, SourceDisk};

/// The performance tier of temporary snapshots: the cheapest.
const SNAPSHOT_SKU: &str = "Standard_LRS";

/// Properties of a disk that a copy would lose otherwise, and that both snapshots and disks have.
const MACHINE_PROPERTIES: [&str; 3] = ["purchasePlan", "supportedCapabilities", "supportsHibernation"];

/// Properties of a disk that belong to its performance tier.
const TIER_PROPERTIES: [&str; 4] = ["tier", "diskIOPSReadWrite", "diskMBpsReadWrite", "burstingEnabled"];

/// Properties of a machine that belong to the machine and not to its place.
const KEPT: [&str; 5] =
    ["additionalCapabilities", "priority", "evictionPolicy", "billingProfile", "extensionsTimeBudget"];

/// The version of the API by which a machine creates its network interface. Source: ComputeRP 2025-04-01, the only
/// value of `NetworkApiVersion` besides 2020-11-01.
const NETWORK_API: &str = "2022-11-01";

/// How a snapshot gets its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a disk in the same region.
    Copy,
    /// From a snapshot in another region.
    CopyStart,
    /// From a disk or snapshot in the same region, with all its content: an image is not created from an incremental
    /// snapshot, because it is not documented that Azure accepts that.
    Full,
}

/// The body of a temporary snapshot of a disk, or of a copy of it in another region. Nobody can export its content.
#[must_use]
pub fn snapshot(
    disk: &SourceDisk,
    copied: &str,
    way: Way,
    region: &Region,
    encryption_set: Option<&str>,
    tags: &BTreeMap<String, String>,
) -> Value {
    let option = if way == Way::CopyStart { "CopyStart" } else { "Copy" };
    let mut properties = Map::new();
    properties.insert("creationData".to_owned(), json!({ "createOption": option, "sourceResourceId": copied }));
    properties.insert("incremental".to_owned(), json!(way != Way::Full));
    properties.insert("networkAccessPolicy".to_owned(), json!("DenyAll"));
    properties.insert("publicNetworkAccess".to_owned(), json!("Disabled"));
    properties.extend(system_of(disk));
    // A copy loses the security type unless the request repeats it.
    let security = disk.other("securityProfile").and_then(|profile| profile.get("securityType"));
    properties.extend(security.map(|kind| ("securityProfile".to_owned(), json!({ "securityType": kind }))));
    properties.extend(encryption(disk, encryption_set));
    json!({ "location": region, "tags": tags, "sku": { "name": SNAPSHOT_SKU }, "properties": properties })
}

/// The body of a collection for restore points of a machine.
#[must_use]
pub fn collection(source: &Source, tags: &BTreeMap<String, String>) -> Value {
    json!({ "location": source.body.region, "tags": tags, "properties": { "source": { "id": source.id } } })
}

/// The body of a temporary disk that is created from a restore point. The step adds the id of the disk in the restore
/// point, which is not known before. Nobody can export its content.
#[must_use]
pub fn restored(disk: &SourceDisk, tags: &BTreeMap<String, String>) -> Value {
    let mut properties = Map::new();
    properties.insert("creationData".to_owned(), json!({ "createOption": "Restore" }));
    properties.insert("networkAccessPolicy".to_owned(), json!("DenyAll"));
    properties.insert("publicNetworkAccess".to_owned(), json!("Disabled"));
    properties.extend(system_of(disk));
    properties.extend(encryption(disk, disk.encryption_set()));
    json!({ "location": disk.body.region, "tags": tags, "sku": { "name": SNAPSHOT_SKU }, "properties": properties })
}

/// The body of a disk of the clone. `snapshot` is the id of the snapshot that it copies. None for a disk in a restore
/// point, whose id the step adds. A disk that is created by a copy takes over the security type, and rejects it in the
/// request.
#[must_use]
pub fn disk(
    request: &CloneRequest,
    disk: &SourceDisk,
    snapshot: Option<&ResourceId>,
    zone: Option<&str>,
    own_tags: &BTreeMap<String, String>,
) -> Value {
    let mut properties = Map::new();
    let data = match snapshot {
        Some(snapshot) => json!({ "createOption": "Copy", "sourceResourceId": snapshot }),
        None => json!({ "createOption": "Restore" }),
    };
    properties.insert("creationData".to_owned(), data);
    let size = disk.properties().and_then(|disk| disk.disk_size_gb);
    properties.extend(size.map(|gib| ("diskSizeGB".to_owned(), json!(gib))));
    properties.extend(system_of(disk));
    let is_same_sku = request.disk_sku.as_deref().is_none_or(|sku| disk.sku() == Some(sku));
    let tier = TIER_PROPERTIES.iter().filter(|_| is_same_sku).filter_map(|name| Some((*name, disk.other(name)?)));
    properties.extend(tier.map(|(name, value)| (name.to_owned(), value.clone())));
    properties.extend(encryption(disk, request.disk_encryption_set.as_deref().or(disk.encryption_set())));
    properties.extend(export(disk));
    let mut tags = carried_tags(&disk.body.tags);
    tags.extend(own_tags.clone());
    let mut body = json!({ "location": request.to.region, "tags": tags, "properties": properties });
    let sku = request.disk_sku.as_deref().or(disk.sku());
    if let Some(sku) = sku {
        body["sku"] = json!({ "name": sku });
    }
    // Zone-redundant disks have no zone.
    if let Some(zone) = zone.filter(|_| !sku.is_some_and(|sku| sku.ends_with("_ZRS"))) {
        body["zones"] = json!([zone]);
    }
    body
}

/// The body of the clone. `disks` are the ids of its disks in the order of the source.
#[must_use]
pub fn machine(
    request: &CloneRequest,
    source: &Source,
    disks: &[ResourceId],
    zone: Option<&str>,
    own_tags: &BTreeMap<String, String>,
) -> Value {
    let mut properties = Map::new();
    let mut set = |name: &str, value: Value| drop(properties.insert(name.to_owned(), value));
    if let Some(machine) = source.machine() {
        let mut hardware = json!(machine.hardware_profile.clone().unwrap_or_default());
        if let Some(size) = &request.size {
            // The settings of the old size may not be valid for another one.
            hardware = json!({ "vmSize": size });
        }
        set("hardwareProfile", hardware);
        if let Some(security) = &machine.security_profile {
            let mut security = json!(security);
            if let Some(members) = security.as_object_mut() {
                // It names an identity, and identities are not copied.
                members.remove("encryptionIdentity");
            }
            set("securityProfile", security);
        }
        if let Some(licence) = &machine.license_type {
            set("licenseType", json!(licence));
        }
        for name in KEPT {
            if let Some(value) = machine.other.get(name) {
                set(name, value.clone());
            }
        }
    }
    set("storageProfile", storage(source, disks));
    if let Some(subnet) = &request.subnet {
        set("networkProfile", network(request.clone_name(), subnet));
    }
    if let Some(id) = &request.availability_set {
        set("availabilitySet", json!({ "id": id }));
    }
    let mut tags = carried_tags(&source.body.tags);
    tags.extend(own_tags.clone());
    let mut body = json!({ "location": request.to.region, "tags": tags, "properties": properties });
    if let Some(zone) = zone {
        body["zones"] = json!([zone]);
    }
    if let Some(plan) = plan_of(source) {
        body["plan"] = plan;
    }
    body
}

/// The body of a managed image. `snapshots` are the ids of the snapshots of its disks in the order of the source.
#[must_use]
pub fn image(
    request: &CloneRequest,
    source: &Source,
    snapshots: &[ResourceId],
    own_tags: &BTreeMap<String, String>,
) -> Value {
    let disk = |disk: &SourceDisk, snapshot: &ResourceId| {
        let mut body = json!({ "snapshot": { "id": snapshot } });
        let set = request.disk_encryption_set.as_deref().or(disk.encryption_set());
        let members = [
            ("lun", json!(disk.attachment.lun)),
            ("caching", json!(disk.attachment.caching)),
            ("storageAccountType", json!(request.disk_sku.as_deref().or(disk.sku()))),
            ("diskEncryptionSet", set.map_or(Value::Null, |id| json!({ "id": id }))),
        ];
        for (name, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
            body[name] = value;
        }
        body
    };
    let mut profile = json!({ "dataDisks": [] });
    for (source_disk, snapshot) in source.disks.iter().zip(snapshots) {
        let mut body = disk(source_disk, snapshot);
        if source_disk.attachment.lun.is_some() {
            profile["dataDisks"].as_array_mut().into_iter().for_each(|all| all.push(body.clone()));
            continue;
        }
        body["osType"] = os_type(source_disk);
        body["osState"] = json!("Generalized");
        profile["osDisk"] = body;
    }
    let generation = source.os_disk().map_or(Value::Null, |disk| json!(disk.properties())["hyperVGeneration"].clone());
    let mut properties = json!({ "storageProfile": profile });
    if !generation.is_null() {
        properties["hyperVGeneration"] = generation;
    }
    let mut tags = carried_tags(&source.body.tags);
    tags.extend(own_tags.clone());
    json!({ "location": request.to.region, "tags": tags, "properties": properties })
}

/// The operating system on an OS disk, by the machine or by the disk.
fn os_type(disk: &SourceDisk) -> Value {
    let os = json!(disk.attachment)["osType"].clone();
    if os.is_null() { json!(disk.properties())["osType"].clone() } else { os }
}

/// The tags that a copy gets from its source.
#[must_use]
pub fn carried_tags(tags: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    tags.iter().filter(|(name, _)| !tags::is_reserved(name)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The purchase plan of a machine: its own, or that of its OS disk.
#[must_use]
pub fn plan_of(source: &Source) -> Option<Value> {
    let of_machine = source.body.other.get("plan").filter(|plan| plan.is_object());
    of_machine.or_else(|| source.os_disk()?.other("purchasePlan")).cloned()
}

fn storage(source: &Source, disks: &[ResourceId]) -> Value {
    let attached = |disk: &SourceDisk, id: &ResourceId| {
        let from = &disk.attachment;
        let mut to = json!({ "createOption": "Attach", "managedDisk": { "id": id } });
        let members = [
            ("lun", json!(from.lun)),
            ("caching", json!(from.caching)),
            ("writeAcceleratorEnabled", json!(from.write_accelerator_enabled)),
            ("deleteOption", json!(from.delete_option)),
        ];
        for (name, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
            to[name] = value;
        }
        to
    };
    let mut profile = json!({ "dataDisks": [] });
    for (disk, id) in source.disks.iter().zip(disks) {
        let mut attached = attached(disk, id);
        if disk.attachment.lun.is_some() {
            profile["dataDisks"].as_array_mut().into_iter().for_each(|all| all.push(attached.clone()));
            continue;
        }
        attached["osType"] = os_type(disk);
        profile["osDisk"] = attached;
    }
    profile
}

/// The platform creates the network interface together with the machine, and deletes it with the machine.
fn network(name: &str, subnet: &str) -> Value {
    let address = json!({ "name": "primary", "properties": { "primary": true, "subnet": { "id": subnet } } });
    let interface = json!({
        "name": format!("{name}-nic"),
        "properties": { "primary": true, "deleteOption": "Delete", "ipConfigurations": [address] },
    });
    json!({ "networkApiVersion": NETWORK_API, "networkInterfaceConfigurations": [interface] })
}

/// What the disk says about the operating system on it.
fn system_of(disk: &SourceDisk) -> Map<String, Value> {
    let properties = json!(disk.properties());
    let names = ["osType", "hyperVGeneration"].into_iter().chain(MACHINE_PROPERTIES);
    names.filter_map(|name| Some((name.to_owned(), properties.get(name).filter(|v| !v.is_null())?.clone()))).collect()
}

fn encryption(disk: &SourceDisk, set: Option<&str>) -> Option<(String, Value)> {
    let own = disk.properties().and_then(|disk| disk.encryption.as_ref());
    let kind = own.and_then(|encryption| encryption.other.get("type")).and_then(Value::as_str);
    let kind = kind.filter(|kind| kind.contains("CustomerKey")).unwrap_or("EncryptionAtRestWithCustomerKey");
    set.map(|id| ("encryption".to_owned(), json!({ "type": kind, "diskEncryptionSetId": id })))
}

/// The export policy of a disk of the clone. It is never looser than that of the source. A disk access resource serves
/// only its own region, so a clone denies all access if its source permits private endpoints only.
fn export(disk: &SourceDisk) -> Map<String, Value> {
    let mut policy = Map::new();
    if let Some(access) = disk.other("networkAccessPolicy") {
        let access = if access == "AllowAll" { "AllowAll" } else { "DenyAll" };
        policy.insert("networkAccessPolicy".to_owned(), json!(access));
    }
    for name in ["publicNetworkAccess", "dataAccessAuthMode"] {
        policy.extend(disk.other(name).map(|value| (name.to_owned(), value.clone())));
    }
    policy
}
