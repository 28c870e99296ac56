//! Uploads of disks, snapshots and blobs in a directory cloud, with faults at every call.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::sync::Arc;

use goldfleet_dispatcher::control::upload::UploadError;
use goldfleet_dispatcher::control::upload::from::upload_from;
use goldfleet_model::manifest::Generation;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::error::ErrorKind;
use goldfleet_sources::SourceLocation;
use goldfleet_tests::intercept::intercepted;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

mod earlier;
mod scene;
mod versions;

use scene::{FOOTER, Faults, GROUP, Scene, request};

/// Whatever the source, the disk is the same. A blob also has the same footer.
#[tokio::test(flavor = "multi_thread")]
async fn disks_snapshots_and_blobs_equal_the_file() {
    let scene = Scene::new();
    let ports = &scene.fleet.ports;
    let reference = scene.reference().await;
    for (n, (kind, footer)) in
        [("snapshots", false), ("snapshots", true), ("disks", false), ("disks", true)].into_iter().enumerate()
    {
        let name = format!("source{n}");
        let from = scene.put(kind, &name, footer, |_| {});
        let uploaded = scene.upload(ports, &from, &format!("{n}")).await.unwrap();
        assert_eq!(uploaded.image.digest, reference.image.digest, "{from}");
        assert_eq!(uploaded.counts.bytes_sent, 0, "the store has all chunks");
        assert!(uploaded.counts.bytes_read < 12 << 20, "{} bytes were read", uploaded.counts.bytes_read);
        assert_eq!(scene.state(kind, &name), "Unattached", "the access was ended");
        let origin = uploaded.counts.origin.unwrap();
        assert_eq!((origin.source, origin.unique_id), (from.to_string(), Some(format!("unique-{name}"))));
        assert_eq!(origin.family_id.is_some(), kind == "snapshots");
    }
    let blob = scene.fleet.cloud().join("goldsource/images/golden.vhd");
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::copy(scene.fleet.golden(), &blob).unwrap();
    let from = SourceLocation::parse("blob:goldsource/images/golden.vhd", &ToString::to_string).unwrap();
    let uploaded = scene.upload(ports, &from, "blob").await.unwrap();
    let file = scene.fleet.upload(ports, "file").await.unwrap();
    assert_eq!(uploaded.image.digest, file.image.digest);
}

/// A version from a snapshot reaches all targets.
#[tokio::test(flavor = "multi_thread")]
async fn snapshot_is_rolled_out() {
    let scene = Scene::new();
    let from = scene.put("snapshots", "s", false, |_| {});
    scene.upload(&scene.fleet.ports, &from, "1").await.unwrap();
    let job = scene.fleet.request("1").await;
    let status = scene.fleet.run(&scene.fleet.ports, 2, &job).await;
    assert_eq!(status.state.exit_code(), 0, "{status:#?}");
    let golden = fs::read(scene.fleet.golden()).unwrap();
    let mut targets = 0;
    for account in fs::read_dir(scene.fleet.cloud()).unwrap().map(|entry| entry.unwrap().path()) {
        if let Ok(vhd) = fs::read(account.join("vhds/golden/1.vhd")) {
            // Only the footer is another one.
            assert!(vhd[..golden.len() - FOOTER] == golden[..golden.len() - FOOTER], "{}", account.display());
            targets += 1;
        }
    }
    assert_eq!(targets, 4);
}

/// A disk that a machine has is read from a temporary snapshot with the tags of the fleet, which does not remain.
#[tokio::test(flavor = "multi_thread")]
async fn attached_disk_is_read_from_temporary_snapshot() {
    let scene = Scene::new();
    let reference = scene.reference().await;
    let from = scene.attached();
    let faults = Arc::new(Faults::default());
    let uploaded = scene.upload(&intercepted(&scene.fleet.ports, &faults), &from, "1").await.unwrap();
    assert_eq!(uploaded.image.digest, reference.image.digest);
    assert_eq!((scene.snapshots(), scene.state("disks", "attached").as_str()), (vec![], "Attached"));
    let origin = uploaded.counts.origin.unwrap();
    let temporary = origin.temporary.unwrap();
    assert!(temporary.name.as_str().starts_with("gf-temporary-"), "{temporary}");
    assert_eq!(origin.unique_id.as_deref(), Some("unique-attached"));
    assert_eq!((faults.count("ResourceService.put"), faults.count("ResourceService.delete")), (1, 1));
    assert_eq!(faults.count("DiskAccess.end"), 1);
    // With another state, the owner of the disk decides.
    let owned = scene.put("disks", "owned", true, |value| value["managedBy"] = json!("/subscriptions/1/vm"));
    let uploaded = scene.upload(&scene.fleet.ports, &owned, "2").await.unwrap();
    assert!(uploaded.counts.origin.unwrap().temporary.is_some());
}

