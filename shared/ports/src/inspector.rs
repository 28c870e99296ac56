//! Reads the state of a cloud for diagnosis. Nothing here changes anything.

use std::collections::BTreeSet;

use async_trait::async_trait;
use goldfleet_model::ids::{AccountName, Region, ResourceGroup, SubscriptionId};
use goldfleet_model::resource::ResourceType;
use goldfleet_model::store::Container;

use super::error::PortResult;

/// The properties of a storage account in Resource Manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountFacts {
    /// Its name.
    pub name: AccountName,
    /// Its resource id.
    pub id: String,
    /// Its region.
    pub region: Region,
    /// Its kind, such as `StorageV2`.
    pub kind: String,
    /// Whether it has the premium performance tier.
    pub premium: bool,
    /// Whether it has a hierarchical namespace.
    pub hierarchical: bool,
    /// The accounts from which blobs may be copied to it.
    pub copies_from: CopyScope,
    /// The endpoint of its blobs, if it differs from the endpoint in the configuration.
    pub elsewhere: Option<String>,
    /// Whether its firewall admits all networks instead of only those that rules name.
    pub open_to_all_networks: bool,
    /// Whether it can be reached over public addresses. Otherwise only a network security perimeter can give access.
    pub public_network: bool,
    /// Whether account keys are accepted.
    pub shared_key: bool,
    /// Whether containers can be made public.
    pub public_blobs: bool,
}

impl AccountFacts {
    /// Whether some networks are excluded.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !(self.open_to_all_networks && self.public_network)
    }
}

/// The accounts from which blobs may be copied to an account. Source: Microsoft.Storage, `allowedCopyScope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyScope {
    /// All accounts.
    All,
    /// Accounts of the same tenant.
    Tenant,
    /// Accounts with private links to the same virtual network.
    PrivateLinks,
}

/// A lock on resources. Every lock forbids deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// Whether it also forbids changes.
    pub read_only: bool,
}

/// The permissions of the process at a scope, as patterns in which `*` matches any text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// One entry per assigned role.
    pub grants: Vec<Grant>,
}

/// The actions that one role allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Allowed actions on resources.
    pub actions: Vec<String>,
    /// Exceptions to `actions`.
    pub not_actions: Vec<String>,
    /// Allowed actions on data.
    pub data_actions: Vec<String>,
    /// Exceptions to `data_actions`.
    pub not_data_actions: Vec<String>,
}

impl Permissions {
    /// Whether at least one role allows an action on a resource.
    #[must_use]
    pub fn allow(&self, action: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, action));
        self.grants.iter().any(|grant| any(&grant.actions) && !any(&grant.not_actions))
    }

    /// Whether at least one role allows an action on data.
    #[must_use]
    pub fn allow_data(&self, action: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, action));
        self.grants.iter().any(|grant| any(&grant.data_actions) && !any(&grant.not_data_actions))
    }
}

/// Whether a pattern matches an action. Source: Azure role definitions: `*` matches any text, and case is ignored.
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| action.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Reads the state of a cloud with the identity of the process. `tenant` is the tenant of a subscription if it differs
/// from that of the identity.
#[async_trait]
pub trait Inspector: Send + Sync {
    /// Checks that tokens for storage and for Resource Manager are available.
    ///
    /// # Errors
    /// If they are not available.
    async fn sign_in(&self) -> PortResult<()>;

    /// The state of a subscription, such as `Enabled`. None if it does not exist or is not visible.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached. The same holds for all methods below.
    async fn subscription(&self, id: &SubscriptionId, tenant: Option<&str>) -> PortResult<Option<String>>;

    /// The display name of a subscription. None if it cannot be read.
    async fn subscription_name(&self, _id: &SubscriptionId, _tenant: Option<&str>) -> PortResult<Option<String>> {
        Ok(None)
    }

    /// The id of the tenant of a subscription. None if it cannot be read.
    async fn subscription_tenant(&self, _id: &SubscriptionId, _tenant: Option<&str>) -> PortResult<Option<String>> {
        Ok(None)
    }

    /// Whether a resource group exists.
    async fn has_group(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        tenant: Option<&str>,
    ) -> PortResult<bool>;

    /// The visible storage accounts of a subscription.
    async fn accounts(&self, subscription: &SubscriptionId, tenant: Option<&str>) -> PortResult<Vec<AccountFacts>>;

    /// The regions in which resources of this type can be created. None if the subscription is not registered for them.
    async fn regions_of(
        &self,
        resource_type: ResourceType,
        subscription: &SubscriptionId,
        tenant: Option<&str>,
    ) -> PortResult<Option<BTreeSet<Region>>>;

    /// The permissions of the process at a scope, which is a resource id.
    async fn permissions(&self, scope: &str, tenant: Option<&str>) -> PortResult<Permissions>;

    /// The locks that apply to a resource group or to images in it.
    async fn locks(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        tenant: Option<&str>,
    ) -> PortResult<Vec<Lock>>;

    /// Checks that a SAS for reading a container can be created.
    async fn can_share(&self, container: &Container) -> PortResult<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_patterns_match() {
        let action = "Microsoft.Compute/images/write";
        for (pattern, expected) in [
            ("*", true),
            ("Microsoft.Compute/images/write", true),
            ("microsoft.compute/*", true),
            ("Microsoft.Compute/*/write", true),
            ("Microsoft.Compute/*/read", false),
            ("*/write", true),
            ("*/read", false),
            ("Microsoft.Compute/images", false),
            ("Microsoft.Compute/images/write/more", false),
        ] {
            assert_eq!(matches(pattern, action), expected, "{pattern}");
        }
    }

    #[test]
    fn not_actions_apply_to_one_role_only() {
        let contributor = Grant {
            actions: vec!["*".into()],
            not_actions: vec!["Microsoft.Authorization/*".into()],
            ..Grant::default()
        };
        let mut permissions = Permissions { grants: vec![contributor] };
        assert!(permissions.allow("Microsoft.Compute/images/write"));
        assert!(!permissions.allow("Microsoft.Authorization/roleAssignments/write"));
        assert!(!permissions.allow_data("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"));
        let owner = Grant { actions: vec!["*".into()], ..Grant::default() };
        permissions.grants.push(owner);
        assert!(permissions.allow("Microsoft.Authorization/roleAssignments/write"));
    }
}
