//! The properties of managed disks and snapshots. Source: Microsoft.Compute, DiskRP 2025-01-02, `DiskProperties` and
//! `SnapshotProperties`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::body::MANAGED_BY;
use super::text::{open_enum, optional};
use super::{MachineProperties, Properties, ResourceBody, ResourceId, VersionRef, VersionSource};
use crate::manifest::{Generation, OsType};

open_enum! {
    /// How a disk or snapshot gets its content.
    CreateOption {
        /// By direct upload. The size includes the footer of a VHD.
        Upload = "Upload",
        /// From a disk or snapshot in the same region.
        Copy = "Copy",
        /// From an incremental snapshot in another region. The content arrives after the resource exists.
        CopyStart = "CopyStart",
        /// From a disk in a restore point in the same region.
        Restore = "Restore",
        /// From an image, such as a gallery version.
        FromImage = "FromImage",
        /// Without content.
        Empty = "Empty",
    }
}

open_enum! {
    /// The state of a disk or snapshot. The platform sets it.
    DiskState {
        /// Complete, and not in use.
        Unattached = "Unattached",
        /// Created for an upload that has not begun.
        ReadyToUpload = "ReadyToUpload",
        /// A SAS for an upload exists.
        ActiveUpload = "ActiveUpload",
        /// A SAS exists.
        ActiveSas = "ActiveSAS",
        /// Attached to a running machine.
        Attached = "Attached",
        /// Attached to a machine that is deallocated.
        Reserved = "Reserved",
    }
}

impl DiskState {
    /// Whether the content is not complete because the upload has not ended.
    #[must_use]
    pub fn awaits_upload(&self) -> bool {
        matches!(self, Self::ReadyToUpload | Self::ActiveUpload)
    }

    /// Whether a machine has the disk.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        matches!(self, Self::Attached | Self::Reserved)
    }
}

/// The origin of a disk or snapshot. It cannot be changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreationData {
    /// How the resource gets its content.
    pub create_option: CreateOption,
    /// The disk or snapshot that is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_resource_id: Option<String>,
    /// The unique id of the disk or snapshot that was copied. The platform sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_unique_id: Option<String>,
    /// The gallery version from which the resource is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gallery_image_reference: Option<VersionSource>,
    /// The number of bytes of an upload, including the 512 bytes of the footer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_size_bytes: Option<u64>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl CreationData {
    /// The origin of a resource that is uploaded, with its size in bytes without the footer.
    #[must_use]
    pub fn upload(size: u64) -> Self {
        Self { upload_size_bytes: Some(size + 512), ..Self::with(CreateOption::Upload) }
    }

    /// The origin of a copy within a region.
    #[must_use]
    pub fn copy(source: &ResourceId) -> Self {
        Self { source_resource_id: Some(source.to_string()), ..Self::with(CreateOption::Copy) }
    }

    /// The origin of a copy from a snapshot in another region.
    #[must_use]
    pub fn copy_start(source: &ResourceId) -> Self {
        Self { create_option: CreateOption::CopyStart, ..Self::copy(source) }
    }

    /// The origin of a disk that is created from a gallery version.
    #[must_use]
    pub fn from_version(version: &ResourceId) -> Self {
        Self { gallery_image_reference: Some(VersionSource::of(version)), ..Self::with(CreateOption::FromImage) }
    }

    /// The origin of a disk that is created from a disk of a gallery version: the OS disk, or the data disk with this
    /// LUN.
    #[must_use]
    pub fn from_disk_of(version: &VersionRef, lun: Option<u8>) -> Self {
        Self { gallery_image_reference: Some(version.to_source(lun)), ..Self::with(CreateOption::FromImage) }
    }

    fn with(create_option: CreateOption) -> Self {
        Self {
            create_option,
            gallery_image_reference: None,
            source_resource_id: None,
            source_unique_id: None,
            upload_size_bytes: None,
            other: Map::new(),
        }
    }
}

