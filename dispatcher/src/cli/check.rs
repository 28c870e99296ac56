//! `check`.

use std::io;
use std::path::Path;

use goldfleet_disk::vhd::{Report, check};
use goldfleet_model::manifest::Generation;
use indicatif::HumanBytes;

use super::error::{DONE, USAGE};
use super::output::{Console, Output, write_json};
use crate::terminal::paint::Tone;

/// `goldfleet check`.
///
/// # Errors
/// Where the console can't be written to.
pub fn run(file: &Path, generation: Option<Generation>, console: &mut Console<'_>) -> io::Result<u8> {
    let report = check(file, generation);
    if console.output == Output::Json {
        write_json(console.out, &report)?;
    } else {
        write_findings(&report, console.out, console.colours.out)?;
        if report.is_usable() {
            let size = report.size.map_or_else(String::new, |size| format!(", {}", HumanBytes(size)));
            let generation = report.generation.map_or_else(String::new, |g| format!(", generation {g}"));
            let verdict = console.word(Tone::Good, "can be used");
            writeln!(console.out, "{}: {verdict} as an OS disk{size}{generation}", file.display())?;
        }
    }
    Ok(if report.is_usable() { DONE } else { USAGE })
}

/// Writes why an upload was refused: on standard error, or as the result where that is to be JSON.
///
/// # Errors
/// Where the console can't be written to.
pub fn write_report(report: &Report, console: &mut Console<'_>) -> io::Result<()> {
    match console.output {
        Output::Json => write_json(console.out, report),
        Output::Table | Output::Svg => write_findings(report, console.notes, console.colours.notes),
    }
}

fn write_findings(report: &Report, out: &mut dyn io::Write, colours: bool) -> io::Result<()> {
    for finding in &report.findings {
        let severity = Tone::from(finding.severity).paint(&finding.severity.to_string(), colours);
        writeln!(out, "{severity} [{}]: {}", finding.code, finding.message)?;
        if !finding.remedy.is_empty() {
            writeln!(out, "  {}", finding.remedy)?;
        }
    }
    Ok(())
}
