//! The properties of galleries, image definitions and gallery versions. Source: Microsoft.Compute, GalleryRP
//! 2024-03-03, `GalleryProperties`, `GalleryImageProperties` and `GalleryImageVersionProperties`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::text::{open_enum, optional};
use super::{Properties, ResourceId};
use crate::ids::{InvalidName, Region};
use crate::manifest::{Generation, OsType};
use crate::serde_as_string;

/// The properties of a gallery. goldfleet reads galleries, and creates none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GalleryProperties {
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The properties of an image definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefinitionProperties {
    /// The operating system.
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub os_type: Option<OsType>,
    /// `Generalized` or `Specialized`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_state: Option<String>,
    /// The Hyper-V generation.
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub hyper_v_generation: Option<Generation>,
    /// `x64` or `Arm64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Publisher, offer and SKU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<GalleryIdentifier>,
    /// The features, such as the security type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<GalleryFeature>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl DefinitionProperties {
    /// The value of a feature. Names of features are compared without regard to case.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<&str> {
        let found = self.features.iter().find(|feature| feature.name.eq_ignore_ascii_case(name))?;
        Some(&found.value)
    }
}

/// What identifies an image definition in its gallery, besides its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GalleryIdentifier {
    /// The publisher.
    pub publisher: String,
    /// The offer.
    pub offer: String,
    /// The SKU.
    pub sku: String,
}

/// A feature of an image definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GalleryFeature {
    /// The name, such as `SecurityType`.
    pub name: String,
    /// The value.
    pub value: String,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The properties of a gallery version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GalleryVersionProperties {
    /// Where it is replicated, and whether it can be the latest version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publishing_profile: Option<PublishingProfile>,
    /// From what it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_profile: Option<VersionStorage>,
    /// What may be done to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_profile: Option<SafetyProfile>,
    /// The state of each region. The platform sets it, and returns it only if it is requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_status: Option<ReplicationStatus>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl GalleryVersionProperties {
    /// The regions in which it is or will be.
    #[must_use]
    pub fn regions(&self) -> &[TargetRegion] {
        self.publishing_profile.as_ref().map(|profile| profile.target_regions.as_slice()).unwrap_or_default()
    }

    /// The entry of a region.
    #[must_use]
    pub fn region(&self, region: &Region) -> Option<&TargetRegion> {
        self.regions().iter().find(|found| found.is(region))
    }

    /// Whether it is excluded from the latest version in all regions.
    #[must_use]
    pub fn is_excluded(&self) -> bool {
        self.publishing_profile.as_ref().and_then(|profile| profile.exclude_from_latest) == Some(true)
    }

    /// Whether a reader in a region that asks for the latest version may get this one.
    #[must_use]
    pub fn may_be_latest(&self, region: &Region) -> bool {
        let here = self.region(region);
        !self.is_excluded() && here.is_some_and(|here| here.exclude_from_latest != Some(true))
    }

    /// The replication to a region, if the service reports it.
    #[must_use]
    pub fn replication(&self, region: &Region) -> Option<&RegionalReplication> {
        let status = self.replication_status.as_ref()?;
        status.summary.iter().find(|found| region_named(&found.region) == region.as_str())
    }

    /// The id of the resource from which it was created, such as a snapshot: that of the OS disk.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        let storage = self.storage_profile.as_ref()?;
        let of_disk = storage.os_disk_image.as_ref().and_then(|disk| disk.source.as_ref()?.id.as_deref());
        of_disk.or_else(|| storage.other.get("source")?.get("id")?.as_str())
    }

    /// The data disks.
    #[must_use]
    pub fn data_disks(&self) -> &[DataDiskImage] {
        self.storage_profile.as_ref().map(|storage| storage.data_disk_images.as_slice()).unwrap_or_default()
    }
}

