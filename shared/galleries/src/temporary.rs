//! The temporary gallery version by which the content of a managed image is read: a gallery, a definition and a version
//! with one replica in the region of the image. Source: Microsoft.Compute, GalleryRP 2024-03-03; `Shallow`: Azure,
//! shared-image-galleries, such a version is only in its own region.
//!
//! The content of an image cannot be read in another way: its disks and snapshots are often deleted, and the image has
//! its own copy. Disks of the version are managed disks.

use std::collections::BTreeMap;

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::{JobId, Region, ResourceName};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    CreationData, DefinitionProperties, DiskEncryption, DiskProperties, GalleryFeature, GalleryIdentifier,
    GalleryProperties, GalleryVersionProperties, Properties, PublishingProfile, RegionEncryption, ResourceBody,
    ResourceId, ResourceType, SafetyProfile, Sku, TargetRegion, VersionRef, VersionStorage,
};
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::names;
use goldfleet_snapshots::tags;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The name of the version in its definition.
const VERSION: &str = "1.0.0";

/// Who needs temporaries, and where they are created.
#[derive(Debug, Clone)]
pub struct Scratch<'a> {
    /// The fleet.
    pub fleet: Uuid,
    /// The job or upload.
    pub job: &'a JobId,
    /// What identifies the source: a value of a tag.
    pub source: &'a str,
    /// The subscription and resource group.
    pub place: &'a GroupRef,
    /// The region: that of the image, or one of the regions of the version.
    pub region: &'a Region,
}

/// What a row of the kind `gallery` creates: a temporary gallery, definition or version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemSpec {
    /// The gallery, definition or version.
    pub id: ResourceId,
    /// The body of the request.
    pub body: Value,
    /// The managed image of a version, with its
    /// [fingerprint](goldfleet_model::resource::ImageProperties::fingerprint).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<(ResourceId, String)>,
}

/// A managed image of which a temporary version is created.
#[derive(Debug, Clone)]
pub struct CapturedImage<'a> {
    /// The image.
    pub id: &'a ResourceId,
    /// The operating system.
    pub os: OsType,
    /// The generation.
    pub generation: Generation,
    /// The disk encryption sets of its disks.
    pub encryption_sets: &'a BTreeMap<DiskRole, String>,
}

