//! Management locks, and what they forbid.

use async_trait::async_trait;
use goldfleet_model::resource::{Lock, LockId, LockLevel, ResourceId, ResourceType};
use uuid::Uuid;

use super::{ResourceSuite, refused_as, tags};
use crate::error::ErrorKind;
use crate::resource_locks::{LockRequest, ResourceLocks};
use crate::resources::PutRequest;

/// Puts foreign locks, at any scope: the id of a subscription, resource group or resource.
#[async_trait]
pub trait ForeignLocks: Send + Sync {
    /// Puts a lock.
    async fn put(&self, scope: &str, name: &str, level: LockLevel);
    /// Removes a lock.
    async fn remove(&self, scope: &str, name: &str);
}

/// The ports under test: locks, and a method to put foreign locks.
#[derive(Clone, Copy)]
pub struct LockPorts<'a> {
    /// The locks.
    pub locks: &'a dyn ResourceLocks,
    /// The locks of others.
    pub foreign: &'a dyn ForeignLocks,
}

fn request(resource: &ResourceId, name: &str, level: LockLevel) -> LockRequest {
    let id = LockId::new(resource.clone(), name).expect("a name");
    LockRequest { id, tenant: None, level, notes: "put by the conformance suite".to_owned() }
}

async fn listed(ports: LockPorts<'_>, id: &ResourceId) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = ports
        .locks
        .locks(id, None)
        .await
        .expect("a list")
        .into_iter()
        .map(|Lock { id, level, .. }| (id.to_ascii_lowercase(), level))
        .collect();
    found.sort();
    found
}

fn lock_id(scope: &str, name: &str) -> String {
    format!("{scope}/providers/Microsoft.Authorization/locks/{name}").to_ascii_lowercase()
}

