//! Lists of resources.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::Path;

use goldfleet_model::resource::ResourceId;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{ResourcePage, ResourceQuery};

use super::files::ResourceFiles;
use crate::blob_store::paths::io_error;

/// Lists up to `limit` resources in the order of their ids, after the id in the marker. Blocks.
pub(super) fn list(
    files: &ResourceFiles,
    query: &ResourceQuery,
    marker: Option<&str>,
    limit: usize,
) -> PortResult<ResourcePage> {
    let after = marker.map(str::parse::<ResourceId>).transpose().map_err(|error| {
        PortError::new(ErrorKind::Invalid, format!("{marker:?} is not a marker of this cloud")).with_source(error)
    })?;
    let mut page = ResourcePage::default();
    let mut ids = ids(files, query, &mut page.skipped)?;
    ids.retain(|id| after.as_ref().is_none_or(|after| id > after));
    ids.sort();
    // What is skipped has no id and no place in the order. It counts on the first page.
    page.skipped = if after.is_some() { 0 } else { page.skipped };
    let is_last = ids.len() <= limit;
    ids.truncate(limit);
    page.next = ids.last().filter(|_| !is_last).map(ToString::to_string);
    for id in ids {
        let folder = files.folder(&id.subscription, id.resource_group.as_str(), id.resource_type);
        // A resource may be removed while the list is read.
        let Some(resource) = files.read_file(&folder.join(format!("{}.json", id.name)), &id)? else { continue };
        if query.matches_tags(&resource.body.tags) {
            page.resources.push(resource);
        }
    }
    Ok(page)
}

/// The ids of all resources in the scope of a query.
pub(super) fn ids(files: &ResourceFiles, query: &ResourceQuery, skipped: &mut usize) -> PortResult<Vec<ResourceId>> {
    let groups = match &query.resource_group {
        Some(group) => vec![group.to_string()],
        None => names(&files.groups(&query.subscription))?,
    };
    let mut ids = Vec::new();
    for group in groups {
        for name in names(&files.folder(&query.subscription, &group, query.resource_type))? {
            // Other files are contents, locks and files that are being written.
            let Some(name) = name.strip_suffix(".json").filter(|name| !name.starts_with('.')) else { continue };
            match (group.parse(), name.parse()) {
                (Ok(resource_group), Ok(name)) => ids.push(ResourceId {
                    subscription: query.subscription,
                    resource_group,
                    resource_type: query.resource_type,
                    name,
                }),
                _ => *skipped += 1,
            }
        }
    }
    Ok(ids)
}

/// The names of the entries of a folder. Empty if the folder does not exist.
pub(super) fn names(folder: &Path) -> PortResult<Vec<String>> {
    let failed = |error| io_error(&format!("could not list {}", folder.display()), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == Io::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<Result<_, _>>().map_err(failed)
}
