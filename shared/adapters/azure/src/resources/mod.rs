//! Managed images, disks, snapshots, virtual machines and galleries in Resource Manager.

mod access;
mod change;
mod content;
mod locks;
mod pages;
mod versions;

use async_trait::async_trait;
use azure_core::http::Method;
use goldfleet_azure_settings::AzureCloud;
use goldfleet_model::image::VhdNames;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::linked_put::LinkedPut;
use goldfleet_ports::pages::Pages;
use goldfleet_ports::resources::emulation::region_change;
use goldfleet_ports::resources::{
    ChangeStatus, MachineAction, Pending, PutMode, PutRequest, Resource, ResourcePage, ResourceQuery, ResourceService,
    Unreadable,
};
use serde_json::Value;

use self::change::{Change, Goal};
use self::versions::api_version;
use super::arm::{ArmResponse, ResourceManager};

pub use self::pages::AzureDiskPages;

/// Resources in the subscriptions that the identity of the process can access.
pub struct AzureResources {
    arm: ResourceManager,
    cloud: AzureCloud,
}

impl AzureResources {
    /// Opens the resources behind `arm`. The VHDs of images are at the endpoints of `cloud`.
    #[must_use]
    pub fn new(arm: ResourceManager, cloud: &AzureCloud) -> Self {
        Self { arm, cloud: cloud.clone() }
    }

    /// Checks the mode of a PUT before it is sent. Most services have no condition for that.
    async fn check_mode(&self, request: &PutRequest) -> PortResult<()> {
        let PutRequest { id, tenant, mode, .. } = request;
        if *mode == PutMode::Create && self.get(id, tenant.as_deref()).await?.is_some() {
            return Err(exists(id));
        }
        Ok(())
    }

    /// Sends a PUT, on condition that the resource does not exist if the mode demands it and the service has the
    /// condition.
    async fn send_put(&self, request: &PutRequest) -> PortResult<ArmResponse> {
        let PutRequest { id, tenant, mode, body } = request;
        let (path, version, tenant) = (id.to_string(), api_version(id.resource_type), tenant.as_deref());
        let body = body.to_request_json();
        if *mode != PutMode::Create || !has_if_none_match(id.resource_type) {
            return self.arm.call(Method::Put, &path, version, Some(&body), tenant).await;
        }
        match self.arm.put_if_absent(&path, version, &body, tenant).await? {
            refused if refused.status == PRECONDITION_FAILED => Err(exists(id)),
            reply => Ok(reply),
        }
    }
}

#[async_trait]
impl ResourceService for AzureResources {
    fn vhd_names(&self) -> VhdNames {
        VhdNames::Flat
    }

    fn blob_url(&self, blob: &BlobAddress) -> String {
        let account = self.cloud.blobs_of(&blob.container.account);
        format!("{}/{}/{}", account.trim_end_matches('/'), blob.container.container, blob.name)
    }

