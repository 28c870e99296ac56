//! The rules of the platform for virtual machines and the disks that are attached to them.

use goldfleet_model::resource::{
    DiskState, InstanceView, MachineProperties, PowerState, ResourceBody, ResourceId, ResourceType,
};

use super::{NewIdentity, not_found, refused};
use crate::error::{ErrorKind, PortResult};
use crate::resources::{MachineAction, Provisioning, PutRequest, Resource};

/// The properties of the machine of a request.
fn machine(body: &ResourceBody) -> PortResult<&MachineProperties> {
    let other = || refused(ErrorKind::Invalid, "resource-type-mismatch", "it is not a machine".to_owned());
    body.properties.machine().ok_or_else(other)
}

/// The ids of the disks that a machine has, the OS disk first.
///
/// # Errors
/// `Invalid` if one of them is not a managed disk that the machine attaches.
pub fn disks_of(id: &ResourceId, body: &ResourceBody) -> PortResult<Vec<ResourceId>> {
    let unsupported = |what: &str| {
        let message = format!("{id}: this cloud creates machines from existing managed disks only, found {what}");
        refused(ErrorKind::Invalid, "create-option-unsupported", message)
    };
    let machine = machine(body)?;
    if machine.storage_profile.as_ref().is_none_or(|profile| profile.os_disk.is_none()) {
        return Err(unsupported("no OS disk"));
    }
    let mut ids = Vec::new();
    for disk in machine.disks() {
        let disk_id = disk.disk_id().filter(|_| disk.create_option == "Attach");
        let disk_id = disk_id.and_then(|id| id.parse::<ResourceId>().ok());
        match disk_id.filter(|id| id.resource_type == ResourceType::Disk) {
            Some(disk_id) => ids.push(disk_id),
            None => return Err(unsupported(&format!("the create option {:?}", disk.create_option))),
        }
    }
    Ok(ids)
}

/// Checks that the disks of a new machine exist in its region and subscription, and that no other machine has them.
/// `disks` are the resources of [`disks_of`], in its order.
///
/// # Errors
/// If the platform would refuse the request.
pub fn check_machine(request: &PutRequest, disks: &[Option<Resource>]) -> PortResult<()> {
    let machine_id = &request.id;
    let luns: Vec<_> = machine(&request.body)?.disks().filter_map(|disk| disk.lun).collect();
    if luns.iter().enumerate().any(|(n, lun)| luns[..n].contains(lun)) || luns.len() + 1 != disks.len() {
        let message = format!("{machine_id}: each data disk needs its own LUN");
        return Err(refused(ErrorKind::Invalid, "machine-lun-invalid", message));
    }
    let has_size = machine(&request.body)?.size().is_some();
    if !has_size {
        return Err(refused(ErrorKind::Invalid, "machine-size-missing", format!("{machine_id}: it has no size")));
    }
    for (id, disk) in disks_of(machine_id, &request.body)?.iter().zip(disks) {
        let disk = disk.as_ref().ok_or_else(|| not_found(id))?;
        if disk.body.region != request.body.region || id.subscription != machine_id.subscription {
            let message = format!("{machine_id}: its disk {id} is in another region or subscription");
            return Err(refused(ErrorKind::NotFound, "disk-elsewhere", message));
        }
        check_attachable(machine_id, disk)?;
    }
    Ok(())
}

/// Checks that a disk may be attached: to one machine at most, and only if nothing else uses it.
fn check_attachable(machine_id: &ResourceId, disk: &Resource) -> PortResult<()> {
    let owner = disk.body.machine();
    if owner.is_some_and(|owner| owner.eq_ignore_ascii_case(&machine_id.to_string())) {
        return Ok(());
    }
    let is_free = disk.body.properties.disk().and_then(|disk| disk.disk_state.as_ref()) == Some(&DiskState::Unattached);
    if owner.is_none() && is_free {
        return Ok(());
    }
    let user = owner.unwrap_or("an upload or a SAS");
    let message = format!("{machine_id}: {user} uses its disk {}", disk.id);
    Err(refused(ErrorKind::Conflict, "disk-in-use", message))
}

/// The machine that a request creates. It runs at once.
#[must_use]
pub fn new_machine(request: &PutRequest, identity: NewIdentity) -> Resource {
    let mut body = request.body.clone();
    if let Some(machine) = body.properties.machine_mut() {
        machine.vm_id = Some(identity.unique_id);
        machine.other.insert("timeCreated".to_owned(), identity.created.to_string().into());
        machine.instance_view = Some(InstanceView::of(PowerState::Running));
    }
    Resource { id: request.id.clone(), provisioning: Provisioning::Succeeded, body }
}

/// Sets the machine of a disk, and whether that machine has a host. None for the machine detaches the disk.
pub fn attach(disk: &mut Resource, machine: Option<(&ResourceId, PowerState)>) {
    disk.body.set_machine(machine.map(|(id, _)| id));
    if let Some(properties) = disk.body.properties.disk_mut() {
        properties.disk_state = Some(match machine {
            None => DiskState::Unattached,
            Some((_, PowerState::Deallocated)) => DiskState::Reserved,
            Some(_) => DiskState::Attached,
        });
    }
}

/// Performs an action on a machine. Returns its new state. An action that has no effect is accepted.
pub fn act(machine: &mut Resource, action: MachineAction) -> PowerState {
    let state = match action {
        MachineAction::Deallocate => PowerState::Deallocated,
        MachineAction::Start => PowerState::Running,
    };
    if let Some(properties) = machine.body.properties.machine_mut() {
        properties.instance_view = Some(InstanceView::of(state));
    }
    state
}

/// Rejects the deletion of an attached disk.
///
/// # Errors
/// `Conflict` if a machine has it.
pub fn check_delete(resource: &Resource) -> PortResult<()> {
    match resource.body.machine() {
        Some(machine) if resource.id.resource_type == ResourceType::Disk => {
            let message = format!("{}: machine {machine} has the disk", resource.id);
            Err(refused(ErrorKind::Conflict, "disk-in-use", message))
        }
        _ => Ok(()),
    }
}
