//! Resources of the platform: their types, their ids, and what their owner sets.
//!
//! A new type of resource is one variant of [`ResourceType`], its row in `ResourceType::info`, and one struct with
//! its properties in this folder.

mod body;
mod disk;
mod image;
mod lock;
mod machine;
mod text;

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
pub use image::{Attachment, ImageDataDisk, ImageDisk, ImageProperties, ImageStorageProfile};
pub use lock::{Lock, LockId, LockLevel};
pub use machine::{
    HardwareProfile, InstanceStatus, InstanceView, MachineDisk, MachineProperties, MachineSecurityProfile,
    MachineStorageProfile, ManagedDiskRef, PowerState,
};

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
    pub const ALL: [Self; 4] = [Self::Image, Self::Disk, Self::Snapshot, Self::Machine];

    fn info(self) -> TypeInfo {
        let compute = |segment, noun| TypeInfo { namespace: "Microsoft.Compute", segment, noun };
        match self {
            Self::Image => compute("images", "image"),
            Self::Disk => compute("disks", "disk"),
            Self::Snapshot => compute("snapshots", "snapshot"),
            Self::Machine => compute("virtualMachines", "machine"),
        }
    }

    /// The provider of the type, such as `Microsoft.Compute`.
    #[must_use]
    pub fn namespace(self) -> &'static str {
        self.info().namespace
    }

    /// The segment of the type in a resource id, such as `images`.
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
        let Self { subscription, resource_group, resource_type, name } = self;
        write!(f, "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/{resource_type}/{name}")
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
            rule: "use the id of an image, a disk, a snapshot or a machine: \
                   /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Compute/TYPE/NAME",
        };
        let parts: Vec<&str> = text.strip_prefix('/').ok_or_else(invalid)?.split('/').collect();
        let &[subscriptions, subscription, groups, group, providers, namespace, segment, name] = &parts[..] else {
            return Err(invalid());
        };
        let words = [(subscriptions, "subscriptions"), (groups, "resourceGroups"), (providers, "providers")];
        let is_type = |kind: &ResourceType| {
            kind.namespace().eq_ignore_ascii_case(namespace) && kind.segment().eq_ignore_ascii_case(segment)
        };
        let resource_type = ResourceType::ALL.into_iter().find(is_type);
        match resource_type.filter(|_| words.iter().all(|(found, word)| found.eq_ignore_ascii_case(word))) {
            Some(resource_type) => Ok(Self {
                subscription: subscription.parse()?,
                resource_group: group.parse()?,
                resource_type,
                name: name.parse()?,
            }),
            None => Err(invalid()),
        }
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
            format!("{group}/providers/Microsoft.Compute/galleries/m"),
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
    fn tag_names_are_case_insensitive() {
        let tags = [("Goldfleet-Role".to_owned(), "golden".to_owned())].into();
        assert_eq!(tag(&tags, "goldfleet-role"), Some("golden"));
        assert_eq!(tag(&tags, "goldfleet-job"), None);
    }
}
