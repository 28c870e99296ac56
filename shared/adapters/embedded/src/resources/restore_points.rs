//! Restore points of the directory cloud. A collection is the file `restorePointCollections/<collection>.json` of its
//! resource group, and a point `<collection>/restorePoints/<point>.json` beside it. The disks in a point are
//! `<point>/diskRestorePoints/<disk>.json`, each with its content in `<disk>.disk`.

use std::fs;

use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::NewIdentity;
use goldfleet_ports::resources::emulation::restore_points::{check_collection, machine_of, new_point};
use goldfleet_ports::resources::{PutRequest, Resource};

use super::content;
use super::copies::remove_folder;
use super::files::ResourceFiles;
use crate::blob_store::paths::io_error;

/// Creates or updates a collection. The caller holds its lock. Blocks.
pub(super) fn put_collection(files: &ResourceFiles, request: &PutRequest) -> PortResult<()> {
    let machine = files.read(&machine_of(&request.id, &request.body)?)?;
    check_collection(request, machine.as_ref())?;
    super::write(files, &request.id, request.body.clone())
}

/// Creates a restore point. An existing one does not change. The caller holds its lock. Blocks.
pub(super) fn put_point(
    files: &ResourceFiles,
    request: &PutRequest,
    existing: Option<&Resource>,
    identity: &NewIdentity,
) -> PortResult<()> {
    if existing.is_some() {
        return Ok(());
    }
    let collection = request.id.parent().map(|parent| files.read(&parent)).transpose()?.flatten();
    let machine = match &collection {
        Some(collection) => files.read(&machine_of(&collection.id, &collection.body)?)?,
        None => None,
    };
    let (point, disks) = new_point(request, collection.as_ref(), machine.as_ref(), identity, |id| files.read(id))?;
    // The point exists after its disks, so that a process that is killed leaves no point without them.
    for disk in disks {
        let path = files.content(&disk.resource.id);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder)
            .map_err(|error| io_error(&format!("could not create {}", folder.display()), error))?;
        content::create_from(files, &disk.resource, &files.content(&disk.copied))?;
        files.write(&disk.resource)?;
    }
    files.write(&point)
}

/// Removes what a collection or restore point that is deleted contains.
pub(super) fn forget(files: &ResourceFiles, id: &ResourceId) -> PortResult<()> {
    if !matches!(id.resource_type, ResourceType::RestorePointCollection | ResourceType::RestorePoint) {
        return Ok(());
    }
    remove_folder(&files.json(id).with_extension(""))
}
