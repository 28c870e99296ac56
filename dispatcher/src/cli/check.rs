//! `check`.

use std::io;
use std::path::{Path, PathBuf};

use goldfleet_model::text::HumanBytes;
use goldfleet_sources::DiskFile;

use super::error::{DONE, USAGE};
use super::output::{Console, Output, write_json};
use crate::control::check::{ImageChecks, ImageReport, check_image};
use crate::terminal::color::Tone;

/// `goldfleet check`.
///
/// # Errors
/// If the console cannot be written to.
pub fn run(files: &[PathBuf], checks: &ImageChecks, console: &mut Console<'_>) -> io::Result<u8> {
    let mut reports = Vec::with_capacity(files.len());
    for file in files {
        let report = check_image(&DiskFile::new(file), checks).report;
        if console.output != Output::Json {
            write_checked(file, &report, console)?;
        }
        reports.push(report);
    }
    match reports.as_slice() {
        _ if console.output != Output::Json => {}
        // The report of one file is an object, not an array of one. Programs that read the output of a single check
        // rely on it.
        [report] => write_json(console.out, report)?,
        reports => write_json(console.out, &reports)?,
    }
    Ok(if reports.iter().all(ImageReport::is_usable) { DONE } else { USAGE })
}

fn write_checked(file: &Path, report: &ImageReport, console: &mut Console<'_>) -> io::Result<()> {
    write_findings(report, console.out, console.colours.out)?;
    if !report.is_usable() {
        let verdict = console.word(Tone::Error, "cannot be used");
        return writeln!(console.out, "{}: {verdict} as an OS disk", file.display());
    }
    let size = report.disk.size.map_or_else(String::new, |size| format!(", {}", HumanBytes(size)));
    let generation = report.disk.generation.map_or_else(String::new, |g| format!(", generation {g}"));
    let verdict = console.word(Tone::Success, "can be used");
    writeln!(console.out, "{}: {verdict} as an OS disk{size}{generation}", file.display())
}

/// Prints why an upload was refused: to standard error, or as the result if the output is JSON.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_report(report: &ImageReport, console: &mut Console<'_>) -> io::Result<()> {
    match console.output {
        Output::Json => write_json(console.out, report),
        Output::Table | Output::Svg => write_findings(report, console.notes, console.colours.notes),
    }
}

/// Writes the findings of a successful check for people, such as changes to the disk.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_notes(report: &ImageReport, console: &mut Console<'_>) -> io::Result<()> {
    write_findings(report, console.notes, console.colours.notes)
}

fn write_findings(report: &ImageReport, out: &mut dyn io::Write, colours: bool) -> io::Result<()> {
    for finding in &report.disk.findings {
        let severity = Tone::from(finding.severity).colorize(&finding.severity.to_string(), colours);
        writeln!(out, "{severity} [{}]: {}", finding.code, finding.message)?;
        if let Some(path) = &finding.path {
            writeln!(out, "  seen in {path}")?;
        }
        if !finding.remedy.is_empty() {
            writeln!(out, "  {}", finding.remedy)?;
        }
    }
    Ok(())
}
