//! Virtual machines of the model. They start and stop at once.

use goldfleet_model::resource::{PowerState, ResourceId};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::machines::{
    act, attach, check_delete, check_machine, disks_of, new_machine,
};
use goldfleet_ports::resources::emulation::{NewIdentity, not_found};
use goldfleet_ports::resources::{MachineAction, PutRequest, Resource};

use crate::state::CloudState;

impl CloudState {
    /// The machine of a request that passes the checks of the platform.
    pub(super) fn new_machine(&self, request: &PutRequest, identity: NewIdentity) -> PortResult<Resource> {
        let ids = disks_of(&request.id, &request.body)?;
        let disks: Vec<_> =
            ids.iter().map(|id| self.arm.resources.get(id).map(|found| found.resource.clone())).collect();
        check_machine(request, &disks)?;
        Ok(new_machine(request, identity))
    }

    /// Attaches the disks of a new machine. Does nothing for other resources.
    pub(super) fn attach_disks_of(&mut self, machine: &Resource) {
        if machine.body.properties.machine().is_some() {
            self.set_disks(machine, Some(PowerState::Running));
        }
    }

    /// Performs an action on a machine.
    pub(super) fn act(&mut self, id: &ResourceId, action: MachineAction) -> PortResult<()> {
        self.check_change(id)?;
        let found = self.arm.resources.get_mut(id).ok_or_else(|| not_found(id))?;
        let state = act(&mut found.resource, action);
        let machine = found.resource.clone();
        self.set_disks(&machine, Some(state));
        Ok(())
    }

    /// Checks that no machine has a disk that is deleted.
    pub(super) fn check_unused(&self, id: &ResourceId) -> PortResult<()> {
        self.arm.resources.get(id).map_or(Ok(()), |found| check_delete(&found.resource))
    }

    /// Detaches the disks of a machine that was deleted. Does nothing for other resources.
    pub(super) fn detach_disks_of(&mut self, machine: &Resource) {
        if machine.body.properties.machine().is_some() {
            self.set_disks(machine, None);
        }
    }

    fn set_disks(&mut self, machine: &Resource, state: Option<PowerState>) {
        for id in disks_of(&machine.id, &machine.body).unwrap_or_default() {
            if let Some(disk) = self.arm.resources.get_mut(&id) {
                attach(&mut disk.resource, state.map(|state| (&machine.id, state)));
            }
        }
    }
}
