//! Determines whether a version can be used in a region: creates a trial disk of it there, and deletes the disk.
//!
//! The service reports a replication as complete minutes before the version can be used in the region. Creating a disk
//! is what users of the version do, and no other documented request reads a version in a region. One disk of a version
//! exists at a time. It is a temporary of the job, and a later operation of the job deletes what a killed worker left.

use goldfleet_galleries::converge::{Reported, reported};
use goldfleet_galleries::publication::{Publication, RegionRecord, region};
use goldfleet_galleries::spec::PublishSpec;
use goldfleet_model::resource::{GalleryVersionProperties, ResourceId, tag};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::emulation::galleries::NOT_IN_REGION;
use goldfleet_ports::resources::{ChangeStatus, PutMode, PutRequest, Resource};
use goldfleet_snapshots::tags;

use super::pass::Watch;
use super::record;
use crate::attempt_error::AttemptError;
use crate::change::must_wait;
use crate::disk::{Content, content};
use crate::outcome::StepError;

/// Continues the trial of the version in the regions in which it is complete and not yet ready. Returns the new state,
/// and whether another call may change it immediately.
pub(super) async fn run(
    watch: Watch<'_>,
    publication: Publication,
    existing: &GalleryVersionProperties,
) -> Result<(Publication, bool), StepError> {
    let Watch { ports, spec, .. } = watch;
    let is_due = |name: &String| {
        let is_ready = publication.regions.get(name).is_some_and(|region| region.ready);
        !is_ready && reported(existing, name) == Reported::Completed
    };
    let due: Vec<String> = publication.wanted().into_iter().filter(is_due).collect();
    // A process may have been killed before it deleted the disk.
    if !watch.trials || (due.is_empty() && !publication.trial) {
        return Ok((publication, false));
    }
    match ports.resources.get(&spec.trial, None).await? {
        Some(disk) => judge(watch, publication, &due, &disk).await,
        None if due.is_empty() => {
            let publication = record::update(ports, spec, |publication| publication.trial = false).await?;
            Ok((publication, false))
        }
        None => begin(watch, publication, &due).await,
    }
}

/// Requests a disk in the first region that accepts it.
async fn begin(
    watch: Watch<'_>,
    mut publication: Publication,
    due: &[String],
) -> Result<(Publication, bool), StepError> {
    let Watch { ports, spec, .. } = watch;
    if !publication.trial {
        publication = record::update(ports, spec, |publication| publication.trial = true).await?;
    }
    for name in due {
        let Some(place) = region(name) else { continue };
        (watch.ensure)()?;
        let body = spec.trial_body(&place, &replication(&publication, name));
        let request = PutRequest { id: spec.trial.clone(), tenant: None, mode: PutMode::Create, body };
        let error = match ports.resources.put(&request).await {
            Ok(ChangeStatus::Done | ChangeStatus::Pending(_)) => return Ok((publication, true)),
            Ok(ChangeStatus::Failed(error)) | Err(error) => error,
        };
        if error.kind == ErrorKind::AlreadyExists || must_wait(&error) {
            return Ok((publication, true));
        }
        if error.is_retryable() {
            return Err(error.into());
        }
        let problem = (error.code != NOT_IN_REGION).then(|| reason(&error));
        publication = note(watch, &publication, name, |region| region.problem.clone_from(&problem)).await?;
    }
    Ok((publication, false))
}

fn reason(error: &PortError) -> String {
    format!("a disk of the version cannot be created there: {} ({})", error.message, error.code)
}

/// Judges the disk of a trial.
async fn judge(
    watch: Watch<'_>,
    publication: Publication,
    due: &[String],
    disk: &Resource,
) -> Result<(Publication, bool), StepError> {
    let spec = watch.spec;
    if !is_trial(spec, disk) {
        let message = format!("{} exists, and does not have the tags of this job: rename or delete it", spec.trial);
        return Err(AttemptError::fatal("temporary-foreign", message).into());
    }
    let name = disk.body.region.as_str().to_owned();
    let publication = match content(disk) {
        // It was created in this region from this version, during this replication.
        Content::Complete if due.contains(&name) && is_current(&publication, &name, disk) => {
            note(watch, &publication, &name, |region| (region.ready, region.problem) = (true, None)).await?
        }
        Content::Arriving => return Ok((publication, true)),
        Content::Complete | Content::Failed(_) => publication,
    };
    (watch.ensure)()?;
    match watch.ports.resources.delete(&spec.trial, None).await {
        Ok(ChangeStatus::Failed(error)) | Err(error) if must_wait(&error) => Ok((publication, true)),
        Ok(ChangeStatus::Failed(error)) | Err(error) => Err(error.into()),
        Ok(ChangeStatus::Done | ChangeStatus::Pending(_)) => Ok((publication, true)),
    }
}

/// The name of the current replication to a region.
fn replication(publication: &Publication, name: &str) -> String {
    let since = publication.regions.get(name).and_then(|region| region.since);
    since.map(|since| since.to_string()).unwrap_or_default()
}

/// Whether a disk was created during the current replication. Another tool may have removed the region and added it
/// again since then.
fn is_current(publication: &Publication, name: &str, disk: &Resource) -> bool {
    tag(&disk.body.tags, tags::SOURCE) == Some(replication(publication, name).as_str())
}

fn is_trial(spec: &PublishSpec, disk: &Resource) -> bool {
    let data = disk.body.properties.disk().map(|disk| &disk.creation_data);
    let version = data.and_then(|data| data.gallery_image_reference.as_ref()?.id.as_deref());
    let version = version.and_then(|id| id.parse::<ResourceId>().ok());
    tags::is_temporary_of(&disk.body.tags, spec.fleet)
        && tag(&disk.body.tags, tags::JOB) == Some(spec.job.as_str())
        && version.as_ref() == Some(&spec.version)
}

/// Changes what is known about a region, unless another process has observed it meanwhile: somebody may have removed
/// the region and added it again.
async fn note(
    watch: Watch<'_>,
    publication: &Publication,
    name: &str,
    change: impl Fn(&mut RegionRecord) + Send + Sync,
) -> PortResult<Publication> {
    let before = publication.regions.get(name).cloned().unwrap_or_default();
    record::update(watch.ports, watch.spec, |publication| {
        let region = publication.regions.entry(name.to_owned()).or_default();
        if *region == before {
            change(region);
        }
    })
    .await
}
