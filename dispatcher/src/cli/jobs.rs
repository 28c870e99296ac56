//! `jobs`, `status`, `logs`, `approve`, `retry`, `cancel` and `cleanup`.

use std::io;
use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::image::ImageRef;
use goldfleet_model::words::counted;
use indicatif::HumanBytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::arguments::CleanupArguments;
use super::error::{CommandError, DONE, FAILED, INTERRUPTED};
use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use super::{send, view};
use crate::control::approve::approve;
use crate::control::cancel::cancel;
use crate::control::cleanup::{cleanup_job, forget_version};
use crate::control::collect::{CollectOptions, Collected, collect};
use crate::control::desk::{Desk, DeskError};
use crate::control::history::forget_jobs;
use crate::control::retry::{Which, retry};
use crate::control::status::{Status, UploadStatus, status};
use crate::terminal::follow::{Finish, follow};
use crate::terminal::paint::Tone;
use crate::terminal::progress::{Progress, Style};

/// `goldfleet jobs`.
///
/// # Errors
/// [`CommandError`].
pub async fn list(desk: &Desk, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let mut rows = Vec::new();
    for job in desk.ports.table.jobs().await? {
        rows.push(status(desk, &job.value).await?);
    }
    if console.output == Output::Json {
        write_json(console.out, &rows)?;
        return Ok(DONE);
    }
    if rows.is_empty() {
        writeln!(console.notes, "{}", DeskError::NoJobs)?;
        return Ok(DONE);
    }
    let lines = rows.iter().map(|row| {
        let image = &row.phases.image;
        let done = image.succeeded + image.skipped;
        [
            row.job.clone().into(),
            row.image.clone().into(),
            row.version.clone().into(),
            Cell::toned(row.state, standing(row)),
            if row.is_empty() { String::new().into() } else { format!("{done}/{}", image.total).into() },
            Cell::count(row.failures.len(), Tone::Bad),
            row.created.strftime("%Y-%m-%d %H:%M:%SZ").to_string().into(),
        ]
    });
    write_table(console, &["job", "image", "version", "state", "images", "failures", "asked for"], lines)?;
    Ok(DONE)
}

fn standing(status: &Status) -> String {
    match status.approvals.as_ref().and_then(|approvals| approvals.waits) {
        Some(ring) => format!("{}: ring {ring} waits for approval", status.in_words()),
        None => status.in_words().to_owned(),
    }
}

/// `goldfleet status`.
///
/// # Errors
/// [`CommandError`].
pub async fn status_command(
    desk: &Desk,
    job: Option<&JobId>,
    watch: bool,
    failed: bool,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let job = match desk.job_or_newest(job).await {
        Err(DeskError::NoJobs) => return uploads(desk, console).await,
        job => job?.value,
    };
    let status = if watch {
        let progress = Progress::new(Style::fitting(console.output == Output::Json));
        match follow(desk, &job.id, Finish::Elsewhere, &progress, stop).await? {
            Some(status) => status,
            None => return Ok(INTERRUPTED),
        }
    } else {
        status(desk, &job).await?
    };
    if failed {
        view::write_failures(&status, console)?;
    } else {
        view::write_status(&status, console)?;
    }
    Ok(status.state.exit_code())
}

/// Before there is a job there may be an upload.
async fn uploads(desk: &Desk, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let uploads = desk.ports.table.uploads().await?;
    if uploads.is_empty() {
        return Err(DeskError::NoJobs.into());
    }
    if console.output == Output::Json {
        write_json(console.out, &json!({ "job": null, "uploads": uploads }))?;
        return Ok(DONE);
    }
    let rows = uploads.iter().map(|upload| {
        let state = UploadStatus::of(upload);
        [
            upload.image.to_string().into(),
            upload.version.to_string().into(),
            Cell::toned(upload.state, upload.state.as_str()),
            format!("{:.1}%", state.percent).into(),
            HumanBytes(upload.bytes_sent).to_string().into(),
        ]
    });
    write_table(console, &["image", "version", "upload", "read", "sent"], rows)?;
    Ok(DONE)
}

