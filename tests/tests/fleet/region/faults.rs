//! Rollouts under faults: every call is lost once, before and after its effect, and workers are killed at each change.

use std::collections::BTreeMap;

use goldfleet_tests::faults::{Faults, LostPart, with_faults};

use super::scene::{Scene, assert_succeeded};
use crate::faulted_runs::{assert_met, kill_at, run_cases};

/// The calls that change something for the route, besides the table.
const CHANGES: [&str; 6] = [
    "ResourceService.put",
    "ResourceService.delete",
    "DiskAccess.begin",
    "DiskAccess.end",
    "DiskPages.write",
    "DiskPages.write_from",
];

/// The number of calls of a rollout without faults.
async fn calls() -> BTreeMap<&'static str, usize> {
    let (scene, job) = Scene::requested().await;
    let counting = Faults::counting();
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &counting), 1, &job).await);
    counting.calls()
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_survive_each_lost_call() {
    let calls = calls().await;
    // A disk and a snapshot for each region, and a snapshot and an image for each target.
    assert_eq!((calls[CHANGES[0]], calls[CHANGES[1]]), (2 * 2 + 4 * 2, 2 + 4), "{calls:?}");
    let mut cases = Vec::new();
    for name in CHANGES {
        let step = if name == "DiskPages.write_from" { 8 } else { 1 };
        for nth in (0..calls[name]).step_by(step) {
            let both = [LostPart::Request, LostPart::Answer];
            // There are many similar requests to Resource Manager, so they are lost in turn.
            let lost = if name.starts_with("ResourceService") { &both[nth % 2..=nth % 2] } else { &both[..] };
            cases.extend(lost.iter().map(|lost| (name, nth, *lost)));
        }
    }
    for name in ["DiskContent.layout", "ResourceLocks.locks", "ResourceService.get"] {
        cases.extend((0..calls[name]).step_by(6).map(|nth| (name, nth, LostPart::Answer)));
    }
    assert_met(&run_cases(&cases, 8, |(name, nth, lost)| survives(name, nth, lost)).await, 5);
}

/// Performs a rollout in which one call is lost. Returns whether the call was made.
async fn survives(name: &'static str, nth: usize, lost: LostPart) -> bool {
    let (scene, job) = Scene::requested().await;
    let faults = Faults::failing_at(name, nth, lost);
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await);
    scene.assert_delivered().await;
    faults.was_hit()
}

/// A worker is killed after a change took effect and before it learns of that. Its successor has only the row.
#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_killed_worker_completes_each_change() {
    let calls = calls().await;
    let mut cases = Vec::new();
    for name in CHANGES {
        let step = if name == "DiskPages.write_from" { 8 } else { 2 };
        // A step that waits for chunks begins its access again, so only one beginning for each region is certain.
        let certain = if name == "DiskAccess.begin" { 2 } else { calls[name] };
        cases.extend((0..certain).step_by(step).map(|nth| (name, nth)));
    }
    run_cases(&cases, 8, |(name, nth)| killed(name, nth)).await;
}

async fn killed(name: &'static str, nth: usize) {
    let (scene, job) = Scene::requested().await;
    kill_at(&scene.fleet, &job, name, nth).await;
    scene.assert_delivered().await;
}
