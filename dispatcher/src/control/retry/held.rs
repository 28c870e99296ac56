//! Operations that are selected for a retry and would be blocked again: an operation of an earlier ring, or another one
//! that opens their gate, did not succeed and is not retried.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_workflow::retry::RetryStart;

/// The groups that a retry must leave as they are.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Their indexes.
    pub(super) groups: BTreeSet<usize>,
    /// The operations that must succeed first. None if there are no such groups.
    pub(super) reason: Option<String>,
}

/// Finds these groups. Each chain is a group in order, with the start of its retry.
pub(super) fn held_groups(chains: &[(Vec<&Operation>, RetryStart)]) -> Held {
    let mut held = Held::default();
    // A group that is held opens no gate either.
    loop {
        let broken = broken_gates(chains, &held.groups);
        let found: Vec<(usize, &GateKey, &Operation)> = (0..chains.len())
            .filter(|index| !held.groups.contains(index))
            .filter_map(|index| {
                let (rows, RetryStart::From(from)) = &chains[index] else { return None };
                let first = rows.get(*from).filter(|row| !row.always)?;
                let gates = first.after.iter().filter(|after| after.on == GateCondition::Opened);
                let (gate, bad) = gates.filter_map(|after| broken.get_key_value(&after.gate)).next()?;
                Some((index, *gate, *bad))
            })
            .collect();
        let Some((_, gate, bad)) = found.first() else { return held };
        held.reason.get_or_insert_with(|| reason(gate, bad));
        held.groups.extend(found.iter().map(|(index, ..)| index));
    }
}

/// The gates that stay broken, with the operation that breaks each: one that failed, or else one that was cancelled.
fn broken_gates<'a>(
    chains: &'a [(Vec<&'a Operation>, RetryStart)],
    held: &BTreeSet<usize>,
) -> BTreeMap<&'a GateKey, &'a Operation> {
    let mut broken: BTreeMap<&GateKey, &Operation> = BTreeMap::new();
    for (index, (rows, start)) in chains.iter().enumerate() {
        let from = match start {
            RetryStart::From(from) if !held.contains(&index) => *from,
            _ => rows.len(),
        };
        for row in rows[..from].iter().filter(|row| row.state.ended_badly()) {
            for gate in &row.opens {
                let known = broken.entry(gate).or_insert(row);
                if row.state == OperationState::Failed && known.state != OperationState::Failed {
                    *known = row;
                }
            }
        }
    }
    broken
}

fn reason(gate: &GateKey, bad: &Operation) -> String {
    let what = gate.as_ring().map_or_else(|| format!("gate {gate}"), |ring| format!("ring {ring}"));
    let ended = if bad.state == OperationState::Failed { "failed" } else { "was cancelled" };
    format!("{what} waits for {} of {}, which {ended} and is not selected", bad.kind, bad.place.label)
}
