//! The rules of the platform for restore points of virtual machines. Source: Microsoft.Compute, ComputeRP 2025-04-01,
//! `RestorePointCollections_*` and `RestorePoints_*`.

use goldfleet_model::resource::{
    CreateOption, CreationData, Properties, ResourceBody, ResourceId, ResourceType, SnapshotProperties,
};
use serde_json::{Value, json};

use super::{NewIdentity, not_found, refused};
use crate::error::{ErrorKind, PortResult};
use crate::resources::{Provisioning, PutRequest, Resource};

/// The machine of a collection.
///
/// # Errors
/// `Invalid` if it names none.
pub fn machine_of(id: &ResourceId, body: &ResourceBody) -> PortResult<ResourceId> {
    let source = match &body.properties {
        Properties::RestorePointCollection(collection) => collection.source.as_ref(),
        _ => None,
    };
    let machine = source.and_then(|source| source.id.parse::<ResourceId>().ok());
    machine
        .filter(|machine| machine.resource_type == ResourceType::Machine)
        .ok_or_else(|| refused(ErrorKind::Invalid, "linked-invalid-property-id", format!("{id}: it names no machine")))
}

/// Checks a request for a collection. `machine` is the resource of [`machine_of`].
///
/// # Errors
/// If the platform would refuse the request.
pub fn check_collection(request: &PutRequest, machine: Option<&Resource>) -> PortResult<()> {
    let id = machine_of(&request.id, &request.body)?;
    let machine = machine.ok_or_else(|| not_found(&id))?;
    if machine.body.region == request.body.region && id.subscription == request.id.subscription {
        return Ok(());
    }
    let message = format!("{}: its machine {id} is in another region or subscription", request.id);
    Err(refused(ErrorKind::Invalid, "invalid-parameter", message))
}

/// A disk in a new restore point, and the disk of the machine whose content it has.
#[derive(Debug, Clone)]
pub struct PointDisk {
    /// The disk in the restore point.
    pub resource: Resource,
    /// The disk of the machine.
    pub copied: ResourceId,
}

/// A new restore point and the disks in it. `collection` and `machine` are the resources of its parent and of the
/// machine of that, and `disk_of` reads a disk of the machine.
///
/// # Errors
/// If the platform would refuse the request.
pub fn new_point(
    request: &PutRequest,
    collection: Option<&Resource>,
    machine: Option<&Resource>,
    identity: &NewIdentity,
    mut disk_of: impl FnMut(&ResourceId) -> PortResult<Option<Resource>>,
) -> PortResult<(Resource, Vec<PointDisk>)> {
    let id = &request.id;
    let Some(collection) = collection else {
        let message = format!("{id}: there is no collection of that name");
        return Err(refused(ErrorKind::NotFound, "parent-resource-not-found", message));
    };
    let machine = machine
        .ok_or_else(|| not_found(&machine_of(&collection.id, &collection.body).unwrap_or_else(|_| id.clone())))?;
    let properties = machine.body.properties.machine();
    let properties = properties.ok_or_else(|| not_found(&machine.id))?;
    let (mut os, mut data, mut made) = (Value::Null, Vec::new(), Vec::new());
    for attached in properties.disks() {
        let Some(Ok(disk_id)) = attached.disk_id().map(str::parse::<ResourceId>) else { continue };
        let disk = disk_of(&disk_id)?.ok_or_else(|| not_found(&disk_id))?;
        let lun = attached.lun.map_or_else(|| "os".to_owned(), |lun| lun.to_string());
        let point = point_disk(request, collection, &disk, &lun, identity);
        let shown =
            json!({ "name": disk_id.name, "managedDisk": { "id": disk_id }, "diskRestorePoint": { "id": point.id } });
        match attached.lun {
            None => os = shown,
            Some(lun) => {
                let mut shown = shown;
                shown["lun"] = json!(lun);
                data.push(shown);
            }
        }
        made.push(PointDisk { resource: point, copied: disk_id });
    }
    let mut body = request.body.clone();
    body.region = collection.body.region.clone();
    if let Properties::RestorePoint(point) = &mut body.properties {
        let storage = json!({ "osDisk": os, "dataDisks": data });
        point.source_metadata =
            Some(json!({ "vmId": properties.vm_id, "location": machine.body.region, "storageProfile": storage }));
        point.other.insert("timeCreated".to_owned(), identity.created.to_string().into());
    }
    Ok((Resource { id: id.clone(), provisioning: Provisioning::Succeeded, body }, made))
}

fn point_disk(
    request: &PutRequest,
    collection: &Resource,
    disk: &Resource,
    lun: &str,
    identity: &NewIdentity,
) -> Resource {
    let data = CreationData { create_option: CreateOption::Copy, ..CreationData::copy(&disk.id) };
    let mut snapshot = SnapshotProperties::new(data, true);
    snapshot.completion_percent = Some(100.0);
    if let Some(of_disk) = disk.body.properties.disk() {
        snapshot.disk.os_type = of_disk.os_type;
        snapshot.disk.hyper_v_generation = of_disk.hyper_v_generation;
        snapshot.disk.disk_size_bytes = of_disk.disk_size_bytes;
        snapshot.disk.creation_data.source_unique_id.clone_from(&of_disk.unique_id);
    }
    snapshot.disk.unique_id = Some(format!("{}-{lun}", identity.unique_id));
    snapshot.disk.time_created = Some(identity.created.to_string());
    #[expect(clippy::expect_used, reason = "letters, digits and an underscore")]
    let name = format!("disk_{lun}").parse().expect("the name of a disk");
    let body = ResourceBody::new(collection.body.region.clone(), Properties::DiskRestorePoint(snapshot));
    let id = request.id.child(ResourceType::DiskRestorePoint, &name);
    Resource { id, provisioning: Provisioning::Succeeded, body }
}
