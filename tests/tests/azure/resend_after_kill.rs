//! What a kill costs: SIGKILL in the middle of an upload, of seeds and of copies, at random moments; and the bytes that are
//! sent again, as they are counted on the wire, outside of the processes that are killed.
//!
//! What is sent again is what crossed the wire less what there was to send. It may be at most what was in flight when the
//! process was killed, and what had come to its end since the last heartbeat: what that recorded is not sent again.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, which print what they counted")]

use std::time::{Duration, Instant};

use goldfleet_disk::GoldenSpec;
use goldfleet_embedded::{Database, SqliteJobTable};
use goldfleet_kinds::context::read_spec;
use goldfleet_kinds::seed::SeedSpec;
use goldfleet_model::manifest::{CHUNK_SIZE, Generation};
use goldfleet_model::operation::Operation;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::job_table::JobTable as _;
use goldfleet_tests::azure::fixture::{AzureFixture, Backend};
use goldfleet_tests::azure::proxy::{Counts, Effect, Operation as Request, Rule};
use goldfleet_tests::process_fixture::{self, ProcessFixture};
use jiff::Timestamp;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

const MIB: u64 = 1 << 20;

const LEASE: Duration = Duration::from_secs(3);

/// How long an answer may take to a worker, on a busy machine, and to be taken note of.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// Requests in flight for an upload, and for one operation of a worker.
const UPLOAD_REQUESTS: u64 = 4;
const CHUNK_REQUESTS: u64 = 2;

/// How long something may take to begin before something must be wrong.
const TOO_LONG: Duration = Duration::from_secs(60);

/// A place with a VHD full of data, whose every chunk is one request.
fn fixture(azure: &AzureFixture) -> ProcessFixture {
    let config = azure.config(Backend::Local, Backend::Azure).replace(
        "lease = \"5s\"",
        &format!(
            "lease = \"{}s\"\nchunk_requests = {CHUNK_REQUESTS}\nseed_requests = {CHUNK_REQUESTS}",
            LEASE.as_secs()
        ),
    );
    let config = format!("{config}[upload]\nrequests = {UPLOAD_REQUESTS}\n");
    let golden = GoldenSpec::spread(100 * MIB, Generation::V2, 96 * MIB, 1, 5);
    ProcessFixture::new(&config, &process_fixture::targets(1, &["westeurope", "eastus"]), &golden)
}

#[test]
fn killed_upload_resends_only_in_flight_chunks() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let fixture = fixture(&azure);
    azure.proxy.rules().add(Rule::new(Effect::Delay(Duration::from_millis(100))).operation(Request::PutBlob));
    let arguments = fixture.upload(&["--no-dispatch"]);
    let mut random = StdRng::seed_from_u64(4);
    let mut kills = 0;
    for _ in 0..4 {
        let begun = azure.proxy.counters().now().writes.len();
        let mut upload = fixture.start("goldfleet", &arguments);
        until("a chunk is sent", || azure.proxy.counters().now().writes.len() > begun);
        std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
        if upload.0.try_wait().unwrap().is_none() {
            upload.kill();
            kills += 1;
        }
    }
    fixture.succeed(&arguments);
    let counts = azure.proxy.counters().now();
    // The manifest is among them: what it is about was there by then.
    let first = counts.writes.iter().filter(|write| write.status == 201).map(|write| write.bytes).sum::<u64>();
    let again = counts.received["goldsource"] - first;
    let in_flight = kills * UPLOAD_REQUESTS * CHUNK_SIZE;
    println!("upload of {first} bytes, killed {kills} times: {again} bytes sent again, {in_flight} in flight at most");
    assert!(kills >= 3, "killed {kills} times");
    assert!(again <= in_flight, "{again} bytes were sent again");
    assert!(again > 0, "nothing was in flight at any of the kills");
}

/// Bytes that go from one account to another, for one operation.
struct Lane {
    kind: &'static str,
    source: &'static str,
    destination: &'static str,
    /// What may be sent again: in flight at the kills, and ended since the heartbeats before them.
    in_flight: u64,
    since_beat: u64,
    kills: u64,
}

impl Lane {
    fn new(kind: &'static str, source: &'static str, destination: &'static str) -> Self {
        Self { kind, source, destination, in_flight: 0, since_beat: 0, kills: 0 }
    }

    fn is_of(&self, row: &Operation) -> bool {
        let account = match row.target() {
            Some(target) => target.account.clone(),
            None => read_spec::<SeedSpec>(row).unwrap().store.account,
        };
        row.kind.as_str() == self.kind && account.as_str() == self.destination
    }

