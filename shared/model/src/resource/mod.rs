//! Resources of the platform: their types, their ids, and what their owner sets.
//!
//! A new type of resource is one variant of [`ResourceType`], its row in `ResourceType::info`, and one struct with
//! its properties in this folder.

mod body;
mod disk;
mod gallery;
mod image;
mod lock;
mod machine;
mod restore_point;
mod text;
mod version_ref;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{InvalidName, ResourceGroup, ResourceName, SubscriptionId};
use crate::serde_as_string;

pub use body::{BodyError, Properties, ResourceBody, Sku};
pub use disk::{
    CopyCompletionError, CreateOption, CreationData, DiskEncryption, DiskProperties, DiskState, SnapshotProperties,
};
pub use gallery::{
    DataDiskEncryption, DataDiskImage, DefinitionProperties, DiskImageEncryption, GalleryFeature, GalleryIdentifier,
    GalleryProperties, GalleryVersionProperties, PublishingProfile, RegionEncryption, RegionalReplication,
    ReplicationState, ReplicationStatus, SafetyProfile, TargetRegion, VersionDisk, VersionNumber, VersionSource,
    VersionStorage, region_named,
};
pub use image::{Attachment, DataSnapshot, ImageDataDisk, ImageDisk, ImageProperties, ImageStorageProfile};
pub use lock::{Lock, LockId, LockLevel};
pub use machine::{
    HardwareProfile, InstanceStatus, InstanceView, MachineDisk, MachineProperties, MachineSecurityProfile,
    MachineStorageProfile, ManagedDiskRef, PowerState,
};
pub use restore_point::{CollectionProperties, RestorePointProperties};
pub use version_ref::{SharedVersion, VersionRef};

/// A type of resource that goldfleet reads or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// A managed image.
    Image,
    /// A managed disk.
    Disk,
    /// A snapshot of a managed disk.
    Snapshot,
    /// A virtual machine.
    Machine,
    /// A gallery of images.
    Gallery,
    /// An image definition in a gallery.
    Definition,
    /// A version of an image definition.
    GalleryVersion,
    /// A collection of restore points of a machine.
    RestorePointCollection,
    /// A restore point of a machine: the contents of its disks at one moment.
    RestorePoint,
    /// A disk in a restore point. It has the properties of a snapshot.
    DiskRestorePoint,
}

/// The names of a resource type.
struct TypeInfo {
    /// The provider.
    namespace: &'static str,
    /// The segment of the type in a resource id.
    segment: &'static str,
    /// The name in messages.
    noun: &'static str,
}

impl ResourceType {
    /// All types.
    pub const ALL: [Self; 10] = [
        Self::Image,
        Self::Disk,
        Self::Snapshot,
        Self::Machine,
        Self::Gallery,
        Self::Definition,
        Self::GalleryVersion,
        Self::RestorePointCollection,
        Self::RestorePoint,
        Self::DiskRestorePoint,
    ];

    fn info(self) -> TypeInfo {
        let compute = |segment, noun| TypeInfo { namespace: "Microsoft.Compute", segment, noun };
        match self {
            Self::Image => compute("images", "image"),
            Self::Disk => compute("disks", "disk"),
            Self::Snapshot => compute("snapshots", "snapshot"),
            Self::Machine => compute("virtualMachines", "machine"),
            Self::Gallery => compute("galleries", "gallery"),
            Self::Definition => compute("galleries/images", "image definition"),
            Self::GalleryVersion => compute("galleries/images/versions", "gallery version"),
            Self::RestorePointCollection => compute("restorePointCollections", "restore point collection"),
            Self::RestorePoint => compute("restorePointCollections/restorePoints", "restore point"),
            Self::DiskRestorePoint => {
                compute("restorePointCollections/restorePoints/diskRestorePoints", "disk restore point")
            }
        }
    }

    /// The provider of the type, such as `Microsoft.Compute`.
    #[must_use]
    pub fn namespace(self) -> &'static str {
        self.info().namespace
    }

    /// The segment of the type in a resource id, such as `images`. That of a type whose resources are in others
    /// contains those of the others, with `/` between them.
    #[must_use]
    pub fn segment(self) -> &'static str {
        self.info().segment
    }

    /// The noun for messages, such as `image`.
    #[must_use]
    pub fn noun(self) -> &'static str {
        self.info().noun
    }
}

impl fmt::Display for ResourceType {
    /// The full name of the type, such as `Microsoft.Compute/images`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace(), self.segment())
    }
}

/// The id of a resource. Two ids that differ only in the case of letters are equal, because Resource Manager compares
/// ids without regard to case and returns them in any case: lists contain resource groups in upper case.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The resource group.
    pub resource_group: ResourceGroup,
    /// The type of the resource.
    pub resource_type: ResourceType,
    /// The name of the resource.
    pub name: ResourceName,
}

impl ResourceId {
    /// The id in lower case. Equal ids have the same key.
    #[must_use]
    pub fn key(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }

    /// The end of the id: types and names in turn, such as `galleries/corp/images/ubuntu`.
    #[must_use]
    pub fn path(&self) -> String {
        let (types, names) = (self.resource_type.segment().split('/'), self.name.as_str().split('/'));
        types.zip(names).map(|(segment, name)| format!("{segment}/{name}")).collect::<Vec<_>>().join("/")
    }

    /// The id of a resource of this type in this one, such as a definition in a gallery.
    #[must_use]
    pub fn child(&self, resource_type: ResourceType, own: &ResourceName) -> Self {
        Self { resource_type, name: self.name.child(own), ..self.clone() }
    }

