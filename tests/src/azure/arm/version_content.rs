//! The contents of managed images and gallery versions, which they keep when what they were created from is deleted,
//! and the disks that are created from versions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::disks::{self, Disk};
use super::galleries;
use super::response::ArmAnswer;
use super::state::TenantState;

/// The size of a disk of a version whose content is not known: one of a VHD.
const UNKNOWN_SIZE: usize = 20 << 20;

/// Keeps the contents of a new image or version. `key` is its id in lower case.
pub(super) fn keep(world: &mut TenantState, key: &str, properties: &Value) {
    let storage = &properties["storageProfile"];
    let text = |disk: &Value, pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| disk.pointer(pointer)?.as_str());
        found.map(str::to_ascii_lowercase)
    };
    let of_image = ["/snapshot/id", "/managedDisk/id", "/source/id"];
    let os = text(&storage["osDisk"], &of_image).or_else(|| text(&storage["osDiskImage"], &of_image));
    let data =
        ["dataDisks", "dataDiskImages"].into_iter().flat_map(|name| storage[name].as_array().into_iter().flatten());
    let data = data.filter_map(|disk| Some((disk["lun"].as_i64(), text(disk, &of_image)?)));
    let disks: Vec<_> = os.map(|id| (None, id)).into_iter().chain(data).collect();
    for (lun, id) in disks {
        if let Some(found) = disks::find(world, &id) {
            let content = world.content_of(found);
            world.disk_data.kept.insert((key.to_owned(), lun), content);
        }
    }
    // A version of an image has all its disks.
    let Some(image) = text(storage, &["/source/id"]) else { return };
    let of_image = world.disk_data.kept.iter().filter(|((of, _), _)| *of == image);
    let copied: Vec<_> = of_image.map(|((_, lun), content)| ((key.to_owned(), *lun), Arc::clone(content))).collect();
    world.disk_data.kept.extend(copied);
}

/// The key of the version that a disk is created from. Source: specification, DiskRP 2025-01-02, `ImageDiskReference`.
pub(super) fn version_of(world: &TenantState, reference: &Value) -> Result<String, ArmAnswer> {
    if let Some(id) = reference["id"].as_str() {
        return Ok(id.to_ascii_lowercase());
    }
    let shared = reference["sharedGalleryImageId"].as_str().or(reference["communityGalleryImageId"].as_str());
    let shared = shared.ok_or_else(|| ArmAnswer::missing("creationData.galleryImageReference.id"))?;
    let lower = shared.to_ascii_lowercase();
    let own = world
        .shared_galleries
        .iter()
        .find_map(|(shared, gallery)| Some(format!("{gallery}{}", lower.strip_prefix(shared.as_str())?)));
    // A gallery that is not shared is not visible.
    Ok(own.unwrap_or(lower))
}

/// Sets what a new disk has from the version that it is created from. Returns its size.
pub(super) fn fill(world: &TenantState, disk: &mut Disk) -> Result<usize, ArmAnswer> {
    let reference = disk.properties["creationData"]["galleryImageReference"].clone();
    let (version, lun) = (version_of(world, &reference)?, reference["lun"].as_i64());
    let definition = version.rsplit_once("/versions/").and_then(|(definition, _)| galleries::find(world, definition));
    for name in ["osType", "hyperVGeneration"] {
        let of_definition = definition.map(|definition| definition.properties[name].clone()).unwrap_or_default();
        if lun.is_none() && disk.properties[name].is_null() && !of_definition.is_null() {
            disk.properties[name] = of_definition;
        }
    }
    let of_version = world.disk_data.kept.keys().any(|(of, _)| *of == version);
    match world.disk_data.kept.get(&(version, lun)) {
        Some(content) => Ok(content.len()),
        None if of_version || lun.is_some() => {
            let message = format!("The gallery image version has no data disk with LUN {}.", json!(lun));
            Err(ArmAnswer::bad_request("InvalidParameter", message).target("galleryImageReference.lun"))
        }
        None => Ok(UNKNOWN_SIZE),
    }
}

/// The content of a new disk of a version or restore point.
pub(super) fn content(world: &TenantState, disk: &Disk) -> Option<Arc<Vec<u8>>> {
    if disk.properties["creationData"]["createOption"] == "Restore" {
        let id = disk.properties["creationData"]["sourceResourceId"].as_str()?.to_ascii_lowercase();
        return world.disk_data.kept.get(&(id, None)).cloned();
    }
    let reference = &disk.properties["creationData"]["galleryImageReference"];
    let version = version_of(world, reference).ok()?;
    world.disk_data.kept.get(&(version, reference["lun"].as_i64())).cloned()
}
