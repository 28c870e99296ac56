//! The cloud, the fleet, and what must hold after each step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::galleries::promote::{PromoteRequest, promote};
use goldfleet_dispatcher::control::galleries::watch::watch;
use goldfleet_galleries::publication::{FORMAT, Publication, Verification};
use goldfleet_galleries::settings::Gallery;
use goldfleet_galleries::spec::{PublishSpec, Published};
use goldfleet_kinds::context::{Attempt, StepContext, StepSettings, write_spec};
use goldfleet_kinds::kind::Kind as _;
use goldfleet_kinds::outcome::{StepError, StepOutcome};
use goldfleet_kinds::publish::{Publish, record};
use goldfleet_model::document::Document;
use goldfleet_model::ids::{JobId, Region};
use goldfleet_model::image::{ImageRef, ImageTags};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::operation::{GroupId, Operation, OperationId, Place};
use goldfleet_model::resource::{
    CreationData, DiskProperties, GalleryProperties, Properties, ResourceBody, ResourceId, ResourceType,
    SnapshotProperties,
};
use goldfleet_modelled::{LimitMode, Model, Replication};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::TokioClock;
use goldfleet_ports::disk_access::{Access, AccessRequest};
use goldfleet_ports::resources::{PutMode, PutRequest};
use goldfleet_snapshots::tags;
use goldfleet_tests::intercept::intercepted;
use jiff::Timestamp;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;

use super::actors::{FreeLease, Killer, OtherTool};

/// The time between two passes of the reconciler.
const SWEEP: Duration = Duration::from_secs(10);

/// The number of passes during which the other tool writes.
const HOSTILE: u32 = 150;

/// The number of passes during which the other tool writes after the first promotion.
const HOSTILE_AFTER: u32 = 40;

/// The largest number of passes until the version must be the latest one everywhere.
const MOST: u32 = 1200;

/// The regions, the first of which is that of the gallery.
const REGIONS: [&str; 3] = ["westeurope", "eastus", "japaneast"];

const TARGETS: &str = r#"
[[gallery]]
subscription = "00000000-0000-0000-0000-000000000001"
resource_group = "images"
name = "corp"
region = "westeurope"
create_definition = true
regions = [{ name = "eastus" }, { name = "japaneast" }]
"#;

const CONFIG: &str = "[coordination]\nbackend = \"embedded\"\npath = \"g.db\"\n[cloud]\nbackend = \"modelled\"\n[source]\n\
    subscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"westeurope\"\naccount = \"source\"\ncontainer = \"golden\"\n";

/// What happened.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) kills: u64,
    pub(super) removed: u64,
    pub(super) foreign_writes: u64,
    pub(super) promotions: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.removed += other.removed;
        self.foreign_writes += other.foreign_writes;
        self.promotions += other.promotions;
    }
}

/// The state of the version that readers and operators see.
struct Seen {
    /// The regions that readers get the version in although it cannot be used there.
    exposed: BTreeSet<String>,
    /// The regions that are recorded as ready.
    ready: BTreeSet<String>,
    /// Whether the version is recorded as promoted.
    promoted: bool,
    missing: Vec<String>,
}

