//! Uploads of managed images and gallery versions, which are read by temporary disks.

use std::sync::Arc;

use goldfleet_dispatcher::control::upload::{UploadError, UploadResult};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::image::StorageType;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    ImageDataDisk, ImageProperties, Properties, ResourceBody, ResourceId, ResourceType, tag,
};
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::Ports;
use goldfleet_ports::error::ErrorKind;
use goldfleet_ports::resources::{PutMode, PutRequest};
use goldfleet_sources::SourceLocation;
use goldfleet_tests::intercept::intercepted;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::scene::{Faults, GROUP, Scene};

impl Scene {
    async fn put_resource(&self, id: &str, properties: Value) -> ResourceId {
        let id: ResourceId = format!("{GROUP}/{id}").parse().unwrap();
        let value = json!({ "location": "westeurope", "properties": properties });
        let body = ResourceBody::from_json(id.resource_type, value).unwrap();
        let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body };
        self.fleet.ports.resources.put(&request).await.unwrap();
        id
    }

    /// An image with a data disk, whose snapshots are deleted.
    async fn image(&self) -> SourceLocation {
        let ids = ["os", "data"].map(|name| {
            let SourceLocation::Snapshot(id) = self.put("snapshots", name, false, |_| {}) else { unreachable!() };
            id
        });
        let caching = serde_json::from_value(json!("None")).unwrap();
        let image = ImageProperties::of_snapshot(&ids[0], OsType::Linux, Generation::V2, StorageType::StandardSsdLrs)
            .with_data_disks([ImageDataDisk::of_snapshot(5, &ids[1], caching)]);
        let id: ResourceId = format!("{GROUP}/images/theirs").parse().unwrap();
        let body = ResourceBody::new("westeurope".parse().unwrap(), Properties::Image(image));
        let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body };
        self.fleet.ports.resources.put(&request).await.unwrap();
        for snapshot in ids {
            self.fleet.ports.resources.delete(&snapshot, None).await.unwrap();
        }
        SourceLocation::Image(id)
    }

    /// The names of everything that an upload may leave in the group.
    async fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for kind in [ResourceType::Disk, ResourceType::Snapshot, ResourceType::Gallery] {
            let query = goldfleet_ports::resources::ResourceQuery {
                resource_type: kind,
                subscription: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
                resource_group: Some("source".parse().unwrap()),
                parent: None,
                tags: [].into(),
                tenant: None,
            };
            let found = self.fleet.ports.resources.list(&query, None).await.unwrap().resources;
            let is_temporary = |role: Option<&str>| role == Some("temporary");
            left.extend(
                found
                    .iter()
                    .filter(|found| is_temporary(tag(&found.body.tags, "goldfleet-role")))
                    .map(|found| found.id.to_string()),
            );
        }
        left
    }

    async fn roles_of(&self, uploaded: &UploadResult) -> Vec<(DiskRole, String)> {
        let control = self.fleet.control_with_own_ports();
        let image = &uploaded.image;
        let record = goldfleet_dispatcher::control::artifacts::artifact_record(
            &control.ports,
            &control.config,
            &image.name,
            &image.version,
        )
        .await;
        record.unwrap().artifact.disks.iter().map(|disk| (disk.disk.role, disk.disk.manifest.to_string())).collect()
    }
}

