//! What operators do at the end, as `docs/failures.md` describes it. Nothing else may be necessary.

use std::sync::Arc;

use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::upload::upload;
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyScope, verify};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Job, JobState};
use tokio_util::sync::CancellationToken;

use crate::fleet::SimFleet;
use crate::golden::{Version, golden};
use crate::invariants::image_of;
use crate::run::wait_for_jobs;

/// The maximum number of retries of a job.
const RETRIES: usize = 2;

/// Removes corrupt chunks from the stores, uploads every version that has a job, retries what did not succeed, and
/// rolls out the newest version everywhere.
pub(crate) async fn repair_as_documented(fleet: &Arc<SimFleet>) {
    fleet.scenario.lock().unwrap().targets.iter_mut().for_each(|target| target.is_enabled = true);
    fleet.write_targets();
    let jobs: Vec<Job> = fleet.reference.kept.lock().unwrap().jobs.values().cloned().collect();
    let present = fleet.reference.present();
    let used = |image: &ImageRef| {
        present.iter().any(|there| there.image == *image) || jobs.iter().any(|job| job.image() == Some(image))
    };
    let versions: Vec<&Version> = golden().versions.iter().filter(|version| used(&version.image)).collect();
    for version in &versions {
        restore_version(fleet, version, &jobs).await;
    }
    for job in jobs.iter().filter(|job| !fleet.reference.has_twin(image_of(job))) {
        retry_until_succeeded(fleet, job).await;
    }
    wait_for_jobs(fleet).await;
    let newest = versions.last().copied().unwrap_or(&golden().versions[0]);
    restore_version(fleet, newest, &jobs).await;
    let (_, control) = fleet.control("dispatch");
    if let Err(error) = request_job(&control, &newest.image.name, &newest.image.version, &[], false).await {
        fleet.faults.trace.record_violation(format_args!("{} cannot be dispatched: {error}", newest.image));
    }
    wait_for_jobs(fleet).await;
}

/// Makes a version complete in all places to which a job has brought it.
async fn restore_version(fleet: &SimFleet, version: &Version, jobs: &[Job]) {
    let present = fleet.reference.present();
    let same = |there: &ImageRef| (&there.name, &there.version) == (&version.image.name, &version.image.version);
    if present.iter().any(|there| same(&there.image) && there.image != version.image) {
        return;
    }
    if !present.iter().any(|there| there.image == version.image) {
        upload_again(fleet, version).await;
    }
    let of_version = jobs.iter().filter(|job| job.image() == Some(&version.image)).map(Some);
    let mut whole = true;
    for job in of_version.chain([None]) {
        whole &= take_out_corrupt(fleet, &version.image, job).await;
    }
    if !whole {
        upload_again(fleet, version).await;
    }
}

async fn upload_again(fleet: &SimFleet, version: &Version) {
    let (_, control) = fleet.control("upload");
    match upload(&control, &version.upload(), &|_| {}, &CancellationToken::new()).await {
        Ok(uploaded) if uploaded.image == version.image => {}
        Ok(uploaded) => {
            fleet.faults.trace.record_violation(format_args!("{} became {:?}", version.image, uploaded.image));
        }
        Err(error) => {
            fleet.faults.trace.record_violation(format_args!("{} cannot be uploaded: {error}", version.image));
        }
    }
}

/// Removes corrupt chunks from the source store, or from all stores of a job. Returns whether all stores have the
/// complete version.
async fn take_out_corrupt(fleet: &SimFleet, image: &ImageRef, job: Option<&Job>) -> bool {
    let (_, control) = fleet.control("verify");
    let places = match job {
        Some(job) => VerifyScope::scope_of_job(&control, job).await.unwrap(),
        None => VerifyScope::scope_of_source(&control.config),
    };
    match verify(&control, Some(image), &places, VerifyOptions { read: true, remove: true }, &|_| {}).await {
        Ok(verified) => {
            fleet.faults.trace.line(format_args!("verified: {verified:?}"));
            // Faults of VHDs are repaired by retries.
            !verified.faults.iter().any(|fault| fault.place.starts_with("store"))
        }
        Err(error) => {
            fleet.faults.trace.record_violation(format_args!("{image} cannot be verified: {error}"));
            false
        }
    }
}

/// A failed or cancelled job succeeds when it is retried: at once, or if a VHD is missing from which an image must be
/// created, at the second retry.
async fn retry_until_succeeded(fleet: &Arc<SimFleet>, job: &Job) {
    let (_, control) = fleet.control("retry");
    if control.jobs.job(&job.id).await.unwrap().value.tree.is_none() {
        return;
    }
    for _ in 0..RETRIES {
        let state = control.jobs.job(&job.id).await.unwrap().value.state;
        if state == JobState::Succeeded {
            return;
        }
        if let Err(error) = retry(&control, &job.id, &RetryFilter::default()).await {
            fleet
                .faults
                .trace
                .record_violation(format_args!("job {} is {state} and cannot be retried: {error}", job.id));
        }
        wait_for_jobs(fleet).await;
    }
    let state = control.jobs.job(&job.id).await.unwrap().value.state;
    if state != JobState::Succeeded {
        fleet
            .faults
            .trace
            .record_violation(format_args!("job {} was retried with nothing in its way, and is {state}", job.id));
    }
}
