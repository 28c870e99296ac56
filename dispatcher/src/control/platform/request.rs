//! Requests for jobs that copy a disk, snapshot, image, gallery version or machine to the targets.

use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Delivery, Job, Payload, Subject};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::selector::Selector;
use goldfleet_ports::Ports;
use goldfleet_ports::error::ErrorKind;

use goldfleet_sources::{Refusal, SourceLocation, codes};

use super::plan::{PlannedDelivery, plan};
use super::{PlatformSpec, ROUTE, source};
use crate::control::context::{ControlContext, ControlError};
use crate::control::galleries::groups;
use crate::control::request::{RequestResult, Terms, find_open_job, insert_job, new_job, next_job, selected_targets};

/// A source, and the version that it becomes.
#[derive(Debug, Clone)]
pub struct PlatformRequest {
    /// The disk, snapshot, image, gallery version or machine.
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

/// Requests that the platform copies a source to the selected targets. If an equal request has an open job, no new
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
    refuse_uploaded(&control.ports, &control.config, request).await?;
    let file = TargetsFile::load(&control.config.targets.file)?;
    let galleries: Vec<Gallery> = file.galleries_of(&request.image, selection).into_iter().cloned().collect();
    if galleries.is_empty() {
        selected_targets(&control.config, selection)?;
    }
    let groups = groups(&galleries, &request.image, &request.version);
    let targets = file.into_selected(selection);
    let is_same = |job: &Job| {
        let other = job.delivery().and_then(|delivery| PlatformSpec::in_delivery(delivery).ok());
        job.is_for(&request.image, &request.version) && other.is_some_and(|other| other.is_same_source(&spec))
    };
    if let Some(job) = find_open_job(&control.jobs, is_same, selection, (&targets, &groups)).await? {
        return terms.continue_job(&control.jobs, job).await;
    }
    let job = terms.apply_to(&control.jobs, job_of(&control.ports, request, (&spec, payload), selection).await?);
    // Refuse now what the dispatcher would refuse later.
    plan(control, &job).await?;
    insert_job(&control.jobs, job).await
}

/// Plans what a request would do. Changes nothing.
///
/// # Errors
/// As [`request_from`].
pub async fn preview(
    control: &ControlContext,
    request: &PlatformRequest,
    selection: &[Selector],
) -> Result<PlannedDelivery, ControlError> {
    let (spec, payload) = read(control, request).await?;
    refuse_uploaded(&control.ports, &control.config, request).await?;
    let job = job_of(&control.ports, request, (&spec, payload), selection).await?;
    plan(control, &job).await
}

/// The job of a request.
async fn job_of(
    ports: &Ports,
    request: &PlatformRequest,
    (spec, payload): (&PlatformSpec, Payload),
    selection: &[Selector],
) -> Result<Job, ControlError> {
    let (id, now) = next_job(ports).await?;
    let image = ImageRef { name: request.image.clone(), version: request.version.clone(), digest: spec.digest(&id) };
    refuse_other_source(ports, &image, spec).await?;
    let subject = Subject::Image { image, payload, delivery: Some(Box::new(spec.delivery()?)) };
    Ok(new_job(id, subject, selection.to_vec(), now))
}

/// Reads and checks the source.
async fn read(control: &ControlContext, request: &PlatformRequest) -> Result<(PlatformSpec, Payload), ControlError> {
    let found = source::read(control, &request.from).await?;
    let (os, generation) = found.system(request.os, request.generation)?;
    let payload = Payload { os, generation, size: found.size.unwrap_or_default(), data_bytes: 0, system: None };
    Ok((found.spec, payload))
}

/// A version that was uploaded has other content.
async fn refuse_uploaded(ports: &Ports, config: &Config, request: &PlatformRequest) -> Result<(), ControlError> {
    let blobs = &ports.blobs;
    let record = config.source.store().container().artifact(&request.image, &request.version);
    let uploaded = match ports.retry(|| blobs.properties(&record)).await {
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

/// Rejects an uploaded version that another source was dispatched as: it has another content. It reads the rows of all
/// jobs, so only commands call it.
///
/// # Errors
/// [`ControlError::Refused`]; or if the table cannot be reached.
pub async fn refuse_dispatched(ports: &Ports, image: &ImageName, version: &ImageVersion) -> Result<(), ControlError> {
    let jobs = ports.table.list_jobs().await?.rows;
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

/// A version from another source has other content. A version from the same source is replaced.
async fn refuse_other_source(ports: &Ports, image: &ImageRef, spec: &PlatformSpec) -> Result<(), ControlError> {
    let of_version = |job: &Job| job.is_for(&image.name, &image.version) && job.operations.is_some();
    let jobs = ports.table.list_jobs().await?.rows;
    for job in jobs.iter().map(|row| &row.value).filter(|job| of_version(job)) {
        let other = platform_delivery(job).map(PlatformSpec::in_delivery).transpose()?;
        match other {
            Some(other) if !other.is_same_source(spec) => {
                let reason = format!("job {} dispatched {image} from {}", job.id, other.location());
                return Err(Refusal::new(&codes::VERSION_EXISTS, spec.location().to_string(), reason).into());
            }
            // An uploaded version that was deleted may be replaced.
            _ => {}
        }
    }
    Ok(())
}
