//! References to gallery versions: one that a resource id names, and one of a gallery that others share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ResourceId, ResourceType, VersionSource};
use crate::ids::{InvalidName, ResourceName};
use crate::serde_as_string;

/// A version of a gallery that others share with this tenant or with everybody. It has no resource id: its resource
/// group is not visible. Source: Microsoft.Compute, DiskRP 2025-01-02, `ImageDiskReference`; GalleryRP 2024-03-03,
/// `SharedGallery` and `CommunityGallery`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SharedVersion {
    /// Whether everybody may read it. Otherwise the gallery is shared with subscriptions or tenants.
    pub is_community: bool,
    /// The unique name of a shared gallery, or the public name of a community gallery.
    pub gallery: ResourceName,
    /// The image definition.
    pub definition: ResourceName,
    /// The version.
    pub version: ResourceName,
}

impl FromStr for SharedVersion {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            what: "shared gallery version",
            given: text.to_owned(),
            rule: "use /SharedGalleries/NAME/Images/DEFINITION/Versions/VERSION, or the same with /CommunityGalleries",
        };
        let parts: Vec<&str> = text.strip_prefix('/').ok_or_else(invalid)?.split('/').collect();
        let [galleries, gallery, images, definition, versions, version] = parts[..] else { return Err(invalid()) };
        let is_community = galleries.eq_ignore_ascii_case("CommunityGalleries");
        let is_known = is_community || galleries.eq_ignore_ascii_case("SharedGalleries");
        if !is_known || !images.eq_ignore_ascii_case("Images") || !versions.eq_ignore_ascii_case("Versions") {
            return Err(invalid());
        }
        Ok(Self { is_community, gallery: gallery.parse()?, definition: definition.parse()?, version: version.parse()? })
    }
}

serde_as_string!(SharedVersion);

impl fmt::Display for SharedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let galleries = if self.is_community { "CommunityGalleries" } else { "SharedGalleries" };
        write!(f, "/{galleries}/{}/Images/{}/Versions/{}", self.gallery, self.definition, self.version)
    }
}

/// A gallery version from which a disk is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum VersionRef {
    /// One that a resource id names.
    Own(ResourceId),
    /// One of a gallery that others share.
    Shared(SharedVersion),
}

impl VersionRef {
    /// The reference in the creation data of a disk. `lun` is that of a data disk of the version. None for the OS disk.
    #[must_use]
    pub fn to_source(&self, lun: Option<u8>) -> VersionSource {
        let mut source = match self {
            Self::Own(id) => VersionSource::of(id),
            Self::Shared(shared) => {
                let name = if shared.is_community { "communityGalleryImageId" } else { "sharedGalleryImageId" };
                let other = Map::from_iter([(name.to_owned(), Value::from(shared.to_string()))]);
                VersionSource { id: None, other }
            }
        };
        source.other.extend(lun.map(|lun| ("lun".to_owned(), Value::from(lun))));
        source
    }

    /// The version and the LUN that the creation data of a disk name. None if they name no version.
    #[must_use]
    pub fn of_source(source: &VersionSource) -> Option<(Self, Option<u8>)> {
        let lun = source.other.get("lun").filter(|lun| !lun.is_null());
        let lun = match lun {
            None => None,
            Some(lun) => Some(u8::try_from(lun.as_u64()?).ok()?),
        };
        if let Some(id) = &source.id {
            let id: ResourceId = id.parse().ok()?;
            return (id.resource_type == ResourceType::GalleryVersion).then_some((Self::Own(id), lun));
        }
        let names = ["sharedGalleryImageId", "communityGalleryImageId"];
        let shared = names.into_iter().find_map(|name| source.other.get(name)?.as_str())?;
        Some((Self::Shared(shared.parse().ok()?), lun))
    }
}

impl FromStr for VersionRef {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "use the id of a gallery version, /SharedGalleries/NAME/Images/DEFINITION/Versions/VERSION, or the same with \
                    /CommunityGalleries";
        let invalid = || InvalidName { what: "gallery version", given: text.to_owned(), rule };
        if let Ok(shared) = text.parse() {
            return Ok(Self::Shared(shared));
        }
        let id: ResourceId = text.parse().map_err(|_| invalid())?;
        if id.resource_type == ResourceType::GalleryVersion { Ok(Self::Own(id)) } else { Err(invalid()) }
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(id) => id.fmt(f),
            Self::Shared(shared) => shared.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OWN: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/g/providers/Microsoft.Compute/\
                       galleries/corp/images/ubuntu/versions/1.0.0";

    #[test]
    fn references_are_read_and_written() {
        for (text, lun, expected) in [
            (OWN, None, json!({ "id": OWN })),
            (OWN, Some(5), json!({ "id": OWN, "lun": 5 })),
            (
                "/SharedGalleries/0-CORP/Images/ubuntu/Versions/1.0.0",
                None,
                json!({ "sharedGalleryImageId": "/SharedGalleries/0-CORP/Images/ubuntu/Versions/1.0.0" }),
            ),
            (
                "/CommunityGalleries/corp-1/Images/ubuntu/Versions/1.0.0",
                Some(0),
                json!({ "communityGalleryImageId": "/CommunityGalleries/corp-1/Images/ubuntu/Versions/1.0.0", "lun": 0 }),
            ),
        ] {
            let version: VersionRef = text.parse().unwrap();
            assert_eq!(version.to_string(), text);
            assert_eq!(json!(version.to_source(lun)), expected);
            assert_eq!(VersionRef::of_source(&version.to_source(lun)), Some((version.clone(), lun)));
            assert_eq!(serde_json::from_value::<VersionRef>(json!(version)).unwrap(), version);
        }
    }

    #[test]
    fn other_references_are_rejected() {
        for bad in [
            OWN.strip_suffix("/versions/1.0.0").unwrap(),
            "/SharedGalleries/a/Images/b",
            "/OtherGalleries/a/Images/b/Versions/1.0.0",
            "SharedGalleries/a/Images/b/Versions/1.0.0",
            "/SharedGalleries/a/Images/b/Versions/",
        ] {
            assert!(bad.parse::<VersionRef>().is_err(), "{bad}");
        }
        let disk = VersionSource {
            id: Some(OWN.replace("galleries/corp/images/ubuntu/versions/1.0.0", "disks/d")),
            other: Map::new(),
        };
        assert_eq!(VersionRef::of_source(&disk), None);
        assert_eq!(VersionRef::of_source(&VersionSource::default()), None);
    }
}
