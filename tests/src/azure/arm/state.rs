//! The state of the tenant. A test creates it and may change it at any time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::access::Authorization;
use super::behaviours::Behaviours;
use super::blobs::{BlobChecks, Blobs};
use super::clock::Clock;
use super::disk_data::DiskData;
use super::disks::Disk;
use super::galleries::GalleryItem;
use super::images::Image;
use super::log::Log;
use super::machines::Machine;
use super::operations::{Collision, LongRunning, Operations};
use super::replication::Replication;
use super::resources::{Account, Group, Lock, Policy, Region, RoleAssignment, Subscription, normalized_region};
use super::throttle::{Buckets, Limits};
use super::token::AUDIENCES;

/// The regions of a new tenant. Source: specification, example `GetLocations`, and Azure's list of regions.
const REGIONS: [(&str, &str); 16] = [
    ("australiaeast", "Australia East"),
    ("brazilsouth", "Brazil South"),
    ("canadacentral", "Canada Central"),
    ("centralindia", "Central India"),
    ("centralus", "Central US"),
    ("eastasia", "East Asia"),
    ("eastus", "East US"),
    ("eastus2", "East US 2"),
    ("germanywestcentral", "Germany West Central"),
    ("japaneast", "Japan East"),
    ("northeurope", "North Europe"),
    ("southeastasia", "Southeast Asia"),
    ("uksouth", "UK South"),
    ("westeurope", "West Europe"),
    ("westus", "West US"),
    ("westus2", "West US 2"),
];

/// The complete state of the double.
#[derive(Debug, Clone, Default)]
pub struct TenantState {
    /// The subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// The resource groups.
    pub groups: Vec<Group>,
    /// The number of GETs of a provider that find its registration in progress.
    pub registration_reads: u32,
    /// The registrations in progress, by subscription and namespace, and how many GETs still find them so.
    pub(super) registering: BTreeMap<String, u32>,
    /// The storage accounts.
    pub accounts: Vec<Account>,
    /// The managed images.
    pub images: Vec<Image>,
    /// The managed disks and snapshots.
    pub disks: Vec<Disk>,
    /// The galleries, and what is in them.
    pub galleries: Vec<GalleryItem>,
    /// The ids of deleted gallery versions that their galleries keep, each with its region.
    pub soft_deleted: Vec<(String, String)>,
    /// How gallery versions are replicated.
    pub replication: Replication,
    /// The virtual machines.
    pub machines: Vec<Machine>,
    /// Behaviours that are not documented.
    pub behaviours: Behaviours,
    /// Blobs that a page write can name as its source: the bytes by the end of the path.
    pub page_sources: BTreeMap<String, Vec<u8>>,
    /// The contents of disks and snapshots.
    pub disk_data: DiskData,
    /// The galleries that are shared: what the ids of their versions begin with, in lower case, and the id of the
    /// gallery in lower case.
    pub shared_galleries: BTreeMap<String, String>,
    /// The number of GETs that find the content of a copy from another region incomplete.
    pub copy_reads: u32,
    /// The number of copies from other regions that may arrive at one time in a subscription and region.
    pub copy_limit: usize,
    /// The names of tags that a policy removes from requests. Source: Azure Policy, effect `modify`.
    pub dropped_tags: BTreeSet<String>,
    /// Whether lists contain the display names of regions, such as `West US`. Source: recorded for galleries.
    pub display_regions: bool,
    /// The regions of all subscriptions.
    pub regions: Vec<Region>,
    /// The regions of a resource type, such as `Microsoft.Compute/images`. All regions if it is not listed.
    pub regions_of: BTreeMap<String, Vec<String>>,
    /// The ids of the disk encryption sets, each with its region.
    pub disk_encryption_sets: BTreeMap<String, String>,
    /// The policies.
    pub policies: Vec<Policy>,
    /// How requests are authorized. Everything is allowed until a role is assigned.
    pub authorization: Authorization,
    /// The role assignments.
    pub roles: Vec<RoleAssignment>,
    /// The groups of a principal, by its object id.
    pub memberships: BTreeMap<String, BTreeSet<String>>,
    /// The locks.
    pub locks: Vec<Lock>,
    /// The number of requests that were refused because their token was of another tenant than the subscription.
    pub wrong_tenants: usize,
    /// The audiences that tokens may have, besides the address of the double.
    pub audiences: Vec<String>,
    /// The behaviour of operations.
    pub long_running: LongRunning,
    /// The behaviour of operations on an image, by its name, if it differs.
    pub long_running_of: BTreeMap<String, LongRunning>,
    /// Whether the status of operations is only returned to principals whose roles allow reading it. Azure does not
    /// document the required permission; that one is needed was seen in taskcluster/taskcluster#8594.
    pub operations_by_role: bool,
    /// What happens to a PUT while another change of the image is in progress.
    pub collision: Collision,
    /// The properties of blobs.
    pub blobs: Blobs,
    /// When an invalid blob is rejected.
    pub blob_checks: BlobChecks,
    /// Whether blob names with a slash are accepted. They were not in 2017 (seen, chagarw/MDPP#22), and Azure's
    /// documentation still lists the error.
    pub takes_slashes: bool,
    /// The limits of requests.
    pub limits: Limits,
    /// The number of values in a page of a list. None for no limit.
    pub page: Option<usize>,
    /// The clock.
    pub clock: Clock,
    /// The log of requests.
    pub log: Log,
    pub(super) operations: Operations,
    /// Images before their last change, and how many GETs still return them, by key.
    pub(super) before: BTreeMap<String, (u32, Option<Image>)>,
    /// As `before`, for disks and snapshots.
    pub(super) disks_before: BTreeMap<String, (u32, Option<Disk>)>,
    pub(super) buckets: Buckets,
}

