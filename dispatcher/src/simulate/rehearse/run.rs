//! One run of a job in virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use goldfleet_config::targets::TargetsFile;
use goldfleet_config::{Cloud, ModelledCloud, UploadRoute};
use goldfleet_kinds::context::read_spec;
use goldfleet_kinds::hub::HubSpec;
use goldfleet_kinds::kind::TemporaryBlob;
use goldfleet_model::artifact::{ArtifactRecord, DiskRef, LoadedVersion, Provenance};
use goldfleet_model::checksum::crc64;
use goldfleet_model::event::Event;
use goldfleet_model::ids::{JobId, Region, ResourceGroup, SubscriptionId};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Delivery, Job, JobState, Subject};
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::{BlobAddress, Container, Store};
use goldfleet_model::target::Target;
use goldfleet_model::tree::{PlannedStore, Tree};
use goldfleet_modelled::{LimitMode, Model, Stats};
use goldfleet_plan::RouteEstimate;
use goldfleet_plan::estimate::Estimate;
use goldfleet_ports::clock::{TokioClock, elapsed};
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::program;
use goldfleet_worker::settings::WorkerSettings;
use jiff::Timestamp;
use serde::Serialize;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Rehearsal, RehearsalError};
use crate::control::context::ControlContext;
use crate::control::service::{RunUntil, run};
use crate::control::{fan_out, region, request};

/// The maximum duration of a rehearsal, in days of virtual time.
const MAX_VIRTUAL_DAYS: u64 = 60;

/// The names of the files that a rehearsal writes for its dispatcher.
const TARGETS: &str = "targets.toml";
const RATES: &str = "rates.toml";

/// The start of the virtual time. Any constant will do.
const START_TIME: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The result of a run.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// The time from the request to the first image.
    pub first_image: Duration,
    /// The time from the request to the last image.
    pub last_image: Duration,
    /// The time from the request to the end of the last copy.
    pub last_copy: Duration,
    /// Operations that did not succeed.
    pub failed: usize,
    /// The number of operations. 0 if the job could not be planned.
    pub operations: usize,
    /// Whether, by its checksums, the VHD of every target contains the complete disk.
    pub whole: bool,
    /// The plan's estimate.
    pub estimate: Estimate,
    /// The estimates of both routes.
    pub routes: Vec<RouteEstimate>,
    /// The distribution tree, as recorded in the job's row.
    pub tree: Option<Tree>,
    /// The events of the job.
    pub events: Vec<Event>,
    /// The counters of the cloud for this job only.
    pub stats: Stats,
    /// The real time that the run took.
    pub real: Duration,
}

/// Runs a job, and before it the jobs of the versions that are rolled out first.
///
/// # Errors
/// [`RehearsalError`].
pub fn run_rehearsal(rehearsal: &Rehearsal) -> Result<RunResult, RehearsalError> {
    run_rehearsal_with(rehearsal, |_| ())
}

/// [`run_rehearsal`] with a change to the cloud, such as a fault.
pub(super) fn run_rehearsal_with(
    rehearsal: &Rehearsal,
    happens: impl FnOnce(&Model),
) -> Result<RunResult, RehearsalError> {
    if rehearsal.targets.targets.is_empty() {
        return Err(RehearsalError::NoTargets);
    }
    let folder = folder(rehearsal)?;
    // One thread, and time that advances when all tasks wait: the result does not depend on the speed of this machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let stage = RehearsalRun::set(rehearsal, &folder).await?;
        for (n, version) in rehearsal.before.iter().enumerate() {
            stage.run(&format!("before-{n}"), version).await?;
        }
        stage.fill(rehearsal).await?;
        happens(&stage.model);
        stage.run("rehearsal", &rehearsal.image).await
    })
}

/// The directory with the targets and the rates. The dispatcher reads them when it plans, so that it plans with the
/// limits of the modelled cloud.
fn folder(rehearsal: &Rehearsal) -> Result<TempDir, RehearsalError> {
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
    }
    let folder = TempDir::new()?;
    let TargetsFile { targets, stores, hubs } = &rehearsal.targets;
    let store = |store| {
        let hub = hubs.get(region_of(store)).map(|hub| &hub.group);
        let (subscription, resource_group) = (hub.map(|hub| hub.subscription), hub.map(|hub| &hub.resource_group));
        RehearsalStore { store, subscription, resource_group }
    };
    let written = RehearsalTargets { target: targets, store: stores.iter().map(store).collect() };
    let invalid = |error: toml::ser::Error| RehearsalError::Invalid(error.to_string());
    std::fs::write(folder.path().join(TARGETS), toml::to_string(&written).map_err(invalid)?)?;
    std::fs::write(folder.path().join(RATES), toml::to_string(&rehearsal.rates).map_err(invalid)?)?;
    Ok(folder)
}

