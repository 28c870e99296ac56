//! The resources of a tenant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

/// A subscription.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// The tenant whose tokens it accepts.
    pub tenant: String,
    /// Its display name.
    pub name: String,
    /// `Enabled`, `Warned`, `PastDue`, `Disabled` or `Deleted`. Source: specification, `SubscriptionState`. Only the
    /// first three allow writes.
    pub state: String,
    /// Namespaces of providers that are not registered, such as `Microsoft.Compute`.
    pub unregistered: BTreeSet<String>,
}

/// A resource group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its subscription.
    pub subscription: String,
    /// Its name.
    pub name: String,
    /// Its region. Its resources may be in other regions.
    pub region: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The name, such as `westeurope`.
    pub name: String,
    /// The display name, such as `West Europe`, which providers list.
    pub display: String,
}

/// A storage account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its subscription.
    pub subscription: String,
    /// Its resource group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The endpoint of its blobs, with a trailing slash: `https://name.blob.core.windows.net/`, or a path for the
    /// emulator.
    pub blob_endpoint: String,
    /// `properties.networkAcls.defaultAction`: `Allow` or `Deny`.
    pub default_action: String,
    /// `properties.networkAcls.bypass`.
    pub bypass: String,
    /// Allowed addresses and ranges.
    pub ip_rules: Vec<String>,
    /// Ids of allowed subnets.
    pub vnet_rules: Vec<String>,
    /// `properties.publicNetworkAccess`.
    pub public_network_access: String,
    /// `properties.allowSharedKeyAccess`.
    pub shared_key: bool,
    /// `properties.allowBlobPublicAccess`.
    pub public_blobs: bool,
    /// `sku.name`.
    pub sku: String,
    /// `kind`.
    pub kind: String,
    /// `properties.isHnsEnabled`.
    pub hierarchical: bool,
    /// `properties.allowedCopyScope`.
    pub copy_scope: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Account {
    /// An account with the settings that goldfleet recommends: no shared key, no public blobs, open to all networks.
    #[must_use]
    pub fn new(subscription: &str, group: &str, name: &str, region: &str) -> Self {
        let text = str::to_owned;
        Self {
            subscription: text(subscription),
            group: text(group),
            name: text(name),
            region: text(region),
            blob_endpoint: format!("https://{name}.blob.core.windows.net/"),
            default_action: text("Allow"),
            bypass: text("AzureServices"),
            ip_rules: Vec::new(),
            vnet_rules: Vec::new(),
            public_network_access: text("Enabled"),
            shared_key: false,
            public_blobs: false,
            sku: text("Standard_LRS"),
            kind: text("StorageV2"),
            hierarchical: false,
            copy_scope: None,
            tags: BTreeMap::new(),
        }
    }

    /// The same account with its blobs at another endpoint, such as the emulator's.
    #[must_use]
    pub fn at(self, blob_endpoint: &str) -> Self {
        Self { blob_endpoint: format!("{}/", blob_endpoint.trim_end_matches('/')), ..self }
    }
}

/// A role. `*` in an action matches any text.
#[derive(Debug, Clone)]
pub struct Role {
    /// The id of its definition.
    pub id: String,
    /// Its actions.
    pub actions: Vec<String>,
    /// Its excluded actions.
    pub not_actions: Vec<String>,
    /// Its data actions.
    pub data_actions: Vec<String>,
    /// Its excluded data actions.
    pub not_data_actions: Vec<String>,
}

impl Role {
    /// A role that the test defines.
    #[must_use]
    pub fn custom(id: &str, actions: &[&str], data_actions: &[&str]) -> Self {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Self {
            id: id.to_owned(),
            actions: texts(actions),
            not_actions: Vec::new(),
            data_actions: texts(data_actions),
            not_data_actions: Vec::new(),
        }
    }

    /// Owner. Source for these three roles: Azure built-in roles.
    #[must_use]
    pub fn owner() -> Self {
        Self::custom("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", &["*"], &[])
    }

    /// Contributor.
    #[must_use]
    pub fn contributor() -> Self {
        let not = ["*/Delete", "*/Write", "elevateAccess/Action"].map(|what| format!("Microsoft.Authorization/{what}"));
        Self { not_actions: not.to_vec(), ..Self::custom("b24988ac-6180-42a0-ab88-20f7382dd24c", &["*"], &[]) }
    }

