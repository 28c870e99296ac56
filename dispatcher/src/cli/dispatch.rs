//! `upload` and `dispatch`.

use std::time::Instant;

use goldfleet_config::{Config, Coordination, UploadRoute};
use goldfleet_model::ids::JobId;
use goldfleet_model::text::HumanBytes;
use goldfleet_ports::Ports;
use goldfleet_sources::SourceLocation;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::arguments::{CopiedSource, DispatchArguments, ImageArguments, NewJobArguments, UploadArguments};
use super::error::{CommandError, DONE, INTERRUPTED};
use super::output::{Console, Output, write_json};
use super::upload_source::{Asked, command_again};
use super::{check, view};
use crate::control::context::{ControlContext, ControlError};
use crate::control::galleries::{receivers, unserved};
use crate::control::local::LocalFleet;
use crate::control::platform::request::{PlatformRequest, refuse_dispatched, request_from};
use crate::control::request::{Terms, check_targets, request_on};
use crate::control::suggest::{command_line, resume_command};
use crate::control::upload::{UploadError, UploadResult};
use crate::terminal::follow::{FinishedBy, follow};
use crate::terminal::progress::{ProgressDisplay, ProgressMode};

/// `goldfleet upload`.
///
/// # Errors
/// [`CommandError`].
pub async fn upload_command(
    control: &ControlContext,
    arguments: &UploadArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let selection = arguments.selection.selectors();
    if !arguments.no_dispatch {
        // Check the selection first. An error in it must not appear only after an upload of an hour.
        check_targets(&control.config, &arguments.image.image, &selection, control.config.plan.route)?;
    }
    let (image, version) = (&arguments.image.image, &arguments.image.version);
    let galleries = receivers(&control.config, image, version, &selection)?;
    refuse_dispatched(&control.ports, image, version).await?;
    let asked = Asked::of(&control.ports, &control.config, arguments)?;
    let progress = ProgressDisplay::new(ProgressMode::for_stderr(console.output == Output::Json));
    let begun = Instant::now();
    let uploaded = asked.upload(control, &|row| progress.upload(row, begun), stop).await;
    progress.end();
    let uploaded = match uploaded {
        Err(UploadError::Refused(report)) => {
            check::write_report(&report, console)?;
            return Err(UploadError::Refused(report).into());
        }
        Err(UploadError::Interrupted) => {
            writeln!(console.notes, "to resume: {}", command_again(std::env::args()))?;
            return Err(UploadError::Interrupted.into());
        }
        other => other?,
    };
    check::write_notes(&uploaded.report, console)?;
    print_uploaded(&uploaded, console)?;
    if arguments.no_dispatch {
        if console.output == Output::Json {
            write_json(console.out, &uploaded_json(&uploaded))?;
        }
        let dispatch = command_line("dispatch", image.as_str(), version.as_str(), &[]);
        writeln!(console.notes, "to create the images: {dispatch}")?;
        return Ok(DONE);
    }
    note_galleries(control.config.plan.route, &galleries, &arguments.image, console)?;
    let terms = terms(&control.config, &arguments.job);
    let requested = request_on(control, image, version, &selection, terms).await?;
    finish_command(control, &requested.job.id, arguments.job.wait, console, stop, Some(&uploaded)).await
}

fn uploaded_json(uploaded: &UploadResult) -> serde_json::Value {
    json!({
        "image": uploaded.image.name,
        "version": uploaded.image.version,
        "digest": uploaded.image.digest,
        "already_there": uploaded.existed,
        "mended": uploaded.repaired,
        "bytes_total": uploaded.counts.bytes_total,
        "bytes_data": uploaded.counts.bytes_data,
        "bytes_sent": uploaded.counts.bytes_sent,
        "bytes_reused": uploaded.counts.bytes_reused,
        "findings": uploaded.report.findings().collect::<Vec<_>>(),
        "system": uploaded.counts.system,
        "origin": uploaded.counts.origin,
    })
}

