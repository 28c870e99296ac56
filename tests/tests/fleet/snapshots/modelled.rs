//! A sync on the modelled cloud, in virtual time: copies between regions take time, and the service refuses more than
//! one copy of a disk at the same time.

use std::sync::Arc;
use std::time::Duration;

use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::service::{RunUntil, run};
use goldfleet_model::ids::JobId;
use goldfleet_model::job::JobState;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::resource::{Properties, ResourceType};
use goldfleet_modelled::{LimitMode, Model};
use goldfleet_ports::clock::TokioClock;
use goldfleet_rates::Rates;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::settings::WorkerSettings;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::scene::Sync;

/// A copy of this size takes minutes to hours.
const SIZE: u64 = 1 << 40;

struct Scene {
    sync: Sync,
    control: ControlContext,
    /// It has the files of the configuration.
    _fleet: InProcessFleet,
}

impl Scene {
    fn new() -> Self {
        let fleet = InProcessFleet::new();
        let clock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let pace = LimitMode::Limited(Box::new(Rates::load(None).unwrap()));
        let ports = Model::new(pace, clock, &"westeurope".parse().unwrap(), 1).ports();
        let control = ControlContext::new(ports.clone(), Arc::clone(&fleet.config), "test");
        let mut sync = Sync::new(&ports);
        sync.size = SIZE;
        Self { sync, control, _fleet: fleet }
    }

    async fn families(&self) {
        for family in ["one", "two"] {
            let disk = self.sync.disk(family).await;
            for number in 1..=3 {
                self.sync.snapshot(&disk, &format!("{family}-{number}"), true).await;
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        }
        let disk = self.sync.disk("full").await;
        self.sync.snapshot(&disk, "full", false).await;
        // A run copies a snapshot only after the service has created it.
        tokio::time::sleep(Duration::from_secs(60)).await;
    }

    /// Starts a dispatcher and two workers with the default settings.
    fn start(&self, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let (control, until) = (self.control.clone(), stop.clone());
        let mut tasks = vec![tokio::spawn(async move { run(&control, RunUntil::Stopped, &until).await })];
        for n in 0..2 {
            let settings = WorkerSettings { name: format!("worker-{n}"), ..WorkerSettings::default() };
            let consumer = Consumer::new(WorkerContext::new(self.sync.ports.clone(), settings), stop.clone());
            tasks.push(tokio::spawn(async move { consumer.run().await }));
        }
        tasks
    }

    /// Waits until the rows of a job are as `are` describes, for at most ten days of virtual time.
    async fn until(&self, job: &JobId, are: impl Fn(JobState, &[Operation]) -> bool) {
        for _ in 0..10 * 24 * 360 {
            let state = self.sync.ports.table.job(job).await.unwrap().unwrap().value.state;
            if are(state, &self.sync.rows(job).await) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        panic!("it did not happen: {:#?}", self.sync.rows(job).await);
    }

    async fn assert_complete(&self) {
        for destination in 0..self.sync.rules.destinations.len() {
            let replicas = self.sync.replicas(destination).await;
            assert_eq!(
                replicas.len(),
                7,
                "destination {destination}: {:?}",
                replicas.iter().map(|(name, _)| name).collect::<Vec<_>>()
            );
            for (name, replica) in replicas {
                let Properties::Snapshot(snapshot) = &replica.body.properties else { unreachable!() };
                assert!(snapshot.is_complete(), "{name}");
                assert_eq!(snapshot.disk.disk_size_bytes, Some(SIZE));
            }
        }
        self.sync.assert_no_temporaries().await;
    }
}

async fn stopped(stop: CancellationToken, tasks: Vec<JoinHandle<()>>) {
    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn copies_that_take_time_are_waited_for() {
    let mut scene = Scene::new();
    scene.families().await;
    let control = scene.control.clone();
    let planned = scene.sync.plan(&control).await;
    let stop = CancellationToken::new();
    let tasks = scene.start(&stop);
    let is_partial = |row: &Operation| (1..SIZE).contains(&row.progress.bytes_done);
    scene.until(&planned.job, |_, rows| rows.iter().any(is_partial)).await;
    scene.until(&planned.job, |state, _| state.is_terminal()).await;
    stopped(stop, tasks).await;
    for row in scene.sync.rows(&planned.job).await {
        assert_eq!((row.state, row.failures), (OperationState::Succeeded, 0), "{row:#?}");
    }
    scene.assert_complete().await;
    let next = scene.sync.plan(&control).await;
    assert_eq!((next.rows, next.notes.len()), (0, 0), "{:?}", next.notes);
}

/// Some copies are complete and others are not when the job is cancelled.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_in_the_middle_leaves_only_complete_replicas() {
    let mut scene = Scene::new();
    scene.families().await;
    let control = scene.control.clone();
    let planned = scene.sync.plan(&control).await;
    let stop = CancellationToken::new();
    let tasks = scene.start(&stop);
    let is_copied = |row: &Operation| row.state == OperationState::Succeeded && row.progress.bytes_done == SIZE;
    let is_partial = |row: &Operation| (1..SIZE).contains(&row.progress.bytes_done);
    let is_middle =
        |rows: &[Operation]| rows.iter().any(is_partial) && rows.iter().any(|row| is_copied(row) && row.position == 0);
    scene.until(&planned.job, |_, rows| is_middle(rows)).await;
    cancel(&scene.control.jobs, &planned.job).await.unwrap();
    scene.until(&planned.job, |state, _| state == JobState::Cancelled).await;
    stopped(stop, tasks).await;
    for destination in 0..3 {
        for (name, replica) in scene.sync.replicas(destination).await {
            let Properties::Snapshot(snapshot) = &replica.body.properties else { unreachable!() };
            assert!(snapshot.is_complete(), "{name} at {destination}");
        }
    }
    scene.sync.assert_no_temporaries().await;
    let sources = scene.sync.resources(&scene.sync.rules.source, ResourceType::Snapshot).await;
    assert_eq!(sources.len(), 7);

    let planned = scene.sync.plan(&control).await;
    assert!(planned.rows > 0);
    let stop = CancellationToken::new();
    let tasks = scene.start(&stop);
    scene.until(&planned.job, |state, _| state == JobState::Succeeded).await;
    stopped(stop, tasks).await;
    scene.assert_complete().await;
}