/// What is refused is refused before access to the content, with its code, and leaves no row.
#[tokio::test(flavor = "multi_thread")]
async fn refused_sources_are_not_read() {
    let scene = Scene::new();
    let cases: [(&str, Value, &str); 6] = [
        ("encryptionSettingsCollection", json!({ "enabled": true }), "ade-encrypted"),
        (
            "securityProfile",
            json!({ "securityType": "ConfidentialVM_VMGuestStateOnlyEncryptedWithPlatformKey" }),
            "confidential",
        ),
        ("completionPercent", json!(40.0), "not-hydrated"),
        ("networkAccessPolicy", json!("AllowPrivate"), "export-denied"),
        ("maxShares", json!(3), "shared-disk"),
        ("osType", Value::Null, "os-unknown"),
    ];
    let faults = Arc::new(Faults::default());
    let ports = intercepted(&scene.fleet.ports, &faults);
    for (property, value, code) in cases {
        let from = scene.put("snapshots", code, false, |found| found["properties"][property] = value);
        let refused = scene.upload(&ports, &from, "1").await.unwrap_err();
        let UploadError::Source(refusal) = refused else { panic!("{code}: {refused:?}") };
        assert_eq!((refusal.code.name, refusal.location), (code, from.to_string()));
    }
    let missing = SourceLocation::parse(&format!("disk:{GROUP}/disks/none"), &ToString::to_string).unwrap();
    let refused = scene.upload(&ports, &missing, "1").await.unwrap_err();
    assert!(matches!(&refused, UploadError::Source(refusal) if refusal.code.name == "source-not-found"), "{refused:?}");
    // An option contradicts the source.
    let from = scene.put("disks", "d", false, |_| {});
    let mut asked = request(from, "1");
    asked.check.disk.generation = Some(Generation::V1);
    let control = scene.fleet.control_with(ports);
    let refused = upload_from(&control, &asked, &|_| {}, &CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("hyperv-mismatch"), "{refused}");
    for call in ["DiskAccess.begin", "DiskContent.layout", "ResourceService.put", "JobTable.put_upload"] {
        assert_eq!(faults.count(call), 0, "{call}");
    }
}

/// A lock would keep the temporary snapshot from being deleted, so none is created.
#[tokio::test(flavor = "multi_thread")]
async fn attached_disk_in_locked_group_is_refused() {
    let scene = Scene::new();
    let from = scene.attached();
    let locks = scene.fleet.cloud().join("subscriptions/00000000-0000-0000-0000-000000000001/locks");
    fs::create_dir_all(&locks).unwrap();
    fs::write(locks.join("keep.json"), r#"{"properties": {"level": "CanNotDelete"}}"#).unwrap();
    let faults = Arc::new(Faults::default());
    let refused = scene.upload(&intercepted(&scene.fleet.ports, &faults), &from, "1").await.unwrap_err();
    assert!(refused.to_string().contains("snapshot-denied"), "{refused}");
    assert_eq!(faults.count("ResourceService.put"), 0);
}

/// The service does not permit a snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn attached_disk_without_snapshot_is_refused() {
    let scene = Scene::new();
    let from = scene.attached();
    let faults = Faults::of("ResourceService.put", 0, 9, ErrorKind::Denied, false);
    let refused = scene.upload(&intercepted(&scene.fleet.ports, &faults), &from, "1").await.unwrap_err();
    assert!(matches!(&refused, UploadError::Source(refusal) if refusal.code.name == "snapshot-denied"), "{refused:?}");
    let row = &scene.rows().await[0];
    assert_eq!((row.state, scene.snapshots()), (UploadState::Failed, vec![]));
}

