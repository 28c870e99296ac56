//! Seeds that are killed while corrupt chunks of theirs are in a region's store: no other job relies on such a chunk,
//! and the cost of that does not grow with the number of jobs.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_kinds::context::StepSettings;
use goldfleet_model::ids::JobId;
use goldfleet_model::manifest::ChunkHash;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::store::Container;
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::SourceRange;
use goldfleet_ports::clock::{Clock, SystemClock, after};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::job_table::Change;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::files::{flip, visit};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::intercept::{Call, Interceptor, intercepted};
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::settings::WorkerSettings;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// The store that is filled.
pub(crate) const ACCOUNT: &str = "stage1eastus";
pub(crate) const CONTAINER: &str = "vhds";

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A clock that is ahead of the system's.
struct Later(Duration);

#[async_trait]
impl Clock for Later {
    fn now(&self) -> Timestamp {
        after(SystemClock.now(), self.0)
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

/// The ports as processes see them that run some time later.
pub(crate) fn later(ports: &Ports, time: Duration) -> Ports {
    Ports { clock: Arc::new(Later(time)), ..ports.clone() }
}

fn store() -> Container {
    Container { account: ACCOUNT.parse().unwrap(), container: CONTAINER.parse().unwrap() }
}

async fn seed(fleet: &InProcessFleet, job: &JobId) -> Operation {
    let rows = fleet.ports.table.operations(job).await.unwrap();
    rows.into_iter().map(|row| row.value).find(|row| row.kind.as_str() == "seed").unwrap()
}

/// The files in the store whose names begin with a prefix.
pub(crate) fn files(fleet: &InProcessFleet, prefix: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    visit(&fleet.cloud().join(ACCOUNT).join(CONTAINER).join(prefix), &mut |file| files.push(file.to_owned()));
    files
}

pub(crate) fn chunk_is_whole(file: &PathBuf) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    ChunkHash::of(&std::fs::read(file).unwrap()).to_string() == name
}

/// Uploads the golden VHD as a version, plans a job for it, and kills its seed when chunks are in the store. A bit of
/// each flips on its way.
async fn killed_seed(fleet: &InProcessFleet, version: &str) -> JobId {
    let job = fleet.plan_job(version).await;
    let lost = Faults::failing_at("BlobStore.put_blob_from", 2, LostPart::Caller);
    let settings = fleet.settings();
    let steps = StepSettings { heartbeat: HOUR / 2, seed_requests: 1, ..settings.steps };
    let settings = WorkerSettings { lease: HOUR, steps, ..settings };
    let context = WorkerContext::new(with_faults(&fleet.ports, &lost), settings);
    let consumer = Consumer::new(context, CancellationToken::new());
    tokio::select! {
        () = async { consumer.run().await; } => panic!("the worker ended"),
        () = lost.reached() => {}
    }
    let chunks = files(fleet, "chunks");
    assert_eq!(chunks.len(), 3);
    for chunk in chunks {
        flip(&chunk, 0);
    }
    job
}

/// Uploads the golden VHD as a version, and runs a job for it to the end.
async fn assert_seeds(fleet: &InProcessFleet, ports: &Ports, version: &str) {
    fleet.upload(&fleet.ports, version).await.unwrap();
    let (_, status) = fleet.request_and_run(ports, version, 1).await;
    assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
}

/// As [`assert_seeds`], for the content of the killed seed. The store has all its chunks, each with the bytes that its
/// name stands for.
pub(crate) async fn assert_seeds_whole(fleet: &InProcessFleet, ports: &Ports, version: &str) {
    assert_seeds(fleet, ports, version).await;
    let chunks = files(fleet, "chunks");
    assert_eq!(chunks.len(), fleet.chunks("goldsource", "golden").len());
    let corrupt: Vec<_> = chunks.iter().filter(|file| !chunk_is_whole(file)).collect();
    assert!(corrupt.is_empty(), "{corrupt:?}");
}

/// Changes the row of the killed seed.
async fn edit(fleet: &InProcessFleet, job: &JobId, change: impl FnOnce(&mut Operation)) {
    let id = seed(fleet, job).await.id;
    let row = fleet.ports.table.operation(job, &id).await.unwrap().unwrap();
    let mut operation = row.value.clone();
    change(&mut operation);
    fleet.ports.table.commit(&[Change::new(&row, operation)], &[]).await.unwrap();
}

/// Whether the killed seed still has its lease, or ended, the seed of another job reads its chunks back.
#[tokio::test(flavor = "multi_thread")]
async fn seed_of_another_job_does_not_rely_on_unproven_chunks() {
    for state in [OperationState::Running, OperationState::Failed, OperationState::Cancelled] {
        let fleet = InProcessFleet::new();
        let killed = killed_seed(&fleet, "1").await;
        if state.is_terminal() {
            edit(&fleet, &killed, |row| (row.state, row.lease) = (state, None)).await;
        }
        assert_seeds_whole(&fleet, &fleet.ports, "2").await;
        assert_eq!(files(&fleet, "writers").len(), 1, "{state:?}: the record of the killed seed remains, and no other");
    }
}

/// Counts the chunks of the store that are read back.
#[derive(Default)]
struct ReadBack(AtomicUsize);

impl Interceptor for ReadBack {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let ranges = arguments.iter().filter_map(|&argument| (argument as &dyn Any).downcast_ref::<SourceRange>());
        let mut blobs = ranges.map(|range| &range.blob);
        if name == "BlobStore.holds" && blobs.any(|blob| blob.to_string().starts_with("stage1eastus/vhds/chunks/")) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        make.await
    }
}

