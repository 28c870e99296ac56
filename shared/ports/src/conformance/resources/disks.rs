//! Managed disks and snapshots.

use goldfleet_model::image::StorageType;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    CreationData, DiskProperties, DiskState, ImageProperties, Properties, ResourceId, ResourceType, SnapshotProperties,
};
use serde_json::json;

use super::{DISK_SIZE, ResourceSuite, refused_as, tags};
use crate::error::ErrorKind;
use crate::resources::{PutRequest, Resource};

/// What a disk and a snapshot have in common.
fn disk_of(resource: &Resource) -> &DiskProperties {
    resource.body.properties.disk().expect("a disk or snapshot")
}

impl ResourceSuite<'_> {
    /// An uploaded disk becomes a snapshot, and the snapshot a disk and an image. Each is a copy with its own unique
    /// id.
    pub async fn uploaded_disk_can_be_copied(self) {
        let disk = self.new_disk().await;
        let snapshot = self.snapshot_of(&disk.id, true);
        for time in ["first", "second"] {
            self.put(&snapshot).await.expect(time);
        }
        let snapshot = self.arrived(&snapshot.id).await;
        let copy = self.request(Properties::Disk(DiskProperties::new(CreationData::copy(&snapshot.id))));
        self.put(&copy).await.expect("a disk");
        let copy = self.existing(&copy.id).await;
        for (source, made) in [(&disk, &snapshot), (&snapshot, &copy)] {
            let (before, after) = (disk_of(source), disk_of(made));
            assert!(before.unique_id.is_some() && before.unique_id != after.unique_id, "{made:?}");
            assert_eq!(after.creation_data.source_unique_id, before.unique_id, "{made:?}");
            assert_eq!(after.disk_size_bytes, Some(DISK_SIZE), "{made:?}");
            assert_eq!((after.os_type, after.hyper_v_generation), (Some(OsType::Linux), Some(Generation::V2)));
            assert_eq!(after.disk_state, Some(DiskState::Unattached), "{made:?}");
        }
        let image =
            ImageProperties::of_snapshot(&snapshot.id, OsType::Linux, Generation::V2, StorageType::StandardSsdLrs);
        let image = self.request(Properties::Image(image));
        self.put(&image).await.expect("an image");
        let image = self.existing(&image.id).await;
        let Properties::Image(properties) = &image.body.properties else { panic!("{image:?} is an image") };
        let source: ResourceId =
            properties.os_disk().and_then(|disk| disk.source()).expect("a source").parse().expect("an id");
        assert_eq!(source, snapshot.id);
    }

    /// A snapshot is independent of its disk, and a disk that is created again has another unique id.
    pub async fn snapshot_outlives_its_disk(self) {
        let disk = self.new_disk().await;
        let snapshot = self.snapshot_of(&disk.id, false);
        self.put(&snapshot).await.expect("a snapshot");
        let before = self.arrived(&snapshot.id).await;
        self.delete(&disk.id).await.expect("a removal");
        assert_eq!(self.existing(&snapshot.id).await, before);
        let again = PutRequest { id: disk.id.clone(), ..self.upload_disk() };
        self.put(&again).await.expect("a disk");
        assert_ne!(disk_of(&self.existing(&disk.id).await).unique_id, disk_of(&disk).unique_id);
    }

    /// A copy needs a source that exists in its region.
    pub async fn copy_needs_source_in_same_region(self) {
        let disk = self.new_disk().await;
        let mut elsewhere = self.snapshot_of(&disk.id, false);
        elsewhere.body.region = self.location.other_region.clone();
        let missing = self.snapshot_of(&self.new_id(ResourceType::Disk), false);
        for request in [elsewhere, missing] {
            refused_as(self.put(&request).await, ErrorKind::NotFound, "copy-source-not-found");
            assert_eq!(self.find(&request.id).await, None);
        }
    }

    /// A disk whose upload has not ended is not copied.
    pub async fn incomplete_disk_cannot_be_copied(self) {
        let disk = self.upload_disk();
        self.put(&disk).await.expect("a disk");
        let snapshot = self.snapshot_of(&disk.id, true);
        for state in [DiskState::ReadyToUpload, DiskState::ActiveUpload] {
            assert_eq!(disk_of(&self.existing(&disk.id).await).disk_state, Some(state));
            let refusal = self.put(&snapshot).await.expect_err("a refusal");
            assert_eq!(refusal.kind, ErrorKind::Conflict, "{refusal:?}");
            self.write(&disk.id).await.expect("access");
        }
        self.end(&disk.id).await.expect("the end of access");
        self.put(&snapshot).await.expect("a snapshot");
    }

    /// A copy to another region exists before its content has arrived.
    pub async fn snapshot_is_copied_to_other_region(self) {
        let source = self.snapshot_of(&self.new_disk().await.id, true);
        self.put(&source).await.expect("a snapshot");
        let copy = SnapshotProperties::new(CreationData::copy_start(&source.id), true);
        let mut copy = self.request(Properties::Snapshot(copy));
        copy.body.region = self.location.other_region.clone();
        self.put(&copy).await.expect("a copy");
        let copied = self.arrived(&copy.id).await;
        assert_eq!(copied.body.region, self.location.other_region);
        let source = self.existing(&source.id).await;
        assert_eq!(disk_of(&copied).creation_data.source_unique_id, disk_of(&source).unique_id);
        assert_eq!(disk_of(&copied).disk_size_bytes, Some(DISK_SIZE));
    }

    /// Only incremental snapshots are copied to another region.
    pub async fn copy_start_needs_incremental_snapshot(self) {
        let disk = self.new_disk().await;
        let full = self.snapshot_of(&disk.id, false);
        self.put(&full).await.expect("a snapshot");
        for (source, incremental) in [(&full.id, true), (&disk.id, true), (&full.id, false)] {
            let copy = SnapshotProperties::new(CreationData::copy_start(source), incremental);
            let mut copy = self.request(Properties::Snapshot(copy));
            copy.body.region = self.location.other_region.clone();
            let refusal = self.put(&copy).await.expect_err("a refusal");
            assert_eq!(refusal.kind, ErrorKind::Invalid, "{refusal:?}");
            assert_eq!(self.find(&copy.id).await, None);
        }
    }

    /// Another source for an existing snapshot is rejected and changes nothing.
    pub async fn disk_source_is_immutable(self) {
        let (disk, other) = (self.new_disk().await, self.new_disk().await);
        let snapshot = self.snapshot_of(&disk.id, false);
        self.put(&snapshot).await.expect("a snapshot");
        let changed = self.snapshot_of(&other.id, false);
        let changed = PutRequest { id: snapshot.id.clone(), body: changed.body.with_tags(tags("other")), ..changed };
        refused_as(self.put(&changed).await, ErrorKind::Invalid, "property-change-not-allowed");
        let found = self.existing(&snapshot.id).await;
        assert_eq!(found.body.tags, snapshot.body.tags);
        assert_eq!(disk_of(&found).creation_data.source_unique_id, disk_of(&disk).unique_id);
    }

    /// A snapshot that is read, gets a tag and is written again keeps all other properties.
    pub async fn rewritten_snapshot_keeps_unknown_properties(self) {
        let mut request = self.snapshot_of(&self.new_disk().await.id, false);
        if let Some(disk) = request.body.properties.disk_mut() {
            disk.other.insert("networkAccessPolicy".to_owned(), json!("DenyAll"));
            disk.other.insert("securityProfile".to_owned(), json!({ "securityType": "TrustedLaunch" }));
        }
        self.put(&request).await.expect("a snapshot");
        let before = self.arrived(&request.id).await;
        assert_eq!(disk_of(&before).other["securityProfile"]["securityType"], "TrustedLaunch", "{before:?}");
        let changed = PutRequest { body: before.body.clone().with_tags(tags("changed")), ..request };
        self.put(&changed).await.expect("other tags");
        assert_eq!(self.existing(&before.id).await, Resource { body: changed.body, ..before });
    }

    /// The size of an upload is checked.
    pub async fn upload_size_is_checked(self) {
        for size in [DISK_SIZE - 512, DISK_SIZE + 1] {
            let disk = self.request(Properties::Disk(DiskProperties::new(CreationData::upload(size))));
            let refusal = self.put(&disk).await.expect_err("a refusal");
            assert_eq!(refusal.kind, ErrorKind::Invalid, "{refusal:?}");
            assert_eq!(self.find(&disk.id).await, None);
        }
    }
}
