//! The latest version: only a ready and verified version becomes it, and an earlier one only on request.

use goldfleet_dispatcher::control::galleries::promote::{PromoteError, Promotion};
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use serde_json::json;

use super::scene::{REGIONS, Scene};
use crate::platform::scene::assert_succeeded;

fn codes(result: Result<Promotion, PromoteError>) -> Vec<String> {
    match result {
        Err(PromoteError::NotReady(findings)) => findings.into_iter().map(|finding| finding.code).collect(),
        other => panic!("{other:?}"),
    }
}

async fn published(scene: &Scene, version: &str) {
    let (job, status) = scene.dispatch(version).await;
    assert_succeeded(&status);
    let report = scene.verify(&job).await;
    assert!(report.faults.is_empty() && report.others >= 2, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_promoted_when_it_is_ready_and_verified() {
    let scene = Scene::without_targets().await;
    assert_eq!(codes(scene.promote("1.0.9", false).await), ["not-published", "not-published"]);
    let (job, status) = scene.dispatch("1.0.9").await;
    assert_succeeded(&status);
    assert_eq!(codes(scene.promote("1.0.9", false).await), ["not-verified"]);
    scene.verify(&job).await;
    for region in REGIONS {
        assert_eq!(scene.latest(&["1.0.9"], region).await, None);
    }
    let promoted = scene.promote("1.0.9", false).await.unwrap();
    assert_eq!(promoted.galleries.len(), 2);
    assert!(promoted.galleries.iter().all(|gallery| gallery.before.is_none() && !gallery.unchanged));
    for region in REGIONS {
        assert_eq!(scene.latest(&["1.0.9"], region).await.as_deref(), Some("1.0.9"));
    }
    let again = scene.promote("1.0.9", false).await.unwrap();
    assert!(again.galleries.iter().all(|gallery| gallery.unchanged));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_compared_as_numbers() {
    let scene = Scene::without_targets().await;
    for version in ["1.0.9", "1.0.10"] {
        published(&scene, version).await;
    }
    let (all, region) = (["1.0.9", "1.0.10"], "eastus");
    scene.promote("1.0.10", false).await.unwrap();
    let refused = scene.promote("1.0.9", false).await.unwrap_err();
    assert!(refused.to_string().contains("latest-backwards"), "{refused}");
    assert_eq!(scene.latest(&all, region).await.as_deref(), Some("1.0.10"));
    let promoted = scene.promote("1.0.9", true).await.unwrap();
    assert_eq!(promoted.galleries[0].before.as_deref(), Some("1.0.10"));
    assert_eq!(scene.latest(&all, region).await.as_deref(), Some("1.0.9"));
    // The reconciler keeps what was promoted.
    scene.sweep().await;
    assert_eq!(scene.latest(&all, region).await.as_deref(), Some("1.0.9"));
    let forwards = scene.promote("1.0.10", false).await.unwrap();
    assert_eq!(forwards.galleries[0].before.as_deref(), Some("1.0.9"));
    assert_eq!(scene.latest(&all, region).await.as_deref(), Some("1.0.10"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_not_ready_prevents_a_promotion() {
    let scene = Scene::without_targets().await;
    published(&scene, "1.0.0").await;
    scene.remove_region(&Scene::version("1.0.0"), "eastus").await;
    assert_eq!(codes(scene.promote("1.0.0", false).await), ["not-ready"]);
    assert_eq!(scene.latest(&["1.0.0"], "westeurope").await, None);
}

/// Readers of a region that was removed get the version before until the region is ready again.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_added_again_is_not_the_latest_before_it_is_ready() {
    let scene = Scene::without_targets().await;
    for version in ["1.0.0", "1.0.1"] {
        published(&scene, version).await;
        scene.promote(version, false).await.unwrap();
    }
    let (id, all) = (Scene::version("1.0.1"), ["1.0.0", "1.0.1"]);
    scene.settings(&json!({ "usable_seconds": 0.5 }));
    scene.remove_region(&id, "eastus").await;
    scene.sweep().await;
    assert!(scene.regions(&id).await.contains(&"eastus".to_owned()));
    assert_eq!(scene.latest(&all, "eastus").await.as_deref(), Some("1.0.0"));
    assert_eq!(scene.latest(&all, "japaneast").await.as_deref(), Some("1.0.1"));
    for _ in 0..40 {
        scene.sweep().await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(scene.latest(&all, "eastus").await.as_deref(), Some("1.0.1"));
}

/// A promotion that is killed at any call converges: the reconciler finishes it, or the same command.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_promotion_converges() {
    let scene = Scene::without_targets().await;
    for n in 0..8 {
        let version = format!("1.0.{n}");
        published(&scene, &version).await;
        let (call, nth) = [
            ("ResourceService.put", 0),
            ("ResourceService.put", 1),
            ("ResourceService.get", 3),
            ("ResourceService.get", 5),
        ][n % 4];
        let faults = Faults::failing_at(call, nth, LostPart::Caller);
        let request = goldfleet_dispatcher::control::galleries::promote::PromoteRequest {
            image: "golden".parse().unwrap(),
            version: version.parse().unwrap(),
            backwards: false,
        };
        let control = scene.platform.fleet.control_with(with_faults(scene.platform.ports(), &faults));
        tokio::select! {
            promoted = goldfleet_dispatcher::control::galleries::promote::promote(&control, &request) => panic!("{promoted:?}"),
            () = faults.reached() => {}
        }
        if n % 2 == 0 {
            scene.promote(&version, false).await.unwrap();
        } else {
            // Nothing was promoted if the command was killed before it recorded anything.
            let recorded = scene.publication(&Scene::version_in(2, "corp_us", &version)).await.promoted.is_some();
            scene.sweep().await;
            let version_of = |subscription, gallery: &str| Scene::version_in(subscription, gallery, &version);
            for id in [version_of(1, "corp"), version_of(2, "corp_us")] {
                assert_eq!(scene.read(&id).await.is_excluded(), !recorded, "{id}");
            }
        }
    }
}
