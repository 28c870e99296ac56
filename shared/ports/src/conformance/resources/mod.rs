//! The conformance suite of resource services and disk access. The VHDs of images are in a blob store.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a suite reports by panicking")]

mod access;
mod content;
mod copies;
mod disks;
mod galleries;
mod images;
mod lists;
mod locks;
mod machines;
mod pages;
mod vhd;

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_model::ids::{Region, ResourceGroup, SubscriptionId};
use goldfleet_model::image::StorageType;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    CreationData, DiskProperties, ImageProperties, Properties, ResourceBody, ResourceId, ResourceType, Sku,
    SnapshotProperties,
};
use goldfleet_model::store::{BlobAddress, Container};
use uuid::Uuid;

use crate::blob_store::BlobStore;
use crate::disk_access::DiskAccess;
use crate::error::{ErrorKind, PortError, PortResult};
use crate::resources::{ChangeStatus, Pending, Provisioning, PutMode, PutRequest, Resource, ResourceService};

pub use content::DiskWriter;
pub use locks::{ForeignLocks, LockPorts};
pub use pages::{PagePorts, SOURCE_LENGTH};
pub use vhd::put_smallest_vhd;

/// The smallest disk that can be uploaded, in bytes without the footer.
const DISK_SIZE: u64 = 20 << 20;

/// How often a snapshot is read until its content has arrived.
const MAX_READS: u32 = 200;

/// The longest wait between two polls.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// The location at which the suite creates resources and VHDs.
#[derive(Debug, Clone)]
pub struct ResourceSuiteLocation {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The resource group. It must exist.
    pub resource_group: ResourceGroup,
    /// Another resource group of the subscription. It must exist.
    pub other_group: ResourceGroup,
    /// The region of the container's account.
    pub region: Region,
    /// Another region.
    pub other_region: Region,
    /// The container for VHDs. It must exist.
    pub container: Container,
}

/// The ports under test, and the location.
#[derive(Clone, Copy)]
pub struct ResourceSuite<'a> {
    /// The resources.
    pub resources: &'a dyn ResourceService,
    /// The access to disks.
    pub access: &'a dyn DiskAccess,
    /// The blobs from which images are created.
    pub blobs: &'a dyn BlobStore,
    /// The location.
    pub location: &'a ResourceSuiteLocation,
}

