//! Management locks. Source: Microsoft.Authorization, locks 2020-05-01.
//!
//! A list without a filter has the locks at, above and below a scope. Source: Azure PowerShell, `Get-AzResourceLock`,
//! `-AtScope`. If a lock were missing in it, Azure would still refuse the deletion.

use async_trait::async_trait;
use azure_core::http::Method;
use goldfleet_model::ids::{ResourceGroup, SubscriptionId};
use goldfleet_model::resource::{Lock, LockId, ResourceId};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::pages::Pages;
use goldfleet_ports::resource_locks::{LockRequest, ResourceLocks};
use serde_json::Value;

use super::AzureResources;

/// The version of the API.
const VERSION: &str = "2020-05-01";

impl AzureResources {
    /// All locks in the list of a scope.
    async fn list_locks(&self, scope: &str, tenant: Option<&str>) -> PortResult<Vec<Lock>> {
        let path = format!("{scope}/providers/Microsoft.Authorization/locks");
        let mut page = self.arm.call(Method::Get, &path, VERSION, None, tenant).await?.check_status(&path)?.body;
        let (mut locks, mut pages) = (Vec::new(), Pages::default());
        loop {
            let values = page.get_mut("value").and_then(Value::as_array_mut).map(std::mem::take);
            // An incomplete list must not be taken for an empty one.
            let incomplete =
                || PortError::new(ErrorKind::Unavailable, format!("{path}: the service's answer has no list"));
            locks.extend(values.ok_or_else(incomplete)?.iter().map(Lock::from_json));
            let Some(next) = page.get("nextLink").and_then(Value::as_str).filter(|next| !next.is_empty()) else {
                return Ok(locks);
            };
            pages.check(next, &path)?;
            page = self.arm.next_page(next, tenant, &path).await?;
        }
    }
}

#[async_trait]
impl ResourceLocks for AzureResources {
    async fn locks(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<Vec<Lock>> {
        let mut locks = self.list_locks(&id.to_string(), tenant).await?;
        // The service may also return locks of resources below this one.
        locks.retain(|lock| lock.applies_to(id));
        Ok(locks)
    }

    async fn group_locks(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        tenant: Option<&str>,
    ) -> PortResult<Vec<Lock>> {
        self.list_locks(&format!("/subscriptions/{subscription}/resourceGroups/{group}"), tenant).await
    }

    async fn put_lock(&self, request: &LockRequest) -> PortResult<()> {
        let (path, tenant) = (request.id.to_string(), request.tenant.as_deref());
        self.arm.call(Method::Put, &path, VERSION, Some(&request.body()), tenant).await?.check_status(&path).map(drop)
    }

    async fn delete_lock(&self, id: &LockId, tenant: Option<&str>) -> PortResult<()> {
        let path = id.to_string();
        let reply = self.arm.call(Method::Delete, &path, VERSION, None, tenant).await?;
        if reply.status == 404 {
            return Ok(());
        }
        reply.check_status(&path).map(drop)
    }
}
