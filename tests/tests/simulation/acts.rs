//! What happens to a fleet, and what operators do, at random.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use goldfleet_dispatcher::control::approve::approve;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::cleanup::{cleanup_job, forget_version};
use goldfleet_dispatcher::control::collect::{CollectOptions, collect};
use goldfleet_dispatcher::control::desk::Desk;
use goldfleet_dispatcher::control::request::request;
use goldfleet_dispatcher::control::retry::{Which, retry};
use goldfleet_dispatcher::control::upload::upload;
use goldfleet_dispatcher::control::verify::{How, Places, verify};
use goldfleet_model::checksum::crc64;
use goldfleet_model::ids::JobId;
use goldfleet_model::store::Container;
use tokio_util::sync::CancellationToken;

use crate::chaos::Trouble;
use crate::golden::{Version, golden};
use crate::process::Process;
use crate::stage::Stage;

/// Something happens.
pub(crate) async fn act(stage: &Arc<Stage>) {
    let dice = &stage.chaos.dice;
    match dice.number(0..100) {
        0..11 => end_one(stage, &stage.workers, Stage::begin_worker),
        11..20 => freeze_one(stage, &stage.workers),
        20..25 => end_one(stage, &stage.dispatchers, Stage::begin_dispatcher),
        25..29 => freeze_one(stage, &stage.dispatchers),
        29..31 => stage.begin_dispatcher(),
        31..38 => trouble(stage),
        38..50 => roll_out(stage, some_version(stage)),
        50..57 => dispatch(stage, some_version(stage)),
        57..65 => with_job(stage, "retry", async |desk, job| {
            Ok(format!("{} operations", retry(&desk, &job, &Which::default()).await?))
        }),
        65..71 => with_job(stage, "cancel", async |desk, job| Ok(format!("{:?}", cancel(&desk, &job).await?))),
        71..76 => clean(stage),
        76..80 => with_job(stage, "approve", async |desk, job| {
            Ok(format!("{:?}", approve(&desk, &job, None, "someone").await?))
        }),
        80..85 => collecting(stage),
        85..89 => toggle(stage),
        89..92 => with_job(stage, "verify", verify_job),
        92..96 => forget(stage, some_version(stage)),
        _ => corrupt(stage).await,
    }
    maybe_end_command(stage);
}

fn some_version(stage: &Stage) -> &'static Version {
    let twins = stage.scene.lock().unwrap().twins;
    let versions: Vec<&Version> = golden().versions.iter().filter(|version| twins || !version.is_twin).collect();
    versions[stage.chaos.dice.index(versions.len())]
}

/// One is killed, or asked to stop, and another begins.
fn end_one(stage: &Stage, of: &Mutex<Vec<Arc<Process>>>, begin: fn(&Stage)) {
    let ended = {
        let mut processes = of.lock().unwrap();
        let at = stage.chaos.dice.index(processes.len());
        processes.swap_remove(at)
    };
    if stage.chaos.dice.happens(0.7) {
        ended.kill();
    } else {
        ended.end();
    }
    begin(stage);
}

/// Ends and freezes workers, as long as chaos reigns.
pub(crate) async fn reap(stage: Arc<Stage>) {
    let (dice, longest) = (&stage.chaos.dice, stage.scene.lock().unwrap().reap);
    while stage.chaos.reigns() {
        stage.sleep(dice.seconds(0..longest)).await;
        if dice.happens(0.5) {
            end_one(&stage, &stage.workers, Stage::begin_worker);
        } else {
            freeze_one(&stage, &stage.workers);
        }
    }
}

fn freeze_one(stage: &Stage, of: &Mutex<Vec<Arc<Process>>>) {
    if let Some(process) = stage.chaos.dice.pick(&of.lock().unwrap()) {
        process.freeze(stage.chaos.dice.seconds(2..400));
    }
}

/// Commands are killed and suspended too.
fn maybe_end_command(stage: &Stage) {
    let (dice, commands) = (&stage.chaos.dice, stage.commands.lock().unwrap());
    let Some((process, _)) = dice.pick(&commands) else { return };
    if dice.happens(0.05) {
        process.kill();
    } else if dice.happens(0.05) {
        process.freeze(dice.seconds(2..2000));
    }
}

/// A store is slow for a while, or says nothing.
fn trouble(stage: &Stage) {
    let dice = &stage.chaos.dice;
    let stores = stores(stage);
    let Some(store) = dice.pick(&stores) else { return };
    let trouble = if dice.happens(0.5) { Trouble::Silent } else { Trouble::Slow(dice.millis(500..30_000)) };
    stage.chaos.trouble(&store.account, trouble, dice.seconds(10..400));
}

/// Every container in which chunks may lie.
pub(crate) fn stores(stage: &Stage) -> Vec<Container> {
    let kept = stage.ledger.kept.lock().unwrap();
    let planned = kept.jobs.values().filter_map(|job| job.tree.as_ref()).flat_map(|tree| &tree.stores);
    let mut stores: Vec<Container> = planned.map(|planned| planned.store.container()).collect();
    stores.push(stage.ledger.source.clone());
    stores.sort();
    stores.dedup();
    stores
}

