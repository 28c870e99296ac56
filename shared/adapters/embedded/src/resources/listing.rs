//! Lists of resources.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::Path;

use goldfleet_model::ids::ResourceName;
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::emulation::not_found;
use goldfleet_ports::resources::{ResourcePage, ResourceQuery, Unreadable};

use super::files::{ResourceFiles, UNREADABLE, read_value};
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
    let mut ids = ids(files, query, &mut page.unreadable)?;
    ids.retain(|id| after.as_ref().is_none_or(|after| id > after));
    ids.sort();
    // What has no id has no place in the order. It is on the first page.
    if after.is_some() {
        page.unreadable.clear();
    }
    let is_last = ids.len() <= limit;
    ids.truncate(limit);
    page.next = ids.last().filter(|_| !is_last).map(ToString::to_string);
    for id in ids {
        add(files, query, &files.json(&id), &id, &mut page)?;
    }
    Ok(page)
}

/// Adds the resource in a file to a page, if it matches the query.
fn add(
    files: &ResourceFiles,
    query: &ResourceQuery,
    path: &Path,
    id: &ResourceId,
    page: &mut ResourcePage,
) -> PortResult<()> {
    match read_value(path) {
        // A resource may be removed while the list is read.
        Ok(None) => {}
        Ok(Some(value)) if !query.may_match(&value) => {}
        Ok(Some(value)) => page.add_read(query, id, files.resource(path, id, value)),
        Err(error) if error.code == UNREADABLE => page.add_read(query, id, Err(error)),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The ids of all resources in the scope of a query.
fn ids(files: &ResourceFiles, query: &ResourceQuery, unreadable: &mut Vec<Unreadable>) -> PortResult<Vec<ResourceId>> {
    let groups = match &query.resource_group {
        Some(group) => {
            files.check_group(&query.subscription, group)?;
            vec![group.to_string()]
        }
        None => names(&files.groups(&query.subscription))?,
    };
    let parent = query.parent_id()?;
    if let Some(parent) = &parent {
        files.read(parent)?.ok_or_else(|| not_found(parent))?;
    }
    let mut ids = Vec::new();
    for group in groups {
        let folder = match &parent {
            Some(parent) => files.folder_in(parent, query.resource_type),
            None => files.folder(&query.subscription, &group, query.resource_type),
        };
        for name in names(&folder)? {
            // Other files are contents, locks and files that are being written.
            let Some(written) = name.strip_suffix(".json").filter(|name| !name.starts_with('.')) else { continue };
            let name: Result<ResourceName, _> = written.parse().map(|own| match &query.parent {
                Some(parent) => parent.child(&own),
                None => own,
            });
            match (group.parse(), name) {
                (Ok(resource_group), Ok(name)) => ids.push(ResourceId {
                    subscription: query.subscription,
                    resource_group,
                    resource_type: query.resource_type,
                    name,
                }),
                _ => unreadable.push(Unreadable::unnamed(format!("{group}/{written}"))),
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