impl ResourceSuite<'_> {
    /// Runs the part of the suite about locks.
    pub async fn locks(self, ports: LockPorts<'_>) {
        self.own_lock_forbids_deletion_until_it_is_deleted(ports).await;
        self.read_only_lock_forbids_changes_and_access(ports).await;
        self.locks_are_inherited(ports).await;
        self.lock_of_one_resource_does_not_apply_to_others(ports).await;
        self.missing_resource_cannot_be_locked(ports).await;
    }

    /// A lock is put twice and deleted twice. In between, the resource cannot be deleted, but changed and read.
    pub async fn own_lock_forbids_deletion_until_it_is_deleted(self, ports: LockPorts<'_>) {
        let disk = self.new_disk().await.id;
        let snapshot = self.snapshot_of(&disk, false);
        self.put(&snapshot).await.expect("a snapshot");
        self.arrived(&snapshot.id).await;
        assert_eq!(listed(ports, &snapshot.id).await, []);
        let lock = request(&snapshot.id, "goldfleet-suite", LockLevel::CanNotDelete);
        for time in ["first", "second"] {
            ports.locks.put_lock(&lock).await.expect(time);
            let expected = (lock_id(&snapshot.id.to_string(), "goldfleet-suite"), "CanNotDelete".to_owned());
            assert_eq!(listed(ports, &snapshot.id).await, [expected], "{time} time");
            let own = ports.locks.locks(&snapshot.id, None).await.expect("a list").remove(0);
            assert!(own.is_of("suite", &snapshot.id), "{own:?}");
            let ResourceId { subscription, resource_group, .. } = &snapshot.id;
            let of_group = ports.locks.group_locks(subscription, resource_group, None).await.expect("a list");
            let own = of_group.iter().filter(|lock| lock.is_of("suite", &snapshot.id));
            assert_eq!(own.count(), 1, "{of_group:?}");
            refused_as(self.delete(&snapshot.id).await, ErrorKind::Locked, "scope-locked");
        }
        let changed = PutRequest { body: self.existing(&snapshot.id).await.body.with_tags(tags("locked")), ..snapshot };
        self.put(&changed).await.expect("other tags");
        assert_eq!(self.existing(&changed.id).await.body.tags, tags("locked"));
        for time in ["first", "second"] {
            ports.locks.delete_lock(&lock.id, None).await.expect(time);
            assert_eq!(listed(ports, &changed.id).await, [], "{time} time");
        }
        self.delete(&changed.id).await.expect("a removal");
        assert_eq!(self.find(&changed.id).await, None);
    }

    /// A read-only lock forbids everything except reading.
    pub async fn read_only_lock_forbids_changes_and_access(self, ports: LockPorts<'_>) {
        let request_of_disk = self.upload_disk();
        self.put(&request_of_disk).await.expect("a disk");
        let disk = &request_of_disk.id;
        let lock = request(disk, "goldfleet-suite", LockLevel::ReadOnly);
        ports.locks.put_lock(&lock).await.expect("a lock");
        assert_eq!(listed(ports, disk).await[0].1, "ReadOnly");
        refused_as(self.delete(disk).await, ErrorKind::Locked, "scope-locked");
        let changed = PutRequest { body: request_of_disk.body.clone().with_tags(tags("x")), ..request_of_disk.clone() };
        refused_as(self.put(&changed).await, ErrorKind::Locked, "scope-locked");
        refused_as(self.write(disk).await.map(drop), ErrorKind::Locked, "scope-locked");
        refused_as(self.end(disk).await, ErrorKind::Locked, "scope-locked");
        assert_eq!(self.existing(disk).await.body.tags, request_of_disk.body.tags);
        ports.locks.delete_lock(&lock.id, None).await.expect("a removal");
        self.write(disk).await.expect("access");
        self.end(disk).await.expect("the end of access");
    }

    /// Locks of the resource group and of the subscription apply to their resources. Resources of other groups have the
    /// locks of the subscription only.
    pub async fn locks_are_inherited(self, ports: LockPorts<'_>) {
        let disk = self.new_disk().await.id;
        let elsewhere = self.upload_disk();
        let id = ResourceId { resource_group: self.location.other_group.clone(), ..elsewhere.id.clone() };
        let elsewhere = PutRequest { id, ..elsewhere };
        self.put(&elsewhere).await.expect("a disk in another group");
        let subscription = format!("/subscriptions/{}", self.location.subscription);
        let group = format!("{subscription}/resourceGroups/{}", self.location.resource_group);
        let name = format!("keep-{}", Uuid::new_v4().simple());

        for level in [LockLevel::CanNotDelete, LockLevel::ReadOnly] {
            ports.foreign.put(&group, &name, level).await;
            let expected = (lock_id(&group, &name), level.as_str().to_owned());
            assert_eq!(listed(ports, &disk).await, [expected]);
            assert_eq!(listed(ports, &elsewhere.id).await, []);
            refused_as(self.delete(&disk).await, ErrorKind::Locked, "scope-locked");
            let new = self.put(&self.upload_disk()).await;
            assert_eq!(new.is_err_and(|error| error.code == "scope-locked"), level == LockLevel::ReadOnly, "{level:?}");
            ports.foreign.remove(&group, &name).await;
        }
        ports.foreign.put(&subscription, &name, LockLevel::CanNotDelete).await;
        for id in [&disk, &elsewhere.id] {
            assert_eq!(listed(ports, id).await, [(lock_id(&subscription, &name), "CanNotDelete".to_owned())], "{id}");
            refused_as(self.delete(id).await, ErrorKind::Locked, "scope-locked");
            // An own lock is listed beside the inherited one, and can be put and deleted despite it.
            let own = request(id, "goldfleet-suite", LockLevel::CanNotDelete);
            ports.locks.put_lock(&own).await.expect("a lock");
            assert_eq!(listed(ports, id).await.len(), 2, "{id}");
            ports.locks.delete_lock(&own.id, None).await.expect("a removal");
        }
        ports.foreign.remove(&subscription, &name).await;
        for id in [&disk, &elsewhere.id] {
            assert_eq!(listed(ports, id).await, [], "{id}");
            self.delete(id).await.expect("a removal");
        }
    }

    /// A lock applies to one resource only: not to one with a longer name, and not to one of another type with the same
    /// name. The case of names does not matter.
    pub async fn lock_of_one_resource_does_not_apply_to_others(self, ports: LockPorts<'_>) {
        let disk = self.new_disk().await.id;
        let snapshot = self.snapshot_of(&disk, false);
        let same = ResourceId { name: disk.name.clone(), ..snapshot.id.clone() };
        let longer = ResourceId { name: format!("{}0", disk.name).parse().expect("a name"), ..disk.clone() };
        self.put(&PutRequest { id: same.clone(), ..snapshot }).await.expect("a snapshot");
        self.arrived(&same).await;
        self.put(&PutRequest { id: longer.clone(), ..self.upload_disk() }).await.expect("a disk");
        ports.foreign.put(&disk.to_string(), "keep", LockLevel::CanNotDelete).await;
        for other in [&same, &longer] {
            assert_eq!(listed(ports, other).await, [], "{other}");
            self.delete(other).await.expect("a removal");
        }
        let loud = ResourceId { name: disk.name.as_str().to_uppercase().parse().expect("a name"), ..disk.clone() };
        assert_eq!(listed(ports, &loud).await.len(), 1);
        refused_as(self.delete(&loud).await, ErrorKind::Locked, "scope-locked");
        ports.foreign.remove(&disk.to_string(), "keep").await;
        self.delete(&loud).await.expect("a removal");
        assert_eq!(self.find(&disk).await, None);
    }

    /// A lock needs a resource. A lock that does not exist can be deleted.
    pub async fn missing_resource_cannot_be_locked(self, ports: LockPorts<'_>) {
        let missing = self.new_id(ResourceType::Snapshot);
        let lock = request(&missing, "goldfleet-suite", LockLevel::CanNotDelete);
        let refusal = ports.locks.put_lock(&lock).await.expect_err("a refusal");
        assert_eq!(refusal.kind, ErrorKind::NotFound, "{refusal:?}");
        ports.locks.delete_lock(&lock.id, None).await.expect("a removal of nothing");
        assert_eq!(listed(ports, &missing).await, []);
    }
}
