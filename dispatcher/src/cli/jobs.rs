//! `jobs`, `status`, `approve`, `retry` and `cancel`.

use goldfleet_model::job::Job;
use goldfleet_model::text::{HumanBytes, pluralize};
use goldfleet_ports::Ports;
use goldfleet_ports::listing::{Listing, ROW_DAMAGED};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::arguments::{ApproveArguments, ChangedJob, JobsArguments, RetryArguments, StatusArguments};
use super::error::{CommandError, DONE, INTERRUPTED};
use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use super::{choose, dispatch, images, view};
use crate::control::approve::approve;
use crate::control::cancel::{CancelResult, cancel};
use crate::control::context::{ControlContext, ControlError};
use crate::control::job_store::JobStore;
use crate::control::retry::{RetryFilter, retry_selected};
use crate::control::status::{Status, UploadStatus, status};
use crate::terminal::color::Tone;
use crate::terminal::follow::{FinishedBy, follow};
use crate::terminal::progress::{ProgressDisplay, ProgressMode};

/// The number of newest jobs among which `status` looks for unreadable ones.
const MAX_JOBS_READ: usize = 200;

/// `goldfleet jobs`.
///
/// # Errors
/// [`CommandError`].
pub async fn list(store: &JobStore, arguments: &JobsArguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let limit = if arguments.limit == 0 { usize::MAX } else { arguments.limit };
    let filtered = arguments.image.is_some() || !arguments.states.is_empty();
    // Read one job more than is shown, to detect whether there are more. With a filter, read all jobs: the filter may
    // exclude any number of them.
    let Listing { rows: jobs, unreadable } = match limit.checked_add(1).filter(|_| !filtered) {
        Some(limit) => store.ports.table.list_newest_jobs(limit).await?,
        None => store.ports.table.list_jobs().await?,
    };
    let of_image =
        |job: &Job| arguments.image.as_ref().is_none_or(|image| job.image().is_some_and(|own| own.name == *image));
    let (mut rows, mut more) = (Vec::new(), false);
    for job in jobs.into_iter().map(|row| row.value).filter(of_image) {
        let status = status(store, &job).await?;
        if arguments.states.is_empty() || arguments.states.contains(&status.shown_state()) {
            more = rows.len() == limit;
            if more {
                break;
            }
            rows.push(status);
        }
    }
    if console.output == Output::Json {
        write_json(console.out, &rows)?;
    } else if rows.is_empty() && !unreadable.is_empty() {
        // They are listed below.
    } else if rows.is_empty() && filtered {
        writeln!(console.notes, "no job matches")?;
    } else if rows.is_empty() {
        writeln!(console.notes, "{}", ControlError::NoJobs)?;
    } else {
        let header = ["job", "image", "version", "state", "images", "failed"];
        write_table(console, &header, rows.iter().map(job_row))?;
    }
    if more && console.output == Output::Table {
        writeln!(console.notes, "showing only the newest {limit}: use --limit to show more, or --limit 0 to show all")?;
    }
    if console.output == Output::Table {
        view::write_unreadable("job", &unreadable, console)?;
    } else {
        // The schema of the list has no place for them.
        for row in &unreadable {
            writeln!(console.notes, "set aside [{ROW_DAMAGED}]: job {}: {row}", row.id)?;
        }
    }
    Ok(DONE)
}

/// A row of the list. The id contains the time of the request.
fn job_row(row: &Status) -> [Cell; 6] {
    let image = row.phases.delivery();
    let done = image.succeeded + image.skipped;
    let waits = row.approvals.as_ref().and_then(|approvals| approvals.waits);
    let waits = waits.map_or_else(String::new, |ring| format!(" (approve ring {ring})"));
    let unreadable = match row.unreadable.len() {
        0 => String::new(),
        count => format!(" ({count} unreadable)"),
    };
    [
        row.job.clone().into(),
        row.image.clone().unwrap_or(row.title.clone()).into(),
        row.version.clone().unwrap_or_default().into(),
        Cell::toned(row.shown_state(), format!("{}{waits}{unreadable}", row.shown_state())),
        if row.is_empty() { String::new().into() } else { format!("{done}/{}", image.total).into() },
        Cell::count(row.failures.len(), Tone::Error),
    ]
}

/// `goldfleet status`.
///
/// # Errors
/// [`CommandError`].
pub async fn status_command(
    control: &ControlContext,
    arguments: &StatusArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let job = match choose::shown(control, arguments.job.job.as_ref()).await {
        Err(ControlError::NoJobs) => return uploads(&control.ports, console).await,
        job => job?.value,
    };
    let mut status = if arguments.watch {
        let progress = ProgressDisplay::new(ProgressMode::for_stderr(console.output == Output::Json));
        match follow(control, &job.id, FinishedBy::OtherProcess, &progress, stop).await? {
            Some(status) => status,
            None => return Ok(INTERRUPTED),
        }
    } else {
        status(&control.jobs, &job).await?
    };
    status.unreadable_jobs = control.ports.table.list_newest_jobs(MAX_JOBS_READ).await?.unreadable;
    if arguments.failed {
        view::write_failures(&status, console)?;
    } else {
        view::write_status(&status, console)?;
    }
    Ok(status.exit_code())
}

