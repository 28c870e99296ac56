//! What goes wrong or changes between the plan of a clone and its end: the source is started again in any case, and no
//! temporary is left.

use std::sync::Arc;

use futures::future::BoxFuture;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_machines::request::CloneRequest;
use goldfleet_model::ids::JobId;
use goldfleet_model::resource::{
    CreationData, DiskProperties, DiskState, PowerState, Properties, ResourceBody, ResourceId, ResourceType,
};
use goldfleet_ports::resources::MachineAction;
use goldfleet_tests::faults::{Faults, with_faults};
use serde_json::json;

use super::scene::{Scene, assert_succeeded, id, near, remote};
use crate::faulted_runs::run_cases;

fn with_stop(request: CloneRequest) -> CloneRequest {
    CloneRequest { stop: true, ..request }
}

/// Performs a clone, and runs `what` before the call `name` is made for the `nth` time (from 0).
async fn interrupted(
    scene: &Arc<Scene>,
    request: &CloneRequest,
    (name, nth): (&'static str, usize),
    what: impl FnOnce(Arc<Scene>, JobId) -> BoxFuture<'static, ()>,
) -> (JobId, Status) {
    let job = scene.request(request).await;
    let faults = Faults::before(name, nth, what(Arc::clone(scene), job.clone()));
    let status = scene.fleet.run(&with_faults(scene.ports(), &faults), 1, &job).await;
    assert!(faults.was_hit(), "the call was not made");
    (job, status)
}

/// Creates a disk that someone else owns.
async fn foreign_disk(scene: &Scene, disk: &ResourceId) {
    let properties = Properties::Disk(DiskProperties::new(CreationData::copy(&scene.disks[0])));
    scene.put(disk, ResourceBody::new("westeurope".parse().unwrap(), properties)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_is_started_again_if_a_snapshot_fails() {
    let scene = Scene::running().await;
    let aside = scene.fleet.cloud().join("aside");
    let content = scene.content(&scene.disks[1]);
    std::fs::rename(&content, &aside).unwrap();
    let (job, status) = scene.clone(&with_stop(scene.to(&remote()))).await;
    std::fs::rename(&aside, &content).unwrap();
    assert_eq!(status.state, ReportedState::Failed);
    let failures = scene.failures(&job).await;
    assert_eq!(failures["snapshot"], "copy-source-not-found", "{failures:?}");
    assert_eq!(failures["machine"], "gate-broken");
    scene.assert_source(PowerState::Running).await;
    scene.assert_no_temporaries().await;
    assert_eq!(scene.resources(&remote(), ResourceType::Machine).await, []);
}

/// The job is cancelled before each of its changes.
#[tokio::test(flavor = "multi_thread")]
async fn the_machine_is_started_again_if_the_job_is_cancelled() {
    let puts = (0..10).map(|nth| ("ResourceService.put", nth));
    let cases: Vec<_> = [("ResourceService.act", 0)].into_iter().chain(puts).collect();
    run_cases(&cases, 4, cancelled).await;
}

async fn cancelled(at: (&'static str, usize)) {
    let scene = Arc::new(Scene::running().await);
    let request = with_stop(scene.to(&remote()));
    let stop = |scene: Arc<Scene>, job: JobId| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            cancel(&scene.fleet.control_with_own_ports().jobs, &job).await.unwrap();
        })
    };
    let (job, status) = interrupted(&scene, &request, at, stop).await;
    assert!(matches!(status.state, ReportedState::Cancelled | ReportedState::Succeeded), "{at:?}: {status:#?}");
    let failures = scene.failures(&job).await;
    assert!(!failures.contains_key("start"), "{failures:?}");
    scene.assert_source(PowerState::Running).await;
    scene.assert_no_temporaries().await;
}

/// Someone starts the machine while its disks are copied. Disks from different moments are no clone.
#[tokio::test(flavor = "multi_thread")]
async fn disks_of_a_machine_that_was_started_are_not_copied() {
    for nth in 0..3 {
        let scene = Arc::new(Scene::stopped().await);
        let start = |scene: Arc<Scene>, _| -> BoxFuture<'static, ()> {
            Box::pin(async move { scene.act(MachineAction::Start).await })
        };
        let request = scene.to(&near());
        let (job, status) = interrupted(&scene, &request, ("ResourceService.put", nth), start).await;
        assert_eq!(status.state, ReportedState::Failed);
        let failures = scene.failures(&job).await;
        assert_eq!(failures["snapshot"], "machine-running", "{failures:?}");
        scene.assert_source(PowerState::Running).await;
        scene.assert_no_temporaries().await;
        assert_eq!(scene.resources(&near(), ResourceType::Machine).await, []);
    }
}

