//! One run: chaos, then quiet, then what operators would do to have everything right, then the judgement.

use std::cell::RefCell;
use std::panic;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::Duration;

use goldfleet_model::job::JobState;
use goldfleet_model::message::QueueName;
use goldfleet_ports::chance;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::acts;
use crate::golden::golden;
use crate::judge;
use crate::mend;
use crate::stage::Stage;

/// The longest that a fleet may take in virtual time to do what is left to do, once nothing goes wrong any more.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a run went.
pub(crate) struct Outcome {
    /// What was wrong.
    pub(crate) wrong: Vec<String>,
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
    let seeded = chance::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let commands = LocalSet::new();
    let stage = commands.block_on(&runtime, async {
        let stage = Stage::set(seed, keep_all);
        live(&stage).await;
        stage
    });
    drop((commands, runtime));
    drop(seeded);
    let mut wrong = stage.chaos.trace.wrongs();
    wrong.extend(PANICS.take().into_iter().flatten());
    Outcome { wrong, end: stage.chaos.trace.end(), digest: stage.chaos.trace.digest() }
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

async fn live(stage: &Arc<Stage>) {
    judge::put_foreign(stage).await;
    let (workers, dispatchers, acts, pause, nights) = {
        let scene = stage.scene.lock().unwrap();
        (scene.workers, scene.dispatchers, scene.acts, scene.pause, scene.nights)
    };
    (0..dispatchers).for_each(|_| stage.begin_dispatcher());
    (0..workers).for_each(|_| stage.begin_worker());
    acts::roll_out(stage, &golden().versions[0]);
    let reaping = tokio::task::spawn_local(acts::reap(Arc::clone(stage)));
    for _ in 0..acts {
        stage.sleep(stage.chaos.dice.millis(0..pause * 1000)).await;
        acts::act(stage).await;
    }
    for _ in 0..nights {
        acts::night(stage).await;
    }
    stage.chaos.end();
    reaping.abort();
    stage.chaos.trace.line("the end of chaos");
    stage.begin_dispatcher();
    stage.begin_worker();
    let calm = async {
        stage.commands_end().await;
        all_arrived(stage).await;
        all_ended(stage).await;
        mend::mend(stage).await;
        queues_empty(stage).await;
    };
    if tokio::time::timeout(DAY, calm).await.is_err() {
        stage.chaos.trace.wrong("a day after the end of chaos it has not come to rest");
    }
    judge::judge(stage).await;
}

/// Waits until no call is on its way that whoever sent it has given up.
async fn all_arrived(stage: &Stage) {
    let before = stage.chaos.trace.digest().1;
    while stage.chaos.under_way.load(Ordering::Relaxed) > 0 {
        // Not in step with the polls of others, whose calls are under way too.
        stage.sleep(stage.chaos.dice.millis(1..1000)).await;
    }
    let lines = stage.chaos.trace.digest().1 - before;
    stage.chaos.trace.line(format_args!("what was late has arrived, {lines} lines later"));
}

/// Waits until every job has ended, and approves what waits for that.
pub(crate) async fn all_ended(stage: &Arc<Stage>) {
    loop {
        let open: Vec<_> = {
            let kept = stage.ledger.kept.lock().unwrap();
            kept.jobs.values().filter(|job| !job.state.is_terminal()).cloned().collect()
        };
        if open.is_empty() {
            return;
        }
        for job in open.iter().filter(|job| job.state == JobState::Running && job.approvals.is_some()) {
            let (_, desk) = stage.desk("approve");
            // Mostly none waits.
            let _ = goldfleet_dispatcher::control::approve::approve(&desk, &job.id, None, "someone").await;
        }
        stage.sleep(Duration::from_secs(5)).await;
    }
}

/// Waits until no message is left but those that were given up.
async fn queues_empty(stage: &Stage) {
    let begun = Instant::now();
    for queue in QueueName::ALL.into_iter().filter(|queue| *queue != QueueName::Poison) {
        while stage.services.queue.depth(queue).await.unwrap() > 0 {
            stage.sleep(Duration::from_secs(5)).await;
        }
    }
    stage.chaos.trace.line(format_args!("queues were empty after {:?}", begun.elapsed()));
}
