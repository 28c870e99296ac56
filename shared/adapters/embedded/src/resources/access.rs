//! Access to the content of disks and snapshots. The URL is that of the file.

use async_trait::async_trait;
use goldfleet_model::resource::{DiskState, ResourceId};
use goldfleet_ports::disk_access::{AccessRequest, AccessStatus, DiskAccess};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::{begin_access, end_access, not_found};
use goldfleet_ports::resources::{ChangeStatus, Pending, Resource};

use super::DirectoryResources;
use super::files::ResourceFiles;
use crate::blocking::blocking;

#[async_trait]
impl DiskAccess for DirectoryResources {
    async fn begin(&self, request: &AccessRequest) -> PortResult<AccessStatus> {
        request.seconds()?;
        let (files, request) = (self.files.clone(), request.clone());
        let (grants, now) = (self.grants.clone(), self.clock.now());
        blocking(move || {
            let resource = change_state(&files, &request.id, |resource| begin_access(resource, request.access))?;
            let path = std::path::absolute(files.content(&request.id)).map_err(|error| {
                crate::blob_store::paths::io_error(&format!("could not find the content of {}", request.id), error)
            })?;
            // The signature does not protect the file. It proves that no signature is shown or stored.
            Ok(AccessStatus::Granted(grants.give(&resource, &request, path, now)))
        })
        .await
    }

    async fn poll_begin(&self, pending: &Pending) -> PortResult<AccessStatus> {
        // Access begins at once, so nothing is ever pending.
        Err(not_found(&pending.id))
    }

    async fn end(&self, id: &ResourceId, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        let (files, id) = (self.files.clone(), id.clone());
        self.grants.end(&id);
        blocking(move || {
            change_state(&files, &id, |resource| Ok(end_access(resource)))?;
            Ok(ChangeStatus::Done)
        })
        .await
    }

    async fn poll_end(&self, _pending: &Pending) -> PortResult<ChangeStatus> {
        Ok(ChangeStatus::Done)
    }
}

/// Sets the state of an existing disk or snapshot, and returns it. Blocks.
fn change_state(
    files: &ResourceFiles,
    id: &ResourceId,
    next: impl FnOnce(&Resource) -> PortResult<DiskState>,
) -> PortResult<Resource> {
    // Without this check, the lock would create the folder of a missing resource group.
    files.read(id)?.ok_or_else(|| not_found(id))?;
    files.check_change(id)?;
    let _lock = files.lock(id)?;
    let mut resource = files.read(id)?.ok_or_else(|| not_found(id))?;
    let state = next(&resource)?;
    if let Some(disk) = resource.body.properties.disk_mut() {
        disk.disk_state = Some(state);
    }
    files.write(&resource)?;
    Ok(resource)
}
