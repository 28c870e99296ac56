//! The cost of the dispatcher does not grow with the job: what it reads is counted for a small and a large job.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::reconcile::{JobCheck, evaluate_gate, reconcile_job_by_id};
use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::ids::JobId;
use goldfleet_model::job::Job;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{GroupId, Operation, OperationId, OperationState, StateCount};
use goldfleet_model::state::OperationEvent;
use goldfleet_modelled::{MemoryJobTable, MemoryQueue};
use goldfleet_ports::clock::{Clock, SystemClock, after};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::job_table::Change;
use goldfleet_ports::listing::Listing;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::intercept::{Call, Interceptor, intercepted};
use jiff::Timestamp;
use serde_json::json;

/// Counts the calls of each method of the job table, and the rows and ids that it returns.
#[derive(Default)]
struct Reads(Mutex<BTreeMap<&'static str, (usize, usize)>>);

impl Interceptor for Reads {
    async fn call<T: Send + 'static>(&self, Call { name, make, .. }: Call<'_, T>) -> PortResult<T> {
        let answer = make.await?;
        let mut reads = self.0.lock().unwrap();
        let (calls, rows) = reads.entry(name).or_default();
        *calls += 1;
        *rows += rows_in(&answer);
        drop(reads);
        Ok(answer)
    }
}

/// The number of rows in an answer of the job table.
fn rows_in(answer: &(dyn Any + Send)) -> usize {
    let rows = answer.downcast_ref::<Listing<Versioned<Operation>>>().map(|listing| listing.rows.len());
    let ids = answer.downcast_ref::<Vec<OperationId>>().map(Vec::len);
    let counts = answer.downcast_ref::<Vec<StateCount>>().map(Vec::len);
    rows.or(ids).or(counts).unwrap_or(0)
}

fn job() -> Job {
    serde_json::from_value(json!({
        "id": "20261121-041502-7f3a",
        "image": { "name": "golden", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "payload": { "os": "linux", "generation": "v2", "size": 1 << 20, "data_bytes": 4096 },
        "selection": [], "state": "running", "plan": 1, "operations": 1, "announced": true,
        "created": Timestamp::now(), "updated": Timestamp::now(),
    }))
    .unwrap()
}

/// A job with `operations` rows: half of the targets are in ring 0, and those of ring 1 wait for them.
fn graph(job: &Job, operations: u32) -> Vec<Operation> {
    let gate = GateKey::ring(1);
    // Nothing is overdue.
    let later = after(job.updated, Duration::from_secs(3600));
    let target = |n: u32| {
        let (group, is_first) = (GroupId::of("westeurope", &[&n.to_string()]), n.is_multiple_of(2));
        let row = |step: &str, position: u16, state: OperationState| -> Operation {
            let mut row: Operation = serde_json::from_value(json!({
                "job": job.id, "id": OperationId::new(group.clone(), step), "plan": 1, "image": job.image(), "kind": step,
                "position": position, "place": { "region": "westeurope", "label": n.to_string() },
                "spec": { "v": 1, "data": null }, "state": state, "attempts": 0, "failures": 0,
                "progress": { "bytes_total": 9, "bytes_done": 0, "bytes_moved": 0 },
                "created": later, "updated": later,
            }))
            .unwrap();
            if is_first {
                row.opens = vec![gate.clone()];
            } else if position == 0 {
                row.after = vec![After { gate: gate.clone(), on: GateCondition::Opened, count: operations / 2 }];
            }
            row
        };
        let copy = if is_first { OperationState::Ready } else { OperationState::Waiting };
        [row("copy", 0, copy), row("image", 1, OperationState::Waiting)]
    };
    (0..operations / 2).flat_map(target).collect()
}

/// What the evaluation of a closed gate and a pass of the reconciler read.
async fn reads(fleet: &InProcessFleet, ports: Ports, operations: u32) -> [BTreeMap<&'static str, (usize, usize)>; 2] {
    let job = job();
    ports.table.insert_job(&job).await.unwrap();
    let rows = graph(&job, operations);
    ports.table.insert_operations(&rows).await.unwrap();
    for row in rows.iter().filter(|row| row.state == OperationState::Ready) {
        let message = Message::operation(&job.id, &row.id).encode();
        ports.queue.send(QueueName::Copy, &message, Duration::ZERO).await.unwrap();
    }
    let counted = async |control: ControlContext, reads: Arc<Reads>| {
        evaluate_gate(&control.jobs, &job.id, &GateKey::ring(1)).await.unwrap();
        let of_gate = std::mem::take(&mut *reads.0.lock().unwrap());
        assert_eq!(reconcile_job_by_id(&control, &job.id).await.unwrap(), JobCheck::Open);
        [of_gate, std::mem::take(&mut *reads.0.lock().unwrap())]
    };
    let reads = Arc::new(Reads::default());
    let control = fleet.control_with(intercepted(&ports, &reads));
    counted(control, reads).await
}

/// A gate whose openers have not ended is evaluated with one look at its index, and a pass of the reconciler over a job
/// that needs no repair reads counts. Neither depends on the size of the job.
#[tokio::test(flavor = "multi_thread")]
async fn reads_of_gates_and_passes_do_not_grow_with_the_job() {
    let in_memory = |fleet: &InProcessFleet| {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let table = Arc::new(MemoryJobTable::new(Arc::clone(&clock), Duration::ZERO));
        Ports { table, queue: Arc::new(MemoryQueue::new(clock, Duration::ZERO)), ..fleet.ports.clone() }
    };
    let embedded = |fleet: &InProcessFleet| fleet.ports.clone();
    let adapters: [&dyn Fn(&InProcessFleet) -> Ports; 2] = [&embedded, &in_memory];
    for ports in adapters {
        let (small, large) = (InProcessFleet::new(), InProcessFleet::new());
        let few = reads(&small, ports(&small), 300).await;
        let many = reads(&large, ports(&large), 10_000).await;
        assert_eq!(few, many);
        let of_gate = [("JobTable.job", (1, 0)), ("JobTable.openers", (1, 0))];
        assert_eq!(many[0], BTreeMap::from(of_gate));
        assert!(many[1].values().map(|(_, rows)| rows).sum::<usize>() < 10, "{:?}", many[1]);
    }
}

/// When a gate opens, the rows that wait for it are read and released, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn opened_gate_reads_only_the_rows_that_wait() {
    let fleet = InProcessFleet::new();
    let (job, table) = (job(), &fleet.ports.table);
    table.insert_job(&job).await.unwrap();
    let mut rows = graph(&job, 400);
    // Ring 0 is large and has succeeded, ring 1 is small.
    rows.retain(|row| !row.opens.is_empty() || row.place.label.parse::<u32>().unwrap() < 20);
    table.insert_operations(&rows).await.unwrap();
    for row in table.operations(&job.id).await.unwrap().into_iter().filter(|row| !row.value.opens.is_empty()) {
        let mut done = row.value.clone();
        done.state = OperationState::Succeeded;
        table.commit(&[Change::new(&row, done)], &[]).await.unwrap();
    }
    let reads = Arc::new(Reads::default());
    let control = fleet.control_with(intercepted(&fleet.ports, &reads));
    evaluate_gate(&control.jobs, &job.id, &GateKey::ring(1)).await.unwrap();
    let counted = reads.0.lock().unwrap().clone();
    assert_eq!(counted["JobTable.awaiting"].1, 10);
    assert_eq!(counted["JobTable.list_group"], (10, 20));
    assert_eq!(counted.get("JobTable.list_operations"), None);
    assert_eq!(counted["Queue.send"].0, 10);
    let released = ready(&fleet, &job.id).await;
    assert_eq!(released, 10);
}

