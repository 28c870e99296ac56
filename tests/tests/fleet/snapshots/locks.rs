//! Locks: the sync puts and deletes its own, and respects all others.

use std::path::PathBuf;

use goldfleet_model::resource::{Lock, LockId, LockLevel};
use goldfleet_ports::error::ErrorKind;
use goldfleet_ports::resource_locks::LockRequest;

use goldfleet_config::Sync;

use super::commands;
use super::directory::Scene;
use super::scene::assert_succeeded;

/// A scene with locked replicas of two snapshots.
async fn locked() -> Scene {
    let mut scene = Scene::to(1);
    scene.sync.rules.lock = true;
    scene.family("one", &["a1", "a2"]).await;
    let (_, status) = scene.run().await;
    assert_succeeded(&status);
    scene
}

async fn locks(scene: &Scene, name: &str) -> Vec<Lock> {
    scene.sync.ports.locks.locks(&scene.sync.replica(0, name), None).await.unwrap()
}

/// Deletes the source of a replica, and plans the run that removes the replica.
async fn plan_removal(scene: &mut Scene) -> super::scene::Planned {
    scene.sync.delete(&scene.sync.source("a2")).await;
    scene.plan().await;
    scene.plan().await
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_locked_and_their_own_lock_is_lifted() {
    let mut scene = locked().await;
    let replica = scene.sync.replica(0, "a2");
    let found = locks(&scene, "a2").await;
    assert_eq!(found.iter().map(|lock| lock.name.as_str()).collect::<Vec<_>>(), ["goldfleet-ctx"]);
    assert!(found[0].is_of("ctx", &replica));
    let refused = scene.sync.ports.resources.delete(&replica, None).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Locked);

    let planned = plan_removal(&mut scene).await;
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await);
    assert_eq!(scene.sync.get(&replica).await, None);
    assert_eq!(locks(&scene, "a1").await.len(), 1, "the other replica stays locked");

    // A replica that is replaced is unlocked, deleted and locked.
    scene.recreate("a1", "one").await;
    for _ in 0..2 {
        assert_succeeded(&scene.run().await.1);
    }
    assert_eq!(locks(&scene, "a1").await.len(), 1);
    scene.assert_in_sync().await;
}

/// `lock = true` that is set later applies to the replicas that exist and are proven to be ours, and to nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn locks_that_are_set_later_are_put_on_existing_replicas() {
    let mut scene = Scene::to(1);
    let before = commands::sync(&scene);
    let control = commands::control(&scene, &before);
    scene.family("one", &["a1", "a2"]).await;
    scene.family("two", &["b1"]).await;
    assert_succeeded(&commands::run(&scene, &control, &before).await);
    let foreign = scene.foreign("other").await;
    // The replica of a source that the service does not confirm is not proven to be ours.
    let doubtful = scene.properties(&scene.sync.replica(0, "b1"));
    Scene::edit(&doubtful, |value| drop(value["properties"]["creationData"]["sourceUniqueId"].take()));
    let locked = Sync { lock: true, ..before };
    let first = commands::run(&scene, &control, &locked).await;
    assert_succeeded(&first);
    assert_eq!(first.phases.of_kind("lock").succeeded, 2, "{first:#?}");
    for name in ["a1", "a2"] {
        let replica = scene.sync.replica(0, name);
        let found = locks(&scene, name).await;
        assert!(found.len() == 1 && found[0].is_of("Citrix", &replica), "{found:?}");
    }
    assert_eq!(locks(&scene, "b1").await, []);
    assert_eq!(scene.sync.ports.locks.locks(&foreign, None).await.unwrap(), []);
    // The next run has nothing to lock.
    let next = commands::run(&scene, &control, &locked).await;
    assert_eq!((next.phases.of_kind("lock").total, next.findings.len()), (0, 0), "{next:#?}");
    // A sync without locks reads none.
    scene.sync.ports.locks.delete_lock(&lock_of(&scene, "a1"), None).await.unwrap();
    let repaired = commands::run(&scene, &control, &locked).await;
    assert_eq!(repaired.phases.of_kind("lock").succeeded, 1, "{repaired:#?}");
}

fn lock_of(scene: &Scene, name: &str) -> LockId {
    LockId::new(scene.sync.replica(0, name), &Lock::name_of("Citrix")).unwrap()
}

/// A foreign lock, inherited or not, keeps the replica, and also keeps the lock of the sync.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_lock_is_respected() {
    for inherited in [true, false] {
        let mut scene = locked().await;
        let replica = scene.sync.replica(0, "a2");
        if inherited {
            let group = scene.content(&replica).ancestors().nth(2).map(PathBuf::from).unwrap();
            std::fs::create_dir_all(group.join("locks")).unwrap();
            std::fs::write(group.join("locks/keep.json"), r#"{"properties": {"level": "CanNotDelete"}}"#).unwrap();
        } else {
            let id = LockId::new(replica.clone(), "keep").unwrap();
            let level = LockLevel::CanNotDelete;
            let request = LockRequest { id, tenant: None, level, notes: String::new() };
            scene.sync.ports.locks.put_lock(&request).await.unwrap();
        }
        let planned = plan_removal(&mut scene).await;
        scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await;
        let failures = scene.sync.failures(&planned.job).await;
        assert_eq!(failures, [("remove".to_owned(), "scope-locked".to_owned())].into());
        let rows = scene.sync.rows(&planned.job).await;
        assert_eq!(rows.iter().map(|row| row.attempts).max(), Some(1), "it is not retried");
        assert!(scene.sync.get(&replica).await.is_some());
        assert_eq!(locks(&scene, "a2").await.len(), 2, "no lock was lifted");
    }
}

/// A sync without `lock` does not lift a lock, even one with its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_puts_no_locks_lifts_none() {
    let mut scene = locked().await;
    scene.sync.rules.lock = false;
    let planned = plan_removal(&mut scene).await;
    scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await;
    let failures = scene.sync.failures(&planned.job).await;
    assert_eq!(failures, [("remove".to_owned(), "scope-locked".to_owned())].into());
    assert_eq!(locks(&scene, "a2").await.len(), 1);
}
