//! What is refused before the first change.

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::doctor::probe::questions::{Answer, IMAGE_OUTLIVES_SNAPSHOT, Measurement};
use goldfleet_dispatcher::control::doctor::probe::record::{ProbeResult, store};
use goldfleet_dispatcher::control::platform::request::refuse_dispatched;
use goldfleet_dispatcher::control::request::{Terms, request_job};
use goldfleet_model::resource::ResourceType;
use goldfleet_snapshots::tags;
use serde_json::json;

use super::scene::{Scene, assert_succeeded, id};

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_are_no_image_after_a_copy_are_refused() {
    let scene = Scene::new().await;
    let source = scene.snapshot("golden", true).await;
    assert_eq!(scene.refusal(&id(1, "build", ResourceType::Snapshot, "other")).await, "source-not-found");
    for (pointer, value, code) in [
        ("encryptionSettingsCollection", json!({ "enabled": true }), "ade-encrypted"),
        ("securityProfile", json!({ "securityType": "ConfidentialVM_DiskEncryptedWithCustomerKey" }), "confidential"),
        ("maxShares", json!(2), "shared-disk"),
        ("completionPercent", json!(40.0), "not-hydrated"),
        ("hyperVGeneration", json!(null), "generation-unknown"),
        ("osType", json!(null), "os-unknown"),
        ("encryption", json!({ "diskEncryptionSetId": "/subscriptions/x/des" }), "encryption-set-missing"),
    ] {
        let mut before = json!(null);
        scene.edit(&source, |snapshot| before = std::mem::replace(&mut snapshot["properties"][pointer], value));
        let refused = scene.refusal(&source).await;
        assert!(refused.split(' ').all(|each| each == code), "{pointer}: {refused}");
        scene.edit(&source, |snapshot| snapshot["properties"][pointer] = before);
    }
    assert_eq!(scene.ports().table.jobs().await.unwrap().len(), 0);
    // Its export is denied, and the platform needs no SAS.
    assert_succeeded(&scene.dispatch(&source).await.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_the_platform_cannot_copy_to_are_refused() {
    let scene = Scene::with("tenant = \"contoso.com\"").await;
    let source = scene.snapshot("golden", true).await;
    let refused = scene.refusal(&source).await;
    assert!(refused.contains("other-tenant"), "{refused}");
    let set = "/subscriptions/00000000-0000-0000-0000-000000000009/resourceGroups/k/providers/Microsoft.Compute/\
               diskEncryptionSets/keys";
    let scene = Scene::with(&format!("disk_encryption_set = \"{set}\"")).await;
    let source = scene.snapshot("golden", true).await;
    assert!(scene.refusal(&source).await.contains("des-elsewhere"));
    scene.assert_no_temporaries().await;
}

/// What a probe found not to work is refused before the first call, in the region of the probe. What it did not measure
/// is left to the service.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_probe_found_not_to_work_is_refused() {
    let scene = Scene::new().await;
    let source = scene.snapshot("golden", true).await;
    let probed = async |region: &str, answer: Answer| {
        let result = ProbeResult {
            places: vec![format!("00000000-0000-0000-0000-000000000007/{region}/probe")],
            at: scene.ports().clock.now(),
            measurements: vec![Measurement { id: IMAGE_OUTLIVES_SNAPSHOT.to_owned(), answer, detail: String::new() }],
        };
        store(scene.ports().records.as_ref(), &result).await.unwrap();
    };
    probed("japaneast", Answer::No).await;
    probed("eastus", Answer::Unmeasured).await;
    assert_succeeded(&scene.dispatch(&source).await.1);
    probed("eastus", Answer::No).await;
    let refused = scene.try_request_version(&source, "2", Terms::default()).await.unwrap_err();
    let ControlError::NotCopied(findings) = refused else { panic!("{refused}") };
    let eastus = scene.targets().iter().filter(|target| target.region.as_str() == "eastus").count();
    assert_eq!(findings.len(), eastus, "{findings:?}");
    assert!(findings.iter().all(|found| found.code == "not-supported-here"), "{findings:?}");
    assert!(findings[0].message.contains("not usable after its snapshot is deleted"), "{findings:?}");
    probed("eastus", Answer::Yes).await;
    scene.try_request_version(&source, "2", Terms::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_has_one_content() {
    let scene = Scene::new().await;
    let (one, other) = (scene.snapshot("one", true).await, scene.snapshot("other", true).await);
    assert_succeeded(&scene.dispatch(&one).await.1);
    assert_eq!(scene.refusal(&other).await, "version-exists");
    let control = scene.fleet.control_with_own_ports();
    let (image, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let refused = refuse_dispatched(&control.ports, &image, &version).await.unwrap_err();
    assert!(refused.to_string().contains("a version has one content"), "{refused}");
    scene.fleet.upload(scene.ports(), "2").await.unwrap();
    let refused = scene.try_request_version(&one, "2", Terms::default()).await.unwrap_err();
    assert!(matches!(refused, ControlError::Source(refusal) if refusal.code.name == "version-exists"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_version_is_not_dispatched_to_targets_with_other_sinks() {
    let scene = Scene::with("sinks = [\"snapshot\"]").await;
    scene.fleet.upload(scene.ports(), "1").await.unwrap();
    let control = scene.fleet.control_with_own_ports();
    let (image, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let refused = request_job(&control, &image, &version, &[], false).await.unwrap_err();
    assert!(refused.to_string().contains("dispatch --from"), "{refused}");
}

/// A resource with the name of what a target receives, and without the tags of this fleet.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_snapshots_and_disks_are_not_changed() {
    let scene = Scene::with("sinks = [\"snapshot\", \"disk\"]").await;
    let source = scene.snapshot("golden", true).await;
    assert_succeeded(&scene.dispatch(&source).await.1);
    let target = &scene.targets()[0];
    for resource_type in [ResourceType::Snapshot, ResourceType::Disk] {
        let theirs = scene.received(target, resource_type);
        scene.edit(&theirs, |found| drop(found["tags"].as_object_mut().unwrap().remove(tags::ROLE)));
        let before = scene.get(&theirs).await;
        let (job, status) = scene.dispatch(&source).await;
        let codes: Vec<&str> = status.failures.iter().map(|failure| failure.code.as_str()).collect();
        assert_eq!(codes, ["sink-foreign"]);
        assert_eq!(scene.get(&theirs).await, before);
        scene.assert_no_temporaries().await;
        scene.ports().resources.delete(&theirs, None).await.unwrap();
        assert!(scene.fleet.retry(&job).await > 0);
        assert_succeeded(&scene.fleet.run(scene.ports(), 1, &job).await);
    }
    scene.assert_received(&source, &[ResourceType::Snapshot, ResourceType::Disk]).await;
}
