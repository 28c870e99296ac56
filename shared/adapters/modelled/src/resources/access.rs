//! Access to disks and snapshots.

use async_trait::async_trait;
use goldfleet_model::resource::{DiskState, ResourceId};
use goldfleet_ports::disk_access::{AccessRequest, AccessStatus, DiskAccess};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::{begin_access, end_access, not_found};
use goldfleet_ports::resources::{ChangeStatus, Pending, Resource};

use super::ModelledResources;
use crate::limits::ArmKind;

#[async_trait]
impl DiskAccess for ModelledResources {
    async fn begin(&self, request: &AccessRequest) -> PortResult<AccessStatus> {
        request.seconds()?;
        self.change_state(&request.id, |resource| begin_access(resource, request.access)).await?;
        let now = self.0.now();
        let mut world = self.0.world();
        let arm = &mut world.arm;
        let found = arm.resources.get(&request.id).ok_or_else(|| not_found(&request.id))?;
        Ok(AccessStatus::Granted(arm.contents.give(&found.resource, request, now)))
    }

    async fn poll_begin(&self, pending: &Pending) -> PortResult<AccessStatus> {
        // Access begins at once, so nothing is ever pending.
        Err(not_found(&pending.id))
    }

    async fn end(&self, id: &ResourceId, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        self.change_state(id, |resource| Ok(end_access(resource))).await?;
        self.0.world().arm.contents.end(id);
        Ok(ChangeStatus::Done)
    }

    async fn poll_end(&self, _pending: &Pending) -> PortResult<ChangeStatus> {
        Ok(ChangeStatus::Done)
    }
}

impl ModelledResources {
    /// Sets the state of an existing disk or snapshot.
    async fn change_state(
        &self,
        id: &ResourceId,
        next: impl FnOnce(&Resource) -> PortResult<DiskState>,
    ) -> PortResult<()> {
        self.0
            .run_request(|world, now| {
                world.begin_management(now, id.subscription, ArmKind::Write, |world| {
                    world.check_change(id)?;
                    let found = world.arm.resources.get_mut(id).ok_or_else(|| not_found(id))?;
                    let state = next(&found.at(now))?;
                    if let Some(disk) = found.resource.body.properties.disk_mut() {
                        disk.disk_state = Some(state);
                    }
                    Ok(())
                })
            })
            .await
    }
}
