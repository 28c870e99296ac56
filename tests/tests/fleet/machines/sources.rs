//! A machine as the source of an upload: `upload --from vm:ID`.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::artifacts::artifact_record;
use goldfleet_dispatcher::control::check::ImageChecks;
use goldfleet_dispatcher::control::upload::from::{CloudUploadRequest, upload_from};
use goldfleet_dispatcher::control::upload::{UploadError, UploadResult};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::manifest::Generation;
use goldfleet_model::resource::{PowerState, ResourceId, ResourceType};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::PutRequest;
use goldfleet_sources::SourceLocation;
use goldfleet_tests::fleet::staged_vhd;
use goldfleet_tests::intercept::{Call, Interceptor, intercepted};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::scene::{LUNS, SIZE, Scene, assert_succeeded, home};

/// A machine whose OS disk boots, and whose disks may be exported.
async fn exportable(mut scene: Scene) -> Scene {
    let golden = scene.fleet.golden().with_file_name("os.vhd");
    GoldenSpec::spread(SIZE, Generation::V2, 256 << 10, 4, 7).write(&golden).unwrap();
    let bytes = std::fs::read(&golden).unwrap();
    let content = std::fs::OpenOptions::new().write(true).open(scene.content(&scene.disks[0])).unwrap();
    content.write_all_at(&bytes[..usize::try_from(SIZE).unwrap()], 0).unwrap();
    for disk in &scene.disks {
        scene.edit(disk, |disk| drop(disk["properties"].as_object_mut().unwrap().remove("networkAccessPolicy")));
    }
    scene.contents = scene.disks.iter().map(|disk| scene.bytes_of(&scene.content(disk))).collect();
    scene
}

async fn upload(scene: &Scene, ports: &Ports) -> Result<UploadResult, UploadError> {
    let request = CloudUploadRequest {
        from: SourceLocation::Machine(scene.machine.clone()),
        image: "golden".parse().unwrap(),
        version: "1".parse().unwrap(),
        os: None,
        check: ImageChecks::default(),
        limit: None,
    };
    upload_from(&scene.fleet.control_with(ports.clone()), &request, &|_| {}, &CancellationToken::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_disks_of_a_stopped_machine_become_a_version() {
    let scene = exportable(Scene::stopped().await).await;
    let uploaded = upload(&scene, scene.ports()).await.unwrap();
    let origin = uploaded.counts.origin.as_ref().unwrap();
    assert_eq!((origin.source.as_str(), origin.temporaries().count()), (format!("vm:{}", scene.machine).as_str(), 3));
    scene.assert_no_temporaries().await;
    scene.assert_source(PowerState::Deallocated).await;
    let control = scene.fleet.control_with_own_ports();
    let record =
        artifact_record(&control.ports, &control.config, &uploaded.image.name, &uploaded.image.version).await.unwrap();
    let roles: Vec<_> = record.artifact.disks.iter().map(|disk| (disk.disk.role, disk.size)).collect();
    let data = LUNS.map(|lun| (DiskRole::Data(u8::try_from(lun).unwrap()), SIZE));
    assert_eq!(roles, [(DiskRole::Os, SIZE), data[0], data[1]]);

    let (job, status) = scene.fleet.request_and_run(scene.ports(), "1", 2).await;
    assert_succeeded(&status);
    let mut copies = 0;
    for row in scene.rows(&job).await.iter().filter(|row| row.kind.as_str() == "copy") {
        let disk = ["os", "data-0", "data-5"].iter().position(|role| row.spec.data["disk"] == *role).unwrap();
        let file = scene.fleet.cloud().join(staged_vhd(scene.ports(), row).to_string());
        assert_eq!(scene.bytes_of(Path::new(&file)), scene.contents[disk], "{}", file.display());
        copies += 1;
    }
    assert_eq!(copies, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_run_or_have_other_disks_are_refused() {
    let scene = exportable(Scene::running().await).await;
    let code = |refused: Result<UploadResult, UploadError>| match refused.unwrap_err() {
        UploadError::Source(refusal) => refusal.code.name,
        error => panic!("{error:?}"),
    };
    assert_eq!(code(upload(&scene, scene.ports()).await), "machine-running");
    scene.act(goldfleet_ports::resources::MachineAction::Deallocate).await;
    scene.edit(&scene.disks[2], |disk| disk["properties"]["networkAccessPolicy"] = json!("DenyAll"));
    assert_eq!(code(upload(&scene, scene.ports()).await), "export-denied");
    scene.edit(&scene.disks[2], |disk| disk["properties"]["networkAccessPolicy"] = json!("AllowAll"));
    scene.edit(&scene.machine, |machine| {
        machine["properties"]["storageProfile"]["dataDisks"][0] = json!({ "lun": 0, "vhd": { "uri": "https://a/b" } });
    });
    assert_eq!(code(upload(&scene, scene.ports()).await), "unmanaged");
    scene.assert_no_temporaries().await;
}

/// Refuses the snapshot of one disk.
struct NoSnapshotOf(ResourceId);

impl Interceptor for NoSnapshotOf {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let is_refused = arguments.iter().any(|&argument| {
            let argument: &dyn std::any::Any = argument;
            let request = argument.downcast_ref::<PutRequest>();
            request.and_then(|request| request.body.properties.disk()).is_some_and(|disk| {
                disk.creation_data.source_resource_id.as_deref() == Some(self.0.to_string().as_str())
            })
        });
        if name == "ResourceService.put" && is_refused {
            return Err(PortError::new(ErrorKind::Quota, "refused by the test").with_code("refused"));
        }
        make.await
    }
}

/// The snapshots of other disks that were taken before are removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_snapshot_leaves_no_other_snapshots() {
    let scene = exportable(Scene::stopped().await).await;
    let refusing = Arc::new(NoSnapshotOf(scene.disks[2].clone()));
    let refused = upload(&scene, &intercepted(scene.ports(), &refusing)).await.unwrap_err();
    assert!(matches!(&refused, UploadError::Source(refusal) if refusal.code.name == "snapshot-denied"), "{refused:?}");
    assert_eq!(scene.resources(&home(), ResourceType::Snapshot).await, []);
    scene.assert_source(PowerState::Deallocated).await;
    upload(&scene, scene.ports()).await.unwrap();
}