/// `goldfleet logs`.
///
/// # Errors
/// [`CommandError`].
pub async fn logs(
    desk: &Desk,
    job: Option<&JobId>,
    operation: Option<&str>,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let job = desk.job_or_newest(job).await?.value;
    let mut events = desk.ports.table.events(&job.id, None).await?;
    if let Some(text) = operation {
        events.retain(|event| event.operation.as_ref().is_some_and(|id| id.to_string().contains(text)));
    }
    if console.output == Output::Json {
        write_json(console.out, &events)?;
        return Ok(DONE);
    }
    if events.is_empty() {
        match operation {
            Some(text) => writeln!(
                console.notes,
                "job {} has no event whose operation's id contains {text:?}: 'goldfleet logs {}' shows all",
                job.id, job.id
            )?,
            None => writeln!(console.notes, "job {} has no event yet", job.id)?,
        }
    }
    for event in events {
        let what = event.operation.map_or_else(|| format!("job {}", event.job), |id| id.to_string());
        let why = event.why.map_or_else(String::new, |why| format!(": {why}"));
        writeln!(
            console.out,
            "{} {} {what} {} -> {} ({}){why}",
            event.at, event.who, event.from, event.to, event.what
        )?;
    }
    Ok(DONE)
}

/// `goldfleet approve`.
///
/// # Errors
/// [`CommandError`].
pub async fn approve_command(
    desk: &Desk,
    job: Option<&JobId>,
    ring: Option<u32>,
    by: Option<&str>,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let job = desk.job_or_newest(job).await?.value.id;
    let by = by.filter(|by| !by.trim().is_empty()).unwrap_or(&desk.who);
    let approved = approve(desk, &job, ring, by).await?;
    let approval = &approved.approval;
    if console.output == Output::Json {
        write_json(console.out, &json!({ "job": job, "approval": approval, "new": approved.new }))?;
    } else if approved.new {
        writeln!(console.out, "ring {} of job {job} is approved by {}: its copies begin", approval.ring, approval.by)?;
    } else {
        writeln!(console.out, "ring {} of job {job} was approved before, by {}", approval.ring, approval.by)?;
    }
    Ok(DONE)
}

/// `goldfleet retry`.
///
/// # Errors
/// [`CommandError`].
pub async fn retry_command(
    desk: &Desk,
    job: Option<&JobId>,
    which: &Which,
    wait: bool,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let job = desk.job_or_newest(job).await?.value.id;
    let tried = retry(desk, &job, which).await?;
    let verb = if tried == 1 { "is" } else { "are" };
    writeln!(console.notes, "{} of job {job} {verb} tried again", counted(tried, "operation"))?;
    send::conclude(desk, &job, wait, console, stop, None).await
}

/// `goldfleet cancel`.
///
/// # Errors
/// [`CommandError`].
pub async fn cancel_command(desk: &Desk, job: Option<&JobId>, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let job = desk.job_or_newest(job).await?.value.id;
    let counts = cancel(desk, &job).await?;
    if counts.stopping == 0 {
        crate::control::sweep::look_after(desk, &job).await?;
    }
    if console.output == Output::Json {
        write_json(console.out, &json!({ "job": job, "operations": counts }))?;
    } else {
        writeln!(
            console.out,
            "job {job}: {} operations were done already and stay so, {} had failed, {} will not begin, {} stop at their \
             next checkpoint",
            counts.done, counts.failed, counts.cancelled, counts.stopping
        )?;
        let row = desk.job(&job).await?.value;
        if row.tree.is_some() {
            writeln!(console.notes, "'goldfleet retry {job}' takes it up again")?;
        } else {
            let ImageRef { name, version, .. } = row.image;
            writeln!(console.notes, "'goldfleet dispatch --image {name} --version {version}' asks for it anew")?;
        }
    }
    Ok(DONE)
}

