//! Makes a published version the latest one, in all galleries that have it.
//!
//! The records of the publications are written first, and then the versions. If the command is killed in between, the
//! next pass of the reconciler, or the same command again, writes the remaining versions. A version is the latest one
//! in a region only if it is ready there.

use std::collections::BTreeSet;
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::converge::{Existing, Reported, classify, latest, reported};
use goldfleet_galleries::promotion::{Candidate, Refused, step};
use goldfleet_galleries::publication::{FORMAT, Promoted, Publication, Verification};
use goldfleet_galleries::spec::PublishSpec;
use goldfleet_kinds::publish::pass::{Passed, Watch, pass};
use goldfleet_kinds::publish::record;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::job::Finding;
use goldfleet_model::resource::{GalleryVersionProperties, ResourceId, ResourceType, VersionNumber};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::records::RecordName;
use goldfleet_ports::resources::{ChangeStatus, PutMode, PutRequest, Resource, ResourceQuery, list_all};
use serde::Serialize;

use super::{control_error, publications};
use crate::control::context::{ControlContext, ControlError};
use crate::control::job_store::JobStore;

/// The number of times that a version is written and read before the command fails. Others may write it too.
const ATTEMPTS: u32 = 12;

/// The time between two attempts.
const PAUSE: Duration = Duration::from_secs(5);

/// What is promoted.
#[derive(Debug, Clone)]
pub struct PromoteRequest {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// Whether newer versions stop being the latest ones.
    pub backwards: bool,
}

/// The result of a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promotion {
    /// The galleries, each with the version.
    pub galleries: Vec<PromotedGallery>,
}

/// A gallery in which a version is the latest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromotedGallery {
    /// The resource id of the version.
    pub version: ResourceId,
    /// The previous latest version in the region of the gallery. None if there was none.
    pub before: Option<String>,
    /// The regions in which it is the latest one.
    pub regions: Vec<String>,
    /// Whether it was promoted before.
    pub unchanged: bool,
}

/// Why a version is not promoted.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// It is not ready, or it was not verified.
    #[error("{}", crate::control::context::join_findings(.0))]
    NotReady(Vec<Finding>),
    /// The request is refused, or a service cannot be reached.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl From<PortError> for PromoteError {
    fn from(error: PortError) -> Self {
        Self::Control(error.into())
    }
}

/// A gallery with the version.
struct Place {
    publication: Publication,
    before: Option<VersionNumber>,
    /// Newer versions that must not be the latest ones any more.
    exclude: Vec<Resource>,
}

/// Makes a version the latest one in all galleries.
///
/// # Errors
/// [`PromoteError`]. Nothing was changed if it is [`PromoteError::NotReady`] or a refusal.
pub async fn promote(control: &ControlContext, request: &PromoteRequest) -> Result<Promotion, PromoteError> {
    let number: VersionNumber =
        request.version.as_str().parse().map_err(|error| ControlError::Refused(format!("{error}")))?;
    let publications = published(&control.ports, &control.config, request).await?;
    let mut faults = verification_fault(&control.ports, request, &publications).await?;
    for publication in &publications {
        faults.extend(region_faults(&control.ports, publication).await?);
    }
    if !faults.is_empty() {
        return Err(PromoteError::NotReady(faults));
    }
    let mut places = Vec::new();
    for publication in publications {
        places.push(place(&control.ports, publication, number, request.backwards).await?);
    }
    intend(&control.jobs, &places).await?;
    let mut galleries = Vec::new();
    for place in &places {
        galleries.push(carry_out(&control.ports, place).await?);
    }
    Ok(Promotion { galleries })
}

/// The publications of the version. Each gallery of the configuration that receives the image has one.
async fn published(ports: &Ports, config: &Config, request: &PromoteRequest) -> Result<Vec<Publication>, PromoteError> {
    let is_of = |publication: &Publication| {
        let image = &publication.spec.image;
        image.name == request.image && image.version == request.version && !publication.gone
    };
    let found: Vec<Publication> = publications(ports).await?.into_iter().filter(is_of).collect();
    let file = TargetsFile::load(&config.targets.file).map_err(ControlError::from)?;
    let known: BTreeSet<String> = found.iter().map(|publication| publication.spec.definition_id().key()).collect();
    let mut missing = Vec::new();
    for gallery in file.galleries_of(&request.image, &[]) {
        let definition = gallery.definition_of(&request.image);
        let definition = definition.map_err(|error| ControlError::Refused(error.to_string()))?;
        if !known.contains(&definition.key()) {
            let message = format!("it does not have {} {}: dispatch it", request.image, request.version);
            missing.push(Finding::failure("not-published", format!("gallery {}", gallery.name), message));
        }
    }
    if found.is_empty() && missing.is_empty() {
        let message = format!("no gallery receives {}", request.image);
        return Err(ControlError::Refused(message).into());
    }
    if missing.is_empty() { Ok(found) } else { Err(PromoteError::NotReady(missing)) }
}

