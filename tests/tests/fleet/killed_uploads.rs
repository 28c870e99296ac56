//! Uploads that are killed while corrupt chunks of theirs are in a store: no other writer relies on such a chunk, also
//! if the store is later used as the store of a region, or with another job table.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::check::ImageChecks;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::upload::{UploadRequest, upload};
use goldfleet_model::manifest::OsType;
use goldfleet_model::store::BlobAddress;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{Clock, SystemClock, after};
use goldfleet_ports::error::PortResult;
use goldfleet_sources::DiskFile;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::files::flip;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::intercept::{Call, Interceptor, intercepted};
use goldfleet_tests::process_fixture;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::killed_seeds::{ACCOUNT, CONTAINER, assert_seeds_whole, chunk_is_whole, files, later};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The fleet with the store in eastus as its source store.
fn control(fleet: &InProcessFleet, ports: Ports) -> ControlContext {
    let mut config = (*fleet.config).clone();
    config.source.account = ACCOUNT.parse().unwrap();
    config.source.container = CONTAINER.parse().unwrap();
    ControlContext::new(ports, Arc::new(config), "test")
}

/// Kills an upload to the store when chunks are in it. A bit of each flips on its way.
async fn killed_upload(fleet: &InProcessFleet, ports: &Ports) -> Upload {
    // The first blob is the record.
    let lost = Faults::failing_at("BlobStore.put_blob", 3, LostPart::Caller);
    let control = control(fleet, with_faults(ports, &lost));
    let request = UploadRequest {
        source: DiskFile::shared(fleet.golden()),
        image: "golden".parse().unwrap(),
        version: "1".parse().unwrap(),
        os: OsType::Linux,
        check: ImageChecks::default(),
        limit: None,
    };
    let stop = CancellationToken::new();
    tokio::select! {
        ended = upload(&control, &request, &|_| {}, &stop) => panic!("the upload ended: {ended:?}"),
        () = lost.reached() => {}
    }
    let chunks = files(fleet, "chunks");
    assert!(!chunks.is_empty());
    for chunk in chunks {
        flip(&chunk, 0);
    }
    assert_eq!(files(fleet, "writers").len(), 1);
    ports.table.uploads().await.unwrap().remove(0)
}

fn corrupt_chunks(fleet: &InProcessFleet) -> Vec<PathBuf> {
    files(fleet, "chunks").into_iter().filter(|file| !chunk_is_whole(file)).collect()
}

/// The source store becomes the store of a region. Its seed does not rely on the chunks of an upload, whether that
/// seems to run, has failed, or is in another job table.
#[tokio::test(flavor = "multi_thread")]
async fn seed_does_not_rely_on_unproven_chunks_of_upload() {
    for case in [Some(UploadState::Running), Some(UploadState::Failed), None] {
        let (fleet, other) = (InProcessFleet::new(), InProcessFleet::new());
        let table = if case.is_some() { &fleet } else { &other };
        let ports = Ports { table: Arc::clone(&table.ports.table), ..fleet.ports.clone() };
        let killed = killed_upload(&fleet, &ports).await;
        if let Some(state) = case {
            // Its row states that writes were in flight.
            let row = Upload { state, updated: Timestamp::now(), ..killed };
            fleet.ports.table.put_upload(&row).await.unwrap();
        }
        assert_seeds_whole(&fleet, &fleet.ports, "2").await;
        assert_eq!(files(&fleet, "writers").len(), 1, "{case:?}: the record of the killed upload remains");
    }
}

/// After its requests can take effect no more, the next seed removes the record of a killed upload.
#[tokio::test(flavor = "multi_thread")]
async fn seed_removes_record_of_killed_upload() {
    let fleet = InProcessFleet::new();
    killed_upload(&fleet, &fleet.ports).await;
    assert_seeds_whole(&fleet, &later(&fleet.ports, 2 * HOUR), "2").await;
    assert_eq!(files(&fleet, "writers"), Vec::<PathBuf>::new());
}

