//! Disks, snapshots, images, gallery versions and machines that become an image version by copies that the platform
//! makes, as jobs of the route [`platform`](crate::control::routes::platform).
//!
//! - [`request`] creates the job.
//! - `source` reads the source, and [`plan`] the targets. `goldfleet-hubs` decides.
//! - [`estimate`] has the bytes, the cost and the time of the copies.

pub mod estimate;
pub mod plan;
pub mod request;
mod source;

use goldfleet_model::document::Document;
use goldfleet_model::hash::digest_of;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Delivery, Job};
use goldfleet_model::manifest::Digest;
use goldfleet_model::resource::{ResourceId, ResourceType, SharedVersion, VersionRef};
use goldfleet_snapshots::id::GroupRef;
use goldfleet_sources::SourceLocation;
use serde::{Deserialize, Serialize};

use crate::control::context::ControlError;

/// The id of the route of these jobs.
pub const ROUTE: &str = "platform";

/// The version of [`PlatformSpec`].
const VERSION: u16 = 1;

/// What a job copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformSpec {
    /// The disk, snapshot, image, gallery version or machine.
    pub source: SourceRef,
    /// Its unique id, in lower case. For an image or version, what distinguishes it from others.
    pub unique_id: String,
    /// The disks of a machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<ResourceId>,
}

/// A source that the platform copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SourceRef {
    /// One that a resource id names.
    Resource(ResourceId),
    /// A version of a gallery that others share.
    Shared(SharedVersion),
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
        let id = match &self.source {
            SourceRef::Resource(id) => id.clone(),
            SourceRef::Shared(shared) => return SourceLocation::Gallery(VersionRef::Shared(shared.clone())),
        };
        match id.resource_type {
            ResourceType::Disk => SourceLocation::Disk(id),
            ResourceType::Image => SourceLocation::Image(id),
            ResourceType::Machine => SourceLocation::Machine(id),
            ResourceType::GalleryVersion => SourceLocation::Gallery(VersionRef::Own(id)),
            _ => SourceLocation::Snapshot(id),
        }
    }

    /// The resource groups of the source.
    pub fn groups(&self) -> impl Iterator<Item = GroupRef> + '_ {
        let named = match &self.source {
            SourceRef::Resource(id) => Some(id),
            SourceRef::Shared(_) => None,
        };
        named.into_iter().chain(&self.disks).map(GroupRef::from)
    }

    /// Whether both name the same source. Disks may have been attached or detached in between.
    #[must_use]
    pub fn is_same_source(&self, other: &Self) -> bool {
        self.source == other.source && self.unique_id == other.unique_id
    }

    /// The digest that represents the content. A snapshot and a version of an own gallery do not change. The content of
    /// other sources may differ in the next job, so each job makes its own copy of it.
    #[must_use]
    pub fn digest(&self, job: &JobId) -> Digest {
        let is_fixed = match &self.source {
            SourceRef::Resource(id) => {
                matches!(id.resource_type, ResourceType::Snapshot | ResourceType::GalleryVersion)
            }
            SourceRef::Shared(_) => false,
        };
        let job = if is_fixed { "" } else { job.as_str() };
        digest_of(format!("azure:{}{job}", self.unique_id).as_bytes())
    }

    fn delivery(&self) -> Result<Delivery, ControlError> {
        let spec = Document::new(VERSION, self).map_err(|error| ControlError::Refused(error.to_string()))?;
        Ok(Delivery { route: ROUTE.to_owned(), options: format!("--from '{}'", self.location()), spec })
    }
}