/// If the killed seed has ended and none of its requests can take effect any more, the next seed reads back all that it
/// left, and removes its record. Later seeds read nothing back.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_ended_seed_are_read_back_once() {
    let fleet = InProcessFleet::new();
    let killed = killed_seed(&fleet, "1").await;
    edit(&fleet, &killed, |row| (row.state, row.lease) = (OperationState::Cancelled, None)).await;
    let left = files(&fleet, "chunks").len();
    for (version, read_back) in [("2", left), ("3", 0)] {
        let counted = Arc::new(ReadBack::default());
        assert_seeds_whole(&fleet, &later(&intercepted(&fleet.ports, &counted), 2 * HOUR), version).await;
        assert_eq!(files(&fleet, "writers"), Vec::<PathBuf>::new());
        assert_eq!(counted.0.load(Ordering::Relaxed), read_back, "version {version}");
    }
}

/// The seed that ended is retried while its chunks are read back: its record remains.
#[tokio::test(flavor = "multi_thread")]
async fn record_of_retried_seed_remains() {
    let fleet = InProcessFleet::new();
    let killed = killed_seed(&fleet, "1").await;
    edit(&fleet, &killed, |row| (row.state, row.lease) = (OperationState::Failed, None)).await;
    let id = seed(&fleet, &killed).await.id;
    let record = store().blob(format!("writers/{killed}/{id}"));
    let blobs = Arc::clone(&fleet.ports.blobs);
    let renewal = async move {
        let found = blobs.properties(&record).await.unwrap().unwrap();
        blobs.touch(&record, &found.etag).await.unwrap();
    };
    // Each corrupt chunk is deleted, and then the record.
    let faults = Faults::before("BlobStore.delete", files(&fleet, "chunks").len(), renewal);
    assert_seeds_whole(&fleet, &later(&with_faults(&fleet.ports, &faults), 2 * HOUR), "2").await;
    assert!(faults.was_hit());
    assert_eq!(files(&fleet, "writers").len(), 1);
}

/// The rows of the killed seed's job were removed, and its version was deleted. A day later, the chunks of its time are
/// compared with their names, including those that no other version has, and the record is removed.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_removed_job_are_compared_with_their_names() {
    let fleet = InProcessFleet::new();
    let killed = killed_seed(&fleet, "1").await;
    let row = fleet.ports.table.job(&killed).await.unwrap().unwrap();
    fleet.ports.table.remove_job(&killed, &row.etag).await.unwrap();
    let image = row.value.image().unwrap();
    let record = fleet.config.source.store().container().artifact(&image.name, &image.version);
    fleet.ports.blobs.delete(&record, None).await.unwrap();
    fleet.change_golden();

    assert_seeds(&fleet, &fleet.ports, "2").await;
    assert_eq!(files(&fleet, "writers").len(), 1, "the seed may belong to another fleet");
    assert_seeds(&fleet, &later(&fleet.ports, 25 * HOUR), "3").await;
    assert_eq!(files(&fleet, "writers"), Vec::<PathBuf>::new());
    let corrupt: Vec<_> = files(&fleet, "chunks").into_iter().filter(|file| !chunk_is_whole(file)).collect();
    assert!(corrupt.is_empty(), "{corrupt:?}");
}

/// The region's store becomes the source store. An upload does not rely on the chunks of the killed seed there.
#[tokio::test(flavor = "multi_thread")]
async fn upload_does_not_rely_on_unproven_chunks_of_seed() {
    let fleet = InProcessFleet::new();
    killed_seed(&fleet, "1").await;
    let mut config = (*fleet.config).clone();
    config.source.account = ACCOUNT.parse().unwrap();
    config.source.container = CONTAINER.parse().unwrap();
    let control = ControlContext::new(fleet.ports.clone(), Arc::new(config), "test");
    fleet.upload_with(&control, "2").await;
    let chunks = files(&fleet, "chunks");
    assert_eq!(chunks.len(), fleet.chunks("goldsource", "golden").len());
    let corrupt: Vec<_> = chunks.iter().filter(|file| !chunk_is_whole(file)).collect();
    assert!(corrupt.is_empty(), "{corrupt:?}");
}