async fn ready(fleet: &InProcessFleet, job: &JobId) -> usize {
    let rows = fleet.ports.table.operations(job).await.unwrap();
    rows.iter().filter(|row| row.value.state == OperationState::Ready).count()
}

/// If a gate breaks, one evaluation blocks everything behind it, and the gates behind that.
#[tokio::test(flavor = "multi_thread")]
async fn broken_gate_blocks_all_rings_behind_it() {
    let fleet = InProcessFleet::new();
    let (job, table) = (job(), &fleet.ports.table);
    table.insert_job(&job).await.unwrap();
    let mut rows = graph(&job, 8);
    let last = OperationId::new(GroupId::of("eastus", &["last"]), "copy");
    let wait = After { gate: GateKey::ring(2), on: GateCondition::Opened, count: 4 };
    rows.push(Operation { id: last.clone(), opens: Vec::new(), after: vec![wait], ..rows[2].clone() });
    let third = rows.len() - 1;
    rows[third].state = OperationState::Waiting;
    for row in rows.iter_mut().filter(|row| row.opens.is_empty() && row.id != last) {
        row.opens = vec![GateKey::ring(2)];
    }
    table.insert_operations(&rows).await.unwrap();
    let (now, control) = (Timestamp::now(), fleet.control_with_own_ports());
    for row in table.operations(&job.id).await.unwrap().into_iter().filter(|row| row.value.opens == [GateKey::ring(1)])
    {
        let mut ended = row.value.clone();
        let event = ended.apply(OperationEvent::Cancel, now, "test").unwrap();
        table.commit(&[Change::new(&row, ended)], &[event]).await.unwrap();
    }
    evaluate_gate(&control.jobs, &job.id, &GateKey::ring(1)).await.unwrap();
    let rows = table.operations(&job.id).await.unwrap();
    assert!(rows.iter().all(|row| row.value.state == OperationState::Cancelled), "{rows:#?}");
    let stopped = table.operation(&job.id, &last).await.unwrap().unwrap().value;
    assert_eq!(stopped.failure.unwrap().code, "ring-stopped");
    assert_eq!(reconcile_job_by_id(&control, &job.id).await.unwrap(), JobCheck::Ended);
}
