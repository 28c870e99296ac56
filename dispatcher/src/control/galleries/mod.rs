//! Gallery versions.
//!
//! - [`plan()`] and [`remember`]: what a job publishes.
//! - [`watch`]: the check of all published versions at each pass of the reconciler.
//! - [`promote`]: which version is the latest one.

mod plan;
pub mod promote;
pub mod watch;

use goldfleet_config::targets::{TargetsFile, TargetsFileError};
use goldfleet_galleries::publication::{PREFIX, Publication};
use goldfleet_kinds::outcome::StepError;
use goldfleet_kinds::publish::record;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::job::Finding;
use goldfleet_model::resource::VersionNumber;
use goldfleet_model::selector::Selector;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use crate::control::context::{ControlContext, ControlError};

pub use plan::{plan, remember};

/// The code of a version whose name no gallery accepts.
pub const VERSION_NAME: &str = "gallery-version-name";

/// The fault of the name of a version that a gallery should receive. None if its name is valid.
#[must_use]
pub fn name_fault(gallery: &str, version: &ImageVersion) -> Option<Finding> {
    let error = version.as_str().parse::<VersionNumber>().err()?;
    Some(Finding::failure(VERSION_NAME, format!("gallery {gallery}"), error.to_string()))
}

/// The names of the galleries that receive versions of an image: none without a targets file. Rejects a version whose name no
/// gallery accepts.
///
/// # Errors
/// [`ControlError::NotCopied`], or [`ControlError::Targets`] if the targets file is not valid.
pub fn receivers(
    control: &ControlContext,
    image: &ImageName,
    version: &ImageVersion,
    selection: &[Selector],
) -> Result<Vec<String>, ControlError> {
    let file = match TargetsFile::load(&control.config.targets.file) {
        // An upload without a dispatch needs no targets.
        Err(TargetsFileError::NoSuchFile(_)) => return Ok(Vec::new()),
        file => file?,
    };
    let names: Vec<String> =
        file.galleries_of(image, selection).iter().map(|gallery| gallery.name.to_string()).collect();
    let faults: Vec<Finding> = names.iter().filter_map(|name| name_fault(name, version)).collect();
    if faults.is_empty() { Ok(names) } else { Err(ControlError::NotCopied(faults)) }
}

/// All publications. One that another version of the program wrote is left out.
async fn publications(control: &ControlContext) -> PortResult<Vec<Publication>> {
    let records = control.ports.records.list(PREFIX).await?;
    let read = records.into_iter().filter_map(|found| match record::of_document(&found.document.value) {
        Ok(publication) => Some(publication),
        Err(error) => {
            tracing::warn!(record = %found.name, %error, "a record is left out");
            None
        }
    });
    Ok(read.collect())
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
