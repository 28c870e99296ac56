//! One run: faults, then quiet, then what operators would do to have everything right, then the judgement.

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
use crate::fleet::SimFleet;
use crate::golden::golden;
use crate::invariants;
use crate::operator_repair;

/// The longest that a fleet may take in virtual time to do what is left to do, once nothing goes wrong any more.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a run went.
pub(crate) struct Outcome {
    /// What was wrong.
    pub(crate) violations: Vec<String>,
    /// The end of the trace.
    pub(crate) end: String,
    /// A number for the whole trace, and its lines.
    pub(crate) digest: (u64, u64),
}

thread_local! {
    /// What tasks said that panicked in the run that this thread is at, if it is at one.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs a seed. With `keep_all`, all of its trace is kept.
pub(crate) fn run(seed: u64, keep_all: bool) -> Outcome {
    golden();
    note_panics();
    PANICS.set(Some(Vec::new()));
    let seeded = rng::seed_thread(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let commands = LocalSet::new();
    let fleet = commands.block_on(&runtime, async {
        let fleet = SimFleet::set(seed, keep_all);
        run_faulty_phase(&fleet).await;
        fleet
    });
    drop((commands, runtime));
    drop(seeded);
    let mut wrong = fleet.faults.trace.violations();
    wrong.extend(PANICS.take().into_iter().flatten());
    Outcome { violations: wrong, end: fleet.faults.trace.end(), digest: fleet.faults.trace.digest() }
}

/// Keeps what a task says that panics: nobody waits for most of them.
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

/// Waits until no call is on its way that whoever sent it has given up.
async fn wait_for_pending_calls(fleet: &SimFleet) {
    let before = fleet.faults.trace.digest().1;
    while fleet.faults.under_way.load(Ordering::Relaxed) > 0 {
        // Not in step with the polls of others, whose calls are under way too.
        fleet.sleep(fleet.faults.rng.millis(1..1000)).await;
    }
    let lines = fleet.faults.trace.digest().1 - before;
    fleet.faults.trace.line(format_args!("what was late has arrived, {lines} lines later"));
}

/// Waits until every job has ended, and approves what waits for that.
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
            // Mostly none waits.
            let _ = goldfleet_dispatcher::control::approve::approve(&control, &job.id, None, "someone").await;
        }
        fleet.sleep(Duration::from_secs(5)).await;
    }
}

/// Waits until no message is left but those that were given up.
async fn wait_for_empty_queues(fleet: &SimFleet) {
    let begun = Instant::now();
    for queue in QueueName::ALL.into_iter().filter(|queue| *queue != QueueName::DeadLetter) {
        while fleet.services.queue.depth(queue).await.unwrap() > 0 {
            fleet.sleep(Duration::from_secs(5)).await;
        }
    }
    fleet.faults.trace.line(format_args!("queues were empty after {:?}", begun.elapsed()));
}
