//! Orphans: temporary disks, snapshots, images and galleries that a job did not remove.
//!
//! A job removes its temporaries itself. An orphan is what remains if that was not possible, for example because
//! someone removed the rows of the job. A resource is an orphan only if its tags have the fleet's id, the role of a
//! temporary and an ended job, and only a day after its creation: a request that was sent before the job ended has
//! taken effect by then.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::ids::JobId;
use goldfleet_model::origin::Origin;
use goldfleet_model::resource::{DiskState, ResourceType};
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::listing::ROW_DAMAGED;
use goldfleet_ports::resources::Resource;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::remove::{Decision, Orphan, TemporarySpec, orphan};
use goldfleet_snapshots::tags::{self, Role};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::doctor::probe::record::open_probes;
use crate::control::routes;
use crate::control::snapshots::groups_of;
use crate::control::tagged::{self, list_in_galleries, list_tagged, look_again, refused, unique_id};
use crate::control::upload::from::temporary::end_access;

/// What happens to orphans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrphanOptions {
    /// Whether orphans are deleted. Otherwise they are only listed.
    pub delete: bool,
    /// A job that the table does not know, and that the operator knows to have ended.
    pub ended: Option<JobId>,
}

/// What was found in the groups of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OrphanReport {
    /// The temporaries of this fleet.
    pub temporaries: Vec<Temporary>,
    /// Groups that could not be listed, with the reason.
    pub unlisted: Vec<UnlistedGroup>,
}

/// A temporary resource of this fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Temporary {
    /// The resource id.
    pub id: String,
    /// The job in its tags.
    pub job: Option<String>,
    /// When it was created, if the service reports it.
    pub created: Option<Timestamp>,
    /// What it is.
    pub result: OrphanResult,
    /// Why it could not be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The classification of a temporary, and what happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrphanResult {
    /// It is an orphan, and was not deleted, because that was not requested.
    Orphan,
    /// It was an orphan, and was deleted.
    Deleted,
    /// It is an orphan, and could not be deleted.
    Failed,
    /// Its job has not ended, or it is younger than a day.
    InUse,
    /// The table does not know its job.
    UnknownJob,
}

/// A group that could not be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnlistedGroup {
    /// The group, `SUBSCRIPTION/GROUP`.
    pub group: String,
    /// Why.
    pub reason: String,
}

/// Lists the temporaries of this fleet in the groups of the configuration and of known jobs, and deletes orphans if
/// that is requested.
///
/// # Errors
/// If the table cannot be reached. A group or resource that cannot be reached is part of the report.
pub async fn orphans(control: &ControlContext, options: &OrphanOptions) -> Result<OrphanReport, ControlError> {
    let fleet = control.ports.table.fleet().await?;
    let mut report = OrphanReport::default();
    let mut found = Vec::new();
    for group in groups(&control.ports, &control.config).await? {
        match list_temporaries(&control.ports, &group, fleet).await {
            Ok(some) => found.extend(some),
            // A group that does not exist has no temporaries.
            Err(error) if error.code == "resource-group-not-found" => {}
            Err(error) => {
                report.unlisted.push(UnlistedGroup { group: group.to_string(), reason: error.to_string() });
            }
        }
    }
    let ended = ended_jobs(&control.ports, &control.config, &found, options.ended.as_ref()).await?;
    let (in_galleries, plain): (Vec<_>, Vec<_>) = found.into_iter().partition(is_gallery);
    report.temporaries = stream::iter(plain)
        .map(|resource| handle(control, resource, fleet, &ended, options.delete))
        .buffered(MAX_IN_FLIGHT)
        .collect()
        .await;
    // The contents of a gallery are deleted before the gallery.
    for resource in in_galleries {
        report.temporaries.push(handle(control, resource, fleet, &ended, options.delete).await);
    }
    Ok(report)
}

/// The groups that may contain temporaries.
async fn groups(ports: &Ports, config: &Config) -> Result<BTreeSet<GroupRef>, ControlError> {
    let mut groups: BTreeSet<GroupRef> = config.sync.iter().flat_map(groups_of).collect();
    for job in ports.table.list_jobs().await?.rows {
        let route = routes::find(&job.value.subject);
        groups.extend(route.into_iter().flat_map(|route| route.groups(&job.value.subject)));
    }
    let uploads = ports.table.list_uploads().await?.rows;
    let origins = uploads.iter().filter_map(|upload| upload.origin.as_ref());
    let temporaries = origins.flat_map(Origin::temporaries);
    groups.extend(temporaries.map(GroupRef::from));
    let probes = open_probes(ports.records.as_ref()).await?;
    groups.extend(probes.into_iter().flat_map(|probe| probe.groups));
    // A configuration for syncs alone needs no targets file.
    if config.targets.file.exists() {
        let file = TargetsFile::load(&config.targets.file)?;
        groups.extend(file.hubs.values().map(|hub| hub.group.clone()));
        groups.extend(file.targets.iter().map(GroupRef::from));
        groups.extend(file.galleries.iter().map(Gallery::place));
    }
    Ok(groups)
}

async fn list_temporaries(ports: &Ports, group: &GroupRef, fleet: Uuid) -> PortResult<Vec<Resource>> {
    let wanted = [(tags::FLEET, fleet.to_string()), (tags::ROLE, Role::Temporary.as_str().to_owned())];
    // A collection of restore points is deleted with its restore points.
    let types = [ResourceType::Disk, ResourceType::Snapshot, ResourceType::Image, ResourceType::RestorePointCollection];
    let mut found = list_tagged(ports, group, &types, wanted.clone()).await?;
    found.extend(list_in_galleries(ports, group, wanted).await?);
    Ok(found)
}

