//! Galleries receive versions beside targets, with the same bytes, and progress is shown per region.

use goldfleet_model::resource::ResourceType;
use serde_json::json;

use super::scene::{REGIONS, Scene};
use crate::platform::scene::assert_succeeded;

#[tokio::test(flavor = "multi_thread")]
async fn galleries_receive_the_bytes_of_the_source_beside_targets() {
    let scene = Scene::new().await;
    let (_, status) = scene.dispatch("1.0.0").await;
    assert_succeeded(&status);
    scene.assert_published("1.0.0").await;
    for target in scene.platform.targets() {
        let image = goldfleet_model::resource::ResourceId {
            name: format!("golden-1.0.0-{}", target.region).parse().unwrap(),
            ..scene.platform.received(&target, ResourceType::Image)
        };
        assert!(scene.platform.get(&image).await.is_some(), "{image}");
    }
    let version = scene.read(&Scene::version("1.0.0")).await;
    assert!(version.is_excluded());
    let regions: Vec<_> = version
        .regions()
        .iter()
        .map(|region| (region.name.as_str(), region.regional_replica_count, region.exclude_from_latest))
        .collect();
    assert_eq!(
        regions,
        [("westeurope", Some(1), Some(true)), ("eastus", Some(2), Some(true)), ("japaneast", Some(1), Some(true))]
    );
    let definition = scene.platform.get(&Scene::version("1.0.0").parent().unwrap()).await.unwrap();
    let definition = definition.body.properties.definition().unwrap().clone();
    assert_eq!(definition.feature("SecurityType"), Some("TrustedLaunch"));
    assert_eq!(definition.architecture.as_deref(), Some("x64"));
    let text: Vec<_> =
        status.remarks.iter().filter(|remark| remark.phase == "publish").map(|remark| &remark.text).collect();
    assert!(text.iter().any(|text| REGIONS.iter().all(|region| text.contains(&format!("{region} ready")))), "{text:?}");
}

/// A second dispatch of a published version does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn galleries_need_no_targets_and_are_published_once() {
    let scene = Scene::without_targets().await;
    assert_succeeded(&scene.dispatch("1.0.0").await.1);
    scene.assert_published("1.0.0").await;
    let (job, status) = scene.dispatch("1.0.0").await;
    assert_succeeded(&status);
    let rows = scene.platform.rows(&job).await;
    assert_eq!(rows.iter().map(|row| row.kind.to_string()).collect::<Vec<_>>(), ["publish", "publish"]);
    assert!(rows.iter().all(|row| row.state == goldfleet_model::operation::OperationState::Skipped), "{rows:#?}");
}

/// A region is not ready when the service reports its replication as complete, but when the version can be used there.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_ready_when_the_version_can_be_used_there() {
    let scene = Scene::without_targets().await;
    scene.settings(&json!({ "replication_seconds": 0.3, "usable_seconds": 2.0 }));
    let job = scene.request("1.0.0").await;
    let fleet = scene.platform.fleet.run(scene.platform.ports(), 2, &job);
    let id = Scene::version("1.0.0");
    let watched = async {
        let mut before = None;
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let Some(found) = scene.platform.get(&id).await else { continue };
            let publication = scene.publication(&id).await;
            let version = found.body.properties.gallery_version().unwrap();
            let complete =
                version.replication_status.as_ref().unwrap().summary.iter().all(|region| region.progress == 100);
            if complete && before.is_none() {
                before = Some(std::time::Instant::now());
            }
            if publication.not_ready().is_empty() {
                return before.unwrap().elapsed();
            }
        }
    };
    let (status, lag) = tokio::join!(fleet, watched);
    assert_succeeded(&status);
    assert!(lag.as_secs_f64() > 1.5, "ready {lag:?} after the replication was reported as complete");
    scene.assert_published("1.0.0").await;
}
