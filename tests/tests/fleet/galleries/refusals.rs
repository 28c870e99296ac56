//! What is refused before the first change.

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::fan_out::fan_out;
use goldfleet_dispatcher::control::request::Terms;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    DefinitionProperties, GalleryIdentifier, GalleryVersionProperties, Properties, PublishingProfile, ResourceBody,
    TargetRegion, VersionDisk, VersionSource, VersionStorage,
};

use goldfleet_ports::resources::{PutMode, PutRequest};
use serde_json::json;

use super::scene::Scene;
use crate::platform::scene::assert_succeeded;

async fn refusal(scene: &Scene, version: &str) -> (String, String) {
    match scene.platform.try_request_version(&scene.source, version, Terms::default()).await.unwrap_err() {
        ControlError::NotCopied(findings) => (findings[0].code.clone(), findings[0].message.clone()),
        other => panic!("{other}"),
    }
}

fn definition() -> DefinitionProperties {
    DefinitionProperties {
        os_type: Some(OsType::Windows),
        os_state: Some("Generalized".to_owned()),
        hyper_v_generation: Some(Generation::V2),
        identifier: Some(GalleryIdentifier { publisher: "a".into(), offer: "b".into(), sku: "c".into() }),
        ..DefinitionProperties::default()
    }
}

async fn put(scene: &Scene, id: &goldfleet_model::resource::ResourceId, properties: Properties) {
    scene.platform.put(id, ResourceBody::new("westeurope".parse().unwrap(), properties)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_version_is_three_numbers() {
    let scene = Scene::new().await;
    for version in ["2026.11", "1.0.0-rc1", "1"] {
        assert_eq!(refusal(&scene, version).await.0, "gallery-version-name", "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_differs_is_named_with_the_property() {
    let scene = Scene::new().await;
    let id = Scene::version("1.0.0").parent().unwrap();
    put(&scene, &id, Properties::Definition(Box::new(definition()))).await;
    let (code, message) = refusal(&scene, "1.0.0").await;
    assert_eq!(code, "definition-differs");
    assert!(message.contains("another osType"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_definition_is_created_on_request_only() {
    let scene = Scene::new().await;
    let path = &scene.platform.fleet.config.targets.file;
    let targets = std::fs::read_to_string(path).unwrap().replace("create_definition = true\n", "");
    std::fs::write(path, targets).unwrap();
    assert_eq!(refusal(&scene, "1.0.0").await.0, "definition-missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_others_is_never_changed() {
    let scene = Scene::new().await;
    let id = Scene::version("1.0.0");
    let linux = DefinitionProperties {
        os_type: Some(OsType::Linux),
        architecture: Some("x64".to_owned()),
        identifier: Some(GalleryIdentifier {
            publisher: "goldfleet".into(),
            offer: "golden".into(),
            sku: "golden".into(),
        }),
        features: vec![
            serde_json::from_value(serde_json::json!({ "name": "SecurityType", "value": "TrustedLaunch" })).unwrap(),
        ],
        ..definition()
    };
    put(&scene, &id.parent().unwrap(), Properties::Definition(Box::new(linux))).await;
    let region = TargetRegion { name: "westeurope".to_owned(), ..TargetRegion::default() };
    let disk = VersionDisk { source: Some(VersionSource::of(&scene.source)), ..VersionDisk::default() };
    let foreign = GalleryVersionProperties {
        publishing_profile: Some(PublishingProfile { target_regions: vec![region], ..PublishingProfile::default() }),
        storage_profile: Some(VersionStorage { os_disk_image: Some(disk), ..VersionStorage::default() }),
        ..GalleryVersionProperties::default()
    };
    put(&scene, &id, Properties::GalleryVersion(Box::new(foreign))).await;
    let before = scene.platform.get(&id).await;
    let (code, message) = refusal(&scene, "1.0.0").await;
    assert_eq!(code, "gallery-version-foreign", "{message}");
    scene.sweep().await;
    assert_eq!(scene.platform.get(&id).await, before);
}

/// A gallery that keeps deleted versions: the name is refused when the job is requested, and by the step if the version
/// was deleted later.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_deleted_version_that_the_gallery_keeps_is_refused() {
    let scene = Scene::without_targets().await;
    assert_succeeded(&scene.dispatch("1.0.0").await.1);
    let gallery = Scene::gallery(1, "corp");
    let mut body = scene.platform.get(&gallery).await.unwrap().body;
    let policy = json!({ "softDeletePolicy": { "isSoftDeleteEnabled": true } });
    body.properties = Properties::Gallery(serde_json::from_value(policy).unwrap());
    let request = PutRequest { id: gallery, tenant: None, mode: PutMode::CreateOrUpdate, body };
    scene.platform.ports().resources.put(&request).await.unwrap();
    scene.platform.ports().resources.delete(&Scene::version("1.0.0"), None).await.unwrap();
    let refused = scene.platform.try_request_version(&scene.source, "1.0.0", Terms::default()).await.unwrap_err();
    assert!(refused.to_string().contains("version-soft-deleted"), "{refused}");

    let job = scene.request("1.0.1").await;
    fan_out(&scene.control(), &job).await.unwrap();
    let id = Scene::version("1.0.1");
    let path = scene.platform.fleet.cloud().join(format!(
        "subscriptions/{}/resourceGroups/{}/{}.deleted",
        id.subscription,
        id.resource_group,
        id.path()
    ));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "{}").unwrap();
    let status = scene.platform.fleet.run(scene.platform.ports(), 1, &job).await;
    assert_eq!(status.failures[0].code, "version-soft-deleted", "{status:#?}");
    std::fs::remove_file(&path).unwrap();
    scene.platform.fleet.retry(&job).await;
    assert_succeeded(&scene.platform.fleet.run(scene.platform.ports(), 1, &job).await);
}
