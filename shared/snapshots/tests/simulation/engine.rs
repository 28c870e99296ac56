//! Runs the rows of a graph in random order, with kills, retries and cancellation.

use std::collections::BTreeMap;

use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_snapshots::graph::Row;
use goldfleet_snapshots::rules::Rules;

use crate::environment;
use crate::service::Service;
use crate::step::{Phase, Progress, advance};

/// The number of failed attempts after which a row fails.
const ATTEMPTS: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Succeeded,
    /// It failed or was cancelled.
    Bad,
}

struct Work {
    row: Row,
    state: State,
    phase: Phase,
    attempts: u32,
    /// Whether it was cancelled or blocked, and did not fail itself.
    is_cancelled: bool,
}

impl Work {
    fn ended(&self) -> bool {
        self.state != State::Waiting
    }
}

/// Runs all groups until every row has ended.
pub(crate) fn run(groups: Vec<Vec<Row>>, rules: &Rules, service: &mut Service) {
    let mut groups: Vec<Vec<Work>> = groups
        .into_iter()
        .map(|rows| {
            let work = |row| Work { row, state: State::Waiting, phase: Phase::Probe, attempts: 0, is_cancelled: false };
            rows.into_iter().map(work).collect()
        })
        .collect();
    let mut is_cancelled = false;
    for steps in 0.. {
        if service.faulty && !is_cancelled && service.rng.chance(0.006) {
            is_cancelled = true;
            service.log(|| "cancelled".to_owned());
        }
        propagate(&mut groups, is_cancelled);
        let runnable = runnable(&groups);
        let Some((group, row)) = service.rng.pick(&runnable) else { break };
        if steps > 20_000 {
            service.invariants.violations.push("the rows make no progress".to_owned());
            return;
        }
        if service.faulty && service.rng.chance(0.02) {
            // A worker is killed. The successor knows only the row.
            groups[group][row].phase = Phase::Probe;
        }
        if service.faulty && service.rng.chance(0.02) {
            environment::act(service, rules);
        }
        let is_cancelled = groups[group][..row].iter().any(|work| work.is_cancelled);
        step(&mut groups[group][row], is_cancelled, rules, service);
    }
    if groups.iter().flatten().any(|work| !work.ended()) {
        service.invariants.violations.push("rows wait for a gate that never opens".to_owned());
    }
}

fn step(work: &mut Work, is_cancelled: bool, rules: &Rules, service: &mut Service) {
    let progress = advance(&work.row, is_cancelled, &mut work.phase, rules, service);
    let id = &work.row.id;
    if !matches!(progress, Progress::Continue | Progress::Wait) {
        service.log(|| format!("row {id}: {progress:?}"));
    }
    match progress {
        Progress::Continue | Progress::Wait => {}
        Progress::Retry => {
            work.attempts += 1;
            // Faults end some time, so what must run is retried until it succeeds.
            if work.attempts >= ATTEMPTS && !work.row.always {
                work.state = State::Bad;
            }
        }
        Progress::Succeeded | Progress::Skipped => work.state = State::Succeeded,
        Progress::Failed(_) => work.state = State::Bad,
    }
}

/// Ends the rows that cannot run any more.
fn propagate(groups: &mut [Vec<Work>], is_cancelled: bool) {
    loop {
        let gates = gates(groups);
        let mut changed = false;
        for group in groups.iter_mut() {
            let mut is_broken = false;
            for work in group {
                let is_blocked = work.row.after.iter().any(|after| is_broken_gate(&gates, after));
                if !work.ended() && !work.row.always && (is_broken || is_blocked || is_cancelled) {
                    work.state = State::Bad;
                    work.is_cancelled = true;
                    changed = true;
                }
                is_broken |= work.state == State::Bad;
            }
        }
        if !changed {
            return;
        }
    }
}

/// The openers of each gate.
fn gates(groups: &[Vec<Work>]) -> BTreeMap<GateKey, Vec<State>> {
    let mut gates: BTreeMap<GateKey, Vec<State>> = BTreeMap::new();
    for work in groups.iter().flatten() {
        for gate in &work.row.opens {
            gates.entry(gate.clone()).or_default().push(work.state);
        }
    }
    gates
}

fn has_ended(gates: &BTreeMap<GateKey, Vec<State>>, after: &After) -> bool {
    let openers = &gates[&after.gate];
    assert_eq!(openers.len(), usize::try_from(after.count).unwrap(), "gate {}", after.gate);
    openers.iter().all(|state| *state != State::Waiting)
}

fn is_broken_gate(gates: &BTreeMap<GateKey, Vec<State>>, after: &After) -> bool {
    after.on == GateCondition::Opened && has_ended(gates, after) && gates[&after.gate].contains(&State::Bad)
}

fn runnable(groups: &[Vec<Work>]) -> Vec<(usize, usize)> {
    let gates = gates(groups);
    let mut runnable = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        let Some(next) = group.iter().position(|work| !work.ended()) else { continue };
        if group[next].row.after.iter().all(|after| has_ended(&gates, after)) {
            runnable.push((number, next));
        }
    }
    runnable
}