impl TenantState {
    /// A tenant with Azure's regions and limits, and without resources.
    #[must_use]
    pub fn new() -> Self {
        let region = |&(name, display): &(&str, &str)| Region { name: name.to_owned(), display: display.to_owned() };
        Self {
            regions: REGIONS.iter().map(region).collect(),
            wrong_tenants: 0,
            audiences: AUDIENCES.map(str::to_owned).to_vec(),
            copy_reads: 2,
            registration_reads: 1,
            copy_limit: 100,
            ..Self::default()
        }
    }

    /// Adds a subscription of a tenant.
    #[must_use]
    pub fn subscription(mut self, tenant: &str, id: &str) -> Self {
        self.subscriptions.push(Subscription {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            name: format!("Subscription {id}"),
            state: "Enabled".to_owned(),
            unregistered: BTreeSet::new(),
        });
        self
    }

    /// Adds a resource group.
    #[must_use]
    pub fn group(mut self, subscription: &str, name: &str, region: &str) -> Self {
        self.groups.push(Group {
            subscription: subscription.to_owned(),
            name: name.to_owned(),
            region: normalized_region(region),
            tags: BTreeMap::new(),
        });
        self
    }

    /// Adds a storage account.
    #[must_use]
    pub fn account(mut self, account: Account) -> Self {
        self.accounts.push(account);
        self
    }

    /// Adds a disk encryption set.
    #[must_use]
    pub fn disk_encryption_set(mut self, id: &str, region: &str) -> Self {
        self.disk_encryption_sets.insert(id.to_owned(), normalized_region(region));
        self
    }

    /// Adds a policy.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policies.push(policy);
        self
    }

    /// Assigns a role. From the first assignment on, principals may only do what their roles allow.
    #[must_use]
    pub fn role(mut self, role: RoleAssignment) -> Self {
        self.authorization = Authorization::ByRole;
        self.roles.push(role);
        self
    }

    /// Adds a lock.
    #[must_use]
    pub fn lock(mut self, lock: Lock) -> Self {
        self.locks.push(lock);
        self
    }

    /// Takes the properties of blobs from `blobs`.
    #[must_use]
    pub fn blobs(self, blobs: Blobs) -> Self {
        Self { blobs, ..self }
    }

    /// Sets the behaviour of operations.
    #[must_use]
    pub fn long_running(self, long_running: LongRunning) -> Self {
        Self { long_running, ..self }
    }

    /// Sets the limits of requests.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Ends operations that are due.
    pub(super) fn settle(&mut self) {
        let now = self.clock.now();
        for ended in self.operations.finish_due(now) {
            ended.apply(self);
        }
    }

    /// A resource of Microsoft.Compute as lists contain it. Source: recorded, azure-cli
    /// `test_vm_custom_image_management.yaml`: the resource group in the id is in upper case.
    pub(super) fn as_listed(&self, mut value: Value) -> Value {
        let id = value["id"].as_str().unwrap_or_default();
        let upper =
            id.split('/').enumerate().map(|(n, part)| if n == 4 { part.to_uppercase() } else { part.to_owned() });
        value["id"] = json!(upper.collect::<Vec<_>>().join("/"));
        let region = self.regions.iter().find(|region| value["location"] == json!(region.name));
        if let Some(region) = region.filter(|_| self.display_regions) {
            value["location"] = json!(region.display);
        }
        value
    }

    /// The tags that a policy leaves of those in a request.
    pub(super) fn kept_tags(&self, mut tags: BTreeMap<String, String>) -> BTreeMap<String, String> {
        tags.retain(|name, _| !self.dropped_tags.iter().any(|dropped| dropped.eq_ignore_ascii_case(name)));
        tags
    }

    pub(super) fn find_subscription(&self, id: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|subscription| subscription.id.eq_ignore_ascii_case(id))
    }

    pub(super) fn find_group(&self, subscription: &str, name: &str) -> Option<&Group> {
        let is = |group: &&Group| {
            group.subscription.eq_ignore_ascii_case(subscription) && group.name.eq_ignore_ascii_case(name)
        };
        self.groups.iter().find(is)
    }

    /// The regions in which a resource type is available.
    pub(super) fn regions_of(&self, resource_type: &str) -> Vec<Region> {
        let chosen = self.regions_of.iter().find(|(kind, _)| kind.eq_ignore_ascii_case(resource_type));
        let has = |region: &&Region| {
            chosen.is_none_or(|(_, names)| {
                names.iter().any(|name| normalized_region(name) == normalized_region(&region.name))
            })
        };
        self.regions.iter().filter(has).cloned().collect()
    }
}
