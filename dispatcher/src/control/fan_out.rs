//! Fan-out: plans a job, writes its operations, and then sends their messages. It can be run again at any point.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_config::Config;
use goldfleet_config::HumanDuration;
use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::artifact::{ArtifactDisk, LoadedVersion};
use goldfleet_model::ids::{JobId, ManagedImageName};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Finding, Job, JobState, Subject};
use goldfleet_model::operation::{Failure, Operation, OperationState};
use goldfleet_model::resource::ResourceId;
use goldfleet_model::selector::Selector;
use goldfleet_model::state::JobEvent;
use goldfleet_model::target::{Target, TargetKey};
use goldfleet_plan::{GalleryEstimate, GalleryReceiver, Inventory, Plan, PlanContent, PlanRequest, RouteEstimate};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::Resource;
use goldfleet_rates::Rates;
use goldfleet_workflow::validate::{GraphCheck, GraphError};

use crate::control::cancel::stop_operations;
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::galleries;
use crate::control::job_store::JobStore;
use crate::control::reconcile::MAX_PASS_TIME;
use crate::control::request::{plan_order, selected_targets};
use crate::control::routes::{self, Groups};
use crate::control::store_inventory::read_inventory;

/// The result of a fan-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FanOutResult {
    /// The operations are in the table and their messages were sent, or the job did not need a fan-out.
    Done,
    /// Another job of the same image version works on some of the targets. Try again after this time.
    Deferred(Duration),
}

/// The plan of a job. It is plain data that is created before anything is written.
#[derive(Debug, Clone)]
pub struct JobPlan {
    /// Which store fills which, which targets read from which store, and the cost and time of that.
    pub plan: Plan,
    /// What each route needs for the targets that get the image.
    pub routes: Vec<RouteEstimate>,
    /// What the route `region` needs for each gallery, in addition to the golden snapshot of its region.
    pub galleries: Vec<GalleryEstimate>,
    /// What the route `staging` does not do.
    pub findings: Vec<Finding>,
    /// The rates that the plan is based on.
    pub rates: Rates,
    /// The disks of the version.
    pub disks: Vec<ArtifactDisk>,
    /// The chunks that stores already have.
    pub inventory: Inventory,
    /// The targets that get the image, each with the name of its managed image.
    pub targets: Vec<(Target, ManagedImageName)>,
    /// The targets that already have the image.
    pub skipped: Vec<(Target, ManagedImageName)>,
}

/// The code of a job that was not planned because a group of resources could not be listed.
pub(crate) const NOT_LISTED: &str = "not-listed";

/// The number of rows that are written at a time.
const ROWS_AT_ONCE: usize = 1000;

/// How long a job of a route that this program does not know waits for another dispatcher.
const UNKNOWN_ROUTE_DELAY: Duration = Duration::from_secs(30);

/// How long a job waits before it checks again whether another job has ended.
const RECHECK_AFTER: Duration = Duration::from_secs(2);

/// The limit of the planned time until the last image, and what happens if no plan meets it.
#[derive(Debug, Clone, Copy)]
pub enum TimeLimit {
    /// The limit, if any, is required: without a plan that meets it, planning fails.
    Required(Option<Duration>),
    /// The limit, if any, is preferred: without a plan that meets it, the fastest plan is used.
    Wanted(Option<Duration>),
}

