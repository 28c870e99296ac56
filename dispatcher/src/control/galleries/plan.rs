//! What galleries must receive, and what they have.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use goldfleet_galleries::converge::{Existing, Reported, classify, missing, reported};
use goldfleet_galleries::graph::PlannedGallery;
use goldfleet_galleries::publication::Publication;
use goldfleet_galleries::settings::Gallery;
use goldfleet_galleries::spec::{PublishSpec, Published};
use goldfleet_kinds::publish::{SOFT_DELETED, record};
use goldfleet_model::job::Finding;
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::Resource;
use goldfleet_ports::resources::emulation::galleries::changed_property;

use super::name_fault;
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};

/// Plans what galleries receive.
///
/// # Errors
/// [`ControlError::NotCopied`] with everything that is refused before the first change, or if a service cannot be reached.
pub async fn plan(
    control: &ControlContext,
    galleries: Vec<Gallery>,
    published: Published<'_>,
) -> Result<Vec<PlannedGallery>, ControlError> {
    let each = stream::iter(galleries).map(|settings| one(control, settings, published)).buffered(MAX_IN_FLIGHT);
    let planned: Vec<Result<PlannedGallery, Finding>> = each.try_collect().await?;
    let (mut all, mut refused) = (Vec::new(), Vec::new());
    for planned in planned {
        match planned {
            Ok(planned) => all.push(planned),
            Err(fault) => refused.push(fault),
        }
    }
    if refused.is_empty() { Ok(all) } else { Err(ControlError::NotCopied(refused)) }
}

async fn one(
    control: &ControlContext,
    settings: Gallery,
    published: Published<'_>,
) -> PortResult<Result<PlannedGallery, Finding>> {
    if let Some(fault) = name_fault(settings.name.as_str(), &published.image.version) {
        return Ok(Err(fault));
    }
    let place = format!("gallery {}", settings.name);
    let spec = match PublishSpec::new(&settings, published) {
        Ok(spec) => spec,
        Err(error) => return Ok(Err(Finding::failure("name-invalid", place, error.to_string()))),
    };
    if let Some(fault) = definition_fault(&control.ports, &place, &spec).await? {
        return Ok(Err(fault));
    }
    let found = read(&control.ports, &spec.version).await?;
    let existing = found.as_ref().map(|found| classify(spec.fleet, &spec.image, &found.body));
    let is_done = match existing {
        Some(Existing::Foreign(reason)) => {
            let message = format!("{} exists, and {reason}", spec.version);
            return Ok(Err(Finding::failure("gallery-version-foreign", place, message)));
        }
        Some(Existing::Same) => is_ready(&control.ports, &spec, found.as_ref()).await?,
        None if is_soft_deleted(&control.ports, &spec.version).await? => {
            let message =
                format!("{} was deleted, and the gallery keeps it: restore it, or use another version", spec.version);
            return Ok(Err(Finding::failure(SOFT_DELETED, place, message)));
        }
        None => false,
    };
    let group = PlannedGallery::group_of(&settings, &spec.version);
    Ok(Ok(PlannedGallery { settings, spec, group, is_done }))
}

/// Reads a resource. None if the service refuses that: the step gets the same error, and only its operation fails.
async fn read(ports: &Ports, id: &ResourceId) -> PortResult<Option<Resource>> {
    let get = || ports.resources.get(id, None);
    match ports.retry(get).await {
        Err(error) if !error.is_retryable() => {
            tracing::warn!(%error, code = error.code, "the job is planned as if {id} did not exist");
            Ok(None)
        }
        found => found,
    }
}

/// Whether a deleted version still has this name. False if the service does not report it: the step gets the same
/// error.
async fn is_soft_deleted(ports: &Ports, version: &ResourceId) -> PortResult<bool> {
    let look = || ports.resources.is_soft_deleted(version);
    match ports.retry(look).await {
        Err(error) if !error.is_retryable() => Ok(false),
        found => found,
    }
}

async fn definition_fault(ports: &Ports, place: &str, spec: &PublishSpec) -> PortResult<Option<Finding>> {
    let id = spec.definition_id();
    let get = || ports.resources.get(&id, None);
    let found = match ports.retry(get).await {
        Ok(found) => found,
        Err(error) if error.is_retryable() => return Err(error),
        // The step gets the same error.
        Err(_) => return Ok(None),
    };
    let fault = |code, message: String| Ok(Some(Finding::failure(code, place, message)));
    let Some(found) = found else {
        if spec.create_definition {
            return Ok(None);
        }
        let message = format!("there is no image definition {id}: create it, or set create_definition = true");
        return fault("definition-missing", message);
    };
    let wanted = spec.definition_body().ok();
    let wanted = wanted.as_ref().and_then(|body| body.properties.definition());
    let changed = found.body.properties.definition().zip(wanted);
    match changed.and_then(|(found, wanted)| changed_property(found, wanted)) {
        Some(property) => {
            let message = format!(
                "image definition {id} has another {property} than the configuration, and it cannot be changed: change the \
                 configuration, or name another definition"
            );
            fault("definition-differs", message)
        }
        None => Ok(None),
    }
}

/// Whether a version is ready in all wanted regions.
async fn is_ready(ports: &Ports, spec: &PublishSpec, found: Option<&Resource>) -> PortResult<bool> {
    let known = record::read(ports, &spec.version).await?;
    let ready = known.map(|publication| publication.ready()).unwrap_or_default();
    let existing = found.and_then(|found| found.body.properties.gallery_version());
    let wanted = spec.version_body().ok();
    let wanted = wanted.as_ref().and_then(|body| body.properties.gallery_version());
    let Some((existing, wanted)) = existing.zip(wanted) else { return Ok(false) };
    let names = Publication::new(spec.clone()).wanted();
    let is_usable = |name: &String| ready.contains(name) && reported(existing, name) == Reported::Completed;
    Ok(missing(wanted, existing).is_empty() && names.iter().all(is_usable))
}

/// Records what the job publishes, so that the reconciler checks its regions from then on.
///
/// # Errors
/// If the table cannot be reached.
pub async fn remember(ports: &Ports, galleries: &[PlannedGallery]) -> Result<(), ControlError> {
    for planned in galleries {
        let spec = &planned.spec;
        record::update(ports, spec, |publication| {
            // The last version of this name was deleted, or had another content.
            let is_new = publication.gone || publication.spec.image != spec.image;
            *publication = match is_new {
                true => Publication::new(spec.clone()),
                false => publication.clone().published_again(spec.clone()),
            };
        })
        .await?;
    }
    Ok(())
}