    async fn get(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<Option<Resource>> {
        match self.arm.get(&read_path(id), api_version(id.resource_type), tenant).await? {
            Some(value) => Resource::from_json(id.clone(), value).map(Some),
            None => Ok(None),
        }
    }

    async fn list(&self, query: &ResourceQuery, marker: Option<&str>) -> PortResult<ResourcePage> {
        let (tenant, path) = (query.tenant.as_deref(), list_path(query)?);
        let page = match marker {
            Some(next) => self.arm.next_page(next, tenant, &path).await?,
            None => {
                let version = api_version(query.resource_type);
                self.arm.call(Method::Get, &path, version, None, tenant).await?.check_status(&path)?.body
            }
        };
        read_page(query, page, &path)
    }

    async fn put(&self, request: &PutRequest) -> PortResult<ChangeStatus> {
        let PutRequest { id, tenant, .. } = request;
        goldfleet_ports::resources::emulation::check_put(request, None)?;
        self.check_mode(request).await?;
        let (path, tenant) = (id.to_string(), tenant.as_deref());
        let reply =
            self.send_put(request).await?.check_status(&path).map_err(|error| error_of_put(id.resource_type, error))?;
        Change::new(id, tenant, Goal::Exists).status(self.arm.initial_status(&reply, &path))
    }

    async fn delete(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<ChangeStatus> {
        let path = id.to_string();
        let reply = self.arm.call(Method::Delete, &path, api_version(id.resource_type), None, tenant).await?;
        if reply.status == 404 || reply.status == 204 {
            return Ok(ChangeStatus::Done);
        }
        let reply = reply.check_status(&path)?;
        Change::new(id, tenant, Goal::Removed).status(self.arm.initial_status(&reply, &path))
    }

    async fn act(&self, id: &ResourceId, action: MachineAction, tenant: Option<&str>) -> PortResult<ChangeStatus> {
        let (what, path) = (id.to_string(), format!("{id}/{}", action.as_str()));
        if id.resource_type != ResourceType::Machine {
            let message = format!("{what} is not a machine: it cannot be started or deallocated");
            return Err(PortError::new(ErrorKind::Invalid, message).with_code("resource-type-mismatch"));
        }
        let reply = self.arm.call(Method::Post, &path, api_version(id.resource_type), None, tenant).await?;
        let reply = reply.check_status(&what)?;
        let goal = match action {
            MachineAction::Deallocate => Goal::Deallocated,
            MachineAction::Start => Goal::Started,
        };
        Change::new(id, tenant, goal).status(self.arm.initial_status(&reply, &what))
    }

    async fn is_soft_deleted(&self, version: &ResourceId) -> PortResult<bool> {
        let Some(path) = soft_deleted_path(version) else { return Ok(false) };
        let api = api_version(version.resource_type);
        let first = self.arm.call(Method::Get, &path, api, None, None).await?;
        // The gallery or the definition does not exist, or keeps nothing.
        if first.status == 404 {
            return Ok(false);
        }
        let (mut page, mut pages) = (first.check_status(&path)?.body, Pages::default());
        loop {
            let values = page.get("value").and_then(Value::as_array);
            let found = |value: &Value| {
                let id = value.pointer("/properties/resourceArmId").and_then(Value::as_str);
                id.and_then(|id| id.parse::<ResourceId>().ok()).as_ref() == Some(version)
            };
            if values.is_some_and(|values| values.iter().any(found)) {
                return Ok(true);
            }
            let next = page.get("nextLink").and_then(Value::as_str).filter(|next| !next.is_empty()).map(str::to_owned);
            let Some(next) = next else { return Ok(false) };
            pages.check(&next, &path)?;
            page = self.arm.next_page(&next, None, &path).await?;
        }
    }

    async fn poll(&self, pending: &Pending) -> PortResult<ChangeStatus> {
        match self.poll_change(pending).await? {
            ChangeStatus::Failed(error) => Ok(ChangeStatus::Failed(error_of_put(pending.id.resource_type, error))),
            status => Ok(status),
        }
    }
}

#[async_trait]
impl LinkedPut for AzureResources {
    async fn put_linked(&self, request: &PutRequest, source_tenant: Option<&str>) -> PortResult<ChangeStatus> {
        let PutRequest { id, tenant, body, .. } = request;
        self.check_mode(request).await?;
        let (path, version, tenant) = (id.to_string(), api_version(id.resource_type), tenant.as_deref());
        let sent = self.arm.put_linked(&path, version, &body.to_request_json(), tenant, source_tenant).await?;
        let reply = sent.check_status(&path).map_err(|error| error_of_put(id.resource_type, error))?;
        Change::new(id, tenant, Goal::Exists).status(self.arm.initial_status(&reply, &path))
    }
}

/// The status of a refused condition.
const PRECONDITION_FAILED: u16 = 412;

/// Whether the PUT of a resource type accepts `If-None-Match: *`. Source: the parameters of the PUTs in
/// Microsoft.Compute: `VirtualMachines_CreateOrUpdate` has it, `Images_CreateOrUpdate` (ComputeRP 2025-04-01),
/// `Disks_CreateOrUpdate` and `Snapshots_CreateOrUpdate` (DiskRP 2025-01-02) do not, nor do the PUTs of galleries
/// (GalleryRP 2024-03-03).
fn has_if_none_match(resource_type: ResourceType) -> bool {
    resource_type == ResourceType::Machine
}

fn exists(id: &ResourceId) -> PortError {
    PortError::new(ErrorKind::AlreadyExists, format!("{id} exists"))
}

/// The path of a read. The power state of a machine is in its instance view, and the state of the regions of a gallery
/// version in its replication status.
fn read_path(id: &ResourceId) -> String {
    match id.resource_type {
        ResourceType::Machine => format!("{id}?$expand=instanceView"),
        ResourceType::GalleryVersion => format!("{id}?$expand=ReplicationStatus"),
        _ => id.to_string(),
    }
}

/// The path of a list.
fn list_path(query: &ResourceQuery) -> PortResult<String> {
    let ResourceQuery { subscription, resource_type, .. } = query;
    if let Some(parent) = query.parent_id()? {
        let segment = resource_type.segment();
        return Ok(format!("{parent}/{}", segment.rsplit('/').next().unwrap_or(segment)));
    }
    let scope = match &query.resource_group {
        Some(group) => format!("/subscriptions/{subscription}/resourceGroups/{group}"),
        None => format!("/subscriptions/{subscription}"),
    };
    Ok(format!("{scope}/providers/{resource_type}"))
}

/// The list of the deleted versions of a definition that can be restored. Source: GalleryRP 2024-03-03,
/// `SoftDeletedResource_ListByArtifactName`. None for another type.
fn soft_deleted_path(version: &ResourceId) -> Option<String> {
    let definition = version.parent().filter(|_| version.resource_type == ResourceType::GalleryVersion)?;
    let gallery = definition.parent()?;
    Some(format!("{gallery}/softDeletedArtifactTypes/Images/artifacts/{}/versions", definition.name.own()))
}

/// Reads a page of a list. Tags are compared here, because the lists of Microsoft.Compute have no filter for them.
fn read_page(query: &ResourceQuery, mut page: Value, path: &str) -> PortResult<ResourcePage> {
    let Some(values) = page.get_mut("value").and_then(Value::as_array_mut).map(std::mem::take) else {
        // An incomplete list must not be taken for an empty one.
        let message = format!("{path}: the service's answer has no list");
        return Err(PortError::new(ErrorKind::Unavailable, message));
    };
    let next = page.get("nextLink").and_then(Value::as_str).filter(|next| !next.is_empty()).map(str::to_owned);
    let mut read = ResourcePage { next, ..ResourcePage::default() };
    for value in values {
        let named = value.get("id").and_then(Value::as_str);
        let id = named.and_then(|id| id.parse::<ResourceId>().ok());
        let Some(mut id) = id.filter(|id| id.resource_type == query.resource_type) else {
            read.unreadable.push(Unreadable::unnamed(named.unwrap_or("a resource without id")));
            continue;
        };
        // Lists return resource groups in upper case.
        if let Some(group) = &query.resource_group {
            id.resource_group = group.clone();
        }
        read.add(query, id, value);
    }
    Ok(read)
}

/// The reason of a refused PUT. The resource itself is not missing, so a missing resource is its source.
fn error_of_put(resource_type: ResourceType, error: PortError) -> PortError {
    match (error.kind, error.code.as_str()) {
        (ErrorKind::NotFound, "resource-not-found" | "not-found") => error.with_code("copy-source-not-found"),
        (_, "image-region-change") => error.with_code(region_change(resource_type)),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query() -> ResourceQuery {
        ResourceQuery {
            resource_type: ResourceType::Snapshot,
            subscription: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
            resource_group: Some("Golden".parse().unwrap()),
            parent: None,
            tags: [("goldfleet-role".to_owned(), "golden".to_owned())].into(),
            tenant: None,
        }
    }

    fn snapshot(group: &str, name: &str, role: &str) -> Value {
        json!({
            "id": format!("/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/{group}/providers/Microsoft.Compute/snapshots/{name}"),
            "location": "West US",
            "tags": { "Goldfleet-Role": role },
            "properties": { "creationData": { "createOption": "Copy" }, "provisioningState": "Succeeded" },
        })
    }

    #[test]
    fn page_has_matching_resources_with_usual_spelling() {
        let values =
            [snapshot("GOLDEN", "a", "golden"), snapshot("GOLDEN", "b", "clone"), snapshot("GRÜN", "c", "golden")];
        let page = read_page(&query(), json!({ "value": values, "nextLink": "https://x/next" }), "path").unwrap();
        assert_eq!((page.unreadable.len(), page.next.as_deref()), (1, Some("https://x/next")));
        assert!(page.unreadable[0].id.is_none() && page.unreadable[0].name.contains("GRÜN"), "{page:?}");
        let [found] = &page.resources[..] else { panic!("{page:?}") };
        assert!(found.id.to_string().contains("/resourceGroups/Golden/"), "{}", found.id);
        assert_eq!(found.body.region.as_str(), "westus");
    }

    #[test]
    fn response_without_list_is_not_an_empty_list() {
        assert_eq!(read_page(&query(), json!({}), "path").unwrap_err().kind, ErrorKind::Unavailable);
    }

    /// A value that this version does not know must not hide the other resources.
    #[test]
    fn unreadable_item_is_set_aside() {
        let mut strange = snapshot("GOLDEN", "b", "golden");
        strange["properties"]["osType"] = json!("Plan9");
        let mut other = snapshot("GOLDEN", "c", "clone");
        other["properties"]["osType"] = json!("Plan9");
        let mut untagged = snapshot("GOLDEN", "d", "golden");
        untagged["tags"] = json!("?");
        let values = [snapshot("GOLDEN", "a", "golden"), strange, other, untagged];
        let page = read_page(&query(), json!({ "value": values }), "path").unwrap();
        assert_eq!(page.resources.iter().map(|found| found.id.name.as_str()).collect::<Vec<_>>(), ["a"]);
        // The tags of one exclude it, those of another cannot be read.
        let names: Vec<_> = page.unreadable.iter().map(|found| found.id.as_ref().unwrap().name.as_str()).collect();
        assert_eq!(names, ["b", "d"]);
        assert!(page.unreadable[0].reason.contains("Plan9"), "{page:?}");
    }
}