fn region_of(store: &Store) -> &Region {
    &store.region
}

/// A modelled cloud, a dispatcher's control context, and the settings of workers.
struct RehearsalRun {
    model: Arc<Model>,
    control: ControlContext,
    settings: WorkerSettings,
    workers: usize,
    route: UploadRoute,
}

impl RehearsalRun {
    async fn set(rehearsal: &Rehearsal, folder: &TempDir) -> Result<Self, RehearsalError> {
        let mut config = rehearsal.config.clone();
        config.cloud = Cloud::Modelled(ModelledCloud::default());
        config.targets.file = folder.path().join(TARGETS);
        config.plan.rates = Some(folder.path().join(RATES));
        // Workers poll queues as often as they poll queues on Azure.
        let settings = WorkerSettings { poll: config.worker.poll.get(), ..program::settings(&config) };
        let clock = Arc::new(TokioClock::starting_at(START_TIME));
        let pace = LimitMode::Limited(Box::new(rehearsal.rates.clone()));
        let model = Model::new(pace, clock, &config.source.region, rehearsal.seed);
        goldfleet_connect::place_fleet(&model, &config.source, &rehearsal.targets);
        let ports = model.ports();
        ports.blobs.ensure_container(&config.source.store().container()).await?;
        let control = ControlContext::new(ports, Arc::new(config), "rehearsal".to_owned());
        Ok(Self { model, control, settings, workers: rehearsal.workers(), route: rehearsal.route })
    }

    /// Adds the chunks that stores already hold, and a job that used these stores, because dispatchers find stores by
    /// jobs.
    async fn fill(&self, rehearsal: &Rehearsal) -> Result<(), RehearsalError> {
        for (store, held) in rehearsal.held.stores() {
            self.model.put_chunks(store, rehearsal.image.chunks().filter(|chunk| held.contains(&chunk.hash)))?;
        }
        let filled: BTreeSet<&Container> = rehearsal.held.stores().map(|(store, _)| store).collect();
        let staging = rehearsal.targets.targets.iter().filter(|target| filled.contains(&target.staging()));
        let stores = staging.map(|target| PlannedStore { store: target.store(), parent: Some(0) });
        let source = PlannedStore { store: self.control.config.source.store(), parent: None };
        let tree = Tree { stores: std::iter::once(source).chain(stores).collect() };
        let id: JobId = "held".parse().map_err(|error| RehearsalError::Invalid(format!("{error}")))?;
        let job = request::new_job(id, subject_of(&rehearsal.image, None), Vec::new(), self.control.ports.clock.now());
        let earlier = Job { state: JobState::Succeeded, tree: Some(tree), ..job };
        Ok(self.control.ports.table.insert_job(&earlier).await?)
    }

