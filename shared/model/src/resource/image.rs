//! The properties of managed images. Source: Microsoft.Compute, ComputeRP 2025-04-01, `ImageProperties`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ResourceId;
use super::text::optional;
use crate::image::{Caching, StorageType};
use crate::manifest::{Generation, OsType};

/// The properties of a managed image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageProperties {
    /// The Hyper-V generation.
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub hyper_v_generation: Option<Generation>,
    /// The disks. None for the image of a machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_profile: Option<ImageStorageProfile>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The disks of a managed image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStorageProfile {
    /// The OS disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_disk: Option<ImageDisk>,
    /// The data disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_disks: Vec<ImageDataDisk>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A data disk of a managed image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageDataDisk {
    /// The number by which the operating system of a machine finds the disk.
    pub lun: u32,
    /// The disk.
    #[serde(flatten)]
    pub disk: ImageDisk,
}

/// A disk of a managed image. It has one of the three sources.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageDisk {
    /// The operating system.
    #[serde(with = "optional", skip_serializing_if = "Option::is_none")]
    pub os_type: Option<OsType>,
    /// `Generalized` or `Specialized`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_state: Option<String>,
    /// The source: the URL of a VHD, in the format of the adapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_uri: Option<String>,
    /// The source: a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Attachment>,
    /// The source: a managed disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_disk: Option<Attachment>,
    /// The cache of the disk of a machine that is created from the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caching: Option<String>,
    /// The storage type of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_account_type: Option<String>,
    /// The disk encryption set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_encryption_set: Option<Attachment>,
    /// Properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A snapshot from which a data disk of an image or gallery version is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSnapshot {
    /// The LUN of the disk.
    pub lun: u8,
    /// The snapshot.
    pub snapshot: ResourceId,
}

/// A reference to another resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its resource id.
    pub id: String,
}

impl ImageProperties {
    /// A generalized image of the VHD at `blob_uri`, which is a URL in the format of the adapter.
    #[must_use]
    pub fn of_vhd(blob_uri: String, os: OsType, generation: Generation, storage: StorageType) -> Self {
        let source = ImageDisk { blob_uri: Some(blob_uri), ..ImageDisk::default() };
        Self::generalized(source, os, generation, storage)
    }

    /// A generalized image of a snapshot.
    #[must_use]
    pub fn of_snapshot(snapshot: &ResourceId, os: OsType, generation: Generation, storage: StorageType) -> Self {
        let source = ImageDisk { snapshot: Some(Attachment { id: snapshot.to_string() }), ..ImageDisk::default() };
        Self::generalized(source, os, generation, storage)
    }

    fn generalized(source: ImageDisk, os: OsType, generation: Generation, storage: StorageType) -> Self {
        let os_disk = ImageDisk {
            os_type: Some(os),
            os_state: Some("Generalized".to_owned()),
            caching: Some("ReadWrite".to_owned()),
            storage_account_type: Some(storage.as_str().to_owned()),
            ..source
        };
        let storage_profile = ImageStorageProfile { os_disk: Some(os_disk), ..ImageStorageProfile::default() };
        Self { hyper_v_generation: Some(generation), storage_profile: Some(storage_profile), ..Self::default() }
    }

    /// Adds data disks, each with its LUN and its source. They have the storage type of the OS disk.
    #[must_use]
    pub fn with_data_disks(mut self, disks: impl IntoIterator<Item = ImageDataDisk>) -> Self {
        if let Some(profile) = &mut self.storage_profile {
            let storage = profile.os_disk.as_ref().and_then(|disk| disk.storage_account_type.clone());
            profile.data_disks.extend(disks.into_iter().map(|mut data| {
                data.disk.storage_account_type.clone_from(&storage);
                data
            }));
        }
        self
    }

    /// Sets the disk encryption set of all disks.
    #[must_use]
    pub fn with_encryption_set(mut self, id: Option<&str>) -> Self {
        if let Some(profile) = &mut self.storage_profile {
            for disk in profile.os_disk.iter_mut().chain(profile.data_disks.iter_mut().map(|data| &mut data.disk)) {
                disk.disk_encryption_set = id.map(|id| Attachment { id: id.to_owned() });
            }
        }
        self
    }

    /// All disks: the OS disk first, then the data disks.
    pub fn disks(&self) -> impl Iterator<Item = &ImageDisk> {
        let profile = self.storage_profile.as_ref();
        let data = profile.map_or(&[][..], |profile| &profile.data_disks);
        profile.and_then(|profile| profile.os_disk.as_ref()).into_iter().chain(data.iter().map(|data| &data.disk))
    }

    /// The data disks, each with its LUN.
    #[must_use]
    pub fn data_disks(&self) -> &[ImageDataDisk] {
        self.storage_profile.as_ref().map_or(&[][..], |profile| &profile.data_disks)
    }

    /// A text that distinguishes the image from another one that gets its id later. Managed images have no unique id,
    /// so two images whose disks have the same sources have the same text.
    #[must_use]
    pub fn fingerprint(&self, id: &ResourceId) -> String {
        let sources: Vec<&str> = self.disks().map(|disk| disk.source().unwrap_or_default()).collect();
        let machine = self.other.get("sourceVirtualMachine").map(ToString::to_string).unwrap_or_default();
        let text = format!("{}\n{}\n{machine}", id.key(), sources.join("\n")).to_ascii_lowercase();
        format!("image-{}", &blake3::hash(text.as_bytes()).to_hex()[..40])
    }

    /// The OS disk.
    #[must_use]
    pub fn os_disk(&self) -> Option<&ImageDisk> {
        self.storage_profile.as_ref()?.os_disk.as_ref()
    }
}

impl ImageDataDisk {
    /// A data disk of the VHD at `blob_uri`, which is a URL in the format of the adapter.
    #[must_use]
    pub fn of_vhd(lun: u32, blob_uri: String, caching: Caching) -> Self {
        Self::of(lun, caching, ImageDisk { blob_uri: Some(blob_uri), ..ImageDisk::default() })
    }

    /// A data disk of a snapshot.
    #[must_use]
    pub fn of_snapshot(lun: u32, snapshot: &ResourceId, caching: Caching) -> Self {
        let snapshot = Some(Attachment { id: snapshot.to_string() });
        Self::of(lun, caching, ImageDisk { snapshot, ..ImageDisk::default() })
    }

    fn of(lun: u32, caching: Caching, source: ImageDisk) -> Self {
        Self { lun, disk: ImageDisk { caching: Some(caching.as_str().to_owned()), ..source } }
    }
}

impl ImageDisk {
    /// The source of the disk: the URL of a VHD, or the id of a snapshot or disk.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        let resource = self.snapshot.as_ref().or(self.managed_disk.as_ref());
        self.blob_uri.as_deref().or_else(|| resource.map(|resource| resource.id.as_str()))
    }
}
