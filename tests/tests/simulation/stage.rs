//! A fleet in virtual time, whose processes come and go.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_dispatcher::control::desk::{Desk, Readers};
use goldfleet_dispatcher::control::service::{Until, serve};
use goldfleet_model::image::ImageRef;
use goldfleet_modelled::Model;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{Clock, TokioClock};
use goldfleet_tests::meddled::meddled;
use goldfleet_worker::program;
use goldfleet_worker::pump::Pump;
use goldfleet_worker::settings::Settings;
use goldfleet_worker::steps::Shared;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::chaos::Chaos;
use crate::dice::Dice;
use crate::golden::golden;
use crate::ledger::Ledger;
use crate::piecemeal::Piecemeal;
use crate::post::Post;
use crate::process::Process;
use crate::scene::Scene;
use crate::trace::Trace;
use crate::watch::Watch;

/// How often an operator repeats what fails.
const TRIES: usize = 6;

const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// A fleet.
pub(crate) struct Stage {
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) config: Arc<Config>,
    /// The services, without anything in between.
    pub(crate) services: Ports,
    pub(crate) scene: Mutex<Scene>,
    pub(crate) workers: Mutex<Vec<Arc<Process>>>,
    pub(crate) dispatchers: Mutex<Vec<Arc<Process>>>,
    /// Operators' commands under way.
    pub(crate) commands: Mutex<Vec<(Arc<Process>, tokio::task::JoinHandle<()>)>>,
    /// Versions of which an operator has removed VHDs.
    pub(crate) cleaned: Mutex<BTreeSet<String>>,
    begun: AtomicUsize,
    folder: TempDir,
}

impl Stage {
    /// The fleet of a seed, with nobody in it yet.
    pub(crate) fn set(seed: u64, keep_all: bool) -> Arc<Self> {
        let dice = Dice::new(seed);
        let scene = Scene::draw(&dice);
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("targets.toml");
        std::fs::write(&path, scene.file()).unwrap();
        let config = Arc::new(scene.config(&dice, &path));
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(BEGINNING));
        let model = Model::new(scene.pace(), Arc::clone(&clock), &config.source.region, seed);
        goldfleet_connect::place_fleet(&model, &config.source, &TargetsFile::load(&path).unwrap());
        let chaos = Chaos::new(dice, Trace::new(keep_all));
        let settings = format!("{:?} {:?} {:?}", config.worker, config.dispatch, config.cleanup);
        chaos.trace.line(format_args!("seed {seed}: {scene:?} {settings} {:?}", chaos.rates));
        let ledger = Ledger {
            chaos: Arc::clone(&chaos),
            model: Arc::clone(&model),
            clock,
            source: config.source.store().container(),
            skew: Settings::skew_for(config.worker.lease.get()),
            versions: golden().versions.iter().map(|v| (v.image.clone(), Arc::clone(&v.manifest))).collect(),
            kept: Mutex::default(),
        };
        let services = model.ports();
        Arc::new(Self {
            chaos,
            ledger: Arc::new(ledger),
            config,
            services,
            scene: Mutex::new(scene),
            workers: Mutex::default(),
            dispatchers: Mutex::default(),
            commands: Mutex::default(),
            cleaned: Mutex::default(),
            begun: AtomicUsize::new(0),
            folder,
        })
    }

    /// Writes the targets file as the scene has it.
    pub(crate) fn write_targets(&self) {
        std::fs::write(&self.config.targets.file, self.scene.lock().unwrap().file()).unwrap();
    }

    /// A new process and its ports.
    pub(crate) fn process(&self, what: &str) -> (Arc<Process>, Ports) {
        let name = format!("{what}-{}", self.begun.fetch_add(1, Ordering::Relaxed));
        let chaos = &self.chaos;
        chaos.trace.line(format_args!("{name} begins"));
        let post = Post { chaos: Arc::clone(chaos), queue: Arc::clone(&self.services.queue) };
        let watch = Arc::new(Watch { process: name.clone(), ledger: Arc::clone(&self.ledger) });
        let watched = meddled(&self.services, &watch);
        // What is watched is what the table does at once.
        let table = Piecemeal { chaos: Arc::clone(chaos), table: Arc::clone(&watched.table) };
        let services = Ports { queue: Arc::new(post), table: Arc::new(table), ..watched };
        let process = Process::new(name, chaos);
        let most = u64::try_from(self.ledger.skew.as_millis()).unwrap();
        let ahead = chaos.dice.millis(0..most + 1).as_millis().cast_signed() - u128::from(most / 2).cast_signed();
        let ahead = SignedDuration::from_millis(i64::try_from(ahead).unwrap());
        let ports = process.ports(&services, ahead);
        (process, ports)
    }

    /// A desk of a new process.
    pub(crate) fn desk(&self, what: &str) -> (Arc<Process>, Desk) {
        let (process, ports) = self.process(what);
        let desk = Desk::new(ports, Arc::clone(&self.config), process.name.clone());
        (process, Desk { readers: Readers::Sender, ..desk })
    }

    pub(crate) fn begin_worker(&self) {
        let (process, ports) = self.process("worker");
        let poll = self.scene.lock().unwrap().poll;
        let settings = Settings { name: process.name.clone(), poll, ..program::settings(&self.config) };
        let pump = Pump::new(Shared::new(ports, settings), process.stop.clone());
        tokio::spawn(async move { pump.run().await });
        self.workers.lock().unwrap().push(process);
    }

    pub(crate) fn begin_dispatcher(&self) {
        let (process, desk) = self.desk("dispatcher");
        let stop = process.stop.clone();
        tokio::spawn(async move { serve(&desk, Until::Stopped, &stop).await });
        self.dispatchers.lock().unwrap().push(process);
    }

    /// Runs an operator's command as a process of its own: mostly again, where it fails. What it comes to is in the trace.
    pub(crate) fn command<A, F>(self: &Arc<Self>, what: &str, act: A)
    where
        A: Fn(Desk) -> F + 'static,
        F: Future<Output = anyhow::Result<String>> + 'static,
    {
        let (process, desk) = self.desk(what);
        let (chaos, name) = (Arc::clone(&self.chaos), process.name.clone());
        let folder = self.folder.path().display().to_string();
        let task = tokio::task::spawn_local(async move {
            for _ in 0..TRIES {
                match act(desk.clone()).await {
                    Ok(done) => return chaos.trace.line(format_args!("{name} ends: {done}")),
                    Err(error) => {
                        // The folder has another name at every run.
                        let error = format!("{error:#}").replace(&folder, "");
                        chaos.trace.line(format_args!("{name} failed: {error}"));
                    }
                }
                if chaos.dice.happens(0.2) {
                    return;
                }
                desk.ports.clock.sleep(chaos.dice.seconds(1..60)).await;
            }
        });
        self.commands.lock().unwrap().push((process, task));
    }

    /// Waits until commands have ended whose processes live.
    pub(crate) async fn commands_end(&self) {
        let commands = std::mem::take(&mut *self.commands.lock().unwrap());
        for (process, task) in commands {
            if !process.is_dead() {
                task.await.unwrap();
            }
        }
    }

    /// Whether an operator has ever asked to remove VHDs of a version.
    pub(crate) fn cleaned(&self, image: &ImageRef) -> bool {
        self.cleaned.lock().unwrap().contains(image.version.as_str())
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
