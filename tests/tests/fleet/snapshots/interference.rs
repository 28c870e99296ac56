//! What others do between the plan of a run and its end: foreign resources, changed sources, cancellation.

use std::sync::Arc;

use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::OperationState;
use goldfleet_model::resource::{DiskState, ResourceId, ResourceType};
use goldfleet_tests::faults::{Faults, with_faults};
use serde_json::json;

use super::directory::Scene;
use super::scene::{SIZE, assert_succeeded};
use super::workers::{Worker, ended, with_dispatcher};

fn failed(pairs: &[(&str, &str)]) -> std::collections::BTreeSet<(String, String)> {
    pairs.iter().map(|(step, code)| ((*step).to_owned(), (*code).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_snapshot_is_not_touched() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1"]).await;
    scene.family("two", &["b1"]).await;
    let planned = scene.plan().await;
    let foreign = scene.foreign("a1").await;
    let read = |scene: &Scene| (scene.bytes(&foreign), std::fs::read(scene.properties(&foreign)).unwrap());
    let before = read(&scene);
    scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await;
    assert_eq!(scene.sync.failures(&planned.job).await, failed(&[("snapshot", "snapshot-foreign")]));
    assert_eq!(read(&scene), before);
    assert_eq!(scene.sync.replicas(0).await.len(), 1, "the other copy is not affected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_after_the_plan_is_not_copied() {
    for (changed, code) in [(true, "source-changed"), (false, "source-gone")] {
        let mut scene = Scene::to(1);
        scene.family("one", &["a1"]).await;
        let planned = scene.plan().await;
        if changed {
            scene.recreate("a1", "one").await;
        } else {
            scene.sync.delete(&scene.sync.source("a1")).await;
        }
        scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await;
        assert_eq!(scene.sync.failures(&planned.job).await, failed(&[("snapshot", code)]));
        assert!(scene.sync.replicas(0).await.is_empty());
    }
}

/// A replica of an earlier source appears under the name after the run was planned. Only the rules for deletion apply
/// to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_another_source_is_not_overwritten() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1"]).await;
    assert_succeeded(&scene.run().await.1);
    let replica = scene.sync.replica(0, "a1");
    let aside = scene.hide(&replica);
    scene.recreate("a1", "one").await;
    let planned = scene.plan().await;
    scene.restore(&replica, &aside);
    let before = scene.bytes(&replica);
    scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await;
    assert_eq!(scene.sync.failures(&planned.job).await, failed(&[("snapshot", "replica-outdated")]));
    assert_eq!(scene.bytes(&replica), before);
}

/// After the first request, the content of its snapshot is on its way: properties of the snapshot are set.
fn arriving(scene: &Scene, replica: &ResourceId, error: Option<&str>) -> Arc<Faults> {
    let (path, error) = (scene.properties(replica), error.map(str::to_owned));
    Faults::late("ResourceService.put", async move {
        Scene::edit(&path, |value| {
            value["properties"]["completionPercent"] = json!(25.0);
            if let Some(error) = error {
                value["properties"]["copyCompletionError"] = json!({ "errorCode": error, "errorMessage": "gone" });
            }
        });
    })
}

/// Waits until the copy of a job has recorded its progress.
async fn in_progress(scene: &Scene, job: &JobId) {
    let reported = async {
        loop {
            let rows = scene.sync.rows(job).await;
            if rows.iter().any(|row| row.progress.bytes_done == SIZE / 4 && row.state == OperationState::Ready) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(super::scene::TOO_LONG, reported).await.expect("no progress");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_complete_when_its_content_has_arrived() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1"]).await;
    let planned = scene.plan().await;
    let replica = scene.sync.replica(0, "a1");
    let faults = arriving(&scene, &replica, None);
    let fleet = &scene.fleet;
    with_dispatcher(fleet, async {
        let _worker = Worker::start(fleet, &with_faults(&fleet.ports, &faults), 1);
        in_progress(&scene, &planned.job).await;
        Scene::edit(&scene.properties(&replica), |value| value["properties"]["completionPercent"] = json!(100.0));
        ended(fleet, &planned.job).await;
    })
    .await;
    let rows = scene.sync.rows(&planned.job).await;
    let row = rows.iter().find(|row| row.kind.as_str() == "snapshot").unwrap();
    assert_eq!((row.failures, row.progress.bytes_done), (0, SIZE), "waiting is not a failure");
    scene.assert_in_sync().await;
}

/// Someone else copies another snapshot of the disk to the same region. The service permits one copy at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_service_is_waited_for_without_a_failure() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1"]).await;
    assert_succeeded(&scene.run().await.1);
    let disk = super::scene::id(&scene.sync.rules.source, ResourceType::Disk, "one");
    scene.write(&disk);
    scene.sync.snapshot(&disk, "a2", true).await;
    let planned = scene.plan().await;
    let other = scene.properties(&scene.sync.replica(0, "a1"));
    Scene::edit(&other, |value| value["properties"]["completionPercent"] = json!(50.0));
    let fleet = &scene.fleet;
    with_dispatcher(fleet, async {
        let _worker = Worker::start(fleet, &fleet.ports, 1);
        let deferred = async {
            while !scene.sync.rows(&planned.job).await.iter().any(|row| row.not_before.is_some()) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(super::scene::TOO_LONG, deferred).await.expect("the copy was not deferred");
        assert_eq!(scene.sync.get(&scene.sync.replica(0, "a2")).await, None);
        Scene::edit(&other, |value| value["properties"]["completionPercent"] = json!(100.0));
        ended(fleet, &planned.job).await;
    })
    .await;
    let rows = scene.sync.rows(&planned.job).await;
    let copy = rows.iter().find(|row| row.kind.as_str() == "snapshot").unwrap();
    assert!(copy.attempts > 1 && copy.failures == 0, "{copy:#?}");
    scene.assert_in_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_copy_leaves_no_incomplete_replica() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1", "a2"]).await;
    let planned = scene.plan().await;
    let replica = scene.sync.replica(0, "a1");
    let faults = arriving(&scene, &replica, None);
    let fleet = &scene.fleet;
    with_dispatcher(fleet, async {
        let _worker = Worker::start(fleet, &with_faults(&fleet.ports, &faults), 1);
        in_progress(&scene, &planned.job).await;
        cancel(&fleet.control_with_own_ports().jobs, &planned.job).await.unwrap();
        ended(fleet, &planned.job).await;
    })
    .await;
    assert_eq!(scene.fleet.status(&planned.job).await.state, ReportedState::Cancelled);
    assert_eq!(scene.sync.get(&replica).await, None);
    assert_succeeded(&scene.run().await.1);
    scene.assert_in_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_source_disappeared_fails_and_its_remains_are_deleted() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1"]).await;
    let planned = scene.plan().await;
    let replica = scene.sync.replica(0, "a1");
    let faults = arriving(&scene, &replica, Some("CopySourceNotFound"));
    scene.fleet.run(&with_faults(&scene.fleet.ports, &faults), 1, &planned.job).await;
    assert_eq!(scene.sync.failures(&planned.job).await, failed(&[("snapshot", "copy-source-not-found")]));
    assert_eq!(scene.sync.get(&replica).await, None);
    // Another failure is temporary: the copy is made again.
    let planned = scene.plan().await;
    let faults = arriving(&scene, &replica, Some("InternalError"));
    assert_succeeded(&scene.fleet.run(&with_faults(&scene.fleet.ports, &faults), 1, &planned.job).await);
    scene.assert_in_sync().await;
}

/// A job that is cancelled after its first temporary exists.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_removes_its_temporaries() {
    let mut scene = Scene::to(1);
    scene.full("full").await;
    let planned = scene.plan().await;
    let (control, job) = (scene.fleet.control_with_own_ports(), planned.job.clone());
    let faults = Faults::late("ResourceService.put", async move {
        cancel(&control.jobs, &job).await.unwrap();
    });
    let status = scene.fleet.run(&with_faults(&scene.fleet.ports, &faults), 1, &planned.job).await;
    assert_eq!(status.state, ReportedState::Cancelled, "{status:#?}");
    scene.sync.assert_no_temporaries().await;
    assert!(scene.sync.replicas(0).await.is_empty());
    assert_succeeded(&scene.run().await.1);
    scene.assert_in_sync().await;
}

/// An export that is cancelled leaves no disk, no access to its source, and no incomplete replica.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_export_leaves_nothing() {
    for (call, nth) in
        [("ResourceService.put", 0), ("DiskAccess.begin", 1), ("DiskPages.write_from", 0), ("DiskAccess.end", 0)]
    {
        let mut scene = Scene::to_other_tenant();
        scene.family("one", &["a1"]).await;
        let planned = scene.plan().await;
        let (control, job) = (scene.fleet.control_with_own_ports(), planned.job.clone());
        let faults = Faults::before(call, nth, async move {
            cancel(&control.jobs, &job).await.unwrap();
        });
        let status = scene.fleet.run(&with_faults(&scene.fleet.ports, &faults), 1, &planned.job).await;
        assert_eq!(status.state, ReportedState::Cancelled, "{call} {nth}: {status:#?}");
        scene.sync.assert_no_temporaries().await;
        let source = scene.sync.get(&scene.sync.source("a1")).await.unwrap();
        let state = source.body.properties.disk().unwrap().disk_state.clone();
        assert_eq!(state, Some(DiskState::Unattached), "{call} {nth}");
        assert!(scene.sync.replicas(0).await.is_empty(), "{call} {nth}");
        assert_succeeded(&scene.run().await.1);
        scene.assert_in_sync().await;
    }
}

/// The second temporary cannot be created, so the gate of the copies is broken.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_gate_leaves_no_temporaries() {
    let mut scene = Scene::to(1);
    scene.full("full").await;
    let planned = scene.plan().await;
    let rows = scene.sync.rows(&planned.job).await;
    let find = |kind: &str| {
        let row = rows.iter().find(|row| row.id.to_string().starts_with("scratch-") && row.kind.as_str() == kind);
        row.unwrap().spec.data["create"]["id"].as_str().unwrap().parse::<ResourceId>().unwrap()
    };
    let (disk, taken) = (find("disk"), find("snapshot"));
    // Someone else has the name of the temporary snapshot.
    let foreign = scene.foreign("other").await;
    std::fs::create_dir_all(scene.content(&taken).parent().unwrap()).unwrap();
    std::fs::rename(scene.content(&foreign), scene.content(&taken)).unwrap();
    std::fs::rename(scene.properties(&foreign), scene.properties(&taken)).unwrap();
    let before = scene.bytes(&taken);
    scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await;
    let rows = scene.sync.rows(&planned.job).await;
    let codes: std::collections::BTreeSet<_> =
        rows.iter().filter_map(|row| Some((row.kind.as_str(), row.failure.as_ref()?.code.as_str()))).collect();
    let expected = [("remove", "temporary-foreign"), ("snapshot", "gate-broken"), ("snapshot", "temporary-foreign")];
    assert_eq!(codes, expected.into());
    assert_eq!(scene.sync.get(&disk).await, None, "the temporary disk is removed");
    assert_eq!(scene.bytes(&taken), before, "the foreign snapshot is not");
}
