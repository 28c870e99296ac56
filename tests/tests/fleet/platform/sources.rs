//! Images, gallery versions and machines that reach targets, with all their disks.

use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::fan_out::fan_out;
use goldfleet_dispatcher::control::orphans::{OrphanOptions, OrphanResult, orphans};
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::operation::OperationState;
use goldfleet_model::resource::{ResourceBody, ResourceType};
use goldfleet_ports::resources::MachineAction;
use goldfleet_tests::process_fixture;
use serde_json::json;

use super::scene::{HOME, Scene, assert_succeeded};

const IMAGES: [ResourceType; 1] = [ResourceType::Image];
const ALL: [ResourceType; 3] = [ResourceType::Image, ResourceType::Snapshot, ResourceType::Disk];

/// A scene with one target in each region, which receives these.
pub(super) async fn small(sinks: &str) -> Scene {
    let targets = process_fixture::targets(1, &["westeurope", "eastus"])
        .replace("container = \"vhds\"\n", &format!("container = \"vhds\"\nsinks = {sinks}\n"));
    Scene::with_targets(&targets).await
}

/// The snapshots from which the image was created do not exist any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_source_is_gone_reaches_all_targets_with_its_data_disk() {
    let scene = Scene::new().await;
    let (image, contents) = scene.image().await;
    let before = scene.get(&image).await;
    let job = scene.try_request_from(&format!("image:{image}")).await.unwrap();
    let status = scene.fleet.run(scene.ports(), 2, &job).await;
    assert_succeeded(&status);
    scene.assert_received_disks(&contents, &IMAGES).await;
    assert_eq!(scene.get(&image).await, before);
    // A second dispatch of the same image finds an ended job, and replaces what the version has.
    let again = scene.try_request_from(&format!("image:{image}")).await.unwrap();
    assert_succeeded(&scene.fleet.run(scene.ports(), 2, &again).await);
    scene.assert_received_disks(&contents, &IMAGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_own_shared_and_community_galleries_reach_all_targets() {
    for (permissions, security) in [("Private", "TrustedLaunch"), ("Groups", "Standard"), ("Community", "Standard")] {
        let scene = small(r#"["image", "snapshot", "disk"]"#).await;
        let (version, contents) = scene.version(permissions, security).await;
        let shared =
            |galleries: &str, name: String| format!("gallery:/{galleries}/{name}/Images/ubuntu/Versions/1.0.0");
        let subscription = version.subscription;
        let from = match permissions {
            "Groups" => shared("SharedGalleries", format!("{subscription}-THEIRS")),
            "Community" => shared("CommunityGalleries", format!("theirs-{subscription}")),
            _ => format!("gallery:{version}"),
        };
        if permissions != "Private" {
            // Nothing is known about a version that others share before a disk of it exists.
            assert_eq!(scene.refusal_of(&from).await, "os-unknown");
            let system = (Some(OsType::Linux), Some(Generation::V2));
            let job = scene.try_request_system(&from, system).await.unwrap();
            assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
            let row = scene.ports().table.job(&job).await.unwrap().unwrap().value;
            assert_eq!(row.findings[0].code, "data-disks-unknown");
            for target in scene.targets() {
                for received in ALL.map(|kind| scene.received(&target, kind)) {
                    assert_eq!(scene.bytes(&received), contents[0], "{received}");
                }
            }
            scene.assert_no_temporaries().await;
            continue;
        }
        let job = scene.try_request_from(&from).await.unwrap();
        assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
        scene.assert_received_disks(&contents, &ALL).await;
        let disk = scene.get(&scene.received(&scene.targets()[0], ResourceType::Snapshot)).await.unwrap();
        assert_eq!(disk.body.properties.disk().unwrap().other["securityProfile"]["securityType"], "TrustedLaunch");
        // The version does not change, so nothing is left to do.
        let again = scene.try_request_from(&from).await.unwrap();
        assert_succeeded(&scene.fleet.run(scene.ports(), 1, &again).await);
        assert!(scene.rows(&again).await.iter().all(|row| row.state == OperationState::Skipped));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_disks_of_a_stopped_machine_reach_all_targets() {
    let scene = small(r#"["image", "snapshot", "disk"]"#).await;
    let (machine, contents) = scene.machine().await;
    scene.ports().resources.act(&machine, MachineAction::Start, None).await.unwrap();
    assert_eq!(scene.refusal_of(&format!("vm:{machine}")).await, "machine-running");
    scene.ports().resources.act(&machine, MachineAction::Deallocate, None).await.unwrap();
    let job = scene.try_request_from(&format!("vm:{machine}")).await.unwrap();
    let status = scene.fleet.run(scene.ports(), 2, &job).await;
    assert_succeeded(&status);
    scene.assert_received_disks(&contents, &ALL).await;
}

/// The disks are from one moment, or nothing is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_started_meanwhile_fails_the_job() {
    let scene = small(r#"["image"]"#).await;
    let (machine, _) = scene.machine().await;
    let job = scene.try_request_from(&format!("vm:{machine}")).await.unwrap();
    // The fan-out reads the machine again, so it is started after that.
    fan_out(&scene.fleet.control_with_own_ports(), &job).await.unwrap();
    scene.ports().resources.act(&machine, MachineAction::Start, None).await.unwrap();
    let status = scene.fleet.run(scene.ports(), 1, &job).await;
    assert_eq!(status.state, ReportedState::Failed);
    let codes: Vec<&str> = status.failures.iter().map(|failure| failure.code.as_str()).collect();
    assert!(codes.contains(&"machine-running"), "{codes:?}");
    assert!(scene.get(&scene.received(&scene.targets()[0], ResourceType::Image)).await.is_none());
    scene.assert_no_temporaries().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_versions_that_cannot_be_sources_are_refused() {
    let scene = small(r#"["image"]"#).await;
    let (image, _) = scene.image().await;
    let from = format!("image:{image}");
    assert_eq!(scene.refusal_of(&from.replace("/theirs", "/others")).await, "source-not-found");
    scene.edit(&image, |image| image["properties"]["storageProfile"]["osDisk"]["osState"] = json!("Specialized"));
    assert_eq!(scene.refusal_of(&from).await, "specialized");
    scene.edit(&image, |image| image["properties"]["provisioningState"] = json!("Failed"));
    scene.edit(&image, |image| image["properties"]["storageProfile"]["osDisk"]["osState"] = json!("Generalized"));
    assert_eq!(scene.refusal_of(&from).await, "not-hydrated");

    let scene = small(r#"["image"]"#).await;
    let (version, _) = scene.version("Private", "ConfidentialVM").await;
    assert_eq!(scene.refusal_of(&format!("gallery:{version}")).await, "confidential");
    assert_eq!(scene.refusal_of(&format!("gallery:{version}1")).await, "source-not-found");
    assert_eq!(scene.ports().table.jobs().await.unwrap().len(), 0);
    scene.assert_no_temporaries().await;
}

/// An image that is created again under its name after the plan has other content.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_replaced_is_not_copied() {
    let scene = small(r#"["image"]"#).await;
    let (image, _) = scene.image().await;
    let job = scene.try_request_from(&format!("image:{image}")).await.unwrap();
    fan_out(&scene.fleet.control_with_own_ports(), &job).await.unwrap();
    scene.edit(&image, |image| image["properties"]["storageProfile"]["osDisk"]["snapshot"]["id"] = json!("/other"));
    let status = scene.fleet.run(scene.ports(), 1, &job).await;
    let codes: Vec<&str> = status.failures.iter().map(|failure| failure.code.as_str()).collect();
    assert!(codes.contains(&"source-changed"), "{status:#?}");
    scene.assert_no_temporaries().await;
}

/// A cancelled job removes what it created. What a job without rows has left behind is an orphan.
#[tokio::test(flavor = "multi_thread")]
async fn temporary_galleries_are_removed_after_a_cancel_and_as_orphans() {
    let scene = small(r#"["image"]"#).await;
    let (image, contents) = scene.image().await;
    let job = scene.try_request_from(&format!("image:{image}")).await.unwrap();
    fan_out(&scene.fleet.control_with_own_ports(), &job).await.unwrap();
    let gallery = scene.rows(&job).await.into_iter().find(|row| row.id.step() == "gallery").unwrap();
    let id = gallery.spec.data["id"].as_str().unwrap().parse().unwrap();
    let body = ResourceBody::from_json(ResourceType::Gallery, gallery.spec.data["body"].clone());
    scene.put(&id, body.unwrap()).await;
    cancel(&scene.fleet.control_with_own_ports().jobs, &job).await.unwrap();
    let status = scene.fleet.run(scene.ports(), 1, &job).await;
    assert_eq!(status.state, ReportedState::Cancelled);
    scene.assert_no_temporaries().await;

    let old = "20200101-000000-0000";
    let job = scene.try_request_from(&format!("image:{image}")).await.unwrap();
    assert_succeeded(&scene.fleet.run(scene.ports(), 1, &job).await);
    scene.assert_received_disks(&contents, &IMAGES).await;
    let mut left = gallery.spec.data["body"].clone();
    left["tags"]["goldfleet-job"] = json!(old);
    let body = ResourceBody::from_json(ResourceType::Gallery, left.clone()).unwrap();
    scene.put(&id, body).await;
    let definition = id.child(ResourceType::Definition, &"image".parse().unwrap());
    let properties = json!({
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2",
        "identifier": { "publisher": "p", "offer": "o", "sku": "s" },
    });
    let value = json!({ "location": HOME.1, "tags": left["tags"], "properties": properties });
    scene.put(&definition, ResourceBody::from_json(ResourceType::Definition, value).unwrap()).await;
    let control = scene.fleet.control_with_own_ports();
    let options = OrphanOptions { delete: true, ended: Some(old.parse().unwrap()) };
    let report = orphans(&control, &options).await.unwrap();
    let results: Vec<_> = report.temporaries.iter().map(|found| found.result).collect();
    assert_eq!(results, [OrphanResult::Deleted, OrphanResult::Deleted], "{report:?}");
    scene.assert_no_temporaries().await;
}