async fn verification_fault(
    ports: &Ports,
    request: &PromoteRequest,
    publications: &[Publication],
) -> Result<Vec<Finding>, PromoteError> {
    let name = Verification::record_name(&request.image, &request.version);
    let name: RecordName = name.parse().map_err(|error| ControlError::Refused(format!("{error}")))?;
    let found = ports.records.get(&name).await?;
    let verified: Option<Verification> = found.and_then(|found| found.value.read(FORMAT).ok());
    let has_succeeded = |publication: &Publication| {
        verified.as_ref().is_some_and(|verified| verified.succeeded_for(&publication.spec.image))
    };
    if publications.iter().all(has_succeeded) {
        return Ok(Vec::new());
    }
    let job = publications.first().map(|publication| publication.spec.job.to_string()).unwrap_or_default();
    let message = match verified {
        Some(verified) if verified.faults > 0 => {
            format!(
                "its last verification found {} faults: repair them, and run 'goldfleet verify {job}' again",
                verified.faults
            )
        }
        _ => format!("it was not verified: run 'goldfleet verify {job}'"),
    };
    Ok(vec![Finding::failure("not-verified", format!("{} {}", request.image, request.version), message)])
}

async fn get(ports: &Ports, id: &ResourceId) -> PortResult<Option<Resource>> {
    let read = || ports.resources.get(id, None);
    ports.retry(read).await
}

/// The wanted regions in which a version is not ready now.
async fn region_faults(ports: &Ports, publication: &Publication) -> Result<Vec<Finding>, PromoteError> {
    let spec = &publication.spec;
    let fault = |message: String| Finding::failure("not-ready", &spec.version, message);
    let Some(found) = get(ports, &spec.version).await? else {
        return Ok(vec![fault("it does not exist".to_owned())]);
    };
    if let Existing::Foreign(reason) = classify(spec.fleet, &spec.image, &found.body) {
        return Ok(vec![fault(reason)]);
    }
    let Some(existing) = found.body.properties.gallery_version() else { return Ok(Vec::new()) };
    let ready = publication.ready();
    let is_ready = |name: &String| ready.contains(name) && reported(existing, name) == Reported::Completed;
    let waiting: Vec<String> = publication.wanted().into_iter().filter(|name| !is_ready(name)).collect();
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![fault(format!("it is not ready in {}", waiting.join(", ")))])
}

/// Compares the version with the others of its definition.
async fn place(
    ports: &Ports,
    publication: Publication,
    number: VersionNumber,
    backwards: bool,
) -> Result<Place, PromoteError> {
    let spec = &publication.spec;
    let definition = spec.definition_id();
    let query = ResourceQuery {
        resource_type: ResourceType::GalleryVersion,
        subscription: definition.subscription,
        resource_group: Some(definition.resource_group.clone()),
        parent: Some(definition.name.clone()),
        tags: std::collections::BTreeMap::new(),
        tenant: None,
    };
    let page = list_all(ports.resources.as_ref(), ports.clock.as_ref(), &query).await?;
    if let Some(unreadable) = page.unreadable.first() {
        // It may be the latest version.
        return Err(ControlError::Refused(format!("{unreadable}; nothing was promoted")).into());
    }
    let versions: Vec<(VersionNumber, &Resource)> =
        page.resources.iter().filter_map(|found| Some((found.id.name.own().parse().ok()?, found))).collect();
    let properties = |found: &'_ Resource| found.body.properties.gallery_version().cloned().unwrap_or_default();
    let all: Vec<(VersionNumber, GalleryVersionProperties)> =
        versions.iter().map(|(number, found)| (*number, properties(found))).collect();
    let home = spec.version_body().map(|body| body.region.as_str().to_owned()).unwrap_or_default();
    let before = latest(all.iter().map(|(number, version)| (*number, version)), &home);
    let candidates = versions.iter().zip(&all).map(|((number, found), (_, version))| Candidate {
        id: found.id.clone(),
        number: *number,
        may_be_latest: !version.is_excluded()
            && version.regions().iter().any(|region| region.exclude_from_latest != Some(true)),
        is_ours: is_ours(spec, found),
    });
    let others: Vec<Candidate> = candidates.filter(|candidate| candidate.id != spec.version).collect();
    let step = step(number, &others, backwards).map_err(|refused| refusal(&definition, number, refused))?;
    let exclude =
        versions.iter().filter(|(_, found)| step.exclude.contains(&found.id)).map(|(_, found)| (*found).clone());
    let exclude = exclude.collect();
    Ok(Place { publication, before, exclude })
}

