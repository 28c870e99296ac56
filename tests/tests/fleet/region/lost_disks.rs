//! Disks that are lost, ended or damaged while they are filled.

use std::sync::Arc;

use futures::future::BoxFuture;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::resource::{DiskState, ResourceId, ResourceType};
use goldfleet_ports::resources::Resource;
use goldfleet_snapshots::tags::Role;
use goldfleet_tests::faults::{Faults, with_faults};
use goldfleet_tests::process_fixture;

use super::scene::{Scene, assert_succeeded, stores};

/// The disks that are being filled. One that is complete is not among them: without it, a retry begins again.
async fn disks(scene: &Scene) -> Vec<ResourceId> {
    let is_filled = |found: &Resource| {
        let state = found.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
        found.id.resource_type == ResourceType::Disk && state == Some(&DiskState::ActiveUpload)
    };
    scene.of_role(Role::Temporary).await.into_iter().filter(is_filled).map(|found| found.id).collect()
}

/// Runs a rollout in which `what` happens before the `nth` call of `name`.
async fn rolled_out_with<F>(name: &'static str, nth: usize, what: impl FnOnce(Arc<Scene>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (scene, job) = Scene::requested().await;
    let scene = Arc::new(scene);
    let hook: BoxFuture<'static, ()> = Box::pin(what(Arc::clone(&scene)));
    let faults = Faults::before(name, nth, hook);
    let status = scene.fleet.run(&with_faults(scene.ports(), &faults), 2, &job).await;
    assert!(faults.was_hit(), "{name} {nth} was not called");
    assert_succeeded(&status);
    scene.assert_delivered().await;
}

/// An upload that somebody ended is not complete, and begins again with another disk.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_ended_early_begins_again() {
    for nth in [1, 4] {
        rolled_out_with("DiskPages.write_from", nth, async |scene: Arc<Scene>| {
            for disk in disks(&scene).await {
                scene.ports().disk_access.end(&disk, None).await.unwrap();
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_disk_is_created_again() {
    rolled_out_with("DiskPages.write_from", 3, async |scene: Arc<Scene>| {
        for disk in disks(&scene).await {
            scene.ports().resources.delete(&disk, None).await.unwrap();
        }
    })
    .await;
    // The bytes of the disk are proven, and the disk is gone.
    rolled_out_with("DiskAccess.end", 0, async |scene: Arc<Scene>| {
        for disk in disks(&scene).await {
            scene.ports().resources.delete(&disk, None).await.unwrap();
        }
    })
    .await;
}

/// The service lost what it had confirmed: the list of its ranges shows that.
#[tokio::test(flavor = "multi_thread")]
async fn lost_data_is_found_before_the_access_ends() {
    let targets = process_fixture::targets(1, &["eastus"]);
    let scene = Arc::new(Scene::with_targets(&(targets + &stores())));
    scene.fleet.upload(scene.ports(), "1").await.unwrap();
    let job = scene.fleet.request("1").await;
    let of_scene = Arc::clone(&scene);
    let faults = Faults::before("DiskContent.layout", 0, async move {
        let disk = disks(&of_scene).await.remove(0);
        let file = std::fs::OpenOptions::new().write(true).open(of_scene.content(&disk)).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(0).unwrap();
        file.set_len(length).unwrap();
    });
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await);
    assert!(faults.was_hit());
    let expected = std::fs::read(scene.fleet.golden()).unwrap();
    let image = std::fs::read(scene.content(&scene.image(&scene.targets()[0]))).unwrap();
    assert!(image[..] == expected[..image.len()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_upload_leaves_no_disk_and_can_be_retried() {
    for (name, nth) in [("DiskPages.write_from", 2), ("DiskAccess.begin", 1), ("ResourceService.put", 2)] {
        let (scene, job) = Scene::requested().await;
        let scene = Arc::new(scene);
        let (of_scene, of_job) = (Arc::clone(&scene), job.clone());
        let stop: BoxFuture<'static, ()> = Box::pin(async move {
            cancel(&of_scene.fleet.control_with_own_ports().jobs, &of_job).await.unwrap();
        });
        let faults = Faults::before(name, nth, stop);
        let status = scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await;
        assert_eq!(status.state, ReportedState::Cancelled, "{name}");
        scene.assert_no_temporaries().await;
        scene.fleet.retry(&job).await;
        assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
        scene.assert_delivered().await;
    }
}
