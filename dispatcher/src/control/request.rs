//! Creates a job from a request: first its row, then the message that points to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_config::UploadRoute;
use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::artifact::{Artifact, ArtifactRecord};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId, Region};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Approval, Job, JobState, Payload, Subject, Work};
use goldfleet_model::operation::{GroupId, Operation};
use goldfleet_model::selector::Selector;
use goldfleet_model::store::Store;
use goldfleet_model::system::System;
use goldfleet_model::target::{Target, TargetKey};
use goldfleet_model::upload::system_of;
use goldfleet_ports::clock::after;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::rng;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_rates::Rates;
use jiff::Timestamp;

use crate::control::artifacts::artifact_record;
use crate::control::context::{ControlContext, ControlError};
use crate::control::job_store::{JobStore, states};
use crate::control::{galleries, region, routes};

/// A job, and whether this request created it.
#[derive(Debug, Clone)]
pub struct RequestResult {
    /// The job.
    pub job: Job,
    /// Whether the job is new. False if an equal request was made before and its job has not ended.
    pub new: bool,
}

/// The sort key of targets for planning. Targets are planned ring by ring, because the first target of a region
/// provides the store of the region.
#[must_use]
pub fn plan_order(target: &Target) -> (u32, TargetKey) {
    (target.ring, target.key())
}

/// The configured stores of each region, in the order of the file.
pub type StoresByRegion = BTreeMap<Region, Vec<Store>>;

/// The configured stores by region, and the selected targets that are enabled. At least one target.
///
/// # Errors
/// [`ControlError`] if the targets file is not valid, or if it has no selected target.
pub fn selected_targets(
    config: &Config,
    selection: &[Selector],
) -> Result<(StoresByRegion, Vec<Target>), ControlError> {
    let file = TargetsFile::load(&config.targets.file)?;
    let stores = file.stores_by_region();
    let selected = file.into_selected(selection);
    if selected.is_empty() {
        return Err(ControlError::NoTargets { file: config.targets.file.clone() });
    }
    Ok((stores, selected))
}

/// The properties of an image version that a job's row contains.
#[must_use]
pub fn job_payload(artifact: &Artifact, system: Option<System>) -> Payload {
    let Artifact { os, generation, .. } = *artifact;
    Payload { os, generation, size: artifact.size(), data_bytes: artifact.data_bytes(), system }
}

/// A job that is requested now.
#[must_use]
pub fn new_job(id: JobId, subject: Subject, selection: Vec<Selector>, now: Timestamp) -> Job {
    Job {
        id,
        kinds: routes::kinds(&subject),
        subject,
        selection,
        state: JobState::Requested,
        requested_by: None,
        note: None,
        approvals: None,
        findings: Vec::new(),
        plan: 0,
        operations: None,
        announced: false,
        tree: None,
        failure: None,
        cleaned: false,
        removing: false,
        gates_held_until: None,
        created: now,
        updated: now,
        finished: None,
    }
}

/// The options of a job, besides its targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether every ring after the first waits for an operator's approval.
    pub approve: bool,
    /// A remark of the operator.
    pub note: Option<String>,
    /// How an uploaded version reaches the targets. None for the configured route.
    pub route: Option<UploadRoute>,
}

impl Terms {
    fn route(&self, config: &Config) -> UploadRoute {
        self.route.unwrap_or(config.plan.route)
    }

    /// A new job with these terms.
    pub(crate) fn apply_to(self, jobs: &JobStore, job: Job) -> Job {
        let approvals: Option<Vec<Approval>> = self.approve.then(Vec::new);
        Job { requested_by: Some(jobs.actor.clone()), note: self.note, approvals, ..job }
    }

    /// Continues an open job of an equal request.
    ///
    /// # Errors
    /// If it does not have the requested approvals, or if the queue cannot be reached.
    pub(crate) async fn continue_job(&self, jobs: &JobStore, job: Job) -> Result<RequestResult, ControlError> {
        if self.approve && job.approvals.is_none() {
            return Err(ControlError::Refused(format!(
                "job {id} already does this, without approvals between its rings: cancel it with 'goldfleet cancel {id}', \
                 then dispatch again",
                id = job.id
            )));
        }
        if job.state == JobState::Requested {
            jobs.enqueue_job(&job.id).await?;
        }
        Ok(RequestResult { job, new: false })
    }
}

