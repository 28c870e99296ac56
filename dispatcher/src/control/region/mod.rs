//! Uploaded versions that reach the targets and galleries of a region by one golden snapshot of each disk, as jobs of
//! the route
//! [`region`](crate::control::routes::region).
//!
//! - [`cleanup`] removes golden snapshots.
//! - [`plan`] reads what the targets and the hubs have. `goldfleet-hubs` and `goldfleet-plan` decide.

pub mod cleanup;
pub mod plan;

use std::collections::BTreeMap;

use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::settings::Gallery;
use goldfleet_hubs::plan::HubPlace;
use goldfleet_hubs::region;
use goldfleet_model::document::Document;
use goldfleet_model::ids::Region;
use goldfleet_model::job::Delivery;
use goldfleet_model::target::Target;
use serde::{Deserialize, Serialize};

use crate::control::context::ControlError;

/// The id of the route of these jobs.
pub const ROUTE: &str = "region";

/// What a job needs for planning besides its image version: nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct RegionSpec {}

/// The delivery of a job of the route.
///
/// # Errors
/// Never: the specification can be written.
pub(crate) fn delivery() -> Result<Delivery, ControlError> {
    let spec = Document::new(1, &RegionSpec {}).map_err(|error| ControlError::Refused(error.to_string()))?;
    Ok(Delivery { route: ROUTE.to_owned(), options: format!("--route {ROUTE}"), spec })
}

/// The configured hubs. A target's resource group is not used as a hub, because its owner does not expect the golden
/// snapshot there.
pub(crate) fn hubs(file: &TargetsFile) -> BTreeMap<Region, HubPlace> {
    let place = |hub: &goldfleet_config::targets::Hub| HubPlace {
        group: hub.group.clone(),
        encryption_set: hub.disk_encryption_set.clone(),
    };
    file.hubs.iter().map(|(region, hub)| (region.clone(), place(hub))).collect()
}

/// Rejects targets and galleries that the route cannot reach with these hubs. No service is called.
///
/// # Errors
/// [`ControlError::NotCopied`] with all faults.
pub(crate) fn check_configuration(
    targets: &[Target],
    galleries: &[Gallery],
    hubs: &BTreeMap<Region, HubPlace>,
) -> Result<(), ControlError> {
    let (targets, galleries): (Vec<&Target>, Vec<&Gallery>) = (targets.iter().collect(), galleries.iter().collect());
    let refusals = region::refusals(&targets, &galleries, hubs);
    if refusals.is_empty() { Ok(()) } else { Err(ControlError::NotCopied(refusals)) }
}
