//! Disks and snapshots that become an image version by copies that the platform makes, as jobs of the route
//! [`platform`](crate::control::routes::platform).
//!
//! - [`request`] creates the job.
//! - [`plan`] reads the source and the targets. `goldfleet-hubs` decides.
//! - [`estimate`] is what the copies move, cost and take.

pub mod estimate;
pub mod plan;
pub mod request;

use goldfleet_model::document::Document;
use goldfleet_model::hash::digest_of;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Delivery, Job};
use goldfleet_model::manifest::Digest;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_ports::resources::Resource;
use goldfleet_ports::retry::retry_transient;
use goldfleet_sources::cloud_disk::DiskFacts;
use goldfleet_sources::{Refusal, SourceLocation, codes};
use serde::{Deserialize, Serialize};

use crate::control::context::{ControlContext, ControlError};

/// The id of the route of these jobs.
pub const ROUTE: &str = "platform";

/// The version of [`PlatformSpec`].
const VERSION: u16 = 1;

/// What a job copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformSpec {
    /// The disk or snapshot.
    pub source: ResourceId,
    /// Its unique id, in lower case.
    pub unique_id: String,
}

impl PlatformSpec {
    /// The specification of a job.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if the job has none, or if it cannot be read.
    pub fn of(job: &Job) -> Result<Self, ControlError> {
        let delivery = job.delivery().ok_or_else(|| ControlError::Refused("the job names no source".to_owned()))?;
        Self::in_delivery(delivery)
    }

    /// As [`PlatformSpec::of`].
    ///
    /// # Errors
    /// [`ControlError::Refused`] if it cannot be read.
    pub fn in_delivery(delivery: &Delivery) -> Result<Self, ControlError> {
        let refused = |error| ControlError::Refused(format!("the specification of the job: {error}"));
        delivery.spec.read(VERSION).map_err(refused)
    }

    /// The source as an operator names it.
    #[must_use]
    pub fn location(&self) -> SourceLocation {
        match self.source.resource_type {
            ResourceType::Disk => SourceLocation::Disk(self.source.clone()),
            _ => SourceLocation::Snapshot(self.source.clone()),
        }
    }

    /// The digest that stands for the content. A snapshot does not change. The content of a disk may, so each job takes its
    /// own snapshot of it.
    #[must_use]
    pub fn digest(&self, job: &JobId) -> Digest {
        let job = if self.source.resource_type == ResourceType::Disk { job.as_str() } else { "" };
        digest_of(format!("azure:{}{job}", self.unique_id).as_bytes())
    }

    fn delivery(&self) -> Result<Delivery, ControlError> {
        let spec = Document::new(VERSION, self).map_err(|error| ControlError::Refused(error.to_string()))?;
        Ok(Delivery { route: ROUTE.to_owned(), options: format!("--from '{}'", self.location()), spec })
    }
}

/// Reads a disk or snapshot, and what a copy needs to know about it.
///
/// # Errors
/// [`ControlError::Source`] if it or its group does not exist, or if a copy of it is no image.
async fn read_source(
    control: &ControlContext,
    id: &ResourceId,
    location: &SourceLocation,
) -> Result<(Resource, DiskFacts), ControlError> {
    let (ports, location) = (&control.ports, location.to_string());
    let get = || ports.resources.get(id, None);
    let found = match retry_transient(ports.clock.as_ref(), PortError::is_retryable, get).await {
        Err(error) if error.kind == ErrorKind::NotFound => None,
        found => found?,
    };
    let missing =
        || Refusal::new(&codes::SOURCE_NOT_FOUND, &location, format!("there is no {}", id.resource_type.noun()));
    let found = found.ok_or_else(missing)?;
    let facts = DiskFacts::for_copy(&location, &found)?;
    Ok((found, facts))
}
