//! The modelled cloud of a rehearsal, with a real dispatcher and real workers, in virtual time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_config::targets::TargetsFile;
use goldfleet_config::{Cloud, Config, ModelledCloud};
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::ids::{JobId, ResourceGroup, SubscriptionId};
use goldfleet_model::job::{Job, Subject};
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_modelled::{LimitMode, Model};
use goldfleet_ports::clock::{TokioClock, elapsed};
use goldfleet_rates::Rates;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::program;
use goldfleet_worker::settings::WorkerSettings;
use jiff::Timestamp;
use serde::Serialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::RehearsalError;
use crate::control::context::ControlContext;
use crate::control::request;
use crate::control::service::{RunUntil, run};

/// The maximum duration of a rehearsal, in days of virtual time.
const MAX_VIRTUAL_DAYS: u64 = 60;

/// The names of the files that a rehearsal writes for its dispatcher.
const TARGETS: &str = "targets.toml";
const RATES: &str = "rates.toml";

/// The start of the virtual time. Any constant will do.
const START_TIME: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// One thread, and time that advances when all tasks wait: the result does not depend on the speed of this machine.
pub(super) fn virtual_time() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

/// The directory with the targets and the rates. The dispatcher reads them when it plans, so that it plans with the
/// limits of the modelled cloud.
pub(super) fn folder<'a>(
    TargetsFile { targets, stores, hubs, galleries }: &'a TargetsFile,
    rates: &Rates,
) -> Result<TempDir, RehearsalError> {
    #[derive(Serialize)]
    struct RehearsalStore<'a> {
        #[serde(flatten)]
        store: &'a Store,
        #[serde(skip_serializing_if = "Option::is_none")]
        subscription: Option<SubscriptionId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        resource_group: Option<&'a ResourceGroup>,
    }
    #[derive(Serialize)]
    struct RehearsalTargets<'a> {
        target: &'a [Target],
        store: Vec<RehearsalStore<'a>>,
        gallery: &'a [Gallery],
    }
    let folder = TempDir::new()?;
    let with_hub = |store: &'a Store| {
        let hub = hubs.get(&store.region).map(|hub| &hub.group);
        let (subscription, resource_group) = (hub.map(|hub| hub.subscription), hub.map(|hub| &hub.resource_group));
        RehearsalStore { store, subscription, resource_group }
    };
    let written =
        RehearsalTargets { target: targets, store: stores.iter().map(with_hub).collect(), gallery: galleries };
    let invalid = |error: toml::ser::Error| RehearsalError::Invalid(error.to_string());
    std::fs::write(folder.path().join(TARGETS), toml::to_string(&written).map_err(invalid)?)?;
    std::fs::write(folder.path().join(RATES), toml::to_string(rates).map_err(invalid)?)?;
    Ok(folder)
}

/// A modelled cloud, a dispatcher's control context, and the settings of workers.
pub(super) struct Engine {
    pub(super) model: Arc<Model>,
    pub(super) control: ControlContext,
    settings: WorkerSettings,
    workers: usize,
}

impl Engine {
    /// The files of `folder` replace those of the configuration.
    pub(super) fn new(config: &Config, rates: &Rates, folder: &Path, (workers, seed): (usize, u64)) -> Self {
        let mut config = config.clone();
        config.cloud = Cloud::Modelled(ModelledCloud::default());
        config.targets.file = folder.join(TARGETS);
        config.plan.rates = Some(folder.join(RATES));
        // Workers poll queues as often as they poll queues on Azure.
        let settings = WorkerSettings { poll: config.worker.poll.get(), ..program::settings(&config) };
        let clock = Arc::new(TokioClock::starting_at(START_TIME));
        let model = Model::new(LimitMode::Limited(Box::new(rates.clone())), clock, &config.source.region, seed);
        let control = ControlContext::new(model.ports(), Arc::new(config), "rehearsal".to_owned());
        Self { model, control, settings, workers }
    }

    /// Runs a job from its request to its end, and returns the time of the request. The id is fixed, because a random
    /// id would make every run different.
    pub(super) async fn run_job(&self, id: &JobId, subject: Subject) -> Result<Timestamp, RehearsalError> {
        let created = self.control.ports.clock.now();
        let job: Job = request::new_job(id.clone(), subject, Vec::new(), created);
        self.control.ports.table.insert_job(&job).await?;
        self.control.jobs.enqueue_job(id).await?;
        let stop = CancellationToken::new();
        let tasks = self.start(&stop);
        let ended = self.ended(id, created).await;
        stop.cancel();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the rehearsal panicked or was aborted");
            }
        }
        ended.map(|()| created)
    }

    fn start(&self, stop: &CancellationToken) -> Vec<tokio::task::JoinHandle<()>> {
        let (control, serving) = (self.control.clone(), stop.clone());
        let mut tasks = vec![tokio::spawn(async move { run(&control, RunUntil::Stopped, &serving).await })];
        for n in 1..=self.workers {
            let settings = WorkerSettings { name: format!("worker-{n}"), ..self.settings.clone() };
            let consumer = Consumer::new(WorkerContext::new(self.control.ports.clone(), settings), stop.clone());
            tasks.push(tokio::spawn(async move { consumer.run().await }));
        }
        tasks
    }

    /// Waits until the job's row says that the job has ended.
    async fn ended(&self, id: &JobId, created: Timestamp) -> Result<(), RehearsalError> {
        let clock = &self.control.ports.clock;
        while !self.control.jobs.job(id).await?.value.state.is_terminal() {
            if elapsed(created, clock.now()) > Duration::from_secs(MAX_VIRTUAL_DAYS * 24 * 3600) {
                return Err(RehearsalError::TimedOut(MAX_VIRTUAL_DAYS));
            }
            clock.sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}