pub(super) struct World {
    model: Arc<Model>,
    ports: Ports,
    control: ControlContext,
    spec: PublishSpec,
    operation: Operation,
    rng: StdRng,
    tool: OtherTool,
    violations: Vec<String>,
    counts: Counts,
    /// The number of passes in a row that were killed.
    killed_in_row: u32,
    _folder: TempDir,
}

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_second(1_800_000_000).unwrap()));
        let model = Model::new(LimitMode::Unlimited, clock, &region(REGIONS[0]), seed);
        for name in REGIONS {
            let takes = Duration::from_secs(rng.random_range(60..600));
            let lag = Duration::from_secs(if rng.random_bool(0.2) { 0 } else { rng.random_range(0..=1200) });
            model.set_replication(&region(name), Replication { takes, lag, fails: false });
        }
        let ports = model.ports();
        ports.table.ensure().await.unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("targets.toml"), TARGETS).unwrap();
        std::fs::write(folder.path().join("goldfleet.toml"), CONFIG).unwrap();
        let config = Config::load(Some(&folder.path().join("goldfleet.toml")), std::iter::empty()).unwrap();
        let control = ControlContext::new(ports.clone(), Arc::new(config), "operator");
        let spec = spec(&control).await;
        let operation = operation(&spec, ports.clock.now());
        let world = Self {
            model,
            ports,
            control,
            spec,
            operation,
            rng,
            tool: OtherTool::default(),
            violations: Vec::new(),
            counts: Counts::default(),
            killed_in_row: 0,
            _folder: folder,
        };
        world.prepare().await;
        world
    }

    /// The gallery and the snapshot, as they are before the version is published.
    async fn prepare(&self) {
        let place = |id: &ResourceId, properties, tags| PutRequest {
            id: id.clone(),
            tenant: None,
            mode: PutMode::Create,
            body: ResourceBody::new(region(REGIONS[0]), properties).with_tags(tags),
        };
        let gallery = self.spec.definition_id().parent().unwrap();
        let request = place(&gallery, Properties::Gallery(GalleryProperties::default()), [].into());
        self.ports.resources.put(&request).await.unwrap();
        let disk = ResourceId { resource_type: ResourceType::Disk, ..self.spec.source.clone() };
        let upload = Properties::Disk(DiskProperties::new(CreationData::upload(20 << 20)));
        self.ports.resources.put(&place(&disk, upload, [].into())).await.unwrap();
        let access = AccessRequest { id: disk.clone(), tenant: None, access: Access::Write, duration: SWEEP };
        self.ports.disk_access.begin(&access).await.unwrap();
        self.ports.disk_access.end(&disk, None).await.unwrap();
        let mut tags = tags::of_temporary(self.spec.fleet, &self.spec.job, "source");
        tags.extend(ImageTags { image: self.spec.image.clone(), job: self.spec.job.clone() }.to_map());
        let snapshot = Properties::Snapshot(SnapshotProperties::new(CreationData::copy(&disk), false));
        self.ports.resources.put(&place(&self.spec.source, snapshot, tags)).await.unwrap();
        record::update(&self.ports, &self.spec, |_| ()).await.unwrap();
    }

    pub(super) async fn run(mut self) -> (Vec<String>, Counts) {
        let (mut is_published, mut is_verified, mut worker_waits) = (false, false, 0);
        let mut promoted_at = None;
        for pass in 0..MOST {
            let is_hostile = pass < HOSTILE || promoted_at.is_some_and(|at| pass < at + HOSTILE_AFTER);
            if is_hostile {
                self.other_tool().await;
            }
            if !is_published && worker_waits == 0 {
                match self.worker(pass, is_hostile).await {
                    Some(StepOutcome::Done) => is_published = true,
                    Some(StepOutcome::RequeueAfter(wait)) => {
                        worker_waits = u32::try_from(wait.as_secs() / SWEEP.as_secs()).unwrap();
                    }
                    None => {}
                }
            }
            worker_waits = worker_waits.saturating_sub(1);
            self.sweep(pass, is_hostile).await;
            if !is_verified && self.see().await.is_some() {
                self.record_verification().await;
                is_verified = true;
            }
            if is_verified && self.rng.random_bool(0.2) {
                let done = self.promotion(pass, is_hostile).await;
                promoted_at = promoted_at.or(done.then_some(pass));
                let is_over = promoted_at.is_some_and(|at| pass >= at + HOSTILE_AFTER) && pass >= HOSTILE;
                if done && is_over && self.is_latest_everywhere().await {
                    self.counts.promotions = 1;
                    return (self.violations, self.counts);
                }
            }
            self.ports.clock.sleep(SWEEP).await;
        }
        self.violations.push("the version is not the latest one everywhere".to_owned());
        (self.violations, self.counts)
    }

    /// Ports that kill their user at a random call, or that work.
    fn ports_of(&mut self, may_be_killed: bool) -> (Ports, Option<Arc<Killer>>) {
        if !may_be_killed || !self.rng.random_bool(0.4) {
            return (self.ports.clone(), None);
        }
        let killer = Killer::at(self.rng.random_range(0..14), self.rng.random_bool(0.5));
        (intercepted(&self.ports, &killer), Some(killer))
    }

    /// An attempt of a worker. None if it was killed or failed.
    async fn worker(&mut self, pass: u32, is_hostile: bool) -> Option<StepOutcome> {
        let before = self.see().await;
        let (ports, killer) = self.ports_of(is_hostile);
        let shared = StepContext::new(ports, StepSettings::default());
        let lease = FreeLease::default();
        let attempt = Attempt { shared: &shared, lease: &lease, operation: &self.operation };
        let ended = tokio::select! {
            ended = Publish.run(attempt) => Some(ended),
            () = killed(killer.as_deref()) => None,
        };
        self.counts.kills += u64::from(ended.is_none());
        if let Some(output) = lease.0.into_inner().unwrap() {
            self.operation.output = Some(output);
        }
        self.check(pass, "worker", &before).await;
        match ended? {
            Ok(outcome) => Some(outcome),
            Err(StepError::Failed(error)) if error.retryable => None,
            Err(error) => {
                self.violations.push(format!("pass {pass}: the worker failed: {error:?}"));
                None
            }
        }
    }

    /// A pass of the reconciler.
    async fn sweep(&mut self, pass: u32, is_hostile: bool) {
        let before = self.see().await;
        let (ports, killer) = self.ports_of(is_hostile && self.killed_in_row < 2);
        let control = self.control.clone().with_ports(ports);
        let ended = tokio::select! {
            ended = watch(&control) => Some(ended),
            () = killed(killer.as_deref()) => None,
        };
        let after = self.check(pass, "sweep", &before).await;
        let Some(ended) = ended else {
            self.counts.kills += 1;
            self.killed_in_row += 1;
            return;
        };
        self.killed_in_row = 0;
        if let Err(error) = ended {
            self.violations.push(format!("pass {pass}: the sweep failed: {error}"));
        }
        if let Some(after) = after.filter(|_| before.is_some()) {
            if !after.missing.is_empty() {
                self.violations.push(format!("pass {pass}: {:?} are missing after a sweep", after.missing));
            }
            if !after.exposed.is_empty() {
                self.violations.push(format!("pass {pass}: readers get it in {:?} after a sweep", after.exposed));
            }
        }
    }

    /// Returns whether the promotion succeeded.
    async fn promotion(&mut self, pass: u32, is_hostile: bool) -> bool {
        let before = self.see().await;
        let (ports, killer) = self.ports_of(is_hostile);
        let control = self.control.clone().with_ports(ports);
        let image = &self.spec.image;
        let request = PromoteRequest { image: image.name.clone(), version: image.version.clone(), backwards: false };
        let ended = tokio::select! {
            ended = promote(&control, &request) => Some(ended),
            () = killed(killer.as_deref()) => None,
        };
        self.counts.kills += u64::from(ended.is_none());
        let after = self.check(pass, "promotion", &before).await;
        let is_promoted = |seen: &Option<Seen>| seen.as_ref().is_some_and(|seen| seen.promoted);
        let was_ready = before.as_ref().is_some_and(|before| before.ready.len() == REGIONS.len());
        if !was_ready && !is_promoted(&before) && is_promoted(&after) {
            self.violations.push(format!("pass {pass}: a version that is not ready was promoted"));
        }
        matches!(ended, Some(Ok(_)))
    }

    async fn other_tool(&mut self) {
        let Some(found) = self.ports.resources.get(&self.spec.version, None).await.unwrap() else { return };
        if self.rng.random_bool(0.2) {
            self.tool.read(found.body.clone());
        }
        if self.rng.random_bool(0.15)
            && let Some(body) = self.tool.body(REGIONS[0], &mut self.rng)
        {
            let before = found.body.properties.gallery_version().unwrap().regions().len();
            let after = body.properties.gallery_version().unwrap().regions().len();
            self.counts.removed += u64::from(after < before);
            self.counts.foreign_writes += 1;
            let id = self.spec.version.clone();
            let request = PutRequest { id, tenant: None, mode: PutMode::CreateOrUpdate, body };
            self.ports.resources.put(&request).await.unwrap();
        }
    }

    async fn record_verification(&self) {
        let result = Verification {
            image: self.spec.image.clone(),
            job: self.spec.job.clone(),
            by: "operator".to_owned(),
            at: self.ports.clock.now(),
            locations: 1,
            faults: 0,
            read: false,
        };
        let name = Verification::record_name(&self.spec.image.name, &self.spec.image.version).parse().unwrap();
        self.ports.records.put(&name, &Document::new(FORMAT, &result).unwrap(), None).await.unwrap();
    }

    /// None if the version does not exist.
    async fn see(&self) -> Option<Seen> {
        let found = self.ports.resources.get(&self.spec.version, None).await.unwrap()?;
        let version = found.body.properties.gallery_version().unwrap();
        // The reconciler removes the record of a version that does not exist yet, because no row says that its job is
        // open.
        let publication = record::read(&self.ports, &self.spec.version).await.unwrap();
        let publication = publication.unwrap_or_else(|| Publication::new(self.spec.clone()));
        let is_exposed = |name: &&str| {
            version.may_be_latest(&region(name)) && !self.model.is_usable(&self.spec.version, &region(name))
        };
        let is_missing = |name: &&str| version.region(&region(name)).is_none();
        Some(Seen {
            exposed: REGIONS.iter().filter(|name| is_exposed(name)).map(|name| (*name).to_owned()).collect(),
            missing: REGIONS.iter().filter(|name| is_missing(name)).map(|name| (*name).to_owned()).collect(),
            ready: publication.ready(),
            promoted: publication.promoted.is_some(),
        })
    }

    /// Checks that a step of ours neither reported a region as ready too early, nor showed readers an unready version.
    async fn check(&mut self, pass: u32, who: &str, before: &Option<Seen>) -> Option<Seen> {
        let after = self.see().await?;
        let none = BTreeSet::new();
        let (exposed, ready) = before.as_ref().map_or((&none, &none), |before| (&before.exposed, &before.ready));
        for name in after.exposed.difference(exposed) {
            self.violations.push(format!("pass {pass}: the {who} showed readers an unready version in {name}"));
        }
        for name in after.ready.difference(ready) {
            if !self.model.is_usable(&self.spec.version, &region(name)) {
                self.violations.push(format!("pass {pass}: the {who} reported {name} as ready too early"));
            }
        }
        Some(after)
    }

    async fn is_latest_everywhere(&self) -> bool {
        let found = self.ports.resources.get(&self.spec.version, None).await.unwrap().unwrap();
        let version = found.body.properties.gallery_version().unwrap();
        REGIONS
            .iter()
            .all(|name| version.may_be_latest(&region(name)) && self.model.is_usable(&self.spec.version, &region(name)))
    }
}

