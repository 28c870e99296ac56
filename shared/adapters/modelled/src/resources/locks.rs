//! Management locks of the model.

use async_trait::async_trait;
use goldfleet_model::ids::{ResourceGroup, SubscriptionId};
use goldfleet_model::resource::{Lock, LockId, LockLevel, ResourceId};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resource_locks::{LockRequest, ResourceLocks, check_change, check_deletion};
use goldfleet_ports::resources::emulation::not_found;

use super::ModelledResources;
use crate::Model;
use crate::limits::ArmKind;
use crate::state::CloudState;

impl Model {
    /// Puts a lock at a scope, as somebody else would: the id of a subscription, resource group or resource. A lock of
    /// the same name and scope is replaced.
    pub fn put_lock_at(&self, scope: &str, name: &str, level: LockLevel) {
        self.world().set_lock(Lock::at(scope, name, level.as_str()));
    }

    /// Removes a lock from a scope.
    pub fn remove_lock_at(&self, scope: &str, name: &str) {
        let lock = Lock::at(scope, name, "");
        self.world().arm.locks.remove(&key(&lock.id));
    }
}

fn key(id: &str) -> String {
    id.to_ascii_lowercase()
}

impl CloudState {
    fn set_lock(&mut self, lock: Lock) {
        self.arm.locks.insert(key(&lock.id), lock);
    }

    pub(super) fn check_deletion(&self, id: &ResourceId) -> PortResult<()> {
        check_deletion(id, self.arm.locks.values())
    }

    pub(super) fn check_change(&self, id: &ResourceId) -> PortResult<()> {
        check_change(id, self.arm.locks.values())
    }
}

#[async_trait]
impl ResourceLocks for ModelledResources {
    async fn locks(&self, id: &ResourceId, _tenant: Option<&str>) -> PortResult<Vec<Lock>> {
        let find = |world: &mut CloudState| {
            Ok(world.arm.locks.values().filter(|lock| lock.applies_to(id)).cloned().collect::<Vec<Lock>>())
        };
        let begin = |world: &mut CloudState, now| world.begin_management(now, id.subscription, ArmKind::Read, find);
        self.0.run_request(begin).await
    }

    async fn group_locks(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        _tenant: Option<&str>,
    ) -> PortResult<Vec<Lock>> {
        let scope = format!("/subscriptions/{subscription}/resourceGroups/{group}").to_ascii_lowercase();
        let find = |world: &mut CloudState| {
            let is_in = |lock: &&Lock| {
                let found = lock.scope().unwrap_or_default().to_ascii_lowercase();
                let contains = |outer: &str, inner: &str| {
                    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                contains(&scope, &found) || contains(&found, &scope)
            };
            Ok(world.arm.locks.values().filter(is_in).cloned().collect::<Vec<Lock>>())
        };
        let begin = |world: &mut CloudState, now| world.begin_management(now, *subscription, ArmKind::Read, find);
        self.0.run_request(begin).await
    }

    async fn put_lock(&self, request: &LockRequest) -> PortResult<()> {
        let LockId { resource, .. } = &request.id;
        let put = |world: &mut CloudState| {
            world.arm.resources.get(resource).ok_or_else(|| not_found(resource))?;
            world.set_lock(Lock::at(&resource.to_string(), request.id.name(), request.level.as_str()));
            Ok(())
        };
        let begin =
            |world: &mut CloudState, now| world.begin_management(now, resource.subscription, ArmKind::Write, put);
        self.0.run_request(begin).await
    }

    async fn delete_lock(&self, id: &LockId, _tenant: Option<&str>) -> PortResult<()> {
        let remove = |world: &mut CloudState| {
            world.arm.locks.remove(&key(&id.to_string()));
            Ok(())
        };
        let subscription = id.resource.subscription;
        self.0.run_request(|world, now| world.begin_management(now, subscription, ArmKind::Delete, remove)).await
    }
}
