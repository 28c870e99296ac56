//! Clones under faults: every call is lost once, rows are repeated, and workers are killed at each change.

use std::collections::BTreeMap;

use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::job::JobState;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::resource::{PowerState, ResourceType};
use goldfleet_ports::job_table::Change;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};

use super::scene::{Scene, assert_succeeded, id, near, remote};
use crate::faulted_runs::{assert_met, kill_at, run_cases};

/// The calls that change something.
const CHANGES: [&str; 3] = ["ResourceService.put", "ResourceService.delete", "ResourceService.act"];

/// The number of calls of a clone without faults, of a machine that runs.
async fn calls() -> BTreeMap<&'static str, usize> {
    let scene = Scene::running().await;
    let mut request = scene.to(&near());
    request.stop = true;
    let job = scene.request(&request).await;
    let counting = Faults::counting();
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &counting), 1, &job).await);
    counting.calls()
}

/// Asserts that the clone is complete, the source runs again, and nothing is left.
async fn assert_complete(scene: &Scene) {
    scene.assert_cloned(&near()).await;
    scene.assert_source(PowerState::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_survive_each_lost_call() {
    let calls = calls().await;
    let mut cases = Vec::new();
    for name in ["ResourceService.get"].into_iter().chain(CHANGES).chain(["ResourceLocks.locks"]) {
        for nth in 0..calls.get(name).copied().unwrap_or(0) {
            cases.extend([LostPart::Request, LostPart::Answer].map(|lost| (name, nth, lost)));
        }
    }
    for name in ["JobTable.commit", "JobTable.operation", "Queue.send"] {
        cases.extend([LostPart::Request, LostPart::Answer].map(|lost| (name, 2, lost)));
    }
    assert!(cases.len() > 60, "{cases:?}");
    assert_met(&run_cases(&cases, 6, |(name, nth, lost)| survives(name, nth, lost)).await, 5);
}

/// Performs a clone in which one call is lost. Returns whether the call was made.
async fn survives(name: &'static str, nth: usize, lost: LostPart) -> bool {
    let scene = Scene::running().await;
    let mut request = scene.to(&near());
    request.stop = true;
    let job = scene.request(&request).await;
    let faults = Faults::failing_at(name, nth, lost);
    let status = scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await;
    assert_succeeded(&status);
    assert_complete(&scene).await;
    faults.was_hit()
}

/// A worker is killed after a change took effect and before it learns of that. Its successor has only the row.
#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_killed_worker_completes_each_change() {
    let calls = calls().await;
    let counted = CHANGES.into_iter().flat_map(|name| (0..calls[name]).map(move |nth| (name, nth)));
    let cases: Vec<_> = counted.collect();
    assert_eq!(cases.len(), 3 + 3 + 1 + 3 + 2, "{cases:?}");
    run_cases(&cases, 4, |(name, nth)| killed(name, nth)).await;
}

async fn killed(name: &'static str, nth: usize) {
    let scene = Scene::running().await;
    let mut request = scene.to(&near());
    request.stop = true;
    let job = scene.request(&request).await;
    kill_at(&scene.fleet, &job, name, nth).await;
    assert_complete(&scene).await;
}

/// The job is cancelled before each change. The source runs again, and temporaries are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_is_cancelled_at_any_step_restores_its_source() {
    let calls = calls().await;
    let counted = CHANGES.into_iter().flat_map(|name| (0..calls[name]).map(move |nth| (name, nth)));
    let cases: Vec<_> = counted.chain((0..6).map(|nth| ("ResourceService.get", nth * 4))).collect();
    let cancelled = run_cases(&cases, 4, |(name, nth)| cancelled_before(name, nth)).await;
    let cancelled = cancelled.into_iter().filter(|cancelled| *cancelled).count();
    assert!(cancelled * 2 > cases.len(), "{cancelled} of {} clones were cancelled", cases.len());
}

/// Cancels a clone before a call. Returns whether that stopped it: only the clean-up may have been left to do.
async fn cancelled_before(name: &'static str, nth: usize) -> bool {
    let scene = Scene::running().await;
    let mut request = scene.to(&near());
    request.stop = true;
    let job = scene.request(&request).await;
    let (control, id) = (scene.fleet.control_with_own_ports(), job.clone());
    let faults = Faults::before(name, nth, async move {
        // A job whose operations have all ended is not cancelled.
        let _ = cancel(&control.jobs, &id).await;
    });
    let status = scene.fleet.run(&with_faults(scene.ports(), &faults), 2, &job).await;
    scene.assert_source(PowerState::Running).await;
    scene.assert_no_temporaries().await;
    if status.state == ReportedState::Succeeded {
        assert_complete(&scene).await;
        return false;
    }
    assert_eq!(status.state, ReportedState::Cancelled, "{status:#?}");
    for row in scene.rows(&job).await.iter().filter(|row| row.always) {
        assert_eq!(row.state, OperationState::Succeeded, "{}", row.id);
    }
    true
}

/// Rows run a second time, as if their end had not been recorded.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_rows_change_nothing() {
    let scene = Scene::running().await;
    let mut request = scene.to(&remote());
    request.stop = true;
    let (job, status) = scene.clone(&request).await;
    assert_succeeded(&status);
    let before = scene.get(&id(&remote(), ResourceType::Machine, "copy")).await;
    let table = &scene.ports().table;
    for step in ["start", "disk", "machine", "remove-copy", "remove-snapshot"] {
        let mut row = table.job(&job).await.unwrap().unwrap();
        row.value.state = JobState::Running;
        table.commit_job(&row.value, &row.etag, &[]).await.unwrap();
        for row in table.operations(&job).await.unwrap().into_iter().filter(|row| row.value.id.step() == step) {
            let again = Operation { state: OperationState::Ready, opened: true, ..row.value.clone() };
            table.commit(&[Change::new(&row, again)], &[]).await.unwrap();
            scene.fleet.control_with_own_ports().jobs.enqueue_operation(&row.value).await.unwrap();
        }
        assert_succeeded(&scene.fleet.run(scene.ports(), 1, &job).await);
    }
    assert_eq!(scene.get(&id(&remote(), ResourceType::Machine, "copy")).await, before);
    scene.assert_cloned(&remote()).await;
    scene.assert_source(PowerState::Running).await;
}