/// [`request_on`] without a remark.
///
/// # Errors
/// As [`request_on`].
pub async fn request_job(
    control: &ControlContext,
    image: &ImageName,
    version: &ImageVersion,
    selection: &[Selector],
    approve: bool,
) -> Result<RequestResult, ControlError> {
    request_on(control, image, version, selection, Terms { approve, ..Terms::default() }).await
}

/// Requests an image version at the selected targets. If an equal request has an open job, no new job is created; the
/// message of that job is sent again if it is not planned yet, because it may be lost. A job that was planned before a
/// target or gallery was added is not equal.
///
/// # Errors
/// [`ControlError`] if the image does not exist, if an equal job is open without the requested approvals, or if the
/// table or the queue cannot be reached.
pub async fn request_on(
    control: &ControlContext,
    image: &ImageName,
    version: &ImageVersion,
    selection: &[Selector],
    terms: Terms,
) -> Result<RequestResult, ControlError> {
    // Report errors in the files to the caller now, instead of as a failure of the job later.
    let route = terms.route(&control.config);
    let receivers = check_targets(&control.config, image, selection, route)?;
    Rates::load(control.config.plan.rates.as_deref())?;
    let ArtifactRecord { artifact, provenance } =
        artifact_record(&control.ports, &control.config, image, version).await?;
    let image = artifact.named(image, version);
    let delivery = (route == UploadRoute::Region).then(|| region::delivery().map(Box::new)).transpose()?;
    // Without an explicit route, an open job continues by its own.
    let any_route = terms.route.is_none();
    let is_same = |job: &Job| job.image() == Some(&image) && (any_route || job.delivery() == delivery.as_deref());
    let groups = galleries::groups(&receivers.galleries, &image.name, &image.version);
    if let Some(job) = find_open_job(&control.jobs, is_same, selection, (&receivers.targets, &groups)).await? {
        return terms.continue_job(&control.jobs, job).await;
    }
    let system = match provenance.system {
        // An upload without a check wrote the record. Another upload may have checked the same content.
        None => system(&control.ports, &image).await?,
        system => system,
    };
    let payload = job_payload(&artifact, system);
    insert(&control.jobs, Subject::Image { image, payload, delivery }, selection.to_vec(), terms).await
}

/// What receives an image version.
#[derive(Debug, Clone)]
pub struct Receivers {
    /// The targets.
    pub targets: Vec<Target>,
    /// The galleries. None by the route `staging`.
    pub galleries: Vec<Gallery>,
}

/// The selected targets and galleries, if an uploaded version can reach them by this route. At least one. Only the
/// files of the configuration are read.
///
/// # Errors
/// [`ControlError`] if a file is not valid, or if the route cannot reach a target or gallery.
pub fn check_targets(
    config: &Config,
    image: &ImageName,
    selection: &[Selector],
    route: UploadRoute,
) -> Result<Receivers, ControlError> {
    let file = TargetsFile::load(&config.targets.file)?;
    let galleries: Vec<Gallery> = match route {
        UploadRoute::Staging => Vec::new(),
        UploadRoute::Region => file.galleries_of(image, selection).into_iter().cloned().collect(),
    };
    let hubs = region::hubs(&file);
    let targets = file.into_selected(selection);
    if targets.is_empty() && galleries.is_empty() {
        return Err(ControlError::NoTargets { file: config.targets.file.clone() });
    }
    refuse_other_sinks(&targets)?;
    if route == UploadRoute::Region {
        region::check_configuration(&targets, &galleries, &hubs)?;
    }
    Ok(Receivers { targets, galleries })
}

/// Rejects targets that have another sink than a managed image. Uploaded versions become only images.
///
/// # Errors
/// [`ControlError::Refused`] with these targets.
fn refuse_other_sinks(targets: &[Target]) -> Result<(), ControlError> {
    let others: Vec<String> = targets
        .iter()
        .filter(|target| !target.sinks.is_default())
        .map(|target| format!("{} ({})", target.key(), target.sinks))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(ControlError::Refused(format!(
        "an uploaded version reaches targets as a managed image only, and these have other sinks: {}; use 'goldfleet dispatch \
         --from' for them, or select other targets",
        others.join(", ")
    )))
}

/// The id and the time of a new job. Jobs are in the order of these, so they are those of now, or those of the second
/// after the newest job if a clock was ahead when that was requested.
pub(crate) async fn next_job(ports: &Ports) -> PortResult<(JobId, Timestamp)> {
    let now = ports.clock.now();
    let newest = ports.table.list_newest_jobs(1).await?.rows.pop();
    let latest = newest.map(|job| job.value.created.max(job.value.id.requested_at().unwrap_or(Timestamp::MIN)));
    let at = match latest.filter(|latest| *latest > now) {
        None => now,
        Some(latest) => {
            tracing::warn!(%latest, %now, "the newest job was requested in the future: check the clocks of all machines");
            after(latest, Duration::from_secs(1))
        }
    };
    Ok((JobId::new(at, rng::random_u64()), at))
}

