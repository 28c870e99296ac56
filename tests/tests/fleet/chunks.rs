//! Chunks that must stay, and chunks that must come back: collections beside uploads that take long, stores that lack or
//! have damaged what a manifest names, VHDs that are gone before their image is made.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use goldfleet_dispatcher::control::cleanup::cleanup_job;
use goldfleet_dispatcher::control::collect::{CollectOptions, collect};
use goldfleet_dispatcher::control::retry::{Which, retry};
use goldfleet_dispatcher::control::status::Standing;
use goldfleet_dispatcher::control::upload::{UploadError, Uploaded};
use goldfleet_dispatcher::control::verify::{How, Places, Verified, verify};
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::Kind;
use goldfleet_model::upload::Upload;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{Clock, SystemClock, after};
use goldfleet_tests::faults::{Faults, Lost, faulty};
use goldfleet_tests::files::{flip, truncate};
use goldfleet_tests::fleet::Fleet;
use goldfleet_tests::place;
use jiff::Timestamp;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A fleet that collects what is older than the default of a day.
fn fleet_of_a_day() -> Fleet {
    Fleet::with(place::SOURCE, &place::targets(2, &["westeurope", "eastus"]), &place::golden())
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

/// An uploader that began long ago, and is at it still.
#[expect(clippy::unwrap_used, reason = "tests")]
async fn long_upload(ports: &Ports, began: Duration, last: Duration) {
    let begun = Upload::begun(JobId::new(ago(began), 1), "golden".parse().unwrap(), "2".parse().unwrap(), ago(began));
    let row = Upload { updated: ago(last), ..begun };
    ports.table.put_upload(&row).await.unwrap();
}

/// A collection for an operator who has given up all versions.
fn all_given_up(fleet: &Fleet) -> CollectOptions {
    CollectOptions { given_up: [fleet.config.source.store().container()].into(), ..CollectOptions::default() }
}

/// Reads the source store's chunks of version 1.
#[expect(clippy::unwrap_used, reason = "tests")]
async fn verified(fleet: &Fleet, remove: bool) -> Verified {
    let desk = fleet.own_desk();
    let (name, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let image = goldfleet_dispatcher::control::request::manifest(&desk, &name, &version).await.unwrap().0;
    verify(&desk, &image, &Places::source(&desk), How { read: true, remove }, &|_| {}).await.unwrap()
}

/// An upload that began 13.5 hours ago relies on chunks that were half a day old then, without renewing them: they stay,
/// although they are older than a day by now. What is older than that goes, and so does all when the uploader is gone.
#[tokio::test]
async fn what_a_long_upload_relies_on_stays() {
    let fleet = fleet_of_a_day();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let desk = fleet.own_desk();
    assert!(fleet.forget("1").await);
    let chunks: Vec<_> = fleet.chunks("goldsource", "golden").into_keys().collect();
    for chunk in &chunks {
        age(chunk, HOUR * 49 / 2);
    }
    age(&chunks[0], HOUR * 26);
    long_upload(&fleet.ports, HOUR * 27 / 2, Duration::ZERO).await;
    assert_eq!(
        collect(&desk, &all_given_up(&fleet)).await.unwrap().deleted,
        1,
        "only what was too old to be relied on unrenewed"
    );
    assert!(!chunks[0].exists());

    let fleet = fleet_of_a_day();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let desk = fleet.own_desk();
    assert!(fleet.forget("1").await);
    let chunks: Vec<_> = fleet.chunks("goldsource", "golden").into_keys().collect();
    chunks.iter().for_each(|chunk| age(chunk, HOUR * 49 / 2));
    long_upload(&fleet.ports, HOUR * 48, HOUR * 25).await;
    assert_eq!(collect(&desk, &all_given_up(&fleet)).await.unwrap().deleted, chunks.len());
}

/// The machine's clock, which can be put forward: what a program sees that was suspended.
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

/// A fleet, and the same fleet's ports as an uploader sees them that can be suspended.
fn fleet_to_suspend() -> (Fleet, Ports, Arc<Jumping>) {
    let fleet = fleet_of_a_day();
    let clock = Arc::new(Jumping::default());
    let ports = Ports { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..fleet.ports.clone() };
    (fleet, ports, clock)
}

async fn watched(fleet: &Fleet, ports: Ports, watch: &(dyn Fn(&Upload) + Sync)) -> Result<Uploaded, UploadError> {
    fleet.upload_as(&ports, "golden", "1", watch).await
}

/// Whether every chunk is in its place, and nothing is left to be done but the manifest.
fn all_sent(row: &Upload) -> bool {
    row.bytes_read == row.bytes_total && row.bytes_sent + row.bytes_reused >= row.bytes_data
}

/// An uploader that was suspended for longer than a grace period, so that its chunks were collected, sends them again
/// before it says that it is complete: whether it was suspended early or late.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_suspended_sends_again_what_was_collected() {
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

/// One that is suspended again and again gives up without a manifest; the same command goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_always_suspended_is_not_complete() {
    let (fleet, ports, clock) = fleet_to_suspend();
    let suspend = |row: &Upload| {
        if all_sent(row) {
            clock.0.fetch_add(HOUR.as_secs() * 30, Ordering::SeqCst);
        }
    };
    let lapsed = watched(&fleet, ports, &suspend).await.unwrap_err();
    assert!(matches!(lapsed, UploadError::Lapsed), "{lapsed}");
    assert!(!fleet.cloud().join("goldsource/golden/manifests").exists());
    let again = fleet.upload(&fleet.ports, "1").await.unwrap();
    assert!(!again.already_there && again.counts.bytes_sent == 0, "{again:?}");
}

/// An account that was decommissioned is named, and keeps nothing of the others from being collected.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_keeps_no_other_from_being_collected() {
    let fleet = Fleet::new();
    fleet.roll_out(&fleet.ports, "1", 2).await;
    let desk = fleet.own_desk();
    assert!(fleet.forget("1").await);
    std::fs::remove_dir_all(fleet.cloud().join("stage1eastus")).unwrap();
    fleet.obstruct("stage1eastus");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let chunks = fleet.chunks("goldsource", "golden").len();
    let collected = collect(&desk, &all_given_up(&fleet)).await.unwrap();
    assert_eq!((collected.stores, collected.deleted), (1, chunks), "{collected:?}");
    let failed: Vec<_> = collected.failed.iter().map(|failed| failed.store.to_string()).collect();
    assert_eq!(failed, ["stage1eastus/vhds"]);
}

