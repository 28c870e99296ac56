//! A fleet that works on one random graph, and what happens to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_config::{Config, HumanDuration};
use goldfleet_dispatcher::control::approve::approve;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::context::{ControlContext, ScanThreads};
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::service::{RunUntil, run as serve};
use goldfleet_dispatcher::simulate::rehearse;
use goldfleet_embedded::{Database, SqliteJobTable, SqliteQueue};
use goldfleet_model::job::{Job, JobState};
use goldfleet_modelled::{LimitMode, Model};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{Clock, TokioClock};
use goldfleet_tests::intercept::intercepted;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::program;
use goldfleet_worker::settings::WorkerSettings;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::note::{Notes, registry};
use super::plan::{Shape, graph, job};
use super::watch::{Watch, Watcher};
use crate::faults::FaultInjector;
use crate::partial_insert::PartialInsertTable;
use crate::process::Process;
use crate::rng::SimRng;
use crate::trace::Trace;
use crate::unreliable_queue::UnreliableQueue;

const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The maximum virtual time that a fleet may take for the remaining work after the faults have ended.
const CALM: Duration = Duration::from_secs(6 * 3600);

/// How often an operator retries a job whose rows have no reason to fail any more.
const RETRIES: usize = 3;

/// The adapters of queues and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coordination {
    Modelled,
    Embedded,
}

/// A fleet and its job.
pub(super) struct GraphFleet {
    pub(super) faults: Arc<FaultInjector>,
    pub(super) watch: Arc<Watch>,
    /// The services, without any wrapper.
    services: Ports,
    config: Arc<Config>,
    pub(super) notes: Arc<Notes>,
    clock_skew: Duration,
    workers: Mutex<Vec<Arc<Process>>>,
    dispatchers: Mutex<Vec<Arc<Process>>>,
    begun: AtomicUsize,
    /// The folder of the database.
    _folder: TempDir,
}

impl GraphFleet {
    pub(super) fn new(seed: u64, keep_all: bool, coordination: Coordination) -> Arc<Self> {
        let rng = SimRng::new(seed);
        let width = if rng.chance(0.1) { 40 } else { 5 };
        Self::with(rng, keep_all, coordination, Shape { layers: 4, width: (1, width), depth: 5 })
    }

