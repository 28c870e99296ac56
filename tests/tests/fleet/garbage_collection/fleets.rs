//! Collections of fleets in a directory, with a wrong configuration or with foreign files.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use goldfleet_config::{Config, Source};
use goldfleet_dispatcher::control::artifacts::load_version;
use goldfleet_dispatcher::control::context::{ControlContext, ControlError};
use goldfleet_dispatcher::control::garbage_collection::{CollectOptions, collect_garbage};
use goldfleet_dispatcher::control::live::LiveSetError;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture::{self, ProcessFixture};

/// All files of the cloud. The chunks are made old enough to be collected.
fn aged(cloud: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![cloud.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.to_string_lossy().contains("/chunks/") {
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.set_modified(SystemTime::now() - Duration::from_secs(72 * 60 * 60)).unwrap();
            }
            files.push(path);
        }
    }
    files.sort_unstable();
    files
}

/// A control context whose configuration names another container as the source store.
fn misled(fleet: &InProcessFleet, container: &str) -> ControlContext {
    let source = Source { container: container.parse().unwrap(), ..fleet.config.source.clone() };
    let config = Config { source, ..(*fleet.config).clone() };
    ControlContext { config: Arc::new(config), ..fleet.control_with_own_ports() }
}

async fn refusal(control: &ControlContext) -> LiveSetError {
    match collect_garbage(control, &CollectOptions::default()).await {
        Err(ControlError::LiveSet(error)) => error,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// The name of the source store is misspelt, or the container is empty. The job's tree still names the store with the
/// manifests, but the collection must not decide which of the two is correct.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_source_deletes_nothing() {
    let fleet = InProcessFleet::new();
    fleet.roll_out(&fleet.ports, "1", 2).await;
    fs::create_dir_all(fleet.cloud().join("goldsource/empty")).unwrap();
    let files = aged(&fleet.cloud());
    assert!(matches!(refusal(&misled(&fleet, "misspelt")).await, LiveSetError::Missing(_)));
    assert!(matches!(refusal(&misled(&fleet, "empty")).await, LiveSetError::Empty { .. }));
    assert_eq!(aged(&fleet.cloud()), files);
    // It deletes nothing even if the operator says that all versions were deleted: the container must exist.
    let given_up = [misled(&fleet, "misspelt").config.source.store().container()].into();
    let options = CollectOptions { given_up, ..CollectOptions::default() };
    let error = collect_garbage(&misled(&fleet, "misspelt"), &options).await.unwrap_err();
    assert!(matches!(error, ControlError::LiveSet(LiveSetError::Missing(_))), "{error}");
    assert_eq!(aged(&fleet.cloud()), files);
}

/// Two configurations share a table and stores. Each keeps the chunks to which the other's manifests refer.
#[tokio::test(flavor = "multi_thread")]
async fn another_configurations_manifests_count() {
    let fleet = InProcessFleet::new();
    fleet.roll_out(&fleet.ports, "1", 2).await;
    fleet.change_golden();
    let other = misled(&fleet, "other");
    fleet.upload_with(&other, "2").await;
    let files = aged(&fleet.cloud());
    let done = collect_garbage(&other, &CollectOptions::default()).await.unwrap();
    assert_eq!((done.stores, done.garbage), (3, 0), "{done:?}");
    assert_eq!(aged(&fleet.cloud()), files);
}

/// An unplanned job that was requested with another configuration names no source store. Its version is not found, and
/// the collection stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_an_unknown_version_stops_it() {
    let fleet = InProcessFleet::new();
    fleet.request_after_upload("1").await;
    let other = misled(&fleet, "other");
    fleet.upload_with(&other, "2").await;
    let files = aged(&fleet.cloud());
    assert!(matches!(refusal(&other).await, LiveSetError::UnknownVersion { .. }));
    assert_eq!(aged(&fleet.cloud()), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_read_stops_it() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    fleet.change_golden();
    fleet.upload(&fleet.ports, "2").await.unwrap();
    assert!(fleet.delete_version("1").await);
    let store = fleet.cloud().join("goldsource/golden");
    let control = fleet.control_with_own_ports();
    let loaded =
        load_version(&control.ports, &control.config, &"golden".parse().unwrap(), &"2".parse().unwrap()).await.unwrap();
    let digest = loaded.artifact.disks[0].disk.manifest;
    let manifest =
        control.config.source.store().container().manifest(&loaded.image.name, &loaded.image.version, &digest);
    let manifest = store.join(&manifest.name);
    let record = store.join("artifacts/golden/2.jsonl");
    let (whole_manifest, whole_record) = (fs::read(&manifest).unwrap(), fs::read(&record).unwrap());
    let half = |whole: &[u8]| whole[..whole.len() / 2].to_vec();
    let notes = store.join("manifests/README.txt");
    for (file, content) in [
        (&manifest, half(&whole_manifest)),
        (&manifest, Vec::new()),
        (&record, half(&whole_record)),
        (&record, Vec::new()),
        (&notes, b"our golden images".to_vec()),
    ] {
        fs::write(file, content).unwrap();
        let files = aged(&fleet.cloud());
        assert!(matches!(refusal(&fleet.control_with_own_ports()).await, LiveSetError::Unreadable { .. }));
        assert_eq!(aged(&fleet.cloud()), files);
        fs::write(&manifest, &whole_manifest).unwrap();
        fs::write(&record, &whole_record).unwrap();
    }
    fs::remove_file(&notes).unwrap();
    assert_eq!(collect_garbage(&fleet.control_with_own_ports(), &CollectOptions::default()).await.unwrap().deleted, 1);
}

/// Only blobs with exact chunk names are deleted, and a dry run deletes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn only_chunks_are_deleted_and_none_in_a_dry_run() {
    let fleet = InProcessFleet::new();
    fleet.roll_out(&fleet.ports, "1", 2).await;
    fleet.change_golden();
    fleet.upload(&fleet.ports, "2").await.unwrap();
    assert!(fleet.delete_version("1").await);
    let chunks = fleet.cloud().join("goldsource/golden/chunks");
    let (notes, folder) = (chunks.join("README.txt"), chunks.join("older"));
    let garbage = {
        let named = fleet.chunks("stage1eastus", "vhds").into_keys().map(|file| file.file_name().unwrap().to_owned());
        let named: Vec<_> = named.collect();
        fs::create_dir(&folder).unwrap();
        fs::write(&notes, "chunks of golden images").unwrap();
        fs::copy(chunks.join(&named[0]), folder.join(&named[0])).unwrap();
        named
    };
    let files = aged(&fleet.cloud());
    let dry = CollectOptions { dry_run: true, ..CollectOptions::default() };
    let planned = collect_garbage(&fleet.control_with_own_ports(), &dry).await.unwrap();
    assert_eq!(aged(&fleet.cloud()), files);
    assert_eq!((planned.garbage, planned.deleted, planned.foreign), (2, 0, 2), "{planned:?}");

    let done = collect_garbage(&fleet.control_with_own_ports(), &CollectOptions::default()).await.unwrap();
    assert_eq!((done.deleted, done.deleted_bytes), (planned.garbage, planned.garbage_bytes));
    assert!(notes.exists() && folder.join(&garbage[0]).exists());
    assert_eq!(done.by_store.iter().map(|one| one.deleted).collect::<Vec<_>>(), [1, 1]);
}

