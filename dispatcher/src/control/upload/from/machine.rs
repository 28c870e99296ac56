//! The source `vm:`: temporary snapshots of all disks of a machine that does not run.

use std::sync::Arc;

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::origin::Origin;
use goldfleet_model::resource::{MachineDisk, MachineProperties, ResourceId};
use goldfleet_ports::resources::Resource;
use goldfleet_sources::cloud_disk::DiskFacts;
use goldfleet_sources::{Machine, Refusal, codes};

use super::temporary::{self, Temporary};
use super::{Session, find};
use crate::control::upload::{UploadError, UploadRequest};

/// A disk of the machine.
struct AttachedDisk {
    /// The LUN. None for the OS disk.
    lun: Option<u8>,
    found: Resource,
    facts: DiskFacts,
}

impl Session<'_> {
    pub(super) async fn open_machine(&mut self, id: &ResourceId) -> Result<UploadRequest, UploadError> {
        let location = self.request.from.to_string();
        let (vm_id, attached) = self.stopped_machine(id, &location).await?;
        let mut disks = Vec::with_capacity(attached.len());
        for attachment in attached {
            disks.push(self.attached_disk(&location, &attachment).await?);
        }
        let Some(os_disk) = disks.iter().find(|disk| disk.lun.is_none()) else {
            return Err(Refusal::new(&codes::UNMANAGED, &location, "it has no OS disk").into());
        };
        let (os, generation) = os_disk.facts.system(self.request.os, self.request.check.disk.generation)?;
        let mut origin = Origin { source: location.clone(), unique_id: Some(vm_id.clone()), ..Origin::default() };
        for disk in &disks {
            temporary::remove_abandoned(self.control, &disk.found).await;
            let temporary = Temporary::of(self.control, &disk.found, &self.id).await?;
            origin.add_temporary(temporary.id.clone());
            self.temporaries.push(temporary);
        }
        // A killed upload names all of them, whichever exist.
        self.record(&origin).await?;
        tracing::info!(source = %location, disks = disks.len(), "temporary snapshots of the disks are read");
        let mut snapshots = Vec::with_capacity(disks.len());
        for (temporary, disk) in self.temporaries.iter().zip(&disks) {
            let location = &disk.facts.location;
            snapshots.push(temporary.create(self.control, location, &disk.found, self.stop).await?);
        }
        // Only then are all snapshots from one moment.
        if self.stopped_machine(id, &location).await?.0 != vm_id {
            return Err(UploadError::Changed(location.into()));
        }
        let (mut os_disk, mut data_disks) = (None, Vec::new());
        for (disk, facts) in disks.iter().zip(snapshots) {
            let content = self.content(facts, origin.clone()).await?;
            match disk.lun {
                None => os_disk = Some(content),
                Some(lun) => data_disks.push((lun, content)),
            }
        }
        let Some(os_disk) = os_disk else { return Err(UploadError::Changed(location.into())) };
        let mut upload = self.upload_request(Arc::new(Machine::new(os_disk, data_disks)), os);
        upload.check.disk.generation = generation;
        Ok(upload)
    }

    /// The id that no other machine ever has, and the disks of the machine, if it does not run.
    async fn stopped_machine(
        &self,
        id: &ResourceId,
        location: &str,
    ) -> Result<(String, Vec<MachineDisk>), UploadError> {
        let refuse = |code, reason: &str| Err(Refusal::new(code, location, reason).into());
        let Some(found) = find(self.control, id).await? else {
            return refuse(&codes::SOURCE_NOT_FOUND, "there is no machine");
        };
        let Some(machine) = found.body.properties.machine() else {
            return refuse(&codes::NAME_INVALID, "it is not a machine");
        };
        if !machine.power_state().is_stopped() {
            return refuse(&codes::MACHINE_RUNNING, "it runs, so its disks would be read at different moments");
        }
        let Some(vm_id) = machine.vm_id.as_deref() else {
            return refuse(&codes::SOURCE_NOT_FOUND, "the service reports no vmId");
        };
        Ok((vm_id.to_ascii_lowercase(), MachineProperties::disks(machine).cloned().collect()))
    }

    async fn attached_disk(&self, location: &str, attachment: &MachineDisk) -> Result<AttachedDisk, UploadError> {
        let name = attachment.lun.map_or_else(|| "the OS disk".to_owned(), |lun| format!("the disk with LUN {lun}"));
        let location = format!("{location}, {name}");
        let Some(Ok(id)) = attachment.disk_id().map(str::parse::<ResourceId>) else {
            return Err(Refusal::new(&codes::UNMANAGED, location, "the disk is no managed disk").into());
        };
        let lun = match attachment.lun.map(u8::try_from) {
            None => None,
            Some(Ok(lun)) if lun <= DiskRole::MAX_LUN => Some(lun),
            Some(_) => {
                let reason = format!("a version has LUNs from 0 to {}", DiskRole::MAX_LUN);
                return Err(Refusal::new(&codes::UNMANAGED, location, reason).into());
            }
        };
        let missing = || Refusal::new(&codes::SOURCE_NOT_FOUND, &location, format!("there is no disk {id}"));
        let found = find(self.control, &id).await?.ok_or_else(missing)?;
        let facts = DiskFacts::of(&location, &found)?;
        Ok(AttachedDisk { lun, found, facts })
    }
}