/// Creates a job, and sends its message to the dispatcher.
async fn insert(
    jobs: &JobStore,
    subject: Subject,
    selection: Vec<Selector>,
    terms: Terms,
) -> Result<RequestResult, ControlError> {
    let (id, now) = next_job(&jobs.ports).await?;
    insert_job(jobs, terms.apply_to(jobs, new_job(id, subject, selection, now))).await
}

/// Writes the row of a new job, and sends its message to the dispatcher.
pub(crate) async fn insert_job(jobs: &JobStore, job: Job) -> Result<RequestResult, ControlError> {
    jobs.ports.table.insert_job(&job).await?;
    jobs.enqueue_job(&job.id).await?;
    Ok(RequestResult { job, new: true })
}

/// Requests work other than an image version. If an open job already does it, no new one is created. Two jobs with the
/// same title do the same work if `is_same`, which is called with the open and the requested work, says so.
///
/// # Errors
/// [`ControlError`] if an open job does it with other options, or if the table or the queue cannot be reached.
pub async fn request_work(
    jobs: &JobStore,
    work: Work,
    note: Option<String>,
    is_same: impl Fn(&Work, &Work) -> bool,
) -> Result<RequestResult, ControlError> {
    for open in jobs.ports.table.list_open_jobs().await?.rows.into_iter().map(|row| row.value) {
        let Subject::Work { work: other } = &open.subject else { continue };
        let does_same = other.title == work.title && is_same(other, &work);
        if !does_same || open.state == JobState::Cancelling || !jobs.has_unfinished_work(&open).await? {
            continue;
        }
        if other.spec != work.spec {
            let id = &open.id;
            return Err(ControlError::Refused(format!(
                "job {id} does {} with other rules or options: wait for it with 'goldfleet status {id} --watch', or \
                 'goldfleet cancel {id}'",
                work.title
            )));
        }
        if open.state == JobState::Requested {
            jobs.enqueue_job(&open.id).await?;
        }
        return Ok(RequestResult { job: open, new: false });
    }
    insert(jobs, Subject::Work { work }, Vec::new(), Terms { note, ..Terms::default() }).await
}

/// The operating system of an image version, as its uploads recorded it.
async fn system(ports: &Ports, image: &ImageRef) -> PortResult<Option<System>> {
    let newest = ports.table.newest_upload(&image.name, &image.version).await?;
    if let Some(upload) = newest.filter(|upload| upload.digest.as_ref() == Some(&image.digest)) {
        return Ok(upload.system);
    }
    // The newest upload has not ended, has failed, or is of an earlier release.
    Ok(system_of(&ports.table.list_uploads().await?.rows, &image.digest).cloned())
}

/// The open job of an equal request, if there is one. `is_same` returns whether a job delivers the same content. A
/// planned job must have an operation for each of the targets, and of each of the groups, which are those of galleries.
pub(crate) async fn find_open_job(
    jobs: &JobStore,
    is_same: impl Fn(&Job) -> bool,
    selection: &[Selector],
    (targets, groups): (&[Target], &[GroupId]),
) -> PortResult<Option<Job>> {
    let same = |job: &Job| is_same(job) && job.selection == selection && job.state != JobState::Cancelling;
    for job in jobs.ports.table.list_open_jobs().await?.rows.into_iter().map(|job| job.value).filter(same) {
        // A job that is not planned yet will be planned for the current targets.
        if job.state == JobState::Requested {
            return Ok(Some(job));
        }
        let rows = jobs.list_operations(&job).await?.rows;
        // If all operations have ended, the job does nothing more, although the reconciler has not ended it yet.
        if job.job_end(states(&rows)).is_none() && covers(&rows, targets, groups) {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

/// Whether a job has an operation for each of these targets, and of each of these groups.
fn covers(rows: &[Versioned<Operation>], targets: &[Target], groups: &[GroupId]) -> bool {
    let keys: BTreeSet<TargetKey> = rows.iter().filter_map(|row| Some(row.value.target()?.key())).collect();
    let known: BTreeSet<&GroupId> = rows.iter().map(|row| row.value.id.group()).collect();
    targets.iter().all(|target| keys.contains(&target.key())) && groups.iter().all(|group| known.contains(group))
}
