//! Targets: the subscriptions and regions that receive images.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{AccountName, ContainerName, InvalidName, ManagedImageName, Region, ResourceGroup, SubscriptionId};
use super::resource::{ResourceId, ResourceType};
use super::sink::Sinks;
use super::store::{Container, Store};
use crate::serde_as_string;

/// One subscription in one region, with the resource group and the staging account for its images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The subscription that receives the image.
    pub subscription: SubscriptionId,
    /// The region that receives the image.
    pub region: Region,
    /// The resource group in which managed images are created.
    pub resource_group: ResourceGroup,
    /// The staging account, in this subscription and region.
    pub account: AccountName,
    /// The container for VHDs in the staging account.
    pub container: ContainerName,
    /// The display name of the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The ring. Ring 0 is first.
    #[serde(default)]
    pub ring: u32,
    /// Whether jobs include this target.
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,
    /// Arbitrary labels for selectors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The resource id of the disk encryption set for the image's disk, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_encryption_set: Option<String>,
    /// The tenant of the subscription, if it differs from the credential's tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What the target receives.
    #[serde(default, skip_serializing_if = "Sinks::is_default")]
    pub sinks: Sinks,
}

fn enabled_by_default() -> bool {
    true
}

impl Target {
    /// The unique key of the target.
    #[must_use]
    pub fn key(&self) -> TargetKey {
        TargetKey { subscription: self.subscription, region: self.region.clone() }
    }

    /// The staging container.
    #[must_use]
    pub fn staging(&self) -> Container {
        Container { account: self.account.clone(), container: self.container.clone() }
    }

    /// The staging container as a store of its region.
    #[must_use]
    pub fn store(&self) -> Store {
        Store { region: self.region.clone(), account: self.account.clone(), container: self.container.clone() }
    }

    /// The id of this target's managed image with the given name.
    #[must_use]
    pub fn image(&self, name: ManagedImageName) -> ResourceId {
        ResourceId {
            subscription: self.subscription,
            resource_group: self.resource_group.clone(),
            resource_type: ResourceType::Image,
            name: name.into(),
        }
    }
}

/// A subscription and a region: unique among targets. Written `subscription/region`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetKey {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The region.
    pub region: Region,
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.subscription, self.region))
    }
}

impl FromStr for TargetKey {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (subscription, region) = text.split_once('/').ok_or_else(|| InvalidName {
            what: "target",
            given: text.to_owned(),
            rule: "a target is written subscription/region",
        })?;
        Ok(Self { subscription: subscription.parse()?, region: region.parse()? })
    }
}

serde_as_string!(TargetKey);
