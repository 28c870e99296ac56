//! Resources in Resource Manager: managed images, managed disks, snapshots, virtual machines, and galleries with their
//! image definitions and versions, which long-running operations create, change and delete.
//!
//! [`emulation`] has the rules of the platform for adapters that emulate it.

pub mod emulation;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::ids::{Region, ResourceGroup, ResourceName, SubscriptionId};
use goldfleet_model::image::{ImageTags, VhdNames};
use goldfleet_model::manifest::Digest;
use goldfleet_model::resource::{ResourceBody, ResourceId, ResourceType, tag};
use goldfleet_model::store::BlobAddress;
use serde_json::{Value, json};

use super::clock::Clock;
use super::error::{ErrorKind, PortError, PortResult};
use super::retry::retry_transient;
use crate::pages::Pages;

/// The provisioning state of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provisioning {
    /// The resource is being created, changed or deleted.
    InProgress,
    /// The last change succeeded. The content of a snapshot may still be on its way: see
    /// [`SnapshotProperties::is_complete`](goldfleet_model::resource::SnapshotProperties::is_complete).
    Succeeded,
    /// The last change failed.
    Failed,
}

impl Provisioning {
    /// The state in Resource Manager.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "Updating",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// A resource as the platform reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// The resource id.
    pub id: ResourceId,
    /// Its provisioning state.
    pub provisioning: Provisioning,
    /// Its region, tags and properties.
    pub body: ResourceBody,
}

impl Resource {
    /// Reads a resource in the JSON of Resource Manager.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the code `resource-unreadable` if a member that goldfleet uses is not valid.
    pub fn from_json(id: ResourceId, value: Value) -> PortResult<Self> {
        // Source: Resource Manager, asynchronous operations: all other values mean in progress.
        let provisioning = match value.pointer("/properties/provisioningState").and_then(Value::as_str) {
            None | Some("Succeeded") => Provisioning::Succeeded,
            Some("Failed" | "Canceled") => Provisioning::Failed,
            Some(_) => Provisioning::InProgress,
        };
        match ResourceBody::from_json(id.resource_type, value) {
            Ok(body) => Ok(Self { id, provisioning, body }),
            Err(error) => {
                let fault = PortError::new(ErrorKind::Invalid, format!("{id}: {error}"));
                Err(fault.with_code("resource-unreadable").with_source(error))
            }
        }
    }

    /// The resource in the JSON of Resource Manager.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = self.body.to_json();
        value["id"] = json!(self.id.to_string());
        value["name"] = json!(self.id.name);
        value["type"] = json!(self.id.resource_type.to_string());
        value["properties"]["provisioningState"] = json!(self.provisioning.as_str());
        value
    }

    /// Whether goldfleet created the resource from this content, and it is usable and in this region. The name alone is
    /// not sufficient: the resource of another region or of another golden image may have it.
    #[must_use]
    pub fn was_created_from(&self, digest: Digest, region: &Region) -> bool {
        self.provisioning == Provisioning::Succeeded
            && self.body.region == *region
            && ImageTags::digest_in(&self.body.tags) == Some(digest)
    }
}

/// A change that the platform has accepted and not finished. It may contain a signed URL: it is kept in memory only,
/// and its `Debug` output contains only the resource.
#[derive(Clone)]
pub struct Pending {
    /// The resource that is being changed.
    pub id: ResourceId,
    /// The address to poll, in the format of the adapter.
    pub poll: String,
    /// How long to wait before polling.
    pub retry_after: Duration,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("id", &self.id).field("retry_after", &self.retry_after).finish_non_exhaustive()
    }
}

/// The state of a change.
#[derive(Debug)]
pub enum ChangeStatus {
    /// It is done.
    Done,
    /// It is in progress: poll it later.
    Pending(Pending),
    /// It failed, for this reason.
    Failed(PortError),
}

/// Which existing resources a PUT may change.
///
/// Only the PUT of a machine has conditions on a version. Microsoft.Compute has none for images, disks and snapshots.
/// Source: ComputeRP 2025-04-01, DiskRP 2025-01-02.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PutMode {
    /// Creates the resource, or updates the existing one.
    #[default]
    CreateOrUpdate,
    /// Creates the resource. An existing one is an error of the kind [`ErrorKind::AlreadyExists`]. For a machine, the
    /// PUT has this condition. A service without such a condition is asked before the PUT, so a concurrent creation may
    /// still be updated: read the resource after the change. The source of an existing image, disk or snapshot cannot
    /// change, so such an update changes tags at most.
    Create,
}

/// A request to create or update a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct PutRequest {
    /// The resource id.
    pub id: ResourceId,
    /// The tenant to authenticate against, if it differs from the credential's tenant.
    pub tenant: Option<String>,
    /// Which existing resources it may change.
    pub mode: PutMode,
    /// The region, the tags and the properties. Its type must be that of the id.
    pub body: ResourceBody,
}

