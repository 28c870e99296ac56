//! Requests for jobs that copy a disk or snapshot to the targets.

use goldfleet_config::targets::TargetsFile;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Delivery, Job, Payload, Subject};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::ResourceId;
use goldfleet_model::selector::Selector;
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_ports::retry::retry_transient;
use goldfleet_ports::rng;
use goldfleet_sources::{Refusal, SourceLocation, codes};

use super::plan::{PlannedDelivery, plan};
use super::{PlatformSpec, ROUTE, read_source};
use crate::control::context::{ControlContext, ControlError};
use crate::control::request::{RequestResult, Terms, find_open_job, insert_job, new_job, selected_targets};

/// A disk or snapshot, and the version that it becomes.
#[derive(Debug, Clone)]
pub struct PlatformRequest {
    /// The disk or snapshot.
    pub from: SourceLocation,
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The operating system, if the source does not state it.
    pub os: Option<OsType>,
    /// The generation, if the source does not state it.
    pub generation: Option<Generation>,
}

/// Requests that the platform copies a disk or snapshot to the selected targets. If an equal request has an open job, no new
/// job is created.
///
/// # Errors
/// [`ControlError`] if the source or a target is refused, or if a service, the table or the queue cannot be reached. Nothing
/// was changed then.
pub async fn request_from(
    control: &ControlContext,
    request: &PlatformRequest,
    selection: &[Selector],
    terms: Terms,
) -> Result<RequestResult, ControlError> {
    let (spec, payload) = read(control, request).await?;
    refuse_uploaded(control, request).await?;
    let file = TargetsFile::load(&control.config.targets.file)?;
    if file.galleries_of(&request.image, selection).is_empty() {
        selected_targets(control, selection)?;
    }
    let targets = file.into_selected(selection);
    let is_same = |job: &Job| {
        let other = job.delivery().and_then(|delivery| PlatformSpec::in_delivery(delivery).ok());
        job.is_for(&request.image, &request.version) && other.as_ref() == Some(&spec)
    };
    if let Some(job) = find_open_job(control, is_same, selection, &targets).await? {
        return terms.continue_job(control, job).await;
    }
    let job = terms.apply_to(control, job_of(control, request, (&spec, payload), selection).await?);
    // What the dispatcher would refuse is refused now.
    plan(control, &job).await?;
    insert_job(control, job).await
}

/// What a request would do. Changes nothing.
///
/// # Errors
/// As [`request_from`].
pub async fn preview(
    control: &ControlContext,
    request: &PlatformRequest,
    selection: &[Selector],
) -> Result<PlannedDelivery, ControlError> {
    let (spec, payload) = read(control, request).await?;
    refuse_uploaded(control, request).await?;
    let job = job_of(control, request, (&spec, payload), selection).await?;
    plan(control, &job).await
}

/// The job of a request.
async fn job_of(
    control: &ControlContext,
    request: &PlatformRequest,
    (spec, payload): (&PlatformSpec, Payload),
    selection: &[Selector],
) -> Result<Job, ControlError> {
    let now = control.ports.clock.now();
    let id = JobId::new(now, rng::random_u64());
    let image = ImageRef { name: request.image.clone(), version: request.version.clone(), digest: spec.digest(&id) };
    refuse_other_source(control, &image, spec).await?;
    let subject = Subject::Image { image, payload, delivery: Some(Box::new(spec.delivery()?)) };
    Ok(new_job(id, subject, selection.to_vec(), now))
}

/// Reads and checks the source.
async fn read(control: &ControlContext, request: &PlatformRequest) -> Result<(PlatformSpec, Payload), ControlError> {
    let location = request.from.to_string();
    let (found, facts) = read_source(control, id_of(&request.from)?, &request.from).await?;
    let (os, generation) = facts.system(request.os, request.generation)?;
    let unknown = || Refusal::new(&codes::GENERATION_UNKNOWN, &location, "it states no Hyper-V generation");
    let generation = generation.ok_or_else(unknown)?;
    let unidentified = || Refusal::new(&codes::NOT_HYDRATED, &location, "the service reports no unique id");
    let unique_id = facts.unique_id.as_deref().ok_or_else(unidentified)?.to_ascii_lowercase();
    let payload = Payload { os, generation, size: facts.size.unwrap_or_default(), data_bytes: 0, system: None };
    Ok((PlatformSpec { source: found.id, unique_id }, payload))
}

