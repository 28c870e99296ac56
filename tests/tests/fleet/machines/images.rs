//! Managed images of machines, and the limit of the downtime.

use std::time::Duration;

use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_machines::request::{CloneRequest, Place};
use goldfleet_model::operation::OperationState;
use goldfleet_model::resource::{PowerState, Properties, ResourceId, ResourceType};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_tests::faults::{Faults, with_faults};
use goldfleet_tests::intercept::{Call, Interceptor, intercepted};
use serde_json::json;

use super::scene::{LUNS, Scene, assert_succeeded, id, near, remote};
use crate::faulted_runs::{kill_at, run_cases};

/// A deallocated machine that is marked as generalised, without a security type.
async fn generalized() -> Scene {
    let scene = Scene::stopped().await;
    scene.edit(&scene.machine, |machine| {
        machine["properties"]["securityProfile"] = json!({});
        let statuses = machine["properties"]["instanceView"]["statuses"].as_array_mut().unwrap();
        statuses.push(json!({ "code": "OSState/generalized", "level": "Info" }));
    });
    scene
}

fn image_request(scene: &Scene, to: &Place) -> CloneRequest {
    CloneRequest { as_image: true, subnet: None, ..scene.to(to) }
}

fn image_id(to: &Place) -> ResourceId {
    id(to, ResourceType::Image, "copy")
}