/// The same of a store that can be looked at, and refuses: what could be deleted is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_keeps_no_other_from_being_collected() {
    let fleet = Fleet::new();
    fleet.roll_out(&fleet.ports, "1", 2).await;
    let chunks = fleet.chunks("goldsource", "golden").len();
    let lost = Faults::at("BlobStore.delete", 1, Lost::Request);
    let desk = fleet.desk(faulty(&fleet.ports, &lost));
    assert!(fleet.forget("1").await);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let collected = collect(&desk, &all_given_up(&fleet)).await.unwrap();
    assert_eq!((collected.stores, collected.deleted), (2, 2 * chunks - 1), "{collected:?}");
    assert_eq!(collected.failed.len(), 1);
    assert_eq!(collect(&desk, &all_given_up(&fleet)).await.unwrap().deleted, 1, "the next finds what is left");
}

/// Uploading a version again gives its store back what it lacks, and says how much; where nothing is missing, nothing but a
/// list is asked for.
#[tokio::test]
async fn a_version_uploaded_again_mends_its_store() {
    let fleet = Fleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let chunks: Vec<_> = fleet.chunks("goldsource", "golden").into_keys().collect();
    std::fs::remove_file(&chunks[0]).unwrap();
    truncate(&chunks[1], 512);
    let again = fleet.upload(&fleet.ports, "1").await.unwrap();
    assert!(again.already_there && again.counts.bytes_sent > 0, "{again:?}");
    assert_eq!(again.mended, 2);
    assert_eq!(verified(&fleet, false).await.faults, []);

    tokio::time::sleep(Duration::from_millis(600)).await;
    let counted = Faults::none();
    let once_more = fleet.upload(&faulty(&fleet.ports, &counted), "1").await.unwrap();
    assert_eq!((once_more.counts.bytes_sent, once_more.mended), (0, 0));
    let calls = counted.calls();
    let of_blobs: Vec<_> = calls.iter().filter(|(name, _)| name.starts_with("BlobStore")).collect();
    assert_eq!(of_blobs, [(&"BlobStore.ensure_container", &1), (&"BlobStore.get", &1), (&"BlobStore.list", &1)]);
}

