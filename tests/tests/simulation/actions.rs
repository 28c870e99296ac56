//! Random events in a fleet, and random actions of operators.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use goldfleet_dispatcher::control::approve::approve;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::cleanup;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::garbage_collection::{self, CollectOptions};
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::upload::upload;
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyScope, verify};
use goldfleet_model::checksum::crc64;
use goldfleet_model::ids::JobId;
use goldfleet_model::store::Container;
use tokio_util::sync::CancellationToken;

use crate::faults::StoreFault;
use crate::fleet::SimFleet;
use crate::golden::{Version, golden};
use crate::process::Process;

/// Performs a random action.
pub(crate) async fn random_action(fleet: &Arc<SimFleet>) {
    let rng = &fleet.faults.rng;
    match rng.number(0..100) {
        0..11 => stop_one(fleet, &fleet.workers, SimFleet::begin_worker),
        11..20 => freeze_one(fleet, &fleet.workers),
        20..25 => stop_one(fleet, &fleet.dispatchers, SimFleet::begin_dispatcher),
        25..29 => freeze_one(fleet, &fleet.dispatchers),
        29..31 => fleet.begin_dispatcher(),
        31..38 => trouble(fleet),
        38..50 => roll_out(fleet, some_version(fleet)),
        50..57 => dispatch(fleet, some_version(fleet)),
        57..65 => with_job(fleet, "retry", async |control, job| {
            Ok(format!("{} operations", retry(&control, &job, &RetryFilter::default()).await?))
        }),
        65..71 => {
            with_job(fleet, "cancel", async |control, job| Ok(format!("{:?}", cancel(&control.jobs, &job).await?)));
        }
        71..76 => remove_staged(fleet),
        76..80 => with_job(fleet, "approve", async |control, job| {
            Ok(format!("{:?}", approve(&control.jobs, &job, None, "someone").await?))
        }),
        80..85 => collect_garbage(fleet),
        85..89 => toggle_target(fleet),
        89..92 => with_job(fleet, "verify", verify_job),
        92..96 => delete_version(fleet, some_version(fleet)),
        _ => corrupt(fleet).await,
    }
    maybe_end_command(fleet);
}

fn some_version(fleet: &SimFleet) -> &'static Version {
    let twins = fleet.scenario.lock().unwrap().twins;
    let versions: Vec<&Version> = golden().versions.iter().filter(|version| twins || !version.is_twin).collect();
    versions[fleet.faults.rng.index(versions.len())]
}

/// Kills one process, or asks it to stop, and starts another.
fn stop_one(fleet: &SimFleet, of: &Mutex<Vec<Arc<Process>>>, begin: fn(&SimFleet)) {
    let ended = {
        let mut processes = of.lock().unwrap();
        let at = fleet.faults.rng.index(processes.len());
        processes.swap_remove(at)
    };
    if fleet.faults.rng.chance(0.7) {
        ended.kill();
    } else {
        ended.end();
    }
    begin(fleet);
}

/// Ends and freezes workers while faults are active.
pub(crate) async fn replace_workers(fleet: Arc<SimFleet>) {
    let (rng, longest) = (&fleet.faults.rng, fleet.scenario.lock().unwrap().reap);
    while fleet.faults.is_active() {
        fleet.sleep(rng.seconds(0..longest)).await;
        if rng.chance(0.5) {
            stop_one(&fleet, &fleet.workers, SimFleet::begin_worker);
        } else {
            freeze_one(&fleet, &fleet.workers);
        }
    }
}

fn freeze_one(fleet: &SimFleet, of: &Mutex<Vec<Arc<Process>>>) {
    if let Some(process) = fleet.faults.rng.pick(&of.lock().unwrap()) {
        process.freeze(fleet.faults.rng.seconds(2..400));
    }
}

/// Commands are killed and frozen too.
fn maybe_end_command(fleet: &SimFleet) {
    let (rng, commands) = (&fleet.faults.rng, fleet.commands.lock().unwrap());
    let Some((process, _)) = rng.pick(&commands) else { return };
    if rng.chance(0.05) {
        process.kill();
    } else if rng.chance(0.05) {
        process.freeze(rng.seconds(2..2000));
    }
}

/// Makes a store slow or silent for a while.
fn trouble(fleet: &SimFleet) {
    let rng = &fleet.faults.rng;
    let stores = stores(fleet);
    let Some(store) = rng.pick(&stores) else { return };
    let trouble = if rng.chance(0.5) { StoreFault::Silent } else { StoreFault::Slow(rng.millis(500..30_000)) };
    fleet.faults.trouble(&store.account, trouble, rng.seconds(10..400));
}

/// All containers that may have chunks.
pub(crate) fn stores(fleet: &SimFleet) -> Vec<Container> {
    let kept = fleet.reference.kept.lock().unwrap();
    let planned = kept.jobs.values().filter_map(|job| job.tree.as_ref()).flat_map(|tree| &tree.stores);
    let mut stores: Vec<Container> = planned.map(|planned| planned.store.container()).collect();
    stores.push(fleet.reference.source.clone());
    stores.sort();
    stores.dedup();
    stores
}

