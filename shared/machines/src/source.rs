//! The machine to clone, as the service returns it.

use goldfleet_model::resource::{
    DiskProperties, MachineDisk, MachineProperties, Properties, ResourceBody, ResourceId, Sku,
};
use serde_json::Value;

/// The machine to clone and its disks.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The id of the machine.
    pub id: ResourceId,
    /// The machine with its instance view.
    pub body: ResourceBody,
    /// Its managed disks: the OS disk, and the data disks in the order of the machine. A disk that does not exist, or
    /// that is no managed disk, is missing.
    pub disks: Vec<SourceDisk>,
}

/// A disk of the machine to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceDisk {
    /// The id.
    pub id: ResourceId,
    /// The managed disk.
    pub body: ResourceBody,
    /// How the machine uses it.
    pub attachment: MachineDisk,
}

impl Source {
    /// The properties of the machine. None if the resource is no machine.
    #[must_use]
    pub fn machine(&self) -> Option<&MachineProperties> {
        self.body.properties.machine()
    }

    /// The id that no other machine ever has, in lower case.
    #[must_use]
    pub fn vm_id(&self) -> String {
        self.machine().and_then(|machine| machine.vm_id.as_deref()).unwrap_or_default().to_ascii_lowercase()
    }

    /// The OS disk.
    #[must_use]
    pub fn os_disk(&self) -> Option<&SourceDisk> {
        self.disks.iter().find(|disk| disk.attachment.lun.is_none())
    }
}

impl SourceDisk {
    /// The properties of the managed disk.
    #[must_use]
    pub fn properties(&self) -> Option<&DiskProperties> {
        match &self.body.properties {
            Properties::Disk(disk) => Some(disk),
            _ => None,
        }
    }

    /// A property of the managed disk that the model does not name.
    #[must_use]
    pub fn other(&self, name: &str) -> Option<&Value> {
        self.properties()?.other(name)
    }

    /// The id that no other disk ever has, in lower case.
    #[must_use]
    pub fn unique_id(&self) -> String {
        self.properties().and_then(|disk| disk.unique_id.as_deref()).unwrap_or_default().to_ascii_lowercase()
    }

    /// The performance tier, such as `Premium_LRS`.
    #[must_use]
    pub fn sku(&self) -> Option<&str> {
        self.body.sku.as_ref().map(|Sku { name, .. }| name.as_str()).filter(|name| !name.is_empty())
    }

    /// The id of the disk encryption set.
    #[must_use]
    pub fn encryption_set(&self) -> Option<&str> {
        self.properties()?.encryption_set()
    }

    /// The LUN for people and names: `os` for the OS disk.
    #[must_use]
    pub fn lun(&self) -> String {
        self.attachment.lun.map_or_else(|| "os".to_owned(), |lun| lun.to_string())
    }

    /// The number of bytes, if the service reports it.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.properties()?.size()
    }
}