/// A chunk with other bytes than it should have fails the job. Verification takes it away, the upload sends it again, and the
/// retry finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_chunk_of_the_source_can_be_replaced() {
    let fleet = Fleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let chunk = fleet.chunks("goldsource", "golden").into_keys().next().unwrap();
    flip(&chunk, 100);
    let (job, status) = fleet.requested(&fleet.ports, "1", 2).await;
    assert!(status.failures.iter().any(|failure| failure.code == "source-corrupt"), "{status:#?}");
    fleet.take_poison().await;

    assert_eq!(fleet.upload(&fleet.ports, "1").await.unwrap().mended, 0, "its length is right");
    let removed = verified(&fleet, true).await;
    assert_eq!((removed.faults.len(), removed.removed), (1, 1), "{removed:?}");
    assert!(!chunk.exists());
    assert_eq!(fleet.upload(&fleet.ports, "1").await.unwrap().mended, 1);
    assert!(fleet.taken_up(&job).await > 0);
}

/// Truncated chunks of a region's store count as missing for the next job, which puts whole ones in their place.
#[tokio::test(flavor = "multi_thread")]
async fn a_seed_replaces_chunks_of_another_length() {
    let fleet = Fleet::new();
    let (job, _) = fleet.roll_out(&fleet.ports, "1", 2).await;
    let before = fleet.chunks("stage1eastus", "vhds");
    for chunk in before.keys() {
        truncate(chunk, 512);
    }
    cleanup_job(&fleet.own_desk(), &job).await.unwrap();
    fleet.forget_images();
    let (job, _) = fleet.requested(&fleet.ports, "1", 2).await;
    fleet.assert_all_done(&job).await;
    assert_eq!(fleet.chunks("stage1eastus", "vhds"), before);
}

/// Images could not be made, and somebody removed the VHDs before they were tried again: the next retry copies them anew.
/// Where it was a clean-up, which the job knows of, the first one does.
#[tokio::test(flavor = "multi_thread")]
async fn a_vhd_that_is_gone_is_copied_again() {
    let copies = Which { phase: Some(Kind::Copy), ..Which::default() };
    for (which, cleaned) in
        [(Which::default(), false), (copies.clone(), false), (Which::default(), true), (copies, true)]
    {
        let fleet = Fleet::new();
        // When the plan looks at them, nothing is in the way yet.
        let job = fleet.planned("1").await;
        fleet.obstruct("subscriptions");
        let desk = fleet.own_desk();
        let status = fleet.run(&fleet.ports, 2, &job).await;
        assert_eq!((status.phases.copy.succeeded, status.phases.image.failed), (4, 4), "{status:#?}");
        assert_eq!(cleanup_job(&desk, &job).await.unwrap().vhds, 4);
        fleet.clear("subscriptions");
        if cleaned {
            assert_eq!(retry(&desk, &job, &which).await.unwrap(), 8, "the copies, and the images that wait for them");
            assert_eq!(fleet.run(&fleet.ports, 2, &job).await.state, Standing::Succeeded);
            assert_eq!(fleet.images().len(), 4);
            continue;
        }
        let row = desk.job(&job).await.unwrap();
        assert!(desk.amend(&row, |job| job.cleaned = false).await.unwrap());

        assert_eq!(fleet.retry(&job).await, 4, "the images");
        let status = fleet.run(&fleet.ports, 2, &job).await;
        assert_eq!(status.state, Standing::Failed);
        assert!(status.failures.iter().all(|failure| failure.code == "vhd-not-found"), "{status:#?}");

        assert_eq!(retry(&desk, &job, &which).await.unwrap(), 8, "the copies, and the images that wait for them");
        let status = fleet.run(&fleet.ports, 2, &job).await;
        assert_eq!(status.state, Standing::Succeeded, "{status:#?}");
        assert_eq!(fleet.images().len(), 4);
    }
}

/// What can't be read any more was taken away by somebody, who is to be told of.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_short_while_it_is_read_has_changed() {
    let fleet = Fleet::new();
    let file = fleet.golden();
    let ended = fleet.upload_as(&fleet.ports, "golden", "1", &|_| truncate(&file, 1 << 20)).await;
    assert!(matches!(ended, Err(UploadError::Changed(_))), "{ended:?}");
}
