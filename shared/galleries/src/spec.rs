//! What is published, and the bodies of the requests. Source: Microsoft.Compute, GalleryRP 2024-03-03.

use std::collections::BTreeMap;

use goldfleet_model::ids::{ImageName, InvalidName, JobId, Region};
use goldfleet_model::image::{ImageRef, ImageTags};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    BodyError, CreationData, DataDiskEncryption, DataDiskImage, DataSnapshot, DefinitionProperties,
    DiskImageEncryption, DiskProperties, GalleryFeature, GalleryIdentifier, GalleryVersionProperties, Properties,
    PublishingProfile, RegionEncryption, ResourceBody, ResourceId, ResourceType, SafetyProfile, Sku, TargetRegion,
    VersionDisk, VersionSource, VersionStorage,
};
use goldfleet_snapshots::names;
use goldfleet_snapshots::tags::{self, Role};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::settings::{Gallery, GalleryRegion, fill};

/// What a row publishes. It has all that a step needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishSpec {
    /// The fleet.
    pub fleet: Uuid,
    /// The job that publishes it.
    pub job: JobId,
    /// The image version.
    pub image: ImageRef,
    /// The version in the gallery.
    pub version: ResourceId,
    /// The snapshot from which the version is created, with its OS disk: a temporary of the job.
    pub source: ResourceId,
    /// The snapshots of its data disks, which are temporaries of the job too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataSnapshot>,
    /// The body of the definition.
    pub definition: Value,
    /// Whether a missing definition is created.
    pub create_definition: bool,
    /// The body of the version, with all wanted regions.
    pub body: Value,
    /// The temporary disk that proves that the version can be used in a region.
    pub trial: ResourceId,
    /// The time after which a region counts as failed if it has not become usable, in seconds.
    pub timeout_seconds: u64,
}

/// What is known about an image version before it is published.
#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    /// The fleet.
    pub fleet: Uuid,
    /// The job.
    pub job: &'a JobId,
    /// The image version.
    pub image: &'a ImageRef,
    /// The operating system.
    pub os: OsType,
    /// The Hyper-V generation.
    pub generation: Generation,
    /// What identifies the source: its unique id.
    pub source: &'a str,
    /// The LUNs of its data disks.
    pub data: &'a [u8],
    /// Further tags.
    pub tags: &'a BTreeMap<String, String>,
    /// When it is published.
    pub now: Timestamp,
}

/// The temporary snapshot in the resource group of a gallery from which a version is created.
fn snapshot_of(gallery: &Gallery, published: Published<'_>) -> ResourceId {
    temporary(gallery, published, ResourceType::Snapshot, "gallery")
}

/// The temporary snapshots of its data disks.
fn data_snapshots_of(gallery: &Gallery, published: Published<'_>) -> Vec<DataSnapshot> {
    let of = |&lun: &u8| {
        let snapshot = temporary(gallery, published, ResourceType::Snapshot, &format!("gallery.data-{lun}"));
        DataSnapshot { lun, snapshot }
    };
    published.data.iter().map(of).collect()
}

fn temporary(gallery: &Gallery, published: Published<'_>, resource_type: ResourceType, part: &str) -> ResourceId {
    let Published { fleet, job, source, .. } = published;
    let part = format!("{part}.{}", gallery.name.as_str().to_ascii_lowercase());
    let name = names::of_temporary(fleet, job, source, &gallery.place(), &gallery.region, &part);
    #[expect(clippy::expect_used, reason = "at most 80 letters, digits and hyphens")]
    let name = name.parse().expect("the name of a disk or snapshot");
    let place = gallery.place();
    ResourceId { subscription: place.subscription, resource_group: place.resource_group, resource_type, name }
}

impl PublishSpec {
    /// What a gallery receives.
    ///
    /// # Errors
    /// [`InvalidName`] if the name of the definition is not valid.
    pub fn new(gallery: &Gallery, published: Published<'_>) -> Result<Self, InvalidName> {
        let Published { fleet, job, image, .. } = published;
        let definition = gallery.definition_of(&image.name)?;
        Ok(Self {
            fleet,
            job: job.clone(),
            image: image.clone(),
            version: definition.child(ResourceType::GalleryVersion, &image.version.as_str().parse()?),
            source: snapshot_of(gallery, published),
            data: data_snapshots_of(gallery, published),
            definition: definition_body(gallery, published).to_json(),
            create_definition: gallery.create_definition,
            body: version_body(gallery, published).to_json(),
            trial: temporary(gallery, published, ResourceType::Disk, "trial"),
            timeout_seconds: u64::from(gallery.region_timeout_hours) * 3600,
        })
    }

    /// The snapshots from which the version is created, that of the OS disk first.
    pub fn sources(&self) -> impl Iterator<Item = &ResourceId> {
        std::iter::once(&self.source).chain(self.data.iter().map(|data| &data.snapshot))
    }

    /// The definition.
    #[must_use]
    pub fn definition_id(&self) -> ResourceId {
        // The id of a version always has a parent.
        self.version.parent().unwrap_or_else(|| self.version.clone())
    }

    /// The body of the definition.
    ///
    /// # Errors
    /// [`BodyError`] if the row is damaged.
    pub fn definition_body(&self) -> Result<ResourceBody, BodyError> {
        ResourceBody::from_json(ResourceType::Definition, self.definition.clone())
    }

