//! Copies from other regions that take time.
//!
//! The bytes of a copy are written at once. If the file `<root>/subscriptions/settings.json` has a member
//! `copy_seconds`, the cloud reports the content as arriving during this time, as Azure does. The file `<name>.copy`
//! beside a snapshot has the beginning and the end of its copy.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::resource::{Properties, ResourceId, ResourceType};
use goldfleet_ports::clock::after;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::source_gone;
use goldfleet_ports::resources::{Resource, ResourceQuery};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{ResourceFiles, replace_file, unreadable};
use super::listing;
use crate::blob_store::paths::io_error;

/// The settings of a directory cloud.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The time in which the content of a copy from another region arrives, in seconds.
    copy_seconds: f64,
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
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> PortResult<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(path, error)),
        Err(error) if error.kind() == Io::NotFound => Ok(None),
        Err(error) => Err(io_error(&format!("could not read {}", path.display()), error)),
    }
}

impl ResourceFiles {
    /// Records when the content of a new copy arrives. The file is written before that of the snapshot.
    pub(super) fn begin_copy(&self, copy: &ResourceId, now: Timestamp) -> PortResult<()> {
        let settings: Settings = read(&self.root().join("subscriptions").join("settings.json"))?.unwrap_or_default();
        let takes = Duration::try_from_secs_f64(settings.copy_seconds).unwrap_or_default();
        let path = arrival_file(&self.json(copy));
        if takes.is_zero() {
            return remove(&path);
        }
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
        for subscription in self.subscriptions()? {
            let query = ResourceQuery {
                resource_type: ResourceType::Snapshot,
                subscription,
                resource_group: None,
                tags: [].into(),
                tenant: None,
            };
            for id in listing::ids(self, &query, &mut 0)? {
                if arrival_file(&self.json(&id)).exists() {
                    self.fail_copy(&id, &source.id, unique_id.as_deref())?;
                }
            }
        }
        Ok(())
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

    fn subscriptions(&self) -> PortResult<Vec<SubscriptionId>> {
        let names = listing::names(&self.root().join("subscriptions"))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
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

fn remove(path: &Path) -> PortResult<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != Io::NotFound => {
            Err(io_error(&format!("could not remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