fn is_ours(spec: &PublishSpec, found: &Resource) -> bool {
    use goldfleet_model::resource::tag;
    use goldfleet_snapshots::tags::{FLEET, Role};
    let fleet = tag(&found.body.tags, FLEET).and_then(|text| text.parse::<uuid::Uuid>().ok());
    fleet == Some(spec.fleet) && Role::in_tags(&found.body.tags) == Some(Role::Sink)
}

fn refusal(definition: &ResourceId, number: VersionNumber, refused: Refused) -> ControlError {
    ControlError::Refused(match refused {
        Refused::Backwards(latest) => format!(
            "the latest version of {definition} is {latest}, and {number} is older: --backwards moves the latest version back \
             (latest-backwards)"
        ),
        Refused::ForeignLatest(latest) => format!(
            "the latest version of {definition} is {latest}, and goldfleet did not create it: exclude it from the latest version \
             yourself (latest-foreign)"
        ),
    })
}

/// Records what is the latest version, before any version is written.
async fn intend(jobs: &JobStore, places: &[Place]) -> PortResult<()> {
    for place in places {
        for newer in &place.exclude {
            if let Some(known) = record::read(&jobs.ports, &newer.id).await? {
                record::update(&jobs.ports, &known.spec, |publication| publication.promoted = None).await?;
            }
        }
    }
    let promoted = Promoted { by: jobs.actor.clone(), at: jobs.ports.clock.now() };
    for place in places {
        record::update(&jobs.ports, &place.publication.spec, |publication| {
            publication.promoted.get_or_insert_with(|| promoted.clone());
        })
        .await?;
    }
    Ok(())
}

/// Writes the version of a gallery, and then newer versions that must not be the latest ones.
async fn carry_out(ports: &Ports, place: &Place) -> Result<PromotedGallery, PromoteError> {
    let spec = &place.publication.spec;
    let mut attempts = 0;
    let regions = loop {
        let watch = Watch { ports, spec, ensure: &|| Ok(()), trials: false, take_out: None };
        let passed = pass(watch).await.map_err(control_error)?;
        let found = get(ports, &spec.version).await?;
        let version = found.as_ref().and_then(|found| found.body.properties.gallery_version());
        let is_latest = |name: &String| {
            let region = goldfleet_galleries::publication::region(name);
            version.zip(region).is_some_and(|(version, region)| version.may_be_latest(&region))
        };
        let wanted = place.publication.wanted();
        if wanted.iter().all(is_latest) {
            break wanted;
        }
        attempts += 1;
        if attempts == ATTEMPTS {
            let why = match passed {
                Passed::Later(error) => error.message,
                _ => "others write it, or it is not ready any more".to_owned(),
            };
            let message =
                format!("{}: it could not be made the latest version: {why}; the dispatcher retries", spec.version);
            return Err(PortError::new(ErrorKind::Unavailable, message).into());
        }
        ports.clock.sleep(PAUSE).await;
    };
    for newer in &place.exclude {
        exclude(ports, newer).await?;
    }
    Ok(PromotedGallery {
        version: spec.version.clone(),
        before: place.before.map(|before| before.to_string()),
        regions,
        unchanged: place.publication.promoted.is_some(),
    })
}

/// Excludes a newer version of ours from the latest version.
async fn exclude(ports: &Ports, newer: &Resource) -> Result<(), PromoteError> {
    for _ in 0..ATTEMPTS {
        let Some(found) = get(ports, &newer.id).await? else { return Ok(()) };
        let mut body = found.body;
        let Some(version) = body.properties.gallery_version_mut() else { return Ok(()) };
        if version.is_excluded() {
            return Ok(());
        }
        version.publishing_profile.get_or_insert_default().exclude_from_latest = Some(true);
        let request = PutRequest { id: newer.id.clone(), tenant: None, mode: PutMode::CreateOrUpdate, body };
        match ports.resources.put(&request).await {
            Ok(ChangeStatus::Failed(error)) | Err(error)
                if error.kind == ErrorKind::Conflict || error.is_retryable() =>
            {
                ports.clock.sleep(PAUSE).await;
            }
            Ok(ChangeStatus::Failed(error)) | Err(error) => return Err(error.into()),
            Ok(ChangeStatus::Done | ChangeStatus::Pending(_)) => {}
        }
    }
    let message = format!("{}: it could not be excluded from the latest version", newer.id);
    Err(PortError::new(ErrorKind::Unavailable, message).into())
}
