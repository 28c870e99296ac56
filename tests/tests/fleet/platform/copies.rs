//! Dispatches of disks and snapshots: bytes, sinks, hubs, rings, and what is skipped.

use goldfleet_dispatcher::control::approve::approve;
use goldfleet_dispatcher::control::request::Terms;
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyScope, verify};
use goldfleet_model::operation::OperationState;
use goldfleet_model::resource::ResourceType;
use goldfleet_snapshots::tags::Role;
use goldfleet_tests::process_fixture;
use serde_json::json;

use super::scene::{Scene, assert_succeeded, id};

const ALL: [ResourceType; 3] = [ResourceType::Image, ResourceType::Snapshot, ResourceType::Disk];

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_snapshot_reaches_all_targets_with_one_copy_for_each_other_region() {
    let scene = Scene::new().await;
    let source = scene.snapshot("golden", true).await;
    let (job, status) = scene.dispatch(&source).await;
    assert_succeeded(&status);
    scene.assert_received(&source, &[ResourceType::Image]).await;
    let rows = scene.rows(&job).await;
    let steps = |step: &str| rows.iter().filter(|row| row.id.step() == step).count();
    assert_eq!((steps("copy"), steps("snapshot"), steps("image")), (1, 4, 4), "one copy, to eastus");
    let region = &status.regions["eastus"];
    assert_eq!((region.targets, region.images), (2, 2));

    let image = scene.get(&scene.received(&scene.targets()[0], ResourceType::Image)).await.unwrap();
    assert_eq!(image.body.tags["goldfleet-image"], "golden");
    // The images need nothing of the version's source store, and verify finds them.
    let control = scene.fleet.control_with_own_ports();
    let row = scene.ports().table.job(&job).await.unwrap().unwrap().value;
    let scope = VerifyScope::scope_of_job(&control, &row).await.unwrap();
    let report = verify(&control, row.image(), &scope, VerifyOptions { read: true, remove: false }, &|_| {}).await;
    let report = report.unwrap();
    assert_eq!((report.images, report.faults.len()), (4, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn full_snapshot_and_disk_are_copied_through_incremental_snapshot() {
    let scene = Scene::new().await;
    let full = scene.snapshot("full", false).await;
    let (job, status) = scene.dispatch(&full).await;
    assert_succeeded(&status);
    scene.assert_received(&full, &[ResourceType::Image]).await;
    let steps: Vec<String> = scene.rows(&job).await.iter().map(|row| row.id.to_string()).collect();
    assert!(steps.iter().any(|id| id.starts_with("source-") && id.ends_with(".disk")), "{steps:?}");

    let scene = Scene::new().await;
    let (job, status) = scene.dispatch(&scene.disk).await;
    assert_succeeded(&status);
    scene.assert_received(&scene.disk, &[ResourceType::Image]).await;
    let rows = scene.rows(&job).await;
    let source: Vec<_> = rows.iter().filter(|row| row.id.group().as_str().starts_with("source-")).collect();
    assert_eq!(source.len(), 2, "a snapshot and its removal");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_disk_is_dispatched_as_it_was_at_the_first_snapshot() {
    let scene = Scene::new().await;
    scene.edit(&scene.disk, |disk| {
        disk["properties"]["diskState"] = json!("Attached");
        disk["managedBy"] = json!("/subscriptions/x/machine");
    });
    let (_, status) = scene.dispatch(&scene.disk).await;
    assert_succeeded(&status);
    scene.assert_received(&scene.disk, &[ResourceType::Image]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_receive_the_sinks_that_they_name() {
    for (sinks, types) in [
        (r#"sinks = ["image", "snapshot", "disk"]"#, &ALL[..]),
        (r#"sinks = ["snapshot"]"#, &[ResourceType::Snapshot]),
        (r#"sinks = ["disk", "image"]"#, &[ResourceType::Image, ResourceType::Disk]),
    ] {
        let scene = Scene::with(sinks).await;
        let source = scene.snapshot("golden", true).await;
        let (_, status) = scene.dispatch(&source).await;
        assert_succeeded(&status);
        scene.assert_received(&source, types).await;
        assert_eq!(status.regions["eastus"].images, 2, "{sinks}");
        let target = &scene.targets()[0];
        for resource_type in types.iter().filter(|kind| **kind != ResourceType::Image) {
            let found = scene.get(&scene.received(target, *resource_type)).await.unwrap();
            assert_eq!(Role::in_tags(&found.body.tags), Some(Role::Sink));
            assert_eq!(found.body.tags["goldfleet-version"], "1");
            let policy = &found.body.properties.disk().unwrap().other["networkAccessPolicy"];
            assert_eq!(policy, "DenyAll", "never looser than that of the source");
        }
        // A target that has everything is skipped, and one that lost a part gets it again.
        let again = scene.dispatch(&source).await.0;
        assert!(scene.rows(&again).await.iter().all(|row| row.state == OperationState::Skipped));
        let lost = scene.received(target, types[0]);
        scene.ports().resources.delete(&lost, None).await.unwrap();
        assert_succeeded(&scene.dispatch(&source).await.1);
        scene.assert_received(&source, types).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_launch_stays_with_snapshots_and_disks_and_not_with_images() {
    let scene = Scene::with(r#"sinks = ["image", "snapshot", "disk"]"#).await;
    let source = scene.snapshot("golden", true).await;
    scene.edit(&source, |snapshot| {
        snapshot["properties"]["securityProfile"] = json!({ "securityType": "TrustedLaunch" });
    });
    let (job, status) = scene.dispatch(&source).await;
    assert_succeeded(&status);
    scene.assert_received(&source, &ALL).await;
    let codes: Vec<&str> = status.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["trusted-launch-lost"]);
    let found = scene.get(&scene.received(&scene.targets()[0], ResourceType::Snapshot)).await.unwrap();
    assert_eq!(found.body.properties.disk().unwrap().other["securityProfile"]["securityType"], "TrustedLaunch");
    let rows = scene.rows(&job).await;
    let plain = rows.iter().find(|row| row.id.step() == "image-snapshot").unwrap();
    assert_eq!(plain.spec.data["create"]["body"]["properties"]["securityProfile"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_hub_of_a_region_holds_its_snapshot() {
    let hub = "[[store]]\nregion = \"eastus\"\naccount = \"goldeastus\"\ncontainer = \"golden\"\n\
               subscription = \"00000000-0000-0000-0000-000000000002\"\nresource_group = \"hub\"\n";
    let targets = process_fixture::targets(2, &["westeurope", "eastus"]) + hub;
    let scene = Scene::with_targets(&targets).await;
    let source = scene.snapshot("golden", true).await;
    let (job, status) = scene.dispatch(&source).await;
    assert_succeeded(&status);
    scene.assert_received(&source, &[ResourceType::Image]).await;
    let rows = scene.rows(&job).await;
    let copy = rows.iter().find(|row| row.id.step() == "copy").unwrap();
    let hub = id(2, "hub", ResourceType::Snapshot, "x").to_string();
    let made = copy.spec.data["create"]["id"].as_str().unwrap();
    assert!(made.starts_with(hub.trim_end_matches('x')), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn later_rings_wait_for_approval_and_the_snapshots_of_regions_wait_for_them() {
    let scene = Scene::new().await;
    scene.fleet.put_eastus_in_ring_1();
    let source = scene.snapshot("golden", true).await;
    let terms = Terms { approve: true, ..Terms::default() };
    let job = scene.try_request_version(&source, "1", terms).await.unwrap();
    let control = scene.fleet.control_with_own_ports();
    let run = scene.fleet.run(scene.ports(), 1, &job);
    let operate = async {
        let waits = async {
            loop {
                let status = scene.fleet.status(&job).await;
                if status.approvals.as_ref().is_some_and(|approvals| approvals.waits == Some(1)) {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let status = waits.await;
        let regions = (status.regions["westeurope"].images, status.regions["eastus"].images);
        assert_eq!(regions, (2, 0), "only ring 0");
        approve(&control.jobs, &job, Some(1), "test").await.unwrap();
    };
    let (status, ()) = tokio::join!(run, operate);
    assert_succeeded(&status);
    scene.assert_received(&source, &[ResourceType::Image]).await;
}
