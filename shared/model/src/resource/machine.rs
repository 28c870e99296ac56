//! The properties of virtual machines. Source: Microsoft.Compute, ComputeRP 2025-04-01, `VirtualMachineProperties`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Attachment;
use super::text::optional;
use crate::manifest::OsType;

/// The properties of a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineProperties {
    /// An id that no other machine ever has, even if it gets the same name. The platform sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<String>,
    /// The size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware_profile: Option<HardwareProfile>,
    /// The disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_profile: Option<MachineStorageProfile>,
    /// The security type and its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_profile: Option<MachineSecurityProfile>,
    /// The licence that the owner brings, such as `Windows_Server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license_type: Option<String>,
    /// The availability set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_set: Option<Attachment>,
    /// The current state that the platform reports. It is read with a single machine, and is not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_view: Option<InstanceView>,
    /// Properties that goldfleet does not use, such as the network profile.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The hardware of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HardwareProfile {
    /// The size, such as `Standard_D4s_v5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_size: Option<String>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The security settings of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSecurityProfile {
    /// `TrustedLaunch`, `ConfidentialVM` or `Standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_type: Option<String>,
    /// Properties that goldfleet does not use, such as secure boot.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The disks of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineStorageProfile {
    /// The OS disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_disk: Option<MachineDisk>,
    /// The data disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_disks: Vec<MachineDisk>,
    /// Properties that goldfleet does not use, such as the image of which the machine was created.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl MachineStorageProfile {
    /// The OS disk and the data disks.
    pub fn disks(&self) -> impl Iterator<Item = &MachineDisk> {
        self.os_disk.iter().chain(&self.data_disks)
    }
}

/// A disk in a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDisk {
    /// The number by which the operating system finds a data disk. None for the OS disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lun: Option<u32>,
    /// How the machine got the disk: `Attach`, `FromImage`, `Empty`.
    pub create_option: String,
    /// The operating system on the OS disk.
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub os_type: Option<OsType>,
    /// The host's cache: `None`, `ReadOnly`, `ReadWrite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caching: Option<String>,
    /// Whether the disk of a machine of some sizes accelerates writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_accelerator_enabled: Option<bool>,
    /// What happens to the disk when the machine is deleted: `Delete` or `Detach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_option: Option<String>,
    /// The managed disk. None for a disk that is a blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_disk: Option<ManagedDiskRef>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl MachineDisk {
    /// An existing managed disk that a machine attaches.
    #[must_use]
    pub fn attach(id: impl Into<String>, lun: Option<u32>) -> Self {
        let managed_disk = ManagedDiskRef { id: Some(id.into()), ..ManagedDiskRef::default() };
        Self { lun, create_option: "Attach".to_owned(), managed_disk: Some(managed_disk), ..Self::default() }
    }

    /// The id of the managed disk, if it is one.
    #[must_use]
    pub fn disk_id(&self) -> Option<&str> {
        self.managed_disk.as_ref()?.id.as_deref()
    }
}

/// The managed disk of a machine's disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedDiskRef {
    /// Its resource id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The current state of a machine that the platform reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceView {
    /// States, such as `PowerState/running`.
    pub statuses: Vec<InstanceStatus>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A state of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceStatus {
    /// The code, such as `PowerState/running`.
    pub code: String,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Whether a machine runs. Source: Azure, states and billing of virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// The operating system runs.
    Running,
    /// It is being started, stopped or deallocated.
    Changing,
    /// The operating system has shut down. The machine keeps its host.
    Stopped,
    /// The machine has no host.
    Deallocated,
    /// The platform does not report it.
    Unknown,
}

impl PowerState {
    /// Whether nothing writes to the disks of the machine.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        matches!(self, Self::Stopped | Self::Deallocated)
    }

    /// The code of a state that does not change.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Running => "PowerState/running",
            Self::Changing => "PowerState/starting",
            Self::Stopped => "PowerState/stopped",
            Self::Deallocated => "PowerState/deallocated",
            Self::Unknown => "PowerState/unknown",
        }
    }
}

impl InstanceView {
    /// The view of a machine in this state.
    #[must_use]
    pub fn of(state: PowerState) -> Self {
        let status = |code: &str| InstanceStatus { code: code.to_owned(), ..InstanceStatus::default() };
        Self { statuses: vec![status("ProvisioningState/succeeded"), status(state.code())], ..Self::default() }
    }
}

