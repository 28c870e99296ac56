//! `check`.

use std::io;
use std::path::PathBuf;

use goldfleet_disk::{DiskPurpose, Finding};
use goldfleet_model::text::HumanBytes;
use goldfleet_sources::DiskFile;

use super::arguments::DataDiskArguments;
use super::error::{CommandError, DONE, USAGE};
use super::output::{Console, Output, write_json};
use crate::control::check::{ImageChecks, ImageReport, check_image};
use crate::terminal::color::Tone;

/// `goldfleet check`.
///
/// # Errors
/// If data disks are given with several files, or cannot be used together. If the console cannot be written to.
pub fn run(
    files: &[PathBuf],
    data: &DataDiskArguments,
    checks: &ImageChecks,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    if files.len() > 1 && !data.data.is_empty() {
        return Err(CommandError::Unknown("--data is for one image: check one file with its data disks".to_owned()));
    }
    let mut reports = Vec::with_capacity(files.len());
    for file in files {
        let source = DiskFile::new(file).with_data(data.files(file)?);
        let report = check_image(&source, checks).report;
        if console.output != Output::Json {
            write_checked(&report, console)?;
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

fn write_checked(report: &ImageReport, console: &mut Console<'_>) -> io::Result<()> {
    for (purpose, report) in report.reports() {
        write_findings(&report.findings, console.out, console.colours.out)?;
        let purpose = if purpose == DiskPurpose::OsDisk { format!("an {purpose}") } else { format!("a {purpose}") };
        let file = report.file.display();
        if !report.is_usable() {
            let verdict = console.word(Tone::Error, "cannot be used");
            writeln!(console.out, "{file}: {verdict} as {purpose}")?;
            continue;
        }
        let size = report.size.map_or_else(String::new, |size| format!(", {}", HumanBytes(size)));
        let generation = report.generation.map_or_else(String::new, |g| format!(", generation {g}"));
        let verdict = console.word(Tone::Success, "can be used");
        writeln!(console.out, "{file}: {verdict} as {purpose}{size}{generation}")?;
    }
    Ok(())
}

/// Prints why an upload was refused: to standard error, or as the result if the output is JSON.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_report(report: &ImageReport, console: &mut Console<'_>) -> io::Result<()> {
    match console.output {
        Output::Json => write_json(console.out, report),
        Output::Table | Output::Svg => write_findings(report.findings(), console.notes, console.colours.notes),
    }
}

/// Writes the findings of a successful check for people, such as changes to the disk.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_notes(report: &ImageReport, console: &mut Console<'_>) -> io::Result<()> {
    write_findings(report.findings(), console.notes, console.colours.notes)
}

fn write_findings<'a>(
    findings: impl IntoIterator<Item = &'a Finding>,
    out: &mut dyn io::Write,
    colours: bool,
) -> io::Result<()> {
    for finding in findings {
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
