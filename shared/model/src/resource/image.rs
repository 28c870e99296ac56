//! The properties of managed images. Source: Microsoft.Compute, ComputeRP 2025-04-01, `ImageProperties`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ResourceId;
use super::text::optional;
use crate::image::StorageType;
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
    /// Data disks and other properties that goldfleet does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The OS disk of a managed image. It has one of the three sources.
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

    /// Sets the disk encryption set of the OS disk.
    #[must_use]
    pub fn with_encryption_set(mut self, id: Option<&str>) -> Self {
        if let Some(disk) = self.storage_profile.as_mut().and_then(|profile| profile.os_disk.as_mut()) {
            disk.disk_encryption_set = id.map(|id| Attachment { id: id.to_owned() });
        }
        self
    }

    /// The OS disk.
    #[must_use]
    pub fn os_disk(&self) -> Option<&ImageDisk> {
        self.storage_profile.as_ref()?.os_disk.as_ref()
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
