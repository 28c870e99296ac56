//! Reads the state of Resource Manager and storage for `goldfleet doctor`.

use std::collections::BTreeSet;

use async_trait::async_trait;
use azure_core::http::Method;
use goldfleet_model::ids::{Region, ResourceGroup, SubscriptionId};
use goldfleet_model::resource::ResourceType;
use goldfleet_model::store::Container;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::inspector::{AccountFacts, CopyScope, Grant, Inspector, Lock, Permissions};
use goldfleet_ports::pages::Pages;
use serde_json::Value;

use super::arm::ResourceManager;
use super::blob_store::AzureBlobs;
use super::connection::{Connection, STORAGE_SCOPE};
use super::error::port_error;
use super::failure::error;

// Source of the versions: the specifications of Microsoft.Resources, Storage and Authorization.
const SUBSCRIPTIONS: &str = "2022-12-01";
const RESOURCES: &str = "2025-04-01";
const STORAGE: &str = "2025-01-01";
const LOCKS: &str = "2020-05-01";
const PERMISSIONS: &str = "2022-04-01";

/// Reads the state of Azure.
pub struct AzureInspector {
    connection: Connection,
    arm: ResourceManager,
    blobs: AzureBlobs,
}

impl AzureInspector {
    /// Creates an inspector that uses `connection`, `arm` and `blobs`.
    #[must_use]
    pub fn new(connection: &Connection, arm: ResourceManager, blobs: AzureBlobs) -> Self {
        Self { connection: connection.clone(), arm, blobs }
    }

    async fn get(&self, path: &str, version: &str, tenant: Option<&str>) -> PortResult<Value> {
        let reply = self.arm.call(Method::Get, path, version, None, tenant).await?;
        Ok(reply.check_status(path)?.body)
    }

    /// A property of a subscription. None if the subscription does not exist. Source: Subscriptions - Get.
    async fn of_subscription(
        &self,
        property: &str,
        id: &SubscriptionId,
        tenant: Option<&str>,
    ) -> PortResult<Option<String>> {
        let path = format!("/subscriptions/{id}");
        let reply = self.arm.call(Method::Get, &path, SUBSCRIPTIONS, None, tenant).await?;
        match reply.error_of_response() {
            None => Ok(reply.body.get(property).and_then(Value::as_str).map(str::to_owned)),
            Some(refusal) if refusal.status == 404 => Ok(None),
            Some(refusal) => Err(error(refusal, &path)),
        }
    }

    /// Reads all pages of a list.
    async fn list(&self, path: &str, version: &str, tenant: Option<&str>) -> PortResult<Vec<Value>> {
        let mut page = self.get(path, version, tenant).await?;
        let (mut values, mut pages) = (Vec::new(), Pages::default());
        loop {
            values.extend(page.get_mut("value").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default());
            let Some(next) = page.get("nextLink").and_then(Value::as_str).filter(|next| !next.is_empty()) else {
                return Ok(values);
            };
            pages.check(next, path)?;
            page = self.arm.next_page(next, tenant, path).await?;
        }
    }

    fn facts(&self, value: &Value) -> Option<AccountFacts> {
        let facts = account(value)?;
        let endpoint = value.pointer("/properties/primaryEndpoints/blob").and_then(Value::as_str);
        let plain = |address: &str| address.trim_end_matches('/').to_ascii_lowercase();
        let wanted = plain(&self.blobs.endpoint(&facts.name));
        let elsewhere = endpoint.filter(|endpoint| plain(endpoint) != wanted).map(str::to_owned);
        Some(AccountFacts { elsewhere, ..facts })
    }
}

#[async_trait]
impl Inspector for AzureInspector {
    async fn sign_in(&self) -> PortResult<()> {
        let manager = format!("{}/.default", self.connection.identity().environment.resource_manager());
        for scope in [STORAGE_SCOPE, &manager] {
            self.connection.check_token(scope).await.map_err(|error| port_error(scope, &error))?;
        }
        Ok(())
    }

    async fn subscription(&self, id: &SubscriptionId, tenant: Option<&str>) -> PortResult<Option<String>> {
        self.of_subscription("state", id, tenant).await
    }

    async fn subscription_name(&self, id: &SubscriptionId, tenant: Option<&str>) -> PortResult<Option<String>> {
        self.of_subscription("displayName", id, tenant).await
    }

    async fn subscription_tenant(&self, id: &SubscriptionId, tenant: Option<&str>) -> PortResult<Option<String>> {
        self.of_subscription("tenantId", id, tenant).await
    }

