//! What the owner of a resource sets, and its form in Resource Manager's JSON.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    CollectionProperties, DefinitionProperties, DiskProperties, GalleryProperties, GalleryVersionProperties,
    ImageProperties, MachineProperties, ResourceType, RestorePointProperties, SnapshotProperties,
};
use crate::ids::{InvalidName, Region};

/// Properties that the platform sets. A request does not contain them. Source: Microsoft.Compute, DiskRP 2025-01-02,
/// ComputeRP 2025-04-01 and GalleryRP 2024-03-03, members that are marked `readOnly`.
const READ_ONLY: [&str; 18] = [
    "provisioningState",
    "timeCreated",
    "uniqueId",
    "diskState",
    "diskSizeBytes",
    "completionPercent",
    "copyCompletionError",
    "incrementalSnapshotFamilyId",
    "creationData/sourceUniqueId",
    "vmId",
    "instanceView",
    "replicationStatus",
    "validationsProfile",
    "publishingProfile/publishedDate",
    "safetyProfile/reportedForPolicyViolation",
    "safetyProfile/policyViolations",
    "storageProfile/osDiskImage/sizeInGB",
    "sourceMetadata",
];

/// Members outside of the properties that the platform sets: the machine of a disk, and the extensions of a machine.
/// Source: as above.
const READ_ONLY_MEMBERS: [&str; 3] = ["managedBy", "managedByExtended", "resources"];

/// The members of a resource outside of its properties that identify it. They are not part of its body.
const ENVELOPE: [&str; 5] = ["id", "name", "type", "etag", "systemData"];

/// The properties of a resource, by its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Properties {
    /// Of a managed image.
    Image(ImageProperties),
    /// Of a managed disk.
    Disk(DiskProperties),
    /// Of a snapshot.
    Snapshot(SnapshotProperties),
    /// Of a virtual machine.
    Machine(Box<MachineProperties>),
    /// Of a gallery.
    Gallery(GalleryProperties),
    /// Of an image definition.
    Definition(Box<DefinitionProperties>),
    /// Of a version of an image definition.
    GalleryVersion(Box<GalleryVersionProperties>),
    /// Of a collection of restore points.
    RestorePointCollection(CollectionProperties),
    /// Of a restore point.
    RestorePoint(RestorePointProperties),
    /// Of a disk in a restore point.
    DiskRestorePoint(SnapshotProperties),
}

/// The region of a resource that has none. Source: Resource Manager: global resources.
const NO_REGION: &str = "global";

impl Properties {
    /// The type of the resource.
    #[must_use]
    pub fn resource_type(&self) -> ResourceType {
        match self {
            Self::Image(_) => ResourceType::Image,
            Self::Disk(_) => ResourceType::Disk,
            Self::Snapshot(_) => ResourceType::Snapshot,
            Self::Machine(_) => ResourceType::Machine,
            Self::Gallery(_) => ResourceType::Gallery,
            Self::Definition(_) => ResourceType::Definition,
            Self::GalleryVersion(_) => ResourceType::GalleryVersion,
            Self::RestorePointCollection(_) => ResourceType::RestorePointCollection,
            Self::RestorePoint(_) => ResourceType::RestorePoint,
            Self::DiskRestorePoint(_) => ResourceType::DiskRestorePoint,
        }
    }

    fn from_json(resource_type: ResourceType, value: Value) -> Result<Self, BodyError> {
        fn read<T: DeserializeOwned>(value: Value) -> Result<T, BodyError> {
            serde_json::from_value(value).map_err(|error| BodyError::Properties(error.to_string()))
        }
        Ok(match resource_type {
            ResourceType::Image => Self::Image(read(value)?),
            ResourceType::Disk => Self::Disk(read(value)?),
            ResourceType::Snapshot => Self::Snapshot(read(value)?),
            ResourceType::Machine => Self::Machine(read(value)?),
            ResourceType::Gallery => Self::Gallery(read(value)?),
            ResourceType::Definition => Self::Definition(read(value)?),
            ResourceType::GalleryVersion => Self::GalleryVersion(read(value)?),
            ResourceType::RestorePointCollection => Self::RestorePointCollection(read(value)?),
            ResourceType::RestorePoint => Self::RestorePoint(read(value)?),
            ResourceType::DiskRestorePoint => Self::DiskRestorePoint(read(value)?),
        })
    }

