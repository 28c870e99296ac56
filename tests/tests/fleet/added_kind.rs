//! A kind of operation that is defined here and registered with one line runs through the whole engine. No other file
//! knows it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_dispatcher::control::artifacts::artifact_record;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::request::{job_payload, new_job};
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::service::{RunUntil, run};
use goldfleet_dispatcher::control::status::{ReportedState, Status, status};
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyScope, verify};
use goldfleet_dispatcher::dashboard::feed::read_view;
use goldfleet_dispatcher::dashboard::throughput::Throughput;
use goldfleet_kinds::attempt_error::AttemptError;
use goldfleet_kinds::context::{Attempt, write_spec};
use goldfleet_kinds::kind::{Kind, Probe};
use goldfleet_kinds::outcome::{StepError, StepOutcome};
use goldfleet_kinds::registry::Registry;
use goldfleet_model::document::Document;
use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState, Subject};
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::{GroupId, Operation, OperationId, OperationState, Place};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::job_table::Change;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use tokio_util::sync::CancellationToken;

/// The effects of all operations, and the operations that must fail.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    written: BTreeSet<String>,
    failing: BTreeSet<String>,
    /// In the order of execution.
    runs: Vec<String>,
}

/// A kind that writes a note with the operation's id.
struct Note(Notes);

#[async_trait]
impl Kind for Note {
    fn id(&self) -> &'static str {
        "note"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Notes written"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        Some(format!("note {}", operation.id.step()))
    }

    async fn probe(&self, _ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let is_written = self.0.0.lock().unwrap().written.contains(&operation.id.to_string());
        Ok(if is_written { Probe::Done } else { Probe::Absent })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let id = attempt.operation.id.to_string();
        {
            let mut state = self.0.0.lock().unwrap();
            state.runs.push(id.clone());
            if state.failing.contains(&id) {
                return Err(AttemptError::fatal("note-refused", "nobody takes notes today").into());
            }
            state.written.insert(id.clone());
        }
        attempt.lease.put_output(write_spec(&id)).await?;
        Ok(StepOutcome::Done)
    }
}

struct Scene {
    fleet: InProcessFleet,
    notes: Notes,
    registry: Registry,
    job: JobId,
}

impl Scene {
    /// A job with two groups of two notes that open a gate, a group behind it, and a note that always runs.
    async fn new() -> Self {
        let fleet = InProcessFleet::new();
        fleet.upload(&fleet.ports, "1").await.unwrap();
        let notes = Notes::default();
        // The registration of the kind.
        let registry = Registry::default().with(Note(notes.clone()));
        let job = Self::job(&fleet).await;
        let scene = Self { fleet, notes, registry, job: job.id.clone() };
        let rows = scene.rows(&job);
        let planned = Job { state: JobState::Running, plan: 1, operations: Some(rows.len() as u64), ..job };
        let table = &scene.fleet.ports.table;
        table.insert_job(&planned).await.unwrap();
        table.insert_operations(&rows).await.unwrap();
        scene.control().jobs.enqueue_job(&scene.job).await.unwrap();
        scene
    }

