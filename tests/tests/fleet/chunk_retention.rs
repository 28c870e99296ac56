//! Chunks that must be kept, and chunks that must be written again: collections during long uploads, stores with
//! missing or damaged chunks, and VHDs that are deleted before their image is created.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use goldfleet_dispatcher::control::artifacts::load_version;
use goldfleet_dispatcher::control::cleanup::cleanup_job;
use goldfleet_dispatcher::control::garbage_collection::{CollectOptions, collect_garbage};
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_dispatcher::control::upload::{UploadError, UploadResult};
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyReport, VerifyScope, verify};
use goldfleet_kinds::writers::{WriterId, add_record};
use goldfleet_model::ids::JobId;
use goldfleet_model::upload::Upload;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{Clock, SystemClock, after};
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::files::{flip, truncate};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use jiff::Timestamp;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A fleet that collects chunks older than the default of one day.
fn fleet_of_a_day() -> InProcessFleet {
    InProcessFleet::with(
        process_fixture::SOURCE,
        &process_fixture::targets(2, &["westeurope", "eastus"]),
        &process_fixture::golden(),
    )
}

#[expect(clippy::unwrap_used, reason = "tests")]
fn ago(age: Duration) -> Timestamp {
    Timestamp::now().checked_sub(age).unwrap()
}

