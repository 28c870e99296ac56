//! `doctor`.

use std::io::Write as _;

use goldfleet_model::hash::Md5Sum;
use goldfleet_model::manifest::CHUNKS;
use goldfleet_model::store::BlobAddress;
use goldfleet_model::text::pluralize;
use goldfleet_sources::SourceLocation;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::arguments::DoctorArguments;
use super::error::{CommandError, DONE, FAILED, INTERRUPTED, SERVICE};
use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use super::view::wrapped_with;
use crate::control::context::{ControlContext, ControlError};
use crate::control::doctor::probe::questions::{Answer, QUESTIONS};
use crate::control::doctor::probe::{ProbePorts, ProbeReport, ProbeRequest, probe as measure};
use crate::control::doctor::{AskedSources, Level, examine};
use crate::terminal::color::Tone;

/// The width of the column of levels.
const INDENT: &str = "        ";

/// The number of bytes of a chunk that the probe lets a service read.
const PROBED: u64 = 4096;

/// `goldfleet doctor`: prints one line per finding.
///
/// # Errors
/// If the targets file cannot be read, or the console cannot be written to.
pub async fn run(
    control: &ControlContext,
    arguments: &DoctorArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let url_of = |blob: &_| control.ports.resources.blob_url(blob);
    let from = arguments.from.iter().map(|from| SourceLocation::parse(from, &url_of));
    let from = from.collect::<Result<_, _>>().map_err(ControlError::from)?;
    let asked = AskedSources { from, clone_to: arguments.clone_to.clone() };
    let findings = examine(control, goldfleet_connect::open_inspector(&control.config)?, &asked).await?;
    let of = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (of(Level::Error), of(Level::Warning));
    if console.output == Output::Json {
        write_json(console.out, &json!({ "errors": errors, "warnings": warnings, "findings": findings }))?;
    } else {
        for finding in &findings {
            let code = if finding.code.is_empty() { String::new() } else { format!(" [{}]", finding.code) };
            let level = console.word(finding.level, &format!("{:<7}", finding.level));
            let text = format!("{level} {}{code}: {}", finding.subject, finding.message);
            writeln!(console.out, "{}", wrapped_with(console, &text, "", INDENT))?;
            if !finding.remedy.is_empty() {
                writeln!(console.out, "{}", wrapped_with(console, &finding.remedy, INDENT, INDENT))?;
            }
        }
        let (errors, warnings) = (pluralize(errors, "error"), pluralize(warnings, "warning"));
        writeln!(console.notes, "{errors}, {warnings} in {}", pluralize(findings.len(), "finding"))?;
    }
    Ok(if errors > 0 { FAILED } else { DONE })
}

/// `goldfleet doctor --probe`.
///
/// # Errors
/// [`CommandError`].
pub async fn probe(
    control: &ControlContext,
    arguments: &DoctorArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let Some(pages) = goldfleet_connect::open_disk_pages(&control.config)? else {
        let message = "the probe measures Azure, and [cloud] is another backend: nothing is undocumented there";
        return Err(ControlError::Refused(message.to_owned()).into());
    };
    let inspector = goldfleet_connect::open_inspector(&control.config)?;
    let [first, others @ ..] = &arguments.probe[..] else {
        return Err(ControlError::Refused("name a place to probe".to_owned()).into());
    };
    let chunk = first_chunk(control).await;
    let request = ProbeRequest {
        first: first.clone(),
        second: others.first().cloned(),
        third: others.get(1).cloned(),
        encryption_set: arguments.des.clone(),
        block_blob_md5: chunk.as_ref().map(|(_, md5)| *md5),
        block_blob: chunk.map(|(blob, _)| blob),
    };
    let linked = goldfleet_connect::open_linked_put(&control.config)?;
    let ports = ProbePorts { pages: Some(pages.as_ref()), inspector: inspector.as_deref(), linked: linked.as_deref() };
    let progress = |text: &str| {
        // A failed write to standard error does not stop the command, and does not change its result.
        let _ = writeln!(std::io::stderr(), "probe: {text}");
    };
    let report = measure(control, ports, &request, stop, &progress).await?;
    write_probe(&report, console)?;
    Ok(match &report {
        ProbeReport { interrupted: true, .. } => INTERRUPTED,
        ProbeReport { failure: Some(_), .. } => SERVICE,
        ProbeReport { left, .. } if !left.is_empty() => FAILED,
        _ => DONE,
    })
}

/// A block blob of the source store with the MD5 of its first 4 KiB. None if there is none, or if it cannot be read.
async fn first_chunk(control: &ControlContext) -> Option<(BlobAddress, [u8; 16])> {
    let container = control.config.source.store().container();
    let page = control.ports.blobs.list(&container, CHUNKS, None).await.ok()?;
    let blob = container.blob(&page.blobs.iter().find(|blob| blob.length >= PROBED)?.name);
    let bytes = control.ports.blobs.get(&blob, Some(0..PROBED)).await.ok()?;
    Some((blob, *Md5Sum::of(&bytes).as_bytes()))
}

fn write_probe(report: &ProbeReport, console: &mut Console<'_>) -> Result<(), CommandError> {
    let text =
        |id: &str| QUESTIONS.iter().find(|question| question.id == id).map_or(String::new(), |q| q.text.to_owned());
    let measurements = &report.result.measurements;
    if console.output == Output::Json {
        let answers = measurements.iter().map(|found| {
            json!({ "id": found.id, "question": text(&found.id), "answer": found.answer, "detail": found.detail })
        });
        let left: Vec<Value> = report
            .left
            .iter()
            .map(|(id, error)| json!({ "id": id, "code": error.code, "message": error.to_string() }))
            .collect();
        let failure = report.failure.as_ref().map(|error| json!({ "code": error.code, "message": error.to_string() }));
        write_json(
            console.out,
            &json!({
                "places": report.result.places,
                "at": report.result.at,
                "measurements": answers.collect::<Vec<_>>(),
                "interrupted": report.interrupted,
                "failure": failure,
                "left": left,
            }),
        )?;
    } else {
        let rows = measurements.iter().map(|found| {
            let tone = match found.answer {
                Answer::Yes | Answer::No => Tone::Success,
                Answer::Unmeasured => Tone::Muted,
            };
            [
                Cell::from(text(&found.id)),
                Cell::toned(tone, found.answer.as_str().to_owned()),
                found.detail.clone().into(),
            ]
        });
        write_table(console, &["question", "answer", "detail"], rows)?;
    }
    if let Some(error) = &report.failure {
        writeln!(console.notes, "the probe ended early: [{}] {error}; nothing was stored", error.code)?;
    }
    for (id, error) in &report.left {
        writeln!(console.notes, "{id} could not be deleted: [{}] {error}", error.code)?;
    }
    if !report.left.is_empty() {
        let job = &report.job;
        writeln!(console.notes, "after a day, 'goldfleet cleanup --orphans --yes' deletes what job {job} left")?;
    }
    Ok(())
}
