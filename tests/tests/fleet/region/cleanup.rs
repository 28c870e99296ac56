//! The removal of golden snapshots with a version.

use goldfleet_dispatcher::control::cleanup::{Mode, delete_version};
use goldfleet_dispatcher::control::region::cleanup::clean_hubs;
use goldfleet_ports::resource_locks::LockRequest;
use serde_json::{Value, json};

use super::scene::{Scene, assert_succeeded};

#[tokio::test(flavor = "multi_thread")]
async fn only_golden_snapshots_of_the_version_are_removed() {
    let (scene, job) = Scene::requested().await;
    let control = scene.fleet.control_with_own_ports();
    let (image, one, two) = ("golden".parse().unwrap(), "1".parse().unwrap(), "2".parse().unwrap());
    assert!(delete_version(&control, &image, &one).await.is_err(), "its job is open");
    assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
    scene.fleet.change_golden();
    scene.fleet.upload(scene.ports(), "2").await.unwrap();
    let job = scene.fleet.request("2").await;
    assert_succeeded(&scene.fleet.run(scene.ports(), 2, &job).await);
    assert_eq!(scene.golden().await.len(), 4);

    let dry = clean_hubs(&control, &image, &one, Mode::DryRun).await.unwrap();
    assert_eq!((dry.deleted.len(), scene.golden().await.len()), (2, 4));
    // A snapshot of another fleet, and one with a lock.
    let golden = scene.golden().await;
    let of_version =
        |version: &'static str| golden.iter().filter(move |found| found.body.tags["goldfleet-version"] == version);
    let (foreign, locked) = (of_version("1").next().unwrap(), of_version("2").next().unwrap());
    let path = scene.content(&foreign.id).with_extension("json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    value["tags"]["goldfleet-fleet"] = json!("00000000-0000-0000-0000-0000000000ff");
    std::fs::write(&path, value.to_string()).unwrap();
    let id = goldfleet_model::resource::LockId::new(locked.id.clone(), "keep").unwrap();
    let lock = LockRequest {
        id,
        tenant: None,
        level: goldfleet_model::resource::LockLevel::CanNotDelete,
        notes: String::new(),
    };
    scene.ports().locks.put_lock(&lock).await.unwrap();

    let done = clean_hubs(&control, &image, &one, Mode::Delete).await.unwrap();
    assert_eq!((done.deleted.len(), done.failed.len()), (1, 0), "{done:?}");
    let done = clean_hubs(&control, &image, &two, Mode::Delete).await.unwrap();
    assert_eq!((done.deleted.len(), done.failed[0].code.as_str()), (1, "scope-locked"), "{done:?}");
    let mut left: Vec<String> = scene.golden().await.into_iter().map(|found| found.id.to_string()).collect();
    left.sort();
    let mut expected = [foreign.id.to_string(), locked.id.to_string()];
    expected.sort();
    assert_eq!(left, expected);
}
