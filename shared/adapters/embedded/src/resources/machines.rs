//! Virtual machines of the directory cloud: a JSON file each. Nothing runs. A machine holds its disks.

use std::collections::BTreeMap;

use goldfleet_file_lock::FileLock;
use goldfleet_model::resource::{PowerState, ResourceId};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::machines::{act, attach, check_machine, disks_of, new_machine};
use goldfleet_ports::resources::emulation::{NewIdentity, not_found};
use goldfleet_ports::resources::{MachineAction, PutRequest, Resource};

use super::files::ResourceFiles;

/// Creates a machine and attaches its disks. The caller holds the lock of the machine. Blocks.
///
/// The disks are attached before the machine exists. If the process is killed in between, the next creation of the
/// machine continues.
pub(super) fn create(files: &ResourceFiles, request: &PutRequest, identity: NewIdentity) -> PortResult<()> {
    let ids = disks_of(&request.id, &request.body)?;
    let _locks = lock_disks(files, &ids)?;
    let mut disks = Vec::new();
    for id in &ids {
        disks.push(files.read(id)?);
    }
    check_machine(request, &disks)?;
    for disk in disks.into_iter().flatten() {
        write_attached(files, disk, Some((&request.id, PowerState::Running)))?;
    }
    files.write(&new_machine(request, identity))
}

/// Performs an action on a machine. Blocks.
pub(super) fn perform(files: &ResourceFiles, id: &ResourceId, action: MachineAction) -> PortResult<()> {
    // Without this check, the lock would create the folder of a missing resource group.
    files.read(id)?.ok_or_else(|| not_found(id))?;
    let _lock = files.lock(id)?;
    files.check_change(id)?;
    let mut machine = files.read(id)?.ok_or_else(|| not_found(id))?;
    let state = act(&mut machine, action);
    files.write(&machine)?;
    set_disks(files, &machine, Some(state))
}

/// Detaches the disks of a machine that is deleted. The caller holds the lock of the machine. Blocks.
pub(super) fn detach(files: &ResourceFiles, machine: &Resource) -> PortResult<()> {
    set_disks(files, machine, None)
}

/// Sets the state of the disks that a machine has.
fn set_disks(files: &ResourceFiles, machine: &Resource, state: Option<PowerState>) -> PortResult<()> {
    let ids = disks_of(&machine.id, &machine.body)?;
    let _locks = lock_disks(files, &ids)?;
    for id in &ids {
        let Some(disk) = files.read(id)? else { continue };
        let is_own = disk.body.machine().is_some_and(|owner| owner.eq_ignore_ascii_case(&machine.id.to_string()));
        if is_own {
            write_attached(files, disk, state.map(|state| (&machine.id, state)))?;
        }
    }
    Ok(())
}

fn write_attached(
    files: &ResourceFiles,
    mut disk: Resource,
    machine: Option<(&ResourceId, PowerState)>,
) -> PortResult<()> {
    attach(&mut disk, machine);
    files.write(&disk)
}

/// Locks the disks of all groups, always in the same order.
fn lock_disks(files: &ResourceFiles, ids: &[ResourceId]) -> PortResult<Vec<FileLock>> {
    let group = |id: &ResourceId| (id.subscription, id.resource_group.as_str().to_ascii_lowercase());
    let groups: BTreeMap<_, &ResourceId> = ids.iter().map(|id| (group(id), id)).collect();
    groups.into_values().map(|id| files.lock(id)).collect()
}
