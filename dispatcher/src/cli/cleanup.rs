//! `cleanup`.

use std::io;
use std::time::Duration;

use goldfleet_model::text::{HumanBytes, pluralize};
use serde_json::{Value, json};

use super::arguments::CleanupArguments;
use super::choose::{self, JobPrefix};
use super::error::{CommandError, DONE, FAILED};
use super::orphans;
use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use super::view::named_place;
use crate::control::cleanup::{Cleaned, CleanedTarget, CleanupResult, Mode, cleanup, delete_version_with_mode};
use crate::control::context::ControlContext;
use crate::control::garbage_collection::{CollectOptions, CollectionReport, collect_garbage};
use crate::control::region::cleanup::clean_hubs;
use crate::control::retention::forget;
use crate::terminal::color::Tone;

/// `goldfleet cleanup`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    control: &ControlContext,
    arguments: &CleanupArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let mode = if arguments.dry_run { Mode::DryRun } else { Mode::Delete };
    if arguments.chunks {
        return cleanup_chunks(control, arguments, console).await;
    }
    if arguments.orphans {
        return orphans::run(control, arguments, console).await;
    }
    if let Some(days) = arguments.history {
        return cleanup_history(control, days, mode, console).await;
    }
    if let (Some(image), Some(version)) = (&arguments.image, &arguments.version) {
        let existed = delete_version_with_mode(control, image, version, mode).await?;
        let hubs = clean_hubs(control, image, version, mode).await?;
        let verb = if mode == Mode::DryRun { "would be deleted" } else { "deleted" };
        let mut text = format!("{image} {version} {}", if existed { verb } else { "does not exist" });
        if !hubs.deleted.is_empty() {
            text += &format!("; {} in hubs {verb}", pluralize(hubs.deleted.len() as u64, "resource"));
        }
        let removed = existed && mode == Mode::Delete;
        let value = json!({
            "image": image, "version": version, "removed": removed, "dry_run": arguments.dry_run, "hubs": hubs,
        });
        print_result(&value, &text, console)?;
        for failure in &hubs.failed {
            writeln!(console.notes, "{}: [{}] {}", failure.place, failure.code, failure.error)?;
        }
        return Ok(if hubs.failed.is_empty() { DONE } else { FAILED });
    }
    match &arguments.job {
        Some(job) => cleanup_vhds(control, job, mode, console).await,
        // The argument parser requires one of them.
        None => Ok(DONE),
    }
}

/// `goldfleet cleanup JOB`.
async fn cleanup_vhds(
    control: &ControlContext,
    job: &JobPrefix,
    mode: Mode,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let job = choose::find(control, job).await?.value.id;
    let done = cleanup(&control.jobs, &job, mode).await?;
    let CleanupResult { vhds, left, failed, targets, .. } = &done;
    if console.output == Output::Json {
        write_json(console.out, &json!({ "job": job, "removed": done }))?;
    } else {
        // A dry run shows every target. Otherwise only targets that need attention are shown.
        let shown = |target: &&CleanedTarget| match target.result {
            Cleaned::Deleted => mode == Mode::DryRun,
            Cleaned::Left | Cleaned::Failed => true,
            Cleaned::Absent => false,
        };
        let rows: Vec<_> = targets.iter().filter(shown).map(|target| row(target, mode)).collect();
        if !rows.is_empty() {
            write_table(console, &["target", "staged VHD", "details"], rows)?;
        }
        let verb = if mode == Mode::DryRun { "would be deleted" } else { "deleted" };
        let mut text = format!("job {job}: {} {verb}", pluralize(*vhds, "staged VHD"));
        if *left > 0 {
            text += &format!(", {left} left alone: not staged by this job, or in use");
        }
        if *failed > 0 {
            text += &format!(", {failed} failed");
        }
        writeln!(console.out, "{text}")?;
    }
    if *failed > 0 {
        writeln!(console.notes, "to continue when the cause is fixed: goldfleet cleanup {job}")?;
        return Ok(FAILED);
    }
    Ok(DONE)
}

