//! Clones of virtual machines, as jobs of the route [`machine`](crate::control::routes::machine).
//!
//! - [`plan`] reads the source and plans. `goldfleet-machines` decides.
//! - [`request`] creates the job.

pub mod plan;
pub mod request;

use goldfleet_machines::request::CloneRequest;
use goldfleet_model::job::Work;

use crate::control::context::ControlError;

/// The id of the route of these jobs.
pub const ROUTE: &str = "machine";

/// The version of the specification of these jobs, which is a [`CloneRequest`].
const VERSION: u16 = 1;

/// What a job clones.
///
/// # Errors
/// [`ControlError::Refused`] if the specification cannot be read.
pub fn request_of(work: &Work) -> Result<CloneRequest, ControlError> {
    let refused = |error| ControlError::Refused(format!("the specification of the job: {error}"));
    work.spec.read(VERSION).map_err(refused)
}