/// Which resources a list contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceQuery {
    /// The type of the resources.
    pub resource_type: ResourceType,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The resource group. None for all groups of the subscription.
    pub resource_group: Option<ResourceGroup>,
    /// The name of the resource that contains them, such as the gallery of image definitions. Required for types whose
    /// resources are nested, and None for all others.
    pub parent: Option<ResourceName>,
    /// The tags that a resource must have, with their values.
    pub tags: BTreeMap<String, String>,
    /// The tenant to authenticate against, if it differs from the credential's tenant.
    pub tenant: Option<String>,
}

impl ResourceQuery {
    /// The resource that contains the listed ones. None for types whose resources are in no other.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the query names none although the type needs one, or if it names no resource group.
    pub fn parent_id(&self) -> PortResult<Option<ResourceId>> {
        let depth = self.resource_type.segment().matches('/').count();
        let names = self.parent.as_ref().map_or(0, |parent| parent.as_str().split('/').count());
        if depth != names {
            let noun = self.resource_type.noun();
            let message =
                format!("a list of the type {noun} needs the names of {depth} parents, and {names} are given");
            return Err(PortError::new(ErrorKind::Invalid, message));
        }
        let Some(name) = self.parent.clone() else { return Ok(None) };
        let segment = self.resource_type.segment().rsplit_once('/').map_or("", |(parent, _)| parent);
        let parent = ResourceType::ALL.into_iter().find(|parent| parent.segment() == segment);
        match (parent, self.resource_group.clone()) {
            (Some(resource_type), Some(resource_group)) => {
                Ok(Some(ResourceId { subscription: self.subscription, resource_group, resource_type, name }))
            }
            _ => Err(PortError::new(ErrorKind::Invalid, "a list in a parent needs its resource group")),
        }
    }

    /// Whether an item of a list can have the tags of the query, before it is read. Tags that cannot be read may be
    /// any.
    #[must_use]
    pub fn may_match(&self, item: &Value) -> bool {
        let Some(tags) = item.get("tags").and_then(Value::as_object).filter(|_| !self.tags.is_empty()) else {
            return self.tags.is_empty() || !item.get("tags").is_none_or(Value::is_null);
        };
        let found =
            |name: &str| tags.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        self.tags.iter().all(|(name, value)| found(name).is_some_and(|found| !found.is_string() || found == value))
    }

    /// Whether a resource of the queried scope has the tags of the query.
    #[must_use]
    pub fn matches_tags(&self, tags: &BTreeMap<String, String>) -> bool {
        self.tags.iter().all(|(name, value)| tag(tags, name) == Some(value))
    }
}

/// A listed resource that cannot be read: a property has a value that goldfleet does not know, for example. It exists,
/// and it may be anyone's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id. None if goldfleet cannot express it, for example because the resource group has letters outside of
    /// ASCII. goldfleet has not created such a resource.
    pub id: Option<ResourceId>,
    /// The name that the service returns: its id, or a part of it.
    pub name: String,
    /// Why it cannot be read.
    pub reason: String,
}

impl Unreadable {
    /// A resource whose id goldfleet cannot express.
    #[must_use]
    pub fn unnamed(name: impl Into<String>) -> Self {
        Self { id: None, name: name.into(), reason: "goldfleet cannot express its id".to_owned() }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be read: {}", self.name, self.reason)
    }
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourcePage {
    /// The resources that match the query.
    pub resources: Vec<Resource>,
    /// The resources of the scope that goldfleet cannot read. Nothing is known about them except that they exist.
    pub unreadable: Vec<Unreadable>,
    /// The marker of the next page, in the format of the adapter. None after the last page.
    pub next: Option<String>,
}

impl ResourcePage {
    /// Adds an item in the JSON of Resource Manager, if it matches the query. An item that cannot be read is set aside,
    /// so that it does not hide the others.
    pub fn add(&mut self, query: &ResourceQuery, id: ResourceId, item: Value) {
        if query.may_match(&item) {
            self.add_read(query, &id.clone(), Resource::from_json(id, item));
        }
    }

    /// Adds the result of reading an item, as [`ResourcePage::add`] does.
    pub fn add_read(&mut self, query: &ResourceQuery, id: &ResourceId, read: PortResult<Resource>) {
        match read {
            Ok(resource) if query.matches_tags(&resource.body.tags) => self.resources.push(resource),
            Ok(_) => {}
            Err(error) => {
                let source = error.source.as_ref().map_or_else(|| error.to_string(), ToString::to_string);
                self.unreadable.push(Unreadable { id: Some(id.clone()), name: id.to_string(), reason: source });
            }
        }
    }
}

/// An action on a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineAction {
    /// Stops the machine and releases its host.
    Deallocate,
    /// Starts the machine.
    Start,
}