async fn upload(
    scene: &Scene,
    ports: &Ports,
    from: &SourceLocation,
    version: &str,
) -> Result<UploadResult, UploadError> {
    scene.upload(ports, from, version).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_source_is_gone_becomes_a_version_with_all_disks() {
    let scene = Scene::new();
    let reference = scene.reference().await;
    let from = scene.image().await;
    let uploaded = upload(&scene, &scene.fleet.ports, &from, "1").await.unwrap();
    let manifest = scene.roles_of(&reference).await.remove(0).1;
    assert_eq!(
        scene.roles_of(&uploaded).await,
        [(DiskRole::Os, manifest.clone()), (DiskRole::Data(5), manifest)],
        "both disks have the bytes of the file"
    );
    let origin = uploaded.counts.origin.unwrap();
    assert_eq!((origin.temporaries().count(), origin.source), (5, from.to_string()));
    assert_eq!(scene.left().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_own_and_community_galleries_become_versions() {
    let scene = Scene::new();
    let reference = scene.reference().await;
    let SourceLocation::Snapshot(snapshot) = scene.put("snapshots", "os", false, |_| {}) else { unreachable!() };
    let sharing = json!({ "permissions": "Community", "communityGalleryInfo": { "publicNamePrefix": "theirs" } });
    scene.put_resource("galleries/theirs", json!({ "sharingProfile": sharing })).await;
    let definition = json!({
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2",
        "identifier": { "publisher": "p", "offer": "o", "sku": "s" },
    });
    scene.put_resource("galleries/theirs/images/ubuntu", definition).await;
    let version = json!({
        "publishingProfile": { "targetRegions": [{ "name": "westeurope" }] },
        "storageProfile": { "osDiskImage": { "source": { "id": snapshot } } },
    });
    let version = scene.put_resource("galleries/theirs/images/ubuntu/versions/1.0.0", version).await;
    scene.fleet.ports.resources.delete(&snapshot, None).await.unwrap();
    let community = format!("/CommunityGalleries/theirs-{}/Images/ubuntu/Versions/1.0.0", version.subscription);
    for (n, from) in [version.to_string(), community].into_iter().enumerate() {
        let from = SourceLocation::parse(&format!("gallery:{from}"), &ToString::to_string).unwrap();
        // The system of a version that others share is that of the disk that is created from it.
        let uploaded = upload(&scene, &scene.fleet.ports, &from, &n.to_string()).await.unwrap();
        assert_eq!(uploaded.image.digest, reference.image.digest, "{from}");
        assert_eq!(scene.left().await, Vec::<String>::new());
    }
    let missing = "/CommunityGalleries/other/Images/ubuntu/Versions/1.0.0";
    let from = SourceLocation::parse(&format!("gallery:{missing}"), &ToString::to_string).unwrap();
    let refused = upload(&scene, &scene.fleet.ports, &from, "9").await.unwrap_err();
    assert!(refused.to_string().contains("version-elsewhere"), "{refused}");
}

const CALLS: [&str; 9] = [
    "ResourceService.get",
    "ResourceService.put",
    "ResourceService.list",
    "ResourceService.delete",
    "ResourceLocks.locks",
    "DiskAccess.begin",
    "DiskAccess.end",
    "JobTable.fleet",
    "JobTable.put_upload",
];

/// Each change fails twice, with and without effect, and each call is denied once. Nothing remains.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_every_call_leave_nothing_behind() {
    let scene = Scene::new();
    let from = scene.image().await;
    upload(&scene, &scene.fleet.ports, &from, "first").await.unwrap();
    // The gallery, the definition, the version, and both disks.
    for (call, count) in [("ResourceService.put", 5), ("ResourceService.delete", 5)] {
        for nth in 0..count {
            for after_effect in [false, true] {
                let faults = Faults::of(call, nth, 2, ErrorKind::Unavailable, after_effect);
                let version = format!("{call}-{nth}-{after_effect}");
                let ended = upload(&scene, &intercepted(&scene.fleet.ports, &faults), &from, &version).await;
                ended.unwrap_or_else(|error| panic!("{version}: {error:?}"));
                assert_eq!(faults.count(call), count + 2, "{version}");
                assert_eq!(scene.left().await, Vec::<String>::new(), "{version}");
            }
        }
    }
    for (n, call) in CALLS.into_iter().enumerate() {
        let faults = Faults::of(call, 0, 1, ErrorKind::Denied, false);
        let ended = upload(&scene, &intercepted(&scene.fleet.ports, &faults), &from, &n.to_string()).await;
        if call == "ResourceService.delete" {
            // A disk is left, and with it what it was created from may not be deleted. The next upload deletes it.
            ended.unwrap();
            assert_eq!(scene.left().await.len(), 1, "{call}");
            upload(&scene, &scene.fleet.ports, &from, &format!("{n}-again")).await.unwrap();
        } else if let Err(error) = ended {
            assert!(matches!(error, UploadError::Port(_) | UploadError::Source(_)), "{call}: {error:?}");
        }
        assert_eq!(scene.left().await, Vec::<String>::new(), "{call}");
        assert!(scene.rows().await.iter().all(|row| row.state != UploadState::Running), "{call}");
    }
}

/// An interrupted upload deletes its temporaries at any moment, and what a killed one left is deleted by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn interrupted_and_killed_uploads_leave_nothing_for_long() {
    let scene = Scene::new();
    let from = scene.image().await;
    for nth in 0..5 {
        let (faults, stop) = (Arc::new(Faults::default()), CancellationToken::new());
        *faults.stop.lock().unwrap() = Some(("ResourceService.put", nth, stop.clone()));
        let ports = intercepted(&scene.fleet.ports, &faults);
        let ended = scene.upload_until(&ports, &from, &nth.to_string(), &stop).await;
        assert!(matches!(ended, Err(UploadError::Interrupted)), "{nth}: {ended:?}");
        assert_eq!(scene.left().await, Vec::<String>::new(), "{nth}");
    }
    let (faults, killed) = (Arc::new(Faults::default()), CancellationToken::new());
    *faults.stop.lock().unwrap() = Some(("BlobStore.put_blob", 1, killed.clone()));
    let ports = intercepted(&scene.fleet.ports, &faults);
    tokio::select! {
        ended = upload(&scene, &ports, &from, "killed") => panic!("it was not killed: {ended:?}"),
        () = killed.cancelled() => {}
    }
    assert_eq!(scene.left().await.len(), 3, "both disks, and the gallery");
    let rows = scene.rows().await;
    let row = rows.iter().find(|row| row.state == UploadState::Running).unwrap();
    let long_ago = Upload { updated: "2020-01-01T00:00:00Z".parse().unwrap(), ..row.clone() };
    scene.fleet.ports.table.put_upload(&long_ago).await.unwrap();
    upload(&scene, &scene.fleet.ports, &from, "next").await.unwrap();
    assert_eq!(scene.left().await, Vec::<String>::new());
}