    fn has(&self, path: &str) -> bool {
        let here = path.strip_prefix('/').and_then(|path| path.strip_prefix(self.destination));
        here.is_some_and(|path| path.starts_with('/') && path.contains("/chunks%2F") == (self.kind == "seed"))
    }

    /// A process that began at `begun` was killed at `moment`.
    fn killed(&mut self, counts: &Counts, rows: &[Operation], begun: Timestamp, moment: Timestamp) {
        let row = rows.iter().find(|row| self.is_of(row)).unwrap();
        // Not its any more, or not yet.
        if row.lease.is_none() || row.updated < begun {
            return;
        }
        let age = elapsed(row.updated, moment);
        assert!(age < LEASE, "{}: killed {age:?} after its last beat, and held until then", row.id);
        let since = Instant::now().checked_sub(elapsed(row.updated, Timestamp::now()) + ON_ITS_WAY).unwrap();
        let ended = counts.writes.iter().filter(|write| write.answered > since && self.has(&write.path));
        self.since_beat += ended.map(|write| write.bytes).sum::<u64>();
        self.in_flight += CHUNK_REQUESTS * CHUNK_SIZE;
        self.kills += 1;
    }

    /// All is done: what was sent again is within its bound.
    fn judge(&self, counts: &Counts, data: u64) -> u64 {
        let again = counts.between(self.source, self.destination) - data;
        let Self { kind, destination, kills, in_flight, since_beat, .. } = self;
        println!(
            "{kind} to {destination}, {data} bytes, killed {kills} times: {again} bytes sent again; \
             in flight at most {in_flight}, ended since a beat {since_beat}"
        );
        assert!(again <= in_flight + since_beat, "{kind} to {destination}: {again} bytes were sent again");
        assert!(*kills > 0, "no {kind} to {destination} was ever killed");
        again
    }
}

#[test]
fn killed_attempts_resend_at_most_one_heartbeat() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let fixture = fixture(&azure);
    for request in [Request::PutBlobFromUrl, Request::PutPageFromUrl] {
        azure.proxy.rules().add(Rule::new(Effect::Delay(Duration::from_millis(150))).operation(request));
    }
    fixture.succeed(&fixture.upload(&[]));
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let rows = || operations(&azure, &fixture);
    until("the job has its operations", || rows().len() == 5);
    let mut lanes = [
        Lane::new("seed", "goldsource", "stage1eastus"),
        Lane::new("copy", "stage1eastus", "stage1eastus"),
        Lane::new("copy", "goldsource", "stage1westeurope"),
    ];
    let mut random = StdRng::seed_from_u64(17);
    for _ in 0..4 {
        let before = settled(&azure).writes.len();
        let begun = Timestamp::now();
        let mut worker = fixture.start("goldfleet-worker", &[]);
        until("a chunk is moved", || azure.proxy.counters().now().writes.len() > before);
        std::thread::sleep(Duration::from_millis(random.random_range(200..2200)));
        worker.kill();
        let (moment, counts, known) = (Timestamp::now(), azure.proxy.counters().now(), rows());
        lanes.iter_mut().for_each(|lane| lane.killed(&counts, &known, begun, moment));
    }
    let _last = fixture.start("goldfleet-worker", &[]);
    let status = fixture.wait_for_job();
    fixture.assert_succeeded_once(azure.targets());
    azure.assert_everywhere(&fixture);
    let counts = azure.proxy.counters().now();
    let data = status["phases"]["seed"]["bytes_total"].as_u64().unwrap();
    let again: u64 = lanes.iter().map(|lane| lane.judge(&counts, data)).sum();
    assert!(again > 0, "nothing was in flight at any of the kills");
}

/// The operations of the one job, as they are recorded; none where there is no job yet.
fn operations(azure: &AzureFixture, fixture: &ProcessFixture) -> Vec<Operation> {
    let table = SqliteJobTable::new(Database::open(&fixture.path("goldfleet.db")).unwrap());
    azure.run(async {
        let Some(job) = table.jobs().await.unwrap().pop() else { return Vec::new() };
        table.operations(&job.value.id).await.unwrap().into_iter().map(|row| row.value).collect()
    })
}

/// The counts, once nothing that was in flight at a kill is any more: a service ends what it has begun.
fn settled(azure: &AzureFixture) -> Counts {
    let mut counts = azure.proxy.counters().now();
    loop {
        std::thread::sleep(Duration::from_millis(400));
        let later = azure.proxy.counters().now();
        if later == counts {
            return later;
        }
        counts = later;
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < TOO_LONG, "{what}: not within {TOO_LONG:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