/// `goldfleet cleanup`.
///
/// # Errors
/// [`CommandError`].
pub async fn cleanup_command(
    desk: &Desk,
    arguments: &CleanupArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    if arguments.chunks {
        return cleanup_chunks(desk, arguments, console).await;
    }
    if let Some(days) = arguments.history {
        return cleanup_history(desk, days, console).await;
    }
    let (value, text) = if let (Some(image), Some(version)) = (&arguments.image, &arguments.version) {
        let existed = forget_version(desk, image, version).await?;
        let text = if existed { "given up" } else { "was not there" };
        (json!({ "image": image, "version": version, "removed": existed }), format!("{image} {version} {text}"))
    } else {
        let job = desk.job_or_newest(arguments.job.as_ref()).await?.value.id;
        let done = cleanup_job(desk, &job).await?;
        let left = if done.left > 0 {
            format!(", {} left alone, as they are not what the job made", done.left)
        } else {
            String::new()
        };
        (
            json!({ "job": job, "removed": done }),
            format!("job {job}: {} removed{left}", counted(done.vhds, "staged VHD")),
        )
    };
    write_done(&value, &text, console)?;
    Ok(DONE)
}

/// `goldfleet cleanup --chunks`.
async fn cleanup_chunks(
    desk: &Desk,
    arguments: &CleanupArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let given_up = arguments.without_source.iter().cloned().collect();
    let done = collect(desk, &CollectOptions { dry_run: arguments.dry_run, given_up }).await?;
    for failed in &done.failed {
        writeln!(console.notes, "store {} could not be collected: {}", failed.store, failed.error)?;
    }
    if done.foreign > 0 {
        writeln!(console.notes, "{} under chunks/ are not chunks and stay", counted(done.foreign, "blob"))?;
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

/// What a collection did, in a sentence.
fn sum(done: &Collected) -> String {
    let (number, bytes, verb) = match done.dry_run {
        true => (done.garbage, done.garbage_bytes, "would be deleted"),
        false => (done.deleted, done.deleted_bytes, "deleted"),
    };
    let (chunks, stores) = (counted(done.chunks, "chunk"), counted(done.stores, "store"));
    format!("{number} of {chunks} in {stores} {verb}, {}", HumanBytes(bytes))
}

/// What a collection would delete from each store.
fn write_garbage(done: &Collected, console: &mut Console<'_>) -> io::Result<()> {
    let lines = done.by_store.iter().map(|one| {
        let bytes = HumanBytes(one.garbage_bytes).to_string();
        [one.store.to_string(), one.chunks.to_string(), one.garbage.to_string(), bytes]
    });
    write_table(console, &["store", "chunks", "to delete", "bytes"], lines)
}

/// `goldfleet cleanup --history`.
async fn cleanup_history(desk: &Desk, days: u32, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let done = forget_jobs(desk, Duration::from_secs(u64::from(days) * 24 * 60 * 60)).await?;
    for job in &done.staged {
        writeln!(console.notes, "job {job} stays, as its staged VHDs were not removed: 'goldfleet cleanup {job}'")?;
    }
    for job in &done.stores {
        writeln!(console.notes, "job {job} stays, as no later one names the same stores: they could not be collected")?;
    }
    for job in &done.changed {
        writeln!(console.notes, "job {job} stays, as it was changed just now")?;
    }
    write_done(&json!(done), &format!("{} removed", counted(done.removed.len(), "job")), console)?;
    Ok(DONE)
}

/// What was done: as a value for programs, or a sentence for people.
fn write_done(value: &Value, text: &str, console: &mut Console<'_>) -> io::Result<()> {
    match console.output {
        Output::Json => write_json(console.out, value),
        Output::Table | Output::Svg => writeln!(console.out, "{text}"),
    }
}