#[expect(clippy::unwrap_used, reason = "tests")]
fn age(file: &Path, age: Duration) {
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

/// An upload that started long ago and is still running.
#[expect(clippy::unwrap_used, reason = "tests")]
async fn long_upload(ports: &Ports, began: Duration, last: Duration) {
    let begun = Upload::new(JobId::new(ago(began), 1), "golden".parse().unwrap(), "2".parse().unwrap(), ago(began));
    let row = Upload { updated: ago(last), ..begun };
    ports.table.put_upload(&row).await.unwrap();
}

/// A collection by an operator who has deleted all versions.
fn without_all_sources(fleet: &InProcessFleet) -> CollectOptions {
    CollectOptions { given_up: [fleet.config.source.store().container()].into(), ..CollectOptions::default() }
}

/// Reads and verifies the chunks of version 1 in the source store.
#[expect(clippy::unwrap_used, reason = "tests")]
async fn verified(fleet: &InProcessFleet, remove: bool) -> VerifyReport {
    let control = fleet.control_with_own_ports();
    let (name, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let image = load_version(&control.ports, &control.config, &name, &version).await.unwrap().image;
    verify(
        &control,
        Some(&image),
        &VerifyScope::scope_of_source(&control.config),
        VerifyOptions { read: true, remove },
        &|_| {},
    )
    .await
    .unwrap()
}

/// An upload that started 13.5 hours ago relies, without renewing them, on chunks that were half a day old at that
/// time. They are kept although they are older than a day now. Older chunks are collected, and all are when the upload
/// has ended.
#[tokio::test]
async fn collection_keeps_chunks_of_long_upload() {
    let fleet = fleet_of_a_day();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let control = fleet.control_with_own_ports();
    assert!(fleet.delete_version("1").await);
    let chunks: Vec<_> = fleet.chunks("goldsource", "golden").into_keys().collect();
    for chunk in &chunks {
        age(chunk, HOUR * 49 / 2);
    }
    age(&chunks[0], HOUR * 26);
    long_upload(&fleet.ports, HOUR * 27 / 2, Duration::ZERO).await;
    assert_eq!(
        collect_garbage(&control, &without_all_sources(&fleet)).await.unwrap().deleted,
        1,
        "only what was too old to be relied on unrenewed"
    );
    assert!(!chunks[0].exists());

    let fleet = fleet_of_a_day();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let control = fleet.control_with_own_ports();
    assert!(fleet.delete_version("1").await);
    let chunks: Vec<_> = fleet.chunks("goldsource", "golden").into_keys().collect();
    chunks.iter().for_each(|chunk| age(chunk, HOUR * 49 / 2));
    long_upload(&fleet.ports, HOUR * 48, HOUR * 25).await;
    assert_eq!(collect_garbage(&control, &without_all_sources(&fleet)).await.unwrap().deleted, chunks.len());
}

/// A clock that can be moved forward, like that of a suspended machine.
#[derive(Default)]
struct Jumping(AtomicU64);

#[async_trait]
impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        after(SystemClock.now(), Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

/// Ports whose clock is ahead, so that every chunk is older than the grace period.
fn a_day_later(ports: Ports) -> Ports {
    let clock = Jumping::default();
    clock.0.store(HOUR.as_secs() * 24, Ordering::SeqCst);
    Ports { clock: Arc::new(clock), ..ports }
}

/// A fleet, and its ports for an upload that can be suspended.
fn fleet_to_suspend() -> (InProcessFleet, Ports, Arc<Jumping>) {
    let fleet = fleet_of_a_day();
    let clock = Arc::new(Jumping::default());
    let ports = Ports { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..fleet.ports.clone() };
    (fleet, ports, clock)
}

async fn watched(
    fleet: &InProcessFleet,
    ports: Ports,
    watch: &(dyn Fn(&Upload) + Sync),
) -> Result<UploadResult, UploadError> {
    fleet.upload_as(&ports, "golden", "1", watch).await
}

/// Whether all chunks are in place and only the manifest is missing.
fn all_sent(row: &Upload) -> bool {
    row.bytes_read == row.bytes_total && row.bytes_sent + row.bytes_reused >= row.bytes_data
}

/// An upload that was suspended for longer than the grace period, so that its chunks were collected, sends them again
/// before it completes, whether it was suspended early or late.
#[tokio::test(flavor = "multi_thread")]
async fn suspended_upload_resends_collected_chunks() {
    for late in [false, true] {
        let (fleet, ports, clock) = fleet_to_suspend();
        let suspended = AtomicBool::new(false);
        let suspend = |row: &Upload| {
            let now = row.bytes_sent > 0 && (all_sent(row) || !late);
            if now && !suspended.swap(true, Ordering::SeqCst) {
                clock.0.store(HOUR.as_secs() * 30, Ordering::SeqCst);
                fleet.chunks("goldsource", "golden").into_keys().for_each(|file| std::fs::remove_file(file).unwrap());
            }
        };
        watched(&fleet, ports, &suspend).await.unwrap();
        assert!(suspended.load(Ordering::SeqCst));
        assert_eq!(verified(&fleet, false).await.faults, [], "suspended late: {late}");
    }
}

/// An upload that is suspended repeatedly fails without a record. Running the command again continues it.
#[tokio::test(flavor = "multi_thread")]
async fn repeatedly_suspended_upload_fails() {
    let (fleet, ports, clock) = fleet_to_suspend();
    let suspend = |row: &Upload| {
        if all_sent(row) {
            clock.0.fetch_add(HOUR.as_secs() * 30, Ordering::SeqCst);
        }
    };
    let lapsed = watched(&fleet, ports, &suspend).await.unwrap_err();
    assert!(matches!(lapsed, UploadError::Expired), "{lapsed}");
    assert!(!fleet.cloud().join("goldsource/golden/artifacts").exists());
    let again = fleet.upload(&fleet.ports, "1").await.unwrap();
    assert!(!again.existed && again.counts.bytes_sent == 0, "{again:?}");
}

/// A deleted account is named, and does not prevent the collection of other stores.
#[tokio::test(flavor = "multi_thread")]
async fn missing_store_does_not_block_collection() {
    let fleet = InProcessFleet::new();
    fleet.roll_out(&fleet.ports, "1", 2).await;
    let control = fleet.control_with(a_day_later(fleet.ports.clone()));
    assert!(fleet.delete_version("1").await);
    std::fs::remove_dir_all(fleet.cloud().join("stage1eastus")).unwrap();
    fleet.block_path("stage1eastus");
    let chunks = fleet.chunks("goldsource", "golden").len();
    let collected = collect_garbage(&control, &without_all_sources(&fleet)).await.unwrap();
    assert_eq!((collected.stores, collected.deleted), (1, chunks), "{collected:?}");
    let failed: Vec<_> = collected.failed.iter().map(|failed| failed.store.to_string()).collect();
    assert_eq!(failed, ["stage1eastus/vhds"]);
}

/// A store that can be listed but rejects deletions does not prevent the collection of others. What could be deleted is
/// counted.
#[tokio::test(flavor = "multi_thread")]
async fn denied_store_does_not_block_collection() {
    let fleet = InProcessFleet::new();
    fleet.roll_out(&fleet.ports, "1", 2).await;
    let chunks = fleet.chunks("goldsource", "golden").len();
    let lost = Faults::failing_at("BlobStore.delete", 1, LostPart::Request);
    let control = fleet.control_with(a_day_later(with_faults(&fleet.ports, &lost)));
    assert!(fleet.delete_version("1").await);
    let collected = collect_garbage(&control, &without_all_sources(&fleet)).await.unwrap();
    assert_eq!((collected.stores, collected.deleted), (2, 2 * chunks - 1), "{collected:?}");
    assert_eq!(collected.failed.len(), 1);
    assert_eq!(
        collect_garbage(&control, &without_all_sources(&fleet)).await.unwrap().deleted,
        1,
        "the next finds what is left"
    );
}

/// Uploading a version again adds the missing chunks to its store, and reports how many bytes. If no chunk is missing,
/// the upload only lists the store.
#[tokio::test]
async fn repeated_upload_repairs_store() {
    let fleet = fleet_of_a_day();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let chunks: Vec<_> = fleet.chunks("goldsource", "golden").into_keys().collect();
    std::fs::remove_file(&chunks[0]).unwrap();
    truncate(&chunks[1], 512);
    let again = fleet.upload(&fleet.ports, "1").await.unwrap();
    assert!(again.existed && again.counts.bytes_sent > 0, "{again:?}");
    assert_eq!(again.repaired, 2);
    assert_eq!(verified(&fleet, false).await.faults, []);

    chunks.iter().for_each(|chunk| age(chunk, HOUR * 13));
    let counted = Faults::counting();
    let once_more = fleet.upload(&with_faults(&fleet.ports, &counted), "1").await.unwrap();
    assert_eq!((once_more.counts.bytes_sent, once_more.repaired), (0, 0));
    let calls = counted.calls();
    let of_blobs: Vec<_> = calls.iter().filter(|(name, _)| name.starts_with("BlobStore")).collect();
    // The record and the manifest are read. The lists are those of the manifests, of the chunks and of the writers.
    assert_eq!(of_blobs, [(&"BlobStore.ensure_container", &1), (&"BlobStore.get", &2), (&"BlobStore.list", &3)]);
}

/// Another upload ended early: chunks that it may have written after its last proof are read back, and no others.
#[tokio::test]
async fn upload_reads_back_only_chunks_that_may_be_unproven() {
    let fleet = fleet_of_a_day();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let chunks: Vec<_> = fleet.chunks("goldsource", "golden").into_keys().collect();
    // The other upload proved its chunks until two hours ago, and wrote its row last 100 minutes ago.
    let begun =
        Upload::new(JobId::new(ago(HOUR * 4), 1), "golden".parse().unwrap(), "2".parse().unwrap(), ago(HOUR * 4));
    let row = Upload { proven_until: Some(ago(HOUR * 2)), updated: ago(HOUR * 5 / 3), ..begun };
    fleet.ports.table.put_upload(&row).await.unwrap();
    let store = fleet.config.source.store().container();
    add_record(&fleet.ports, &store, &WriterId::Upload(row.id)).await.unwrap();
    flip(&chunks[0], 100);
    age(&chunks[0], HOUR * 3 / 2);
    age(&chunks[1], HOUR * 2);
    age(&chunks[2], HOUR * 3);
    let counted = Faults::counting();
    let uploaded = fleet.upload(&with_faults(&fleet.ports, &counted), "3").await.unwrap();
    assert_eq!(counted.calls()["BlobStore.holds"], 2);
    let reason = "the corrupt chunk, the manifest, the artifact record and the upload's writer record";
    assert_eq!(counted.calls()["BlobStore.put_blob"], 4, "{reason}");
    assert!(
        uploaded.counts.bytes_sent > 0 && uploaded.counts.bytes_reused > uploaded.counts.bytes_sent,
        "{uploaded:?}"
    );
    assert_eq!(verified(&fleet, false).await.faults, []);
}

/// The row of an upload says from when on its chunks are not proven, for as long as a write has no response.
#[tokio::test(flavor = "multi_thread")]
async fn row_of_upload_states_until_when_chunks_are_proven() {
    let fleet = InProcessFleet::new();
    let lost = Faults::failing_at("BlobStore.put_blob", 2, LostPart::Caller);
    let ports = with_faults(&fleet.ports, &lost);
    let newest = async || fleet.ports.table.uploads().await.unwrap().into_iter().next().unwrap();
    let begun = Timestamp::now();
    let watch_row = async {
        lost.reached().await;
        let reached = Timestamp::now();
        loop {
            let row = newest().await;
            if row.updated > reached {
                return (reached, row);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (reached, row) = tokio::select! {
        ended = fleet.upload(&ports, "1") => panic!("the upload ended: {ended:?}"),
        seen = watch_row => seen,
    };
    let proven_until = row.proven_until.unwrap();
    assert!(begun <= proven_until && proven_until <= reached, "{row:?}");

    fleet.upload(&fleet.ports, "1").await.unwrap();
    let row = newest().await;
    assert_eq!(row.proven_until, Some(row.updated));
}

/// A chunk with other bytes than it should have fails the job. Verification takes it away, the upload sends it again,
/// and the retry finds it.
#[tokio::test(flavor = "multi_thread")]
async fn corrupt_source_chunk_can_be_replaced() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let chunk = fleet.chunks("goldsource", "golden").into_keys().next().unwrap();
    flip(&chunk, 100);
    let (job, status) = fleet.request_and_run(&fleet.ports, "1", 2).await;
    assert!(status.failures.iter().any(|failure| failure.code == "source-corrupt"), "{status:#?}");
    fleet.drain_dead_letters().await;

    assert_eq!(fleet.upload(&fleet.ports, "1").await.unwrap().repaired, 0, "its length is right");
    let removed = verified(&fleet, true).await;
    assert_eq!((removed.faults.len(), removed.removed), (1, 1), "{removed:?}");
    assert!(!chunk.exists());
    assert_eq!(fleet.upload(&fleet.ports, "1").await.unwrap().repaired, 1);
    assert!(fleet.retry_and_run(&job).await > 0);
}

/// Truncated chunks in a region's store count as missing for the next job, which replaces them.
#[tokio::test(flavor = "multi_thread")]
async fn replicate_replaces_chunks_of_wrong_length() {
    let fleet = InProcessFleet::new();
    let (job, _) = fleet.roll_out(&fleet.ports, "1", 2).await;
    let before = fleet.chunks("stage1eastus", "vhds");
    for chunk in before.keys() {
        truncate(chunk, 512);
    }
    cleanup_job(&fleet.control_with_own_ports().jobs, &job).await.unwrap();
    fleet.delete_all_images();
    let (job, _) = fleet.request_and_run(&fleet.ports, "1", 2).await;
    fleet.assert_all_done(&job).await;
    assert_eq!(fleet.chunks("stage1eastus", "vhds"), before);
}

/// Images could not be created, and the VHDs were deleted before the retry. The first retry fails, and the second one
/// assembles the VHDs again. If the job's row records a clean-up by goldfleet, the first retry already assembles them.
#[tokio::test(flavor = "multi_thread")]
async fn missing_staged_vhd_is_assembled_again() {
    let copies = RetryFilter { phase: Some("copy".parse().unwrap()), ..RetryFilter::default() };
    for (which, cleaned) in
        [(RetryFilter::default(), false), (copies.clone(), false), (RetryFilter::default(), true), (copies, true)]
    {
        let fleet = InProcessFleet::new();
        // At planning time, there is no obstacle yet.
        let job = fleet.plan_job("1").await;
        fleet.block_path("subscriptions");
        let control = fleet.control_with_own_ports();
        let status = fleet.run(&fleet.ports, 2, &job).await;
        assert_eq!(
            (status.phases.of_kind("copy").succeeded, status.phases.of_kind("image").failed),
            (4, 4),
            "{status:#?}"
        );
        assert_eq!(cleanup_job(&control.jobs, &job).await.unwrap().vhds, 4);
        fleet.unblock_path("subscriptions");
        if cleaned {
            assert_eq!(
                retry(&control, &job, &which).await.unwrap(),
                8,
                "the copies, and the images that wait for them"
            );
            assert_eq!(fleet.run(&fleet.ports, 2, &job).await.state, ReportedState::Succeeded);
            assert_eq!(fleet.images().len(), 4);
            continue;
        }
        let row = control.jobs.job(&job).await.unwrap();
        assert!(control.jobs.update_job(&row, |job| job.cleaned = false).await.unwrap());

        assert_eq!(fleet.retry(&job).await, 4, "the images");
        let status = fleet.run(&fleet.ports, 2, &job).await;
        assert_eq!(status.state, ReportedState::Failed);
        assert!(status.failures.iter().all(|failure| failure.code == "vhd-not-found"), "{status:#?}");

        assert_eq!(retry(&control, &job, &which).await.unwrap(), 8, "the copies, and the images that wait for them");
        let status = fleet.run(&fleet.ports, 2, &job).await;
        assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
        assert_eq!(fleet.images().len(), 4);
    }
}

/// If the file is truncated during the upload, the operator gets an error.
#[tokio::test(flavor = "multi_thread")]
async fn file_truncated_during_upload_is_detected() {
    let fleet = InProcessFleet::new();
    let file = fleet.golden();
    let ended = fleet.upload_as(&fleet.ports, "golden", "1", &|_| truncate(&file, 1 << 20)).await;
    assert!(matches!(ended, Err(UploadError::Changed(_))), "{ended:?}");
}