    /// Runs the job of one version from its request to its end.
    async fn run(&self, id: &str, version: &LoadedVersion) -> Result<RunResult, RehearsalError> {
        let began = Instant::now();
        self.upload(version).await?;
        // The dispatcher makes an equal plan when it fans out the job.
        let planned = fan_out::plan_with_preferred_time(&self.control, version, &[]).await?;
        self.model.reset_stats();
        let id: JobId = id.parse().map_err(|error| RehearsalError::Invalid(format!("{error}")))?;
        let created = self.request(&id, version).await?;
        let stop = CancellationToken::new();
        let tasks = self.start(&stop);
        let ended = self.ended(&id, created).await;
        stop.cancel();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the rehearsal ended badly");
            }
        }
        ended?;
        let stats = self.model.stats();
        let events = self.control.ports.table.events(&id, None).await?;
        let ends = |kind: &'static str| {
            let of_kind = move |event: &&Event| {
                event.what == "succeed" && event.operation.as_ref().is_some_and(|id| id.step() == kind)
            };
            events.iter().filter(of_kind).map(|event| elapsed(created, event.at))
        };
        let (copies, images) = (ends("copy"), ends("image"));
        let rows = self.control.ports.table.operations(&id).await?;
        let whole = rows.iter().all(|row| {
            let kind = self.control.registry.get(&row.value.kind);
            let blob = kind.and_then(|kind| kind.temporary_blob(&self.control.ports, &row.value));
            let is_whole = |TemporaryBlob { blob, disk }| {
                version.manifest(&disk).is_some_and(|manifest| self.model.is_whole(&blob, manifest))
            };
            let is_golden = |(id, disk): (ResourceId, DiskRef)| {
                version.manifest(&disk).is_some_and(|manifest| self.model.is_whole_disk(&id, manifest))
            };
            blob.is_none_or(is_whole) && golden_of(&row.value).is_none_or(is_golden)
        });
        Ok(RunResult {
            first_image: images.clone().min().unwrap_or_default(),
            last_image: images.max().unwrap_or_default(),
            last_copy: copies.max().unwrap_or_default(),
            failed: rows.iter().filter(|row| row.value.state != OperationState::Succeeded).count(),
            operations: rows.len(),
            whole,
            estimate: planned.plan.estimate,
            routes: planned.routes,
            tree: self.control.job(&id).await?.value.tree,
            events,
            stats,
            real: began.elapsed(),
        })
    }

    /// Adds the version to the source store. Its chunks appear at once, because the upload is not part of the job.
    async fn upload(&self, version: &LoadedVersion) -> Result<(), RehearsalError> {
        let store = self.control.config.source.store().container();
        self.model.put_chunks(&store, version.chunks())?;
        let ImageRef { name, version: number, .. } = &version.image;
        for (disk, manifest) in version.disks() {
            self.put(&store.manifest(name, number, &disk.disk.manifest), manifest.encode()).await?;
        }
        let uploaded = self.control.ports.clock.now();
        let (upload, by) = (JobId::new(uploaded, 0), self.control.actor.clone());
        let provenance = Provenance { uploaded, upload, by, source: None, system: None };
        let record = ArtifactRecord { artifact: version.artifact.clone(), provenance };
        self.put(&store.artifact(name, number), record.encode()).await
    }

    async fn put(&self, blob: &BlobAddress, encoded: Vec<u8>) -> Result<(), RehearsalError> {
        let body = Bytes::from(encoded);
        let checksum = crc64(&body);
        Ok(self.control.ports.blobs.put_blob(blob, body, checksum.into()).await?)
    }

    /// Requests the job. The id is fixed, because a random id would make every run different.
    async fn request(&self, id: &JobId, version: &LoadedVersion) -> Result<Timestamp, RehearsalError> {
        let now = self.control.ports.clock.now();
        let delivery = match self.route {
            UploadRoute::Staging => None,
            UploadRoute::Region => Some(Box::new(region::delivery()?)),
        };
        let job = request::new_job(id.clone(), subject_of(version, delivery), Vec::new(), now);
        self.control.ports.table.insert_job(&job).await?;
        self.control.enqueue_job(id).await?;
        Ok(now)
    }

    fn start(&self, stop: &CancellationToken) -> Vec<tokio::task::JoinHandle<()>> {
        let (control, serving) = (self.control.clone(), stop.clone());
        let mut tasks = vec![tokio::spawn(async move { run(&control, RunUntil::Stopped, &serving).await })];
        for n in 1..=self.workers {
            let settings = WorkerSettings { name: format!("worker-{n}"), ..self.settings.clone() };
            let pump = Consumer::new(WorkerContext::new(self.control.ports.clone(), settings), stop.clone());
            tasks.push(tokio::spawn(async move { pump.run().await }));
        }
        tasks
    }

    /// Waits until the job's row says that the job has ended.
    async fn ended(&self, id: &JobId, created: Timestamp) -> Result<(), RehearsalError> {
        let clock = &self.control.ports.clock;
        while !self.control.job(id).await?.value.state.is_terminal() {
            if elapsed(created, clock.now()) > Duration::from_secs(MAX_VIRTUAL_DAYS * 24 * 3600) {
                return Err(RehearsalError::TimedOut(MAX_VIRTUAL_DAYS));
            }
            clock.sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

/// What a job of this version is about.
fn subject_of(version: &LoadedVersion, delivery: Option<Box<Delivery>>) -> Subject {
    let payload = request::job_payload(&version.artifact, None);
    Subject::Image { image: version.image.clone(), payload, delivery }
}

/// A golden snapshot that an operation creates, with the disk that it contains.
fn golden_of(row: &Operation) -> Option<(ResourceId, DiskRef)> {
    let HubSpec { golden, disk, .. } = read_spec(row).ok().filter(|_| row.kind.as_str() == "hub")?;
    Some((golden, disk))
}
