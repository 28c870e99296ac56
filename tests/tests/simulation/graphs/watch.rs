//! Watches every write to the rows of a job, and checks the rules of the graph. It is a second, simple definition of
//! them.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use goldfleet_model::event::Event;
use goldfleet_model::graph::{After, GateCondition};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationId, OperationState};
use goldfleet_ports::clock::{Clock, after};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::job_table::Change;
use goldfleet_tests::intercept::{Call, Interceptor};

use crate::faults::FaultInjector;
use crate::rules;

/// The state of the job, as the writes so far made it.
pub(super) struct Watch {
    faults: Arc<FaultInjector>,
    clock: Arc<dyn Clock>,
    clock_skew: Duration,
    seen: Mutex<Seen>,
    writing: tokio::sync::Mutex<()>,
}

pub(super) struct Seen {
    pub(super) job: Job,
    pub(super) rows: BTreeMap<OperationId, Operation>,
    /// How often each row has ended since it was last retried.
    ends: BTreeMap<OperationId, u32>,
    /// The calls of each method by workers.
    pub(super) calls: BTreeMap<&'static str, usize>,
}

impl Watch {
    pub(super) fn new(
        faults: &Arc<FaultInjector>,
        (clock, clock_skew): (Arc<dyn Clock>, Duration),
        job: &Job,
        rows: &[Operation],
    ) -> Arc<Self> {
        let rows = rows.iter().map(|row| (row.id.clone(), row.clone())).collect();
        let seen = Seen { job: job.clone(), rows, ends: BTreeMap::new(), calls: BTreeMap::new() };
        Arc::new(Self {
            faults: Arc::clone(faults),
            clock,
            clock_skew,
            seen: Mutex::new(seen),
            writing: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn wrong(&self, text: impl std::fmt::Display) {
        self.faults.trace.record_violation(text);
    }

    fn job(&self, process: &str, job: Job, events: &[Event]) {
        let mut seen = self.seen();
        for Event { what, from, to, .. } in events {
            self.faults.trace.line(format_args!("{process}: job {what}, {from} to {to}"));
        }
        if let Err(why) = rules::job(seen.job.state, job.state, events) {
            self.wrong(format_args!("{process} took the job {why}"));
        }
        let open = seen.rows.values().filter(|row| !row.state.is_terminal()).count();
        if job.state.is_terminal() && !seen.job.state.is_terminal() && open > 0 {
            self.wrong(format_args!("{process} ended the job with {open} open rows"));
        }
        seen.job = job;
    }

    fn row(&self, process: &str, row: Operation, all: &[Event]) {
        let mut seen = self.seen();
        let events: Vec<&Event> = all.iter().filter(|event| event.operation.as_ref() == Some(&row.id)).collect();
        for Event { what, from, to, why, .. } in &events {
            let why = why.as_deref().unwrap_or_default();
            self.faults.trace.line(format_args!("{process}: {} {what}, {from} to {to} {why}", row.id));
        }
        let Some(before) = seen.rows.get(&row.id) else {
            return self.wrong(format_args!("{process} wrote a row that was never planned: {}", row.id));
        };
        let now = after(self.clock.now(), self.clock_skew);
        let (was_over, is_over) = (before.state.is_terminal(), row.state.is_terminal());
        for why in rules::operation(before, &row, &events, process, now) {
            self.wrong(format_args!("{process} wrote {}: {why}", row.id));
        }
        for event in events {
            self.event(&seen, process, &row, &event.what);
        }
        match (was_over, is_over) {
            (false, true) => *seen.ends.entry(row.id.clone()).or_default() += 1,
            (true, false) => drop(seen.ends.remove(&row.id)),
            _ => {}
        }
        seen.rows.insert(row.id.clone(), row);
    }

    fn event(&self, seen: &Seen, process: &str, row: &Operation, what: &str) {
        match what {
            "claim" => {
                if let Some(why) = seen.obstacle(row) {
                    self.wrong(format_args!("{process} began {} {why}", row.id));
                }
            }
            "open" => {
                for after in row.after.iter().filter(|after| !seen.allows(row, after)) {
                    self.wrong(format_args!("{process} opened {} for {}", after.gate, row.id));
                }
            }
            _ => {}
        }
    }

    /// Checks the rows of a job that has ended.
    pub(super) fn check_end(&self) {
        let seen = self.seen();
        for row in seen.rows.values() {
            if !row.state.is_terminal() {
                self.wrong(format_args!("the job has ended, and {} is {}", row.id, row.state));
            }
            let is_run = matches!(row.state, OperationState::Succeeded | OperationState::Failed);
            if row.always && (!is_run || seen.ends.get(&row.id) != Some(&1)) {
                let ends = seen.ends.get(&row.id).copied().unwrap_or_default();
                self.wrong(format_args!("{} always runs once, and is {} after {ends} ends", row.id, row.state));
            }
        }
    }
}

impl Seen {
    /// Why a row may not begin: a row before it in its group, or a gate.
    fn obstacle(&self, row: &Operation) -> Option<String> {
        let before =
            self.rows.values().filter(|other| other.id.group() == row.id.group() && other.position < row.position);
        let may_follow = |state: OperationState| if row.always { state.is_terminal() } else { state.is_done() };
        if let Some(before) = before.into_iter().find(|before| !may_follow(before.state)) {
            return Some(format!("after {}, which is {}", before.id, before.state));
        }
        row.awaits_gate().then(|| "before its gates".to_owned())
    }

    /// Whether the openers of a gate allow a row behind it to begin. A broken gate does not stop a row that always
    /// runs.
    fn allows(&self, row: &Operation, after: &After) -> bool {
        let mut openers = self.rows.values().filter(|row| row.opens.contains(&after.gate));
        match after.on {
            GateCondition::Opened if !row.always => openers.all(|opener| opener.state.is_done()),
            GateCondition::Opened | GateCondition::Ended => openers.all(|opener| opener.state.is_terminal()),
        }
    }
}

/// The wrapper that is closest to the services.
pub(super) struct Watcher {
    /// The process that makes the calls.
    pub(super) process: String,
    pub(super) watch: Arc<Watch>,
}

impl Interceptor for Watcher {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let change = Written::of(name, arguments);
        // With adapters that use threads, writes are recorded in the order of their effects only if they are made one
        // by one.
        let _one_by_one = match &change {
            Some(_) => Some(self.watch.writing.lock().await),
            None => None,
        };
        if self.process.starts_with("worker") {
            *self.watch.seen().calls.entry(name).or_default() += 1;
        }
        let answer = make.await;
        match change.filter(|_| answer.is_ok()) {
            Some(Written::Job(job, events)) => self.watch.job(&self.process, *job, &events),
            Some(Written::Rows(changes, events)) => {
                for change in changes {
                    self.watch.row(&self.process, change.operation, &events);
                }
            }
            None => {}
        }
        answer
    }
}

/// A write to the table.
enum Written {
    Job(Box<Job>, Vec<Event>),
    Rows(Vec<Change>, Vec<Event>),
}

impl Written {
    fn of(name: &str, arguments: &[&(dyn Any + Sync)]) -> Option<Self> {
        match name {
            "JobTable.commit_job" => Some(Self::Job(Box::new(argument(arguments)?), argument(arguments)?)),
            "JobTable.commit" => Some(Self::Rows(argument(arguments)?, argument(arguments)?)),
            _ => None,
        }
    }
}

/// The first argument of a type.
fn argument<T: Any + Clone>(arguments: &[&(dyn Any + Sync)]) -> Option<T> {
    arguments.iter().find_map(|argument| {
        let argument: &dyn Any = *argument;
        argument.downcast_ref::<T>().cloned()
    })
}
