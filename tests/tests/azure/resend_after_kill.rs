//! What a kill costs: SIGKILL in the middle of an upload, of seeds and of copies, at random moments; and the bytes that
//! are sent again, as they are counted on the wire, outside of the processes that are killed.
//!
//! What is sent again is what was written less what there was to write. It may be at most what was in flight at the
//! last heartbeat before the kill, and what was requested after it: what the heartbeat recorded is not sent again.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, which print what they counted")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use goldfleet_disk::GoldenSpec;
use goldfleet_embedded::{Database, SqliteJobTable};
use goldfleet_kinds::context::read_spec;
use goldfleet_kinds::seed::SeedSpec;
use goldfleet_model::manifest::{CHUNK_SIZE, Generation};
use goldfleet_model::operation::{Operation, OperationId};
use goldfleet_ports::job_table::JobTable as _;
use goldfleet_tests::azure::fixture::{AzureFixture, Backend};
use goldfleet_tests::azure::proxy::{Counts, Effect, Operation as Request, Rule, Write};
use goldfleet_tests::process_fixture::{self, ProcessFixture};
use jiff::Timestamp;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

const MIB: u64 = 1 << 20;

const LEASE: Duration = Duration::from_secs(3);

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

/// What the row of an operation said under one claim.
struct Claim {
    token: Uuid,
    /// The row's time and the chunks that it recorded, when the claim was first seen.
    begun: Timestamp,
    done_before: u32,
    /// The same, when the claim was last seen.
    recorded: Timestamp,
    done: u32,
}

impl Claim {
    /// Whether a heartbeat recorded chunks that were moved under this claim.
    fn recorded_chunks(&self) -> bool {
        self.done > self.done_before
    }
}

/// The claims of all operations, in order, as they are seen in the table.
#[derive(Default)]
struct Claims(Mutex<BTreeMap<OperationId, Vec<Claim>>>);

impl Claims {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<OperationId, Vec<Claim>>> {
        self.0.lock().unwrap()
    }

