//! Publications under faults: every call is lost once, and workers are killed at each change.

use std::collections::BTreeMap;

use goldfleet_model::ids::JobId;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};

use super::scene::Scene;
use crate::faulted_runs::{assert_met, kill_when, run_cases};
use crate::platform::scene::assert_succeeded;
use crate::snapshots::scene::TOO_LONG;
use crate::snapshots::workers::ended;

const CHANGES: [&str; 2] = ["ResourceService.put", "ResourceService.delete"];

async fn requested() -> (Scene, JobId) {
    let scene = Scene::without_targets().await;
    let job = scene.request("1.0.0").await;
    (scene, job)
}

/// The number of calls of a publication without faults.
async fn calls() -> BTreeMap<&'static str, usize> {
    let (scene, job) = requested().await;
    let counting = Faults::counting();
    assert_succeeded(&scene.platform.fleet.run(&with_faults(scene.platform.ports(), &counting), 1, &job).await);
    counting.calls()
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_survive_each_lost_call() {
    let calls = calls().await;
    let mut cases = Vec::new();
    for name in CHANGES.into_iter().chain(["Records.put"]) {
        for nth in 0..calls[name] {
            cases.extend([LostPart::Request, LostPart::Answer].map(|lost| (name, nth, lost)));
        }
    }
    for name in ["ResourceService.get", "Records.get"] {
        for nth in (0..calls[name]).step_by(4) {
            cases.push((name, nth, LostPart::Answer));
        }
    }
    // The snapshot of the other region, and for each gallery a snapshot, a definition, a version, and a disk for each
    // region.
    assert!(calls[CHANGES[0]] >= 1 + 2 * 3 + 4, "{calls:?}");
    assert_met(&run_cases(&cases, 6, |(name, nth, lost)| survives(name, nth, lost)).await, 4);
}

/// Publishes a version while one call is lost. Returns whether the call was made.
async fn survives(name: &'static str, nth: usize, lost: LostPart) -> bool {
    let (scene, job) = requested().await;
    let faults = Faults::failing_at(name, nth, lost);
    assert_succeeded(&scene.platform.fleet.run(&with_faults(scene.platform.ports(), &faults), 1, &job).await);
    scene.assert_published("1.0.0").await;
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
    let faults = Faults::failing_at(name, nth, LostPart::Caller);
    let fleet = &scene.platform.fleet;
    // A pass of the reconciler may have made the last call in place of the worker.
    let moment = async {
        tokio::select! {
            () = faults.reached() => {}
            () = ended(fleet, &job) => {}
            () = tokio::time::sleep(TOO_LONG) => {}
        }
    };
    kill_when(fleet, &job, &faults, moment).await;
    scene.assert_published("1.0.0").await;
}