    /// Reader.
    #[must_use]
    pub fn reader() -> Self {
        Self::custom("acdd72a7-3385-48ef-bd42-f606fba81ae7", &["*/read"], &[])
    }
}

/// A role that is assigned to a principal at a scope.
#[derive(Debug, Clone)]
pub struct RoleAssignment {
    /// Its name, a GUID.
    pub name: String,
    /// The object id of the principal.
    pub principal: String,
    /// `User`, `Group` or `ServicePrincipal`.
    pub principal_type: String,
    /// The id of a subscription, resource group or resource, or `/`.
    pub scope: String,
    /// The role.
    pub role: Role,
}

impl RoleAssignment {
    /// Assigns a role to a service principal.
    #[must_use]
    pub fn new(principal: &str, scope: &str, role: Role) -> Self {
        Self {
            name: Uuid::new_v4().to_string(),
            principal: principal.to_owned(),
            principal_type: "ServicePrincipal".to_owned(),
            scope: scope.to_owned(),
            role,
        }
    }
}

/// What a lock forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockLevel {
    /// Deletion.
    CanNotDelete,
    /// Deletion and changes.
    ReadOnly,
}

/// A management lock.
#[derive(Debug, Clone)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// The id of the locked scope, which includes everything below it.
    pub scope: String,
    /// What it forbids.
    pub level: LockLevel,
    /// Why it exists.
    pub notes: String,
}

impl Lock {
    /// A lock without notes.
    #[must_use]
    pub fn new(name: &str, scope: &str, level: LockLevel) -> Self {
        Self { name: name.to_owned(), scope: scope.to_owned(), level, notes: String::new() }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/providers/Microsoft.Authorization/locks/{}", self.scope.trim_end_matches('/'), self.name)
    }
}

/// Whether a resource (its type, and its body as in a PUT) is denied.
type Denies = Arc<dyn Fn(&str, &Value) -> bool + Send + Sync>;

/// A policy that denies.
#[derive(Clone)]
pub struct Policy {
    /// The name of its assignment.
    pub name: String,
    /// The scope of its assignment.
    pub scope: String,
    pub(super) denies: Denies,
}

impl Policy {
    /// A policy that denies the resources for which `denies` returns true, by resource type and body.
    pub fn new(name: &str, scope: &str, denies: impl Fn(&str, &Value) -> bool + Send + Sync + 'static) -> Self {
        Self { name: name.to_owned(), scope: scope.to_owned(), denies: Arc::new(denies) }
    }

    /// A policy that denies resources in other regions than these.
    #[must_use]
    pub fn allowed_locations(scope: &str, regions: &[&str]) -> Self {
        let regions = regions.iter().map(|region| normalized_region(region)).collect::<Vec<_>>();
        Self::new("allowed-locations", scope, move |_, body| {
            body["location"].as_str().is_some_and(|location| !regions.contains(&normalized_region(location)))
        })
    }

    /// A policy that denies resources without a tag.
    #[must_use]
    pub fn required_tag(scope: &str, tag: &str) -> Self {
        let tag = tag.to_owned();
        Self::new("required-tag", scope, move |_, body| body["tags"].get(&tag).is_none())
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("name", &self.name).field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// A region's name as Resource Manager stores it. Source: specification, example `Image_CreateFromABlob`: `West US` is
/// returned as `westus`.
pub(super) fn normalized_region(location: &str) -> String {
    location.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase()
}

/// Whether `scope` is `outer` or below it.
pub(super) fn within(scope: &str, outer: &str) -> bool {
    let clean = |scope: &str| scope.trim_matches('/').to_ascii_lowercase();
    let (scope, outer) = (clean(scope), clean(outer));
    outer.is_empty() || scope == outer || scope.strip_prefix(&outer).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_by_full_segments() {
        assert!(within("/subscriptions/S/resourceGroups/a", "/subscriptions/s/"));
        assert!(within("/subscriptions/s", "/subscriptions/S"));
        assert!(within("/subscriptions/s", "/"));
        assert!(!within("/subscriptions/s/resourceGroups/ab", "/subscriptions/s/resourceGroups/a"));
        assert!(!within("/subscriptions/s", "/subscriptions/s/resourceGroups/a"));
    }
}
