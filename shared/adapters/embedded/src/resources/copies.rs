//! Copies from other regions that take time.
//!
//! The bytes of a copy are written at once. If the file `<root>/subscriptions/settings.json` has a member
//! `copy_seconds`, the cloud reports the content as arriving during this time, as Azure does. The file `<name>.copy`
//! beside a snapshot has the beginning and the end of its copy. The folder `<root>/subscriptions/arriving/<unique id>`
//! has a file for each copy of that source, so that the deletion of a source finds them without a list of all
//! snapshots.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use goldfleet_model::resource::{Properties, ResourceId};
use goldfleet_ports::clock::after;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::Resource;
use goldfleet_ports::resources::emulation::source_gone;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::files::{ResourceFiles, replace_file, unreadable};
use super::listing;
use crate::blob_store::paths::io_error;

/// The settings of a directory cloud.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// The time in which the content of a copy from another region arrives, in seconds.
    copy_seconds: f64,
    /// The time in which a gallery version is replicated to a region, in seconds.
    pub(super) replication_seconds: f64,
    /// The time after that until the version can be used in the region, in seconds.
    pub(super) usable_seconds: f64,
    /// The regions to which replications that begin now fail.
    pub(super) failing_regions: Vec<String>,
}

/// The time in which the content of a copy arrives.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Arrival {
    begin: Timestamp,
    end: Timestamp,
}

fn arrival_file(json: &Path) -> PathBuf {
    json.with_extension("copy")
}

/// Reads a JSON file. None if it does not exist.
pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> PortResult<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(path, error)),
        Err(error) if error.kind() == Io::NotFound => Ok(None),
        Err(error) => Err(io_error(&format!("could not read {}", path.display()), error)),
    }
}

impl ResourceFiles {
    /// The folder with the copies of the snapshot with this unique id.
    fn copies_of(&self, unique_id: &str) -> PathBuf {
        let name = unique_id.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        self.root().join("subscriptions").join("arriving").join(name)
    }

    /// The settings of the cloud.
    pub(super) fn settings(&self) -> PortResult<Settings> {
        Ok(read(&self.root().join("subscriptions").join("settings.json"))?.unwrap_or_default())
    }

    /// Records when the content of a new copy arrives. The files are written before that of the snapshot.
    pub(super) fn begin_copy(&self, copy: &Resource, now: Timestamp) -> PortResult<()> {
        let source = copy.body.properties.disk().and_then(|disk| disk.creation_data.source_unique_id.clone());
        let copy = &copy.id;
        let takes = Duration::try_from_secs_f64(self.settings()?.copy_seconds).unwrap_or_default();
        let path = arrival_file(&self.json(copy));
        if takes.is_zero() {
            return remove(&path);
        }
        let folder = self.copies_of(source.as_deref().unwrap_or_default());
        fs::create_dir_all(&folder)
            .map_err(|error| io_error(&format!("could not create {}", folder.display()), error))?;
        replace_file(&folder.join(format!("{}.json", Uuid::new_v4().simple())), &json!(copy.to_string()))?;
        replace_file(&path, &json!(Arrival { begin: now, end: after(now, takes) }))
    }

    /// Removes the record of a copy.
    pub(super) fn forget_copy(&self, copy: &ResourceId) -> PortResult<()> {
        remove(&arrival_file(&self.json(copy)))
    }

    /// Fails the copies whose content is arriving from a snapshot that was deleted. The folder of that snapshot must
    /// not be locked.
    pub(super) fn fail_copies_of(&self, source: &Resource) -> PortResult<()> {
        let unique_id = source.body.properties.disk().and_then(|disk| disk.unique_id.clone());
        let folder = self.copies_of(unique_id.as_deref().unwrap_or_default());
        for name in listing::names(&folder)? {
            let copy: Option<String> = read(&folder.join(&name)).unwrap_or_default();
            // A file that is being written is of a copy whose snapshot does not exist yet.
            if let Some(copy) = copy.and_then(|copy| copy.parse().ok()).filter(|_| !name.starts_with('.')) {
                self.fail_copy(&copy, &source.id, unique_id.as_deref())?;
            }
        }
        remove_folder(&folder)
    }

    fn fail_copy(&self, id: &ResourceId, source: &ResourceId, unique_id: Option<&str>) -> PortResult<()> {
        let _lock = self.lock(id)?;
        let Some(mut copy) = self.read(id)? else { return Ok(()) };
        let Properties::Snapshot(snapshot) = &mut copy.body.properties else { return Ok(()) };
        if snapshot.is_complete() || snapshot.disk.creation_data.source_unique_id.as_deref() != unique_id {
            return Ok(());
        }
        snapshot.copy_completion_error = Some(source_gone(source));
        self.write(&copy)?;
        self.forget_copy(id)
    }
}

/// Sets the part of the content of a snapshot that has arrived until now.
pub(super) fn show(json: &Path, resource: &mut Resource, now: Timestamp) -> PortResult<()> {
    let Properties::Snapshot(snapshot) = &mut resource.body.properties else { return Ok(()) };
    if snapshot.copy_completion_error.is_some() {
        return Ok(());
    }
    if let Some(Arrival { begin, end }) = read(&arrival_file(json))? {
        let (passed, whole) = (now.duration_since(begin), end.duration_since(begin));
        let percent = (passed.as_secs_f64() / whole.as_secs_f64() * 100.0).clamp(0.0, 100.0);
        // Whole numbers, as Azure reports them.
        snapshot.completion_percent = Some(if now < end { percent.floor() } else { 100.0 });
    }
    Ok(())
}

/// Removes a folder with what is in it.
pub(super) fn remove_folder(path: &Path) -> PortResult<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != Io::NotFound => {
            Err(io_error(&format!("could not remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

pub(super) fn remove(path: &Path) -> PortResult<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != Io::NotFound => {
            Err(io_error(&format!("could not remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
