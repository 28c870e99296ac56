//! Failures, retries and cancels: all targets get the same content, and no temporary is left.

use std::sync::Arc;

use futures::future::BoxFuture;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::ids::JobId;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_tests::faults::{Faults, with_faults};
use serde_json::json;

use super::scene::{Scene, assert_succeeded};

/// Puts something in the way of the image of a target in eastus.
async fn block(scene: &Scene) -> ResourceId {
    let target = scene.targets().into_iter().find(|target| target.region.as_str() == "eastus").unwrap();
    let image = scene.received(&target, ResourceType::Image);
    let path = scene.content(&image).with_extension("json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, json!({ "location": "eastus", "tags": {}, "properties": {} }).to_string()).unwrap();
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_copies_the_removed_snapshot_of_the_region_again() {
    let scene = Scene::new().await;
    let source = scene.snapshot("golden", true).await;
    let image = block(&scene).await;
    let (job, status) = scene.dispatch(&source).await;
    assert_eq!(status.state, ReportedState::Failed);
    assert_eq!(status.failures[0].code, "image-foreign");
    scene.assert_no_temporaries().await;
    scene.ports().resources.delete(&image, None).await.unwrap();
    scene.fleet.retry(&job).await;
    assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
    scene.assert_received(&source, &[ResourceType::Image]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_a_failed_copy_of_a_full_snapshot_creates_all_temporaries_again() {
    let scene = Scene::new().await;
    let source = scene.snapshot("full", false).await;
    let image = block(&scene).await;
    let (job, status) = scene.dispatch(&source).await;
    assert_eq!(status.state, ReportedState::Failed);
    scene.assert_no_temporaries().await;
    scene.ports().resources.delete(&image, None).await.unwrap();
    scene.fleet.retry(&job).await;
    assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
    scene.assert_received(&source, &[ResourceType::Image]).await;
}

/// The content of a disk may change, and all targets of a job get the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_not_take_a_second_snapshot_of_a_disk() {
    let scene = Scene::new().await;
    let before = scene.bytes(&scene.disk);
    let image = block(&scene).await;
    let (job, status) = scene.dispatch(&scene.disk).await;
    assert_eq!(status.state, ReportedState::Failed);
    scene.assert_no_temporaries().await;
    scene.write_disk(2);
    scene.ports().resources.delete(&image, None).await.unwrap();
    scene.fleet.retry(&job).await;
    let status = scene.fleet.run(scene.ports(), 2, &job).await;
    let codes: Vec<&str> = status.failures.iter().map(|failure| failure.code.as_str()).collect();
    assert_eq!(codes, ["snapshot-removed"], "{status:#?}");
    assert!(scene.get(&image).await.is_none());
    assert_eq!(scene.bytes(&scene.received(&scene.targets()[0], ResourceType::Image)), before);
    scene.assert_no_temporaries().await;
    // Another dispatch takes another snapshot, and replaces what the version has at the targets.
    assert_succeeded(&scene.dispatch(&scene.disk).await.1);
    scene.assert_received(&scene.disk, &[ResourceType::Image]).await;
}

/// Performs a dispatch, and cancels it before the call `name` is made for the `nth` time.
async fn cancelled(source: &str, name: &'static str, nth: usize) -> (Arc<Scene>, JobId, Status) {
    let scene = Arc::new(Scene::with("sinks = [\"image\", \"disk\"]").await);
    let source = match source {
        "disk" => scene.disk.clone(),
        "full" => scene.snapshot("full", false).await,
        _ => scene.snapshot("golden", true).await,
    };
    let job = scene.request(&source).await;
    let (of_scene, of_job) = (Arc::clone(&scene), job.clone());
    let stop: BoxFuture<'static, ()> = Box::pin(async move {
        cancel(&of_scene.fleet.control_with_own_ports().jobs, &of_job).await.unwrap();
    });
    let faults = Faults::before(name, nth, stop);
    let status = scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await;
    assert!(faults.was_hit(), "the call was not made");
    (scene, job, status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_leaves_no_temporary_and_can_be_retried() {
    for source in ["incremental", "full"] {
        for nth in [0, 1, 2, 4, 7] {
            let (scene, job, status) = cancelled(source, "ResourceService.put", nth).await;
            assert_eq!(status.state, ReportedState::Cancelled, "{source} {nth}");
            scene.assert_no_temporaries().await;
            scene.fleet.retry(&job).await;
            assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
            scene.assert_received(&scene.disk, &[ResourceType::Image, ResourceType::Disk]).await;
        }
    }
    for nth in [0, 3] {
        let (scene, _, status) = cancelled("disk", "ResourceService.put", nth).await;
        assert_eq!(status.state, ReportedState::Cancelled);
        scene.assert_no_temporaries().await;
    }
}