fn id_of(from: &SourceLocation) -> Result<&ResourceId, Refusal> {
    match from {
        SourceLocation::Disk(id) | SourceLocation::Snapshot(id) => Ok(id),
        SourceLocation::Machine(_) => {
            let reason = "a machine is uploaded with 'goldfleet upload --from', or made an image with 'goldfleet vm clone --as-image'";
            Err(Refusal::new(&codes::NAME_INVALID, from.to_string(), reason))
        }
        SourceLocation::Image(_) | SourceLocation::Gallery(_) | SourceLocation::Blob(_) => {
            let reason = "the platform copies disks and snapshots only: use 'goldfleet upload --from' for a blob";
            Err(Refusal::new(&codes::NAME_INVALID, from.to_string(), reason))
        }
    }
}

/// A version that was uploaded has another content.
async fn refuse_uploaded(control: &ControlContext, request: &PlatformRequest) -> Result<(), ControlError> {
    let (blobs, clock) = (&control.ports.blobs, control.ports.clock.as_ref());
    let record = control.config.source.store().container().artifact(&request.image, &request.version);
    let uploaded = match retry_transient(clock, PortError::is_retryable, || blobs.properties(&record)).await {
        // A fleet that only copies needs no source store.
        Err(error) if error.kind == ErrorKind::NotFound => None,
        found => found?,
    };
    if uploaded.is_none() {
        return Ok(());
    }
    let reason = format!("{} {} was uploaded, with its own content", request.image, request.version);
    Err(Refusal::new(&codes::VERSION_EXISTS, request.from.to_string(), reason).into())
}

/// Rejects an uploaded version that a disk or snapshot was dispatched as: it has another content. It reads the rows of all
/// jobs, so only commands call it.
///
/// # Errors
/// [`ControlError::Refused`]; or if the table cannot be reached.
pub async fn refuse_dispatched(
    control: &ControlContext,
    image: &ImageName,
    version: &ImageVersion,
) -> Result<(), ControlError> {
    let jobs = control.ports.table.jobs().await?;
    let is_other =
        |job: &&Job| job.is_for(image, version) && job.operations.is_some() && platform_delivery(job).is_some();
    let Some(job) = jobs.iter().map(|row| &row.value).find(is_other) else { return Ok(()) };
    let location = PlatformSpec::of(job)?.location();
    Err(ControlError::Refused(format!(
        "job {} dispatched {image} {version} from {location}, and a version has one content: use another version",
        job.id
    )))
}

/// How the platform delivers the version of a job. None for an uploaded version.
fn platform_delivery(job: &Job) -> Option<&Delivery> {
    job.delivery().filter(|delivery| delivery.route == ROUTE)
}

/// A version of another disk or snapshot has another content. Of the same disk, it is replaced.
async fn refuse_other_source(
    control: &ControlContext,
    image: &ImageRef,
    spec: &PlatformSpec,
) -> Result<(), ControlError> {
    let of_version = |job: &Job| job.is_for(&image.name, &image.version) && job.operations.is_some();
    let jobs = control.ports.table.jobs().await?;
    for job in jobs.iter().map(|row| &row.value).filter(|job| of_version(job)) {
        let other = platform_delivery(job).map(PlatformSpec::in_delivery).transpose()?;
        match other {
            Some(other) if other != *spec => {
                let reason = format!("job {} dispatched {image} from {}", job.id, other.location());
                return Err(Refusal::new(&codes::VERSION_EXISTS, spec.location().to_string(), reason).into());
            }
            // An uploaded version that was deleted may be replaced.
            _ => {}
        }
    }
    Ok(())
}
