//! Golden images and the managed images that are created from them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::artifact::DiskRole;
use super::ids::{ImageName, ImageVersion, JobId, VHD_SEPARATOR};
use super::manifest::Digest;

/// A version of a golden image, and the digest of its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageRef {
    /// The image's name.
    pub name: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The digest of its artifact record: see [`Artifact::digest`](crate::artifact::Artifact::digest).
    pub digest: Digest,
}

/// The naming of VHDs in a target's container. All VHDs of one image share a name prefix that no other VHD has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VhdNames {
    /// `<image>/<version>.vhd`: one folder per image.
    Folders,
    /// `<image>__<version>.vhd`. It has no slash because Microsoft.Compute does not create disks from blobs with a
    /// slash in their name. Source: Azure, common error messages of virtual machines, `InvalidParameter`: "The blob
    /// name in URL contains a slash. This is presently not supported for disks."
    Flat,
}

impl VhdNames {
    /// The name of the VHD of a disk of an image version: `<image>/<version>.vhd`, or
    /// `<image>/<version>__data-3.vhd` for a data disk.
    #[must_use]
    pub fn name(self, image: &ImageName, version: &ImageVersion, role: DiskRole) -> String {
        format!("{}{version}{}.vhd", self.prefix(image), Self::suffix(role))
    }

    /// The suffix of the names of VHDs of disks with this role. No version contains the separator.
    fn suffix(role: DiskRole) -> String {
        match role {
            DiskRole::Os => String::new(),
            DiskRole::Data(_) => format!("{VHD_SEPARATOR}{role}"),
        }
    }

    /// The prefix of the names of all VHDs of an image.
    #[must_use]
    pub fn prefix(self, image: &ImageName) -> String {
        let separator = match self {
            Self::Folders => "/",
            Self::Flat => VHD_SEPARATOR,
        };
        format!("{image}{separator}")
    }

    /// The version whose VHD of this disk of `image` has the name `name`. None if it is not such a VHD.
    #[must_use]
    pub fn version(self, image: &ImageName, role: DiskRole, name: &str) -> Option<ImageVersion> {
        let middle = name.strip_prefix(&self.prefix(image))?.strip_suffix(".vhd")?;
        middle.strip_suffix(&Self::suffix(role))?.parse().ok()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The storage type of an image's disk. Source: Microsoft.Compute 2025-04-01, `StorageAccountTypes`, the values that
/// are valid for an image's OS disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageType {
    /// Standard HDD, locally redundant storage. Azure retires OS disks on it on 2028-09-08 (source: Microsoft,
    /// `disks-hdd-os-retirement`).
    #[serde(rename = "Standard_LRS")]
    StandardLrs,
    /// Standard SSD, locally redundant storage.
    #[default]
    #[serde(rename = "StandardSSD_LRS")]
    StandardSsdLrs,
    /// Premium SSD, locally redundant storage.
    #[serde(rename = "Premium_LRS")]
    PremiumLrs,
}

impl StorageType {
    /// The name in Resource Manager.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StandardLrs => "Standard_LRS",
            Self::StandardSsdLrs => "StandardSSD_LRS",
            Self::PremiumLrs => "Premium_LRS",
        }
    }
}

/// The host's cache of a data disk. Source: Microsoft.Compute 2025-04-01, `CachingTypes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caching {
    /// No cache.
    #[default]
    None,
    /// Reads are cached.
    ReadOnly,
    /// Reads and writes are cached. A program must flush its writes.
    ReadWrite,
}

impl Caching {
    /// The name in Resource Manager.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::ReadOnly => "ReadOnly",
            Self::ReadWrite => "ReadWrite",
        }
    }
}

/// The tags that identify images created by goldfleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTags {
    /// The golden image, version and digest.
    pub image: ImageRef,
    /// The job that created the managed image.
    pub job: JobId,
}

impl ImageTags {
    /// Tag: the name of the golden image.
    pub const IMAGE: &'static str = "goldfleet-image";
    /// Tag: the version of the golden image.
    pub const VERSION: &'static str = "goldfleet-version";
    /// Tag: the digest of the golden image.
    pub const DIGEST: &'static str = "goldfleet-digest";
    /// Tag: the job that created the managed image.
    pub const JOB: &'static str = "goldfleet-job";

    /// The beginning of the names of all tags that goldfleet sets.
    pub const PREFIX: &'static str = "goldfleet-";

    /// The tags as a map for a resource.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (Self::IMAGE.to_owned(), self.image.name.to_string()),
            (Self::VERSION.to_owned(), self.image.version.to_string()),
            (Self::DIGEST.to_owned(), self.image.digest.to_string()),
            (Self::JOB.to_owned(), self.job.to_string()),
        ])
    }

    /// The digest in the tags of a resource. None if it is missing or invalid.
    #[must_use]
    pub fn digest_in(tags: &BTreeMap<String, String>) -> Option<Digest> {
        tags.get(Self::DIGEST)?.parse().ok()
    }

    /// The golden image and version in the tags of a resource, separated by a space.
    #[must_use]
    pub fn version_in(tags: &BTreeMap<String, String>) -> String {
        let tag = |name| tags.get(name).map_or("?", String::as_str);
        format!("{} {}", tag(Self::IMAGE), tag(Self::VERSION))
    }
}

/// The metadata that identifies VHDs created by goldfleet in staging containers.
#[derive(Debug, Clone, Copy)]
pub struct VhdMetadata;

impl VhdMetadata {
    /// The digest of the manifest from which the VHD was assembled.
    pub const DIGEST: &'static str = "goldfleet_digest";
    /// The job that created the VHD.
    pub const JOB: &'static str = "goldfleet_job";
    /// The base version that the VHD was cloned from, if any: the version and the digest of the disk's manifest there,
    /// separated by a space.
    pub const BASE: &'static str = "goldfleet_base";
    /// The incarnation of the blob: a new UUID for every blob that is created, even under the same name.
    pub const INCARNATION: &'static str = "goldfleet_incarnation";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vhd_names_map_to_one_version() {
        let image = |name: &str, version: &str| -> (ImageName, ImageVersion) {
            (name.parse().unwrap(), version.parse().unwrap())
        };
        let (os, data) = (DiskRole::Os, DiskRole::Data(3));
        let (short, long) = (image("web", "1_2-3"), image("web-1_2", "3"));
        let name = |names: VhdNames, of: &(ImageName, ImageVersion), role| names.name(&of.0, &of.1, role);
        assert_eq!(name(VhdNames::Folders, &short, os), "web/1_2-3.vhd");
        assert_eq!(name(VhdNames::Flat, &short, os), "web__1_2-3.vhd");
        assert_eq!(name(VhdNames::Flat, &short, data), "web__1_2-3__data-3.vhd");
        for names in [VhdNames::Folders, VhdNames::Flat] {
            assert_ne!(name(names, &image("web-1", "2"), os), name(names, &image("web", "1-2"), os));
            for (image, role) in [(&short, os), (&long, os), (&short, data)] {
                let text = name(names, image, role);
                assert_eq!(names.version(&image.0, role, &text).as_ref(), Some(&image.1));
                for other in [os, data, DiskRole::Data(4)].into_iter().filter(|other| *other != role) {
                    assert_eq!(names.version(&image.0, other, &text), None, "{text} is not of {other}");
                }
            }
            assert_eq!(names.version(&long.0, os, &name(names, &short, os)), None);
            assert_eq!(names.version(&short.0, os, &(names.prefix(&short.0) + "1.vhdx")), None);
        }
        assert!("web__1".parse::<ImageName>().is_err() && "1__2".parse::<ImageVersion>().is_err());
    }
}