impl Scratch<'_> {
    /// The temporary version.
    #[must_use]
    pub fn version(&self) -> ResourceId {
        self.definition().child(ResourceType::GalleryVersion, &own(VERSION))
    }

    fn definition(&self) -> ResourceId {
        self.gallery().child(ResourceType::Definition, &own("image"))
    }

    /// The names of galleries have no hyphens.
    fn gallery(&self) -> ResourceId {
        self.id(ResourceType::Gallery, &self.name("gallery").replace('-', "_"))
    }

    /// The temporary disk that is created from a disk of a version.
    #[must_use]
    pub fn disk(&self, role: DiskRole) -> ResourceId {
        self.id(ResourceType::Disk, &self.name(&format!("version-{role}")))
    }

    fn name(&self, part: &str) -> String {
        names::of_temporary(self.fleet, self.job, self.source, self.place, self.region, part)
    }

    fn id(&self, resource_type: ResourceType, name: &str) -> ResourceId {
        let (subscription, resource_group) = (self.place.subscription, self.place.resource_group.clone());
        ResourceId { subscription, resource_group, resource_type, name: own(name) }
    }

    fn tags(&self) -> BTreeMap<String, String> {
        tags::of_temporary(self.fleet, self.job, self.source)
    }

    fn body(&self, properties: Properties) -> ResourceBody {
        ResourceBody::new(self.region.clone(), properties).with_tags(self.tags())
    }

    /// The specifications of these rows: the gallery, the definition and the version of an image. They are deleted in
    /// the opposite order. `fingerprint` is that of the image.
    #[must_use]
    pub fn items(&self, image: &CapturedImage<'_>, fingerprint: &str) -> [ItemSpec; 3] {
        let [gallery, definition, version] = self.resources(image);
        let item = |(id, body): (ResourceId, ResourceBody), image| ItemSpec { id, body: body.to_json(), image };
        [item(gallery, None), item(definition, None), item(version, Some((image.id.clone(), fingerprint.to_owned())))]
    }

    /// The gallery, the definition and the version of an image with their bodies, in the order in which they are
    /// created.
    #[must_use]
    pub fn resources(&self, image: &CapturedImage<'_>) -> [(ResourceId, ResourceBody); 3] {
        let gallery = Properties::Gallery(GalleryProperties::default());
        let definition = Properties::Definition(Box::new(self.definition_properties(image)));
        let version = Properties::GalleryVersion(Box::new(self.version_properties(image)));
        [
            (self.gallery(), self.body(gallery)),
            (self.definition(), self.body(definition)),
            (self.version(), self.body(version)),
        ]
    }

    fn definition_properties(&self, image: &CapturedImage<'_>) -> DefinitionProperties {
        // Managed images have standard security. Newer versions of the API have another default. Generation 1 has no
        // security types.
        let security =
            || GalleryFeature { name: "SecurityType".to_owned(), value: "Standard".to_owned(), other: Map::new() };
        DefinitionProperties {
            os_type: Some(image.os),
            os_state: Some("Generalized".to_owned()),
            hyper_v_generation: Some(image.generation),
            architecture: Some("x64".to_owned()),
            identifier: Some(GalleryIdentifier {
                publisher: "goldfleet".to_owned(),
                offer: "temporary".to_owned(),
                sku: self.name("gallery"),
            }),
            features: (image.generation == Generation::V2).then(security).into_iter().collect(),
            other: Map::new(),
        }
    }

    fn version_properties(&self, image: &CapturedImage<'_>) -> GalleryVersionProperties {
        let region = TargetRegion {
            name: self.region.as_str().to_owned(),
            regional_replica_count: Some(1),
            storage_account_type: Some("Standard_LRS".to_owned()),
            encryption: encryption(image.encryption_sets),
            exclude_from_latest: Some(true),
            other: Map::new(),
        };
        let source = Map::from_iter([("source".to_owned(), json!({ "id": image.id }))]);
        GalleryVersionProperties {
            publishing_profile: Some(PublishingProfile {
                target_regions: vec![region],
                exclude_from_latest: Some(true),
                replication_mode: Some("Shallow".to_owned()),
                ..PublishingProfile::default()
            }),
            storage_profile: Some(VersionStorage { other: source, ..VersionStorage::default() }),
            safety_profile: Some(SafetyProfile {
                allow_deletion_of_replicated_locations: Some(true),
                other: Map::new(),
            }),
            ..GalleryVersionProperties::default()
        }
    }

    /// The body of a temporary disk that is created from a disk of a version.
    #[must_use]
    pub fn disk_body(&self, version: &VersionRef, role: DiskRole, settings: &DiskSettings<'_>) -> ResourceBody {
        let mut disk = DiskProperties::new(CreationData::from_disk_of(version, role.lun()));
        if role == DiskRole::Os {
            (disk.os_type, disk.hyper_v_generation) = (settings.os, settings.generation);
            let security = settings.security_type.map(|kind| json!({ "securityType": kind }));
            disk.other.extend(security.map(|security| ("securityProfile".to_owned(), security)));
        }
        if let Some(set) = settings.encryption_set {
            let kind = Map::from_iter([("type".to_owned(), json!("EncryptionAtRestWithCustomerKey"))]);
            disk.encryption = Some(DiskEncryption { disk_encryption_set_id: Some(set.to_owned()), other: kind });
        }
        if !settings.exportable {
            for (name, value) in [("networkAccessPolicy", "DenyAll"), ("publicNetworkAccess", "Disabled")] {
                disk.other.insert(name.to_owned(), Value::from(value));
            }
        }
        let sku = Sku { name: "Standard_LRS".to_owned(), other: Map::new() };
        ResourceBody { sku: Some(sku), ..self.body(Properties::Disk(disk)) }
    }
}

