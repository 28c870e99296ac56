//! Publications of an uploaded version under faults: each change is lost or repeated once, and workers are killed at
//! it.

use std::collections::BTreeMap;

use goldfleet_model::ids::JobId;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};

use super::scene::{Scene, version};
use crate::faulted_runs::{assert_met, kill_when, run_cases};
use crate::region::scene::assert_succeeded;
use crate::snapshots::scene::TOO_LONG;
use crate::snapshots::workers::ended;

const CHANGES: [&str; 2] = ["ResourceService.put", "ResourceService.delete"];

async fn requested() -> (Scene, JobId) {
    Scene::without_targets().await.requested("1.0.0").await
}

/// The number of calls of a publication without faults.
async fn calls() -> BTreeMap<&'static str, usize> {
    let (scene, job) = requested().await;
    let counting = Faults::counting();
    assert_succeeded(&scene.region.fleet.run(&with_faults(scene.ports(), &counting), 1, &job).await);
    counting.calls()
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_of_uploaded_versions_survive_lost_and_repeated_changes() {
    let calls = calls().await;
    // A disk, a golden snapshot, its copy, a definition, a version, and a disk for each region.
    assert_eq!((calls[CHANGES[0]], calls[CHANGES[1]]), (7, 4), "{calls:?}");
    let mut cases = Vec::new();
    for name in CHANGES {
        // The disk and the golden snapshot are lost in the tests of rollouts.
        let first = if name == CHANGES[0] { 2 } else { 1 };
        for nth in first..calls[name] {
            cases.push((name, nth, [LostPart::Request, LostPart::Answer][nth % 2]));
        }
    }
    assert_met(&run_cases(&cases, 8, |(name, nth, lost)| survives(name, nth, lost)).await, 4);
}

/// Publishes a version while one call is lost. Returns whether the call was made.
async fn survives(name: &'static str, nth: usize, lost: LostPart) -> bool {
    let (scene, job) = requested().await;
    let faults = Faults::failing_at(name, nth, lost);
    assert_succeeded(&scene.region.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await);
    scene.assert_published(&version("1.0.0"), false).await;
    faults.was_hit()
}

/// A worker is killed after a change took effect and before it learns of that. Its successor has only the row. The
/// other changes are covered by the tests of rollouts, and of publications from snapshots.
#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_killed_worker_publishes_the_uploaded_version() {
    let calls = calls().await;
    let cases: Vec<_> =
        CHANGES.into_iter().flat_map(|name| (1..calls[name]).step_by(2).map(move |nth| (name, nth))).collect();
    run_cases(&cases, 8, |(name, nth)| killed(name, nth)).await;
}

async fn killed(name: &'static str, nth: usize) {
    let (scene, job) = requested().await;
    let faults = Faults::failing_at(name, nth, LostPart::Caller);
    let fleet = &scene.region.fleet;
    // A pass of the reconciler may have made the last call in place of the worker.
    let moment = async {
        tokio::select! {
            () = faults.reached() => {}
            () = ended(fleet, &job) => {}
            () = tokio::time::sleep(TOO_LONG) => {}
        }
    };
    kill_when(fleet, &job, &faults, moment).await;
    scene.assert_published(&version("1.0.0"), false).await;
}
