//! A fleet in virtual time, whose processes start and end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_dispatcher::control::context::{ControlContext, ScanThreads};
use goldfleet_dispatcher::control::service::{RunUntil, run};
use goldfleet_model::image::ImageRef;
use goldfleet_modelled::Model;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{Clock, TokioClock};
use goldfleet_tests::intercept::intercepted;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::program;
use goldfleet_worker::settings::WorkerSettings;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::faults::FaultInjector;
use crate::golden::golden;
use crate::observer::Observer;
use crate::partial_insert::PartialInsertTable;
use crate::process::Process;
use crate::reference_model::ReferenceModel;
use crate::rng::SimRng;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::unreliable_queue::UnreliableQueue;

/// How often an operator repeats a failing command.
const TRIES: usize = 6;

const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The fleet of a simulation.
pub(crate) struct SimFleet {
    pub(crate) faults: Arc<FaultInjector>,
    pub(crate) reference: Arc<ReferenceModel>,
    pub(crate) config: Arc<Config>,
    /// The services, without any wrapper.
    pub(crate) services: Ports,
    pub(crate) scenario: Mutex<Scenario>,
    pub(crate) workers: Mutex<Vec<Arc<Process>>>,
    pub(crate) dispatchers: Mutex<Vec<Arc<Process>>>,
    /// The running commands of operators.
    pub(crate) commands: Mutex<Vec<(Arc<Process>, tokio::task::JoinHandle<()>)>>,
    /// Versions whose VHDs an operator has removed.
    pub(crate) cleaned: Mutex<BTreeSet<String>>,
    begun: AtomicUsize,
    folder: TempDir,
}

impl SimFleet {
    /// The fleet of a seed, without processes.
    pub(crate) fn set(seed: u64, keep_all: bool) -> Arc<Self> {
        let rng = SimRng::new(seed);
        let scenario = Scenario::draw(&rng);
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("targets.toml");
        std::fs::write(&path, scenario.file()).unwrap();
        let config = Arc::new(scenario.config(&rng, &path));
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(BEGINNING));
        let model = Model::new(scenario.pace(), Arc::clone(&clock), &config.source.region, seed);
        goldfleet_connect::place_fleet(&model, &config.source, &TargetsFile::load(&path).unwrap());
        let faults = FaultInjector::new(rng, Trace::new(keep_all));
        let settings = format!("{:?} {:?} {:?}", config.worker, config.dispatch, config.cleanup);
        faults.trace.line(format_args!("seed {seed}: {scenario:?} {settings} {:?}", faults.rates));
        let reference = ReferenceModel {
            faults: Arc::clone(&faults),
            model: Arc::clone(&model),
            clock,
            source: config.source.store().container(),
            clock_skew: WorkerSettings::skew_for(config.worker.lease.get()),
            versions: golden().versions.iter().map(|version| Arc::clone(&version.loaded)).collect(),
            kept: Mutex::default(),
        };
        let services = model.ports();
        Arc::new(Self {
            faults,
            reference: Arc::new(reference),
            config,
            services,
            scenario: Mutex::new(scenario),
            workers: Mutex::default(),
            dispatchers: Mutex::default(),
            commands: Mutex::default(),
            cleaned: Mutex::default(),
            begun: AtomicUsize::new(0),
            folder,
        })
    }

    /// Writes the targets file of the scenario.
    pub(crate) fn write_targets(&self) {
        std::fs::write(&self.config.targets.file, self.scenario.lock().unwrap().file()).unwrap();
    }

    /// A new process and its ports.
    pub(crate) fn process(&self, what: &str) -> (Arc<Process>, Ports) {
        let name = format!("{what}-{}", self.begun.fetch_add(1, Ordering::Relaxed));
        let faults = &self.faults;
        faults.trace.line(format_args!("{name} begins"));
        let post = UnreliableQueue { faults: Arc::clone(faults), queue: Arc::clone(&self.services.queue) };
        let watch = Arc::new(Observer { process: name.clone(), reference: Arc::clone(&self.reference) });
        let watched = intercepted(&self.services, &watch);
        // The observer sees each effect on the table when it happens.
        let table = PartialInsertTable { faults: Arc::clone(faults), table: Arc::clone(&watched.table) };
        let services = Ports { queue: Arc::new(post), table: Arc::new(table), ..watched };
        let process = Process::new(name, faults);
        let most = u64::try_from(self.reference.clock_skew.as_millis()).unwrap();
        let ahead = faults.rng.millis(0..most + 1).as_millis().cast_signed() - u128::from(most / 2).cast_signed();
        let ahead = SignedDuration::from_millis(i64::try_from(ahead).unwrap());
        let ports = process.ports(&services, ahead);
        (process, ports)
    }

    /// A control context of a new process.
    pub(crate) fn control(&self, what: &str) -> (Arc<Process>, ControlContext) {
        let (process, ports) = self.process(what);
        let control = ControlContext::new(ports, Arc::clone(&self.config), process.name.clone());
        (process, ControlContext { readers: ScanThreads::Sender, ..control })
    }

    pub(crate) fn begin_worker(&self) {
        let (process, ports) = self.process("worker");
        let poll = self.scenario.lock().unwrap().poll;
        let settings = WorkerSettings { name: process.name.clone(), poll, ..program::settings(&self.config) };
        let pump = Consumer::new(WorkerContext::new(ports, settings), process.stop.clone());
        tokio::spawn(async move { pump.run().await });
        self.workers.lock().unwrap().push(process);
    }

    pub(crate) fn begin_dispatcher(&self) {
        let (process, control) = self.control("dispatcher");
        let stop = process.stop.clone();
        tokio::spawn(async move { run(&control, RunUntil::Stopped, &stop).await });
        self.dispatchers.lock().unwrap().push(process);
    }

    /// Runs an operator's command as a separate process, and usually repeats it if it fails. The trace contains the
    /// result.
    pub(crate) fn command<A, F>(self: &Arc<Self>, what: &str, act: A)
    where
        A: Fn(ControlContext) -> F + 'static,
        F: Future<Output = anyhow::Result<String>> + 'static,
    {
        let (process, control) = self.control(what);
        let (faults, name) = (Arc::clone(&self.faults), process.name.clone());
        let folder = self.folder.path().display().to_string();
        let task = tokio::task::spawn_local(async move {
            for _ in 0..TRIES {
                match act(control.clone()).await {
                    Ok(done) => return faults.trace.line(format_args!("{name} ends: {done}")),
                    Err(error) => {
                        // The name of the directory differs between runs.
                        let error = format!("{error:#}").replace(&folder, "");
                        faults.trace.line(format_args!("{name} failed: {error}"));
                    }
                }
                if faults.rng.chance(0.2) {
                    return;
                }
                control.ports.clock.sleep(faults.rng.seconds(1..60)).await;
            }
        });
        self.commands.lock().unwrap().push((process, task));
    }

    /// Waits until the commands of running processes have ended.
    pub(crate) async fn commands_end(&self) {
        let commands = std::mem::take(&mut *self.commands.lock().unwrap());
        for (process, task) in commands {
            if !process.is_dead() {
                task.await.unwrap();
            }
        }
    }

    /// Whether an operator has ever requested the removal of the version's VHDs.
    pub(crate) fn cleaned(&self, image: &ImageRef) -> bool {
        self.cleaned.lock().unwrap().contains(image.version.as_str())
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