/// Where a gallery version is replicated, and whether it can be the latest version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PublishingProfile {
    /// The regions. The region of the version is one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_regions: Vec<TargetRegion>,
    /// Whether it is excluded from the latest version in all regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_from_latest: Option<bool>,
    /// When it ends, as RFC 3339. The platform deletes nothing then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_of_life_date: Option<String>,
    /// `Full` or `Shallow`. It cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_mode: Option<String>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A region of a gallery version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRegion {
    /// The name. The service returns display names, such as `West US`: see [`region_named`].
    pub name: String,
    /// The number of replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regional_replica_count: Option<u32>,
    /// The storage of the replicas, such as `Standard_ZRS`. It cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_account_type: Option<String>,
    /// The encryption of the replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<RegionEncryption>,
    /// Whether the version is excluded from the latest version in this region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_from_latest: Option<bool>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl TargetRegion {
    /// Whether it is this region.
    #[must_use]
    pub fn is(&self, region: &Region) -> bool {
        region_named(&self.name) == region.as_str()
    }
}

/// The programmatic name of a region from its programmatic or display name. Source: GalleryRP 2024-03-03, examples:
/// `West US`.
#[must_use]
pub fn region_named(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase()
}

/// The encryption of the replicas of a region.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegionEncryption {
    /// That of the OS disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_disk_image: Option<DiskImageEncryption>,
    /// Those of the data disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_disk_images: Vec<DataDiskEncryption>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The encryption of a data disk of a gallery version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataDiskEncryption {
    /// The LUN of the disk.
    pub lun: u32,
    /// The encryption.
    #[serde(flatten)]
    pub encryption: DiskImageEncryption,
}

/// The encryption of a disk of a gallery version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskImageEncryption {
    /// The id of the disk encryption set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_encryption_set_id: Option<String>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The source from which a gallery version was created. It cannot be changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionStorage {
    /// The OS disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_disk_image: Option<VersionDisk>,
    /// The data disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_disk_images: Vec<DataDiskImage>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A data disk of a gallery version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataDiskImage {
    /// The number by which the operating system of a machine finds the disk.
    pub lun: u32,
    /// The disk.
    #[serde(flatten)]
    pub disk: VersionDisk,
}

/// A disk of a gallery version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionDisk {
    /// The snapshot or disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<VersionSource>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A reference from or to a gallery version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionSource {
    /// The resource id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Other references.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl VersionSource {
    /// A reference to this resource.
    #[must_use]
    pub fn of(id: &ResourceId) -> Self {
        Self { id: Some(id.to_string()), other: Map::new() }
    }
}

/// What may be done to a gallery version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SafetyProfile {
    /// Whether it may be removed from regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_deletion_of_replicated_locations: Option<bool>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The state of the regions of a gallery version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicationStatus {
    /// Each region.
    pub summary: Vec<RegionalReplication>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The state of a region of a gallery version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionalReplication {
    /// The region, by its programmatic or display name.
    pub region: String,
    /// The state.
    pub state: ReplicationState,
    /// The part that is done, in percent.
    #[serde(default)]
    pub progress: u32,
    /// Why it failed, for example.
    #[serde(default)]
    pub details: String,
}

open_enum! {
    /// The state of the replication to a region.
    ReplicationState {
        /// It is in progress.
        Replicating = "Replicating",
        /// The replication is complete. The version may still be unusable in the region for some time.
        Completed = "Completed",
        /// It failed.
        Failed = "Failed",
        /// The service does not know it.
        Unknown = "Unknown",
    }
}

/// The name of a gallery version: three numbers. Numbers decide the order, so `1.0.10` is after `1.0.9`. Source: Azure,
/// shared-image-galleries: `MajorVersion.MinorVersion.Patch`, each a 32-bit integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionNumber([u32; 3]);

impl FromStr for VersionNumber {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "use three numbers with dots between them, without leading zeros, each at most 2147483647, such as 2026.11.1";
        let invalid = || InvalidName { what: "gallery version", given: text.to_owned(), rule };
        let number = |part: &str| {
            let is_plain = part == "0" || (!part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit()));
            part.parse::<u32>().ok().filter(|number| is_plain && i32::try_from(*number).is_ok())
        };
        let parts: Option<Vec<u32>> = text.split('.').map(number).collect();
        parts.and_then(|parts| parts.try_into().ok()).map(Self).ok_or_else(invalid)
    }
}