/// Waits until a process is killed.
async fn killed(killer: Option<&Killer>) {
    match killer {
        Some(killer) => killer.reached().await,
        None => std::future::pending().await,
    }
}

async fn spec(control: &ControlContext) -> PublishSpec {
    let file = goldfleet_config::targets::TargetsFile::load(&control.config.targets.file).unwrap();
    let gallery: &Gallery = &file.galleries[0];
    let job: JobId = "20270115-080000-0000".parse().unwrap();
    let image = ImageRef {
        name: "golden".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        digest: goldfleet_model::hash::digest_of(b"golden"),
    };
    let published = Published {
        fleet: control.ports.table.fleet().await.unwrap(),
        job: &job,
        image: &image,
        os: OsType::Linux,
        generation: Generation::V2,
        source: "source",
        data: &[],
        tags: &[].into(),
        now: control.ports.clock.now(),
    };
    PublishSpec::new(gallery, published).unwrap()
}

fn operation(spec: &PublishSpec, now: Timestamp) -> Operation {
    let id = OperationId::new(GroupId::of("gallery", &["gallery"]), "publish");
    let place = Place { region: region(REGIONS[0]), label: "gallery".to_owned(), target: None };
    Operation {
        spec: write_spec(spec),
        image: Some(spec.image.clone()),
        started: Some(now),
        ..Operation::waiting(&spec.job, id, "publish".parse().unwrap(), place, now)
    }
}
