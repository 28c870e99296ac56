//! Regions that fail, and regions that others remove or add.

use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_kinds::publish::record;
use goldfleet_model::resource::TargetRegion;
use serde_json::json;

use super::scene::{REGIONS, Scene, at_once};
use crate::platform::scene::assert_succeeded;

/// The others are ready, and a retry handles only the failed one.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_region_is_named_and_retried_alone() {
    let scene = Scene::without_targets().await;
    scene.settings(&json!({ "failing_regions": ["japaneast"] }));
    let (job, status) = scene.dispatch("1.0.0").await;
    assert_eq!(status.state, ReportedState::Failed);
    let [failure] = &status.failures[..] else { panic!("{status:#?}") };
    assert_eq!(failure.code, "gallery-region-failed");
    assert!(failure.reason.contains("2 of 3 regions; japaneast:"), "{}", failure.reason);
    let id = Scene::version("1.0.0");
    let publication = scene.publication(&id).await;
    assert_eq!(publication.not_ready(), ["japaneast"]);
    scene.platform.assert_no_temporaries().await;
    let created = scene.read(&id).await.publishing_profile.unwrap().other["publishedDate"].clone();
    scene.settings(&at_once());
    scene.platform.fleet.retry(&job).await;
    assert_succeeded(&scene.platform.fleet.run(scene.platform.ports(), 2, &job).await);
    scene.assert_published("1.0.0").await;
    let after = scene.read(&id).await.publishing_profile.unwrap().other["publishedDate"].clone();
    assert_eq!(created, after, "the version is not created again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_of_the_reconciler_adds_removed_regions_and_keeps_foreign_ones() {
    let scene = Scene::without_targets().await;
    assert_succeeded(&scene.dispatch("1.0.0").await.1);
    let id = Scene::version("1.0.0");
    scene.remove_region(&id, "japaneast").await;
    let foreign = TargetRegion { name: "Brazil South".to_owned(), ..TargetRegion::default() };
    scene.change(&id, |version| version.publishing_profile.as_mut().unwrap().target_regions.push(foreign)).await;
    scene.sweep().await;
    let mut regions = scene.regions(&id).await;
    regions.sort();
    assert_eq!(regions, ["Brazil South", "eastus", "japaneast", "westeurope"]);
    assert_eq!(scene.publication(&id).await.not_ready(), ["japaneast"], "it must become ready again");
    // A disk is created in one pass, and judged in the next one.
    for _ in 0..3 {
        scene.sweep().await;
    }
    assert_eq!(scene.publication(&id).await.not_ready(), Vec::<String>::new());
    assert_eq!(scene.regions(&id).await.len(), REGIONS.len() + 1);
    scene.platform.assert_no_temporaries().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_version_is_not_created_by_a_pass_and_its_record_is_removed() {
    let scene = Scene::without_targets().await;
    assert_succeeded(&scene.dispatch("1.0.0").await.1);
    let id = Scene::version("1.0.0");
    scene.platform.ports().resources.delete(&id, None).await.unwrap();
    scene.sweep().await;
    assert!(scene.platform.get(&id).await.is_none());
    assert!(scene.publication(&id).await.gone);
    // Its job has ended, so nothing needs the record any more.
    scene.sweep().await;
    assert!(record::read(scene.platform.ports(), &id).await.unwrap().is_none());
    assert_succeeded(&scene.dispatch("1.0.0").await.1);
    scene.assert_published("1.0.0").await;
}