serde_as_string!(VersionNumber);

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        f.pad(&format!("{major}.{minor}.{patch}"))
    }
}

impl Properties {
    /// The properties of a gallery version. None for other types.
    #[must_use]
    pub fn gallery_version(&self) -> Option<&GalleryVersionProperties> {
        match self {
            Self::GalleryVersion(version) => Some(version),
            _ => None,
        }
    }

    /// As [`Properties::gallery_version`].
    #[must_use]
    pub fn gallery_version_mut(&mut self) -> Option<&mut GalleryVersionProperties> {
        match self {
            Self::GalleryVersion(version) => Some(version),
            _ => None,
        }
    }

    /// The properties of an image definition. None for other types.
    #[must_use]
    pub fn definition(&self) -> Option<&DefinitionProperties> {
        match self {
            Self::Definition(definition) => Some(definition),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{ResourceBody, ResourceType};

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text: &str| text.parse::<VersionNumber>().unwrap();
        assert!(version("1.0.10") > version("1.0.9") && version("2.0.0") > version("1.99.99"));
        assert_eq!(version("2026.11.1").to_string(), "2026.11.1");
        for bad in ["1.0", "1.0.0.0", "1.0.x", "1.0.01", "1..0", "1.0.-1", "1.0.+1", "1.0.2147483648", "v1.0.0", ""] {
            assert!(bad.parse::<VersionNumber>().is_err(), "{bad}");
        }
    }

    /// The shape of the published example of a GET with replication status.
    #[test]
    fn version_is_read_with_its_regions() {
        let value = json!({
            "location": "West US", "name": "1.0.0",
            "properties": {
                "publishingProfile": {
                    "targetRegions": [
                        { "name": "West US", "regionalReplicaCount": 1, "storageAccountType": "Standard_LRS", "excludeFromLatest": false },
                        { "name": "East US", "regionalReplicaCount": 2, "excludeFromLatest": true, "additionalReplicaSets": [] },
                    ],
                    "replicaCount": 1, "publishedDate": "2018-01-01T00:00:00Z", "storageAccountType": "Standard_LRS",
                },
                "storageProfile": { "osDiskImage": { "sizeInGB": 10, "hostCaching": "ReadOnly", "source": { "id": "/s" } } },
                "safetyProfile": { "allowDeletionOfReplicatedLocations": false, "reportedForPolicyViolation": false },
                "replicationStatus": { "aggregatedState": "InProgress", "summary": [
                    { "region": "West US", "state": "Completed", "details": "", "progress": 100 },
                    { "region": "East US", "state": "Replicating", "details": "", "progress": 40 },
                ] },
                "provisioningState": "Updating",
            },
        });
        let body = ResourceBody::from_json(ResourceType::GalleryVersion, value).unwrap();
        let version = body.properties.gallery_version().unwrap();
        let (west, east) = ("westus".parse().unwrap(), "eastus".parse().unwrap());
        assert!(version.may_be_latest(&west) && !version.may_be_latest(&east));
        assert_eq!(version.replication(&east).map(|found| found.progress), Some(40));
        assert_eq!(version.source(), Some("/s"));
        let request = body.to_request_json();
        let properties = request["properties"].as_object().unwrap();
        assert!(!properties.contains_key("replicationStatus"));
        assert!(request["properties"]["publishingProfile"].get("publishedDate").is_none());
        assert_eq!(
            request["properties"]["storageProfile"]["osDiskImage"],
            json!({ "hostCaching": "ReadOnly", "source": { "id": "/s" } })
        );
        assert_eq!(request["properties"]["safetyProfile"], json!({ "allowDeletionOfReplicatedLocations": false }));
        assert_eq!(request["properties"]["publishingProfile"]["targetRegions"][1]["additionalReplicaSets"], json!([]));
    }
}
