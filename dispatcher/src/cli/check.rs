//! `check`.

use std::io;
use std::path::Path;

use goldfleet_shared::model::manifest::Generation;
use goldfleet_shared::vhd::{Report, check};
use indicatif::HumanBytes;

use super::error::{DONE, USAGE};
use super::output::{Console, Output, write_json};

/// `goldfleet check`.
///
/// # Errors
/// Where the console can't be written to.
pub fn run(file: &Path, generation: Option<Generation>, console: &mut Console<'_>) -> io::Result<u8> {
    let report = check(file, generation);
    if console.output == Output::Json {
        write_json(console.out, &report)?;
    } else {
        write_findings(&report, console.out)?;
        if report.is_usable() {
            let size = report.size.map_or_else(String::new, |size| format!(", {}", HumanBytes(size)));
            let generation = report.generation.map_or_else(String::new, |g| format!(", generation {g}"));
            writeln!(console.out, "{}: can be used as an OS disk{size}{generation}", file.display())?;
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
        Output::Table | Output::Svg => write_findings(report, console.notes),
    }
}

fn write_findings(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{} [{}]: {}", finding.severity, finding.code, finding.message)?;
        if !finding.remedy.is_empty() {
            writeln!(out, "  {}", finding.remedy)?;
        }
    }
    Ok(())
}