    fn to_json(&self) -> Value {
        // All are structs with text keys. Their serialization does not fail.
        match self {
            Self::Image(image) => json!(image),
            Self::Disk(disk) => json!(disk),
            Self::Snapshot(snapshot) => json!(snapshot),
            Self::Machine(machine) => json!(machine),
            Self::Gallery(gallery) => json!(gallery),
            Self::Definition(definition) => json!(definition),
            Self::GalleryVersion(version) => json!(version),
            Self::RestorePointCollection(collection) => json!(collection),
            Self::RestorePoint(point) => json!(point),
            Self::DiskRestorePoint(disk) => json!(disk),
        }
    }
}

/// The performance tier of a disk or snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sku {
    /// The name, such as `Standard_LRS`.
    pub name: String,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Why a resource cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Its region is missing or is not valid.
    #[error("its location cannot be read: {0}")]
    Location(#[from] InvalidName),
    /// Its tags or its SKU are not valid.
    #[error("its {0} cannot be read: {1}")]
    Member(&'static str, String),
    /// Its properties are not valid.
    #[error("its properties cannot be read: {0}")]
    Properties(String),
}

/// The name of the member of a disk that names the machine to which it is attached.
pub(super) const MANAGED_BY: &str = "managedBy";

/// What the owner of a resource sets. A resource that was read also has the properties that the platform sets.
///
/// Members that goldfleet does not know are kept. A body that is read, changed and written therefore keeps them.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceBody {
    /// The region.
    pub region: Region,
    /// The tags.
    pub tags: BTreeMap<String, String>,
    /// The performance tier of a disk or snapshot.
    pub sku: Option<Sku>,
    /// The properties.
    pub properties: Properties,
    /// Members that goldfleet does not use, such as `zones`.
    pub other: Map<String, Value>,
}

impl ResourceBody {
    /// The body of a new resource without tags.
    #[must_use]
    pub fn new(region: Region, properties: Properties) -> Self {
        Self { region, tags: BTreeMap::new(), sku: None, properties, other: Map::new() }
    }

    /// The same body with these tags.
    #[must_use]
    pub fn with_tags(self, tags: BTreeMap<String, String>) -> Self {
        Self { tags, ..self }
    }

    /// Reads the body of a resource of a type as Resource Manager returns it.
    ///
    /// # Errors
    /// A [`BodyError`] if a member that goldfleet uses is not valid.
    pub fn from_json(resource_type: ResourceType, value: Value) -> Result<Self, BodyError> {
        let Value::Object(mut members) = value else {
            return Err(BodyError::Properties("it is not an object".to_owned()));
        };
        for name in ENVELOPE {
            members.remove(name);
        }
        let location = members.remove("location").unwrap_or_default();
        // Some responses contain the display name of the region, such as "West US".
        let has_none = resource_type == ResourceType::RestorePoint && location.is_null();
        let location = if has_none { json!(NO_REGION) } else { location };
        let region = location.as_str().unwrap_or_default().to_ascii_lowercase().replace(' ', "").parse()?;
        let mut properties = members.remove("properties").filter(Value::is_object).unwrap_or_else(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.remove("provisioningState");
        }
        Ok(Self {
            region,
            tags: member(&mut members, "tags")?.unwrap_or_default(),
            sku: member(&mut members, "sku")?,
            properties: Properties::from_json(resource_type, properties)?,
            other: members,
        })
    }

    /// The body with all properties, in the form in which it is stored.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = self.other.clone();
        members.insert("location".to_owned(), json!(self.region));
        members.insert("tags".to_owned(), json!(self.tags));
        if let Some(sku) = &self.sku {
            members.insert("sku".to_owned(), json!(sku));
        }
        members.insert("properties".to_owned(), self.properties.to_json());
        Value::Object(members)
    }

    /// The body of a request: without the properties that the platform sets.
    #[must_use]
    pub fn to_request_json(&self) -> Value {
        let mut body = self.to_json();
        // A restore point has the region and the tags of its collection.
        let is_point = matches!(self.properties, Properties::RestorePoint(_));
        let is_inherited = |name: &str| is_point && matches!(name, "location" | "tags");
        if let Some(members) = body.as_object_mut() {
            members.retain(|name, _| !READ_ONLY_MEMBERS.contains(&name.as_str()) && !is_inherited(name));
        }
        for path in READ_ONLY {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let pointer = if parent.is_empty() { "/properties".to_owned() } else { format!("/properties/{parent}") };
            if let Some(members) = body.pointer_mut(&pointer).and_then(Value::as_object_mut) {
                members.remove(name);
            }
        }
        body
    }
}