    /// A fleet with a graph of this shape, without processes.
    pub(super) fn with(rng: SimRng, keep_all: bool, coordination: Coordination, shape: Shape) -> Arc<Self> {
        let folder = TempDir::new().unwrap();
        let mut config = rehearse::config().unwrap();
        config.worker.lease = HumanDuration::seconds(rng.number(20..61));
        config.worker.concurrency = 1 + rng.index(6);
        config.worker.retry_cap = HumanDuration::seconds(rng.number(5..120));
        config.worker.max_attempts = 3 + u32::try_from(rng.number(0..6)).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(BEGINNING));
        let modelled = Model::new(LimitMode::Unlimited, Arc::clone(&clock), &config.source.region, 1).ports();
        let services = match coordination {
            Coordination::Modelled => modelled,
            Coordination::Embedded => {
                let database = Database::open(&folder.path().join("goldfleet.db")).unwrap();
                let queue = Arc::new(SqliteQueue::new(Arc::clone(&database), Arc::clone(&clock)));
                let table = Arc::new(SqliteJobTable::new(database));
                Ports { queue, table: table.clone(), records: table, ..modelled }
            }
        };
        let job = job(rng.chance(0.3), BEGINNING);
        let rows = graph(&rng, &job, shape);
        let job = Job { operations: Some(rows.len() as u64), ..job };
        let faults = FaultInjector::new(rng, Trace::new(keep_all));
        faults.trace.line(format_args!("{} rows, {:?} {:?}", rows.len(), config.worker, faults.rates));
        let clock_skew = WorkerSettings::skew_for(config.worker.lease.get());
        Arc::new(Self {
            watch: Watch::new(&faults, (clock, clock_skew), &job, &rows),
            notes: Notes::new(&faults),
            services,
            config: Arc::new(config),
            clock_skew,
            workers: Mutex::default(),
            dispatchers: Mutex::default(),
            begun: AtomicUsize::new(0),
            faults,
            _folder: folder,
        })
    }

    /// Writes the job and its rows, and sends the message of the job.
    pub(super) async fn plan(&self) {
        let (job, rows) = {
            let seen = self.watch.seen();
            (seen.job.clone(), seen.rows.values().cloned().collect::<Vec<_>>())
        };
        self.services.queue.ensure().await.unwrap();
        self.services.table.ensure().await.unwrap();
        self.services.table.insert_job(&job).await.unwrap();
        self.services.table.insert_operations(&rows).await.unwrap();
        let control = ControlContext::new(self.services.clone(), Arc::clone(&self.config), "planner");
        control.jobs.enqueue_job(&job.id).await.unwrap();
    }

    /// A new process and its ports.
    fn process(&self, what: &str) -> (Arc<Process>, Ports) {
        let name = format!("{what}-{}", self.begun.fetch_add(1, Ordering::Relaxed));
        let faults = &self.faults;
        faults.trace.line(format_args!("{name} begins"));
        let queue = UnreliableQueue { faults: Arc::clone(faults), queue: Arc::clone(&self.services.queue) };
        let watched =
            intercepted(&self.services, &Arc::new(Watcher { process: name.clone(), watch: Arc::clone(&self.watch) }));
        let table = PartialInsertTable { faults: Arc::clone(faults), table: Arc::clone(&watched.table) };
        let services = Ports { queue: Arc::new(queue), table: Arc::new(table), ..watched };
        let process = Process::new(name, faults);
        let most = u64::try_from(self.clock_skew.as_millis()).unwrap();
        let ahead = i64::try_from(faults.rng.number(0..most + 1)).unwrap() - i64::try_from(most / 2).unwrap();
        let ports = process.ports(&services, SignedDuration::from_millis(ahead));
        (process, ports)
    }

    /// A control context of a new process that knows all kinds.
    fn control(&self, what: &str) -> (Arc<Process>, ControlContext) {
        let (process, ports) = self.process(what);
        let control = ControlContext::new(ports, Arc::clone(&self.config), process.name.clone());
        let registry = registry(&self.notes, true);
        (process, ControlContext { readers: ScanThreads::Sender, ..control.with_registry(registry) })
    }

    /// Starts a worker. An old one does not know all kinds.
    pub(super) fn begin_worker(&self, is_old: bool) {
        let (process, ports) = self.process("worker");
        let poll = self.faults.rng.millis(500..4000);
        let settings = WorkerSettings { name: process.name.clone(), poll, ..program::settings(&self.config) };
        let context = WorkerContext::new(ports, settings).with_registry(registry(&self.notes, !is_old));
        let consumer = Consumer::new(context, process.stop.clone());
        tokio::spawn(async move { consumer.run().await });
        self.workers.lock().unwrap().push(process);
    }

    pub(super) fn begin_dispatcher(&self) {
        let (process, control) = self.control("dispatcher");
        let stop = process.stop.clone();
        tokio::spawn(async move { serve(&control, RunUntil::Stopped, &stop).await });
        self.dispatchers.lock().unwrap().push(process);
    }

    fn is_over(&self) -> bool {
        self.watch.seen().job.state.is_terminal()
    }

    /// Waits until the job has ended, and approves rings that wait for approval.
    pub(super) async fn wait_for_end(&self) {
        let id = self.watch.seen().job.id.clone();
        while !self.is_over() {
            if self.watch.seen().job.approvals.is_some() {
                let (_, control) = self.control("approve");
                // Usually no ring waits.
                let _ = approve(&control.jobs, &id, None, "someone").await;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}

/// Runs a fleet: faults and random events, a quiet end, retries until everything has succeeded, and the checks.
pub(super) async fn run(fleet: &Arc<GraphFleet>) {
    let rng = &fleet.faults.rng;
    fleet.plan().await;
    (0..1 + rng.index(2)).for_each(|_| fleet.begin_dispatcher());
    (0..1 + rng.index(3)).for_each(|_| fleet.begin_worker(rng.chance(0.4)));
    for _ in 0..rng.number(2..25) {
        tokio::time::sleep(rng.seconds(0..40)).await;
        random_event(fleet);
    }
    fleet.faults.end();
    fleet.faults.trace.line("the end of chaos");
    fleet.begin_dispatcher();
    fleet.begin_worker(false);
    let calm = async {
        while fleet.faults.under_way.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(rng.millis(1..1000)).await;
        }
        fleet.wait_for_end().await;
        fleet.watch.check_end();
        fleet.notes.may_fail.store(false, Ordering::Relaxed);
        retry_until_succeeded(fleet).await;
    };
    if tokio::time::timeout(CALM, calm).await.is_err() {
        let seen = fleet.watch.seen();
        let open = seen.rows.values().filter(|row| !row.state.is_terminal());
        let open: Vec<String> = open.map(|row| format!("{} is {}", row.id, row.state)).collect();
        let state = seen.job.state;
        drop(seen);
        fleet
            .faults
            .trace
            .record_violation(format_args!("the job is {state} after {CALM:?} of calm: {}", open.join(", ")));
    }
}

async fn retry_until_succeeded(fleet: &Arc<GraphFleet>) {
    let id = fleet.watch.seen().job.id.clone();
    for _ in 0..RETRIES {
        if fleet.watch.seen().job.state == JobState::Succeeded {
            return;
        }
        let (_, control) = fleet.control("retry");
        if let Err(error) = retry(&control, &id, &RetryFilter::default()).await {
            fleet.faults.trace.record_violation(format_args!("the job cannot be retried: {error}"));
        }
        fleet.wait_for_end().await;
        fleet.watch.check_end();
    }
    let state = fleet.watch.seen().job.state;
    if state != JobState::Succeeded {
        fleet.faults.trace.record_violation(format_args!("the job is {state} after {RETRIES} retries"));
    }
}

/// Something that happens to a fleet.
fn random_event(fleet: &Arc<GraphFleet>) {
    let rng = &fleet.faults.rng;
    match rng.number(0..100) {
        0..25 => {
            stop_one(fleet, &fleet.workers);
            fleet.begin_worker(rng.chance(0.3));
        }
        25..40 => freeze_one(fleet, &fleet.workers),
        40..55 => {
            stop_one(fleet, &fleet.dispatchers);
            fleet.begin_dispatcher();
        }
        55..65 => freeze_one(fleet, &fleet.dispatchers),
        65..72 => command(fleet, "cancel"),
        72..85 => command(fleet, "retry"),
        _ => command(fleet, "approve"),
    }
}

fn stop_one(fleet: &GraphFleet, processes: &Mutex<Vec<Arc<Process>>>) {
    let mut processes = processes.lock().unwrap();
    if processes.is_empty() {
        return;
    }
    let index = fleet.faults.rng.index(processes.len());
    let process = processes.swap_remove(index);
    if fleet.faults.rng.chance(0.7) { process.kill() } else { process.end() }
}

fn freeze_one(fleet: &GraphFleet, processes: &Mutex<Vec<Arc<Process>>>) {
    if let Some(process) = fleet.faults.rng.pick(&processes.lock().unwrap()) {
        process.freeze(fleet.faults.rng.seconds(1..200));
    }
}

/// Starts a command of an operator, which may be refused.
fn command(fleet: &Arc<GraphFleet>, what: &'static str) {
    let (process, control) = fleet.control(what);
    let (faults, id) = (Arc::clone(&fleet.faults), fleet.watch.seen().job.id.clone());
    tokio::task::spawn_local(async move {
        let result = match what {
            "cancel" => cancel(&control.jobs, &id).await.map(|counts| format!("{counts:?}")),
            "retry" => retry(&control, &id, &RetryFilter::default()).await.map(|count| format!("{count} rows")),
            _ => approve(&control.jobs, &id, None, "someone")
                .await
                .map(|result| format!("ring {}", result.approval.ring)),
        };
        let result = result.unwrap_or_else(|error| format!("failed: {error}"));
        faults.trace.line(format_args!("{} ends: {result}", process.name));
    });
}