/// The output and the exit code of the command for a wrong source store.
#[test]
fn the_command_refuses_a_wrong_source() {
    let fixture = ProcessFixture::new(
        process_fixture::SOURCE,
        &process_fixture::targets(1, &["westeurope", "eastus"]),
        &process_fixture::golden(),
    );
    fixture.succeed(&fixture.upload(&["--wait"]));
    let files = aged(&fixture.path("cloud"));
    let dry = fixture.run(&["cleanup", "--chunks", "--dry-run"]);
    let said = String::from_utf8(dry.stdout).unwrap();
    assert!(dry.status.success() && said.contains("goldsource/golden"), "{said}");
    assert!(said.lines().last().unwrap().starts_with("0 of "), "{said}");

    fs::write(fixture.path("goldfleet.toml"), process_fixture::SOURCE.replace("\"golden\"", "\"goldem\"")).unwrap();
    for more in [&[][..], &["--dry-run"], &["--without-source", "goldsource/golden"]] {
        let run = fixture.run(&[&["cleanup", "--chunks"], more].concat());
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{said}");
        assert!(said.contains("there is no source store goldsource/goldem") && said.contains("hint: "), "{said}");
    }
    assert_eq!(aged(&fixture.path("cloud")), files);
    let usage = fixture.run(&["cleanup", "--dry-run"]);
    assert_eq!(usage.status.code(), Some(2), "a dry run of anything else is not a clean-up");
}
