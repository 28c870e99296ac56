//! Restore points of the model. They are complete at once.

use goldfleet_model::resource::{Properties, ResourceId, ResourceType};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::NewIdentity;
use goldfleet_ports::resources::emulation::restore_points::{check_collection, machine_of, new_point};
use goldfleet_ports::resources::{Provisioning, PutRequest, Resource};
use jiff::Timestamp;

use super::{ModelledResource, Sizes};
use crate::state::CloudState;

impl CloudState {
    fn resource(&self, id: &ResourceId) -> Option<Resource> {
        self.arm.resources.get(id).map(|found| found.resource.clone())
    }

    /// The collection or restore point of a request that passes the checks of the platform. The disks of a new point
    /// are stored.
    pub(super) fn restore_point(
        &mut self,
        request: &PutRequest,
        existing: Option<Resource>,
        created: Timestamp,
    ) -> PortResult<Resource> {
        if matches!(request.body.properties, Properties::RestorePointCollection(_)) {
            let machine = self.resource(&machine_of(&request.id, &request.body)?);
            check_collection(request, machine.as_ref())?;
            let body = request.body.clone();
            return Ok(Resource { id: request.id.clone(), provisioning: Provisioning::Succeeded, body });
        }
        if let Some(existing) = existing {
            return Ok(existing);
        }
        let collection = request.id.parent().and_then(|parent| self.resource(&parent));
        let machine = collection.as_ref().map(|collection| machine_of(&collection.id, &collection.body)).transpose()?;
        let machine = machine.and_then(|machine| self.resource(&machine));
        let identity = NewIdentity { unique_id: self.arm.next_unique_id(), created };
        let read = |id: &ResourceId| Ok(self.resource(id));
        let (point, disks) = new_point(request, collection.as_ref(), machine.as_ref(), &identity, read)?;
        for disk in disks {
            let written = self.arm.resources.get(&disk.copied).map_or(0, |found| found.written);
            let data = disk.resource.body.properties.disk();
            if let Some((source, copy)) =
                data.and_then(|of| of.creation_data.source_unique_id.as_ref().zip(of.unique_id.as_ref()))
            {
                self.arm.contents.copy(source, copy);
            }
            let stored = ModelledResource {
                resource: disk.resource,
                ready: 0,
                arrives: None,
                written,
                replicas: None,
                sizes: Sizes::new(),
                order: None,
            };
            self.arm.resources.insert(stored.resource.id.clone(), stored);
        }
        Ok(point)
    }

    /// What a resource that is deleted contains, if it is deleted with it.
    pub(super) fn contained(&self, id: &ResourceId) -> Vec<ResourceId> {
        let contains = matches!(id.resource_type, ResourceType::RestorePointCollection | ResourceType::RestorePoint);
        let is_in = |other: &&ResourceId| {
            let parent = other.parent();
            parent.as_ref() == Some(id) || parent.and_then(|parent| parent.parent()).as_ref() == Some(id)
        };
        self.arm.resources.keys().filter(|_| contains).filter(is_in).cloned().collect()
    }
}