/// Plans an image version for the selected targets: finds out which of them have it, and chooses the cheapest plan for
/// the others that meets the time limit.
///
/// # Errors
/// [`ControlError`] if no target is selected and no gallery receives the image, a name cannot be formed, two images would have the same name, the
/// services cannot be reached, the rates are not valid, or no plan is fast enough. A target that refuses to be
/// inspected counts as a target without the image.
pub async fn plan(
    ports: &Ports,
    config: &Config,
    version: &LoadedVersion,
    selection: &[Selector],
    speed: TimeLimit,
) -> Result<JobPlan, ControlError> {
    let image = &version.image;
    let rates = Rates::load(config.plan.rates.as_deref())?;
    let file = TargetsFile::load(&config.targets.file)?;
    let settings: Vec<Gallery> = file.galleries_of(&image.name, selection).into_iter().cloned().collect();
    let (configured, mut selected) = (file.stores_by_region(), file.into_selected(selection));
    if selected.is_empty() && settings.is_empty() {
        return Err(ControlError::NoTargets { file: config.targets.file.clone() });
    }
    selected.sort_by_key(plan_order);
    let named = name_images(config, image, selected)?;
    let each = named.as_slice();
    let having: BTreeSet<TargetKey> = futures::stream::iter(0..each.len())
        .map(|index| async move {
            let (target, name) = &each[index];
            has_image(ports, image, target, name.clone()).await.map(|has| has.then(|| target.key()))
        })
        .buffer_unordered(MAX_IN_FLIGHT)
        .try_filter_map(|key| async move { Ok(key) })
        .try_collect()
        .await?;
    let (skipped, targets): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|(target, _)| having.contains(&target.key()));
    let (source, content) = (config.source.store(), PlanContent::from_manifests(&version.manifests));
    let wanted: Vec<&Target> = targets.iter().map(|(target, _)| target).collect();
    let held = read_inventory(ports, config, &configured, &wanted, &content).await?;
    let (TimeLimit::Required(within) | TimeLimit::Wanted(within)) = speed;
    let asked = PlanRequest {
        source: &source,
        targets: &wanted,
        configured: &configured,
        content: &content,
        inventory: &held,
        rates: &rates,
        within,
    };
    let made = Plan::make(&asked);
    let plan = match (made, speed) {
        (Err(too_slow), TimeLimit::Wanted(_)) => {
            tracing::warn!(image = %image, %too_slow, "the fastest plan is taken");
            *too_slow.fastest
        }
        (made, _) => made?,
    };
    let receivers: Vec<GalleryReceiver> = settings.iter().map(galleries::receiver).collect();
    let region = RouteEstimate::region(&asked, &receivers);
    let estimate = |gallery: &GalleryReceiver| GalleryEstimate::new(gallery, &content, &region, &rates);
    let estimates = receivers.iter().map(estimate).collect();
    let findings = galleries::unserved(&galleries::names(&settings), &image.name, &image.version);
    Ok(JobPlan {
        routes: vec![RouteEstimate::staging(&plan, &asked), region],
        galleries: estimates,
        findings: findings.into_iter().collect(),
        plan,
        rates,
        disks: version.artifact.disks.clone(),
        inventory: held,
        targets,
        skipped,
    })
}

/// Plans a job with the configured time limit. If no plan meets it, the fastest plan is used.
///
/// # Errors
/// As [`plan`], except that a slow plan is not an error. Without targets there is no job.
pub async fn plan_with_preferred_time(
    control: &ControlContext,
    version: &LoadedVersion,
    selection: &[Selector],
) -> Result<JobPlan, ControlError> {
    selected_targets(&control.config, selection)?;
    let speed = TimeLimit::Wanted(control.config.plan.within.map(HumanDuration::get));
    plan(&control.ports, &control.config, version, selection, speed).await
}

/// The names of the managed images of targets.
///
/// # Errors
/// [`ControlError::Refused`] if a name cannot be formed, or if two images would have the same name.
pub(crate) fn name_images(
    config: &Config,
    image: &ImageRef,
    targets: Vec<Target>,
) -> Result<Vec<(Target, ManagedImageName)>, ControlError> {
    let mut taken: BTreeMap<(String, String, ManagedImageName), TargetKey> = BTreeMap::new();
    let mut named = Vec::with_capacity(targets.len());
    for target in targets {
        let name = config.images.name.fill(&image.name, &image.version, &target).map_err(|error| {
            ControlError::Refused(format!("target {}: {error}; change [images] name", target.key()))
        })?;
        // The names of resource groups and images are compared without regard to case.
        let place = (target.subscription.to_string(), target.resource_group.as_str().to_lowercase(), name.clone());
        if let Some(other) = taken.insert(place, target.key()) {
            return Err(ControlError::Refused(format!(
                "targets {other} and {} would have the same managed image {name} in resource group {}: \
                 put {{region}} into [images] name",
                target.key(),
                target.resource_group
            )));
        }
        named.push((target, name));
    }
    Ok(named)
}

/// Whether a target has exactly this version as a managed image.
pub(crate) async fn has_image(
    ports: &Ports,
    image: &ImageRef,
    target: &Target,
    name: ManagedImageName,
) -> PortResult<bool> {
    let found = existing_at_target(ports, target, &target.image(name)).await?;
    Ok(found.is_some_and(|found| found.was_created_from(image.digest, &target.region)))
}

/// The resource with this id. None if the service refuses the request, because one target must not delay all others.
/// The step of the target gets the same error, and only that operation fails.
pub(crate) async fn existing_at_target(
    ports: &Ports,
    target: &Target,
    id: &ResourceId,
) -> PortResult<Option<Resource>> {
    // Retry a throttled request here, so that one of hundreds of requests does not cause all of them to be repeated.
    let look = || ports.resources.get(id, target.tenant.as_deref());
    match ports.retry(look).await {
        Err(error) if !error.is_retryable() => {
            let target = target.key();
            tracing::warn!(%error, code = error.code, "target {target} is planned as if {id} did not exist");
            Ok(None)
        }
        found => found,
    }
}

