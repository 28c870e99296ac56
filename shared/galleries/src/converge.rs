//! What must change at a gallery version so that it is in every wanted region, and the state of its regions.
//!
//! The service has no condition for a PUT of a version (GalleryRP 2024-03-03 has no ETag), so another tool that reads
//! the regions, adds one and writes them can remove those that were added in between. goldfleet reads a version after
//! each write and at each pass of the reconciler, and adds what is missing. Foreign regions stay.

use std::collections::BTreeSet;

use goldfleet_model::image::{ImageRef, ImageTags};
use goldfleet_model::resource::{
    GalleryVersionProperties, ReplicationState, ResourceBody, TargetRegion, VersionNumber, region_named, tag,
};
use goldfleet_snapshots::tags::{self, Role};
use uuid::Uuid;

/// What a version should be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The body that creates the version, with all wanted regions.
    pub body: &'a GalleryVersionProperties,
    /// Whether it can be the latest version.
    pub promoted: bool,
    /// The regions in which it is ready.
    pub ready: &'a BTreeSet<String>,
    /// A region to take out, because the replication to it failed. The next change adds it again.
    pub taken_out: Option<&'a str>,
}

/// The changed body of an existing version. None if it is as it should be.
///
/// A version is the latest one in a region only if it was promoted and is ready there. So a region that somebody
/// removed and that is added again shows its readers the version before until it is ready again.
#[must_use]
pub fn change(wanted: Wanted<'_>, found: &ResourceBody) -> Option<ResourceBody> {
    let mut body = found.clone();
    let version = body.properties.gallery_version_mut()?;
    let profile = version.publishing_profile.get_or_insert_default();
    for region in wanted.body.regions() {
        let name = region_named(&region.name);
        let excluded = Some(!(wanted.promoted && wanted.ready.contains(&name)));
        let existing = profile.target_regions.iter_mut().find(|found| region_named(&found.name) == name);
        match existing {
            Some(existing) => {
                existing.exclude_from_latest = excluded;
                existing.regional_replica_count = region.regional_replica_count;
            }
            None => profile.target_regions.push(TargetRegion { exclude_from_latest: Some(true), ..region.clone() }),
        }
    }
    profile.target_regions.retain(|region| Some(region_named(&region.name).as_str()) != wanted.taken_out);
    profile.exclude_from_latest = Some(!wanted.promoted);
    (body != *found).then_some(body)
}

/// The wanted regions that a version does not have.
#[must_use]
pub fn missing(wanted: &GalleryVersionProperties, found: &GalleryVersionProperties) -> Vec<String> {
    names(wanted).difference(&names(found)).cloned().collect()
}

/// The regions of a version that are not wanted.
#[must_use]
pub fn foreign(wanted: &GalleryVersionProperties, found: &GalleryVersionProperties) -> Vec<String> {
    names(found).difference(&names(wanted)).cloned().collect()
}

fn names(version: &GalleryVersionProperties) -> BTreeSet<String> {
    version.regions().iter().map(|region| region_named(&region.name)).collect()
}

/// What the service reports about a region of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// The version does not have the region.
    Missing,
    /// It is replicated: the part that is done, in percent.
    Replicating(u32),
    /// The replication is complete. The version may still be unusable there.
    Completed,
    /// The replication failed, for this reason.
    Failed(String),
}

/// What the service reports about a region.
#[must_use]
pub fn reported(found: &GalleryVersionProperties, region: &str) -> Reported {
    if !names(found).contains(region) {
        return Reported::Missing;
    }
    let status = found.replication_status.iter().flat_map(|status| &status.summary);
    match status.into_iter().find(|status| region_named(&status.region) == region) {
        Some(status) => match status.state {
            ReplicationState::Completed => Reported::Completed,
            ReplicationState::Failed => Reported::Failed(status.details.clone()),
            ReplicationState::Replicating | ReplicationState::Unknown | ReplicationState::Other(_) => {
                Reported::Replicating(status.progress.min(100))
            }
        },
        None => Reported::Replicating(0),
    }
}

/// The relation of an existing version to an image version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Existing {
    /// It has the version and its content.
    Same,
    /// It is not changed, for this reason.
    Foreign(String),
}

/// What an existing version with the name of an image version is. Only a version that this fleet created with the same
/// content is changed. A version cannot get another content, and machines may be of it, so it is not replaced either.
#[must_use]
pub fn classify(fleet: Uuid, wanted: &ImageRef, found: &ResourceBody) -> Existing {
    let is_ours = tag(&found.tags, tags::FLEET).and_then(|text| text.parse().ok()) == Some(fleet)
        && Role::in_tags(&found.tags) == Some(Role::Sink);
    let digest = ImageTags::digest_in(&found.tags).filter(|_| is_ours);
    match digest {
        None => Existing::Foreign("it does not have the tags of this fleet for what galleries receive".to_owned()),
        Some(digest) if digest == wanted.digest => Existing::Same,
        Some(_) => {
            let version = ImageTags::version_in(&found.tags);
            Existing::Foreign(format!("it has another content, that of {version}: a version has one content"))
        }
    }
}

/// The latest version that a reader in a region gets.
#[must_use]
pub fn latest<'v>(
    versions: impl Iterator<Item = (VersionNumber, &'v GalleryVersionProperties)>,
    region: &str,
) -> Option<VersionNumber> {
    let here = |version: &GalleryVersionProperties| {
        let entry = version.regions().iter().find(|found| region_named(&found.name) == region);
        !version.is_excluded() && entry.is_some_and(|entry| entry.exclude_from_latest != Some(true))
    };
    versions.filter(|(_, version)| here(version)).map(|(number, _)| number).max()
}