/// Uploads a version and requests it at all targets. If only the request fails, the upload is not repeated.
pub(crate) fn roll_out(fleet: &Arc<SimFleet>, version: &'static Version) {
    let there = Rc::new(Cell::new(false));
    fleet.command("upload", move |control| {
        let there = Rc::clone(&there);
        async move {
            if !there.get() {
                upload(&control, &version.upload(), &|_| {}, &CancellationToken::new()).await?;
                there.set(true);
            }
            Ok(format!("{} is uploaded, {}", version.image, ask(&control, version).await?))
        }
    });
}

/// Requests a version at all targets.
pub(crate) fn dispatch(fleet: &Arc<SimFleet>, version: &'static Version) {
    fleet.command("dispatch", move |control| async move { ask(&control, version).await });
}

async fn ask(control: &ControlContext, version: &Version) -> anyhow::Result<String> {
    let approve = control.config.dispatch.approve;
    let asked = request_job(control, &version.image.name, &version.image.version, &[], approve).await?;
    Ok(format!("job {} of {} is {}", asked.job.id, version.image, if asked.new { "new" } else { "under way" }))
}

/// Performs an action on one of the jobs.
fn with_job<F>(fleet: &Arc<SimFleet>, what: &str, act: impl Fn(ControlContext, JobId) -> F + 'static)
where
    F: Future<Output = anyhow::Result<String>> + 'static,
{
    let jobs: Vec<JobId> = fleet.reference.kept.lock().unwrap().jobs.keys().cloned().collect();
    let Some(any) = fleet.faults.rng.pick(&jobs) else { return };
    // The newest job is chosen most often.
    let job = if fleet.faults.rng.chance(0.5) { any.clone() } else { jobs[jobs.len() - 1].clone() };
    fleet.faults.trace.line(format_args!("{what} of job {job}"));
    fleet.command(what, move |control| act(control, job.clone()));
}

/// Removes the VHDs of a job.
fn remove_staged(fleet: &Arc<SimFleet>) {
    let versions = fleet.reference.kept.lock().unwrap();
    let of_jobs: Vec<String> =
        versions.jobs.values().filter_map(|job| Some(job.image()?.version.to_string())).collect();
    drop(versions);
    fleet.cleaned.lock().unwrap().extend(of_jobs);
    with_job(fleet, "cleanup", async |control, job| {
        Ok(format!("{:?}", cleanup::cleanup_job(&control.jobs, &job).await?))
    });
}

async fn verify_job(control: ControlContext, job: JobId) -> anyhow::Result<String> {
    let job = control.jobs.job(&job).await?.value;
    let places = VerifyScope::scope_of_job(&control, &job).await?;
    let verified = verify(&control, job.image(), &places, VerifyOptions { read: true, remove: true }, &|_| {})
        .await
        .context("verify")?;
    Ok(format!("{verified:?}"))
}

fn delete_version(fleet: &Arc<SimFleet>, version: &'static Version) {
    fleet.command("forget", move |control| async move {
        let there = cleanup::delete_version(&control, &version.image.name, &version.image.version).await?;
        Ok(format!("{} was there: {there}", version.image))
    });
}

/// Disables or enables a target.
fn toggle_target(fleet: &SimFleet) {
    {
        let mut scenario = fleet.scenario.lock().unwrap();
        let at = fleet.faults.rng.index(scenario.targets.len());
        let target = &mut scenario.targets[at];
        target.is_enabled = !target.is_enabled;
        fleet.faults.trace.line(format_args!("{target:?}"));
    }
    fleet.write_targets();
}

/// Runs a garbage collection.
fn collect_garbage(fleet: &Arc<SimFleet>) {
    fleet.command("collect", async |control| {
        Ok(format!("{:?}", garbage_collection::collect_garbage(&control, &CollectOptions::default()).await?))
    });
}

/// Deletes a version, and lets so much time pass that its chunks can be collected. During the collection, the version
/// is uploaded again and relies on the chunks.
pub(crate) async fn advance_a_day(fleet: &Arc<SimFleet>) {
    let (rng, version) = (&fleet.faults.rng, some_version(fleet));
    delete_version(fleet, version);
    fleet.sleep(rng.seconds(900..2000)).await;
    collect_garbage(fleet);
    fleet.sleep(rng.millis(0..4 * fleet.faults.rates.latency)).await;
    roll_out(fleet, version);
    fleet.sleep(rng.millis(0..4 * fleet.faults.rates.latency)).await;
    collect_garbage(fleet);
}

/// Changes the content of a chunk in a store. This happens once.
async fn corrupt(fleet: &SimFleet) {
    let (rng, blobs, stores) = (&fleet.faults.rng, &fleet.services.blobs, stores(fleet));
    let Some(store) = rng.pick(&stores) else { return };
    let listed = blobs.list(store, "chunks/", None).await.unwrap().blobs;
    let Some(chunk) = rng.pick(&listed) else { return };
    let blob = store.blob(chunk.name.as_str());
    let Ok(bytes) = blobs.get(&blob, None).await else { return };
    if !fleet.reference.kept.lock().unwrap().corrupted.is_empty() {
        return;
    }
    let mut other = bytes.to_vec();
    other[0] ^= 1;
    let crc = crc64(&other);
    let there = blobs.delete(&blob, None).await.unwrap();
    // If the chunk was deleted and written in the meantime, it is correct.
    if there && blobs.put_blob(&blob, other.into(), crc.into()).await.is_ok() {
        fleet.faults.trace.line(format_args!("{blob} is corrupt"));
        fleet.reference.kept.lock().unwrap().corrupted.insert(blob);
    }
}