/// Fans out a job.
///
/// The attempt takes the next planning number of the job by compare-and-swap, and its rows contain that number. One
/// commit records the plan on condition that the number is unchanged; only then is the job planned. Messages are sent
/// after that. A dispatcher that is interrupted at any point leaves rows that the next attempt replaces.
///
/// # Errors
/// If the table, the queue or the image service cannot be reached. The fan-out can then be run again.
pub async fn fan_out(control: &ControlContext, id: &JobId) -> Result<FanOutResult, ControlError> {
    let Some(job) = control.ports.table.job(id).await?.map(|job| job.value) else { return Ok(FanOutResult::Done) };
    if job.state == JobState::Running && !job.announced {
        return announce_planned(&control.jobs, &job).await;
    }
    if job.state != JobState::Requested {
        return abandon(&control.jobs, &job).await;
    }
    if must_wait_for_other_job(&control.ports, &control.config, &job).await? {
        return Ok(FanOutResult::Deferred(RECHECK_AFTER));
    }
    // A newer program requested the job. It may also plan it.
    let Some(route) = routes::find(&job.subject) else { return Ok(FanOutResult::Deferred(UNKNOWN_ROUTE_DELAY)) };
    let plan = match route.plan(control, &job).await {
        Ok(plan) => plan,
        Err(ControlError::Port(error)) if error.is_retryable() => return Err(error.into()),
        Err(refusal) => return reject(&control.jobs, id, &refusal).await,
    };
    // Planning may have taken minutes, so read the job again.
    let Some(job) = begin_attempt(&control.jobs, id).await? else {
        return Ok(FanOutResult::Deferred(Duration::ZERO));
    };
    let now = control.ports.clock.now();
    let groups = || plan.groups(&job, now);
    let rows = match check(groups()) {
        Ok(rows) => rows,
        Err(error) => return reject(&control.jobs, id, &ControlError::Refused(error.to_string())).await,
    };
    plan.prepare(&control.ports).await?;
    write_rows(&control.jobs, groups()).await?;
    if job.plan > 1 {
        control.ports.table.remove_earlier_plans(id, job.plan).await?;
    }
    let planned = |row: &mut Job| {
        row.tree = plan.tree().cloned();
        row.findings = findings_for_row(plan.findings());
        row.operations = Some(rows);
        row.announced = false;
    };
    match record_plan(&control.jobs, &job, planned).await? {
        Some(job) => announce(&control.jobs, &job, groups().flatten()).await,
        // Another dispatcher plans the job, or it was cancelled. The next attempt reads the row and handles either
        // case.
        None => Ok(FanOutResult::Deferred(Duration::ZERO)),
    }
}

/// As many findings as a job's row holds, and how many more there are.
fn findings_for_row(mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.len() > Job::MAX_FINDINGS {
        let rest = findings.split_off(Job::MAX_FINDINGS - 1);
        let message = format!("{} more findings; a run with --dry-run shows all", rest.len());
        let failed = rest.iter().any(|finding| finding.failed);
        findings.push(Finding { code: "more-findings".to_owned(), failed, place: None, message });
    }
    findings
}

/// Takes the next planning number. None if the job no longer waits to be planned, or another process changed it.
async fn begin_attempt(jobs: &JobStore, id: &JobId) -> Result<Option<Job>, ControlError> {
    let row = jobs.job(id).await?;
    if row.value.state != JobState::Requested {
        return Ok(None);
    }
    let plan = row.value.plan + 1;
    let written = jobs.update_job(&row, |job| job.plan = plan).await?;
    Ok(written.then_some(Job { plan, ..row.value }))
}

/// Checks a graph before any part of it is written. Returns the number of operations.
fn check(groups: Groups<'_>) -> Result<u64, GraphError> {
    let (mut check, mut rows) = (GraphCheck::default(), 0);
    for group in groups {
        check.group(&group)?;
        rows += group.len() as u64;
    }
    check.finish()?;
    Ok(rows)
}

/// Writes all rows, in batches of groups.
async fn write_rows(jobs: &JobStore, groups: Groups<'_>) -> PortResult<()> {
    let mut rows = Vec::new();
    for group in groups {
        rows.extend(group);
        if rows.len() >= ROWS_AT_ONCE {
            jobs.ports.table.insert_operations(&rows).await?;
            jobs.monitor.health.tick(MAX_PASS_TIME);
            rows.clear();
        }
    }
    if !rows.is_empty() {
        jobs.ports.table.insert_operations(&rows).await?;
    }
    Ok(())
}

/// Records the plan of an attempt in the job's row. None if another attempt has replaced this one, or the job was
/// cancelled.
async fn record_plan(jobs: &JobStore, attempt: &Job, change: impl Fn(&mut Job)) -> Result<Option<Job>, ControlError> {
    loop {
        let row = jobs.job(&attempt.id).await?;
        if row.value.plan != attempt.plan || row.value.state != JobState::Requested {
            return Ok(None);
        }
        if let Some(planned) = jobs.apply_event_to(&row, JobEvent::Planned, &change).await? {
            return Ok(Some(planned.value));
        }
    }
}

