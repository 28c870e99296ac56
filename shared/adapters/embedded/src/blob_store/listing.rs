//! Lists blobs in the order of their names, page by page, without holding a whole container in memory.

use std::fs;
use std::path::Path;

use goldfleet_ports::blob_store::{BlobPage, ListedBlob};
use goldfleet_ports::error::PortResult;

use super::files;
use super::paths::ContainerPath;
use crate::links::leads_out;

/// Returns at most `limit` blobs after `marker` whose names begin with `prefix`.
pub(super) fn list(home: &ContainerPath, prefix: &str, marker: Option<&str>, limit: usize) -> PortResult<BlobPage> {
    // One more blob than requested shows whether another page exists.
    let mut walk = Walk { home, prefix, after: marker.unwrap_or_default(), wanted: limit + 1, blobs: Vec::new() };
    walk.folder(&home.folder, "")?;
    let mut blobs = walk.blobs;
    let more = blobs.len() > limit;
    blobs.truncate(limit);
    let next = blobs.last().filter(|_| more).map(|last| last.name.clone());
    Ok(BlobPage { blobs, next })
}

struct Walk<'a> {
    home: &'a ContainerPath,
    prefix: &'a str,
    after: &'a str,
    wanted: usize,
    blobs: Vec<ListedBlob>,
}

impl Walk<'_> {
    /// Walks a folder. The names of its blobs begin with `above`, which is empty or ends with `/`.
    fn folder(&mut self, folder: &Path, above: &str) -> PortResult<()> {
        for name in self.children(folder, above)? {
            if self.blobs.len() == self.wanted {
                break;
            }
            let path = self.home.folder.join(&name);
            if name.ends_with('/') {
                self.folder(&path, &name)?;
            } else {
                self.blob(&path, name)?;
            }
        }
        Ok(())
    }

    /// The names in a folder that can lead to wanted blobs, in order. The name of a folder gets a trailing `/`, like
    /// the prefix of the blobs in it, so that this order equals the order of the full names.
    fn children(&self, folder: &Path, above: &str) -> PortResult<Vec<String>> {
        let doing = format!("list {}", folder.display());
        let Some(entries) = self.home.optional(&doing, fs::read_dir(folder))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.home.io_error(&doing, error))?;
            let file_name = entry.file_name();
            let Some(own) = file_name.to_str().filter(|own| !own.starts_with('.')) else { continue };
            let Ok(file_type) = entry.file_type() else { continue };
            if file_type.is_symlink() && leads_out(&self.home.folder, &entry.path()) {
                continue;
            }
            let slash = if file_type.is_dir() { "/" } else { "" };
            names.push(format!("{above}{own}{slash}"));
        }
        names.retain(|name| if name.ends_with('/') { self.leads_on(name) } else { self.wants(name) });
        names.sort_unstable();
        Ok(names)
    }

    fn wants(&self, name: &str) -> bool {
        name.starts_with(self.prefix) && name > self.after
    }

    fn leads_on(&self, folder: &str) -> bool {
        let may_match = folder.starts_with(self.prefix) || self.prefix.starts_with(folder);
        may_match && (folder > self.after || self.after.starts_with(folder))
    }

    fn blob(&mut self, path: &Path, name: String) -> PortResult<()> {
        let doing = format!("look at {name}");
        // The blob may have been deleted after its folder was read.
        if let Some(found) = self.home.optional(&doing, fs::metadata(path))?.filter(fs::Metadata::is_file) {
            let (length, etag, modified) = (found.len(), files::etag(&found), files::modified(&found));
            self.blobs.push(ListedBlob { name, length, etag, modified });
        }
        Ok(())
    }
}
