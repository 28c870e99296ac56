//! Random graphs under random events: the rules of the graph hold in every schedule.
//!
//! The rows are in memory. Each step is one commit: a worker claims or ends a row, an operator cancels or retries, or
//! the dispatcher evaluates gates. `GOLDFLEET_GRAPHS` sets the number of schedules.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;

use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Failure, GateRole, GroupId, Lease, Operation, OperationId, OperationState, Place};
use goldfleet_model::state::OperationEvent;
use goldfleet_ports::commit::Commit;
use goldfleet_ports::{ETag, Versioned};
use goldfleet_workflow::expire::expire_lease;
use goldfleet_workflow::gates::{GateState, Gates};
use goldfleet_workflow::group::GroupChange;
use goldfleet_workflow::retry::{self, RetryRules, RetryStart};
use goldfleet_workflow::validate::GraphCheck;
use jiff::Timestamp;
use uuid::Uuid;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// `SplitMix64`: a small generator. The seed determines its sequence.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

fn job(with_approvals: bool) -> Job {
    let mut row = serde_json::json!({
        "id": "20261121-041502-7f3a",
        "image": { "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "payload": { "os": "linux", "generation": "v2", "size": 1 << 20, "data_bytes": 4096 },
        "selection": [], "state": "running",
        "created": "1970-01-01T00:00:00Z", "updated": "1970-01-01T00:00:00Z",
    });
    if with_approvals {
        row["approvals"] = serde_json::json!([]);
    }
    serde_json::from_value(row).unwrap()
}

fn operation(job: &Job, group: &GroupId, position: u16) -> Operation {
    let id = OperationId::new(group.clone(), &format!("step{position}"));
    let place = Place { region: "westeurope".parse().unwrap(), label: group.to_string(), target: None };
    let image = job.image().cloned();
    Operation { image, position, ..Operation::waiting(&job.id, id, "test".parse().unwrap(), place, NOW) }
}

/// Layers of groups. Some rows of a layer open the gate of the next layer, and some rows of the next layer wait for it.
fn random_graph(rng: &mut Rng, job: &Job) -> Vec<Vec<Operation>> {
    let mut groups: Vec<Vec<Operation>> = Vec::new();
    let mut openers = 0;
    for layer in 0..=rng.below(3) {
        let gate: GateKey = if job.approvals.is_some() {
            GateKey::ring(u32::try_from(layer).unwrap())
        } else {
            format!("layer.{layer}").parse().unwrap()
        };
        let next: GateKey = if job.approvals.is_some() {
            GateKey::ring(u32::try_from(layer).unwrap() + 1)
        } else {
            format!("layer.{}", layer + 1).parse().unwrap()
        };
        let (count, mut opening) = (openers, 0);
        // Some layers are wide, for fan-in and fan-out.
        let width = if rng.chance(10) { 40 } else { 1 + rng.below(5) };
        for number in 0..width {
            let group = GroupId::of("g", &[&layer.to_string(), &number.to_string()]);
            let mut rows: Vec<Operation> =
                (0..=rng.below(4)).map(|n| operation(job, &group, u16::try_from(n).unwrap())).collect();
            for row in &mut rows {
                row.always = rng.chance(15);
                if layer > 0 && count > 0 && (row.position == 0 || rng.chance(20)) && rng.chance(80) {
                    let on = if rng.chance(70) { GateCondition::Opened } else { GateCondition::Ended };
                    row.after.push(After { gate: gate.clone(), on, count });
                }
                if rng.chance(60) {
                    row.opens.push(next.clone());
                    opening += 1;
                }
            }
            groups.push(rows);
        }
        openers = opening;
    }
    groups
}

struct World {
    job: Job,
    groups: BTreeMap<GroupId, Vec<Versioned<Operation>>>,
    /// How often each row has ended since it last started.
    ends: BTreeMap<String, u32>,
    commits: usize,
}

impl World {
    fn new(job: Job, graph: Vec<Vec<Operation>>) -> Self {
        let mut check = GraphCheck::default();
        let mut groups = BTreeMap::new();
        for rows in graph {
            check.group(&rows).unwrap();
            let rows: Vec<_> = rows.into_iter().map(|value| Versioned { value, etag: ETag("0".to_owned()) }).collect();
            groups.insert(rows[0].value.id.group().clone(), rows);
        }
        check.finish().unwrap();
        Self { job, groups, ends: BTreeMap::new(), commits: 0 }
    }

    fn rows(&self) -> impl Iterator<Item = &Operation> {
        self.groups.values().flatten().map(|row| &row.value)
    }

    /// The rows in one of these states.
    fn among(&self, states: &[OperationState]) -> Vec<OperationId> {
        self.rows().filter(|row| states.contains(&row.state)).map(|row| row.id.clone()).collect()
    }

    fn change(&mut self, group: &GroupId, change: impl FnOnce(&mut GroupChange<'_>)) {
        let rows = self.groups[group].clone();
        let mut pending = GroupChange::new(&rows, NOW, "test");
        change(&mut pending);
        let commit = pending.into_commit();
        self.write(commit);
    }

    fn write(&mut self, commit: Commit) {
        self.commits += usize::from(!commit.is_empty());
        for change in commit.changes {
            let rows = self.groups.get_mut(change.operation.id.group()).unwrap();
            let row = rows.iter_mut().find(|row| row.value.id == change.operation.id).unwrap();
            assert_eq!(row.etag, change.if_match);
            let ended = !row.value.state.is_terminal() && change.operation.state.is_terminal();
            if ended {
                *self.ends.entry(row.value.id.to_string()).or_default() += 1;
            }
            row.etag = ETag((row.etag.0.parse::<u64>().unwrap() + 1).to_string());
            row.value = change.operation;
        }
    }

    /// Checks at every claim that the chain and the gates allow it.
    fn check_claim(&self, id: &OperationId) {
        let rows = &self.groups[id.group()];
        let own = rows.iter().find(|row| row.value.id == *id).unwrap();
        for before in rows.iter().filter(|row| row.value.position < own.value.position) {
            let state = before.value.state;
            assert!(if own.value.always { state.is_terminal() } else { state.is_done() }, "{id} begins after {state}");
        }
        assert!(!own.value.awaits_gate(), "{id} begins before its gates");
    }

    /// The dispatcher's pass over all groups.
    fn reconcile(&mut self) {
        self.check_gates(&Gates::of(&self.rows().cloned().collect::<Vec<_>>()));
        let gates = self.indexed_gates();
        self.check_gates(&gates);
        let job = self.job.clone();
        for group in self.groups.keys().cloned().collect::<Vec<_>>() {
            self.change(&group, |change| gates.apply(&job, change, NOW));
        }
    }

    /// The gates as an index of roles shows them.
    fn indexed_gates(&self) -> Gates {
        let mut with_role: BTreeMap<(GateKey, GateRole), &Operation> = BTreeMap::new();
        for row in self.rows() {
            for role in row.gate_roles() {
                with_role.entry(role).or_insert(row);
            }
        }
        let mut gates = Gates::default();
        for gate in self.rows().flat_map(|row| &row.opens) {
            let first = |role| with_role.get(&(gate.clone(), role)).copied();
            let bad = first(GateRole::Failed).or(first(GateRole::Cancelled));
            gates.add(gate.clone(), first(GateRole::Pending).is_some(), bad);
        }
        gates
    }

    /// Checks that the state of each gate corresponds to its openers.
    fn check_gates(&self, gates: &Gates) {
        for row in self.rows() {
            for after in &row.after {
                let openers: Vec<&Operation> = self.rows().filter(|other| other.opens.contains(&after.gate)).collect();
                let all_ended = openers.iter().all(|opener| opener.state.is_terminal());
                let all_done = openers.iter().all(|opener| opener.state.is_done());
                match (gates.state(&self.job, after), after.on) {
                    (GateState::Closed, _) => assert!(!all_ended),
                    (GateState::Open, GateCondition::Ended) => assert!(all_ended),
                    (GateState::Open, GateCondition::Opened) => assert!(all_done),
                    (GateState::AwaitsApproval, _) => assert!(all_done && self.job.approvals.is_some()),
                    (GateState::Broken { message, .. }, on) => {
                        assert!(all_ended && !all_done && on == GateCondition::Opened);
                        assert!(message.contains("test of g-"), "{message}");
                    }
                }
            }
        }
    }

    fn work(&mut self, rng: &mut Rng) {
        let ready = self.among(&[OperationState::Ready]);
        let running = self.among(&[OperationState::Running, OperationState::Cancelling]);
        if !ready.is_empty() && (running.is_empty() || rng.chance(50)) {
            let id = ready[rng.below(ready.len())].clone();
            self.check_claim(&id);
            let lease = Lease { token: Uuid::nil(), holder: "worker".to_owned(), process: None, expires: NOW };
            self.change(id.group(), |change| change.apply(&id, OperationEvent::Claim(lease)).unwrap());
        } else if !running.is_empty() {
            let id = running[rng.below(running.len())].clone();
            self.end(rng, &id);
        }
    }

    fn end(&mut self, rng: &mut Rng, id: &OperationId) {
        let state = self.groups[id.group()].iter().find(|row| row.value.id == *id).unwrap().value.state;
        let failure = Failure { code: "test".to_owned(), message: "test".to_owned(), request_id: None, at: NOW };
        let is_cancelling = state == OperationState::Cancelling;
        let event = match rng.below(10) {
            0 => OperationEvent::Fail(failure),
            1 => {
                self.change(id.group(), |change| {
                    change.transform(id, |row, now, who| expire_lease(row, 3, now, who)).unwrap();
                    change.advance();
                });
                return;
            }
            2 if !is_cancelling => OperationEvent::Defer(NOW),
            3 if !is_cancelling => OperationEvent::Retry(failure, NOW),
            4 if is_cancelling => OperationEvent::ConfirmCancel,
            _ => OperationEvent::Succeed,
        };
        self.change(id.group(), |change| {
            change.apply(id, event).unwrap();
            change.advance();
        });
    }

    fn cancel(&mut self) {
        for group in self.groups.keys().cloned().collect::<Vec<_>>() {
            self.change(&group, |change| {
                let ids: Vec<OperationId> = change
                    .operations()
                    .filter(|row| !row.always && !row.state.is_terminal() && row.state != OperationState::Cancelling)
                    .map(|row| row.id.clone())
                    .collect();
                for id in ids {
                    change.apply(&id, OperationEvent::Cancel).unwrap();
                }
                change.advance();
            });
        }
    }

    fn retry(&mut self) -> bool {
        let gates = Gates::of(&self.rows().cloned().collect::<Vec<_>>());
        let job = self.job.clone();
        let rules = RetryRules {
            selects: &|_| true,
            runs_again: &|_| false,
            lacks_input: &|row| row.failure.as_ref().is_some_and(|failure| failure.code == "lost-input"),
            output_may_be_missing: &|_| false,
            gates_are_open: &|row| gates.state_for(&job, row) == GateState::Open,
            includes_predecessors: true,
        };
        let mut retried = false;
        for group in self.groups.keys().cloned().collect::<Vec<_>>() {
            let rows = self.groups[&group].clone();
            let in_order: Vec<&Operation> = rows.iter().map(|row| &row.value).collect();
            if let RetryStart::From(from) = retry::start(&in_order, &rules) {
                retried = true;
                self.change(&group, |change| retry::apply(change, from, &rules));
            }
        }
        if retried {
            self.ends.clear();
        }
        retried
    }

    fn is_over(&self) -> bool {
        self.rows().all(|row| row.state.is_terminal())
    }

    /// Works until nothing is left to do, and checks that no row waits forever.
    fn run_to_the_end(&mut self, rng: &mut Rng) {
        for step in 0.. {
            assert!(step < 100_000, "it does not end");
            if self.among(&[OperationState::Ready, OperationState::Running, OperationState::Cancelling]).is_empty() {
                let before = self.commits;
                self.reconcile();
                self.approve();
                if self.commits == before && self.among(&[OperationState::Ready]).is_empty() {
                    break;
                }
            } else {
                self.work(rng);
                if rng.chance(20) {
                    self.reconcile();
                }
            }
        }
        self.reconcile();
        let waiting = self.among(&[OperationState::Waiting]);
        assert!(waiting.is_empty(), "these wait forever: {waiting:?}");
        assert!(self.is_over());
    }

    /// Approves every ring that waits for an approval.
    fn approve(&mut self) {
        let gates = Gates::of(&self.rows().cloned().collect::<Vec<_>>());
        let afters: Vec<After> = self.rows().flat_map(|row| row.after.clone()).collect();
        for after in afters {
            if gates.state(&self.job, &after) == GateState::AwaitsApproval {
                let ring = after.gate.as_ring().expect("only rings are approved");
                self.job.apply(goldfleet_model::state::JobEvent::Approve(ring), NOW, "alice").unwrap();
                self.commits += 1;
            }
        }
    }

    /// Checks that rows that always run have ended exactly once since the last retry.
    fn check_always_rows(&self) {
        for row in self.rows().filter(|row| row.always) {
            assert!(
                matches!(row.state, OperationState::Succeeded | OperationState::Failed),
                "{} always runs, and is {}",
                row.id,
                row.state
            );
            assert!(self.ends.get(&row.id.to_string()).copied().unwrap_or(1) == 1, "{} ended twice", row.id);
        }
    }
}

fn schedule(seed: u64) {
    let mut rng = Rng(seed);
    let job = job(rng.chance(30));
    let graph = random_graph(&mut rng, &job);
    let mut world = World::new(job, graph);
    // The first rows of chains without a gate are ready from the start.
    world.reconcile();
    if rng.chance(30) {
        for _ in 0..rng.below(30) {
            world.work(&mut rng);
        }
        world.cancel();
    }
    world.run_to_the_end(&mut rng);
    world.check_always_rows();
    for _ in 0..3 {
        if !world.retry() {
            break;
        }
        world.run_to_the_end(&mut rng);
        world.check_always_rows();
    }
}

#[test]
fn the_rules_hold_in_every_schedule() {
    let schedules = std::env::var("GOLDFLEET_GRAPHS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    for seed in 0..schedules {
        if let Err(panic) = std::panic::catch_unwind(|| schedule(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
