//! Access to the content of disks and snapshots.

use std::time::Duration;

use goldfleet_model::resource::{DiskState, ResourceId, ResourceType};

use super::{ResourceSuite, refused_as, wait};
use crate::disk_access::{Access, AccessRequest, AccessStatus, DiskSas};
use crate::error::{ErrorKind, PortResult};
use crate::resources::ChangeStatus;

impl ResourceSuite<'_> {
    /// Runs the part of the suite about access.
    pub async fn access_to_disks(self) {
        self.upload_begins_and_ends().await;
        self.complete_disk_is_read_only().await;
        self.missing_disk_has_no_access().await;
        self.duration_is_limited().await;
    }

    /// Begins access and waits for the URL.
    pub(super) async fn begin(self, request: &AccessRequest) -> PortResult<DiskSas> {
        let mut state = self.access.begin(request).await?;
        loop {
            state = match state {
                AccessStatus::Granted(sas) => return Ok(sas),
                AccessStatus::Failed(error) => return Err(error),
                AccessStatus::Pending(pending) => {
                    wait(&pending).await;
                    self.access.poll_begin(&pending).await?
                }
            }
        }
    }

    pub(super) async fn write(self, id: &ResourceId) -> PortResult<DiskSas> {
        self.begin(&request(id, Access::Write)).await
    }

    pub(super) async fn end(self, id: &ResourceId) -> PortResult<()> {
        let mut state = self.access.end(id, None).await?;
        loop {
            state = match state {
                ChangeStatus::Done => return Ok(()),
                ChangeStatus::Failed(error) => return Err(error),
                ChangeStatus::Pending(pending) => {
                    wait(&pending).await;
                    self.access.poll_end(&pending).await?
                }
            }
        }
    }

    async fn state(self, id: &ResourceId) -> DiskState {
        let found = self.existing(id).await;
        found.body.properties.disk().and_then(|disk| disk.disk_state.clone()).expect("a state")
    }

    /// A disk is written between the beginning and the end of access, and is complete afterwards. Both can be repeated.
    pub async fn upload_begins_and_ends(self) {
        let disk = self.upload_disk();
        self.put(&disk).await.expect("a disk");
        assert_eq!(self.state(&disk.id).await, DiskState::ReadyToUpload);
        for time in ["first", "second"] {
            let sas = self.write(&disk.id).await.expect(time);
            assert!(sas.expose().contains("sig="), "{time} time");
            assert!(!format!("{sas:?}").contains("sig="), "{time} time");
            assert_eq!(self.state(&disk.id).await, DiskState::ActiveUpload, "{time} time");
        }
        for time in ["first", "second"] {
            self.end(&disk.id).await.expect(time);
            assert_eq!(self.state(&disk.id).await, DiskState::Unattached, "{time} time");
        }
    }

    /// A complete disk and a snapshot can be read, but not written.
    pub async fn complete_disk_is_read_only(self) {
        let disk = self.new_disk().await.id;
        let snapshot = self.snapshot_of(&disk, false);
        self.put(&snapshot).await.expect("a snapshot");
        self.arrived(&snapshot.id).await;
        for id in [&disk, &snapshot.id] {
            let refusal = self.write(id).await.expect_err("a refusal");
            assert_eq!(refusal.kind, ErrorKind::Invalid, "{refusal:?}");
            let sas = self.begin(&request(id, Access::Read)).await.expect("access");
            assert!(sas.expose().contains("sig="), "{id}");
            assert_eq!(self.state(id).await, DiskState::ActiveSas, "{id}");
            self.end(id).await.expect("the end of access");
            assert_eq!(self.state(id).await, DiskState::Unattached, "{id}");
        }
    }

    /// A disk that does not exist has no access.
    pub async fn missing_disk_has_no_access(self) {
        let id = self.new_id(ResourceType::Disk);
        let begun = self.begin(&request(&id, Access::Read)).await.expect_err("a refusal");
        assert_eq!(begun.kind, ErrorKind::NotFound, "{begun:?}");
        let ended = self.end(&id).await.expect_err("a refusal");
        assert_eq!(ended.kind, ErrorKind::NotFound, "{ended:?}");
    }

    /// A SAS lasts from a second to an hour.
    pub async fn duration_is_limited(self) {
        let disk = self.new_disk().await.id;
        for duration in [Duration::ZERO, Duration::from_secs(3601)] {
            let asked = AccessRequest { duration, ..request(&disk, Access::Read) };
            let begun = self.begin(&asked).await.map(drop);
            refused_as(begun, ErrorKind::Invalid, "access-duration-invalid");
        }
        assert_eq!(self.state(&disk).await, DiskState::Unattached);
    }
}

pub(super) fn request(id: &ResourceId, access: Access) -> AccessRequest {
    AccessRequest { id: id.clone(), tenant: None, access, duration: Duration::from_secs(3600) }
}
