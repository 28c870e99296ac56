//! The view of a job on the page, made from its rows, and the difference between two views. No I/O.

use std::collections::{BTreeMap, HashMap, HashSet};

use goldfleet_kinds::kind::Transfer;
use goldfleet_kinds::registry::Registry;
use goldfleet_model::ids::Region;
use goldfleet_model::operation::{Failure, GroupId, KindId, Operation, OperationState};
use goldfleet_model::store::Store;
use goldfleet_ports::Versioned;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::throughput::Series;
use crate::control::explain;
use crate::control::status::Status;

/// An operation, as the page shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperationView {
    /// Its id in the job.
    pub id: String,
    /// Its kind.
    pub kind: KindId,
    /// The target's subscription. None for a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// The display name of the target's subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The region of its effect.
    pub region: String,
    /// What it creates: the location of a store, or the name of the managed image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub makes: Option<String>,
    /// Its state.
    pub state: OperationState,
    /// Bytes to put in place.
    pub total: u64,
    /// Bytes in place.
    pub done: u64,
    /// The number of claims.
    pub attempts: u32,
    /// The worker that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The time before which it is not retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Why it failed, or why it was last retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What to do about a failure. None if goldfleet does not know its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl OperationView {
    fn of(registry: &Registry, operation: &Operation) -> Self {
        let target = operation.target();
        Self {
            id: operation.id.to_string(),
            kind: operation.kind.clone(),
            subscription: target.map(|target| target.subscription.to_string()),
            name: target.and_then(|target| target.name.clone()),
            region: operation.place.region.to_string(),
            makes: registry.get(&operation.kind).and_then(|kind| kind.produces(operation)),
            state: operation.state,
            total: operation.progress.bytes_total,
            done: operation.progress.bytes_done,
            attempts: operation.attempts,
            worker: operation.lease.as_ref().map(|lease| lease.holder.clone()),
            not_before: operation.not_before,
            failure: operation.failure.clone(),
            remedy: remedy(operation),
        }
    }
}

fn remedy(operation: &Operation) -> Option<String> {
    let failure = operation.failure.as_ref().filter(|_| operation.state == OperationState::Failed)?;
    explain::remedy(&failure.code).map(|remedy| remedy.replace("JOB", operation.job.as_str()))
}

/// A store of the distribution tree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its account and container.
    pub store: String,
    /// Its region.
    pub region: String,
    /// The store that fills it, as an index into the list. The index is smaller than that of the store itself. None for
    /// a source store.
    pub parent: Option<usize>,
    /// The state of its seed. None for a source store, which is filled by uploads.
    pub state: Option<OperationState>,
    /// Bytes that it will hold.
    pub total: u64,
    /// Bytes that it holds.
    pub done: u64,
    /// Targets that read from it.
    pub targets: usize,
    /// Targets that read from it and have the image.
    pub images: usize,
    /// Targets that read from it and at which an operation failed.
    pub failed: usize,
}

/// The complete view of a job at a point in time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobView {
    /// The counts.
    pub status: Status,
    /// Every operation.
    pub operations: Vec<OperationView>,
    /// The distribution tree, parents before their children.
    pub tree: Vec<Node>,
    /// Bytes over time.
    pub throughput: Series,
}

impl JobView {
    /// The view of a job with this status and these rows.
    #[must_use]
    pub fn new(registry: &Registry, status: Status, rows: &[Versioned<Operation>], throughput: Series) -> Self {
        let operations = rows.iter().map(|row| OperationView::of(registry, &row.value)).collect();
        Self { status, operations, tree: tree(registry, rows), throughput }
    }

    /// The difference to `last`, in the form of the complete view: only operations that differ, and only the other
    /// parts that differ. None if nothing differs.
    #[must_use]
    pub fn diff(&self, last: &Self) -> Option<Value> {
        let mut delta = Map::new();
        let before: HashMap<&str, &OperationView> =
            last.operations.iter().map(|line| (line.id.as_str(), line)).collect();
        let changed: Vec<&OperationView> =
            self.operations.iter().filter(|line| before.get(line.id.as_str()) != Some(line)).collect();
        if !changed.is_empty() {
            delta.insert("operations".to_owned(), json!(changed));
        }
        if self.status != last.status {
            delta.insert("status".to_owned(), counts(&self.status));
        }
        if self.tree != last.tree {
            delta.insert("tree".to_owned(), json!(self.tree));
        }
        if self.throughput != last.throughput {
            delta.insert("throughput".to_owned(), json!(self.throughput));
        }
        (!delta.is_empty()).then_some(Value::Object(delta))
    }

