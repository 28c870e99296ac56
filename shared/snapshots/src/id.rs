//! Ids of snapshots and of the resource groups that contain them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use goldfleet_model::ids::{InvalidName, ResourceGroup, SubscriptionId};
use goldfleet_model::resource::ResourceId;
use goldfleet_model::serde_as_string;
use goldfleet_model::target::Target;
use serde::{Deserialize, Serialize};

const ID_RULE: &str = "use the id of a snapshot: \
                       /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Compute/snapshots/NAME";

/// A resource group in a subscription. Written `SUBSCRIPTION/GROUP`. Two groups whose names differ only in the case of
/// letters are equal, because Resource Manager returns them in any case.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRef {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The resource group.
    pub resource_group: ResourceGroup,
}

/// The id of a snapshot. Two ids that differ only in the case of letters are equal, because Resource Manager compares
/// ids without regard to case. Lists contain resource groups in upper case (recorded, azure-cli
/// `test_vm_custom_image_management.yaml`).
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId {
    /// Where the snapshot is.
    pub group: GroupRef,
    /// The name of the snapshot: 1 to 80 characters.
    pub name: String,
}

impl GroupRef {
    /// The text in lower case. Equal groups have the same key.
    #[must_use]
    pub fn key(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

impl From<&ResourceId> for GroupRef {
    fn from(id: &ResourceId) -> Self {
        Self { subscription: id.subscription, resource_group: id.resource_group.clone() }
    }
}

impl From<&Target> for GroupRef {
    fn from(target: &Target) -> Self {
        Self { subscription: target.subscription, resource_group: target.resource_group.clone() }
    }
}

impl SnapshotId {
    /// Creates the id of a snapshot in a group.
    #[must_use]
    pub fn new(group: GroupRef, name: &str) -> Self {
        Self { group, name: name.to_owned() }
    }

    /// The id in lower case. Equal ids have the same key.
    #[must_use]
    pub fn key(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }

    /// The name in lower case. Names are unique in a group without regard to case.
    #[must_use]
    pub fn name_key(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

/// Implements comparison by parts, without regard to the case of letters.
macro_rules! compare_by_key {
    ($name:ident) => {
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other) == Ordering::Equal
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.key().hash(state);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

compare_by_key!(GroupRef);
compare_by_key!(SnapshotId);

/// Compares two ASCII texts without regard to case.
fn compare(one: &str, other: &str) -> Ordering {
    one.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(other.bytes().map(|byte| byte.to_ascii_lowercase()))
}

impl Ord for GroupRef {
    fn cmp(&self, other: &Self) -> Ordering {
        let groups = || compare(self.resource_group.as_str(), other.resource_group.as_str());
        self.subscription.cmp(&other.subscription).then_with(groups)
    }
}

impl Ord for SnapshotId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.group.cmp(&other.group).then_with(|| compare(&self.name, &other.name))
    }
}

impl fmt::Display for GroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.subscription, self.resource_group)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupRef { subscription, resource_group } = &self.group;
        let provider = "providers/Microsoft.Compute/snapshots";
        write!(f, "/subscriptions/{subscription}/resourceGroups/{resource_group}/{provider}/{}", self.name)
    }
}

impl FromStr for SnapshotId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName { what: "snapshot id", given: text.to_owned(), rule: ID_RULE };
        let parts: Vec<&str> = text.strip_prefix('/').ok_or_else(invalid)?.split('/').collect();
        let &[subscriptions, subscription, groups, group, providers, namespace, kind, name] = &parts[..] else {
            return Err(invalid());
        };
        let words = [
            (subscriptions, "subscriptions"),
            (groups, "resourceGroups"),
            (providers, "providers"),
            (namespace, "Microsoft.Compute"),
            (kind, "snapshots"),
        ];
        let is_snapshot = words.iter().all(|(found, word)| found.eq_ignore_ascii_case(word));
        if !is_snapshot || !is_name(name) {
            return Err(invalid());
        }
        let group = GroupRef { subscription: subscription.parse()?, resource_group: group.parse()? };
        Ok(Self { group, name: name.to_owned() })
    }
}

/// Whether an existing snapshot can have this name. Source: Resource Manager's naming rules for `Microsoft.Compute`
/// snapshots, 1 to 80 letters, digits, '.', '_' and '-'.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=80).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

serde_as_string!(SnapshotId);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ID: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/Snaps/providers/\
                      Microsoft.Compute/snapshots/Ctx_1";

    #[test]
    fn ids_are_equal_without_regard_to_case() {
        let id: SnapshotId = ID.parse().unwrap();
        let listed: SnapshotId = ID.to_ascii_uppercase().parse().unwrap();
        assert_eq!(id, listed);
        assert_eq!(id.key(), listed.key());
        assert_eq!(HashSet::from([id.clone(), listed.clone()]).len(), 1);
        assert_eq!(id.to_string(), ID);
        assert_eq!(listed.name_key(), "ctx_1");
        assert_ne!(id, SnapshotId::new(id.group.clone(), "ctx_2"));
    }

    #[test]
    fn other_resources_are_rejected() {
        let disk = ID.replace("snapshots/", "disks/");
        let other = ID.replace("Compute", "Storage");
        let (relative, longer) = (&ID[1..], format!("{ID}/more"));
        let no_uuid = ID.replace("00000000-0000-0000-0000-00000000000a", "prod");
        for bad in [disk.as_str(), &other, relative, &longer, &no_uuid, "", &ID[..ID.len() - 5]] {
            assert!(bad.parse::<SnapshotId>().is_err(), "{bad}");
        }
    }
}
