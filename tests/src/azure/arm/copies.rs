//! The families of incremental snapshots, and copies of them from other regions. Source: Azure,
//! disks-copy-incremental-snapshot-across-regions. The codes are guesses.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::disk_put::FAMILY;
use super::disks::{Disk, DiskKind};
use super::response::ArmAnswer;
use super::state::TenantState;

/// The family of an incremental snapshot with this source. Copies in another subscription or region have another family
/// than their source. That is a guess: Azure documents only that the snapshots of one disk share an id.
pub(super) fn family(disk: &Disk, source: &Disk) -> Option<String> {
    if disk.kind != DiskKind::Snapshot || disk.properties["incremental"] != json!(true) {
        return None;
    }
    let text = |name: &str| source.properties[name].as_str();
    let parts = match source.kind {
        DiskKind::Disk => (text("uniqueId"), String::new(), ""),
        DiskKind::Snapshot => {
            (text(FAMILY).or(text("uniqueId")), disk.subscription.to_ascii_lowercase(), disk.region.as_str())
        }
    };
    let half = |which: u8| {
        let mut hasher = DefaultHasher::new();
        (which, &parts).hash(&mut hasher);
        hasher.finish()
    };
    Some(Uuid::from_u64_pair(half(0), half(1)).to_string())
}

/// The unique id of the snapshot that a copy copies.
fn source_of(copy: &Disk) -> &serde_json::Value {
    &copy.properties["creationData"]["sourceUniqueId"]
}

/// The place of a snapshot in the order of its family.
pub(super) fn order(source: &Disk) -> (String, String) {
    let text = |name: &str| source.properties[name].as_str().unwrap_or_default().to_owned();
    (text("timeCreated"), text("uniqueId"))
}

/// Checks a copy from another region against those that its subscription and region have.
pub(super) fn check(world: &TenantState, disk: &Disk, source: &Disk) -> Result<(), ArmAnswer> {
    let here = |other: &&Disk| {
        other.source_order.is_some()
            && other.subscription.eq_ignore_ascii_case(&disk.subscription)
            && other.region == disk.region
    };
    let busy = |message: String| Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
    let arriving = world.disks.iter().filter(here).filter(|other| other.is_arriving()).count();
    if arriving >= world.copy_limit {
        return busy(format!("{arriving} snapshots are being copied to {} in this subscription.", disk.region));
    }
    if !world.behaviours.copies_to_regions_at_once
        && let Some(other) =
            world.disks.iter().find(|other| other.is_arriving() && source_of(other) == source_of(disk) && !here(other))
    {
        return busy(format!("A copy of the snapshot to {} is in progress.", other.region));
    }
    let of_family =
        || world.disks.iter().filter(here).filter(|other| other.properties[FAMILY] == disk.properties[FAMILY]);
    let is_other = |other: &&Disk| {
        let same = source_of(other) == source_of(disk);
        other.is_arriving() && !(same && world.behaviours.copies_of_one_at_once)
    };
    if let Some(other) = of_family().find(is_other) {
        return busy(format!("The copy of another snapshot of the same disk, {}, is in progress.", other.name));
    }
    // The times have the same format, whose text has the order of the times only if the fractions have equal lengths.
    let order = |of: &Disk, (time, unique): (String, String)| {
        let time: jiff::Timestamp = time.parse().map_err(|_| {
            let message = format!("The time of creation of the source of {} is not known.", of.name);
            ArmAnswer::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
        })?;
        Ok::<_, ArmAnswer>((time, unique))
    };
    let wanted = order(disk, self::order(source))?;
    for other in of_family().filter(|other| !other.source_gone) {
        if other.source_order.clone().map(|found| order(other, found)).transpose()?.is_some_and(|found| found > wanted)
        {
            let message = format!("A newer snapshot of the same disk was copied before: {}.", other.name);
            let refusal = ArmAnswer::bad_request("InvalidParameter", message);
            return Err(refusal.target("creationData.sourceResourceId"));
        }
    }
    Ok(())
}
