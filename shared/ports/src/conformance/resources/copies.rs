//! Families of incremental snapshots, and their copies to other regions.

use goldfleet_model::resource::{CreationData, DiskProperties, Properties, ResourceId, SnapshotProperties};
use serde_json::{Value, json};

use super::ResourceSuite;
use crate::error::ErrorKind;
use crate::resources::{PutRequest, Resource};

fn snapshot(resource: &Resource) -> &SnapshotProperties {
    let Properties::Snapshot(snapshot) = &resource.body.properties else { panic!("{resource:?} is a snapshot") };
    snapshot
}

fn family(resource: &Resource) -> Option<&str> {
    snapshot(resource).incremental_snapshot_family_id.as_deref()
}

impl ResourceSuite<'_> {
    /// Runs the part of the suite about copies to other regions.
    pub async fn copies(self) {
        self.incremental_snapshots_of_a_disk_share_a_family().await;
        self.copies_of_a_family_follow_each_other().await;
        self.copy_fails_if_its_source_is_deleted_meanwhile().await;
        self.security_profile_is_not_inherited().await;
    }

    /// A new incremental snapshot of a disk.
    async fn new_snapshot(self, disk: &ResourceId) -> Resource {
        let request = self.snapshot_of(disk, true);
        self.put(&request).await.expect("a snapshot");
        self.arrived(&request.id).await
    }

    fn copy_of(self, source: &Resource) -> PutRequest {
        let copy = SnapshotProperties::new(CreationData::copy_start(&source.id), true);
        let mut copy = self.request(Properties::Snapshot(copy));
        copy.body.region = self.location.other_region.clone();
        copy
    }

    /// The incremental snapshots of a disk have the same family. Their copies in another region are another one. Full
    /// snapshots and disks have none.
    pub async fn incremental_snapshots_of_a_disk_share_a_family(self) {
        let (disk, other) = (self.new_disk().await.id, self.new_disk().await.id);
        let (one, two) = (self.new_snapshot(&disk).await, self.new_snapshot(&disk).await);
        let of_other = self.new_snapshot(&other).await;
        assert!(family(&one).is_some() && family(&one) == family(&two), "{one:?} {two:?}");
        assert_ne!(family(&one), family(&of_other));
        let full = self.snapshot_of(&disk, false);
        self.put(&full).await.expect("a snapshot");
        assert_eq!(family(&self.arrived(&full.id).await), None);
        let mut copies = Vec::new();
        for source in [&one, &two] {
            let copy = self.copy_of(source);
            self.put(&copy).await.expect("a copy");
            copies.push(self.arrived(&copy.id).await);
        }
        assert!(family(&copies[0]).is_some() && family(&copies[0]) == family(&copies[1]), "{copies:?}");
        assert_ne!(family(&copies[0]), family(&one));
    }

    /// One snapshot of a disk is copied to a region at a time, in the order of their creation. Other disks are copied
    /// meanwhile.
    pub async fn copies_of_a_family_follow_each_other(self) {
        let (disk, other) = (self.new_disk().await.id, self.new_disk().await.id);
        let (first, second) = (self.new_snapshot(&disk).await, self.new_snapshot(&disk).await);
        let third = self.new_snapshot(&disk).await;
        let of_other = self.new_snapshot(&other).await;
        let copies = [&second, &third, &of_other].map(|source| self.copy_of(source));
        self.put(&copies[0]).await.expect("a copy");
        match self.put(&copies[1]).await {
            Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}"),
            // A platform whose copies complete at once has no copy in progress.
            Ok(()) => assert!(snapshot(&self.existing(&copies[0].id).await).is_complete()),
        }
        self.put(&copies[2]).await.expect("a copy of another disk");
        self.arrived(&copies[0].id).await;
        let late = self.copy_of(&first);
        let refusal = self.put(&late).await.expect_err("a snapshot older than one that was copied");
        assert_eq!(refusal.kind, ErrorKind::Invalid, "{refusal:?}");
        assert_eq!(self.find(&late.id).await, None);
        self.put(&copies[1]).await.expect("a newer snapshot");
        let last = self.arrived(&copies[1].id).await;
        let data = &snapshot(&last).disk.creation_data;
        assert_eq!(data.source_unique_id, snapshot(&third).disk.unique_id);
        // The copy of a snapshot that was copied before is permitted: it is not older than itself.
        self.put(&self.copy_of(&third)).await.expect("the same snapshot again");
    }

    /// A copy that is not complete when its source is deleted never completes, and gives the reason. One that is
    /// complete stays.
    pub async fn copy_fails_if_its_source_is_deleted_meanwhile(self) {
        let source = self.new_snapshot(&self.new_disk().await.id).await;
        let copy = self.copy_of(&source);
        self.put(&copy).await.expect("a copy");
        let was_complete = snapshot(&self.existing(&copy.id).await).is_complete();
        self.delete(&source.id).await.expect("a removal");
        let found = self.existing(&copy.id).await;
        let error = snapshot(&found).copy_completion_error.as_ref().map(|error| error.error_code.as_str());
        assert_eq!(error, (!was_complete).then_some("CopySourceNotFound"), "{found:?}");
        assert_eq!(snapshot(&self.existing(&copy.id).await).is_complete(), was_complete);
        if !was_complete {
            // It cannot be used as a source.
            let mut request = self.request(Properties::Disk(DiskProperties::new(CreationData::copy(&copy.id))));
            request.body.region = self.location.other_region.clone();
            let refusal = self.put(&request).await.expect_err("a refusal");
            assert_eq!(refusal.kind, ErrorKind::Conflict, "{refusal:?}");
        }
        self.delete(&copy.id).await.expect("a removal");
    }

    /// A copy has a security profile only if its request has it.
    pub async fn security_profile_is_not_inherited(self) {
        let profile = json!({ "securityType": "TrustedLaunch" });
        let with = |mut request: PutRequest| {
            let disk = request.body.properties.disk_mut().expect("a snapshot");
            disk.other.insert("securityProfile".to_owned(), profile.clone());
            request
        };
        let source = with(self.snapshot_of(&self.new_disk().await.id, true));
        self.put(&source).await.expect("a snapshot");
        let source = self.arrived(&source.id).await;
        let found = |resource: &Resource| snapshot(resource).disk.other.get("securityProfile").cloned();
        assert_eq!(found(&source).as_ref().map(|found| &found["securityType"]), Some(&profile["securityType"]));
        let without = self.copy_of(&source);
        self.put(&without).await.expect("a copy");
        assert_eq!(found(&self.arrived(&without.id).await).filter(|found| *found != Value::Null), None);
        let repeated = with(self.copy_of(&source));
        self.put(&repeated).await.expect("a copy");
        let repeated = found(&self.arrived(&repeated.id).await).expect("a security profile");
        assert_eq!(repeated["securityType"], "TrustedLaunch");
    }
}