impl MachineProperties {
    /// Whether the machine runs.
    #[must_use]
    pub fn power_state(&self) -> PowerState {
        let statuses = self.instance_view.iter().flat_map(|view| &view.statuses);
        let state = statuses.filter_map(|status| status.code.strip_prefix("PowerState/")).next();
        match state {
            Some("running") => PowerState::Running,
            Some("starting" | "stopping" | "deallocating") => PowerState::Changing,
            Some("stopped") => PowerState::Stopped,
            Some("deallocated") => PowerState::Deallocated,
            _ => PowerState::Unknown,
        }
    }

    /// Whether the machine was marked as generalised. Source: Azure, generalize a virtual machine; the platform never
    /// starts such a machine again.
    #[must_use]
    pub fn is_generalized(&self) -> bool {
        let mut statuses = self.instance_view.iter().flat_map(|view| &view.statuses);
        statuses.any(|status| status.code.eq_ignore_ascii_case("OSState/generalized"))
    }

    /// The OS disk and the data disks.
    pub fn disks(&self) -> impl Iterator<Item = &MachineDisk> {
        self.storage_profile.iter().flat_map(MachineStorageProfile::disks)
    }

    /// The size, such as `Standard_D4s_v5`.
    #[must_use]
    pub fn size(&self) -> Option<&str> {
        self.hardware_profile.as_ref()?.vm_size.as_deref()
    }

    /// The security type, such as `TrustedLaunch`.
    #[must_use]
    pub fn security_type(&self) -> Option<&str> {
        self.security_profile.as_ref()?.security_type.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Properties, ResourceBody, ResourceType};

    /// A machine as Azure returns it with its instance view. Source: ComputeRP 2025-04-01, example
    /// `VirtualMachine_Get_WithInstanceView`, shortened.
    fn machine() -> Value {
        json!({
            "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm", "name": "vm",
            "type": "Microsoft.Compute/virtualMachines", "location": "westus", "etag": "\"1\"",
            "zones": ["1"],
            "properties": {
                "vmId": "0f47b100-583c-48e3-a4c0-aefc2c9bbcc1", "provisioningState": "Succeeded",
                "hardwareProfile": { "vmSize": "Standard_DS3_v2" },
                "storageProfile": {
                    "osDisk": {
                        "osType": "Windows", "name": "os", "createOption": "FromImage", "caching": "ReadWrite",
                        "managedDisk": { "storageAccountType": "Premium_LRS", "id": "/disks/os" }, "diskSizeGB": 30,
                    },
                    "dataDisks": [{
                        "lun": 3, "name": "data", "createOption": "Attach", "caching": "None",
                        "managedDisk": { "id": "/disks/data" },
                    }],
                },
                "networkProfile": { "networkInterfaces": [{ "id": "/nic" }] },
                "instanceView": {
                    "hyperVGeneration": "V1",
                    "statuses": [
                        { "code": "ProvisioningState/succeeded", "level": "Info" },
                        { "code": "PowerState/running", "level": "Info", "displayStatus": "VM running" },
                    ],
                },
            },
        })
    }

    #[test]
    fn machine_is_read_with_its_disks_and_power_state() {
        let body = ResourceBody::from_json(ResourceType::Machine, machine()).unwrap();
        let Properties::Machine(properties) = &body.properties else { unreachable!() };
        assert_eq!(properties.power_state(), PowerState::Running);
        assert!(!properties.power_state().is_stopped());
        assert_eq!(properties.size(), Some("Standard_DS3_v2"));
        let disks: Vec<_> =
            properties.disks().map(|disk| (disk.lun, disk.disk_id(), disk.caching.as_deref())).collect();
        let expected = [(None, Some("/disks/os"), Some("ReadWrite")), (Some(3), Some("/disks/data"), Some("None"))];
        assert_eq!(disks, expected);
    }

    #[test]
    fn request_has_unknown_members_and_nothing_that_the_platform_sets() {
        let request = ResourceBody::from_json(ResourceType::Machine, machine()).unwrap().to_request_json();
        let mut expected = machine();
        for name in ["id", "name", "type", "etag"] {
            expected.as_object_mut().unwrap().remove(name);
        }
        expected["tags"] = json!({});
        for name in ["vmId", "provisioningState", "instanceView"] {
            expected["properties"].as_object_mut().unwrap().remove(name);
        }
        assert_eq!(request, expected);
    }

    #[test]
    fn power_states_are_recognised() {
        for state in [PowerState::Running, PowerState::Stopped, PowerState::Deallocated, PowerState::Changing] {
            let machine =
                MachineProperties { instance_view: Some(InstanceView::of(state)), ..MachineProperties::default() };
            assert_eq!(machine.power_state(), state);
        }
        assert_eq!(MachineProperties::default().power_state(), PowerState::Unknown);
    }
}
