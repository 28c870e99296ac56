//! Dispatches under faults: every call is lost once, and workers are killed at each change.

use std::collections::BTreeMap;

use goldfleet_model::ids::JobId;
use goldfleet_model::resource::ResourceType;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};

use super::scene::{Scene, assert_succeeded};
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
