//! Dispatches under faults: every call is lost once, and workers are killed at each change.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::ids::JobId;
use goldfleet_model::resource::ResourceType;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};

use super::scene::{Scene, assert_succeeded};
use super::sources::small;
use super::version_scene::Contents;
use crate::faulted_runs::{assert_met, kill_at, run_cases};

const CHANGES: [&str; 2] = ["ResourceService.put", "ResourceService.delete"];

const RECEIVED: [ResourceType; 2] = [ResourceType::Image, ResourceType::Disk];

/// A scene, and a job that copies a disk to all targets.
async fn requested() -> (Scene, JobId) {
    let scene = Scene::with("sinks = [\"image\", \"disk\"]").await;
    let job = scene.request(&scene.disk).await;
    (scene, job)
}

/// The number of calls of a dispatch without faults.
async fn calls() -> BTreeMap<&'static str, usize> {
    let (scene, job) = requested().await;
    let counting = Faults::counting();
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &counting), 1, &job).await);
    counting.calls()
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatches_survive_each_lost_call() {
    let calls = calls().await;
    let mut cases = Vec::new();
    for name in CHANGES.into_iter().chain(["ResourceLocks.locks"]) {
        for nth in 0..calls[name] {
            cases.extend([LostPart::Request, LostPart::Answer].map(|lost| (name, nth, lost)));
        }
    }
    for nth in (0..calls["ResourceService.get"]).step_by(3) {
        cases.push(("ResourceService.get", nth, LostPart::Answer));
    }
    for name in ["JobTable.commit", "Queue.send"] {
        cases.extend([LostPart::Request, LostPart::Answer].map(|lost| (name, 2, lost)));
    }
    // A snapshot, its copy, and for each target a snapshot, an image and a disk.
    assert_eq!((calls[CHANGES[0]], calls[CHANGES[1]]), (1 + 1 + 4 * 3, 1 + 1 + 4), "{calls:?}");
    assert_met(&run_cases(&cases, 6, |(name, nth, lost)| survives(name, nth, lost)).await, 5);
}

/// Performs a dispatch in which one call is lost. Returns whether the call was made.
async fn survives(name: &'static str, nth: usize, lost: LostPart) -> bool {
    let (scene, job) = requested().await;
    let faults = Faults::failing_at(name, nth, lost);
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await);
    scene.assert_received(&scene.disk, &RECEIVED).await;
    faults.was_hit()
}

/// A worker is killed after a change took effect and before it learns of that. Its successor has only the row.
#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_killed_worker_completes_each_change() {
    let calls = calls().await;
    let cases: Vec<_> = CHANGES.into_iter().flat_map(|name| (0..calls[name]).map(move |nth| (name, nth))).collect();
    run_cases(&cases, 4, |(name, nth)| killed(name, nth)).await;
}

async fn killed(name: &'static str, nth: usize) {
    let (scene, job) = requested().await;
    kill_at(&scene.fleet, &job, name, nth).await;
    scene.assert_received(&scene.disk, &RECEIVED).await;
}

/// A scene, and a job that copies both disks of an image to a target in each of two regions.
async fn requested_image() -> (Scene, JobId, Contents) {
    let scene = small(r#"["image"]"#).await;
    let (image, contents) = scene.image().await;
    let job = scene.try_request_from(&format!("image:{image}")).await.unwrap();
    (scene, job, contents)
}

async fn calls_for_image() -> BTreeMap<&'static str, usize> {
    let (scene, job, _) = requested_image().await;
    let counting = Faults::counting();
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &counting), 1, &job).await);
    counting.calls()
}

/// The temporary gallery, definition and version, and for each disk the disk, its snapshot, the copy to eastus, and a
/// snapshot at each target.
#[tokio::test(flavor = "multi_thread")]
async fn dispatches_of_images_survive_each_lost_change() {
    let calls = calls_for_image().await;
    assert_eq!(
        (calls[CHANGES[0]], calls[CHANGES[1]]),
        (3 + 2 * (1 + 1 + 1 + 2) + 2, 3 + 2 * (1 + 1 + 1 + 2)),
        "{calls:?}"
    );
    // The others are those of a dispatch of a disk.
    let puts = (0..5).map(|nth| (CHANGES[0], nth));
    let deletes = (0..calls[CHANGES[1]]).step_by(3).map(|nth| (CHANGES[1], nth));
    let lost = [LostPart::Request, LostPart::Answer];
    let cases: Vec<_> = puts.chain(deletes).flat_map(|(name, nth)| lost.map(|lost| (name, nth, lost))).collect();
    let survives = |(name, nth, lost)| async move {
        let (scene, job, contents) = requested_image().await;
        let faults = Faults::failing_at(name, nth, lost);
        assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await);
        scene.assert_received_disks(&contents, &[ResourceType::Image]).await;
        faults.was_hit()
    };
    assert_met(&run_cases(&cases, 6, survives).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_killed_worker_completes_each_change_of_a_temporary_version() {
    let calls = calls_for_image().await;
    let puts = (0..4).map(|nth| (CHANGES[0], nth));
    let cases: Vec<_> = puts.chain((0..calls[CHANGES[1]]).step_by(6).map(|nth| (CHANGES[1], nth))).collect();
    let killed = |(name, nth)| async move {
        let (scene, job, contents) = requested_image().await;
        kill_at(&scene.fleet, &job, name, nth).await;
        scene.assert_received_disks(&contents, &[ResourceType::Image]).await;
    };
    run_cases(&cases, 4, killed).await;
}

/// A job that is cancelled at any moment leaves nothing behind, and can be retried.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispatch_of_an_image_that_is_cancelled_at_each_change_leaves_nothing() {
    let cases: Vec<usize> = (0..5).chain([8, 11]).collect();
    let cancelled = |nth| async move {
        let (scene, job, contents) = requested_image().await;
        let scene = Arc::new(scene);
        let (of_scene, of_job) = (Arc::clone(&scene), job.clone());
        let stop: BoxFuture<'static, ()> = Box::pin(async move {
            cancel(&of_scene.fleet.control_with_own_ports().jobs, &of_job).await.unwrap();
        });
        let faults = Faults::before(CHANGES[0], nth, stop);
        let status = scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await;
        assert_eq!(status.state, ReportedState::Cancelled, "{nth}");
        scene.assert_no_temporaries().await;
        scene.fleet.retry(&job).await;
        assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
        scene.assert_received_disks(&contents, &[ResourceType::Image]).await;
    };
    run_cases(&cases, 4, cancelled).await;
}
