//! `upload` and `dispatch`.

use std::time::Instant;

use goldfleet_config::Coordination;
use goldfleet_model::ids::JobId;
use indicatif::HumanBytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::arguments::{ImageArguments, NewJobArguments, SelectionArguments, UploadArguments};
use super::error::{CommandError, DONE, INTERRUPTED};
use super::output::{Console, Output, write_json};
use super::{check, view};
use crate::control::desk::Desk;
use crate::control::local::Local;
use crate::control::request::{Terms, request_on, selected_targets};
use crate::control::suggest::command_line;
use crate::control::upload::{UploadError, UploadRequest, Uploaded, upload};
use crate::terminal::follow::{Finish, follow};
use crate::terminal::progress::{Progress, Style};

/// `goldfleet upload`.
///
/// # Errors
/// [`CommandError`].
pub async fn upload_command(
    desk: &Desk,
    arguments: &UploadArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let selection = arguments.selection.selectors();
    if !arguments.no_dispatch {
        // A mistake in the selection must not show up only after an upload of an hour.
        selected_targets(desk, &selection)?;
    }
    let asked = UploadRequest {
        file: arguments.file.clone(),
        image: arguments.image.image.clone(),
        version: arguments.image.version.clone(),
        os: arguments.os,
        check: arguments.inside.checks(arguments.disk.options()),
        limit: arguments.limit,
    };
    let progress = Progress::new(Style::fitting(console.output == Output::Json));
    let begun = Instant::now();
    let uploaded = upload(desk, &asked, &|row| progress.upload(row, begun), stop).await;
    progress.end();
    let uploaded = match uploaded {
        Err(UploadError::Refused(report)) => {
            check::write_report(&report, console)?;
            return Err(UploadError::Refused(report).into());
        }
        other => other?,
    };
    check::write_notes(&uploaded.report, console)?;
    say_uploaded(&uploaded, console)?;
    if arguments.no_dispatch {
        if console.output == Output::Json {
            write_json(console.out, &uploaded_json(&uploaded))?;
        }
        let dispatch = command_line("dispatch", asked.image.as_str(), asked.version.as_str(), &[]);
        writeln!(console.notes, "to create the images: {dispatch}")?;
        return Ok(DONE);
    }
    let terms = terms(desk, &arguments.job);
    let requested = request_on(desk, &asked.image, &asked.version, &selection, terms).await?;
    conclude(desk, &requested.job.id, arguments.job.wait, console, stop, Some(&uploaded)).await
}

fn uploaded_json(uploaded: &Uploaded) -> serde_json::Value {
    json!({
        "image": uploaded.image.name,
        "version": uploaded.image.version,
        "digest": uploaded.image.digest,
        "already_there": uploaded.already_there,
        "mended": uploaded.mended,
        "bytes_total": uploaded.counts.bytes_total,
        "bytes_data": uploaded.counts.bytes_data,
        "bytes_sent": uploaded.counts.bytes_sent,
        "bytes_reused": uploaded.counts.bytes_reused,
        "findings": uploaded.report.disk.findings,
        "system": uploaded.report.system,
    })
}

fn say_uploaded(uploaded: &Uploaded, console: &mut Console<'_>) -> Result<(), CommandError> {
    let counts = &uploaded.counts;
    if uploaded.mended > 0 {
        let (image, sent) = (&uploaded.image, HumanBytes(counts.bytes_sent));
        let what = match uploaded.mended {
            1 => "1 chunk was missing or incomplete and was sent again".to_owned(),
            many => format!("{many} chunks were missing or incomplete and were sent again"),
        };
        writeln!(console.notes, "{image} was already uploaded with this content: {what} ({sent})")?;
    } else if uploaded.already_there {
        writeln!(console.notes, "{} was already uploaded with this content: nothing was sent", uploaded.image)?;
    } else {
        writeln!(
            console.notes,
            "uploaded {}: {} of data, {} sent, {} already in the store",
            uploaded.image,
            HumanBytes(counts.bytes_data),
            HumanBytes(counts.bytes_sent),
            HumanBytes(counts.bytes_reused)
        )?;
    }
    Ok(())
}

/// Rings wait for approval where the command or the configuration says so.
fn terms(desk: &Desk, arguments: &NewJobArguments) -> Terms {
    Terms { approve: arguments.approve || desk.config.dispatch.approve, note: arguments.note.clone() }
}

/// `goldfleet dispatch`.
///
/// # Errors
/// [`CommandError`].
pub async fn dispatch_command(
    desk: &Desk,
    image: &ImageArguments,
    selection: &SelectionArguments,
    arguments: &NewJobArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let terms = terms(desk, arguments);
    let requested = request_on(desk, &image.image, &image.version, &selection.selectors(), terms).await?;
    if !requested.new {
        writeln!(console.notes, "job {} already does this", requested.job.id)?;
    }
    conclude(desk, &requested.job.id, arguments.wait, console, stop, None).await
}

/// Ends a command that created or reopened a job: prints which, or waits for its end.
///
/// # Errors
/// [`CommandError`].
pub async fn conclude(
    desk: &Desk,
    job: &JobId,
    wait: bool,
    console: &mut Console<'_>,
    stop: &CancellationToken,
    uploaded: Option<&Uploaded>,
) -> Result<u8, CommandError> {
    if !wait {
        if console.output == Output::Json {
            write_json(console.out, &json!({ "job": job, "upload": uploaded.map(uploaded_json) }))?;
        } else {
            writeln!(console.out, "{job}")?;
        }
        writeln!(
            console.notes,
            "to see its progress: goldfleet status {job}; 'goldfleet dispatcher' and 'goldfleet-worker' do the work"
        )?;
        return Ok(DONE);
    }
    let progress = Progress::new(Style::fitting(console.output == Output::Json));
    // With embedded coordination, possibly no other process does the work.
    let local = matches!(desk.config.coordination, Coordination::Embedded(_)).then(|| Local::start(desk));
    let finish = if local.is_some() { Finish::Here } else { Finish::Fleet };
    let status = follow(desk, job, finish, &progress, stop).await;
    if let Some(local) = local {
        local.drain().await;
    }
    let Some(status) = status? else {
        let row = desk.job(job).await?.value;
        let resume = command_line("dispatch", row.image.name.as_str(), row.image.version.as_str(), &row.selection);
        writeln!(console.notes, "interrupted; to resume: {resume} --wait; to stop the job: goldfleet cancel {job}")?;
        return Ok(INTERRUPTED);
    };
    view::write_status(&status, console)?;
    Ok(status.state.exit_code())
}