/// An upload does not rely on chunks of an upload that has its row in another job table.
#[tokio::test(flavor = "multi_thread")]
async fn upload_does_not_rely_on_unproven_chunks_of_another_table() {
    let (fleet, other) = (InProcessFleet::new(), InProcessFleet::new());
    let ports = Ports { table: Arc::clone(&other.ports.table), ..fleet.ports.clone() };
    killed_upload(&fleet, &ports).await;
    fleet.upload_with(&control(&fleet, fleet.ports.clone()), "2").await;
    assert_eq!(corrupt_chunks(&fleet), Vec::<PathBuf>::new());
}

/// An upload removes the record of a killed one if it has read back all that the killed one may have left.
#[tokio::test(flavor = "multi_thread")]
async fn upload_removes_records_that_are_no_longer_needed() {
    for same_content in [true, false] {
        let fleet = InProcessFleet::new();
        killed_upload(&fleet, &fleet.ports).await;
        if !same_content {
            GoldenSpec { seed: 77, ..process_fixture::golden() }.write(&fleet.golden()).unwrap();
        }
        let times = [fleet.ports.clone(), later(&fleet.ports, 2 * HOUR)];
        for (version, ports) in (2..).zip(times) {
            fleet.upload_with(&control(&fleet, ports), &version.to_string()).await;
        }
        let left = corrupt_chunks(&fleet);
        // The record remains while the store has chunks that only other versions need.
        let found = (left.is_empty(), files(&fleet, "writers").len());
        assert_eq!(found, (same_content, usize::from(!same_content)), "{left:?}");
    }
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

/// Counts the writes of chunks, and those for which the store has no record of a writer.
struct Recorded {
    records: PathBuf,
    writes: AtomicUsize,
    unrecorded: AtomicUsize,
}

impl Interceptor for Recorded {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let blob = arguments.iter().find_map(|&argument| (argument as &dyn Any).downcast_ref::<BlobAddress>());
        if name == "BlobStore.put_blob" && blob.is_some_and(|blob| blob.name.starts_with("chunks/")) {
            let none = std::fs::read_dir(&self.records).map_or(true, |mut files| files.next().is_none());
            self.writes.fetch_add(1, Ordering::Relaxed);
            self.unrecorded.fetch_add(usize::from(none), Ordering::Relaxed);
        }
        make.await
    }
}

/// Another writer sees that an upload does not write its row, and removes its record. The upload was only suspended: it
/// writes the record again before its next chunk. When it has ended, there is no record.
#[tokio::test(flavor = "multi_thread")]
async fn suspended_upload_has_record_for_each_write() {
    let fleet = InProcessFleet::new();
    let records = fleet.cloud().join("goldsource/golden/writers/uploads");
    let (writes, unrecorded) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let recorded = Arc::new(Recorded { records: records.clone(), writes, unrecorded });
    let clock = Arc::new(Jumping::default());
    let ports = Ports { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..fleet.ports.clone() };
    let suspended = AtomicBool::new(false);
    let suspend = |row: &Upload| {
        if row.bytes_sent > 0 && !suspended.swap(true, Ordering::SeqCst) {
            clock.0.store(3 * HOUR.as_secs(), Ordering::SeqCst);
            std::fs::remove_dir_all(&records).unwrap();
        }
    };
    let mut config = (*fleet.config).clone();
    config.upload.requests = 1;
    let control = ControlContext::new(intercepted(&ports, &recorded), Arc::new(config), "test");
    let request = UploadRequest {
        source: DiskFile::shared(fleet.golden()),
        image: "golden".parse().unwrap(),
        version: "1".parse().unwrap(),
        os: OsType::Linux,
        check: ImageChecks::default(),
        limit: None,
    };
    upload(&control, &request, &suspend, &CancellationToken::new()).await.unwrap();
    assert!(suspended.load(Ordering::SeqCst));
    assert!(recorded.writes.load(Ordering::Relaxed) > 2);
    assert_eq!(recorded.unrecorded.load(Ordering::Relaxed), 0);
    assert_eq!(std::fs::read_dir(&records).map_or(0, Iterator::count), 0, "the upload has ended");
}
