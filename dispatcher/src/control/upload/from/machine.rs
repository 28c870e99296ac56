//! The source `vm:`: temporary snapshots of all disks of a machine that does not run.

use std::sync::Arc;

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::origin::Origin;
use goldfleet_model::resource::ResourceId;
use goldfleet_sources::Machine;

use super::Session;
use super::temporary::{self, Temporary};
use crate::control::machine_disks::{StoppedMachine, readable};
use crate::control::upload::{UploadError, UploadRequest};

impl Session<'_> {
    pub(super) async fn open_machine(&mut self, id: &ResourceId) -> Result<UploadRequest, UploadError> {
        let location = self.request.from.to_string();
        let machine = StoppedMachine::read(self.control, id, &location).await?;
        let disks = machine.read_disks(self.control, &location, readable).await?;
        let vm_id = machine.vm_id;
        // The OS disk is the first one.
        let system = disks.first().map(|(_, facts)| facts.system(self.request.os, self.request.check.disk.generation));
        let Some((os, generation)) = system.transpose()? else {
            return Err(UploadError::Changed(location.into()));
        };
        let mut origin = Origin { source: location.clone(), unique_id: Some(vm_id.clone()), ..Origin::default() };
        for (disk, _) in &disks {
            temporary::remove_abandoned(self.control, &disk.found).await;
            let temporary = Temporary::of(&self.control.ports, &disk.found, &self.id).await?;
            origin.add_temporary(temporary.id.clone());
            self.temporaries.push(temporary);
        }
        // The row of a killed upload names all of them, because any of them may exist.
        self.record(&origin).await?;
        tracing::info!(source = %location, disks = disks.len(), "temporary snapshots of the disks are read");
        let mut snapshots = Vec::with_capacity(disks.len());
        for (temporary, (disk, _)) in self.temporaries.iter().zip(&disks) {
            snapshots.push(temporary.create(self.control, &disk.location, &disk.found, self.stop).await?);
        }
        // Only then are all snapshots from one moment.
        if StoppedMachine::read(self.control, id, &location).await?.vm_id != vm_id {
            return Err(UploadError::Changed(location.into()));
        }
        let (mut os_disk, mut data_disks) = (None, Vec::new());
        for ((disk, _), facts) in disks.iter().zip(snapshots) {
            let content = self.content(facts, origin.clone()).await?;
            match disk.role {
                DiskRole::Os => os_disk = Some(content),
                DiskRole::Data(lun) => data_disks.push((lun, content)),
            }
        }
        let Some(os_disk) = os_disk else { return Err(UploadError::Changed(location.into())) };
        let mut upload = self.upload_request(Arc::new(Machine::new(os_disk, data_disks)), os);
        upload.check.disk.generation = generation;
        Ok(upload)
    }
}
