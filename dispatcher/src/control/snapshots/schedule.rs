//! The schedule of syncs: a dispatcher requests a run in each interval.
//!
//! The id of a run's job follows from the sync and its slot, so several dispatchers request one run. A record holds the
//! last slot of a sync. The job is requested before the record is written: if a dispatcher is killed in between, the
//! run is still requested.

use std::time::Duration;

use goldfleet_config::Sync;
use goldfleet_model::document::Document;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, Subject};
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_runtime::telemetry::RepeatLimiter;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::request::{RunOptions, work_of_sync};
use super::state::record_name;
use crate::control::context::{ControlContext, ControlError};
use crate::control::fan_out::is_same_work;
use crate::control::job_store::JobStore;
use crate::control::request::new_job;

/// The time between two checks whether a run is due.
const INTERVAL: Duration = Duration::from_secs(5);

/// The version of [`Schedule`].
const VERSION: u16 = 1;

/// The record of a sync's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Schedule {
    /// The begin of the last slot for which a run was requested, or was skipped because another run was open.
    slot: Timestamp,
}

/// Requests the runs that are due. It does not end: the caller drops it. Each of its changes is complete.
pub async fn run(control: &ControlContext) -> std::convert::Infallible {
    let mut complaint = RepeatLimiter::default();
    loop {
        for sync in &control.config.sync {
            if let Err(error) = request_if_due(&control.jobs, sync).await
                && complaint.should_log(&error)
            {
                tracing::warn!(sync = sync.name, %error, "a run of the sync could not be requested");
            }
        }
        control.ports.clock.sleep(INTERVAL).await;
    }
}

/// Requests a run of a sync if none was requested for the current slot. Returns the new job, if there is one. A slot in
/// which a run of the sync is open is skipped.
///
/// # Errors
/// If the table or the queue cannot be reached.
pub async fn request_if_due(jobs: &JobStore, sync: &Sync) -> Result<Option<JobId>, ControlError> {
    let Some(every) = sync.every else { return Ok(None) };
    let slot = slot(jobs.ports.clock.now(), every.get());
    let records = jobs.ports.records.as_ref();
    let name = record_name("sync-schedule", &sync.name)?;
    let found = records.get(&name).await?;
    let last = found.as_ref().and_then(|found| found.value.read::<Schedule>(VERSION).ok());
    if last.is_some_and(|last| last.slot >= slot) {
        return Ok(None);
    }
    let job = job(jobs, sync, slot)?;
    let open = jobs.ports.table.list_open_jobs().await?.rows;
    let requested = if let Some(open) = open.iter().find(|other| is_same_work(&other.value, &job)) {
        tracing::info!(sync = sync.name, job = %open.value.id, "a run is still open, so this one is skipped");
        None
    } else {
        match jobs.ports.table.insert_job(&job).await {
            Ok(()) => tracing::info!(sync = sync.name, job = %job.id, "a run is requested by schedule"),
            // Another dispatcher requested it.
            Err(error) if error.kind == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        jobs.enqueue_job(&job.id).await?;
        Some(job.id)
    };
    let document = Document::new(VERSION, &Schedule { slot })
        .map_err(|error| PortError::new(ErrorKind::Invalid, error.to_string()))?;
    match records.put(&name, &document, found.as_ref().map(|found| &found.etag)).await {
        Ok(_) => Ok(requested),
        // Another dispatcher wrote the same slot.
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::AlreadyExists) => Ok(requested),
        Err(error) => Err(error.into()),
    }
}

/// The begin of the interval that contains `now`. Intervals are counted from 1970.
fn slot(now: Timestamp, every: Duration) -> Timestamp {
    let seconds = i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1);
    // Rounded down. The result is a valid timestamp for any present time.
    Timestamp::from_second(now.as_second().div_euclid(seconds) * seconds).unwrap_or(now)
}

fn job(jobs: &JobStore, sync: &Sync, slot: Timestamp) -> Result<Job, ControlError> {
    let text = format!("{} {slot}", sync.name.to_ascii_lowercase());
    let digest = goldfleet_model::hash::digest_of(text.as_bytes()).to_string();
    let hash = digest.trim_start_matches("b3:");
    let digits = u64::from_str_radix(&hash[..4], 16).unwrap_or_default();
    let work = work_of_sync(sync, &RunOptions::default())?;
    let now = jobs.ports.clock.now();
    let job = new_job(JobId::new(slot, digits), Subject::Work { work }, Vec::new(), now);
    Ok(Job { requested_by: Some(jobs.actor.clone()), ..job })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_fixed_begins() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(slot(at("2026-11-29T12:59:59Z"), hour), at("2026-11-29T12:00:00Z"));
        assert_eq!(slot(at("2026-11-29T13:00:00Z"), hour), at("2026-11-29T13:00:00Z"));
        assert_eq!(slot(at("2026-11-29T13:00:00Z"), Duration::from_secs(86_400)), at("2026-11-29T00:00:00Z"));
    }
}
