//! What galleries and targets receive, with data disks; promotion, retries, and jobs that share a region.

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::galleries::UNSERVED;
use goldfleet_dispatcher::control::request::{Terms, request_on};
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::operation::OperationState;
use goldfleet_model::resource::Properties;
use goldfleet_tests::faults::{Faults, with_faults};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use serde_json::json;

use super::scene::{LUN, ONE, Scene, version, version_in};
use crate::region::scene::{assert_succeeded, stores};

fn codes(status: &Status) -> Vec<&str> {
    status.failures.iter().map(|failure| failure.code.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn galleries_and_targets_receive_all_disks_of_an_uploaded_version() {
    let scene = Scene::new().await;
    scene.upload("1.0.10", true).await;
    let job = scene.region.fleet.request("1.0.10").await;
    let status = scene.run(&job).await;
    assert_succeeded(&status);
    let (west, east) = (version("1.0.10"), version_in(2, "corp_us", "1.0.10"));
    for id in [&west, &east] {
        scene.assert_published(id, true).await;
        assert!(scene.read(id).await.is_excluded());
    }
    for target in scene.region.targets() {
        let id = target.image(format!("golden-1.0.10-{}", target.region).parse().unwrap());
        scene.assert_content(&id, true);
        let Properties::Image(image) = scene.region.get(&id).await.unwrap().body.properties else { panic!("{id}") };
        let data = &image.storage_profile.unwrap().data_disks;
        assert_eq!(data.iter().map(|disk| disk.lun).collect::<Vec<_>>(), [u32::from(LUN)]);
    }
    // One for each disk and region: a gallery has no other one.
    assert_eq!(scene.region.golden().await.len(), 4);
    let shown = status.remarks.iter().filter(|remark| remark.phase == "publish").map(|remark| &remark.text);
    let shown: Vec<_> = shown.collect();
    assert!(
        shown.iter().any(|text| text.contains("westeurope ready; ") || text.contains("japaneast ready")),
        "{shown:?}"
    );
    // The gallery of the later ring waits for all targets and for the other gallery.
    let rows = scene.region.rows(&job).await;
    let of = |region: &'static str, step: &'static str| {
        rows.iter()
            .find(move |row| row.id.step() == step && row.id.group().as_str().starts_with(&format!("gallery-{region}")))
    };
    assert!(of("westeurope", "publish").unwrap().updated <= of("eastus", "snapshot").unwrap().started.unwrap());

    assert!(scene.promote("1.0.10").await.unwrap_err().to_string().contains("was not verified"));
    let report = scene.verify(&job).await;
    assert!(report.faults.is_empty() && report.others >= 2, "{report:?}");
    assert_eq!(scene.promote("1.0.10").await.unwrap().galleries.len(), 2);
    assert!(!scene.read(&west).await.is_excluded() && !scene.read(&east).await.is_excluded());

    let calls = Faults::counting();
    let again = scene.region.fleet.request("1.0.10").await;
    assert_succeeded(&scene.region.fleet.run(&with_faults(scene.ports(), &calls), 2, &again).await);
    assert_eq!(calls.calls().get("ResourceService.put"), None, "everything is in place");
    assert!(scene.region.rows(&again).await.iter().all(|row| row.state == OperationState::Skipped));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_publishes_from_a_golden_snapshot_that_is_created_again() {
    let (scene, job) = Scene::without_targets().await.requested("1.0.0").await;
    scene.settings(&json!({ "failing_regions": ["japaneast"] }));
    let status = scene.run(&job).await;
    assert_eq!((status.state, codes(&status)), (ReportedState::Failed, vec!["gallery-region-failed"]));
    assert!(status.failures[0].reason.contains("1 of 2 regions; japaneast"), "{status:#?}");
    scene.region.assert_no_temporaries().await;
    for golden in scene.region.golden().await {
        scene.ports().resources.delete(&golden.id, None).await.unwrap();
    }
    scene.settings(&json!({}));
    scene.region.fleet.retry(&job).await;
    assert_succeeded(&scene.run(&job).await);
    scene.assert_published(&version("1.0.0"), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_gallery_fails_alone_and_a_retry_repairs_it() {
    let scene = Scene::new().await;
    let gallery = version("1.0.0").parent().unwrap().parent().unwrap();
    let body = scene.region.get(&gallery).await.unwrap().body;
    scene.ports().resources.delete(&gallery, None).await.unwrap();
    let (scene, job) = scene.requested("1.0.0").await;
    let status = scene.run(&job).await;
    assert_eq!(status.state, ReportedState::Failed);
    assert!(codes(&status).contains(&"gallery-missing"), "{status:#?}");
    assert_eq!(status.phases.of_kind("image").succeeded, 4);
    scene.region.assert_no_temporaries().await;
    let mode = goldfleet_ports::resources::PutMode::Create;
    let request = goldfleet_ports::resources::PutRequest { id: gallery, tenant: None, mode, body };
    scene.ports().resources.put(&request).await.unwrap();
    scene.region.fleet.retry(&job).await;
    assert_succeeded(&scene.run(&job).await);
    scene.assert_published(&version("1.0.0"), false).await;
    scene.assert_published(&version_in(2, "corp_us", "1.0.0"), false).await;
}

/// Two jobs of one version for different targets of a region: one uploads, and the other one copies its golden
/// snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_of_a_region_upload_once() {
    let scene = Scene::with(&process_fixture::targets(2, &["westeurope"])).await;
    scene.upload("1.0.0", false).await;
    let subscription = |n: u32| format!("subscription={}", goldfleet_model::ids::SubscriptionId::nth_for_tests(n));
    let first = scene.request_at("1.0.0", &subscription(1)).await.unwrap().job.id;
    let second = scene.request_at("1.0.0", &subscription(2)).await.unwrap().job.id;
    let calls = Faults::counting();
    let ports = with_faults(scene.ports(), &calls);
    // The job that is run first is the newer one, which may begin first.
    let (newer, older) =
        tokio::join!(scene.region.fleet.run(&ports, 1, &second), scene.region.fleet.run(&ports, 1, &first));
    assert_succeeded(&newer);
    assert_succeeded(&older);
    assert_eq!(calls.calls()["DiskPages.write"], 1, "one footer: {:?}", calls.calls());
    assert_eq!(scene.region.golden().await.len(), 1);
    scene.region.assert_no_temporaries().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_publishes_nothing_and_the_route_staging_says_so() {
    let scene = Scene::new().await;
    scene.upload("1.0.0", false).await;
    let job = scene.request_at("1.0.0", "region=eastus").await.unwrap().job.id;
    assert_succeeded(&scene.run(&job).await);
    assert!(scene.region.rows(&job).await.iter().all(|row| row.kind.as_str() != "publish"));

    let control = scene.region.fleet.control_with_own_ports();
    let terms = Terms { route: Some(goldfleet_config::UploadRoute::Staging), ..Terms::default() };
    let (image, number) = ("golden".parse().unwrap(), "1.0.0".parse().unwrap());
    let job = request_on(&control, &image, &number, &[], terms).await.unwrap().job.id;
    let status = scene.run(&job).await;
    assert_succeeded(&status);
    let finding = status.findings.iter().find(|finding| finding.code == UNSERVED).unwrap();
    assert!(
        !finding.failed && finding.message.contains("corp, corp_us; to publish it: goldfleet dispatch --route region")
    );
    assert!(scene.region.get(&version("1.0.0")).await.is_none());
}

/// Nothing is uploaded or planned for a gallery that cannot get the version.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_configuration_are_refused_before_the_first_call() {
    let toml = process_fixture::SOURCE.to_owned() + "[plan]\nroute = \"region\"\n";
    let without_hub = ONE.replace("westeurope", "brazilsouth");
    let fleet = InProcessFleet::with(&toml, &(without_hub + &stores()), &process_fixture::golden());
    let calls = Faults::counting();
    let control = fleet.control_with(with_faults(&fleet.ports, &calls));
    let (image, number) = ("golden".parse().unwrap(), "1.0.0".parse().unwrap());
    let error = request_on(&control, &image, &number, &[], Terms::default()).await.unwrap_err();
    let ControlError::NotCopied(refusals) = error else { panic!("{error}") };
    let found: Vec<_> = refusals.iter().map(|refusal| (refusal.code.as_str(), refusal.place.as_deref())).collect();
    assert_eq!(found, [("hub-missing", Some("brazilsouth"))]);
    assert!(calls.calls().is_empty(), "{:?}", calls.calls());
}
