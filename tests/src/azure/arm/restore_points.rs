//! Restore points of virtual machines. Source: specification, ComputeRP 2025-04-01, `RestorePointCollections_*` and
//! `RestorePoints_*`. Codes are guesses.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::disks::{self, Disk};
use super::galleries::{self, GalleryItem};
use super::machines;
use super::pipeline::Call;
use super::resources::normalized_region;
use super::response::ArmAnswer;
use super::state::TenantState;

fn not_found(id: &str) -> ArmAnswer {
    let message = format!("Resource {} is not found.", id.rsplit('/').next().unwrap_or_default());
    ArmAnswer::error(StatusCode::NOT_FOUND, "NotFound", message)
}

/// Checks the machine of a collection.
pub(super) fn collection(world: &TenantState, item: GalleryItem) -> Result<GalleryItem, ArmAnswer> {
    let id = item.properties["source"]["id"].as_str().ok_or_else(|| ArmAnswer::missing("properties.source.id"))?;
    let machine = machines::find(world, &id.to_ascii_lowercase()).ok_or_else(|| not_found(id))?;
    let subscription = item.id.split('/').nth(2).unwrap_or_default();
    let is_here = normalized_region(&machine.region) == item.region;
    if is_here && machine.subscription.eq_ignore_ascii_case(subscription) {
        return Ok(item);
    }
    let message = "The source of the restore point collection is in another region or subscription.";
    Err(ArmAnswer::bad_request("InvalidParameter", message).target("properties.source.id"))
}

/// Sets what a new restore point has of its machine. Source: specification, `RestorePointSourceMetadata`.
pub(super) fn point(
    world: &TenantState,
    call: &Call,
    mut item: GalleryItem,
    present: Option<&GalleryItem>,
) -> Result<GalleryItem, ArmAnswer> {
    if let Some(present) = present {
        return Ok(present.clone());
    }
    let key = disks::key(call);
    let collection = key.rsplit_once("/restorepoints/").and_then(|(collection, _)| galleries::find(world, collection));
    let machine = collection.and_then(|collection| collection.properties["source"]["id"].as_str());
    let machine = machine.and_then(|id| machines::find(world, &id.to_ascii_lowercase()));
    let machine = machine.ok_or_else(|| not_found(&key))?;
    let profile = &machine.properties["storageProfile"];
    let shown = |disk: &Value, lun: &str| {
        let mut shown = json!({
            "name": disk["name"], "osType": disk["osType"], "caching": disk["caching"],
            "managedDisk": { "id": disk["managedDisk"]["id"] },
            "diskRestorePoint": { "id": format!("{}/diskRestorePoints/disk_{lun}", item.id) },
        });
        if !disk["lun"].is_null() {
            shown["lun"] = disk["lun"].clone();
        }
        shown
    };
    let data = profile["dataDisks"].as_array().into_iter().flatten();
    let data: Vec<Value> = data.map(|disk| shown(disk, &disk["lun"].to_string())).collect();
    let storage = json!({ "osDisk": shown(&profile["osDisk"], "os"), "dataDisks": data });
    item.properties["sourceMetadata"] =
        json!({ "vmId": machine.properties["vmId"], "location": machine.region, "storageProfile": storage });
    item.properties["timeCreated"] = json!(call.now.to_string());
    Ok(item)
}

fn disks_of(properties: &Value) -> Vec<(String, String)> {
    let storage = &properties["sourceMetadata"]["storageProfile"];
    let data = storage["dataDisks"].as_array().into_iter().flatten();
    let text = |disk: &Value, pointer: &str| disk.pointer(pointer).and_then(Value::as_str).map(str::to_ascii_lowercase);
    let all = std::iter::once(&storage["osDisk"]).chain(data);
    all.filter_map(|disk| Some((text(disk, "/diskRestorePoint/id")?, text(disk, "/managedDisk/id")?))).collect()
}

/// Keeps the contents of a new restore point.
pub(super) fn keep(world: &mut TenantState, properties: &Value) {
    for (point, disk) in disks_of(properties) {
        if let Some(found) = disks::find(world, &disk) {
            let content = world.content_of(found);
            world.disk_data.kept.insert((point, None), content);
        }
    }
}

/// Sets what a new disk has from the disk in a restore point that it is created from. Returns its size.
pub(super) fn restore(world: &TenantState, disk: &mut Disk) -> Result<usize, ArmAnswer> {
    let id = disk.properties["creationData"]["sourceResourceId"].as_str().unwrap_or_default().to_ascii_lowercase();
    let point = id.rsplit_once("/diskrestorepoints/").and_then(|(point, _)| galleries::find(world, point));
    let point = point.filter(|point| point.region == disk.region).ok_or_else(|| not_found(&id))?;
    let copied = disks_of(&point.properties).into_iter().find(|(own, _)| *own == id).ok_or_else(|| not_found(&id))?;
    let content = world.disk_data.kept.get(&(id, None)).ok_or_else(|| not_found(&copied.0))?;
    disk.properties["diskSizeGB"] = json!(content.len().div_ceil(1 << 30));
    Ok(content.len())
}
