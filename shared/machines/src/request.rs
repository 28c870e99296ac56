//! What an operator asks for.

use std::str::FromStr;

use goldfleet_model::ids::{Region, ResourceGroup, SubscriptionId};
use goldfleet_model::resource::ResourceId;
use goldfleet_snapshots::id::GroupRef;
use serde::{Deserialize, Serialize};

/// The template of the names of disks, if the request has none.
pub const DISK_NAME: &str = "{machine}-{lun}";

/// Where a clone is created. Written `SUBSCRIPTION/REGION/GROUP`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The region.
    pub region: Region,
    /// The resource group.
    pub resource_group: ResourceGroup,
}

impl Place {
    /// The subscription and the resource group.
    #[must_use]
    pub fn group(&self) -> GroupRef {
        GroupRef { subscription: self.subscription, resource_group: self.resource_group.clone() }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.subscription, self.region, self.resource_group)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [subscription, region, group] = text.split('/').collect::<Vec<_>>()[..] else {
            return Err("it is written SUBSCRIPTION/REGION/GROUP".to_owned());
        };
        Ok(Self {
            subscription: subscription.parse().map_err(|error| format!("{error}"))?,
            region: region.parse().map_err(|error| format!("{error}"))?,
            resource_group: group.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

/// A machine to clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneRequest {
    /// The machine.
    pub source: ResourceId,
    /// Where the clone is created.
    pub to: Place,
    /// The id of the subnet of the clone. None if only the disks are cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// The name of the clone. None for the name of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The template of the names of its disks: see [`names`](crate::names).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_name: Option<String>,
    /// The availability zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The id of the availability set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_set: Option<String>,
    /// The size. None for the size of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The performance tier of all disks. None for that of each source disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_sku: Option<String>,
    /// The id of the disk encryption set of all disks. None for that of each source disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_encryption_set: Option<String>,
    /// Whether the source is deallocated while its disks are snapshotted.
    #[serde(default)]
    pub stop: bool,
    /// The number of seconds for which the source may be deallocated. None if that is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_downtime: Option<u64>,
    /// Whether the disks are taken from a restore point, so that the source may run.
    #[serde(default)]
    pub live: bool,
    /// Whether only the disks are cloned.
    #[serde(default)]
    pub disks_only: bool,
    /// Whether a managed image is created, and no machine.
    #[serde(default)]
    pub as_image: bool,
}

impl CloneRequest {
    /// The name of the clone.
    #[must_use]
    pub fn clone_name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.source.name.as_str())
    }

    /// The template of the names of disks.
    #[must_use]
    pub fn disk_template(&self) -> &str {
        self.disk_name.as_deref().unwrap_or(DISK_NAME)
    }
}
