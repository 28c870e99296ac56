//! The artifact record of an image version: its disks, and how it was uploaded.
//!
//! It is written last, so a version exists when its record exists. [`codec`] defines the encoding.

pub mod codec;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hash::{Digest, digest_of};
use crate::ids::{ImageName, ImageVersion, InvalidName, JobId};
use crate::image::ImageRef;
use crate::manifest::{ChunkEntry, Generation, Manifest, OsType};
use crate::serde_as_string;
use crate::system::System;
pub use codec::ArtifactError;

/// The prefix of the names of artifact records in the source store.
pub const ARTIFACTS: &str = "artifacts/";

/// The name of the artifact record of an image version in the source store.
#[must_use]
pub fn artifact_name(image: &ImageName, version: &ImageVersion) -> String {
    format!("{ARTIFACTS}{image}/{version}.jsonl")
}

/// The image version whose artifact record has this name. None if it is not such a name.
#[must_use]
pub fn version_of(name: &str) -> Option<(ImageName, ImageVersion)> {
    let (image, version) = name.strip_prefix(ARTIFACTS)?.strip_suffix(".jsonl")?.split_once('/')?;
    Some((image.parse().ok()?, version.parse().ok()?))
}

/// The role of a disk. Disks are ordered: the OS disk first, then data disks by LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DiskRole {
    /// The OS disk. Written `os`.
    #[default]
    Os,
    /// A data disk with its LUN. Written `data-3`.
    Data(u8),
}

impl DiskRole {
    /// The highest LUN. Source: Azure, `maxDataDiskCount` of the largest virtual machine sizes, 64.
    pub const MAX_LUN: u8 = 63;

    /// The LUN of a data disk. None for the OS disk.
    #[must_use]
    pub fn lun(self) -> Option<u8> {
        match self {
            Self::Os => None,
            Self::Data(lun) => Some(lun),
        }
    }
}

impl fmt::Display for DiskRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os => f.pad("os"),
            Self::Data(lun) => f.pad(&format!("data-{lun}")),
        }
    }
}

impl FromStr for DiskRole {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let lun = |digits: &str| digits.parse::<u8>().ok().filter(|lun| *lun <= Self::MAX_LUN);
        let role = match text.strip_prefix("data-") {
            _ if text == "os" => Some(Self::Os),
            Some(digits) => lun(digits).map(Self::Data),
            None => None,
        };
        // A LUN such as 03 would be a second name of the same disk.
        role.filter(|role| role.to_string() == text).ok_or_else(|| InvalidName {
            what: "disk",
            given: text.to_owned(),
            rule: "use os, or data- and a LUN from 0 to 63",
        })
    }
}

serde_as_string!(DiskRole);

/// A disk of an image version, and the digest of its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DiskRef {
    /// The role of the disk.
    #[serde(rename = "disk")]
    pub role: DiskRole,
    /// The digest of its manifest.
    pub manifest: Digest,
}

/// A disk in an artifact record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactDisk {
    /// The disk and the digest of its manifest.
    pub disk: DiskRef,
    /// Its logical size in bytes, without the footer.
    pub size: u64,
    /// The sum of the lengths of its chunks in bytes, without zero runs.
    pub data_bytes: u64,
}

impl ArtifactDisk {
    /// The disk with this role and content.
    #[must_use]
    pub fn new(role: DiskRole, manifest: &Manifest) -> Self {
        let disk = DiskRef { role, manifest: digest_of(&manifest.encode()) };
        Self { disk, size: manifest.size, data_bytes: manifest.data_bytes() }
    }
}

/// The content of an image version. Equal content is equal under any name, regardless of the uploader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The operating system.
    pub os: OsType,
    /// The Hyper-V generation.
    pub generation: Generation,
    /// The disks: the OS disk first, then data disks by LUN.
    pub disks: Vec<ArtifactDisk>,
}