/// Whether a resource is a gallery, or in one.
fn is_gallery(resource: &Resource) -> bool {
    matches!(resource.id.resource_type, ResourceType::Gallery | ResourceType::Definition | ResourceType::GalleryVersion)
}

/// Whether each job that the resources name has ended. A job that the table does not know is missing.
async fn ended_jobs(
    ports: &Ports,
    config: &Config,
    resources: &[Resource],
    given: Option<&JobId>,
) -> PortResult<BTreeMap<String, bool>> {
    let named: BTreeSet<&str> = resources.iter().filter_map(job_of).collect();
    let mut ended = BTreeMap::new();
    let probes = open_probes(ports.records.as_ref()).await?;
    let now = ports.clock.now();
    for name in named {
        let Ok(id) = name.parse::<JobId>() else { continue };
        let state = match ports.table.job(&id).await {
            Ok(Some(job)) => Ok(Some(job.value.state.is_terminal())),
            // Uploads create temporaries too.
            Ok(None) => ports.table.upload(&id).await.map(|upload| Some(has_ended(ports, config, &upload?))),
            Err(error) => Err(error),
        };
        let has_ended = match state {
            // Nobody knows whether it has ended.
            Err(error) if error.code == ROW_DAMAGED => Some(false),
            state => state?,
        };
        let of_probe = || probes.iter().find(|probe| probe.job == id).map(|probe| probe.has_ended(now));
        let has_ended = has_ended.or_else(of_probe);
        if let Some(has_ended) = has_ended.or_else(|| (given == Some(&id)).then_some(true)) {
            ended.insert(name.to_owned(), has_ended);
        }
    }
    Ok(ended)
}

/// Whether an upload has ended. The row of one that was killed is never written again.
pub(crate) fn has_ended(ports: &Ports, config: &Config, upload: &Upload) -> bool {
    let since = elapsed(upload.updated, ports.clock.now());
    upload.state != UploadState::Running || since > config.cleanup.chunk_grace.get()
}

/// The time in the id of a job.
fn time_in(job: &str) -> Option<Timestamp> {
    let text = job.get(..15)?;
    let time = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

fn job_of(resource: &Resource) -> Option<&str> {
    goldfleet_model::resource::tag(&resource.body.tags, tags::JOB)
}

async fn handle(
    control: &ControlContext,
    resource: Resource,
    fleet: Uuid,
    ended: &BTreeMap<String, bool>,
    delete: bool,
) -> Temporary {
    let created = resource.body.properties.disk().and_then(|disk| disk.time_created.as_deref()?.parse().ok());
    // The platform reports no time for images, galleries and collections of restore points. Their job began before they
    // were created.
    let has_no_time = matches!(resource.id.resource_type, ResourceType::Image | ResourceType::RestorePointCollection)
        || is_gallery(&resource);
    let created = created.or_else(|| job_of(&resource).filter(|_| has_no_time).and_then(time_in));
    let mut line = Temporary {
        id: resource.id.to_string(),
        job: job_of(&resource).map(str::to_owned),
        created,
        result: OrphanResult::InUse,
        error: None,
    };
    // Without a time of creation, nothing proves that it is a day old.
    let Some(created) = created else { return line };
    let now = control.ports.clock.now();
    let found = orphan(&resource.body.tags, created, now, fleet, |job| ended.get(job).copied());
    line.result = match found {
        Orphan::Yes if delete => OrphanResult::Deleted,
        Orphan::Yes => OrphanResult::Orphan,
        Orphan::UnknownJob => OrphanResult::UnknownJob,
        // The list contains only temporaries of this fleet.
        Orphan::InUse | Orphan::Foreign => OrphanResult::InUse,
    };
    if line.result == OrphanResult::Deleted
        && let Err(error) = remove(&control.ports, &resource, fleet).await
    {
        (line.result, line.error) = (OrphanResult::Failed, Some(format!("{}: {error}", error.code)));
    }
    line
}

/// Deletes a temporary, if it is still the same resource and no lock protects it.
pub(crate) async fn remove(ports: &Ports, listed: &Resource, fleet: Uuid) -> PortResult<()> {
    let Some(found) = look_again(ports, listed).await? else { return Ok(()) };
    let job = job_of(listed).and_then(|job| job.parse().ok());
    let (Some(job), true) = (job, unique_id(&found) == unique_id(listed)) else {
        return Err(refused("temporary-foreign", format!("{} was created again in the meantime", listed.id)));
    };
    let locks = ports.locks.locks(&listed.id, None).await?;
    let spec = TemporarySpec { fleet, id: listed.id.to_string(), job };
    match spec.decide(Some(&found.body.tags), &locks) {
        Decision::Delete => {}
        Decision::Refuse { code, message } => return Err(refused(code, format!("{}: {message}", listed.id))),
        Decision::Done | Decision::LiftLock(_) | Decision::Keep(_) => return Ok(()),
    }
    // A probe that was killed may have left access to the resource. The service does not delete a resource while it has
    // access.
    let state = found.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
    if matches!(state, Some(DiskState::ActiveSas | DiskState::ActiveUpload)) {
        end_access(ports, &listed.id).await?;
    }
    tagged::delete(ports, &listed.id).await
}