    async fn job(fleet: &InProcessFleet) -> Job {
        let now = fleet.ports.clock.now();
        let control = fleet.control_with_own_ports();
        let (name, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
        let artifact = artifact_record(&control.ports, &control.config, &name, &version).await.unwrap().artifact;
        let image = artifact.named(&name, &version);
        let subject = Subject::Image { image, payload: job_payload(&artifact, None), delivery: None };
        let job = new_job(JobId::new(now, 7), subject, Vec::new(), now);
        Job { kinds: vec!["note".parse().unwrap()], ..job }
    }

    fn rows(&self, job: &Job) -> Vec<Operation> {
        let gate: GateKey = "chapter.2".parse().unwrap();
        let after = vec![After { gate: gate.clone(), on: GateCondition::Opened, count: 4 }];
        let ended = vec![After { gate: gate.clone(), on: GateCondition::Ended, count: 4 }];
        let mut rows = Vec::new();
        for group in ["one", "two"] {
            for (position, step) in (0..).zip(["first", "second"]) {
                let state = if position == 0 { OperationState::Ready } else { OperationState::Waiting };
                let opens = vec![gate.clone()];
                rows.push(Operation { position, opens, state, ..self.row(job, group, step) });
            }
        }
        rows.push(Operation { after, ..self.row(job, "three", "first") });
        rows.push(Operation { always: true, after: ended, ..self.row(job, "four", "clean-up") });
        rows
    }

    fn row(&self, job: &Job, group: &str, step: &str) -> Operation {
        let now = self.fleet.ports.clock.now();
        let place = Place { region: "westeurope".parse().unwrap(), label: format!("notebook {group}"), target: None };
        Operation {
            image: job.image().cloned(),
            spec: Document { v: 1, data: serde_json::Value::Null },
            ..Operation::waiting(&job.id, id(group, step), "note".parse().unwrap(), place, now)
        }
    }

    fn control(&self) -> ControlContext {
        self.fleet.control_with_own_ports().with_registry(self.registry.clone())
    }

    /// Runs a dispatcher and a worker until the job has ended.
    async fn run(&self) -> Status {
        let stop = CancellationToken::new();
        let (serving, serving_stop) = (self.control(), stop.clone());
        let dispatcher = tokio::spawn(async move { run(&serving, RunUntil::Stopped, &serving_stop).await });
        let context = WorkerContext::new(self.fleet.ports.clone(), self.fleet.settings());
        let consumer = Consumer::new(context.with_registry(self.registry.clone()), stop.clone());
        let worker = tokio::spawn(async move { consumer.run().await });
        let ended = async {
            while !self.control().jobs.job(&self.job).await.unwrap().value.state.is_terminal() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the job did not end");
        stop.cancel();
        dispatcher.await.unwrap();
        worker.await.unwrap();
        self.status().await
    }

    async fn status(&self) -> Status {
        let control = self.control();
        status(&control.jobs, &control.jobs.job(&self.job).await.unwrap().value).await.unwrap()
    }

    async fn states(&self) -> Vec<(String, OperationState)> {
        let rows = self.fleet.ports.table.operations(&self.job).await.unwrap();
        rows.into_iter().map(|row| (row.value.place.label, row.value.state)).collect()
    }

    /// Makes the notes of these operations fail.
    fn refuse(&self, ids: &[OperationId]) {
        self.notes.0.lock().unwrap().failing = ids.iter().map(ToString::to_string).collect();
    }

    fn position(&self, id: &OperationId) -> usize {
        let runs = &self.notes.0.lock().unwrap().runs;
        runs.iter().rposition(|run| *run == id.to_string()).unwrap()
    }
}

fn id(group: &str, step: &str) -> OperationId {
    OperationId::new(GroupId::of(group, &[group]), step)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_one_file_runs_in_the_order_of_its_graph() {
    let scene = Scene::new().await;
    let status = scene.run().await;
    assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
    let phase = status.phases.of_kind("note");
    assert_eq!((phase.title, phase.total, phase.succeeded, status.phases.named().len()), ("Notes written", 6, 6, 1));
    let behind = scene.position(&id("three", "first"));
    for group in ["one", "two"] {
        assert!(scene.position(&id(group, "first")) < scene.position(&id(group, "second")));
        assert!(scene.position(&id(group, "second")) < behind, "the gate is opened by all");
    }
    let row = scene.fleet.ports.table.operation(&scene.job, &id("one", "first")).await.unwrap().unwrap().value;
    assert_eq!(row.output.unwrap().read::<String>(1).unwrap(), row.id.to_string());

    let control = scene.control();
    let view = read_view(&control.jobs, &scene.job, &mut Throughput::default()).await.unwrap().to_json();
    assert_eq!(view["status"]["phases"]["note"]["title"], "Notes written");
    let makes: Vec<_> = view["operations"].as_array().unwrap().iter().map(|line| line["makes"].clone()).collect();
    assert!(makes.contains(&"note clean-up".into()), "{makes:?}");

    let job = control.jobs.job(&scene.job).await.unwrap().value;
    let scope = VerifyScope::scope_of_job(&control, &job).await.unwrap();
    let report = verify(&control, job.image(), &scope, VerifyOptions::default(), &|_| {}).await.unwrap();
    assert_eq!((report.others, report.faults.len()), (6, 0), "{report:#?}");
    scene.notes.0.lock().unwrap().written.remove(&id("two", "second").to_string());
    let report = verify(&control, job.image(), &scope, VerifyOptions::default(), &|_| {}).await.unwrap();
    assert_eq!(report.faults.len(), 1, "{report:#?}");
    assert_eq!(
        (report.faults[0].place.as_str(), report.faults[0].fault.as_str()),
        ("note notebook two", "is not there")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_blocks_what_needs_it_and_a_retry_runs_only_that() {
    let scene = Scene::new().await;
    scene.refuse(&[id("one", "first")]);
    let status = scene.run().await;
    assert_eq!(status.state, ReportedState::Failed, "{status:#?}");
    assert_eq!(status.failures.iter().map(|failure| failure.code.as_str()).collect::<Vec<_>>(), ["note-refused"]);
    let phase = status.phases.of_kind("note");
    assert_eq!((phase.succeeded, phase.failed, phase.cancelled), (3, 1, 2), "{:?}", scene.states().await);
    let code = async |id| {
        let row = scene.fleet.ports.table.operation(&scene.job, &id).await.unwrap().unwrap().value;
        let failure = row.failure.unwrap();
        (failure.code, failure.message)
    };
    assert_eq!(
        code(id("one", "second")).await,
        ("predecessor-failed".to_owned(), "note failed: note-refused".to_owned())
    );
    let (broken, why) = code(id("three", "first")).await;
    assert_eq!(
        (broken.as_str(), why.as_str()),
        ("gate-broken", "gate chapter.2 is not opened: note of notebook one failed")
    );

    scene.refuse(&[]);
    let before = scene.notes.0.lock().unwrap().runs.len();
    assert_eq!(retry(&scene.control(), &scene.job, &RetryFilter::default()).await.unwrap(), 3);
    let status = scene.run().await;
    assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
    assert_eq!(scene.notes.0.lock().unwrap().runs.len(), before + 3, "what was done is not done again");
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_up_runs_despite_a_cancellation() {
    let scene = Scene::new().await;
    let counts = cancel(&scene.control().jobs, &scene.job).await.unwrap();
    assert_eq!((counts.cancelled, counts.done), (5, 0), "{counts:?}");
    let status = scene.run().await;
    assert_eq!(status.state, ReportedState::Cancelled, "{status:#?}");
    assert_eq!(*scene.notes.0.lock().unwrap().runs, [id("four", "clean-up").to_string()]);
}

/// A program that does not know the kind leaves its rows and messages to one that does.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_know_the_kind_leaves_it_alone() {
    let scene = Scene::new().await;
    let stop = CancellationToken::new();
    let (serving, serving_stop) = (scene.control(), stop.clone());
    let dispatcher = tokio::spawn(async move { run(&serving, RunUntil::Stopped, &serving_stop).await });
    let consumer = Consumer::new(WorkerContext::new(scene.fleet.ports.clone(), scene.fleet.settings()), stop.clone());
    let worker = tokio::spawn(async move { consumer.run().await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    dispatcher.await.unwrap();
    worker.await.unwrap();
    assert!(scene.states().await.iter().all(|(_, state)| !state.is_terminal()), "{:?}", scene.states().await);
    assert_eq!(scene.fleet.drain_dead_letters().await, 0);
    // The status shows it nevertheless.
    let phase = scene.fleet.status(&scene.job).await.phases.of_kind("note");
    assert_eq!((phase.total, phase.title), (6, ""));
}

/// The job was cancelled before the fan-out had sent its messages, and the message of the clean-up is lost.
#[tokio::test(flavor = "multi_thread")]
async fn clean_up_of_a_job_that_was_never_announced_runs() {
    let scene = Scene::new().await;
    let control = scene.control();
    assert!(!control.jobs.job(&scene.job).await.unwrap().value.announced);
    cancel(&control.jobs, &scene.job).await.unwrap();
    let clean_up = id("four", "clean-up");
    let row = scene.fleet.ports.table.operation(&scene.job, &clean_up).await.unwrap().unwrap();
    let ready = Operation { state: OperationState::Ready, opened: true, ..row.value.clone() };
    scene.fleet.ports.table.commit(&[Change::new(&row, ready)], &[]).await.unwrap();
    let status = scene.run().await;
    assert_eq!(status.state, ReportedState::Cancelled, "{status:#?}");
    assert_eq!(*scene.notes.0.lock().unwrap().runs, [clean_up.to_string()]);
}
