//! Rehearsals of syncs of snapshots.
//!
//! The sync's rules and destinations are those of the configuration. Its sources are generated: disks with a number of
//! incremental or full snapshots, between which a part of each disk changes. The first run copies them all. Then each
//! disk gets one more snapshot, and the next run copies that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use goldfleet_config::targets::TargetsFile;
use goldfleet_config::{Config, HumanDuration, Sync, SyncDestination};
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Finding, Subject};
use goldfleet_model::operation::OperationState;
use goldfleet_model::resource::{
    CreationData, DiskProperties, Properties, ResourceBody, ResourceId, ResourceType, SnapshotProperties,
};
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::disk_access::{Access, AccessRequest, MAX_ACCESS};
use goldfleet_ports::resources::{PutMode, PutRequest};
use goldfleet_rates::{Money, Rates};
use serde::Serialize;

use super::RehearsalError;
use super::engine::{Engine, folder, virtual_time};
use crate::control::snapshots::RunSpec;
use crate::control::snapshots::estimate::RunEstimate;
use crate::control::snapshots::request::{RunOptions, work_of_sync};
use crate::control::snapshots::run::plan;

/// The tag that selects the generated snapshots.
const TRIGGER: (&str, &str) = ("goldfleet-rehearsal", "yes");

/// The virtual time between two snapshots of a disk, if the sync has no interval.
const INTERVAL: Duration = Duration::from_secs(3600);

/// The parameters of a rehearsal of a sync.
#[derive(Debug, Clone)]
pub struct SyncRehearsal {
    /// The settings of source, worker and dispatcher. The sources are in the region of the source store.
    pub config: Config,
    /// The sync. Which snapshots it selects is replaced.
    pub sync: Sync,
    /// The number of disks.
    pub disks: u32,
    /// The number of snapshots of each disk before the first run.
    pub snapshots: u32,
    /// Whether they are full snapshots.
    pub full: bool,
    /// The size of each disk in bytes, all of it data.
    pub size: u64,
    /// The bytes of a disk that change between two of its snapshots.
    pub changed: u64,
    /// The limits of the modelled cloud, and the rates for planning.
    pub rates: Rates,
    /// The number of workers. None for as many as are needed to work on all disks at the same time.
    pub workers: Option<usize>,
    /// The seed of all random values.
    pub seed: u64,
}

/// The bytes that a run moved from one region to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedBytes {
    /// The source region.
    pub from: String,
    /// The destination region.
    pub to: String,
    /// The bytes.
    pub bytes: u64,
}

/// One run of a rehearsed sync.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyncRunReport {
    /// Replicas that were created.
    pub copies: usize,
    /// Replicas that were deleted.
    pub removals: usize,
    /// Operations that did not succeed.
    pub failed: usize,
    /// What the plan of the run reports.
    pub findings: Vec<Finding>,
    /// Seconds of virtual time from the request to the end of the job.
    pub seconds: f64,
    /// What was moved over each link between regions.
    pub links: Vec<MovedBytes>,
    /// The price of these bytes in US dollars.
    pub egress_usd: f64,
    /// Served requests, by kind.
    pub requests: BTreeMap<&'static str, u64>,
    /// The number of throttled requests.
    pub throttled: u64,
    /// The upper bounds that `snapshots sync --dry-run` shows.
    pub estimate: RunEstimate,
}

/// The results of a rehearsal. All values except `real_seconds` are the same in every run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyncReport {
    /// The sync.
    pub sync: String,
    /// The destinations, as SUBSCRIPTION/REGION/GROUP.
    pub destinations: Vec<String>,
    /// The number of disks.
    pub disks: u32,
    /// The number of snapshots of each disk before the first run.
    pub snapshots_per_disk: u32,
    /// Whether they are full snapshots.
    pub full: bool,
    /// The size of each disk.
    pub disk_bytes: u64,
    /// The bytes of a disk that change between two of its snapshots.
    pub changed_bytes: u64,
    /// The number of workers.
    pub workers: usize,
    /// The run that copies all snapshots.
    pub first: SyncRunReport,
    /// The run after each disk got one more snapshot.
    pub next: SyncRunReport,
    /// Whether no run reports a failure, and a plan after both runs finds nothing left to copy.
    pub complete: bool,
    /// Seconds of real time that the rehearsal took.
    pub real_seconds: f64,
}

