//! One run: faults, a quiet time, the actions of operators that repair everything, and the checks.

use std::cell::RefCell;
use std::panic;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::Duration;

use goldfleet_model::job::JobState;
use goldfleet_model::message::QueueName;
use goldfleet_ports::rng;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::actions;
use crate::faults::FaultInjector;
use crate::fleet::SimFleet;
use crate::golden::golden;
use crate::invariants;
use crate::operator_repair;

/// The maximum virtual time that a fleet may take for the remaining work after the faults have ended.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The result of a run.
pub(crate) struct Outcome {
    /// The violations.
    pub(crate) violations: Vec<String>,
    /// The end of the trace.
    pub(crate) end: String,
    /// A hash of the whole trace, and the number of its lines.
    pub(crate) digest: (u64, u64),
}

thread_local! {
    /// The panic messages of tasks in the run of this thread. None outside a run.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs a seed. With `keep_all`, the complete trace is kept.
pub(crate) fn run(seed: u64, keep_all: bool) -> Outcome {
    golden();
    run_seed(seed, keep_all, async move |keep_all| {
        let fleet = SimFleet::set(seed, keep_all);
        run_faulty_phase(&fleet).await;
        Arc::clone(&fleet.faults)
    })
}

/// Runs a simulation in virtual time, on one thread whose random values `seed` determines. It returns its faults, which
/// have the trace.
pub(crate) fn run_seed(seed: u64, keep_all: bool, simulation: impl AsyncFnOnce(bool) -> Arc<FaultInjector>) -> Outcome {
    note_panics();
    PANICS.set(Some(Vec::new()));
    let seeded = rng::seed_thread(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let commands = LocalSet::new();
    let faults = commands.block_on(&runtime, simulation(keep_all));
    drop((commands, runtime));
    drop(seeded);
    let mut violations = faults.trace.violations();
    violations.extend(PANICS.take().into_iter().flatten());
    Outcome { violations, end: faults.trace.end(), digest: faults.trace.digest() }
}

/// Records the messages of panicking tasks, because most tasks are not awaited.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let other = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| match panics {
                Some(panics) => panics.push(format!("a panic: {info}")),
                None => other(info),
            });
        }));
    });
}

async fn run_faulty_phase(fleet: &Arc<SimFleet>) {
    invariants::put_foreign(fleet).await;
    let (workers, dispatchers, acts, pause, nights) = {
        let scenario = fleet.scenario.lock().unwrap();
        (scenario.workers, scenario.dispatchers, scenario.acts, scenario.pause, scenario.nights)
    };
    (0..dispatchers).for_each(|_| fleet.begin_dispatcher());
    (0..workers).for_each(|_| fleet.begin_worker());
    actions::roll_out(fleet, &golden().versions[0]);
    let reaping = tokio::task::spawn_local(actions::replace_workers(Arc::clone(fleet)));
    for _ in 0..acts {
        fleet.sleep(fleet.faults.rng.millis(0..pause * 1000)).await;
        actions::random_action(fleet).await;
    }
    for _ in 0..nights {
        actions::advance_a_day(fleet).await;
    }
    fleet.faults.end();
    reaping.abort();
    fleet.faults.trace.line("the end of chaos");
    fleet.begin_dispatcher();
    fleet.begin_worker();
    let calm = async {
        fleet.commands_end().await;
        wait_for_pending_calls(fleet).await;
        wait_for_jobs(fleet).await;
        operator_repair::repair_as_documented(fleet).await;
        wait_for_empty_queues(fleet).await;
    };
    if tokio::time::timeout(DAY, calm).await.is_err() {
        fleet.faults.trace.record_violation("a day after the end of chaos it has not come to rest");
    }
    invariants::check_invariants(fleet).await;
}

/// Waits until all calls that their senders have abandoned have arrived.
async fn wait_for_pending_calls(fleet: &SimFleet) {
    let before = fleet.faults.trace.digest().1;
    while fleet.faults.under_way.load(Ordering::Relaxed) > 0 {
        // A random interval, so that it is not synchronised with other polls, whose calls count too.
        fleet.sleep(fleet.faults.rng.millis(1..1000)).await;
    }
    let lines = fleet.faults.trace.digest().1 - before;
    fleet.faults.trace.line(format_args!("what was late has arrived, {lines} lines later"));
}

/// Waits until every job has ended, and approves rings that wait for approval.
pub(crate) async fn wait_for_jobs(fleet: &Arc<SimFleet>) {
    loop {
        let open: Vec<_> = {
            let kept = fleet.reference.kept.lock().unwrap();
            kept.jobs.values().filter(|job| !job.state.is_terminal()).cloned().collect()
        };
        if open.is_empty() {
            return;
        }
        for job in open.iter().filter(|job| job.state == JobState::Running && job.approvals.is_some()) {
            let (_, control) = fleet.control("approve");
            // Usually no ring waits.
            let _ = goldfleet_dispatcher::control::approve::approve(&control.jobs, &job.id, None, "someone").await;
        }
        fleet.sleep(Duration::from_secs(5)).await;
    }
}

/// Waits until only dead letters are left in the queues.
async fn wait_for_empty_queues(fleet: &SimFleet) {
    let begun = Instant::now();
    for queue in QueueName::ALL.into_iter().filter(|queue| *queue != QueueName::DeadLetter) {
        while fleet.services.queue.depth(queue).await.unwrap() > 0 {
            fleet.sleep(Duration::from_secs(5)).await;
        }
    }
    fleet.faults.trace.line(format_args!("queues were empty after {:?}", begun.elapsed()));
}