/// An interrupted upload ends the access and deletes the snapshot. The next one sends only what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn interrupted_upload_cleans_up_and_is_resumed() {
    let scene = Scene::new();
    let from = scene.attached();
    let (faults, stop) = (Arc::new(Faults::default()), CancellationToken::new());
    *faults.stop.lock().unwrap() = Some(("BlobStore.put_blob", 2, stop.clone()));
    let ports = intercepted(&scene.fleet.ports, &faults);
    let ended = scene.upload_until(&ports, &from, "1", &stop).await;
    assert!(matches!(ended, Err(UploadError::Interrupted)), "{ended:?}");
    assert_eq!((scene.snapshots(), faults.count("DiskAccess.end")), (vec![], 1));
    let first = scene.rows().await.remove(0);
    assert_eq!(first.state, UploadState::Failed);
    let resumed = scene.upload(&scene.fleet.ports, &from, "1").await.unwrap();
    let counts = &resumed.counts;
    assert!(counts.bytes_reused > 0, "{counts:?}");
    assert_eq!(counts.bytes_sent + counts.bytes_reused, counts.bytes_data);
    // Interrupted before the first byte.
    stop.cancel();
    let ended = scene.upload_until(&scene.fleet.ports, &from, "2", &stop).await;
    assert!(matches!(ended, Err(UploadError::Interrupted)), "{ended:?}");
    assert_eq!((scene.snapshots(), scene.state("disks", "attached").as_str()), (vec![], "Attached"));
}

const CALLS: [&str; 11] = [
    "ResourceService.get",
    "ResourceService.put",
    "ResourceService.list",
    "ResourceService.delete",
    "ResourceLocks.locks",
    "DiskAccess.begin",
    "DiskAccess.end",
    "DiskContent.layout",
    "DiskContent.read",
    "JobTable.fleet",
    "JobTable.put_upload",
];

/// Each call fails twice, with and without effect. The upload succeeds, and nothing remains.
#[tokio::test(flavor = "multi_thread")]
async fn transient_faults_of_every_call_are_survived() {
    let scene = Scene::new();
    let reference = scene.reference().await;
    let from = scene.attached();
    for (n, call) in CALLS.into_iter().enumerate() {
        for after_effect in [false, true] {
            for nth in [0, 1] {
                let faults = Faults::of(call, nth, 2, ErrorKind::Unavailable, after_effect);
                let ports = intercepted(&scene.fleet.ports, &faults);
                let case = format!("{call}, number {nth}, with effect: {after_effect}");
                let uploaded = scene.upload(&ports, &from, &format!("{n}-{after_effect}-{nth}")).await;
                let uploaded = uploaded.unwrap_or_else(|error| panic!("{case}: {error:?}"));
                assert_eq!(uploaded.image.digest, reference.image.digest, "{case}");
                assert!(faults.count(call) > 0, "{case} is not made");
                assert_eq!(
                    (scene.snapshots(), scene.state("disks", "attached").as_str()),
                    (vec![], "Attached"),
                    "{case}"
                );
            }
        }
    }
}

/// Each call is denied once and for all. The upload fails, except where its result is complete, and nothing remains.
#[tokio::test(flavor = "multi_thread")]
async fn denied_calls_leave_nothing_behind() {
    let scene = Scene::new();
    let from = scene.attached();
    // The first call of `fleet` looks for what earlier uploads left behind.
    let harmless =
        ["ResourceService.list", "ResourceLocks.locks", "ResourceService.delete", "DiskAccess.end", "JobTable.fleet"];
    for (n, call) in CALLS.into_iter().enumerate() {
        let faults = Faults::of(call, 0, 1, ErrorKind::Denied, false);
        let ended = scene.upload(&intercepted(&scene.fleet.ports, &faults), &from, &n.to_string()).await;
        assert_eq!(ended.is_ok(), harmless.contains(&call), "{call}: {ended:?}");
        if let Err(error) = &ended {
            assert!(!format!("{error:?}").contains("sig="), "{call}: {error:?}");
            assert!(matches!(error, UploadError::Port(_) | UploadError::Source(_)), "{call}: {error:?}");
        }
        if call == "ResourceService.delete" {
            // It is the only call that cleans up. The next upload does it.
            assert_eq!(scene.snapshots().len(), 1, "{call}");
            scene.upload(&scene.fleet.ports, &from, &format!("{n}-again")).await.unwrap();
        }
        assert_eq!(scene.snapshots(), Vec::<String>::new(), "{call}");
        assert!(scene.rows().await.iter().all(|row| row.state != UploadState::Running), "{call}");
    }
}

