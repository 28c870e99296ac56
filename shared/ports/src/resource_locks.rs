//! Management locks on resources.

use async_trait::async_trait;
use goldfleet_model::ids::{ResourceGroup, SubscriptionId};
use goldfleet_model::resource::{Lock, LockId, LockLevel, ResourceId};
use serde_json::{Value, json};

use super::error::{ErrorKind, PortError, PortResult};

/// A request to put a lock on a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    /// The id of the lock.
    pub id: LockId,
    /// The tenant to authenticate against, if it differs from the credential's tenant.
    pub tenant: Option<String>,
    /// What the lock forbids.
    pub level: LockLevel,
    /// Why the lock exists, for operators. Azure permits 512 characters.
    pub notes: String,
}

impl LockRequest {
    /// The body of the request in the JSON of Resource Manager.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "properties": { "level": self.level.as_str(), "notes": self.notes } })
    }
}

/// Locks of resources.
///
/// A lock of any level forbids the deletion of the resources in its scope, and a read-only lock also forbids changes
/// and access. A request that a lock forbids fails with the kind [`ErrorKind::Locked`] and the code `scope-locked`.
/// Locks never prevent changes of locks: that is a question of rights.
#[async_trait]
pub trait ResourceLocks: Send + Sync {
    /// Lists the locks that apply to a resource: its own, and those of its resource group and subscription. The list is
    /// complete, or the result is an error.
    ///
    /// # Errors
    /// `Denied` with the code `authorization-failed` if the identity may not read locks; or if the service refuses or
    /// cannot be reached.
    async fn locks(&self, id: &ResourceId, tenant: Option<&str>) -> PortResult<Vec<Lock>>;

    /// Lists the locks of a resource group, of its subscription, and of the resources in the group. The list is
    /// complete, or the result is an error.
    ///
    /// # Errors
    /// As [`ResourceLocks::locks`].
    async fn group_locks(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        tenant: Option<&str>,
    ) -> PortResult<Vec<Lock>>;

    /// Puts a lock on a resource, or replaces its lock of the same name.
    ///
    /// # Errors
    /// `NotFound` if the resource does not exist; `Denied` if the identity may not write locks; or if the service
    /// refuses or cannot be reached.
    async fn put_lock(&self, request: &LockRequest) -> PortResult<()>;

    /// Deletes a lock of a resource. It is not an error if the lock does not exist.
    ///
    /// # Errors
    /// `Denied` if the identity may not delete locks; or if the service refuses or cannot be reached.
    async fn delete_lock(&self, id: &LockId, tenant: Option<&str>) -> PortResult<()>;
}

/// Checks that no lock forbids the deletion of a resource, for adapters that emulate Resource Manager.
///
/// # Errors
/// `Locked` with the code `scope-locked`.
pub fn check_deletion<'a>(id: &ResourceId, locks: impl IntoIterator<Item = &'a Lock>) -> PortResult<()> {
    check(id, "delete", locks)
}

/// Checks that no lock forbids a change of a resource or access to it, for adapters that emulate Resource Manager.
///
/// # Errors
/// `Locked` with the code `scope-locked`.
pub fn check_change<'a>(id: &ResourceId, locks: impl IntoIterator<Item = &'a Lock>) -> PortResult<()> {
    check(id, "write", locks.into_iter().filter(|lock| lock.is_read_only()))
}

fn check<'a>(id: &ResourceId, verb: &str, locks: impl IntoIterator<Item = &'a Lock>) -> PortResult<()> {
    let scopes: Vec<&str> =
        locks.into_iter().filter(|lock| lock.applies_to(id)).map(|lock| lock.scope().unwrap_or(&lock.id)).collect();
    if scopes.is_empty() {
        return Ok(());
    }
    let message =
        format!("{id}: a {verb} operation is not possible, because these scopes are locked: {}", scopes.join(", "));
    Err(PortError::new(ErrorKind::Locked, message).with_code("scope-locked"))
}
