//! Syncs under faults: every call is lost once, every row is repeated, and workers are killed at each change.

use std::collections::BTreeMap;

use goldfleet_model::ids::JobId;
use goldfleet_model::job::JobState;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_ports::job_table::Change;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};

use super::directory::Scene;
use super::scene::assert_succeeded;

use crate::faulted_runs::{assert_met, kill_at, run_cases};

/// The calls that the steps make.
const CALLS: [&str; 11] = [
    "ResourceService.get",
    "ResourceService.list",
    "ResourceService.put",
    "ResourceService.delete",
    "ResourceLocks.locks",
    "ResourceLocks.put_lock",
    "ResourceLocks.delete_lock",
    "DiskAccess.begin",
    "DiskAccess.end",
    "DiskContent.layout",
    "DiskPages.write_from",
];

/// What a run has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Copies to another region, of two incremental snapshots and of a full one through temporaries.
    Copies,
    /// A staged replica that gets its final name, and a replica whose source is gone. Replicas are locked.
    Changes,
    /// A copy to another tenant.
    Export,
}

/// A scene before a run with this work.
async fn scene(work: Work) -> Scene {
    let mut scene = if work == Work::Export { Scene::to_other_tenant() } else { Scene::to(1) };
    scene.sync.rules.lock = matches!(work, Work::Changes);
    scene.family("one", if work == Work::Export { &["a1"] } else { &["a1", "a2"] }).await;
    match work {
        Work::Export => {}
        Work::Copies => scene.full("full").await,
        Work::Changes => {
            let (_, status) = scene.run().await;
            assert_succeeded(&status);
            scene.recreate("a1", "one").await;
            scene.sync.delete(&scene.sync.source("a2")).await;
            let (_, status) = scene.run().await;
            assert_succeeded(&status);
        }
    }
    scene
}

/// The number of calls of a run without faults.
async fn calls(work: Work) -> BTreeMap<&'static str, usize> {
    let mut scene = scene(work).await;
    let planned = scene.plan().await;
    let counting = Faults::counting();
    assert_succeeded(&scene.fleet.run(&with_faults(&scene.fleet.ports, &counting), 1, &planned.job).await);
    scene.assert_in_sync().await;
    counting.calls()
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_survive_each_lost_call() {
    survive_each_lost_call(Work::Copies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promotions_and_removals_survive_each_lost_call() {
    survive_each_lost_call(Work::Changes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_survive_each_lost_call() {
    survive_each_lost_call(Work::Export).await;
}

async fn survive_each_lost_call(work: Work) {
    let mut cases = Vec::new();
    let calls = calls(work).await;
    for name in CALLS {
        let count = calls.get(name).copied().unwrap_or(0);
        for nth in 0..count {
            cases.extend([LostPart::Request, LostPart::Answer].map(|lost| (name, nth, lost)));
        }
    }
    for name in ["JobTable.commit", "JobTable.operation", "Queue.send"] {
        cases.extend([LostPart::Request, LostPart::Answer].map(|lost| (name, 2, lost)));
    }
    assert!(cases.len() > 20, "{cases:?}");
    assert_met(&run_cases(&cases, 6, |(name, nth, lost)| survives(work, name, nth, lost)).await, 5);
}

/// Performs a run in which one call is lost. Returns whether the call was made.
async fn survives(work: Work, name: &'static str, nth: usize, lost: LostPart) -> bool {
    let mut scene = scene(work).await;
    let planned = scene.plan().await;
    let faults = Faults::failing_at(name, nth, lost);
    let status = scene.fleet.run(&with_faults(&scene.fleet.ports, &faults), 1, &planned.job).await;
    assert_succeeded(&status);
    scene.assert_in_sync().await;
    faults.was_hit()
}

/// A worker is killed after a change took effect and before it learns of that. Its successor has only the row.
#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_killed_worker_completes_each_change() {
    let mut cases = Vec::new();
    for work in [Work::Copies, Work::Changes, Work::Export] {
        let calls = calls(work).await;
        for name in [
            "ResourceService.put",
            "ResourceService.delete",
            "ResourceLocks.delete_lock",
            "DiskAccess.end",
            "DiskPages.write_from",
        ] {
            cases.extend((0..calls.get(name).copied().unwrap_or(0)).map(|nth| (work, name, nth)));
        }
    }
    assert!(cases.len() >= 10, "{cases:?}");
    run_cases(&cases, 5, |(work, name, nth)| killed(work, name, nth)).await;
}

async fn killed(work: Work, name: &'static str, nth: usize) {
    let mut scene = scene(work).await;
    let planned = scene.plan().await;
    kill_at(&scene.fleet, &planned.job, name, nth).await;
    scene.assert_in_sync().await;
}

/// Every row runs a second time, as if its end had not been recorded.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_rows_change_nothing() {
    for work in [Work::Copies, Work::Changes] {
        let mut scene = scene(work).await;
        let planned = scene.plan().await;
        assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await);
        let before: Vec<_> = scene.sync.replicas(0).await;
        // A temporary would be created again, and its removal would follow.
        for step in ["disk", "snapshot", "discard", "remove", "remove-replaced", "remove-staged"] {
            repeat(&scene, &planned.job, step).await;
        }
        assert_eq!(scene.sync.replicas(0).await, before, "{work:?}");
        scene.assert_in_sync().await;
    }
}

/// Runs the rows of a step again. The temporaries are created again as a chain, and their removal follows.
async fn repeat(scene: &Scene, job: &JobId, step: &str) {
    let is_temporary = |id: &str| id.starts_with("scratch-");
    repeat_rows(scene, job, |id, own| match (is_temporary(id), step) {
        (true, _) if id.starts_with("scratch-end") => None,
        (true, "disk") if own == "disk" => Some(OperationState::Ready),
        (true, "disk") if own == "snapshot" => Some(OperationState::Waiting),
        (false, _) if own == step => Some(OperationState::Ready),
        _ => None,
    })
    .await;
    repeat_rows(scene, job, |id, _| id.starts_with("scratch-end").then_some(OperationState::Ready)).await;
}

/// Runs the job again with the rows in the states that `state` returns for their ids and steps.
async fn repeat_rows(scene: &Scene, job: &JobId, state: impl Fn(&str, &str) -> Option<OperationState>) {
    let table = &scene.fleet.ports.table;
    let mut row = table.job(job).await.unwrap().unwrap();
    row.value.state = JobState::Running;
    table.commit_job(&row.value, &row.etag, &[]).await.unwrap();
    for row in table.operations(job).await.unwrap() {
        let Some(state) = state(&row.value.id.to_string(), row.value.id.step()) else { continue };
        let again = Operation { state, opened: true, ..row.value.clone() };
        table.commit(&[Change::new(&row, again)], &[]).await.unwrap();
        if state == OperationState::Ready {
            scene.fleet.control_with_own_ports().jobs.enqueue_operation(&row.value).await.unwrap();
        }
    }
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, job).await);
}