    /// Watches the table until `stop` is set. A claim or heartbeat that is seen late, or not at all, makes the bounds
    /// of what may be sent again wider, never narrower.
    fn watch(&self, database: &Path, stop: &AtomicBool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let table = SqliteJobTable::new(Database::open(database).unwrap());
        while !stop.load(Ordering::SeqCst) {
            let rows = runtime.block_on(operations(&table));
            let mut claims = self.lock();
            for row in &rows {
                let Some(lease) = &row.lease else { continue };
                let (seen, done) = (claims.entry(row.id.clone()).or_default(), row.progress.done.count());
                match seen.last_mut() {
                    Some(last) if last.token == lease.token => (last.recorded, last.done) = (row.updated, done),
                    _ => seen.push(Claim {
                        token: lease.token,
                        begun: row.updated,
                        done_before: done,
                        recorded: row.updated,
                        done,
                    }),
                }
            }
            drop(claims);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a heartbeat recorded chunks of an operation of this kind.
    fn recorded_chunks(&self, kind: &str) -> bool {
        let claims = self.lock();
        claims.iter().filter(|(id, _)| id.step() == kind).any(|(_, claims)| claims.iter().any(Claim::recorded_chunks))
    }
}

/// What one operation writes to an account, from whichever store: on a slow machine a copy may read the golden source
/// too.
struct Lane {
    kind: &'static str,
    destination: &'static str,
}

impl Lane {
    fn is_of(&self, row: &Operation) -> bool {
        let account = match row.target() {
            Some(target) => target.account.clone(),
            None => read_spec::<SeedSpec>(row).unwrap().store.account,
        };
        row.kind.as_str() == self.kind && account.as_str() == self.destination
    }

    /// Whether a write is of this operation: of a chunk, or of a run. The footer is neither.
    fn has(&self, write: &Write) -> bool {
        let request = match self.kind {
            "seed" => Request::PutBlobFromUrl,
            _ => Request::PutPageFromUrl,
        };
        let path = write.path.strip_prefix('/').and_then(|path| path.strip_prefix(self.destination));
        write.operation == request && path.is_some_and(|path| path.starts_with('/'))
    }

    /// Checks what was sent again, and returns how many bytes that are.
    ///
    /// A claim that ended early, by a kill or because the machine was too busy for its heartbeats, has recorded all
    /// chunks whose responses it had at its last heartbeat: all that it had requested by then, but for those in flight.
    /// What it requested later may be sent again. No time is allowed for responses on their way, so the bound holds
    /// however slow the machine is.
    fn assert_within_bound(&self, counts: &Counts, claims: &[Claim], data: u64) -> u64 {
        let Self { kind, destination } = self;
        let writes = || counts.writes.iter().filter(|write| self.has(write));
        let again = writes().map(|write| write.bytes).sum::<u64>() - data;
        let ended_early: Vec<_> = claims.windows(2).map(|pair| pair[0].recorded..=pair[1].begun).collect();
        let in_flight = ended_early.len() as u64 * CHUNK_REQUESTS * CHUNK_SIZE;
        let unrecorded = |write: &&Write| ended_early.iter().any(|times| times.contains(&write.received));
        let since_heartbeat = writes().filter(unrecorded).map(|write| write.bytes).sum::<u64>();
        println!(
            "{kind} to {destination}, {data} bytes, {} claims ended early: {again} bytes sent again; in flight at a heartbeat \
             at most {in_flight}, requested after it {since_heartbeat}",
            ended_early.len()
        );
        assert!(!ended_early.is_empty(), "no {kind} to {destination} was ever killed");
        assert!(again <= in_flight + since_heartbeat, "{kind} to {destination}: {again} bytes were sent again");
        again
    }
}

#[test]
fn killed_attempts_resend_at_most_one_heartbeat() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let fixture = fixture(&azure);
    for request in [Request::PutBlobFromUrl, Request::PutPageFromUrl] {
        azure.proxy.rules().add(Rule::new(Effect::Delay(Duration::from_millis(250))).operation(request));
    }
    fixture.succeed(&fixture.upload(&[]));
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let database = fixture.path("goldfleet.db");
    let table = SqliteJobTable::new(Database::open(&database).unwrap());
    until("the job has its operations", || azure.run(operations(&table)).len() == 5);
    let (claims, stop) = (Claims::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| claims.watch(&database, &stop));
        // The watch ends however this ends, or the scope would wait for ever.
        let _stop = OnDrop(|| stop.store(true, Ordering::SeqCst));
        kill_and_finish(&azure, &fixture, &claims);
    });
    fixture.assert_succeeded_once(azure.targets());
    azure.assert_everywhere(&fixture);
    let counts = azure.proxy.counters().now();
    let data = fixture.wait_for_job()["phases"]["seed"]["bytes_total"].as_u64().unwrap();
    let (rows, claims) = (azure.run(operations(&table)), claims.lock());
    let lanes = [
        Lane { kind: "seed", destination: "stage1eastus" },
        Lane { kind: "copy", destination: "stage1eastus" },
        Lane { kind: "copy", destination: "stage1westeurope" },
    ];
    let again = lanes.iter().map(|lane| {
        let row = rows.iter().find(|row| lane.is_of(row)).unwrap();
        lane.assert_within_bound(&counts, &claims[&row.id], data)
    });
    assert!(again.sum::<u64>() > 0, "nothing was in flight at any of the kills");
}

/// Kills a worker four times: first as soon as heartbeats have recorded chunks, then at random moments. Then runs the
/// job to its end.
fn kill_and_finish(azure: &AzureFixture, fixture: &ProcessFixture, claims: &Claims) {
    let mut random = StdRng::seed_from_u64(17);
    for round in 0..4 {
        let before = settled(azure).writes.len();
        let mut worker = fixture.start("goldfleet-worker", &[]);
        if round == 0 {
            until("heartbeats record chunks", || claims.recorded_chunks("seed") && claims.recorded_chunks("copy"));
        } else {
            until("a chunk is moved", || azure.proxy.counters().now().writes.len() > before);
            std::thread::sleep(Duration::from_millis(random.random_range(200..2200)));
        }
        worker.kill();
    }
    let _last = fixture.start("goldfleet-worker", &[]);
    fixture.wait_for_job();
}

/// Does something when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The operations of the one job, as they are recorded; none where there is no job yet.
async fn operations(table: &SqliteJobTable) -> Vec<Operation> {
    let Some(job) = table.jobs().await.unwrap().pop() else { return Vec::new() };
    table.operations(&job.value.id).await.unwrap().into_iter().map(|row| row.value).collect()
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