impl Artifact {
    /// The artifact whose only disk is an OS disk.
    #[must_use]
    pub fn of_os_disk(os: OsType, generation: Generation, manifest: &Manifest) -> Self {
        Self { os, generation, disks: vec![ArtifactDisk::new(DiskRole::Os, manifest)] }
    }

    /// The digest: the hash of the lines of the record that describe the content. The other lines say who uploaded it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_of(&self.encode_content())
    }

    /// The content as a version of an image.
    #[must_use]
    pub fn named(&self, name: &ImageName, version: &ImageVersion) -> ImageRef {
        ImageRef { name: name.clone(), version: version.clone(), digest: self.digest() }
    }

    /// The disk with this role.
    #[must_use]
    pub fn disk(&self, role: DiskRole) -> Option<&ArtifactDisk> {
        self.disks.iter().find(|disk| disk.disk.role == role)
    }

    /// The sum of the logical sizes of all disks in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.disks.iter().map(|disk| disk.size).sum()
    }

    /// The sum of the lengths of the chunks of all disks in bytes.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.disks.iter().map(|disk| disk.data_bytes).sum()
    }

    /// Describes the differences to another artifact, without the content of disks that both have. Empty if both have
    /// the same digest, or if only the content of disks differs.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.os != other.os {
            found.push(format!("its operating system ({}, not {})", self.os, other.os));
        }
        if self.generation != other.generation {
            found.push(format!("its generation ({}, not {})", self.generation, other.generation));
        }
        let roles = |artifact: &Self| {
            artifact.disks.iter().map(|disk| disk.disk.role.to_string()).collect::<Vec<_>>().join(", ")
        };
        if roles(self) != roles(other) {
            found.push(format!("its disks ({}, not {})", roles(self), roles(other)));
        }
        found
    }
}

/// How a version was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// When the record was encoded.
    pub uploaded: Timestamp,
    /// The upload.
    pub upload: JobId,
    /// Who uploaded it, in the form that events use for operators.
    pub by: String,
    /// The source: the absolute path of a file on the machine of the uploader, or the name of another source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The operating system that the check found. None if it was not checked, or if none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
}

/// The artifact record of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRecord {
    /// The content.
    pub artifact: Artifact,
    /// How it was uploaded.
    pub provenance: Provenance,
}

/// An image version with the manifests of its disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedVersion {
    /// The version.
    pub image: ImageRef,
    /// Its content.
    pub artifact: Artifact,
    /// The manifests of its disks, in the order of the disks.
    pub manifests: Vec<Manifest>,
}

impl LoadedVersion {
    /// The version whose only disk is an OS disk.
    #[must_use]
    pub fn of_os_disk(
        (name, version): (&ImageName, &ImageVersion),
        (os, generation): (OsType, Generation),
        manifest: Manifest,
    ) -> Self {
        let artifact = Artifact::of_os_disk(os, generation, &manifest);
        Self { image: artifact.named(name, version), artifact, manifests: vec![manifest] }
    }

    /// The disks with their manifests.
    pub fn disks(&self) -> impl Iterator<Item = (&ArtifactDisk, &Manifest)> {
        self.artifact.disks.iter().zip(&self.manifests)
    }

    /// The manifest of a disk. None if the version has no such disk.
    #[must_use]
    pub fn manifest(&self, disk: &DiskRef) -> Option<&Manifest> {
        self.disks().find(|(other, _)| other.disk == *disk).map(|(_, manifest)| manifest)
    }

    /// The chunks of all disks.
    pub fn chunks(&self) -> impl Iterator<Item = &ChunkEntry> {
        self.manifests.iter().flat_map(|manifest| &manifest.chunks)
    }

    /// The sum of the lengths of distinct chunks in bytes: the space that a store needs.
    #[must_use]
    pub fn unique_bytes(&self) -> u64 {
        let mut seen = HashSet::new();
        self.chunks().filter(|chunk| seen.insert(chunk.hash)).map(|chunk| u64::from(chunk.length)).sum()
    }
}

#[cfg(test)]
mod tests;
