//! Gallery versions.
//!
//! - [`plan()`] and [`remember`]: what a job publishes.
//! - [`watch`]: the check of all published versions at each pass of the reconciler.
//! - [`promote`]: which version is the latest one.

mod plan;
pub mod promote;
pub mod watch;

use goldfleet_config::Config;
use goldfleet_config::targets::{TargetsFile, TargetsFileError};
use goldfleet_galleries::graph::PlannedGallery;
use goldfleet_galleries::publication::{PREFIX, Publication};
use goldfleet_galleries::settings::Gallery;
use goldfleet_kinds::outcome::StepError;
use goldfleet_kinds::publish::record;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::job::Finding;
use goldfleet_model::operation::GroupId;
use goldfleet_model::resource::{ResourceType, VersionNumber};
use goldfleet_model::selector::Selector;
use goldfleet_plan::GalleryReceiver;
use goldfleet_ports::ETag;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::records::RecordName;

use crate::control::context::ControlError;
use crate::control::suggest::command_line;

pub use plan::{plan, remember};

/// The code of galleries that a job does not serve.
pub const UNSERVED: &str = "galleries-not-served";

/// The code of a version whose name no gallery accepts.
pub const VERSION_NAME: &str = "gallery-version-name";

/// The finding for a version whose name no gallery accepts. None if the name is valid.
#[must_use]
pub fn name_fault(gallery: &str, version: &ImageVersion) -> Option<Finding> {
    let error = version.as_str().parse::<VersionNumber>().err()?;
    Some(Finding::failure(VERSION_NAME, format!("gallery {gallery}"), error.to_string()))
}

/// The names of the galleries that receive versions of an image: none without a targets file. Rejects a version whose
/// name no gallery accepts.
///
/// # Errors
/// [`ControlError::NotCopied`], or [`ControlError::Targets`] if the targets file is not valid.
pub fn receivers(
    config: &Config,
    image: &ImageName,
    version: &ImageVersion,
    selection: &[Selector],
) -> Result<Vec<String>, ControlError> {
    let file = match TargetsFile::load(&config.targets.file) {
        // An upload without a dispatch needs no targets.
        Err(TargetsFileError::NoSuchFile(_)) => return Ok(Vec::new()),
        file => file?,
    };
    let galleries: Vec<Gallery> = file.galleries_of(image, selection).into_iter().cloned().collect();
    let names = names(&galleries);
    let faults: Vec<Finding> = names.iter().filter_map(|name| name_fault(name, version)).collect();
    if faults.is_empty() { Ok(names) } else { Err(ControlError::NotCopied(faults)) }
}

/// The names of galleries.
#[must_use]
pub fn names(galleries: &[Gallery]) -> Vec<String> {
    galleries.iter().map(|gallery| gallery.name.to_string()).collect()
}

/// A gallery in the form in which the planner needs it.
#[must_use]
pub fn receiver(gallery: &Gallery) -> GalleryReceiver {
    let replicas = gallery.all_regions().into_iter().map(|region| (region.name, region.replicas));
    GalleryReceiver {
        name: gallery.name.to_string(),
        subscription: gallery.subscription,
        resource_group: gallery.resource_group.clone(),
        region: gallery.region.clone(),
        replicas: replicas.collect(),
    }
}

/// The groups of the operations that publish a version in galleries. A gallery whose definition has no valid name has
/// none.
#[must_use]
pub fn groups(galleries: &[Gallery], image: &ImageName, version: &ImageVersion) -> Vec<GroupId> {
    let group = |gallery: &Gallery| {
        let own = version.as_str().parse().ok()?;
        let version = gallery.definition_of(image).ok()?.child(ResourceType::GalleryVersion, &own);
        Some(PlannedGallery::group_of(gallery, &version))
    };
    galleries.iter().filter_map(group).collect()
}

/// The finding of a job by the route `staging`, which publishes to no gallery, because it has no golden snapshots. None
/// if no gallery receives the image.
#[must_use]
pub fn unserved(galleries: &[String], image: &ImageName, version: &ImageVersion) -> Option<Finding> {
    if galleries.is_empty() {
        return None;
    }
    let dispatch = command_line("dispatch --route region", image.as_str(), version.as_str(), &[]);
    let message = format!(
        "the route staging publishes to no gallery, so these do not receive the version: {}; to publish it: {dispatch}",
        galleries.join(", ")
    );
    Some(Finding::note(UNSERVED, message))
}

/// A publication with its record.
struct Recorded {
    name: RecordName,
    etag: ETag,
    publication: Publication,
}

/// All publications, in the order of the names of their records. A record that another version of the program wrote is
/// left out.
async fn recorded(ports: &Ports) -> PortResult<Vec<Recorded>> {
    let records = ports.records.list(PREFIX).await?;
    let read = records.into_iter().filter_map(|found| match record::of_document(&found.document.value) {
        Ok(publication) => Some(Recorded { name: found.name, etag: found.document.etag, publication }),
        Err(error) => {
            tracing::warn!(record = %found.name, %error, "a record is left out");
            None
        }
    });
    Ok(read.collect())
}

/// As [`recorded`], without the records.
async fn publications(ports: &Ports) -> PortResult<Vec<Publication>> {
    Ok(recorded(ports).await?.into_iter().map(|recorded| recorded.publication).collect())
}

/// The error of a pass over a version, for an operator.
fn control_error(error: StepError) -> ControlError {
    match error {
        StepError::Failed(error) if error.retryable => {
            PortError::new(ErrorKind::Unavailable, error.message).with_code(&error.code).into()
        }
        StepError::Failed(error) => ControlError::Refused(format!("{} ({})", error.message, error.code)),
        StepError::Stopped(_) => ControlError::Refused("the command was stopped".to_owned()),
    }
}
