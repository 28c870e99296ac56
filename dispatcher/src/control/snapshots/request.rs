//! Requests for runs of syncs and for copies.

use std::collections::BTreeMap;

use goldfleet_config::{Config, HumanDuration, RESERVED_NAME, Sync, SyncDestination};
use goldfleet_model::document::Document;
use goldfleet_model::job::Work;
use goldfleet_model::tenants::Tenants;
use goldfleet_model::text::pluralize;
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::names::ReplicaName;
use goldfleet_snapshots::rules::{DeletePolicy, Speed};

use super::{ROUTE, RunSpec, VERSION};
use crate::control::context::ControlError;
use crate::control::job_store::JobStore;
use crate::control::request::{RequestResult, request_work};

/// The largest number of snapshots that one copy names. The job's row contains their ids.
pub const MAX_COPIED: usize = 200;

/// The options of a run, besides its rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// See [`RunSpec::allow_empty`].
    pub allow_empty: bool,
    /// See [`RunSpec::max_deletes`].
    pub max_deletes: Option<u32>,
    /// See [`RunSpec::name`].
    pub name: Option<ReplicaName>,
}

/// Snapshots to copy once.
#[derive(Debug, Clone)]
pub struct CopyRequest {
    /// The snapshots.
    pub ids: Vec<SnapshotId>,
    /// Where replicas are created.
    pub to: Vec<SyncDestination>,
    /// The group for temporaries of full snapshots.
    pub scratch: Option<GroupRef>,
    /// The speed of copies between regions.
    pub speed: Speed,
}

/// The syncs of the configuration with these names, all if none is given.
///
/// # Errors
/// [`ControlError::Refused`] if there is no such sync, or none at all.
pub fn configured<'c>(config: &'c Config, names: &[String]) -> Result<Vec<&'c Sync>, ControlError> {
    let all = &config.sync;
    if all.is_empty() {
        return Err(no_sync());
    }
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    names.iter().map(|name| find(all, name)).collect()
}

/// The sync of this name.
///
/// # Errors
/// [`ControlError::Refused`] if there is none.
pub fn find<'c>(all: &'c [Sync], name: &str) -> Result<&'c Sync, ControlError> {
    all.iter().find(|sync| sync.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        if all.is_empty() {
            return no_sync();
        }
        let known: Vec<&str> = all.iter().map(|sync| sync.name.as_str()).collect();
        ControlError::Refused(format!("the configuration has no sync {name:?}; it has {}", known.join(", ")))
    })
}

fn no_sync() -> ControlError {
    let message = "the configuration has no sync: add [[sync]], see 'goldfleet help snapshots-page'";
    ControlError::Refused(message.to_owned())
}

/// The rules of copies on request, one for each resource group of the sources. They delete nothing.
///
/// # Errors
/// [`ControlError::Refused`] if the request names too many snapshots, or if the rules contradict each other.
pub fn copies(request: &CopyRequest) -> Result<Vec<Sync>, ControlError> {
    if request.ids.len() > MAX_COPIED {
        let (given, most) = (request.ids.len(), MAX_COPIED);
        let message =
            format!("{given} snapshots are named, and a copy takes at most {most}: use a sync, or several copies");
        return Err(ControlError::Refused(message));
    }
    let mut groups: BTreeMap<String, Vec<&SnapshotId>> = BTreeMap::new();
    for id in &request.ids {
        groups.entry(id.group.key()).or_default().push(id);
    }
    groups.into_values().map(|ids| copy_of(&ids, request)).collect()
}

fn copy_of(ids: &[&SnapshotId], request: &CopyRequest) -> Result<Sync, ControlError> {
    let sync = Sync {
        name: RESERVED_NAME.to_owned(),
        from: ids[0].group.clone(),
        tags: BTreeMap::new(),
        exclude_tags: BTreeMap::new(),
        names: ids.iter().map(|id| globset_escape(&id.name)).collect(),
        exclude_names: Vec::new(),
        families: Vec::new(),
        min_age: None,
        max_age: None,
        to: request.to.clone(),
        delete: DeletePolicy::Never,
        keep: None,
        max_deletes: 0,
        grace: HumanDuration::seconds(0),
        every: None,
        lock: false,
        speed: request.speed,
        scratch: request.scratch.clone(),
    };
    let rules =
        sync.rules(uuid::Uuid::nil(), &Tenants::default()).map_err(|error| ControlError::Refused(error.to_string()))?;
    match rules.check().first() {
        Some(error) => Err(ControlError::Refused(error.to_string())),
        None => Ok(sync),
    }
}

/// A glob that matches only this name.
fn globset_escape(name: &str) -> String {
    name.chars().map(|c| if "?*[]{}!\\".contains(c) { format!("[{c}]") } else { c.to_string() }).collect()
}

/// The work of a run of a sync.
///
/// # Errors
/// [`ControlError::Refused`] if the specification cannot be written.
pub fn work_of_sync(sync: &Sync, options: &RunOptions) -> Result<Work, ControlError> {
    let title = format!("sync {}", sync.name);
    let mut resume = format!("goldfleet snapshots sync {}", sync.name);
    if let Some(most) = options.max_deletes {
        resume += &format!(" --max-deletes {most}");
    }
    if options.allow_empty {
        resume += " --allow-empty";
    }
    work(sync, options, title, resume)
}

/// The work of a copy.
///
/// # Errors
/// [`ControlError::Refused`] if the specification cannot be written.
pub fn work_of_copy(sync: &Sync, options: &RunOptions) -> Result<Work, ControlError> {
    let places: Vec<String> =
        sync.to.iter().map(|to| format!("{}/{}/{}", to.subscription, to.region, to.resource_group)).collect();
    let what = pluralize(sync.names.len(), "snapshot");
    let title = format!("copy of {what} of {} to {}", sync.from, places.join(", "));
    let ids: Vec<String> =
        sync.names.iter().map(|name| format!("'{}'", SnapshotId::new(sync.from.clone(), name))).collect();
    let to: Vec<String> = places.iter().map(|place| format!("--to {place}")).collect();
    let mut resume = format!("goldfleet snapshots copy {} {}", ids.join(" "), to.join(" "));
    if let Some(set) = sync.to.iter().find_map(|to| to.disk_encryption_set.as_ref()) {
        resume += &format!(" --des {set}");
    }
    if let Some(name) = &options.name {
        resume += &format!(" --name '{name}'");
    }
    if let Some(scratch) = &sync.scratch {
        resume += &format!(" --scratch {scratch}");
    }
    if sync.speed == Speed::Enhanced {
        resume += " --enhanced";
    }
    work(sync, options, title, resume)
}

fn work(sync: &Sync, options: &RunOptions, title: String, resume: String) -> Result<Work, ControlError> {
    let RunOptions { allow_empty, max_deletes, name } = options.clone();
    let spec = RunSpec { sync: sync.clone(), allow_empty, max_deletes, name };
    let spec = Document::new(VERSION, &spec).map_err(|error| ControlError::Refused(error.to_string()))?;
    Ok(Work { route: ROUTE.to_owned(), title, resume, spec })
}

/// Requests a run of a sync, or a copy. If an open job already does it, no new one is created.
///
/// # Errors
/// As [`request_work`].
pub async fn request(jobs: &JobStore, work: Work, note: Option<String>) -> Result<RequestResult, ControlError> {
    // Copies of other snapshots can have the same title, but are separate jobs.
    let is_copy = RunSpec::of(&work)?.sync.name == RESERVED_NAME;
    request_work(jobs, work, note, |open, work| !is_copy || open.spec == work.spec).await
}