    /// The id of the resource that contains this one. None if none does.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let segment = self.resource_type.segment().rsplit_once('/')?.0;
        let resource_type = ResourceType::ALL.into_iter().find(|parent| parent.segment() == segment)?;
        Some(Self { resource_type, name: self.name.parent()?, ..self.clone() })
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ResourceId {}

impl PartialOrd for ResourceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ResourceId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.subscription
            .cmp(&other.subscription)
            .then_with(|| lower(self.resource_group.as_str()).cmp(lower(other.resource_group.as_str())))
            .then_with(|| self.resource_type.cmp(&other.resource_type))
            .then_with(|| lower(self.name.as_str()).cmp(lower(other.name.as_str())))
    }
}

impl Hash for ResourceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

fn lower(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().map(|byte| byte.to_ascii_lowercase())
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subscription, resource_group, resource_type, .. } = self;
        let (namespace, path) = (resource_type.namespace(), self.path());
        write!(f, "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/{namespace}/{path}")
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ResourceId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            what: "resource id",
            given: text.to_owned(),
            rule: "use the id of an image, a disk, a snapshot, a machine, a restore point, or of a gallery or what is in it: \
                   /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Compute/TYPE/NAME",
        };
        let parts: Vec<&str> = text.strip_prefix('/').ok_or_else(invalid)?.split('/').collect();
        let [subscriptions, subscription, groups, group, providers, namespace, rest @ ..] = &parts[..] else {
            return Err(invalid());
        };
        let words = [(subscriptions, "subscriptions"), (groups, "resourceGroups"), (providers, "providers")];
        // Types and names in turn.
        let segment = rest.iter().step_by(2).copied().collect::<Vec<_>>().join("/");
        let is_type = |kind: &ResourceType| {
            kind.namespace().eq_ignore_ascii_case(namespace) && kind.segment().eq_ignore_ascii_case(&segment)
        };
        let resource_type = ResourceType::ALL.into_iter().find(is_type);
        let is_complete = rest.len() % 2 == 0 && words.iter().all(|(found, word)| found.eq_ignore_ascii_case(word));
        let resource_type = resource_type.filter(|_| is_complete).ok_or_else(invalid)?;
        let names = rest.iter().skip(1).step_by(2).map(|name| name.parse::<ResourceName>());
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let name = names.into_iter().reduce(|outer, own| outer.child(&own)).ok_or_else(invalid)?;
        Ok(Self { subscription: subscription.parse()?, resource_group: group.parse()?, resource_type, name })
    }
}

serde_as_string!(ResourceId);

/// The value of a tag. Names of tags are compared without regard to case. Source: Azure, tag resources.
#[must_use]
pub fn tag<'a>(tags: &'a std::collections::BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    tags.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_equal_without_regard_to_case() {
        let id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/Images/providers/\
                  Microsoft.Compute/snapshots/Golden_1";
        let listed = "/subscriptions/00000000-0000-0000-0000-00000000000A/RESOURCEGROUPS/IMAGES/providers/\
                      microsoft.compute/Snapshots/golden_1";
        let (id, listed): (ResourceId, ResourceId) = (id.parse().unwrap(), listed.parse().unwrap());
        assert_eq!(id, listed);
        assert_eq!(id.cmp(&listed), Ordering::Equal);
        assert_eq!(HashSet::from([id.clone(), listed.clone()]).len(), 1);
        assert_eq!((id.resource_type, id.name.as_str()), (ResourceType::Snapshot, "Golden_1"));
        assert_eq!(id.to_string().parse::<ResourceId>().unwrap().to_string(), id.to_string());
        let disk = ResourceId { resource_type: ResourceType::Disk, ..id.clone() };
        assert_ne!(disk, id);
    }

    #[test]
    fn other_ids_are_rejected() {
        let group = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g";
        for bad in [
            group.to_owned(),
            format!("{group}/providers/Microsoft.Compute/galleries/m/images"),
            format!("{group}/providers/Microsoft.Compute/images/m/versions/1.0.0"),
            format!("{group}/providers/Microsoft.Storage/images/m"),
            format!("{group}/providers/Microsoft.Compute/images/m/more"),
            format!("{group}/providers/Microsoft.Compute/images/.hidden"),
            format!("{group}/providers/Microsoft.Compute/images/"),
            "subscriptions".to_owned(),
        ] {
            assert!(bad.parse::<ResourceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_of_nested_resources_name_their_parents() {
        let text = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/images/providers/\
                    Microsoft.Compute/galleries/corp/images/ubuntu-24.04/versions/1.0.10";
        let version: ResourceId = text.parse().unwrap();
        assert_eq!((version.resource_type, version.name.own()), (ResourceType::GalleryVersion, "1.0.10"));
        assert_eq!(version.to_string(), text);
        let definition = version.parent().unwrap();
        assert_eq!(definition.path(), "galleries/corp/images/ubuntu-24.04");
        assert_eq!(definition.child(ResourceType::GalleryVersion, &"1.0.10".parse().unwrap()), version);
        let gallery = definition.parent().unwrap();
        assert_eq!((gallery.resource_type, gallery.parent()), (ResourceType::Gallery, None));
        let listed = text.replace("galleries", "Galleries").replace("images/u", "Images/u");
        assert_eq!(listed.parse::<ResourceId>().unwrap(), version);
    }

    #[test]
    fn tag_names_are_case_insensitive() {
        let tags = [("Goldfleet-Role".to_owned(), "golden".to_owned())].into();
        assert_eq!(tag(&tags, "goldfleet-role"), Some("golden"));
        assert_eq!(tag(&tags, "goldfleet-job"), None);
    }
}