/// The encryption at rest of a disk or snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskEncryption {
    /// The disk encryption set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_encryption_set_id: Option<String>,
    /// Properties that goldfleet does not use, such as the type.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The properties of a managed disk, and those that a snapshot shares with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskProperties {
    /// The operating system. None for a data disk.
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub os_type: Option<OsType>,
    /// The Hyper-V generation.
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub hyper_v_generation: Option<Generation>,
    /// The origin.
    pub creation_data: CreationData,
    /// The size in whole GiB, rounded up.
    #[serde(rename = "diskSizeGB", default, skip_serializing_if = "Option::is_none")]
    pub disk_size_gb: Option<u64>,
    /// The size in bytes. The platform sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size_bytes: Option<u64>,
    /// The encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<DiskEncryption>,
    /// An id that no other resource ever has, even if it gets the same name. The platform sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// The state. The platform sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_state: Option<DiskState>,
    /// The time of creation. The platform sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_created: Option<String>,
    /// Properties that goldfleet does not use, such as `securityProfile` and `purchasePlan`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl DiskProperties {
    /// The properties of a new resource with this origin.
    #[must_use]
    pub fn new(creation_data: CreationData) -> Self {
        Self {
            os_type: None,
            hyper_v_generation: None,
            creation_data,
            disk_size_gb: None,
            disk_size_bytes: None,
            encryption: None,
            unique_id: None,
            disk_state: None,
            time_created: None,
            other: Map::new(),
        }
    }

    /// The number of bytes, if the service reports it.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.disk_size_bytes.or(self.disk_size_gb.map(|gib| gib << 30))
    }

    /// The id of the disk encryption set.
    #[must_use]
    pub fn encryption_set(&self) -> Option<&str> {
        self.encryption.as_ref()?.disk_encryption_set_id.as_deref()
    }

    /// A property that this type does not name. None if it is null.
    #[must_use]
    pub fn other(&self, name: &str) -> Option<&Value> {
        self.other.get(name).filter(|value| !value.is_null())
    }
}

/// Why the content of a copy from another region did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyCompletionError {
    /// The code, such as `CopySourceNotFound`.
    pub error_code: String,
    /// The description.
    #[serde(default)]
    pub error_message: String,
}

/// The properties of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotProperties {
    /// Whether it stores only the difference to the previous snapshot of the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental: Option<bool>,
    /// The part of the content that has arrived, in percent. A resource can be `Succeeded` before it is 100. The
    /// platform sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_percent: Option<f64>,
    /// Why the content did not arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_completion_error: Option<CopyCompletionError>,
    /// The id that all incremental snapshots of one disk share. The platform sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental_snapshot_family_id: Option<String>,
    /// The properties that a snapshot shares with a disk.
    #[serde(flatten)]
    pub disk: DiskProperties,
}

impl SnapshotProperties {
    /// The properties of a new snapshot.
    #[must_use]
    pub fn new(creation_data: CreationData, incremental: bool) -> Self {
        Self {
            incremental: Some(incremental),
            completion_percent: None,
            copy_completion_error: None,
            incremental_snapshot_family_id: None,
            disk: DiskProperties::new(creation_data),
        }
    }

    /// Whether the whole content has arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.copy_completion_error.is_none() && self.completion_percent.is_none_or(|percent| percent >= 100.0)
    }
}

impl ResourceBody {
    /// The id of the machine to which a disk is attached.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        self.other.get(MANAGED_BY).and_then(Value::as_str).filter(|id| !id.is_empty())
    }

    /// Sets the machine to which a disk is attached, as the platform does.
    pub fn set_machine(&mut self, machine: Option<&ResourceId>) {
        match machine {
            Some(id) => drop(self.other.insert(MANAGED_BY.to_owned(), Value::from(id.to_string()))),
            None => drop(self.other.remove(MANAGED_BY)),
        }
    }
}

impl Properties {
    /// The properties of a virtual machine. None for other types.
    #[must_use]
    pub fn machine(&self) -> Option<&MachineProperties> {
        match self {
            Self::Machine(machine) => Some(machine),
            _ => None,
        }
    }

    /// As [`Properties::machine`].
    #[must_use]
    pub fn machine_mut(&mut self) -> Option<&mut MachineProperties> {
        match self {
            Self::Machine(machine) => Some(machine),
            _ => None,
        }
    }

    /// What disks, snapshots and disks in restore points have in common. None for other types.
    #[must_use]
    pub fn disk(&self) -> Option<&DiskProperties> {
        match self {
            Self::Disk(disk) => Some(disk),
            Self::Snapshot(snapshot) | Self::DiskRestorePoint(snapshot) => Some(&snapshot.disk),
            _ => None,
        }
    }

    /// As [`Properties::disk`].
    #[must_use]
    pub fn disk_mut(&mut self) -> Option<&mut DiskProperties> {
        match self {
            Self::Disk(disk) => Some(disk),
            Self::Snapshot(snapshot) | Self::DiskRestorePoint(snapshot) => Some(&mut snapshot.disk),
            _ => None,
        }
    }
}