    /// The body of the version.
    ///
    /// # Errors
    /// [`BodyError`] if the row is damaged.
    pub fn version_body(&self) -> Result<ResourceBody, BodyError> {
        ResourceBody::from_json(ResourceType::GalleryVersion, self.body.clone())
    }

    /// The body of the disk that proves that the version can be used in a region. `replication` names the replication
    /// to the region: a disk of an earlier one proves nothing about a later one.
    #[must_use]
    pub fn trial_body(&self, region: &Region, replication: &str) -> ResourceBody {
        let mut disk = DiskProperties::new(CreationData::from_version(&self.version));
        for (name, value) in [("networkAccessPolicy", "DenyAll"), ("publicNetworkAccess", "Disabled")] {
            disk.other.insert(name.to_owned(), Value::from(value));
        }
        let mut tags = tags::of_temporary(self.fleet, &self.job, replication);
        tags.extend(ImageTags { image: self.image.clone(), job: self.job.clone() }.to_map());
        let sku = Sku { name: "Standard_LRS".to_owned(), other: Map::new() };
        let body = ResourceBody::new(region.clone(), Properties::Disk(disk)).with_tags(tags);
        ResourceBody { sku: Some(sku), ..body }
    }
}

/// The properties of the definition of an image, as the configuration demands them.
#[must_use]
pub fn definition_of(gallery: &Gallery, image: &ImageName, os: OsType, generation: Generation) -> DefinitionProperties {
    let feature =
        |name: &str, value: &str| GalleryFeature { name: name.to_owned(), value: value.to_owned(), other: Map::new() };
    let mut features = Vec::new();
    // Only generation 2 has security types.
    if generation == Generation::V2 {
        features.push(feature("SecurityType", gallery.security_type.as_str()));
    }
    features.extend(gallery.features.iter().map(|(name, value)| feature(name, value)));
    DefinitionProperties {
        os_type: Some(os),
        os_state: Some(gallery.os_state.as_str().to_owned()),
        hyper_v_generation: Some(generation),
        architecture: Some(gallery.architecture.as_str().to_owned()),
        identifier: Some(GalleryIdentifier {
            publisher: fill(&gallery.publisher, image),
            offer: fill(&gallery.offer, image),
            sku: fill(&gallery.sku, image),
        }),
        features,
        other: Map::new(),
    }
}

fn definition_body(gallery: &Gallery, published: Published<'_>) -> ResourceBody {
    let definition = definition_of(gallery, &published.image.name, published.os, published.generation);
    let mut tags = published.tags.clone();
    tags.insert(tags::FLEET.to_owned(), published.fleet.to_string());
    ResourceBody::new(gallery.region.clone(), Properties::Definition(Box::new(definition))).with_tags(tags)
}

fn version_body(gallery: &Gallery, published: Published<'_>) -> ResourceBody {
    let Published { fleet, job, image, source, now, .. } = published;
    let disk =
        |snapshot: &ResourceId| VersionDisk { source: Some(VersionSource::of(snapshot)), ..VersionDisk::default() };
    let data = data_snapshots_of(gallery, published);
    let data = data.iter().map(|data| DataDiskImage { lun: data.lun.into(), disk: disk(&data.snapshot) });
    let storage = VersionStorage {
        os_disk_image: Some(disk(&snapshot_of(gallery, published))),
        data_disk_images: data.collect(),
        other: Map::new(),
    };
    let regions = gallery.all_regions();
    let end = gallery.end_of_life_days.map(|days| SignedDuration::from_hours(i64::from(days) * 24));
    let version = GalleryVersionProperties {
        publishing_profile: Some(PublishingProfile {
            target_regions: regions.iter().map(|region| target_region(region, published.data)).collect(),
            exclude_from_latest: Some(true),
            end_of_life_date: end.and_then(|end| now.checked_add(end).ok()).map(|end| end.to_string()),
            replication_mode: Some("Full".to_owned()),
            other: Map::new(),
        }),
        storage_profile: Some(storage),
        safety_profile: Some(SafetyProfile {
            // A region that cannot replicate is taken out and added again.
            allow_deletion_of_replicated_locations: Some(true),
            other: Map::new(),
        }),
        ..GalleryVersionProperties::default()
    };
    let mut all = published.tags.clone();
    all.extend(tags::of_temporary(fleet, job, source));
    all.extend(ImageTags { image: image.clone(), job: job.clone() }.to_map());
    all.insert(tags::ROLE.to_owned(), Role::Sink.as_str().to_owned());
    ResourceBody::new(gallery.region.clone(), Properties::GalleryVersion(Box::new(version))).with_tags(all)
}

/// The entry of a region. The version is not the latest one there before goldfleet promotes it.
fn target_region(region: &GalleryRegion, data: &[u8]) -> TargetRegion {
    let encryption = region.disk_encryption_set.as_ref().map(|id| {
        let of_disk = || DiskImageEncryption { disk_encryption_set_id: Some(id.clone()), other: Map::new() };
        let of_data = |lun: &u8| DataDiskEncryption { lun: (*lun).into(), encryption: of_disk() };
        RegionEncryption {
            os_disk_image: Some(of_disk()),
            data_disk_images: data.iter().map(of_data).collect(),
            other: Map::new(),
        }
    });
    TargetRegion {
        name: region.name.as_str().to_owned(),
        regional_replica_count: Some(region.replicas),
        storage_account_type: Some(region.storage.as_str().to_owned()),
        encryption,
        exclude_from_latest: Some(true),
        other: Map::new(),
    }
}