/// What a temporary disk has besides its content.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskSettings<'a> {
    /// The operating system, if it is known.
    pub os: Option<OsType>,
    /// The generation, if it is known.
    pub generation: Option<Generation>,
    /// The security type.
    pub security_type: Option<&'a str>,
    /// The id of the disk encryption set.
    pub encryption_set: Option<&'a str>,
    /// Whether its content may be read by a SAS.
    pub exportable: bool,
}

fn own(name: &str) -> ResourceName {
    #[expect(clippy::expect_used, reason = "at most 80 letters, digits, dots, underscores and hyphens")]
    name.parse().expect("the name of a resource")
}

/// The encryption of the replica of an image whose disks are encrypted by a customer's key. Source: GalleryRP
/// 2024-03-03, `EncryptionImages`.
fn encryption(sets: &BTreeMap<DiskRole, String>) -> Option<RegionEncryption> {
    let mut encryption = json!({});
    for (role, set) in sets {
        match role.lun() {
            None => encryption["osDiskImage"] = json!({ "diskEncryptionSetId": set }),
            Some(lun) => {
                let disk = json!({ "lun": lun, "diskEncryptionSetId": set });
                match encryption["dataDiskImages"].as_array_mut() {
                    Some(disks) => disks.push(disk),
                    None => encryption["dataDiskImages"] = json!([disk]),
                }
            }
        }
    }
    (!sets.is_empty()).then(|| serde_json::from_value(encryption).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporaries_are_named_and_tagged() {
        let place = GroupRef {
            subscription: goldfleet_model::ids::SubscriptionId::nth_for_tests(1),
            resource_group: "g".parse().unwrap(),
        };
        let (job, region) = ("20261129-120000-0000".parse().unwrap(), "westeurope".parse().unwrap());
        let scratch =
            Scratch { fleet: Uuid::from_u128(7), job: &job, source: "image-1", place: &place, region: &region };
        let id = format!("/subscriptions/{}/resourceGroups/g/providers/Microsoft.Compute/images/i", place.subscription);
        let image: ResourceId = id.parse().unwrap();
        let sets = BTreeMap::from([(DiskRole::Os, "/des".to_owned()), (DiskRole::Data(3), "/des3".to_owned())]);
        let image = CapturedImage { id: &image, os: OsType::Linux, generation: Generation::V2, encryption_sets: &sets };
        let [gallery, definition, version] = scratch.items(&image, "f");
        assert!(!gallery.id.name.as_str().contains('-'), "{}", gallery.id);
        assert_eq!(version.id, scratch.version());
        assert_eq!((version.id.parent(), definition.id.parent()), (Some(definition.id.clone()), Some(gallery.id)));
        assert_eq!(version.body["properties"]["storageProfile"], json!({ "source": { "id": id } }));
        let replica = &version.body["properties"]["publishingProfile"];
        assert_eq!(
            (&replica["replicationMode"], &replica["targetRegions"][0]["name"]),
            (&json!("Shallow"), &json!("westeurope"))
        );
        let encryption = &replica["targetRegions"][0]["encryption"];
        assert_eq!(encryption["dataDiskImages"], json!([{ "lun": 3, "diskEncryptionSetId": "/des3" }]));
        for body in [&gallery.body, &definition.body, &version.body] {
            assert_eq!(
                (&body["tags"]["goldfleet-role"], &body["location"]),
                (&json!("temporary"), &json!("westeurope"))
            );
        }
        let disk =
            |role| scratch.disk_body(&VersionRef::Own(scratch.version()), role, &DiskSettings::default()).to_json();
        assert_eq!(disk(DiskRole::Data(3))["properties"]["creationData"]["galleryImageReference"]["lun"], 3);
        assert_eq!(disk(DiskRole::Os)["properties"]["networkAccessPolicy"], "DenyAll");
        assert_ne!(scratch.disk(DiskRole::Os), scratch.disk(DiskRole::Data(3)));
    }
}
