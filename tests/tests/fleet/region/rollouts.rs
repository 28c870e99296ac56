//! Rollouts: bytes, what is written where, later targets, rings, refusals and retries.

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyScope, verify};
use goldfleet_model::operation::OperationState;
use goldfleet_tests::faults::{Faults, with_faults};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use serde_json::json;

use super::scene::{Scene, assert_succeeded, stores};

#[tokio::test(flavor = "multi_thread")]
async fn images_have_the_bytes_of_the_source_by_both_routes() {
    let (scene, job) = Scene::requested().await;
    let calls = Faults::counting();
    let status = scene.fleet.run(&with_faults(scene.ports(), &calls), 2, &job).await;
    assert_succeeded(&status);
    scene.assert_delivered().await;
    // Each region gets the data once: the runs of the chunks, and a footer.
    let calls = calls.calls();
    let chunks = scene.fleet.chunks("goldeastus", "golden").len();
    assert!((2 * chunks..=4 * chunks).contains(&calls["DiskPages.write_from"]), "{calls:?} for {chunks} chunks");
    assert_eq!((calls["DiskPages.write"], calls["DiskAccess.end"]), (2, 2));
    assert_eq!(calls.get("DiskPages.holds"), None, "the answers prove the bytes");
    assert_eq!(calls.get("BlobStore.put_pages_from"), None);
    let hub = status.phases.of_kind("hub");
    assert_eq!((hub.total, hub.bytes_done), (2, hub.bytes_total));

    let control = scene.fleet.control_with_own_ports();
    let row = scene.ports().table.job(&job).await.unwrap().unwrap().value;
    let scope = VerifyScope::scope_of_job(&control, &row).await.unwrap();
    let report = verify(&control, row.image(), &scope, VerifyOptions { read: true, remove: false }, &|_| {}).await;
    let report = report.unwrap();
    assert_eq!((report.stores, report.images, report.faults.len()), (2, 4, 0), "{report:?}");

    let staging = InProcessFleet::new();
    let (job, _) = staging.roll_out(&staging.ports, "1", 2).await;
    staging.assert_all_done(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_target_copies_the_golden_snapshot_without_an_upload() {
    let (scene, job) = Scene::requested().await;
    assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
    let before = scene.golden().await;
    let lost = scene.image(&scene.targets()[1]);
    scene.ports().resources.delete(&lost, None).await.unwrap();
    let calls = Faults::counting();
    let job = scene.fleet.request("1").await;
    let status = scene.fleet.run(&with_faults(scene.ports(), &calls), 2, &job).await;
    assert_succeeded(&status);
    scene.assert_delivered().await;
    assert_eq!(calls.calls().get("DiskPages.write_from"), None);
    assert_eq!(scene.golden().await.len(), before.len());
    let rows = scene.rows(&job).await;
    assert_eq!(rows.iter().filter(|row| row.state == OperationState::Skipped).count(), 3, "the other targets");
    assert!(rows.iter().all(|row| row.kind.as_str() != "seed"), "no store needs chunks");
    assert_eq!(rows.iter().filter(|row| row.kind.as_str() == "hub").count(), 1, "only the region of the target");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_creates_a_removed_golden_snapshot_again() {
    let (scene, job) = Scene::requested().await;
    let target = scene.targets().into_iter().find(|target| target.region.as_str() == "eastus").unwrap();
    let image = scene.image(&target);
    let path = scene.content(&image).with_extension("json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, json!({ "location": "eastus", "tags": {}, "properties": {} }).to_string()).unwrap();
    let status = scene.fleet.run(scene.ports(), 2, &job).await;
    assert_eq!((status.state, status.failures[0].code.as_str()), (ReportedState::Failed, "image-foreign"));
    scene.assert_no_temporaries().await;
    for golden in scene.golden().await {
        scene.ports().resources.delete(&golden.id, None).await.unwrap();
    }
    scene.ports().resources.delete(&image, None).await.unwrap();
    scene.fleet.retry(&job).await;
    assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
    assert_eq!(scene.golden().await.len(), 1, "only the region of the failed target needs it");
    scene.assert_no_temporaries().await;
    assert_eq!(scene.bytes(&image), scene.bytes(&scene.image(&scene.targets()[0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn later_rings_wait_although_their_golden_snapshots_exist() {
    let targets = process_fixture::targets(2, &["westeurope", "eastus"]);
    let targets = targets.replace("region = \"eastus\"", "region = \"eastus\"\nring = 1");
    let scene = Scene::with_targets(&(targets + &stores()));
    scene.fleet.upload(scene.ports(), "1").await.unwrap();
    let job = scene.fleet.request("1").await;
    assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
    scene.assert_delivered().await;
    let rows = scene.rows(&job).await;
    let first = |region: &'static str| {
        rows.iter().filter(move |row| row.target().is_some_and(|target| target.region.as_str() == region))
    };
    let ended = first("westeurope").filter(|row| row.kind.as_str() == "image").map(|row| row.updated).max();
    let begun = first("eastus").filter(|row| row.id.step() == "snapshot").filter_map(|row| row.started).min();
    assert!(ended.unwrap() <= begun.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_without_hubs_is_refused_before_the_first_call() {
    let targets = process_fixture::targets(1, &["westeurope", "eastus"]);
    let west: String = stores().split_inclusive("[[store]]").take(2).collect();
    let scene = Scene::with_targets(&(targets + west.trim_end_matches("[[store]]")));
    let calls = Faults::counting();
    let control = scene.fleet.control_with(with_faults(scene.ports(), &calls));
    let (image, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let request = goldfleet_dispatcher::control::request::request_job(&control, &image, &version, &[], false);
    let error = request.await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let ControlError::NotCopied(refusals) = error else { panic!("{error}") };
    let found: Vec<(&str, Option<&str>)> =
        refusals.iter().map(|refusal| (refusal.code.as_str(), refusal.place.as_deref())).collect();
    assert_eq!(found, [("hub-missing", Some("eastus"))]);
    assert!(calls.calls().is_empty(), "{:?}", calls.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_copies_cannot_reach_are_refused() {
    let hub = stores();
    let set = "disk_encryption_set = \"/subscriptions/00000000-0000-0000-0000-000000000005/resourceGroups/g/providers/\
               Microsoft.Compute/diskEncryptionSets/s\"";
    for (line, code) in [("tenant = \"00000000-0000-0000-0000-00000000000f\"", "other-tenant"), (set, "des-elsewhere")]
    {
        let targets = process_fixture::targets(1, &["westeurope"]);
        let targets = targets.replace("container = \"vhds\"\n", &format!("container = \"vhds\"\n{line}\n"));
        let scene = Scene::with_targets(&(targets + &hub));
        let ControlError::NotCopied(refusals) = scene.try_request().await.unwrap_err() else { panic!("{code}") };
        assert_eq!(refusals[0].code, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_chunks_fail_the_upload_and_leave_no_snapshot() {
    let scene = Scene::new();
    scene.fleet.upload(scene.ports(), "1").await.unwrap();
    let (file, _) = scene.fleet.chunks("goldsource", "golden").into_iter().next().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let job = scene.fleet.request("1").await;
    let status = scene.fleet.run(scene.ports(), 2, &job).await;
    assert_eq!(status.state, ReportedState::Failed);
    let codes: Vec<&str> = status.failures.iter().map(|failure| failure.code.as_str()).collect();
    assert!(codes.contains(&"source-corrupt"), "{codes:?}");
    assert_eq!(scene.golden().await.len(), 0);
    scene.assert_no_temporaries().await;
}
