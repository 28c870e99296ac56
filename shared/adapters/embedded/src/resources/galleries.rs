//! Galleries, image definitions and gallery versions of the directory cloud.
//!
//! A version is the file `galleries/<gallery>/images/<definition>/versions/<version>.json` of its resource group. Its
//! content is the sparse file `<version>.disk` beside it, and `<version>.disk-<lun>` for each data disk, so that the
//! bytes of a version can be compared. `<version>.replicas` has the begin and the end of its replication to each
//! region, and the sizes of its disks. The keys `replication_seconds`, `usable_seconds` and `failing_regions` of
//! `<root>/subscriptions/settings.json` set how long a replication takes, how long after its end the version can be
//! used in the region, and which regions fail.
//!
//! A deleted version of a gallery with `softDeletePolicy.isSoftDeleteEnabled` leaves the file `<version>.deleted`,
//! without its content: until that is removed, no version can get the name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use goldfleet_model::resource::{Properties, ResourceId, ResourceType, VersionRef, region_named};
use goldfleet_ports::clock::after;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::galleries::{
    Replica, Replicas, check_empty, check_gallery, disk_of_version, is_shared_as, keeps_deleted, shared_id,
    soft_deleted, stored_version,
};
use goldfleet_ports::resources::emulation::{NewIdentity, data_sources_of, source_of};
use goldfleet_ports::resources::{PutRequest, Resource, ResourceQuery};
use jiff::Timestamp;
use serde_json::json;

use super::copies::{read, remove, remove_folder};
use super::files::{ResourceFiles, replace_file};
use super::{content, listing};

/// The file of a deleted version that its gallery keeps, beside that of the version.
fn deleted_file(json: &Path) -> PathBuf {
    json.with_extension("deleted")
}

/// Whether a version was deleted, and its gallery keeps it. Blocks.
pub(super) fn is_soft_deleted(files: &ResourceFiles, version: &ResourceId) -> bool {
    let json = files.json(version);
    !json.exists() && deleted_file(&json).exists()
}

/// The file with the replicas of the version in a file.
fn replicas_file(json: &Path) -> PathBuf {
    json.with_extension("replicas")
}

/// A time in the format of [`Replica`]: nanoseconds since 1970.
fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}

/// Creates or updates a gallery, a definition or a version. The caller holds its lock. Blocks.
pub(super) fn put(
    files: &ResourceFiles,
    request: &PutRequest,
    existing: Option<&Resource>,
    identity: &NewIdentity,
) -> PortResult<()> {
    let id = &request.id;
    let parent = id.parent().map(|parent| files.read(&parent)).transpose()?.flatten();
    let (mut luns, mut sources) = (Vec::new(), Vec::new());
    if existing.is_none() {
        let data = data_sources_of(request)?.into_iter().map(|(lun, id)| (Some(lun), id));
        for (lun, id) in source_of(request)?.map(|id| (None, id)).into_iter().chain(data) {
            luns.push(lun);
            sources.push(files.read(&id)?);
        }
    }
    check_gallery(request, existing, parent.as_ref(), &sources)?;
    let Properties::GalleryVersion(version) = &request.body.properties else {
        return super::write(files, id, request.body.clone());
    };
    if is_soft_deleted(files, id) {
        return Err(soft_deleted(id));
    }
    let path = replicas_file(&files.json(id));
    let mut replicas: Replicas =
        if existing.is_some() { read(&path)?.unwrap_or_default() } else { Replicas::default() };
    let (mut size, mut data) = (0, BTreeMap::new());
    for (lun, source) in luns.into_iter().zip(sources.iter().flatten()) {
        if let Properties::Image(image) = &source.body.properties {
            (size, data) = content::create_from_image(files, id, &source.id, image)?;
            continue;
        }
        content::create_of_image(files, id, lun, source)?;
        match lun {
            None => size = content::size_of(source),
            Some(lun) => drop(data.insert(lun, content::size_of(source))),
        }
    }
    if existing.is_none() {
        replicas = Replicas::new(parent.as_ref(), size, data);
    }
    let settings = files.settings()?;
    let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    replicas.follow(version, |region| {
        let fails = settings.failing_regions.iter().any(|failing| region_named(failing) == region.as_str());
        let completes = after(identity.created, seconds(settings.replication_seconds));
        let usable = after(completes, seconds(settings.usable_seconds));
        let [begins, completes, usable] = [identity.created, completes, usable].map(nanoseconds);
        Replica { begins, completes, usable, fails }
    });
    // The version exists after what belongs to it, so that a process that is killed leaves no version without it.
    replace_file(&path, &json!(replicas))?;
    files.write(&stored_version(request, existing, identity))
}

