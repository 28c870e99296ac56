//! What a doctor asks of a cloud. Nothing here changes anything.

use std::collections::BTreeSet;

use async_trait::async_trait;
use goldfleet_model::ids::{AccountName, Region, ResourceGroup, SubscriptionId};
use goldfleet_model::store::Container;

use super::error::PortResult;

/// What Resource Manager says of a storage account.
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
    /// Whether it is of the premium tier.
    pub premium: bool,
    /// Whether it has a hierarchical namespace.
    pub hierarchical: bool,
    /// From where it lets blobs be copied to it.
    pub copies_from: CopyScope,
    /// Where its blobs are, where that is not where the configuration leads.
    pub elsewhere: Option<String>,
    /// Whether it lets in everyone from every network, or only those that rules name.
    pub open_to_all_networks: bool,
    /// Whether it can be reached over public addresses at all, and not only from a network security perimeter.
    pub public_network: bool,
    /// Whether account keys are accepted.
    pub shared_key: bool,
    /// Whether containers can be made public.
    pub public_blobs: bool,
}

impl AccountFacts {
    /// Whether some networks are kept out.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !(self.open_to_all_networks && self.public_network)
    }
}

/// From which accounts blobs may be copied to an account. Source: Microsoft.Storage, `allowedCopyScope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyScope {
    /// From all.
    All,
    /// From those of the same tenant.
    Tenant,
    /// From those with private links to the same virtual network.
    PrivateLinks,
}

/// A lock. All of them forbid deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// Whether it forbids changes as well.
    pub read_only: bool,
}

/// What the process may do at a scope: patterns in which `*` stands for anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// One entry for each role that applies.
    pub grants: Vec<Grant>,
}

/// What one role allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Actions on resources.
    pub actions: Vec<String>,
    /// Exceptions to them.
    pub not_actions: Vec<String>,
    /// Actions on data.
    pub data_actions: Vec<String>,
    /// Exceptions to them.
    pub not_data_actions: Vec<String>,
}

impl Permissions {
    /// Whether some role allows an action on a resource.
    #[must_use]
    pub fn allow(&self, action: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, action));
        self.grants.iter().any(|grant| any(&grant.actions) && !any(&grant.not_actions))
    }

    /// Whether some role allows an action on data.
    #[must_use]
    pub fn allow_data(&self, action: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, action));
        self.grants.iter().any(|grant| any(&grant.data_actions) && !any(&grant.not_data_actions))
    }
}

/// Whether an action is one of a pattern's. Source: Azure role definitions: `*` stands for anything, case does not matter.
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

/// Looks at a cloud, as the process's identity. `tenant` is the one of a subscription where it differs from the identity's.
#[async_trait]
pub trait Inspector: Send + Sync {
    /// Whether there are tokens for storage and for Resource Manager.
    ///
    /// # Errors
    /// Where there are none.
    async fn sign_in(&self) -> PortResult<()>;

    /// A subscription's state, such as `Enabled`; none where it is not there, or not to be seen.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached; so with all that follow.
    async fn subscription(&self, id: &SubscriptionId, tenant: Option<&str>) -> PortResult<Option<String>>;

    /// A subscription's display name; none where it cannot be read.
    async fn subscription_name(&self, _id: &SubscriptionId, _tenant: Option<&str>) -> PortResult<Option<String>> {
        Ok(None)
    }

    /// Whether a resource group is there.
    async fn has_group(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        tenant: Option<&str>,
    ) -> PortResult<bool>;

    /// The storage accounts of a subscription that are to be seen.
    async fn accounts(&self, subscription: &SubscriptionId, tenant: Option<&str>) -> PortResult<Vec<AccountFacts>>;

    /// The regions where managed images can be made; none where the subscription is not registered for them.
    async fn image_regions(
        &self,
        subscription: &SubscriptionId,
        tenant: Option<&str>,
    ) -> PortResult<Option<BTreeSet<Region>>>;

    /// What the process may do at a scope, a resource id.
    async fn permissions(&self, scope: &str, tenant: Option<&str>) -> PortResult<Permissions>;

    /// The locks that hold for a resource group, or for images in it.
    async fn locks(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        tenant: Option<&str>,
    ) -> PortResult<Vec<Lock>>;

    /// Whether a SAS for reading a container can be made.
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