/// What a killed upload left behind is deleted by the next one, as soon as its row proves that it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn next_upload_deletes_temporary_of_killed_one() {
    let scene = Scene::new();
    let from = scene.attached();
    let faults = Arc::new(Faults::default());
    let ports = intercepted(&scene.fleet.ports, &faults);
    let killed = CancellationToken::new();
    *faults.stop.lock().unwrap() = Some(("BlobStore.put_blob", 1, killed.clone()));
    tokio::select! {
        ended = scene.upload(&ports, &from, "1") => panic!("it was not killed: {ended:?}"),
        () = killed.cancelled() => {}
    }
    let left = scene.snapshots();
    assert_eq!(left.len(), 1);
    // Its row says that it runs, so it may.
    scene.upload(&scene.fleet.ports, &from, "2").await.unwrap();
    assert_eq!(scene.snapshots(), left);
    let rows = scene.rows().await;
    let killed = rows.iter().find(|row| row.state == UploadState::Running).unwrap();
    assert_eq!(killed.origin.as_ref().unwrap().temporary.as_ref().unwrap().name.as_str(), left[0]);
    let long_ago = Upload { updated: "2020-01-01T00:00:00Z".parse().unwrap(), ..killed.clone() };
    scene.fleet.ports.table.put_upload(&long_ago).await.unwrap();
    scene.upload(&scene.fleet.ports, &from, "3").await.unwrap();
    assert_eq!(scene.snapshots(), Vec::<String>::new());
}

/// Another program ends all access during the upload.
#[tokio::test(flavor = "multi_thread")]
async fn ended_access_is_renewed() {
    let scene = Scene::new();
    let from = scene.put("snapshots", "s", false, |_| {});
    let SourceLocation::Snapshot(id) = &from else { unreachable!() };
    let faults = Arc::new(Faults::default());
    let ended = CancellationToken::new();
    *faults.stop.lock().unwrap() = Some(("DiskContent.read", 1, ended.clone()));
    let ports = intercepted(&scene.fleet.ports, &faults);
    let other = async {
        ended.cancelled().await;
        scene.fleet.ports.disk_access.end(id, None).await.unwrap();
    };
    let (uploaded, ()) = tokio::join!(scene.upload(&ports, &from, "1"), other);
    uploaded.unwrap();
    assert_eq!(scene.state("snapshots", "s"), "Unattached");
}

/// A machine gets the disk while it is read.
#[tokio::test(flavor = "multi_thread")]
async fn disk_that_changes_is_refused() {
    let scene = Scene::new();
    let from = scene.put("disks", "d", false, |_| {});
    let faults = Arc::new(Faults::default());
    let attached = CancellationToken::new();
    *faults.stop.lock().unwrap() = Some(("DiskContent.read", 1, attached.clone()));
    let ports = intercepted(&scene.fleet.ports, &faults);
    let machine = async {
        attached.cancelled().await;
        scene.put("disks", "d", false, |value| {
            value["properties"]["uniqueId"] = json!("another disk");
            value["properties"]["diskState"] = json!("ActiveSAS");
        });
    };
    let (ended, ()) = tokio::join!(scene.upload(&ports, &from, "1"), machine);
    assert!(matches!(&ended, Err(UploadError::Changed(_) | UploadError::Port(_))), "{ended:?}");
}

/// No signature is in a row or in a file of the cloud.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_not_stored() {
    let scene = Scene::new();
    scene.upload(&scene.fleet.ports, &scene.attached(), "1").await.unwrap();
    let folder = scene.fleet.cloud().parent().unwrap().to_owned();
    let mut files = 0;
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file()
                    && entry.path().extension().is_none_or(|name| name != "vhd" && name != "disk") =>
                {
                    files += 1;
                    let bytes = fs::read(entry.path()).unwrap();
                    assert!(!bytes.windows(4).any(|part| part == b"sig="), "{}", entry.path().display());
                }
                _ => {}
            }
        }
    }
    assert!(files > 5, "{files}");
}