impl MachineAction {
    /// The segment of the action in Resource Manager. Source: Microsoft.Compute, ComputeRP 2025-04-01.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deallocate => "deallocate",
            Self::Start => "start",
        }
    }
}

/// Resources in subscriptions and resource groups.
///
/// If the platform gives the reason of a refusal, it is the code of the error: `resource-group-not-found`,
/// `vhd-not-found`, `vhd-not-accessible`, `vhd-invalid`, `vhd-in-other-subscription`, `vhd-in-other-region`,
/// `copy-source-not-found` (no such disk or snapshot in the region), `policy-denied`, `authorization-failed`,
/// `scope-locked`, `image-region-change` and `region-change` (the resource exists in another region),
/// `property-change-not-allowed` (the source of an existing resource cannot change), `parent-resource-not-found` (there
/// is no such gallery or definition), `gallery-image-not-found` (a gallery version cannot be used in the region of a
/// disk).
#[async_trait]
pub trait ResourceService: Send + Sync {
    /// The naming that this service needs for the VHDs of its images.
    fn vhd_names(&self) -> VhdNames;

    /// The URL of a blob from which an image is created. It is not signed.
    fn blob_url(&self, blob: &BlobAddress) -> String;

    /// Returns a resource, a virtual machine with its instance view, a gallery version with the state of its
    /// replication. None if it does not exist. A missing resource group is an error.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn get(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<Option<Resource>>;

    /// Returns one page of a list: the first one, or the one at `marker`. A list is complete only after its last page:
    /// see [`list_all`]. A missing resource group is an error with the code `resource-group-not-found`: the earlier
    /// contents of the group are not known. Resources that cannot be read are in [`ResourcePage::unreadable`]. Ids in a
    /// list may differ in case from the ids of the same resources elsewhere. Machines in a list may have no instance
    /// view, and gallery versions no state of their replication.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn list(&self, query: &ResourceQuery, marker: Option<&str>) -> PortResult<ResourcePage>;

    /// Starts to create a resource, or to update an existing one to the requested body.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn put(&self, request: &PutRequest) -> PortResult<ChangeStatus>;

    /// Starts to delete a resource. The result is `Done` if it does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn delete(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<ChangeStatus>;

    /// Starts an action on a virtual machine. An action without effect is done at once: the start of a machine that
    /// runs, for example.
    ///
    /// # Errors
    /// `NotFound` if the machine does not exist, `Conflict` if another change of it is running, others if the service
    /// refuses or cannot be reached.
    async fn act(&self, id: &ResourceId, action: MachineAction, tenant: Option<&str>) -> PortResult<ChangeStatus>;

    /// Whether a gallery version of this name was deleted, and its gallery still keeps it: it can be restored, and no
    /// other version can get its name. False for a version that exists. By default, no gallery keeps what is deleted.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn is_soft_deleted(&self, _version: &ResourceId) -> PortResult<bool> {
        Ok(false)
    }

    /// Polls the state of a change.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached. If the change itself failed, the result is
    /// [`ChangeStatus::Failed`].
    async fn poll(&self, pending: &Pending) -> PortResult<ChangeStatus>;
}

/// Waits until a change ends. Each poll is retried while its error is transient.
///
/// # Errors
/// If the change failed, or if it cannot be polled.
pub async fn wait_until_done(
    resources: &dyn ResourceService,
    clock: &dyn Clock,
    mut change: ChangeStatus,
) -> PortResult<()> {
    loop {
        change = match change {
            ChangeStatus::Done => return Ok(()),
            ChangeStatus::Failed(error) => return Err(error),
            ChangeStatus::Pending(pending) => {
                clock.sleep(pending.retry_after).await;
                retry_transient(clock, PortError::is_retryable, || resources.poll(&pending)).await?
            }
        };
    }
}

/// Reads all pages of a list. Each page is retried while its error is transient.
///
/// # Errors
/// If one page cannot be read. There is no incomplete result.
pub async fn list_all(
    resources: &dyn ResourceService,
    clock: &dyn Clock,
    query: &ResourceQuery,
) -> PortResult<ResourcePage> {
    let (mut all, mut pages) = (ResourcePage::default(), Pages::default());
    loop {
        let marker = all.next.take();
        let read = || resources.list(query, marker.as_deref());
        let page = retry_transient(clock, PortError::is_retryable, read).await?;
        all.resources.extend(page.resources);
        all.unreadable.extend(page.unreadable);
        let Some(next) = page.next else { return Ok(all) };
        pages.check(&next, "resources")?;
        all.next = Some(next);
    }
}
