//! Golden images and the managed images made from them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::{
    ImageName, ImageVersion, JobId, ManagedImageName, Region, ResourceGroup, SubscriptionId, VHD_SEPARATOR,
};
use super::manifest::{Digest, Generation, OsType};
use super::store::BlobAddress;

/// A golden image's version, and the digest of its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageRef {
    /// The image's name.
    pub name: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The digest of the manifest.
    pub digest: Digest,
}

/// How VHDs are named in a target's container. The names of one image's VHDs begin alike, and no others begin so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VhdNames {
    /// `<image>/<version>.vhd`: a folder for each image.
    Folders,
    /// `<image>__<version>.vhd`, without a slash, as Microsoft.Compute makes no disk of a blob that has one. Source: Azure,
    /// common error messages of virtual machines, `InvalidParameter`: "The blob name in URL contains a slash. This is
    /// presently not supported for disks."
    Flat,
}

impl VhdNames {
    /// The name of an image version's VHD.
    #[must_use]
    pub fn name(self, image: &ImageRef) -> String {
        format!("{}{}.vhd", self.prefix(&image.name), image.version)
    }

    /// What the names of all VHDs of an image begin with.
    #[must_use]
    pub fn prefix(self, image: &ImageName) -> String {
        let separator = match self {
            Self::Folders => "/",
            Self::Flat => VHD_SEPARATOR,
        };
        format!("{image}{separator}")
    }

    /// The version whose VHD of `image` is called `name`; none where it is no such VHD.
    #[must_use]
    pub fn version(self, image: &ImageName, name: &str) -> Option<ImageVersion> {
        name.strip_prefix(&self.prefix(image))?.strip_suffix(".vhd")?.parse().ok()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Where a managed image is: its resource id in parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManagedImageId {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The resource group.
    pub resource_group: ResourceGroup,
    /// The image's name.
    pub name: ManagedImageName,
}

impl fmt::Display for ManagedImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute/images/{}",
            self.subscription, self.resource_group, self.name
        )
    }
}

/// The storage of an image's disk. Source: Microsoft.Compute 2025-04-01, `StorageAccountTypes`, those that an image's OS
/// disk takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageType {
    /// Hard disks, one zone.
    #[default]
    #[serde(rename = "Standard_LRS")]
    StandardLrs,
    /// Standard solid state disks, one zone.
    #[serde(rename = "StandardSSD_LRS")]
    StandardSsdLrs,
    /// Premium solid state disks, one zone.
    #[serde(rename = "Premium_LRS")]
    PremiumLrs,
}

impl StorageType {
    /// As Resource Manager calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StandardLrs => "Standard_LRS",
            Self::StandardSsdLrs => "StandardSSD_LRS",
            Self::PremiumLrs => "Premium_LRS",
        }
    }
}

/// What a managed image is to be made from and like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedImageSpec {
    /// Where the image is to be.
    pub id: ManagedImageId,
    /// The region, which must be that of the VHD.
    pub region: Region,
    /// The VHD, in a storage account of the image's subscription and region.
    pub vhd: BlobAddress,
    /// The operating system on it.
    pub os: OsType,
    /// The Hyper-V generation.
    pub generation: Generation,
    /// The storage of the image's disk.
    pub storage_type: StorageType,
    /// The disk encryption set's resource id, if any.
    pub disk_encryption_set: Option<String>,
    /// The tenant to authenticate against, where it differs from the credential's.
    pub tenant: Option<String>,
    /// Tags: see [`ImageTags`].
    pub tags: BTreeMap<String, String>,
}

/// The tags by which goldfleet knows its own images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTags {
    /// The golden image, version and digest.
    pub image: ImageRef,
    /// The job that made the managed image.
    pub job: JobId,
}

impl ImageTags {
    /// Tag: the golden image's name.
    pub const IMAGE: &'static str = "goldfleet-image";
    /// Tag: its version.
    pub const VERSION: &'static str = "goldfleet-version";
    /// Tag: its digest.
    pub const DIGEST: &'static str = "goldfleet-digest";
    /// Tag: the job that made the managed image.
    pub const JOB: &'static str = "goldfleet-job";

    /// As tags of a resource.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (Self::IMAGE.to_owned(), self.image.name.to_string()),
            (Self::VERSION.to_owned(), self.image.version.to_string()),
            (Self::DIGEST.to_owned(), self.image.digest.to_string()),
            (Self::JOB.to_owned(), self.job.to_string()),
        ])
    }

    /// The digest that a resource's tags name, if they do.
    #[must_use]
    pub fn digest_in(tags: &BTreeMap<String, String>) -> Option<Digest> {
        tags.get(Self::DIGEST)?.parse().ok()
    }

    /// The golden image and version that a resource's tags name, with a blank between.
    #[must_use]
    pub fn version_in(tags: &BTreeMap<String, String>) -> String {
        let tag = |name| tags.get(name).map_or("?", String::as_str);
        format!("{} {}", tag(Self::IMAGE), tag(Self::VERSION))
    }
}

/// The metadata by which goldfleet knows its own VHDs in staging containers.
#[derive(Debug, Clone, Copy)]
pub struct VhdMetadata;

impl VhdMetadata {
    /// The digest of the image version that the VHD is made of.
    pub const DIGEST: &'static str = "goldfleet_digest";
    /// The job that made it.
    pub const JOB: &'static str = "goldfleet_job";
    /// The version that it began as, where it began as a copy of one: the version and its digest, with a blank between.
    pub const BASE: &'static str = "goldfleet_base";
    /// Which of all blobs that ever lay in its place it is: a UUID of its own for every blob that is made.
    pub const INCARNATION: &'static str = "goldfleet_incarnation";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vhd_names_map_to_one_version() {
        let image = |name: &str, version: &str| ImageRef {
            name: name.parse().unwrap(),
            version: version.parse().unwrap(),
            digest: crate::hash::digest_of(b"any"),
        };
        let (short, long) = (image("web", "1_2-3"), image("web-1_2", "3"));
        assert_eq!(VhdNames::Folders.name(&short), "web/1_2-3.vhd");
        assert_eq!(VhdNames::Flat.name(&short), "web__1_2-3.vhd");
        for names in [VhdNames::Folders, VhdNames::Flat] {
            assert_ne!(names.name(&image("web-1", "2")), names.name(&image("web", "1-2")));
            for image in [&short, &long] {
                assert_eq!(names.version(&image.name, &names.name(image)).as_ref(), Some(&image.version));
            }
            assert_eq!(names.version(&long.name, &names.name(&short)), None);
            assert_eq!(names.version(&short.name, &(names.prefix(&short.name) + "1.vhdx")), None);
        }
        assert!("web__1".parse::<ImageName>().is_err() && "1__2".parse::<ImageVersion>().is_err());
    }
}
