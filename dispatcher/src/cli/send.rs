//! `upload` and `dispatch`.

use std::time::Instant;

use goldfleet_config::Coordination;
use goldfleet_model::ids::JobId;
use goldfleet_model::selector::Selector;
use indicatif::HumanBytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::arguments::{ImageArguments, UploadArguments};
use super::error::{CommandError, DONE, INTERRUPTED};
use super::output::{Console, Output, write_json};
use super::{check, view};
use crate::control::desk::Desk;
use crate::control::local::Local;
use crate::control::request::{request, selected_targets};
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
    if !arguments.no_dispatch {
        // Nobody is to learn of it when the upload has taken its hour.
        selected_targets(desk, &[])?;
    }
    let asked = UploadRequest {
        file: arguments.file.clone(),
        image: arguments.image.image.clone(),
        version: arguments.image.version.clone(),
        os: arguments.os,
        generation: arguments.generation,
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
    say_uploaded(&uploaded, console)?;
    if arguments.no_dispatch {
        if console.output == Output::Json {
            write_json(console.out, &uploaded_json(&uploaded))?;
        }
        return Ok(DONE);
    }
    let requested = request(desk, &asked.image, &asked.version, &[], approves(desk, arguments.approve)).await?;
    conclude(desk, &requested.job.id, arguments.wait, console, stop, Some(&uploaded)).await
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
    })
}

fn say_uploaded(uploaded: &Uploaded, console: &mut Console<'_>) -> Result<(), CommandError> {
    let counts = &uploaded.counts;
    if uploaded.mended > 0 {
        let (image, sent) = (&uploaded.image, HumanBytes(counts.bytes_sent));
        let what = match uploaded.mended {
            1 => "1 chunk was missing or not whole, and was sent again".to_owned(),
            many => format!("{many} chunks were missing or not whole, and were sent again"),
        };
        writeln!(console.notes, "{image} is already there with this content: {what} ({sent})")?;
    } else if uploaded.already_there {
        writeln!(console.notes, "{} is already there with this content: nothing was sent", uploaded.image)?;
    } else {
        writeln!(
            console.notes,
            "{} uploaded: {} of data, {} sent, {} were there already",
            uploaded.image,
            HumanBytes(counts.bytes_data),
            HumanBytes(counts.bytes_sent),
            HumanBytes(counts.bytes_reused)
        )?;
    }
    Ok(())
}

/// Whether rings wait for approval: because the command or the configuration says so.
fn approves(desk: &Desk, asked: bool) -> bool {
    asked || desk.config.dispatch.approve
}

/// What `goldfleet dispatch` is to do, besides which image.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Only these of the targets; all, where empty.
    pub selection: Vec<Selector>,
    /// Rings wait for approval.
    pub approve: bool,
    /// The command waits for the job's end.
    pub wait: bool,
}

/// `goldfleet dispatch`.
///
/// # Errors
/// [`CommandError`].
pub async fn dispatch_command(
    desk: &Desk,
    image: &ImageArguments,
    wanted: &Wanted,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let approve = approves(desk, wanted.approve);
    let requested = request(desk, &image.image, &image.version, &wanted.selection, approve).await?;
    if !requested.new {
        writeln!(console.notes, "job {} is already doing this", requested.job.id)?;
    }
    conclude(desk, &requested.job.id, wanted.wait, console, stop, None).await
}

/// Ends a command that made or re-opened a job: says which, or waits for its end.
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
            "see 'goldfleet status {job}'; 'goldfleet dispatcher' and 'goldfleet-worker' do the work"
        )?;
        return Ok(DONE);
    }
    let progress = Progress::new(Style::fitting(console.output == Output::Json));
    // Where coordination is of this machine alone, nobody else may be there to do the work.
    let local = matches!(desk.config.coordination, Coordination::Embedded(_)).then(|| Local::start(desk));
    let finish = if local.is_some() { Finish::Here } else { Finish::Fleet };
    let status = follow(desk, job, finish, &progress, stop).await;
    if let Some(local) = local {
        local.drain().await;
    }
    let Some(status) = status? else {
        writeln!(
            console.notes,
            "interrupted: job {job} goes on when the work is taken up again, or 'goldfleet cancel {job}'"
        )?;
        return Ok(INTERRUPTED);
    };
    view::write_status(&status, console)?;
    Ok(status.state.exit_code())
}