/// Creates a disk of a version. The caller holds its lock. Blocks.
pub(super) fn put_disk(
    files: &ResourceFiles,
    request: &PutRequest,
    (version, lun): (&VersionRef, Option<u8>),
    identity: NewIdentity,
) -> PortResult<()> {
    let version = resolve(files, version)?;
    let exists = version.as_ref().map(|version| files.read(version)).transpose()?.flatten();
    let replicas: Option<Replicas> =
        exists.map(|version| read(&replicas_file(&files.json(&version.id)))).transpose()?.flatten();
    let now = nanoseconds(identity.created);
    let made = disk_of_version(request, (replicas.as_ref(), lun), identity, now)?;
    if let Some(version) = version {
        let path = lun.map_or_else(|| files.content(&version), |lun| files.content_of_data_disk(&version, lun.into()));
        content::create_from(files, &made, &path)?;
    }
    files.write(&made)
}

/// The id of a version. None if no gallery is shared under that name.
fn resolve(files: &ResourceFiles, version: &VersionRef) -> PortResult<Option<ResourceId>> {
    let shared = match version {
        VersionRef::Own(id) => return Ok(Some(id.clone())),
        VersionRef::Shared(shared) => shared,
    };
    for name in listing::names(&files.root().join("subscriptions"))? {
        let Ok(subscription) = name.parse() else { continue };
        let query = ResourceQuery {
            resource_type: ResourceType::Gallery,
            subscription,
            resource_group: None,
            parent: None,
            tags: BTreeMap::new(),
            tenant: None,
        };
        let galleries = listing::list(files, &query, None, usize::MAX)?.resources;
        if let Some(gallery) = galleries.iter().find(|gallery| is_shared_as(gallery, shared)) {
            return Ok(Some(shared_id(&gallery.id, shared)));
        }
    }
    Ok(None)
}

/// Sets the state of the replication of a version.
pub(super) fn show(json: &Path, resource: &mut Resource, now: Timestamp) -> PortResult<()> {
    if resource.id.resource_type == ResourceType::GalleryVersion
        && let Some(replicas) = read::<Replicas>(&replicas_file(json))?
    {
        replicas.show(resource, nanoseconds(now));
    }
    Ok(())
}

/// Checks that a resource that is deleted contains no others.
pub(super) fn check_deletion(files: &ResourceFiles, id: &ResourceId) -> PortResult<()> {
    let children = match id.resource_type {
        ResourceType::Gallery => "images",
        ResourceType::Definition => "versions",
        _ => return Ok(()),
    };
    let names = listing::names(&files.json(id).with_extension("").join(children))?;
    check_empty(id, names.iter().any(|name| name.ends_with(".json") && !name.starts_with('.')))
}

/// Removes what belongs to a gallery, definition or version besides its content. A gallery with a policy for it keeps a
/// record of the version.
pub(super) fn forget(files: &ResourceFiles, id: &ResourceId, found: Option<&Resource>) -> PortResult<()> {
    match id.resource_type {
        ResourceType::GalleryVersion => forget_version(files, id, found),
        // It contains nothing any more except the locks of what was in it.
        ResourceType::Gallery | ResourceType::Definition => remove_folder(&files.json(id).with_extension("")),
        _ => Ok(()),
    }
}

fn forget_version(files: &ResourceFiles, id: &ResourceId, found: Option<&Resource>) -> PortResult<()> {
    let json = files.json(id);
    let gallery = id.parent().and_then(|definition| definition.parent());
    let gallery = gallery.map(|gallery| files.read(&gallery)).transpose()?.flatten();
    if let (Some(found), Some(gallery)) = (found, gallery)
        && keeps_deleted(&gallery)
    {
        replace_file(&deleted_file(&json), &found.to_json())?;
    }
    let path = replicas_file(&json);
    let replicas: Replicas = read(&path)?.unwrap_or_default();
    for lun in replicas.data.into_keys() {
        remove(&files.content_of_data_disk(id, lun))?;
    }
    remove(&path)
}
