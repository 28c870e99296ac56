//! The removal of the golden snapshots of a version, and of temporaries that its jobs left in hubs.
//!
//! A resource is removed only if its tags prove that this fleet created it for the version, if its unique id is still
//! the one that was listed, and if no lock protects it. The caller checks that no open job works with the version.

use std::collections::BTreeSet;

use goldfleet_config::targets::TargetsFile;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::image::ImageTags;
use goldfleet_model::resource::{ResourceType, tag};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::resources::Resource;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::tags::{self, Role};
use serde::Serialize;
use uuid::Uuid;

use crate::control::cleanup::Mode;
use crate::control::context::{ControlContext, ControlError};
use crate::control::orphans;
use crate::control::tagged::{self, list_tagged, look_again, refused, unique_id};

/// What was removed from hubs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HubCleanup {
    /// The resources that were deleted, or that a dry run would delete.
    pub deleted: Vec<String>,
    /// What could not be deleted or listed, with the reason.
    pub failed: Vec<HubCleanupFailure>,
}

/// A resource that could not be deleted, or a group that could not be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HubCleanupFailure {
    /// The id of the resource, or the group as `SUBSCRIPTION/GROUP`.
    pub place: String,
    /// The code.
    pub code: String,
    /// Why.
    pub error: String,
}

impl HubCleanupFailure {
    fn of(place: &impl ToString, error: &PortError) -> Self {
        Self { place: place.to_string(), code: error.code.clone(), error: error.to_string() }
    }
}

/// Removes the golden snapshots of a version from the configured hubs, and the temporaries there of its ended jobs. A
/// failure of one does not prevent the removal of others.
///
/// # Errors
/// If the targets file is not valid, or if the table cannot be reached.
pub async fn clean_hubs(
    control: &ControlContext,
    image: &ImageName,
    version: &ImageVersion,
    mode: Mode,
) -> Result<HubCleanup, ControlError> {
    let mut result = HubCleanup::default();
    // A configuration without targets has no hubs.
    if !control.config.targets.file.exists() {
        return Ok(result);
    }
    let file = TargetsFile::load(&control.config.targets.file)?;
    let groups: BTreeSet<GroupRef> = file.hubs.values().map(|hub| hub.group.clone()).collect();
    let fleet = control.ports.table.fleet().await?;
    for group in groups {
        let found = match list(&control.ports, &group, fleet, image, version).await {
            Ok(found) => found,
            // A group that does not exist has no resources of this fleet.
            Err(error) if error.code == "resource-group-not-found" => continue,
            Err(error) => {
                result.failed.push(HubCleanupFailure::of(&group, &error));
                continue;
            }
        };
        for resource in found {
            if !may_remove(&control.ports, &resource).await? {
                continue;
            }
            match mode {
                Mode::DryRun => result.deleted.push(resource.id.to_string()),
                Mode::Delete => match remove(control, &resource, fleet).await {
                    Ok(()) => result.deleted.push(resource.id.to_string()),
                    Err(error) => result.failed.push(HubCleanupFailure::of(&resource.id, &error)),
                },
            }
        }
    }
    Ok(result)
}

/// The snapshots and disks in a hub that this fleet created for the version.
async fn list(
    ports: &Ports,
    group: &GroupRef,
    fleet: Uuid,
    image: &ImageName,
    version: &ImageVersion,
) -> PortResult<Vec<Resource>> {
    let wanted = [
        (tags::FLEET, fleet.to_string()),
        (ImageTags::IMAGE, image.to_string()),
        (ImageTags::VERSION, version.to_string()),
    ];
    list_tagged(ports, group, &[ResourceType::Snapshot, ResourceType::Disk], wanted).await
}

/// Whether a resource is a golden snapshot, or a temporary whose job is known to have ended.
async fn may_remove(ports: &Ports, found: &Resource) -> PortResult<bool> {
    match Role::in_tags(&found.body.tags) {
        Some(Role::Golden) => Ok(found.id.resource_type == ResourceType::Snapshot),
        Some(Role::Temporary) => {
            let Some(job) = tag(&found.body.tags, tags::JOB).and_then(|job| job.parse().ok()) else { return Ok(false) };
            Ok(ports.table.job(&job).await?.is_some_and(|job| job.value.state.is_terminal()))
        }
        _ => Ok(false),
    }
}

async fn remove(control: &ControlContext, listed: &Resource, fleet: Uuid) -> PortResult<()> {
    if Role::in_tags(&listed.body.tags) == Some(Role::Temporary) {
        return orphans::remove(&control.ports, listed, fleet).await;
    }
    let Some(found) = look_again(&control.ports, listed).await? else { return Ok(()) };
    if unique_id(&found).is_none() || unique_id(&found) != unique_id(listed) || found.body.tags != listed.body.tags {
        return Err(refused("snapshot-foreign", format!("{} was changed in the meantime", listed.id)));
    }
    if let Some(lock) = control.ports.locks.locks(&listed.id, None).await?.first() {
        return Err(refused("scope-locked", format!("{}: lock {} protects it", listed.id, lock.id)));
    }
    tagged::delete(&control.ports, &listed.id).await
}