/// Shows the uploads. There may be one before the first job exists.
async fn uploads(ports: &Ports, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let unreadable = ports.table.list_newest_jobs(MAX_JOBS_READ).await?.unreadable;
    if console.output == Output::Table && !unreadable.is_empty() {
        view::write_unreadable("job", &unreadable, console)?;
        return Ok(DONE);
    }
    let uploads = ports.table.list_uploads().await?.rows;
    if uploads.is_empty() && unreadable.is_empty() {
        return Err(ControlError::NoJobs.into());
    }
    if console.output == Output::Json {
        let mut shown = json!({ "job": null, "uploads": uploads });
        if !unreadable.is_empty() {
            shown["unreadable_jobs"] = json!(unreadable);
        }
        write_json(console.out, &shown)?;
        return Ok(DONE);
    }
    let rows = uploads.iter().map(|upload| {
        let state = UploadStatus::of(upload);
        [
            upload.image.to_string().into(),
            upload.version.to_string().into(),
            Cell::toned(upload.state, images::upload_state(upload.state)),
            format!("{:.1}%", state.percent).into(),
            HumanBytes(upload.bytes_sent).to_string().into(),
        ]
    });
    write_table(console, &["image", "version", "upload", "read", "sent"], rows)?;
    writeln!(console.notes, "no job was created yet: 'goldfleet images' shows what can be dispatched")?;
    Ok(DONE)
}

/// `goldfleet approve`.
///
/// # Errors
/// [`CommandError`].
pub async fn approve_command(
    control: &ControlContext,
    arguments: &ApproveArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let ChangedJob { job, yes } = &arguments.job;
    let job = choose::changed(control, "approve", job.as_ref(), *yes, console).await?.value.id;
    let by =
        arguments.by.as_ref().map_or_else(|| control.jobs.actor.clone(), |by| format!("{by} ({})", control.jobs.actor));
    let approved = approve(&control.jobs, &job, arguments.ring, &by).await?;
    let approval = &approved.approval;
    if console.output == Output::Json {
        write_json(console.out, &json!({ "job": job, "approval": approval, "new": approved.new }))?;
    } else if approved.new {
        writeln!(console.out, "approved ring {} of job {job} as {}", approval.ring, approval.by)?;
    } else {
        writeln!(console.out, "ring {} of job {job} was already approved by {}", approval.ring, approval.by)?;
    }
    Ok(DONE)
}

/// `goldfleet retry`.
///
/// # Errors
/// [`CommandError`].
pub async fn retry_command(
    control: &ControlContext,
    arguments: &RetryArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let ChangedJob { job, yes } = &arguments.job;
    let job = choose::changed(control, "retry", job.as_ref(), *yes, console).await?.value.id;
    let which = RetryFilter { phase: arguments.phase.clone(), targets: arguments.selection.selectors() };
    let retried = retry_selected(control, &job, &which).await?;
    match retried.count {
        0 => writeln!(console.notes, "job {job} is planned again")?,
        count => writeln!(console.notes, "retrying {} of job {job}", pluralize(count, "operation"))?,
    }
    if let Some(held) = &retried.held {
        writeln!(console.notes, "selected operations that are not retried: {held}")?;
    }
    dispatch::finish_command(control, &job, arguments.wait, console, stop, None).await
}

/// `goldfleet cancel`.
///
/// # Errors
/// [`CommandError`].
pub async fn cancel_command(
    control: &ControlContext,
    arguments: &ChangedJob,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let ChangedJob { job, yes } = arguments;
    let job = choose::changed(control, "cancel", job.as_ref(), *yes, console).await?.value.id;
    let counts = cancel(&control.jobs, &job).await?;
    if counts.stopping == 0 {
        crate::control::reconcile::reconcile_job_by_id(control, &job).await?;
    }
    if console.output == Output::Json {
        write_json(console.out, &json!({ "job": job, "operations": counts }))?;
        return Ok(DONE);
    }
    let CancelResult { done, cancelled, stopping, failed } = counts;
    if done + cancelled + stopping + failed == 0 {
        writeln!(console.out, "job {job}: cancelled before it was planned")?;
    } else {
        writeln!(
            console.out,
            "job {job}: {cancelled} cancelled, {stopping} stopping at their next checkpoint, {done} had succeeded, {failed} \
             had failed"
        )?;
    }
    writeln!(console.notes, "to continue it: goldfleet retry {job}")?;
    Ok(DONE)
}
