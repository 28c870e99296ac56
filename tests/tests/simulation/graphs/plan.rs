//! Random graphs.

use goldfleet_model::document::Document;
use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{GroupId, Operation, OperationId, OperationState, Place};
use jiff::Timestamp;

use super::note::{KINDS, LATER};
use crate::rng::SimRng;

/// The job of a graph, planned and not announced. With approvals, its gates are rings.
pub(super) fn job(with_approvals: bool, now: Timestamp) -> Job {
    let mut row = serde_json::json!({
        "id": "20261121-041502-7f3a",
        "image": { "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "payload": { "os": "linux", "generation": "v2", "size": 1 << 20, "data_bytes": 4096 },
        "selection": [], "state": "running", "plan": 1, "created": now, "updated": now,
    });
    if with_approvals {
        row["approvals"] = serde_json::json!([]);
    }
    serde_json::from_value(row).unwrap()
}

fn row(job: &Job, group: &GroupId, position: u16, kind: &str) -> Operation {
    let id = OperationId::new(group.clone(), &format!("step{position}"));
    let place = Place { region: "westeurope".parse().unwrap(), label: group.to_string(), target: None };
    Operation {
        image: job.image().cloned(),
        position,
        spec: Document { v: 1, data: serde_json::Value::Null },
        ..Operation::waiting(&job.id, id, kind.parse().unwrap(), place, job.created)
    }
}

/// The shape of a graph.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// The greatest number of layers.
    pub(super) layers: u64,
    /// The least and the greatest number of groups of a layer.
    pub(super) width: (u64, u64),
    /// The greatest number of rows of a group.
    pub(super) depth: u64,
}

/// Layers of groups. Some rows of a layer open the gate of the next layer, and some rows of the next layer wait for it.
pub(super) fn graph(rng: &SimRng, job: &Job, shape: Shape) -> Vec<Operation> {
    let gate_of = |layer: u64| match job.approvals {
        Some(_) => GateKey::ring(u32::try_from(layer).unwrap()),
        None => format!("layer.{layer}").parse().unwrap(),
    };
    let mut rows: Vec<Operation> = Vec::new();
    // The number of openers of the gate of each layer.
    let mut openers = vec![0];
    for layer in 0..rng.number(1..shape.layers + 1) {
        let mut opening = 0;
        for number in 0..rng.number(shape.width.0..shape.width.1 + 1) {
            let group = GroupId::of("g", &[&layer.to_string(), &number.to_string()]);
            for position in 0..rng.number(1..shape.depth + 1) {
                let kind = if rng.chance(0.1) { LATER } else { rng.pick(&KINDS).copied().unwrap() };
                let mut row = row(job, &group, u16::try_from(position).unwrap(), kind);
                row.always = rng.chance(0.15);
                let on = || if rng.chance(0.7) { GateCondition::Opened } else { GateCondition::Ended };
                for (gate, count) in (0..).zip(&openers).filter(|(_, count)| **count > 0) {
                    let is_next = gate == layer;
                    // A row waits for one ring at most: an operator approves the lowest ring for which a row waits.
                    let others = if job.approvals.is_some() { 0.0 } else { 0.15 };
                    if (position == 0 || rng.chance(0.2)) && rng.chance(if is_next { 0.8 } else { others }) {
                        row.after.push(After { gate: gate_of(gate), on: on(), count: *count });
                    }
                }
                if rng.chance(0.6) {
                    row.opens.push(gate_of(layer + 1));
                    opening += 1;
                }
                if rng.chance(0.1) && !rows.is_empty() {
                    row.streams.push(rows[rng.index(rows.len())].id.clone());
                }
                if position == 0 && row.after.is_empty() {
                    row.state = OperationState::Ready;
                }
                rows.push(row);
            }
        }
        openers.push(opening);
    }
    rows
}