fn member<T: DeserializeOwned>(members: &mut Map<String, Value>, name: &'static str) -> Result<Option<T>, BodyError> {
    let value = members.remove(name).unwrap_or_default();
    serde_json::from_value(value).map_err(|error| BodyError::Member(name, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{CreateOption, DiskState};

    /// A snapshot as Azure returns it during a copy from another region. Source: azure-cli,
    /// `recordings/test_completion_percent.yaml`, shortened, with members that goldfleet does not know.
    fn recorded() -> Value {
        json!({
            "id": "/subscriptions/s/resourceGroups/G/providers/Microsoft.Compute/snapshots/a",
            "name": "a", "type": "Microsoft.Compute/snapshots", "location": "East US",
            "sku": { "name": "Standard_LRS", "tier": "Standard" },
            "zones": ["1"],
            "properties": {
                "osType": "Linux", "hyperVGeneration": "V2",
                "creationData": {
                    "createOption": "CopyStart", "sourceResourceId": "/x", "sourceUniqueId": "u", "provisionedBandwidthCopySpeed": "None",
                },
                "diskSizeGB": 30, "diskSizeBytes": 32_213_303_296_u64, "incremental": true, "uniqueId": "w",
                "provisioningState": "Succeeded", "diskState": "Unattached", "completionPercent": 0.0,
                "timeCreated": "2026-04-24T10:00:00+00:00",
                "securityProfile": { "securityType": "TrustedLaunch" },
                "networkAccessPolicy": "AllowAll",
            },
        })
    }

    #[test]
    fn recorded_snapshot_is_read() {
        let body = ResourceBody::from_json(ResourceType::Snapshot, recorded()).unwrap();
        assert_eq!((body.region.as_str(), body.tags.len()), ("eastus", 0));
        let Properties::Snapshot(snapshot) = &body.properties else { unreachable!() };
        assert!(!snapshot.is_complete());
        assert_eq!(snapshot.disk.creation_data.create_option, CreateOption::CopyStart);
        assert_eq!(snapshot.disk.disk_state, Some(DiskState::Unattached));
        assert_eq!(snapshot.disk.other["securityProfile"]["securityType"], "TrustedLaunch");
    }

    #[test]
    fn changed_body_keeps_unknown_members() {
        let mut body = ResourceBody::from_json(ResourceType::Snapshot, recorded()).unwrap();
        body.tags.insert("a".to_owned(), "b".to_owned());
        let mut expected = recorded();
        for name in ENVELOPE {
            expected.as_object_mut().unwrap().remove(name);
        }
        expected["location"] = json!("eastus");
        expected["tags"] = json!({ "a": "b" });
        expected["properties"].as_object_mut().unwrap().remove("provisioningState");
        assert_eq!(body.to_json(), expected);
        let request = body.to_request_json();
        let creation =
            json!({ "createOption": "CopyStart", "sourceResourceId": "/x", "provisionedBandwidthCopySpeed": "None" });
        assert_eq!(request["properties"]["creationData"], creation);
        assert_eq!(request["properties"]["securityProfile"]["securityType"], "TrustedLaunch");
        assert_eq!(request["zones"], json!(["1"]));
        for name in READ_ONLY {
            assert!(request["properties"].get(name).is_none(), "{name}");
        }
    }

    #[test]
    fn unreadable_member_is_named() {
        let error = |change: fn(&mut Value)| {
            let mut value = recorded();
            change(&mut value);
            ResourceBody::from_json(ResourceType::Snapshot, value).unwrap_err().to_string()
        };
        assert!(error(|value| value["location"] = json!("")).starts_with("its location"));
        assert!(error(|value| value["tags"] = json!({ "a": 1 })).starts_with("its tags"));
        let os = error(|value| value["properties"]["osType"] = json!("Plan9"));
        assert!(os.contains("\"Plan9\" is not one of Linux, Windows"), "{os}");
    }
}