/// Uploads a version and asks for it everywhere. What is uploaded is not uploaded again where only the other fails.
pub(crate) fn roll_out(stage: &Arc<Stage>, version: &'static Version) {
    let there = Rc::new(Cell::new(false));
    stage.command("upload", move |desk| {
        let there = Rc::clone(&there);
        async move {
            if !there.get() {
                upload(&desk, &version.upload(), &|_| {}, &CancellationToken::new()).await?;
                there.set(true);
            }
            Ok(format!("{} is uploaded, {}", version.image, ask(&desk, version).await?))
        }
    });
}

/// Asks for a version everywhere.
pub(crate) fn dispatch(stage: &Arc<Stage>, version: &'static Version) {
    stage.command("dispatch", move |desk| async move { ask(&desk, version).await });
}

async fn ask(desk: &Desk, version: &Version) -> anyhow::Result<String> {
    let approve = desk.config.dispatch.approve;
    let asked = request(desk, &version.image.name, &version.image.version, &[], approve).await?;
    Ok(format!("job {} of {} is {}", asked.job.id, version.image, if asked.new { "new" } else { "under way" }))
}

/// Does something with one of the jobs.
fn with_job<F>(stage: &Arc<Stage>, what: &str, act: impl Fn(Desk, JobId) -> F + 'static)
where
    F: Future<Output = anyhow::Result<String>> + 'static,
{
    let jobs: Vec<JobId> = stage.ledger.kept.lock().unwrap().jobs.keys().cloned().collect();
    let Some(any) = stage.chaos.dice.pick(&jobs) else { return };
    // Mostly what is newest is looked after.
    let job = if stage.chaos.dice.happens(0.5) { any.clone() } else { jobs[jobs.len() - 1].clone() };
    stage.chaos.trace.line(format_args!("{what} of job {job}"));
    stage.command(what, move |desk| act(desk, job.clone()));
}

/// The VHDs of a job are removed.
fn clean(stage: &Arc<Stage>) {
    let versions = stage.ledger.kept.lock().unwrap();
    let of_jobs: Vec<String> = versions.jobs.values().map(|job| job.image.version.to_string()).collect();
    drop(versions);
    stage.cleaned.lock().unwrap().extend(of_jobs);
    with_job(stage, "cleanup", async |desk, job| Ok(format!("{:?}", cleanup_job(&desk, &job).await?)));
}

async fn verify_job(desk: Desk, job: JobId) -> anyhow::Result<String> {
    let job = desk.job(&job).await?.value;
    let places = Places::of_job(&desk, &job).await?;
    let verified =
        verify(&desk, &job.image, &places, How { read: true, remove: true }, &|_| {}).await.context("verify")?;
    Ok(format!("{verified:?}"))
}

fn forget(stage: &Arc<Stage>, version: &'static Version) {
    stage.command("forget", move |desk| async move {
        let there = forget_version(&desk, &version.image.name, &version.image.version).await?;
        Ok(format!("{} was there: {there}", version.image))
    });
}

/// A target is switched off, or on again.
fn toggle(stage: &Stage) {
    {
        let mut scene = stage.scene.lock().unwrap();
        let at = stage.chaos.dice.index(scene.targets.len());
        let target = &mut scene.targets[at];
        target.is_enabled = !target.is_enabled;
        stage.chaos.trace.line(format_args!("{target:?}"));
    }
    stage.write_targets();
}

/// Chunks that nothing names are deleted.
fn collecting(stage: &Arc<Stage>) {
    stage.command("collect", async |desk| Ok(format!("{:?}", collect(&desk, &CollectOptions::default()).await?)));
}

/// A version is given up, and time passes, in which its chunks grow old enough to be collected. While they are, it is uploaded
/// again, and relies on them.
pub(crate) async fn night(stage: &Arc<Stage>) {
    let (dice, version) = (&stage.chaos.dice, some_version(stage));
    forget(stage, version);
    stage.sleep(dice.seconds(900..2000)).await;
    collecting(stage);
    stage.sleep(dice.millis(0..4 * stage.chaos.rates.latency)).await;
    roll_out(stage, version);
    stage.sleep(dice.millis(0..4 * stage.chaos.rates.latency)).await;
    collecting(stage);
}

/// A chunk in a store has other bytes from now on; this happens once.
async fn corrupt(stage: &Stage) {
    let (dice, blobs, stores) = (&stage.chaos.dice, &stage.services.blobs, stores(stage));
    let Some(store) = dice.pick(&stores) else { return };
    let listed = blobs.list(store, "chunks/", None).await.unwrap().blobs;
    let Some(chunk) = dice.pick(&listed) else { return };
    let blob = store.blob(chunk.name.as_str());
    let Ok(bytes) = blobs.get(&blob, None).await else { return };
    if !stage.ledger.kept.lock().unwrap().corrupted.is_empty() {
        return;
    }
    let mut other = bytes.to_vec();
    other[0] ^= 1;
    let crc = crc64(&other);
    let there = blobs.delete(&blob, None).await.unwrap();
    // Where it was deleted and written meanwhile, all is well.
    if there && blobs.put_blob(&blob, other.into(), crc.into()).await.is_ok() {
        stage.chaos.trace.line(format_args!("{blob} is corrupt"));
        stage.ledger.kept.lock().unwrap().corrupted.insert(blob);
    }
}
