//! One run of a job in virtual time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use goldfleet_config::UploadRoute;
use goldfleet_galleries::spec::PublishSpec;
use goldfleet_kinds::context::read_spec;
use goldfleet_kinds::hub::HubSpec;
use goldfleet_kinds::kind::TemporaryBlob;
use goldfleet_model::artifact::{ArtifactRecord, DiskRef, LoadedVersion, Provenance};
use goldfleet_model::checksum::crc64;
use goldfleet_model::event::Event;
use goldfleet_model::ids::JobId;
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Delivery, Job, JobState, Subject};
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::resource::{GalleryProperties, Properties, ResourceBody, ResourceId};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_model::tree::{PlannedStore, Tree};
use goldfleet_modelled::{Model, Stats};
use goldfleet_plan::estimate::Estimate;
use goldfleet_plan::{GalleryEstimate, RouteEstimate};
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::resources::{PutMode, PutRequest};
use tempfile::TempDir;

use super::engine::{Engine, folder, virtual_time};
use super::{Rehearsal, RehearsalError};
use crate::control::{fan_out, region, request};

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
    /// The galleries, each with the time until its version was ready in all regions.
    pub galleries: Vec<PublishedGallery>,
    /// The distribution tree, as recorded in the job's row.
    pub tree: Option<Tree>,
    /// The events of the job.
    pub events: Vec<Event>,
    /// The counters of the cloud for this job only.
    pub stats: Stats,
    /// The real time that the run took.
    pub real: Duration,
}

/// A gallery of a run.
#[derive(Debug, Clone)]
pub struct PublishedGallery {
    /// What the plan estimates.
    pub estimate: GalleryEstimate,
    /// The time from the request until its version was ready in all regions. None if it was not published.
    pub ready: Option<Duration>,
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
    let folder = folder(&rehearsal.targets, &rehearsal.rates)?;
    virtual_time()?.block_on(async {
        let stage = RehearsalRun::set(rehearsal, &folder).await?;
        for (n, version) in rehearsal.before.iter().enumerate() {
            stage.run(&format!("before-{n}"), version).await?;
        }
        stage.fill(rehearsal).await?;
        happens(&stage.engine.model);
        stage.run("rehearsal", &rehearsal.image).await
    })
}

/// A rehearsal of an image version.
struct RehearsalRun {
    engine: Engine,
    route: UploadRoute,
}

impl RehearsalRun {
    async fn set(rehearsal: &Rehearsal, folder: &TempDir) -> Result<Self, RehearsalError> {
        let Rehearsal { config, targets, rates, seed, route, .. } = rehearsal;
        let engine = Engine::new(config, rates, folder.path(), (rehearsal.workers(), *seed));
        goldfleet_connect::place_fleet(&engine.model, &config.source, targets);
        engine.control.ports.blobs.ensure_container(&config.source.store().container()).await?;
        for gallery in &targets.galleries {
            let properties = Properties::Gallery(GalleryProperties::default());
            let body = ResourceBody::new(gallery.region.clone(), properties);
            let request = PutRequest { id: gallery.id(), tenant: None, mode: PutMode::CreateOrUpdate, body };
            engine.control.ports.resources.put(&request).await?;
        }
        Ok(Self { engine, route: *route })
    }

    /// Adds the chunks that stores already hold, and a job that used these stores, because dispatchers find stores by
    /// jobs.
    async fn fill(&self, rehearsal: &Rehearsal) -> Result<(), RehearsalError> {
        for (store, held) in rehearsal.held.stores() {
            self.engine.model.put_chunks(store, rehearsal.image.chunks().filter(|chunk| held.contains(&chunk.hash)))?;
        }
        let filled: BTreeSet<&Container> = rehearsal.held.stores().map(|(store, _)| store).collect();
        let staging = rehearsal.targets.targets.iter().filter(|target| filled.contains(&target.staging()));
        let stores = staging.map(|target| PlannedStore { store: target.store(), parent: Some(0) });
        let source = PlannedStore { store: self.engine.control.config.source.store(), parent: None };
        let tree = Tree { stores: std::iter::once(source).chain(stores).collect() };
        let id: JobId = "held".parse().map_err(|error| RehearsalError::Invalid(format!("{error}")))?;
        let now = self.engine.control.ports.clock.now();
        let job = request::new_job(id, subject_of(&rehearsal.image, None), Vec::new(), now);
        let earlier = Job { state: JobState::Succeeded, tree: Some(tree), ..job };
        Ok(self.engine.control.ports.table.insert_job(&earlier).await?)
    }