    async fn has_group(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        tenant: Option<&str>,
    ) -> PortResult<bool> {
        let path = format!("/subscriptions/{subscription}/resourceGroups/{group}");
        match self.get(&path, RESOURCES, tenant).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == "resource-group-not-found" => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn accounts(&self, subscription: &SubscriptionId, tenant: Option<&str>) -> PortResult<Vec<AccountFacts>> {
        let path = format!("/subscriptions/{subscription}/providers/Microsoft.Storage/storageAccounts");
        let accounts = self.list(&path, STORAGE, tenant).await?;
        Ok(accounts.iter().filter_map(|account| self.facts(account)).collect())
    }

    async fn regions_of(
        &self,
        resource_type: ResourceType,
        subscription: &SubscriptionId,
        tenant: Option<&str>,
    ) -> PortResult<Option<BTreeSet<Region>>> {
        let path = format!("/subscriptions/{subscription}/providers/{}", resource_type.namespace());
        let provider = self.get(&path, RESOURCES, tenant).await?;
        if provider.get("registrationState").and_then(Value::as_str) != Some("Registered") {
            return Ok(None);
        }
        let mut types = provider.get("resourceTypes").and_then(Value::as_array).into_iter().flatten();
        let is_type = |kind: &&Value| {
            let name = kind.get("resourceType").and_then(Value::as_str);
            name.is_some_and(|name| name.eq_ignore_ascii_case(resource_type.segment()))
        };
        let found = types.find(is_type);
        let locations = found.and_then(|found| found.get("locations")).and_then(Value::as_array);
        let incomplete = || {
            PortError::new(ErrorKind::Unavailable, format!("{path}: the answer lists no {}", resource_type.segment()))
        };
        Ok(Some(locations.ok_or_else(incomplete)?.iter().filter_map(region).collect()))
    }

    async fn permissions(&self, scope: &str, tenant: Option<&str>) -> PortResult<Permissions> {
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions");
        let grants = self.list(&path, PERMISSIONS, tenant).await?;
        let patterns = |grant: &Value, name: &str| -> Vec<String> {
            let list = grant.get(name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|pattern| pattern.as_str().map(str::to_owned)).collect()
        };
        let grant = |grant: &Value| Grant {
            actions: patterns(grant, "actions"),
            not_actions: patterns(grant, "notActions"),
            data_actions: patterns(grant, "dataActions"),
            not_data_actions: patterns(grant, "notDataActions"),
        };
        Ok(Permissions { grants: grants.iter().map(grant).collect() })
    }

    async fn locks(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        tenant: Option<&str>,
    ) -> PortResult<Vec<Lock>> {
        let scope = format!("/subscriptions/{subscription}/resourceGroups/{group}");
        let locks = self.list(&format!("{scope}/providers/Microsoft.Authorization/locks"), LOCKS, tenant).await?;
        Ok(locks.iter().filter_map(|found| lock(found, &scope)).collect())
    }

    async fn can_share(&self, container: &Container) -> PortResult<()> {
        self.blobs.signed_url(&container.blob("any")).await.map(drop)
    }
}

/// A region, from its name or its display name.
fn region(value: &Value) -> Option<Region> {
    value.as_str()?.to_ascii_lowercase().replace(' ', "").parse().ok()
}

/// A lock, if it applies to a resource group or to images in it. The list also contains the locks of all other
/// resources in the group.
fn lock(value: &Value, group: &str) -> Option<Lock> {
    let id = value.get("id")?.as_str()?.to_ascii_lowercase();
    let (scope, _) = id.split_once("/providers/microsoft.authorization/locks/")?;
    let group = group.to_ascii_lowercase();
    let above = group.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let of_images = scope.starts_with(&format!("{group}/providers/microsoft.compute/images/"));
    (above || of_images).then_some(())?;
    let read_only = value.pointer("/properties/level").and_then(Value::as_str) == Some("ReadOnly");
    Some(Lock { name: value.get("name")?.as_str()?.to_owned(), read_only })
}

fn account(value: &Value) -> Option<AccountFacts> {
    let properties = value.get("properties")?;
    let text = |path: &str| properties.pointer(path).and_then(Value::as_str);
    // Source: the specification. A missing property means allowed, except for public blobs, where it depends on the age
    // of the account.
    let flag = |name: &str, default: bool| properties.get(name).and_then(Value::as_bool).unwrap_or(default);
    Some(AccountFacts {
        name: value.get("name")?.as_str()?.parse().ok()?,
        id: value.get("id")?.as_str()?.to_owned(),
        region: region(value.get("location")?)?,
        kind: value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned(),
        premium: value.pointer("/sku/tier").and_then(Value::as_str) == Some("Premium"),
        hierarchical: flag("isHnsEnabled", false),
        copies_from: match text("/allowedCopyScope") {
            Some("PrivateLink") => CopyScope::PrivateLinks,
            Some("AAD") => CopyScope::Tenant,
            _ => CopyScope::All,
        },
        elsewhere: None,
        open_to_all_networks: text("/networkAcls/defaultAction") != Some("Deny"),
        // Other values are `Disabled` and `SecuredByPerimeter`.
        public_network: matches!(text("/publicNetworkAccess"), None | Some("Enabled")),
        shared_key: flag("allowSharedKeyAccess", true),
        public_blobs: flag("allowBlobPublicAccess", false),
    })
}
