//! Clones of a machine that runs, from a restore point.

use std::collections::BTreeMap;

use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::fan_out::fan_out;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_machines::request::{CloneRequest, Place};
use goldfleet_model::job::JobState;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::resource::{PowerState, ResourceType};
use goldfleet_ports::job_table::Change;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use serde_json::json;

use super::scene::{Scene, assert_succeeded, id, near, remote};
use crate::faulted_runs::{assert_met, kill_at, run_cases};

const CHANGES: [&str; 2] = ["ResourceService.put", "ResourceService.delete"];

fn live(scene: &Scene, to: &Place) -> CloneRequest {
    CloneRequest { live: true, ..scene.to(to) }
}

/// Asserts that the clone is complete, and that the source ran all the time.
async fn assert_complete(scene: &Scene, to: &Place) {
    scene.assert_cloned(to).await;
    scene.assert_source(PowerState::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_machine_is_cloned_and_not_stopped() {
    for to in [near(), remote()] {
        let scene = Scene::running().await;
        let job = scene.request(&live(&scene, &to)).await;
        let counting = Faults::counting();
        let status = scene.fleet.run(&with_faults(scene.ports(), &counting), 2, &job).await;
        assert_succeeded(&status);
        assert_eq!(counting.calls().get("ResourceService.act"), None, "the machine is not stopped or started");
        assert_complete(&scene, &to).await;
        let row = scene.ports().table.job(&job).await.unwrap().unwrap().value;
        assert!(row.findings.iter().any(|finding| finding.code == "crash-consistent"));
    }
}

/// In the place of the source no snapshot is needed. Elsewhere each disk is restored, snapshotted and copied.
#[tokio::test(flavor = "multi_thread")]
async fn disks_are_created_from_the_restore_point() {
    let scene = Scene::running().await;
    let steps = |planned: &goldfleet_dispatcher::control::machines::plan::PlannedClone| {
        planned.groups[1].iter().map(|row| row.id.step().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(steps(&scene.plan(&live(&scene, &near())).await.unwrap()), ["disk"]);
    let expected = ["restored", "snapshot", "copy", "disk", "remove-copy", "remove-snapshot", "remove-restored"];
    assert_eq!(steps(&scene.plan(&live(&scene, &remote())).await.unwrap()), expected);
}

/// What is written after the restore point is not in the clone.
#[tokio::test(flavor = "multi_thread")]
async fn all_disks_are_from_the_moment_of_the_restore_point() {
    let scene = Scene::running().await;
    let job = scene.request(&live(&scene, &remote())).await;
    let (disk, content) = (scene.disks[2].clone(), scene.content(&scene.disks[2]));
    let writes = Faults::before(CHANGES[0], 3, async move {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::OpenOptions::new().write(true).open(&content).unwrap_or_else(|_| panic!("{disk}"));
        file.write_all_at(&[0xEE; 4096], 8192).unwrap();
    });
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &writes), 1, &job).await);
    assert!(writes.was_hit());
    scene.assert_disks(&remote()).await;
    assert_ne!(scene.bytes_of(&scene.content(&scene.disks[2])), scene.contents[2], "the source has the new bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_and_detached_disks_fail_the_job() {
    for (pointer, value) in [("vmId", json!("another")), ("storageProfile", json!(null))] {
        let scene = Scene::running().await;
        let job = scene.request(&live(&scene, &near())).await;
        fan_out(&scene.fleet.control_with_own_ports(), &job).await.unwrap();
        scene.edit(&scene.machine, |machine| match pointer {
            "vmId" => machine["properties"]["vmId"] = value,
            _ => drop(machine["properties"]["storageProfile"]["dataDisks"].as_array_mut().unwrap().remove(1)),
        });
        let status = scene.fleet.run(scene.ports(), 1, &job).await;
        let codes: Vec<&str> = status.failures.iter().map(|failure| failure.code.as_str()).collect();
        assert!(codes.contains(&"source-changed"), "{pointer}: {codes:?}");
        assert!(scene.get(&id(&near(), ResourceType::Machine, "copy")).await.is_none());
        scene.assert_no_temporaries().await;
    }
}

async fn calls() -> BTreeMap<&'static str, usize> {
    let scene = Scene::running().await;
    let job = scene.request(&live(&scene, &remote())).await;
    let counting = Faults::counting();
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &counting), 1, &job).await);
    counting.calls()
}

/// The collection, the restore point, for each disk the restored disk, its snapshot, the copy and the disk, and the
/// machine.
#[tokio::test(flavor = "multi_thread")]
async fn live_clones_survive_each_lost_change() {
    let calls = calls().await;
    assert_eq!((calls[CHANGES[0]], calls[CHANGES[1]]), (2 + 3 * 4 + 1, 1 + 3 * 3), "{calls:?}");
    // The others are those of other clones.
    let puts = (0..4).map(|nth| (CHANGES[0], nth));
    let deletes = (0..calls[CHANGES[1]]).step_by(5).map(|nth| (CHANGES[1], nth));
    let gets = (0..calls["ResourceService.get"]).step_by(20).map(|nth| ("ResourceService.get", nth));
    let lost = [LostPart::Request, LostPart::Answer];
    let cases: Vec<_> =
        puts.chain(deletes).chain(gets).flat_map(|(name, nth)| lost.map(|lost| (name, nth, lost))).collect();
    let survives = |(name, nth, lost)| async move {
        let scene = Scene::running().await;
        let job = scene.request(&live(&scene, &remote())).await;
        let faults = Faults::failing_at(name, nth, lost);
        assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await);
        assert_complete(&scene, &remote()).await;
        faults.was_hit()
    };
    assert_met(&run_cases(&cases, 6, survives).await, 5);
    let killed = |nth| async move {
        let scene = Scene::running().await;
        let job = scene.request(&live(&scene, &remote())).await;
        kill_at(&scene.fleet, &job, CHANGES[0], nth).await;
        assert_complete(&scene, &remote()).await;
    };
    run_cases(&[0, 1, 2], 3, killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_clone_that_is_cancelled_at_any_step_leaves_nothing() {
    let cancelled = |nth| async move {
        let scene = Scene::running().await;
        let job = scene.request(&live(&scene, &remote())).await;
        let (control, of_job) = (scene.fleet.control_with_own_ports(), job.clone());
        let faults = Faults::before(CHANGES[0], nth, async move {
            let _ = cancel(&control.jobs, &of_job).await;
        });
        let status = scene.fleet.run(&with_faults(scene.ports(), &faults), 2, &job).await;
        assert_eq!(status.state, ReportedState::Cancelled, "{nth}");
        scene.assert_no_temporaries().await;
        scene.assert_source(PowerState::Running).await;
        scene.fleet.retry(&job).await;
        assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
        scene.assert_cloned(&remote()).await;
    };
    run_cases(&[0, 1, 2, 9], 4, cancelled).await;
}

/// Rows run a second time, as if their end had not been recorded.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_rows_of_a_live_clone_change_nothing() {
    let scene = Scene::running().await;
    let (job, status) = scene.clone(&live(&scene, &near())).await;
    assert_succeeded(&status);
    let before = scene.get(&id(&near(), ResourceType::Machine, "copy")).await;
    let table = &scene.ports().table;
    for step in ["disk", "machine", "remove-restore"] {
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
    assert_eq!(scene.get(&id(&near(), ResourceType::Machine, "copy")).await, before);
    assert_complete(&scene, &near()).await;
}
