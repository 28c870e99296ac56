//! Shell completions whose values come from the job table, the configuration and the targets file.
//!
//! The shell runs the program while the operator types. Only the local coordination file is read, because a request to
//! Azure would take too long. If an error occurs, nothing is completed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use clap_complete::CompletionCandidate;
use goldfleet_config::targets::TargetsFile;
use goldfleet_config::{Config, Coordination, environment};
use goldfleet_model::target::Target;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::job_table::JobTable;
use goldfleet_runtime::process;

use crate::control::explain::TABLES;

/// How many of the newest jobs are offered.
const JOBS: usize = 50;

/// The ids of the newest jobs, each with its image and state.
#[must_use]
pub fn jobs() -> Vec<CompletionCandidate> {
    let jobs = read(async |table| Ok(table.list_newest_jobs(JOBS).await?.rows)).unwrap_or_default();
    let candidate = |(order, job): (usize, &goldfleet_model::job::Job)| {
        let help = format!("{}, {}", job.subject, job.state);
        CompletionCandidate::new(job.id.as_str()).help(Some(help.into())).display_order(Some(order))
    };
    jobs.iter().map(|row| &row.value).enumerate().map(candidate).collect()
}

/// The names of the syncs of the configuration.
#[must_use]
pub fn syncs() -> Vec<CompletionCandidate> {
    let config = Config::load(None, environment());
    config.map_or_else(
        |_| Vec::new(),
        |config| config.sync.iter().map(|sync| sync.name.clone()).map(CompletionCandidate::new).collect(),
    )
}

/// The failure codes, each with its cause.
#[must_use]
pub fn codes() -> Vec<CompletionCandidate> {
    let entries = TABLES.iter().flat_map(|table| &table.codes);
    let all = entries.flat_map(|entry| entry.codes.iter().map(move |code| (code, entry.cause)));
    all.map(|(code, cause)| CompletionCandidate::new(*code).help(Some(cause.into()))).collect()
}

/// The selectors of targets that begin with `current`: its last term is completed.
#[must_use]
pub fn selectors(current: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(config) = Config::load(None, environment()) else { return Vec::new() };
    let Ok(file) = TargetsFile::load(&config.targets.file) else { return Vec::new() };
    let current = current.to_string_lossy();
    let begun = current.rfind(',').map_or(0, |comma| comma + 1);
    let (before, term) = current.split_at(begun);
    let terms = terms(&file.targets).into_iter().filter(|(found, _)| found.starts_with(term));
    terms.map(|(found, help)| CompletionCandidate::new(format!("{before}{found}")).help(help.map(Into::into))).collect()
}

/// The terms that select some of the targets: regions, subscriptions by id and by display name, rings and tags. A name
/// with a comma cannot be a term.
fn terms(targets: &[Target]) -> BTreeMap<String, Option<String>> {
    let mut terms = BTreeMap::new();
    for target in targets {
        terms.insert(target.region.to_string(), None);
        terms.insert(target.subscription.to_string(), target.name.clone());
        terms.insert(format!("ring={}", target.ring), None);
        terms.extend(target.name.iter().map(|name| (format!("name={name}"), None)));
        terms.extend(target.tags.iter().map(|(tag, value)| (format!("tag.{tag}={value}"), None)));
    }
    terms.retain(|term, _| !term.contains(','));
    terms
}

/// The names of uploaded images.
#[must_use]
pub fn images() -> Vec<CompletionCandidate> {
    uploaded(|upload| upload.image.to_string())
}

/// The uploaded versions of all images.
#[must_use]
pub fn versions() -> Vec<CompletionCandidate> {
    uploaded(|upload| upload.version.to_string())
}

fn uploaded(name: impl Fn(&goldfleet_model::upload::Upload) -> String) -> Vec<CompletionCandidate> {
    let uploads = read(async |table| Ok(table.list_uploads().await?.rows)).unwrap_or_default();
    let names: BTreeSet<String> = uploads.iter().map(name).collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// Reads the local job table. None if it does not exist or cannot be read.
fn read<T>(query: impl AsyncFnOnce(&dyn JobTable) -> PortResult<T>) -> Option<T> {
    let config = Config::load(None, environment()).ok()?;
    let Coordination::Embedded(embedded) = &config.coordination else { return None };
    // Opening a missing file would create it.
    if !embedded.path.exists() {
        return None;
    }
    let ports = goldfleet_connect::open(&config).ok()?;
    process::runtime().ok()?.block_on(query(ports.table.as_ref())).ok()
}
