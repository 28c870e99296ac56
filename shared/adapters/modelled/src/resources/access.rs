//! Access to disks and snapshots. The model has no bytes of them: a SAS is only the proof that access began.

use async_trait::async_trait;
use goldfleet_model::resource::{DiskState, ResourceId};
use goldfleet_ports::disk_access::{AccessRequest, AccessStatus, DiskAccess, DiskSas};
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
        let url = format!("modelled:{}?sig={}", request.id, request.access.as_str());
        Ok(AccessStatus::Granted(DiskSas::new(url)))
    }

    async fn poll_begin(&self, pending: &Pending) -> PortResult<AccessStatus> {
        // Access begins at once, so nothing is ever pending.
        Err(not_found(&pending.id))
    }

    async fn end(&self, id: &ResourceId, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        self.change_state(id, |resource| Ok(end_access(resource))).await.map(|()| ChangeStatus::Done)
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
