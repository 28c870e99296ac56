//! The gates of copies.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use goldfleet_model::graph::{After, GateCondition, GateKey};

use crate::names;
use crate::plan::{Copy, Plan};
use crate::rules::{PARALLEL_COPIES, Rules};

/// The number of hexadecimal digits of hashes in the keys of gates.
const DIGITS: usize = 12;

/// The gates of one copy.
#[derive(Debug, Clone, Default)]
pub(super) struct Edges {
    pub(super) after: Vec<After>,
    pub(super) opens: Vec<GateKey>,
}

/// The gates of all copies of a plan, in its order.
pub(super) fn of(plan: &Plan<'_>, rules: &Rules, scratch: &BTreeMap<&str, Vec<usize>>) -> Vec<Edges> {
    let mut edges = vec![Edges::default(); plan.copies.len()];
    let mut limited: BTreeMap<String, Vec<Vec<usize>>> = BTreeMap::new();
    for ((destination, family), chain) in chains(&plan.copies) {
        for (number, pair) in chain.windows(2).enumerate() {
            let gate = gate(&format!("family.{}.{destination}.{number}", names::hash(&[&family], DIGITS)));
            edges[pair[0]].opens.push(gate.clone());
            edges[pair[1]].after.push(After { gate, on: GateCondition::Opened, count: 1 });
        }
        let copy = &plan.copies[chain[0]];
        if copy.method.is_limited() {
            limited.entry(place(rules, copy)).or_default().push(chain);
        }
    }
    for (place, chains) in limited {
        share_lanes(plan, &place, chains, &mut edges);
    }
    for (source, copies) in scratch {
        for copy in copies {
            edges[*copy].after.push(After { gate: ready(source), on: GateCondition::Opened, count: 2 });
            edges[*copy].opens.push(used(source));
        }
    }
    edges
}

/// The copies that run one after the other, by destination and family. A full snapshot has no predecessor.
fn chains(copies: &[Copy<'_>]) -> BTreeMap<(usize, String), Vec<usize>> {
    let mut chains: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
    for (index, copy) in copies.iter().enumerate() {
        let family = if copy.source.incremental { copy.source.family() } else { copy.source.unique_id.clone() };
        chains.entry((copy.destination, family)).or_default().push(index);
    }
    chains
}

/// The place that a limit of the service applies to.
fn place(rules: &Rules, copy: &Copy<'_>) -> String {
    let destination = &rules.destinations[copy.destination];
    format!("{}-{}", destination.region, destination.group.subscription)
}

/// Distributes chains over as many lanes as copies may run at the same time, the largest first, each to the lane with
/// the least data.
fn share_lanes(plan: &Plan<'_>, place: &str, mut chains: Vec<Vec<usize>>, edges: &mut [Edges]) {
    if chains.len() <= PARALLEL_COPIES {
        return;
    }
    let bytes = |chain: &[usize]| -> u64 {
        chain.iter().map(|index| plan.copies[*index].source.size.unwrap_or(1)).fold(0, u64::saturating_add)
    };
    // A copy that began in an earlier run counts already, so it is the first of its lane.
    let began = |chain: &[usize]| plan.copies[chain[0]].underway;
    chains.sort_by_key(|chain| Reverse((began(chain), bytes(chain))));
    let mut lanes: Vec<(u64, Vec<Vec<usize>>)> = vec![(0, Vec::new()); PARALLEL_COPIES];
    for chain in chains {
        let size = bytes(&chain);
        if let Some(lane) = lanes.iter_mut().min_by_key(|(bytes, chains)| (*bytes, chains.len())) {
            lane.0 = lane.0.saturating_add(size);
            lane.1.push(chain);
        }
    }
    for (lane, (_, chains)) in lanes.iter().enumerate() {
        for (number, pair) in chains.windows(2).enumerate() {
            let gate = gate(&format!("lane.{place}.{lane}.{number}"));
            if let (Some(last), Some(first)) = (pair[0].last(), pair[1].first()) {
                edges[*last].opens.push(gate.clone());
                edges[*first].after.push(After { gate, on: GateCondition::Ended, count: 1 });
            }
        }
    }
}

/// The gate that the temporaries of a source open.
pub(super) fn ready(source: &str) -> GateKey {
    gate(&format!("scratch.{}.ready", names::hash(&[source], DIGITS)))
}

/// The gate that the copies from the temporaries of a source open.
pub(super) fn used(source: &str) -> GateKey {
    gate(&format!("scratch.{}.used", names::hash(&[source], DIGITS)))
}

fn gate(text: &str) -> GateKey {
    #[expect(
        clippy::expect_used,
        reason = "regions, subscriptions, hashes and numbers are letters, digits and hyphens"
    )]
    text.parse().expect("the key of a gate")
}
