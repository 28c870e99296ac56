//! What operators do in the end, as `docs/failures.md` tells them: nothing more than that may be needed.

use std::sync::Arc;

use goldfleet_dispatcher::control::request::request;
use goldfleet_dispatcher::control::retry::{Which, retry};
use goldfleet_dispatcher::control::upload::upload;
use goldfleet_dispatcher::control::verify::{How, Places, verify};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Job, JobState};
use tokio_util::sync::CancellationToken;

use crate::golden::{Version, golden};
use crate::run::all_ended;
use crate::stage::Stage;

/// How often a job is retried at most.
const RETRIES: usize = 2;

/// Takes corrupt chunks out of the stores, uploads every version that a job is of, retries what did not succeed, and rolls
/// out the newest version everywhere.
pub(crate) async fn mend(stage: &Arc<Stage>) {
    stage.scene.lock().unwrap().targets.iter_mut().for_each(|target| target.is_enabled = true);
    stage.write_targets();
    let jobs: Vec<Job> = stage.ledger.kept.lock().unwrap().jobs.values().cloned().collect();
    let present = stage.ledger.present();
    let used = |image: &ImageRef| {
        present.iter().any(|(there, _)| there == image) || jobs.iter().any(|job| job.image == *image)
    };
    let versions: Vec<&Version> = golden().versions.iter().filter(|version| used(&version.image)).collect();
    for version in &versions {
        make_whole(stage, version, &jobs).await;
    }
    for job in jobs.iter().filter(|job| !stage.ledger.has_twin(&job.image)) {
        try_again(stage, job).await;
    }
    all_ended(stage).await;
    let newest = versions.last().copied().unwrap_or(&golden().versions[0]);
    make_whole(stage, newest, &jobs).await;
    let (_, desk) = stage.desk("dispatch");
    if let Err(error) = request(&desk, &newest.image.name, &newest.image.version, &[], false).await {
        stage.chaos.trace.wrong(format_args!("{} can't be dispatched: {error}", newest.image));
    }
    all_ended(stage).await;
}

/// Sees to it that a version can be had whole, wherever a job has brought it.
async fn make_whole(stage: &Stage, version: &Version, jobs: &[Job]) {
    let present = stage.ledger.present();
    let same = |there: &ImageRef| (&there.name, &there.version) == (&version.image.name, &version.image.version);
    if present.iter().any(|(there, _)| same(there) && *there != version.image) {
        return;
    }
    if !present.iter().any(|(there, _)| *there == version.image) {
        upload_again(stage, version).await;
    }
    let of_version = jobs.iter().filter(|job| job.image == version.image).map(Some);
    let mut whole = true;
    for job in of_version.chain([None]) {
        whole &= take_out_corrupt(stage, &version.image, job).await;
    }
    if !whole {
        upload_again(stage, version).await;
    }
}

async fn upload_again(stage: &Stage, version: &Version) {
    let (_, desk) = stage.desk("upload");
    match upload(&desk, &version.upload(), &|_| {}, &CancellationToken::new()).await {
        Ok(uploaded) if uploaded.image == version.image => {}
        Ok(uploaded) => stage.chaos.trace.wrong(format_args!("{} became {:?}", version.image, uploaded.image)),
        Err(error) => stage.chaos.trace.wrong(format_args!("{} can't be uploaded: {error}", version.image)),
    }
}

/// Takes what has other bytes than it should have out of the source, or out of all places that a job has brought it to.
/// Returns whether all stores have it whole.
async fn take_out_corrupt(stage: &Stage, image: &ImageRef, job: Option<&Job>) -> bool {
    let (_, desk) = stage.desk("verify");
    let places = match job {
        Some(job) => Places::of_job(&desk, job).await.unwrap(),
        None => Places::source(&desk),
    };
    match verify(&desk, image, &places, How { read: true, remove: true }, &|_| {}).await {
        Ok(verified) => {
            stage.chaos.trace.line(format_args!("verified: {verified:?}"));
            // What is said of VHDs is for retries.
            !verified.faults.iter().any(|fault| fault.place.starts_with("store"))
        }
        Err(error) => {
            stage.chaos.trace.wrong(format_args!("{image} can't be verified: {error}"));
            false
        }
    }
}

/// A job that failed or was cancelled succeeds when it is tried again: at once, or where a VHD is gone that an image was to be
/// made of, at the second time.
async fn try_again(stage: &Arc<Stage>, job: &Job) {
    let (_, desk) = stage.desk("retry");
    if desk.job(&job.id).await.unwrap().value.tree.is_none() {
        return;
    }
    for _ in 0..RETRIES {
        let state = desk.job(&job.id).await.unwrap().value.state;
        if state == JobState::Succeeded {
            return;
        }
        if let Err(error) = retry(&desk, &job.id, &Which::default()).await {
            stage.chaos.trace.wrong(format_args!("job {} is {state} and can't be retried: {error}", job.id));
        }
        all_ended(stage).await;
    }
    let state = desk.job(&job.id).await.unwrap().value.state;
    if state != JobState::Succeeded {
        stage.chaos.trace.wrong(format_args!("job {} was retried with nothing in its way, and is {state}", job.id));
    }
}