fn row(target: &CleanedTarget, mode: Mode) -> [Cell; 3] {
    let (result, tone) = match (target.result, mode) {
        (Cleaned::Deleted, Mode::Delete) => ("deleted", Tone::Success),
        (Cleaned::Deleted, Mode::DryRun) => ("would be deleted", Tone::Warning),
        (Cleaned::Left, _) => ("left alone", Tone::Muted),
        (Cleaned::Absent, _) => ("none", Tone::Muted),
        (Cleaned::Failed, _) => ("failed", Tone::Error),
    };
    let details = match (&target.code, &target.error) {
        (Some(code), Some(error)) => format!("[{code}] {error}"),
        _ => target.vhd.clone(),
    };
    let place = named_place(target.name.as_deref(), &target.target);
    [place.into(), Cell::toned(tone, result), details.into()]
}

/// `goldfleet cleanup --chunks`.
async fn cleanup_chunks(
    control: &ControlContext,
    arguments: &CleanupArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let given_up = arguments.without_source.iter().cloned().collect();
    let done = collect_garbage(control, &CollectOptions { dry_run: arguments.dry_run, given_up }).await?;
    for failed in &done.failed {
        writeln!(console.notes, "store {} could not be collected: {}", failed.store, failed.error)?;
    }
    if done.foreign > 0 {
        writeln!(console.notes, "{} under chunks/ are not chunks and stay", pluralize(done.foreign, "blob"))?;
    }
    if done.manifests > 0 {
        let (manifests, verb) =
            (pluralize(done.manifests, "manifest"), if done.dry_run { "would be deleted" } else { "deleted" });
        writeln!(console.notes, "{manifests} that no version has {verb}")?;
    }
    if console.output == Output::Json {
        write_json(console.out, &done)?;
    } else {
        if done.dry_run {
            write_garbage(&done, console)?;
        }
        writeln!(console.out, "{}", sum(&done))?;
    }
    Ok(if done.failed.is_empty() { DONE } else { FAILED })
}

/// One sentence that summarises a collection.
fn sum(done: &CollectionReport) -> String {
    let (number, bytes, verb) = match done.dry_run {
        true => (done.garbage, done.garbage_bytes, "would be deleted"),
        false => (done.deleted, done.deleted_bytes, "deleted"),
    };
    let (chunks, stores) = (pluralize(done.chunks, "chunk"), pluralize(done.stores, "store"));
    format!("{number} of {chunks} in {stores} {verb}, {}", HumanBytes(bytes))
}

/// Writes what a collection would delete from each store.
fn write_garbage(done: &CollectionReport, console: &mut Console<'_>) -> io::Result<()> {
    let lines = done.by_store.iter().map(|one| {
        let bytes = HumanBytes(one.garbage_bytes).to_string();
        [one.store.to_string(), one.chunks.to_string(), one.garbage.to_string(), bytes]
    });
    write_table(console, &["store", "chunks", "to delete", "bytes"], lines)
}

/// `goldfleet cleanup --history`.
async fn cleanup_history(
    control: &ControlContext,
    days: u32,
    mode: Mode,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let done = forget(control, Duration::from_secs(u64::from(days) * 24 * 60 * 60), mode).await?;
    for job in &done.staged {
        writeln!(console.notes, "job {job} is kept: its staged VHDs were not deleted ('goldfleet cleanup {job}')")?;
    }
    for job in &done.stores {
        writeln!(
            console.notes,
            "job {job} is kept: no later job names its stores, so their chunks could not be collected"
        )?;
    }
    for job in &done.changed {
        writeln!(console.notes, "job {job} is kept: it was changed at the same time")?;
    }
    let dry_run = mode == Mode::DryRun;
    if dry_run && console.output != Output::Json {
        for job in &done.removed {
            writeln!(console.out, "{job}")?;
        }
    }
    let verb = if dry_run { "would be deleted" } else { "deleted" };
    let mut value = json!(done);
    value["dry_run"] = json!(dry_run);
    print_result(&value, &format!("{} {verb}", pluralize(done.removed.len(), "job")), console)?;
    Ok(DONE)
}

/// Prints the result: JSON for programs, or one sentence for people.
fn print_result(value: &Value, text: &str, console: &mut Console<'_>) -> io::Result<()> {
    match console.output {
        Output::Json => write_json(console.out, value),
        Output::Table | Output::Svg => writeln!(console.out, "{text}"),
    }
}