    /// The complete view, in the form of [`JobView::diff`].
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "status": counts(&self.status),
            "operations": self.operations,
            "tree": self.tree,
            "throughput": self.throughput,
        })
    }
}

/// The status without its failures, which are part of the operations.
fn counts(status: &Status) -> Value {
    let mut value = json!(status);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("failures");
    }
    value
}

/// The distribution tree. Each operation names the stores that it fills and reads from.
fn tree(registry: &Registry, rows: &[Versioned<Operation>]) -> Vec<Node> {
    let transfers: Vec<(&Operation, Transfer)> = rows
        .iter()
        .filter_map(|row| Some((&row.value, registry.get(&row.value.kind)?.transfer(&row.value)?)))
        .collect();
    let mut plants: BTreeMap<&Store, NodeDraft> = BTreeMap::new();
    let mut reads: HashMap<&GroupId, &Store> = HashMap::new();
    let mut targets = HashSet::new();
    // Targets that copy from the hub of their region read from no store themselves.
    let mut hubs: HashMap<&Region, &Store> = HashMap::new();
    for (operation, Transfer { fills, from }) in &transfers {
        let Some(parent) = from.first() else { continue };
        let Some(store) = fills else {
            let plant = plants.entry(parent).or_default();
            let Some(target) = operation.target() else {
                hubs.insert(&operation.place.region, parent);
                continue;
            };
            // A target has an operation for each disk.
            plant.targets += usize::from(targets.insert(target.key()));
            plant.failed += usize::from(operation.state == OperationState::Failed);
            reads.insert(operation.id.group(), parent);
            continue;
        };
        let plant = plants.entry(store).or_default();
        plant.add_seed(operation);
        plant.parent = Some(parent);
        plants.entry(parent).or_default();
    }
    for operation in rows.iter().map(|row| &row.value) {
        if !registry.delivers(operation) {
            continue;
        }
        let (store, is_at_hub) = match reads.get(operation.id.group()) {
            Some(store) => (Some(store), false),
            None => (hubs.get(&operation.place.region), true),
        };
        let Some(plant) = store.and_then(|store| plants.get_mut(*store)) else { continue };
        plant.targets += usize::from(is_at_hub);
        plant.images += usize::from(operation.state.is_done());
        plant.failed += usize::from(operation.state == OperationState::Failed);
    }
    let mut nodes = Vec::with_capacity(plants.len());
    let roots: Vec<&Store> =
        plants.iter().filter(|(_, plant)| plant.parent.is_none()).map(|(store, _)| *store).collect();
    for root in roots {
        add_subtree(root, None, &plants, &mut nodes);
    }
    nodes
}

/// A store while the tree is built.
#[derive(Default)]
struct NodeDraft<'a> {
    /// The first state of [`SEED_STATES`] that one of its seeds has. There is a seed for each disk.
    state: Option<OperationState>,
    total: u64,
    done: u64,
    parent: Option<&'a Store>,
    targets: usize,
    images: usize,
    failed: usize,
}

/// The states of seeds, the most important first.
const SEED_STATES: [OperationState; 8] = [
    OperationState::Failed,
    OperationState::Cancelling,
    OperationState::Cancelled,
    OperationState::Running,
    OperationState::Ready,
    OperationState::Waiting,
    OperationState::Skipped,
    OperationState::Succeeded,
];

impl NodeDraft<'_> {
    fn add_seed(&mut self, seed: &Operation) {
        self.total += seed.progress.bytes_total;
        self.done += seed.progress.bytes_done;
        self.state = SEED_STATES.into_iter().find(|state| seed.state == *state || self.state == Some(*state));
    }
}

/// Adds a store, followed by all stores that it fills.
fn add_subtree<'a>(
    store: &'a Store,
    parent: Option<usize>,
    plants: &BTreeMap<&'a Store, NodeDraft<'a>>,
    nodes: &mut Vec<Node>,
) {
    // Each store occurs once in a tree. More nodes than stores would mean a cycle.
    let Some(plant) = plants.get(store).filter(|_| nodes.len() < plants.len()) else { return };
    let own = nodes.len();
    nodes.push(Node {
        store: store.container().to_string(),
        region: store.region.to_string(),
        parent,
        state: plant.state,
        total: plant.total,
        done: plant.done,
        targets: plant.targets,
        images: plant.images,
        failed: plant.failed,
    });
    for (child, _) in plants.iter().filter(|(_, plant)| plant.parent == Some(store)) {
        add_subtree(child, Some(own), plants, nodes);
    }
}
