//! `images`.

use goldfleet_model::job::JobState;
use goldfleet_model::text::HumanBytes;
use goldfleet_model::upload::UploadState;
use serde_json::json;

use super::arguments::ImagesArguments;
use super::error::{CommandError, DONE};
use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use super::view::{of_bytes, time};
use crate::control::context::ControlContext;
use crate::control::images::{ImageLine, UploadLine, images};
use crate::terminal::color::Tone;
use crate::terminal::job_view::duration;

/// The state of an upload, in the terms that are used for jobs.
#[must_use]
pub fn upload_state(state: UploadState) -> &'static str {
    match state {
        UploadState::Running => JobState::Running.as_str(),
        UploadState::Complete => JobState::Succeeded.as_str(),
        UploadState::Failed => JobState::Failed.as_str(),
    }
}

/// `goldfleet images`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    control: &ControlContext,
    arguments: &ImagesArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let (versions, uploads) = images(control, arguments.image.as_ref()).await?;
    if console.output == Output::Json {
        write_json(console.out, &json!({ "images": versions, "uploads": uploads }))?;
        return Ok(DONE);
    }
    if versions.is_empty() && uploads.is_empty() {
        writeln!(console.notes, "nothing is uploaded: 'goldfleet upload' uploads a VHD")?;
        return Ok(DONE);
    }
    if !versions.is_empty() {
        let header = ["image", "version", "size", "uploaded", "dispatched", "used by"];
        write_table(console, &header, versions.iter().map(row))?;
        for version in &versions {
            write_details(version, console)?;
        }
        for version in &versions {
            write_fault(version, console)?;
        }
    }
    if !uploads.is_empty() {
        writeln!(console.out, "\nuploads that are not complete:")?;
        let header = ["image", "version", "read", "sent", "last seen"];
        write_table(console, &header, uploads.iter().map(upload_row))?;
        for upload in uploads.iter().filter(|upload| upload.is_interrupted()) {
            write_interrupted(upload, console)?;
        }
    }
    Ok(DONE)
}

fn row(line: &ImageLine) -> [Cell; 6] {
    let (tone, dispatched) = match (line.jobs, &line.last_job) {
        (0, _) | (_, None) => (Tone::Warning, "no".to_owned()),
        (1, Some(job)) => (job.state.into(), format!("1 job, {}", job.state)),
        (jobs, Some(job)) => (job.state.into(), format!("{jobs} jobs, the last {}", job.state)),
    };
    let dispatched = match &line.fault {
        Some(fault) => Cell::toned(Tone::Error, format!("{dispatched}; {}", fault.code)),
        None => Cell::toned(tone, dispatched),
    };
    let used: Vec<String> = line.used_by.iter().map(ToString::to_string).collect();
    [
        line.image.to_string().into(),
        line.version.to_string().into(),
        line.size.map_or_else(String::new, |size| HumanBytes(size).to_string()).into(),
        line.uploaded.strftime("%Y-%m-%d %H:%MZ").to_string().into(),
        dispatched,
        used.join(", ").into(),
    ]
}

/// Writes who uploaded a version from which file, and which system is on its disk. These are too long for table
/// columns.
fn write_details(line: &ImageLine, console: &mut Console<'_>) -> std::io::Result<()> {
    let (image, version) = (&line.image, &line.version);
    if let (Some(by), Some(file)) = (&line.by, &line.file) {
        writeln!(console.out, "{image} {version}: uploaded by {by} from {file}")?;
    }
    match &line.system {
        Some(system) => writeln!(console.out, "{image} {version}: {system}"),
        None => Ok(()),
    }
}

/// Writes why a version cannot be dispatched.
fn write_fault(line: &ImageLine, console: &mut Console<'_>) -> std::io::Result<()> {
    let Some(fault) = &line.fault else { return Ok(()) };
    writeln!(console.out, "{} {} cannot be dispatched: {} ({})", line.image, line.version, fault.message, fault.code)
}

/// Writes what became of an upload that nobody continues, and the command that resumes it.
fn write_interrupted(line: &UploadLine, console: &mut Console<'_>) -> std::io::Result<()> {
    let (image, version) = (&line.image, &line.version);
    let by = line.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    let from = line.file.as_ref().map_or_else(String::new, |file| format!(" from {file}"));
    let kept = match line.chunks_kept {
        true => "what was sent is not sent again",
        false => "what was sent may have been deleted meanwhile",
    };
    writeln!(console.out, "{image} {version}: begun{by} at {}{from}, and not completed; {kept}", time(line.started))?;
    match &line.resume {
        // The command is on one line, so that it can be copied.
        Some(resume) => writeln!(console.out, "  to resume: {resume}"),
        None => writeln!(console.out, "  to resume: run the command again that began it"),
    }
}

fn upload_row(line: &UploadLine) -> [Cell; 5] {
    let seen = if line.ended {
        Cell::toned(Tone::Warning, format!("ended {} ago", duration(line.idle)))
    } else if line.stalled {
        Cell::toned(Tone::Warning, format!("{} ago: killed, or it cannot reach the table", duration(line.idle)))
    } else {
        let by = line.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
        format!("{}{by}", time(line.updated)).into()
    };
    [
        line.image.to_string().into(),
        line.version.to_string().into(),
        of_bytes(line.bytes_read, line.bytes_total).into(),
        HumanBytes(line.bytes_sent).to_string().into(),
        seen,
    ]
}