/// A machine that was created again under the same name is neither stopped nor started nor copied.
#[tokio::test(flavor = "multi_thread")]
async fn another_machine_with_the_same_name_is_not_touched() {
    let scene = Arc::new(Scene::running().await);
    let replace = |scene: Arc<Scene>, _| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            scene.edit(&scene.machine, |machine| machine["properties"]["vmId"] = json!("another"));
        })
    };
    let request = with_stop(scene.to(&near()));
    // The plan reads the machine, its three disks and the four names; then the dispatcher has planned.
    let (job, status) = interrupted(&scene, &request, ("ResourceService.get", 8), replace).await;
    assert_eq!(status.state, ReportedState::Failed);
    assert_eq!(scene.failures(&job).await["deallocate"], "machine-changed");
    scene.assert_source(PowerState::Running).await;
    scene.assert_no_temporaries().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_resources_are_not_touched_and_a_retry_continues() {
    let scene = Arc::new(Scene::stopped().await);
    let taken = id(&near(), ResourceType::Disk, "copy-5");
    let take = |scene: Arc<Scene>, _| -> BoxFuture<'static, ()> {
        let taken = taken.clone();
        Box::pin(async move { foreign_disk(&scene, &taken).await })
    };
    let request = scene.to(&near());
    let (job, status) = interrupted(&scene, &request, ("ResourceService.put", 0), take).await;
    assert_eq!(status.state, ReportedState::Failed);
    let failures = scene.failures(&job).await;
    assert_eq!(failures["disk"], "disk-foreign", "{failures:?}");
    let found = scene.get(&taken).await.unwrap();
    assert!(found.body.tags.is_empty(), "{found:?}");
    scene.assert_no_temporaries().await;

    // The temporaries of the disk were removed. The retry creates them again.
    scene.ports().resources.delete(&taken, None).await.unwrap();
    scene.fleet.retry(&job).await;
    assert_succeeded(&scene.fleet.run(scene.ports(), 1, &job).await);
    scene.assert_cloned(&near()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_that_another_machine_took_are_not_attached() {
    let scene = Arc::new(Scene::stopped().await);
    let take = |scene: Arc<Scene>, _| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let disk = id(&near(), ResourceType::Disk, "copy-0");
            let mut other = scene.get(&scene.machine).await.unwrap().body;
            let Properties::Machine(machine) = &mut other.properties else { unreachable!() };
            let profile = machine.storage_profile.as_mut().unwrap();
            profile.data_disks.clear();
            profile.os_disk.as_mut().unwrap().managed_disk.as_mut().unwrap().id = Some(disk.to_string());
            scene.put(&id(&near(), ResourceType::Machine, "thief"), other).await;
        })
    };
    let request = scene.to(&near());
    // Three snapshots and three disks come before the machine.
    let (job, status) = interrupted(&scene, &request, ("ResourceService.put", 6), take).await;
    assert_eq!(status.state, ReportedState::Failed);
    assert_eq!(scene.failures(&job).await["machine"], "disk-in-use");
    let disk = scene.get(&id(&near(), ResourceType::Disk, "copy-0")).await.unwrap();
    assert!(disk.body.machine().unwrap().ends_with("/thief"));
    assert_eq!(disk.body.properties.disk().unwrap().disk_state, Some(DiskState::Attached));
    scene.assert_no_temporaries().await;
}

/// The job is cancelled while the machine is stopped, and the machine started again. Its owner stops it. A retry copies
/// the disks, and leaves the machine stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_not_start_a_machine_that_its_owner_stopped() {
    let scene = Arc::new(Scene::running().await);
    let stop = |scene: Arc<Scene>, job: JobId| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            cancel(&scene.fleet.control_with_own_ports().jobs, &job).await.unwrap();
        })
    };
    let request = with_stop(scene.to(&near()));
    let (job, status) = interrupted(&scene, &request, ("ResourceService.act", 0), stop).await;
    assert_eq!(status.state, ReportedState::Cancelled);
    scene.assert_source(PowerState::Running).await;
    scene.act(MachineAction::Deallocate).await;
    scene.fleet.retry(&job).await;
    assert_succeeded(&scene.fleet.run(scene.ports(), 1, &job).await);
    scene.assert_cloned(&near()).await;
    scene.assert_source(PowerState::Deallocated).await;
}
