//! Management locks: files in the format of Azure's locks.
//!
//! | scope | file, below `<root>/subscriptions/<subscription>` |
//! | --- | --- |
//! | subscription | `locks/<lock>.json` |
//! | resource group | `resourceGroups/<resource group>/locks/<lock>.json` |
//! | resource | `resourceGroups/<resource group>/locks/<type>/<name>/<lock>.json` |
//!
//! The place of a file determines the scope and the name of the lock. Of its content only `properties.level` is used,
//! so an operator can put a lock with
//! `echo '{"properties": {"level": "CanNotDelete"}}' > .../locks/keep.json`, and remove it by deleting the file.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use goldfleet_model::ids::{ResourceGroup, SubscriptionId};
use goldfleet_model::resource::{Lock, LockId, ResourceId, ResourceType};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resource_locks::{LockRequest, ResourceLocks, check_change, check_deletion};
use goldfleet_ports::resources::emulation::not_found;
use serde_json::{Value, json};

use super::DirectoryResources;
use super::files::{ResourceFiles, existing_spelling, replace_file};
use super::listing;
use crate::blob_store::paths::io_error;
use crate::blocking::blocking;

/// The folder of the locks of a subscription or resource group.
const LOCKS: &str = "locks";

impl ResourceFiles {
    /// The folders in which locks can apply to a resource, each with the scope of its locks.
    fn lock_folders(&self, id: &ResourceId) -> [(PathBuf, String); 3] {
        let ResourceId { subscription, resource_group, .. } = id;
        let group = existing_spelling(&self.groups(subscription), resource_group.as_str());
        let scope = format!("/subscriptions/{subscription}");
        let of_group = format!("{scope}/resourceGroups/{resource_group}");
        [
            (self.subscription(subscription).join(LOCKS), scope),
            (group.join(LOCKS), of_group),
            (self.locks_of_resource(id), id.to_string()),
        ]
    }

    /// The folder of the locks of one resource.
    fn locks_of_resource(&self, id: &ResourceId) -> PathBuf {
        let group = existing_spelling(&self.groups(&id.subscription), id.resource_group.as_str());
        id.path().split('/').fold(group.join(LOCKS), |folder, name| existing_spelling(&folder, name))
    }

    /// The locks that apply to a resource.
    pub(super) fn locks(&self, id: &ResourceId) -> PortResult<Vec<Lock>> {
        let mut locks = Vec::new();
        for (folder, scope) in self.lock_folders(id) {
            read_locks(&folder, &scope, &mut locks)?;
        }
        Ok(locks)
    }

    /// The locks of a resource group, of its subscription, and of the resources in the group.
    fn locks_of_group(&self, subscription: &SubscriptionId, group: &ResourceGroup) -> PortResult<Vec<Lock>> {
        self.check_group(subscription, group)?;
        let scope = format!("/subscriptions/{subscription}");
        let mut locks = Vec::new();
        read_locks(&self.subscription(subscription).join(LOCKS), &scope, &mut locks)?;
        let folder = existing_spelling(&self.groups(subscription), group.as_str()).join(LOCKS);
        let scope = format!("{scope}/resourceGroups/{group}");
        read_locks(&folder, &scope, &mut locks)?;
        for resource_type in ResourceType::ALL.into_iter().filter(|known| !known.segment().contains('/')) {
            let folder = folder.join(resource_type.segment());
            for name in listing::names(&folder)? {
                let scope = format!("{scope}/providers/{resource_type}/{name}");
                read_locks(&folder.join(&name), &scope, &mut locks)?;
            }
        }
        Ok(locks)
    }

    /// Checks that no lock forbids the deletion of a resource.
    pub(super) fn check_deletion(&self, id: &ResourceId) -> PortResult<()> {
        check_deletion(id, &self.locks(id)?)
    }

    /// Checks that no lock forbids a change of a resource or access to it.
    pub(super) fn check_change(&self, id: &ResourceId) -> PortResult<()> {
        check_change(id, &self.locks(id)?)
    }