/// Asserts that an image with all disks and their bytes exists, and nothing else was created or changed.
async fn assert_image(scene: &Scene, to: &Place) {
    let image = scene.get(&image_id(to)).await.expect("an image");
    assert_eq!(image.body.region, to.region);
    assert_eq!(image.body.tags["app"], "shop");
    let Properties::Image(properties) = &image.body.properties else { panic!("{image:?}") };
    let profile = properties.storage_profile.as_ref().unwrap();
    let os = profile.os_disk.as_ref().unwrap();
    assert_eq!(os.os_state.as_deref(), Some("Generalized"));
    assert_eq!((os.caching.as_deref(), os.storage_account_type.as_deref()), (Some("ReadWrite"), Some("Premium_LRS")));
    let data: Vec<_> = profile.data_disks.iter().map(|data| (data.lun, data.disk.caching.as_deref())).collect();
    assert_eq!(data, [(LUNS[0], Some("None")), (LUNS[1], Some("ReadOnly"))]);
    let contents: Vec<_> = ["disk".to_owned(), format!("disk-{}", LUNS[0]), format!("disk-{}", LUNS[1])]
        .map(|extension| scene.bytes_of(&scene.content(&image.id).with_extension(extension)))
        .into();
    assert_eq!(contents, scene.contents);
    scene.assert_no_temporaries().await;
    scene.assert_source(PowerState::Deallocated).await;
    assert_eq!(scene.resources(to, ResourceType::Machine).await, []);
    assert_eq!(scene.resources(to, ResourceType::Disk).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generalised_machine_becomes_an_image_with_all_its_disks() {
    for to in [near(), remote()] {
        let scene = generalized().await;
        let (job, status) = scene.clone(&image_request(&scene, &to)).await;
        assert_succeeded(&status);
        assert_image(&scene, &to).await;
        let rows = scene.rows(&job).await;
        assert!(rows.iter().all(|row| !matches!(row.id.step(), "start" | "deallocate" | "machine" | "disk")));
        let copied: Vec<_> = rows.iter().filter(|row| row.id.step() == "full").collect();
        assert_eq!(copied.len(), if to == remote() { 3 } else { 0 }, "the first snapshot serves in the same place");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_are_not_generalised_or_not_deallocated_become_no_image() {
    let scene = Scene::running().await;
    let refused = ["machine-not-deallocated", "machine-not-generalized", "image-security-type"];
    assert_eq!(scene.refusals(&image_request(&scene, &near())).await, refused);
    let scene = generalized().await;
    let mut request = image_request(&scene, &near());
    request.name = Some("ends-with-".to_owned());
    assert_eq!(scene.refusals(&request).await, ["name-invalid"]);
    scene.edit(&scene.disks[1], |disk| disk["sku"] = json!({ "name": "UltraSSD_LRS" }));
    assert_eq!(scene.refusals(&image_request(&scene, &near())).await, ["disk-sku-invalid"]);
    scene.edit(&scene.disks[1], |disk| disk["sku"] = json!({ "name": "Premium_LRS" }));
    let (_, status) = scene.clone(&image_request(&scene, &near())).await;
    assert_succeeded(&status);
    assert_eq!(scene.refusals(&image_request(&scene, &near())).await, ["image-foreign"], "another job's image");
}

/// The service refuses the image. The temporaries are removed, and a retry takes them again.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_image_is_retried_with_new_snapshots() {
    let scene = generalized().await;
    let job = scene.request(&image_request(&scene, &remote())).await;
    let refusing = std::sync::Arc::new(Refusing { resource_type: ResourceType::Image, kind: ErrorKind::Invalid });
    let status = scene.fleet.run(&intercepted(scene.ports(), &refusing), 2, &job).await;
    assert_eq!(status.state, ReportedState::Failed);
    assert_eq!(scene.failures(&job).await["capture"], "refused");
    scene.assert_no_temporaries().await;
    scene.fleet.drain_dead_letters().await;
    scene.fleet.retry(&job).await;
    assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
    assert_image(&scene, &remote()).await;
}

/// A worker is killed after each change of an image.
#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_killed_worker_completes_each_change_of_an_image() {
    let counting = Faults::counting();
    let scene = generalized().await;
    let job = scene.request(&image_request(&scene, &remote())).await;
    assert_succeeded(&scene.fleet.run(&with_faults(scene.ports(), &counting), 1, &job).await);
    let calls = counting.calls();
    let names = ["ResourceService.put", "ResourceService.delete"];
    let cases: Vec<_> = names.into_iter().flat_map(|name| (0..calls[name]).map(move |nth| (name, nth))).collect();
    assert_eq!(cases.len(), 10 + 9, "{cases:?}");
    run_cases(&cases, 4, |(name, nth)| killed(name, nth)).await;
}

async fn killed(name: &'static str, nth: usize) {
    let scene = generalized().await;
    let job = scene.request(&image_request(&scene, &remote())).await;
    kill_at(&scene.fleet, &job, name, nth).await;
    assert_image(&scene, &remote()).await;
}

/// Refuses the creation of resources of a type.
struct Refusing {
    resource_type: ResourceType,
    kind: ErrorKind,
}

impl Interceptor for Refusing {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let is_refused = arguments.iter().any(|&argument| {
            let argument: &dyn std::any::Any = argument;
            let request = argument.downcast_ref::<goldfleet_ports::resources::PutRequest>();
            request.is_some_and(|request| request.id.resource_type == self.resource_type)
        });
        if name == "ResourceService.put" && is_refused {
            let error = PortError::new(self.kind, "refused by the test").with_code("refused");
            return Err(error.with_retry_after(Duration::from_secs(600)));
        }
        make.await
    }
}

/// The service throttles the snapshots for longer than the machine may be stopped. The machine is started, and nothing
/// is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_machine_is_started_after_the_longest_downtime() {
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Conflict] {
        let scene = Scene::running().await;
        let mut request = scene.to(&remote());
        (request.stop, request.max_downtime) = (true, Some(1));
        let job = scene.request(&request).await;
        let refusing = std::sync::Arc::new(Refusing { resource_type: ResourceType::Snapshot, kind });
        let status = scene.fleet.run(&intercepted(scene.ports(), &refusing), 2, &job).await;
        assert_eq!(status.state, ReportedState::Failed, "{status:#?}");
        assert_eq!(scene.failures(&job).await["snapshot"], "downtime-exceeded", "{kind:?}");
        scene.assert_source(PowerState::Running).await;
        scene.assert_no_temporaries().await;
        let rows = scene.rows(&job).await;
        let start = rows.iter().find(|row| row.id.step() == "start").unwrap();
        assert_eq!(start.state, OperationState::Succeeded);
    }
}

/// Within the limit, and for a machine that did not run, nothing changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_downtime_does_not_disturb_a_clone() {
    for scene in [Scene::running().await, Scene::stopped().await] {
        let state = scene.power(&scene.machine).await;
        let mut request = scene.to(&near());
        (request.stop, request.max_downtime) = (true, Some(600));
        let (_, status) = scene.clone(&request).await;
        assert_succeeded(&status);
        scene.assert_cloned(&near()).await;
        scene.assert_source(state).await;
    }
}