impl SyncRunReport {
    fn has_failed(&self) -> bool {
        self.failed > 0 || self.findings.iter().any(|finding| finding.failed)
    }
}

impl SyncRehearsal {
    fn workers(&self) -> usize {
        let operations = self.disks as usize * self.sync.to.len();
        self.workers.unwrap_or_else(|| operations.div_ceil(self.config.worker.concurrency.max(1))).max(1)
    }

    /// The sync with the generated snapshots as its selection. Encryption and private endpoints change no time, and the
    /// modelled cloud does not have the resources that they name.
    fn generated_sync(&self) -> Sync {
        let to = self.sync.to.iter().cloned();
        let to = to.map(|to| SyncDestination { disk_encryption_set: None, disk_access: None, ..to });
        Sync {
            tags: BTreeMap::from([(TRIGGER.0.to_owned(), TRIGGER.1.to_owned())]),
            exclude_tags: BTreeMap::new(),
            names: Vec::new(),
            exclude_names: Vec::new(),
            families: Vec::new(),
            min_age: None,
            max_age: None,
            to: to.collect(),
            ..self.sync.clone()
        }
    }
}

/// Rehearses a sync. It must not be called from inside an async runtime.
///
/// # Errors
/// [`RehearsalError`].
pub fn rehearse_sync(rehearsal: &SyncRehearsal) -> Result<SyncReport, RehearsalError> {
    let began = Instant::now();
    let folder = folder(&TargetsFile::default(), &rehearsal.rates)?;
    virtual_time()?.block_on(async {
        let SyncRehearsal { config, rates, seed, .. } = rehearsal;
        let engine = Engine::new(config, rates, folder.path(), (rehearsal.workers(), *seed));
        let sync = rehearsal.generated_sync();
        let run = SyncRun { rehearsal, sync, engine };
        let mut disks = Vec::new();
        for number in 1..=rehearsal.disks {
            disks.push(run.create_disk(number).await?);
        }
        for number in 1..=rehearsal.snapshots {
            run.snapshot_all(&disks, number).await?;
        }
        let first = run.perform("first").await?;
        run.snapshot_all(&disks, rehearsal.snapshots + 1).await?;
        let next = run.perform("next").await?;
        let left = plan(&run.engine.control, &run.spec(), &job_id("left")?).await?;
        Ok(SyncReport {
            sync: rehearsal.sync.name.clone(),
            destinations: run.destinations(),
            disks: rehearsal.disks,
            snapshots_per_disk: rehearsal.snapshots,
            full: rehearsal.full,
            disk_bytes: rehearsal.size,
            changed_bytes: rehearsal.changed,
            workers: rehearsal.workers(),
            complete: left.copies == 0 && left.complete > 0 && !first.has_failed() && !next.has_failed(),
            first,
            next,
            real_seconds: began.elapsed().as_secs_f64(),
        })
    })
}

/// A sync and its sources on the modelled cloud.
struct SyncRun<'r> {
    rehearsal: &'r SyncRehearsal,
    sync: Sync,
    engine: Engine,
}