    fn put_lock(&self, request: &LockRequest) -> PortResult<()> {
        let LockId { resource, .. } = &request.id;
        // Without this check, the lock of the folder would create the folder of a missing resource group.
        self.read(resource)?.ok_or_else(|| not_found(resource))?;
        let _held = self.lock(resource)?;
        self.read(resource)?.ok_or_else(|| not_found(resource))?;
        let folder = self.locks_of_resource(resource);
        fs::create_dir_all(&folder)
            .map_err(|error| io_error(&format!("could not create {}", folder.display()), error))?;
        let mut value = request.body();
        value["id"] = json!(request.id.to_string());
        value["name"] = json!(request.id.name());
        value["type"] = json!("Microsoft.Authorization/locks");
        replace_file(&existing_spelling(&folder, &file_name(&request.id)), &value)
    }

    fn delete_lock(&self, id: &LockId) -> PortResult<()> {
        let folder = self.locks_of_resource(&id.resource);
        let path = existing_spelling(&folder, &file_name(id));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != Io::NotFound => {
                return Err(io_error(&format!("could not remove {}", path.display()), error));
            }
            _ => {}
        }
        // It remains if it has another lock, which does no harm.
        let _ = fs::remove_dir(&folder);
        Ok(())
    }
}

fn file_name(id: &LockId) -> String {
    format!("{}.json", id.name())
}

/// Reads the locks in a folder. A folder that does not exist has none.
fn read_locks(folder: &Path, scope: &str, locks: &mut Vec<Lock>) -> PortResult<()> {
    let failed = |error: std::io::Error| unread(folder, error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == Io::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let first = locks.len();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Other entries are the folders of resources, and files that are being written.
        if let Some(name) = name.strip_suffix(".json").filter(|name| !name.starts_with('.')) {
            locks.extend(read_lock(&path, scope, name)?);
        }
    }
    locks[first..].sort_by(|one, other| one.name.cmp(&other.name));
    Ok(())
}

/// Reads a lock. None if the file was removed meanwhile.
fn read_lock(path: &Path, scope: &str, name: &str) -> PortResult<Option<Lock>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == Io::NotFound => return Ok(None),
        Err(error) => return Err(unread(path, error)),
    };
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match value.pointer("/properties/level").and_then(Value::as_str) {
        Some(level) => Ok(Some(Lock::at(scope, name, level))),
        None => {
            let message = format!(
                "{} is no lock: expected {{\"properties\": {{\"level\": \"CanNotDelete\"}}}} or the level \"ReadOnly\"",
                path.display()
            );
            Err(PortError::new(ErrorKind::Invalid, message).with_code("lock-unreadable"))
        }
    }
}

/// The error of a file or folder that cannot be read. Missing permissions are what missing rights are on Azure.
fn unread(path: &Path, error: std::io::Error) -> PortError {
    let denied = error.kind() == Io::PermissionDenied;
    let fault = io_error(&format!("could not read {}", path.display()), error);
    if denied { fault.with_code("authorization-failed") } else { fault }
}

#[async_trait]
impl ResourceLocks for DirectoryResources {
    async fn locks(&self, id: &ResourceId, _tenant: Option<&str>) -> PortResult<Vec<Lock>> {
        let (files, id) = (self.files.clone(), id.clone());
        blocking(move || files.locks(&id)).await
    }

    async fn group_locks(
        &self,
        subscription: &SubscriptionId,
        group: &ResourceGroup,
        _tenant: Option<&str>,
    ) -> PortResult<Vec<Lock>> {
        let (files, subscription, group) = (self.files.clone(), *subscription, group.clone());
        blocking(move || files.locks_of_group(&subscription, &group)).await
    }

    async fn put_lock(&self, request: &LockRequest) -> PortResult<()> {
        let (files, request) = (self.files.clone(), request.clone());
        blocking(move || files.put_lock(&request)).await
    }

    async fn delete_lock(&self, id: &LockId, _tenant: Option<&str>) -> PortResult<()> {
        let (files, id) = (self.files.clone(), id.clone());
        blocking(move || files.delete_lock(&id)).await
    }
}
