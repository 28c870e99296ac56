//! The properties of restore points of virtual machines. Source: Microsoft.Compute, ComputeRP 2025-04-01,
//! `RestorePointCollectionProperties` and `RestorePointProperties`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Attachment, Properties};

/// The properties of a collection of restore points of one machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectionProperties {
    /// The machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Attachment>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The properties of a restore point: the contents of all disks of a machine at one moment. It has no separate region
/// and tags: those of its collection apply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestorePointProperties {
    /// `CrashConsistent`, `FileSystemConsistent` or `ApplicationConsistent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency_mode: Option<String>,
    /// The machine at that moment. The platform sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_metadata: Option<Value>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl RestorePointProperties {
    /// The id of the machine's disk in the restore point: the OS disk, or the data disk with this LUN.
    #[must_use]
    pub fn disk(&self, lun: Option<u32>) -> Option<&str> {
        let storage = self.source_metadata.as_ref()?.get("storageProfile")?;
        let disk = match lun {
            None => storage.get("osDisk")?,
            Some(lun) => storage.get("dataDisks")?.as_array()?.iter().find(|disk| disk["lun"] == lun)?,
        };
        disk.pointer("/diskRestorePoint/id")?.as_str()
    }

    /// The id that no other machine ever has, in lower case.
    #[must_use]
    pub fn vm_id(&self) -> Option<String> {
        Some(self.source_metadata.as_ref()?.get("vmId")?.as_str()?.to_ascii_lowercase())
    }
}

impl Properties {
    /// The properties of a restore point. None for other types.
    #[must_use]
    pub fn restore_point(&self) -> Option<&RestorePointProperties> {
        match self {
            Self::RestorePoint(point) => Some(point),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::resource::{ResourceBody, ResourceId, ResourceType};

    /// The shape of the published example `RestorePoint_Get`.
    #[test]
    fn restore_point_is_read_with_its_disks() {
        let value = json!({
            "name": "rp",
            "properties": {
                "provisioningState": "Succeeded", "consistencyMode": "CrashConsistent", "timeCreated": "2026-01-01T00:00:00Z",
                "sourceMetadata": { "vmId": "VM-1", "storageProfile": {
                    "osDisk": { "osType": "Linux", "diskRestorePoint": { "id": "/os" } },
                    "dataDisks": [{ "lun": 3, "diskRestorePoint": { "id": "/three" } }],
                } },
            },
        });
        let body = ResourceBody::from_json(ResourceType::RestorePoint, value).unwrap();
        let point = body.properties.restore_point().unwrap();
        assert_eq!((point.disk(None), point.disk(Some(3)), point.disk(Some(4))), (Some("/os"), Some("/three"), None));
        assert_eq!(point.vm_id().as_deref(), Some("vm-1"));
        let request = body.to_request_json();
        assert_eq!(request, json!({ "properties": { "consistencyMode": "CrashConsistent" } }));
    }

    #[test]
    fn ids_of_disks_in_restore_points_name_their_parents() {
        let text = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/g/providers/Microsoft.Compute/\
                    restorePointCollections/c/restorePoints/p/diskRestorePoints/os_1";
        let disk: ResourceId = text.parse().unwrap();
        assert_eq!((disk.resource_type, disk.to_string()), (ResourceType::DiskRestorePoint, text.to_owned()));
        let point = disk.parent().unwrap();
        assert_eq!(
            (point.resource_type, point.parent().unwrap().path()),
            (ResourceType::RestorePoint, "restorePointCollections/c".to_owned())
        );
    }
}