    /// Runs the job of one version from its request to its end.
    async fn run(&self, id: &str, version: &LoadedVersion) -> Result<RunResult, RehearsalError> {
        let began = Instant::now();
        self.upload(version).await?;
        // The dispatcher makes an equal plan when it fans out the job.
        let planned = fan_out::plan_with_preferred_time(&self.engine.control, version, &[]).await?;
        self.engine.model.reset_stats();
        let id: JobId = id.parse().map_err(|error| RehearsalError::Invalid(format!("{error}")))?;
        let delivery = match self.route {
            UploadRoute::Staging => None,
            UploadRoute::Region => Some(Box::new(region::delivery()?)),
        };
        let created = self.engine.run_job(&id, subject_of(version, delivery)).await?;
        let stats = self.engine.model.stats();
        let events = self.engine.control.ports.table.events(&id, None).await?;
        let ends = |kind: &'static str| {
            let of_kind = move |event: &&Event| {
                event.what == "succeed" && event.operation.as_ref().is_some_and(|id| id.step() == kind)
            };
            events.iter().filter(of_kind).map(|event| elapsed(created, event.at))
        };
        let (copies, images) = (ends("copy"), ends("image"));
        let rows = self.engine.control.ports.table.operations(&id).await?;
        let galleries = planned.galleries.into_iter().map(|estimate| {
            let row = rows.iter().find(|row| gallery_of(&row.value).as_ref() == Some(&estimate.gallery));
            let is_end =
                |event: &&Event| event.what == "succeed" && event.operation == row.map(|row| row.value.id.clone());
            let ended = row.and_then(|_| events.iter().find(is_end));
            PublishedGallery { estimate, ready: ended.map(|event| elapsed(created, event.at)) }
        });
        let galleries = galleries.collect();
        let whole = rows.iter().all(|row| {
            let kind = self.engine.control.jobs.registry.get(&row.value.kind);
            let blob = kind.and_then(|kind| kind.temporary_blob(&self.engine.control.ports, &row.value));
            let is_whole = |TemporaryBlob { blob, disk }| {
                version.manifest(&disk).is_some_and(|manifest| self.engine.model.is_whole(&blob, manifest))
            };
            let is_golden = |(id, disk): (ResourceId, DiskRef)| {
                version.manifest(&disk).is_some_and(|manifest| self.engine.model.is_whole_disk(&id, manifest))
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
            galleries,
            tree: self.engine.control.jobs.job(&id).await?.value.tree,
            events,
            stats,
            real: began.elapsed(),
        })
    }

    /// Adds the version to the source store. Its chunks appear at once, because the upload is not part of the job.
    async fn upload(&self, version: &LoadedVersion) -> Result<(), RehearsalError> {
        let store = self.engine.control.config.source.store().container();
        self.engine.model.put_chunks(&store, version.chunks())?;
        let ImageRef { name, version: number, .. } = &version.image;
        for (disk, manifest) in version.disks() {
            self.put(&store.manifest(name, number, &disk.disk.manifest), manifest.encode()).await?;
        }
        let uploaded = self.engine.control.ports.clock.now();
        let (upload, by) = (JobId::new(uploaded, 0), self.engine.control.jobs.actor.clone());
        let provenance = Provenance { uploaded, upload, by, source: None, system: None };
        let record = ArtifactRecord { artifact: version.artifact.clone(), provenance };
        self.put(&store.artifact(name, number), record.encode()).await
    }

    async fn put(&self, blob: &BlobAddress, encoded: Vec<u8>) -> Result<(), RehearsalError> {
        let body = Bytes::from(encoded);
        let checksum = crc64(&body);
        Ok(self.engine.control.ports.blobs.put_blob(blob, body, checksum.into()).await?)
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

/// The name of the gallery in which an operation publishes a version.
fn gallery_of(row: &Operation) -> Option<String> {
    let spec: PublishSpec = read_spec(row).ok().filter(|_| row.kind.as_str() == "publish")?;
    Some(spec.definition_id().parent()?.name.to_string())
}