impl ResourceSuite<'_> {
    /// Runs the suite.
    pub async fn all(self) {
        self.images().await;
        self.disks_and_snapshots().await;
        self.copies().await;
        self.access_to_disks().await;
        self.lists().await;
        self.machines().await;
        self.galleries().await;
    }

    /// Runs the part of the suite about managed images.
    pub async fn images(self) {
        self.put_image_is_idempotent().await;
        self.image_has_data_disks().await;
        self.put_updates_tags().await;
        self.delete_removes_resource().await;
        self.image_region_is_immutable().await;
        self.image_source_is_immutable().await;
        self.names_are_case_insensitive().await;
        self.create_mode_keeps_existing_resource().await;
        self.type_of_body_must_match().await;
        self.missing_vhd_is_reported().await;
        self.invalid_vhd_is_reported().await;
    }

    /// Runs the part of the suite about disks and snapshots.
    pub async fn disks_and_snapshots(self) {
        self.uploaded_disk_can_be_copied().await;
        self.snapshot_outlives_its_disk().await;
        self.copy_needs_source_in_same_region().await;
        self.incomplete_disk_cannot_be_copied().await;
        self.snapshot_is_copied_to_other_region().await;
        self.copy_start_needs_incremental_snapshot().await;
        self.disk_source_is_immutable().await;
        self.rewritten_snapshot_keeps_unknown_properties().await;
        self.upload_size_is_checked().await;
    }

    /// The id of a resource that no other test and no other run uses.
    fn new_id(self, resource_type: ResourceType) -> ResourceId {
        let unique = Uuid::new_v4().simple();
        ResourceId {
            subscription: self.location.subscription,
            resource_group: self.location.resource_group.clone(),
            resource_type,
            name: format!("conformance-{unique}").parse().expect("a name"),
        }
    }

    fn request(self, properties: Properties) -> PutRequest {
        let id = self.new_id(properties.resource_type());
        let sku = matches!(id.resource_type, ResourceType::Disk | ResourceType::Snapshot)
            .then(|| Sku { name: "Standard_LRS".to_owned(), ..Sku::default() });
        let body = ResourceBody { sku, ..ResourceBody::new(self.location.region.clone(), properties) };
        PutRequest { id, tenant: None, mode: PutMode::CreateOrUpdate, body: body.with_tags(tags("suite")) }
    }

    /// A request for an image of this VHD.
    fn image_of(self, vhd: &BlobAddress) -> PutRequest {
        let url = self.resources.blob_url(vhd);
        let image = ImageProperties::of_vhd(url, OsType::Linux, Generation::V2, StorageType::StandardLrs);
        self.request(Properties::Image(image))
    }

    /// A request for a disk that is uploaded.
    fn upload_disk(self) -> PutRequest {
        let mut disk = DiskProperties::new(CreationData::upload(DISK_SIZE));
        (disk.os_type, disk.hyper_v_generation) = (Some(OsType::Linux), Some(Generation::V2));
        self.request(Properties::Disk(disk))
    }

    fn snapshot_of(self, source: &ResourceId, incremental: bool) -> PutRequest {
        self.request(Properties::Snapshot(SnapshotProperties::new(CreationData::copy(source), incremental)))
    }

    /// An existing blob with a valid VHD.
    async fn new_vhd(self) -> BlobAddress {
        let vhd = self.missing_vhd();
        put_smallest_vhd(self.blobs, &vhd).await;
        vhd
    }

    fn missing_vhd(self) -> BlobAddress {
        self.location.container.blob(format!("conformance__{}.vhd", Uuid::new_v4().simple()))
    }

    /// A complete disk.
    async fn new_disk(self) -> Resource {
        let request = self.upload_disk();
        self.put(&request).await.expect("a disk");
        self.write(&request.id).await.expect("access");
        self.end(&request.id).await.expect("the end of access");
        self.existing(&request.id).await
    }

    async fn put(self, request: &PutRequest) -> PortResult<()> {
        self.finished(self.resources.put(request).await).await
    }

    async fn delete(self, id: &ResourceId) -> PortResult<()> {
        self.finished(self.resources.delete(id, None).await).await
    }

    async fn find(self, id: &ResourceId) -> Option<Resource> {
        self.resources.get(id, None).await.expect("an answer")
    }

    async fn existing(self, id: &ResourceId) -> Resource {
        self.find(id).await.expect("an existing resource")
    }

    /// Reads a snapshot until its content has arrived.
    async fn arrived(self, id: &ResourceId) -> Resource {
        for _ in 0..MAX_READS {
            let found = self.existing(id).await;
            assert_eq!(found.provisioning, Provisioning::Succeeded, "{id}");
            let Properties::Snapshot(snapshot) = &found.body.properties else { panic!("{id} is a snapshot") };
            if snapshot.is_complete() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the content of {id} does not arrive");
    }

    /// Waits until a change ends.
    async fn finished(self, begun: PortResult<ChangeStatus>) -> PortResult<()> {
        let mut state = begun?;
        loop {
            state = match state {
                ChangeStatus::Done => return Ok(()),
                ChangeStatus::Failed(error) => return Err(error),
                ChangeStatus::Pending(pending) => {
                    wait(&pending).await;
                    self.resources.poll(&pending).await?
                }
            }
        }
    }
}

/// Waits before a poll. A change ends after a number of polls, or in virtual time, so the interval for which a service
/// asks is shortened.
async fn wait(pending: &Pending) {
    tokio::time::sleep(pending.retry_after.min(MAX_WAIT)).await;
}

#[track_caller]
fn refused_as(result: PortResult<()>, kind: ErrorKind, code: &str) {
    match result {
        Err(PortError { kind: found, code: found_code, .. }) if found == kind && found_code == code => {}
        other => panic!("expected to be refused as {kind:?} with the code {code}, but got {other:?}"),
    }
}

fn tags(job: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("goldfleet-job".to_owned(), job.to_owned())])
}