impl SyncRun<'_> {
    fn spec(&self) -> RunSpec {
        RunSpec { sync: self.sync.clone(), allow_empty: false, max_deletes: None, name: None }
    }

    fn destinations(&self) -> Vec<String> {
        let place = |to: &SyncDestination| format!("{}/{}/{}", to.subscription, to.region, to.resource_group);
        self.sync.to.iter().map(place).collect()
    }

    async fn create_disk(&self, number: u32) -> Result<ResourceId, RehearsalError> {
        let properties = Properties::Disk(DiskProperties::new(CreationData::upload(self.rehearsal.size)));
        let id = self.put(ResourceType::Disk, format!("disk-{number}"), self.body(properties)).await?;
        // The disk is uploaded as a user would upload it: without access it stays in the state ReadyToUpload.
        let access = AccessRequest { id: id.clone(), tenant: None, access: Access::Write, duration: MAX_ACCESS };
        self.engine.control.ports.disk_access.begin(&access).await?;
        self.engine.control.ports.disk_access.end(&id, None).await?;
        Ok(id)
    }

    /// Changes a part of each disk, creates a snapshot of each, and waits for the sync's interval.
    async fn snapshot_all(&self, disks: &[ResourceId], number: u32) -> Result<(), RehearsalError> {
        for disk in disks {
            self.engine.model.write_to_disk(disk, self.rehearsal.changed)?;
            let incremental = !self.rehearsal.full;
            let properties = Properties::Snapshot(SnapshotProperties::new(CreationData::copy(disk), incremental));
            let tags = BTreeMap::from([(TRIGGER.0.to_owned(), TRIGGER.1.to_owned())]);
            let name = format!("{}-{number:04}", disk.name);
            self.put(ResourceType::Snapshot, name, self.body(properties).with_tags(tags)).await?;
        }
        let interval = self.sync.every.map_or(INTERVAL, HumanDuration::get);
        self.engine.control.ports.clock.sleep(interval).await;
        Ok(())
    }

    fn body(&self, properties: Properties) -> ResourceBody {
        ResourceBody::new(self.rehearsal.config.source.region.clone(), properties)
    }

    async fn put(
        &self,
        resource_type: ResourceType,
        name: String,
        body: ResourceBody,
    ) -> Result<ResourceId, RehearsalError> {
        let name = name.parse().map_err(|error| RehearsalError::Invalid(format!("{error}")))?;
        let group = self.sync.from.clone();
        let (subscription, resource_group) = (group.subscription, group.resource_group);
        let id = ResourceId { subscription, resource_group, resource_type, name };
        let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body };
        self.engine.control.ports.resources.put(&request).await?;
        Ok(id)
    }

    /// Plans and runs one job of the sync.
    async fn perform(&self, id: &str) -> Result<SyncRunReport, RehearsalError> {
        let id = job_id(id)?;
        let control = &self.engine.control;
        // The dispatcher makes an equal plan when it fans out the job.
        let planned = plan(control, &self.spec(), &id).await?;
        self.engine.model.reset_stats();
        let work = work_of_sync(&self.sync, &RunOptions::default())?;
        let created = self.engine.run_job(&id, Subject::Work { work }).await?;
        let stats = self.engine.model.stats();
        let job = control.jobs.job(&id).await?.value;
        let rows = control.ports.table.operations(&id).await?;
        let rates = &self.rehearsal.rates;
        let mut egress = Money::default();
        let mut links = Vec::new();
        for link in stats.wan() {
            egress += rates.egress_cost(&link.from, &link.to, link.copied);
            links.push(MovedBytes { from: link.from.to_string(), to: link.to.to_string(), bytes: link.copied });
        }
        Ok(SyncRunReport {
            copies: planned.copies,
            removals: planned.removals,
            failed: rows.iter().filter(|row| row.value.state != OperationState::Succeeded).count(),
            findings: job.findings,
            seconds: elapsed(created, job.finished.unwrap_or(job.updated)).as_secs_f64(),
            links,
            egress_usd: egress.dollars(),
            requests: stats.requests.clone(),
            throttled: stats.throttled_requests(),
            estimate: planned.estimate,
        })
    }
}

fn job_id(id: &str) -> Result<JobId, RehearsalError> {
    id.parse().map_err(|error| RehearsalError::Invalid(format!("{error}")))
}
