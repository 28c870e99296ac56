//! A machine as a source: it must not run, and all its disks must be managed disks.

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::resource::{MachineDisk, MachineProperties, ResourceId};
use goldfleet_ports::resources::Resource;
use goldfleet_sources::cloud_disk::DiskFacts;
use goldfleet_sources::{Refusal, SourceError, codes};

use crate::control::context::ControlContext;
use crate::control::versions::find;

/// A machine that does not run.
#[derive(Debug, Clone)]
pub(crate) struct StoppedMachine {
    /// The id that no other machine ever has, in lower case.
    pub(crate) vm_id: String,
    /// How the machine uses its disks: the OS disk, and the data disks.
    pub(crate) disks: Vec<MachineDisk>,
}

/// A disk of a machine.
#[derive(Debug, Clone)]
pub(crate) struct AttachedDisk {
    /// Its role.
    pub(crate) role: DiskRole,
    /// The machine and the disk for messages.
    pub(crate) location: String,
    /// The managed disk.
    pub(crate) found: Resource,
}

impl StoppedMachine {
    /// Reads a machine.
    ///
    /// # Errors
    /// [`SourceError::Refused`] if it does not exist or runs.
    pub(crate) async fn read(control: &ControlContext, id: &ResourceId, location: &str) -> Result<Self, SourceError> {
        let refuse = |code, reason: &str| Err(Refusal::new(code, location, reason).into());
        let Some(found) = find(&control.ports, id).await? else {
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
        let disks = MachineProperties::disks(machine).cloned().collect();
        Ok(Self { vm_id: vm_id.to_ascii_lowercase(), disks })
    }

    /// Reads the disks: the OS disk first, then the data disks in the order of their LUNs. `check` is called with each.
    ///
    /// # Errors
    /// [`SourceError::Refused`] if one is no managed disk or is refused, or if there is no OS disk.
    pub(crate) async fn read_disks<T>(
        &self,
        control: &ControlContext,
        location: &str,
        check: impl Fn(&str, &Resource) -> Result<T, Refusal>,
    ) -> Result<Vec<(AttachedDisk, T)>, SourceError> {
        let mut disks = Vec::with_capacity(self.disks.len());
        for attachment in &self.disks {
            let disk = attached_disk(control, location, attachment).await?;
            let checked = check(&disk.location, &disk.found)?;
            disks.push((disk, checked));
        }
        disks.sort_by_key(|(disk, _)| disk.role);
        match disks.first() {
            Some((first, _)) if first.role == DiskRole::Os => Ok(disks),
            _ => Err(Refusal::new(&codes::UNMANAGED, location, "it has no OS disk").into()),
        }
    }
}

/// The facts about a disk that can be read.
pub(crate) fn readable(location: &str, found: &Resource) -> Result<DiskFacts, Refusal> {
    DiskFacts::of(location, found)
}

async fn attached_disk(
    control: &ControlContext,
    location: &str,
    attachment: &MachineDisk,
) -> Result<AttachedDisk, SourceError> {
    let name = attachment.lun.map_or_else(|| "the OS disk".to_owned(), |lun| format!("the disk with LUN {lun}"));
    let location = format!("{location}, {name}");
    let Some(Ok(id)) = attachment.disk_id().map(str::parse::<ResourceId>) else {
        return Err(Refusal::new(&codes::UNMANAGED, location, "the disk is no managed disk").into());
    };
    let role = match attachment.lun.map(u8::try_from) {
        None => DiskRole::Os,
        Some(Ok(lun)) if lun <= DiskRole::MAX_LUN => DiskRole::Data(lun),
        Some(_) => {
            let reason = format!("a version has LUNs from 0 to {}", DiskRole::MAX_LUN);
            return Err(Refusal::new(&codes::UNMANAGED, location, reason).into());
        }
    };
    let missing = || Refusal::new(&codes::SOURCE_NOT_FOUND, &location, format!("there is no disk {id}"));
    let found = find(&control.ports, &id).await?.ok_or_else(missing)?;
    Ok(AttachedDisk { role, location, found })
}
