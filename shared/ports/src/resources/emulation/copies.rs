//! The families of incremental snapshots, and the rules for copying them to another region. Source: Azure,
//! disks-copy-incremental-snapshot-across-regions and disks-incremental-snapshots.

use goldfleet_model::resource::{
    CopyCompletionError, CreateOption, Properties, ResourceId, ResourceType, SnapshotProperties,
};
use jiff::Timestamp;

use super::{Resource, refused};
use crate::disk_content::no_difference;
use crate::error::{ErrorKind, PortResult};
use crate::resources::PutRequest;

/// The maximum number of copies from other regions that arrive at one time in a subscription and region.
pub const MAX_COPIES: usize = 100;

/// The place of a snapshot in the order of its family: the time of its creation, and its unique id.
pub type FamilyOrder = (Timestamp, String);

/// A copy from another region, for the rules about the next copy to its subscription and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionalCopy {
    /// The family of the copy.
    pub family: String,
    /// Whether its content is arriving.
    pub is_underway: bool,
    /// The place of its source in the family of the source. None if it is not known any more.
    pub order: Option<FamilyOrder>,
}

impl RegionalCopy {
    /// The copy that a resource is, in the region of a request. None if the resource is no such copy, or its copy
    /// failed. `source` is what its source id names now.
    #[must_use]
    pub fn of(request: &PutRequest, resource: &Resource, source: Option<&Resource>) -> Option<Self> {
        let Properties::Snapshot(snapshot) = &resource.body.properties else { return None };
        let data = &snapshot.disk.creation_data;
        let here = resource.id.subscription == request.id.subscription && resource.body.region == request.body.region;
        let failed = snapshot.copy_completion_error.is_some();
        if data.create_option != CreateOption::CopyStart || !here || failed {
            return None;
        }
        let order = source.and_then(order_of).filter(|(_, unique)| Some(unique) == data.source_unique_id.as_ref());
        let family = snapshot.incremental_snapshot_family_id.clone()?;
        Some(Self { family, is_underway: !snapshot.is_complete(), order })
    }
}

/// The place of a disk or snapshot in the order of its family.
#[must_use]
pub fn order_of(resource: &Resource) -> Option<FamilyOrder> {
    let disk = resource.body.properties.disk()?;
    Some((disk.time_created.as_deref()?.parse().ok()?, disk.unique_id.clone()?))
}

/// Whether a request copies from a snapshot in another region.
#[must_use]
pub fn is_copy_start(request: &PutRequest) -> bool {
    let data = request.body.properties.disk().map(|disk| &disk.creation_data.create_option);
    data == Some(&CreateOption::CopyStart)
}

/// Checks a copy from another region against the copies that its subscription and region have. Other requests pass.
///
/// # Errors
/// `Conflict` with the code `copy-source-busy` if a snapshot of the family is arriving, or `copy-limit-reached` if
/// [`MAX_COPIES`] are. `Invalid` with the code `snapshot-order` if a newer snapshot of the family was copied before.
pub fn check_copy_start(request: &PutRequest, source: Option<&Resource>, copies: &[RegionalCopy]) -> PortResult<()> {
    let Some(source) = source.filter(|_| is_copy_start(request)) else { return Ok(()) };
    let Some(family) = family_of(request, source) else { return Ok(()) };
    let (id, region) = (&request.id, &request.body.region);
    if copies.iter().filter(|copy| copy.is_underway).count() >= MAX_COPIES {
        let message = format!("{id}: {MAX_COPIES} copies to {region} are in progress in its subscription");
        return Err(refused(ErrorKind::Conflict, "copy-limit-reached", message));
    }
    let mut of_family = copies.iter().filter(|copy| copy.family == family);
    if of_family.clone().any(|copy| copy.is_underway) {
        let message = format!("{id}: another snapshot of the same disk is being copied to {region}");
        return Err(refused(ErrorKind::Conflict, "copy-source-busy", message));
    }
    let order = order_of(source);
    if order.is_some() && of_family.any(|copy| copy.order > order) {
        let message = format!("{id}: a newer snapshot of the same disk was copied to {region} before");
        return Err(refused(ErrorKind::Invalid, "snapshot-order", message));
    }
    Ok(())
}

/// The family of the incremental snapshot that a request creates from `source`. The copies of a family in one
/// subscription and region are a family of their own. None for other resources.
#[must_use]
pub fn family_of(request: &PutRequest, source: &Resource) -> Option<String> {
    let Properties::Snapshot(SnapshotProperties { incremental: Some(true), .. }) = &request.body.properties else {
        return None;
    };
    let unique_id = source.body.properties.disk()?.unique_id.as_deref()?;
    let (subscription, region) = (request.id.subscription.to_string(), request.body.region.as_str());
    match &source.body.properties {
        Properties::Snapshot(snapshot) => {
            let family = snapshot.incremental_snapshot_family_id.as_deref().unwrap_or(unique_id);
            Some(derived_id(&[family, &subscription, region]))
        }
        _ => Some(derived_id(&[unique_id])),
    }
}

/// Checks that the platform lists the difference between a snapshot and an earlier one: both are complete incremental
/// snapshots of one disk. Source: Azure, Get Page Ranges, `x-ms-previous-snapshot-url`.
///
/// # Errors
/// `Invalid` with the code [`NO_DIFFERENCE`](crate::disk_content::NO_DIFFERENCE).
pub fn check_difference(snapshot: &Resource, earlier: &Resource) -> PortResult<()> {
    let refuse = |why: &str| Err(no_difference(&snapshot.id.to_string(), why));
    let (Properties::Snapshot(to), Properties::Snapshot(from)) = (&snapshot.body.properties, &earlier.body.properties)
    else {
        return refuse("only snapshots have one");
    };
    if to.incremental != Some(true) || from.incremental != Some(true) {
        return refuse("one of them is not incremental");
    }
    if to.incremental_snapshot_family_id.is_none()
        || to.incremental_snapshot_family_id != from.incremental_snapshot_family_id
    {
        return refuse("they are of different disks");
    }
    if to.disk.disk_size_bytes != from.disk.disk_size_bytes {
        return refuse("their sizes differ");
    }
    let created = |of: &SnapshotProperties| of.disk.time_created.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
    match (created(to), created(from)) {
        (Some(to), Some(from)) if from > to => refuse("it is newer"),
        _ => Ok(()),
    }
}

/// The error of a copy whose source was deleted before the content had arrived.
#[must_use]
pub fn source_gone(source: &ResourceId) -> CopyCompletionError {
    CopyCompletionError {
        error_code: "CopySourceNotFound".to_owned(),
        error_message: format!("The {} {source} was deleted during the copy.", ResourceType::Snapshot.noun()),
    }
}

/// A UUID that depends only on the texts: FNV-1a of 128 bits.
fn derived_id(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([b'/'])).map(|byte| byte.to_ascii_lowercase());
    let hash = bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    uuid::Builder::from_random_bytes(hash.to_be_bytes()).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_differ_by_every_part() {
        let ids = [&["a"][..], &["a", "b"], &["ab"], &["b", "a"], &["a", "b", ""]].map(derived_id);
        for (n, id) in ids.iter().enumerate() {
            assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
            assert!(!ids[..n].contains(id), "{ids:?}");
        }
        assert_eq!(derived_id(&["A"]), derived_id(&["a"]));
    }
}