fn print_uploaded(uploaded: &UploadResult, console: &mut Console<'_>) -> Result<(), CommandError> {
    let counts = &uploaded.counts;
    if uploaded.repaired > 0 {
        let (image, sent) = (&uploaded.image, HumanBytes(counts.bytes_sent));
        let what = match uploaded.repaired {
            1 => "1 chunk was missing or incomplete and was sent again".to_owned(),
            many => format!("{many} chunks were missing or incomplete and were sent again"),
        };
        writeln!(console.notes, "{image} was already uploaded with this content: {what} ({sent})")?;
    } else if uploaded.existed {
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

/// Prints which galleries do not receive the version, because the route `staging` does not publish to galleries.
fn note_galleries(
    route: UploadRoute,
    galleries: &[String],
    ImageArguments { image, version }: &ImageArguments,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    if let Some(finding) = unserved(galleries, image, version).filter(|_| route == UploadRoute::Staging) {
        writeln!(console.notes, "{}", finding.message)?;
    }
    Ok(())
}

/// Rings wait for approval if the command or the configuration requires it.
fn terms(config: &Config, arguments: &NewJobArguments) -> Terms {
    let approve = arguments.approve || config.dispatch.approve;
    Terms { approve, note: arguments.note.clone(), route: None }
}

/// `goldfleet dispatch`.
///
/// # Errors
/// [`CommandError`].
pub async fn dispatch_command(
    control: &ControlContext,
    arguments: &DispatchArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let DispatchArguments { source, route, image: version, selection, job } = arguments;
    let ImageArguments { image, version: number } = version;
    let terms = Terms { route: *route, ..terms(&control.config, job) };
    let selection = selection.selectors();
    let requested = match platform_request(&control.ports, source, version)? {
        Some(request) => request_from(control, &request, &selection, terms).await?,
        None => {
            refuse_dispatched(&control.ports, image, number).await?;
            let galleries = receivers(&control.config, image, number, &selection)?;
            note_galleries(route.unwrap_or(control.config.plan.route), &galleries, version, console)?;
            request_on(control, image, number, &selection, terms).await?
        }
    };
    if !requested.new {
        writeln!(console.notes, "job {} already does this", requested.job.id)?;
    }
    finish_command(control, &requested.job.id, job.wait, console, stop, None).await
}

/// What the platform copies. None without `--from`.
///
/// # Errors
/// If the source is not named in a known form.
pub fn platform_request(
    ports: &Ports,
    CopiedSource { from, os, generation }: &CopiedSource,
    ImageArguments { image, version }: &ImageArguments,
) -> Result<Option<PlatformRequest>, ControlError> {
    let Some(from) = from else { return Ok(None) };
    let from = SourceLocation::parse(from, &|blob: &_| ports.resources.blob_url(blob))?;
    let (image, version) = (image.clone(), version.clone());
    Ok(Some(PlatformRequest { from, image, version, os: *os, generation: *generation }))
}

/// Ends a command that created or reopened a job: prints the job, or waits until it ends.
///
/// # Errors
/// [`CommandError`].
pub async fn finish_command(
    control: &ControlContext,
    job: &JobId,
    wait: bool,
    console: &mut Console<'_>,
    stop: &CancellationToken,
    uploaded: Option<&UploadResult>,
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
    let progress = ProgressDisplay::new(ProgressMode::for_stderr(console.output == Output::Json));
    // With embedded coordination there may be no other process that does the work.
    let local = matches!(control.config.coordination, Coordination::Embedded(_)).then(|| LocalFleet::start(control));
    let finish = if local.is_some() { FinishedBy::ThisProcess } else { FinishedBy::Fleet };
    let status = follow(control, job, finish, &progress, stop).await;
    if let Some(local) = local {
        local.drain().await;
    }
    let Some(status) = status? else {
        let row = control.jobs.job(job).await?.value;
        let resume = resume_command(&row);
        writeln!(console.notes, "interrupted; to resume: {resume} --wait; to stop the job: goldfleet cancel {job}")?;
        return Ok(INTERRUPTED);
    };
    view::write_status(&status, console)?;
    Ok(status.exit_code())
}