/// Sends the messages of a planned job whose dispatcher stopped before it had sent all of them. Some may be sent twice.
async fn announce_planned(jobs: &JobStore, job: &Job) -> Result<FanOutResult, ControlError> {
    let mut operations: Vec<Operation> =
        jobs.list_operations(job).await?.rows.into_iter().map(|row| row.value).collect();
    operations.sort_by_key(|operation| jobs.registry.order(&operation.kind));
    announce(jobs, job, operations.into_iter()).await
}

/// Sends the messages of the ready operations, and then records that they were sent. Operations that others read from
/// come first, so that operations that wait for them do not take all permits of a worker.
async fn announce(
    jobs: &JobStore,
    job: &Job,
    operations: impl Iterator<Item = Operation>,
) -> Result<FanOutResult, ControlError> {
    let (mut messages, mut batch) = (0, Vec::<Operation>::with_capacity(MAX_IN_FLIGHT));
    let mut ready = operations.filter(|operation| operation.state == OperationState::Ready).peekable();
    while let Some(operation) = ready.next() {
        let is_last_of_kind = ready.peek().is_none_or(|next| next.kind != operation.kind);
        batch.push(operation);
        if is_last_of_kind || batch.len() == MAX_IN_FLIGHT {
            futures::future::try_join_all(batch.iter().map(|operation| jobs.enqueue_operation(operation))).await?;
            messages += batch.len();
            batch.clear();
        }
    }
    tracing::info!(job = %job.id, messages, "operations are announced");
    loop {
        let row = jobs.job(&job.id).await?;
        match row.value.state {
            JobState::Running if !row.value.announced => {
                if jobs.update_job(&row, |job| job.announced = true).await? {
                    return Ok(FanOutResult::Done);
                }
            }
            _ => return abandon(jobs, &row.value).await,
        }
    }
}

/// Handles a job that does not wait for a fan-out. If it was cancelled or rejected while another dispatcher planned it,
/// its operations must not start.
async fn abandon(jobs: &JobStore, job: &Job) -> Result<FanOutResult, ControlError> {
    if job.state != JobState::Running {
        stop_operations(jobs, &job.id).await?;
    }
    Ok(FanOutResult::Done)
}

async fn reject(jobs: &JobStore, id: &JobId, refusal: &ControlError) -> Result<FanOutResult, ControlError> {
    let at = jobs.ports.clock.now();
    let code = match refusal {
        ControlError::Unlisted(_) => NOT_LISTED,
        _ => "not-plannable",
    };
    let failure = Failure { code: code.to_owned(), message: refusal.to_string(), request_id: None, at };
    match jobs.apply_event(id, JobEvent::Reject, |job| job.failure = Some(failure.clone())).await {
        // Another dispatcher planned the job, or an operator cancelled it.
        Ok(_) | Err(ControlError::Illegal(_)) => {}
        Err(error) => return Err(error),
    }
    // An earlier attempt may have sent messages and may have been interrupted before the job's row recorded it.
    stop_operations(jobs, id).await?;
    Ok(FanOutResult::Done)
}

/// Whether another job has the same image version, or does the same other work.
pub(crate) fn is_same_work(other: &Job, job: &Job) -> bool {
    let is_same = match (&other.subject, &job.subject) {
        (Subject::Image { image: other, .. }, Subject::Image { image, .. }) => {
            other.name == image.name && other.version == image.version
        }
        (Subject::Work { work: other }, Subject::Work { work }) => {
            other.route == work.route && other.title == work.title
        }
        _ => false,
    };
    other.id != job.id && is_same
}

/// Two jobs of one image version must not work on the same target or gallery at the same time, and two jobs must not do
/// the same other work. The later job waits, and then skips the targets that the earlier one has completed.
async fn must_wait_for_other_job(ports: &Ports, config: &Config, job: &Job) -> Result<bool, ControlError> {
    let others: Vec<Job> = ports
        .table
        .list_open_jobs()
        .await?
        .rows
        .into_iter()
        .map(|other| other.value)
        .filter(|other| is_same_work(other, job))
        .filter(|other| other.state != JobState::Requested || other.id < job.id)
        .collect();
    if others.is_empty() {
        return Ok(false);
    }
    if job.image().is_none() {
        return Ok(true);
    }
    let Ok(file) = TargetsFile::load(&config.targets.file) else { return Ok(false) };
    let publishes =
        |job: &Job| job.image().is_some_and(|image| !file.galleries_of(&image.name, &job.selection).is_empty());
    let both = |other: &Job| {
        let mut targets = file.selected(&job.selection).into_iter();
        targets.any(|target| Selector::any(&other.selection, target)) || (publishes(job) && publishes(other))
    };
    Ok(others.iter().any(both))
}
