//! How a job's status looks.

use std::io;

use goldfleet_model::job::JobState;
use goldfleet_model::words::counted;
use indicatif::HumanBytes;

use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use crate::control::status::{Phase, Standing, Status};
use crate::terminal::board::duration;
use crate::terminal::paint::Tone;

/// Failures that the status shows before it refers to `--failed`.
const SHOWN: usize = 10;

/// Writes a job's status.
///
/// # Errors
/// Where the console can't be written to.
pub fn write_status(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    if console.output == Output::Json {
        return write_json(console.out, status);
    }
    let state = console.word(status.state, status.in_words());
    writeln!(console.out, "job {}: {} {} is {state}", status.job, status.image, status.version)?;
    if let Some(reason) = &status.reason {
        writeln!(console.out, "{reason}")?;
    }
    if status.detail == JobState::Requested {
        writeln!(console.out, "it waits for 'goldfleet dispatcher', or for an earlier job of this version to end")?;
    }
    for approval in status.approvals.iter().flat_map(|approvals| &approvals.given) {
        let at = approval.at.strftime("%Y-%m-%d %H:%M:%SZ");
        writeln!(console.out, "ring {} was approved by {} at {at}", approval.ring, approval.by)?;
    }
    if let Some(awaits) = status.awaits() {
        writeln!(console.out, "{awaits}")?;
    }
    let upload = status.upload.as_ref().map(|upload| {
        let bytes = format!("{} of {}", HumanBytes(upload.bytes_read), HumanBytes(upload.bytes_total));
        let empty = || Cell::from(String::new());
        let percent = format!("{:.1}%", upload.percent).into();
        let state = Cell::toned(upload.state, upload.state.as_str());
        ["upload".to_owned().into(), percent, state, empty(), empty(), empty(), empty(), bytes.into()]
    });
    let phases = status.phases.named().map(|(kind, phase)| row(kind.as_str(), phase));
    let planned = !status.is_empty();
    let header = ["phase", "done", "succeeded", "failed", "running", "waiting", "skipped", "bytes"];
    write_table(console, &header, upload.into_iter().chain(phases.into_iter().filter(|_| planned)))?;
    if planned {
        write_totals(status, console)?;
    }
    if status.staged_removed {
        writeln!(console.out, "its staged VHDs were removed")?;
    }
    let shown = if status.failures.len() > SHOWN { &status.failures[..SHOWN] } else { &status.failures };
    write_failure_table(shown, console)?;
    if shown.len() < status.failures.len() {
        writeln!(console.out, "and {} more: goldfleet status {} --failed", status.failures.len() - SHOWN, status.job)?;
    }
    let any = status.phases.named().iter().any(|(_, phase)| phase.failed + phase.cancelled > 0);
    if any && status.state != Standing::Running {
        if status.planned {
            writeln!(console.out, "try again what is missing: goldfleet retry {}", status.job)?;
        } else {
            let Status { image, version, .. } = status;
            writeln!(console.out, "ask for it anew: goldfleet dispatch --image {image} --version {version}")?;
        }
        writeln!(console.out, "see how it came to that: goldfleet logs {}", status.job)?;
    }
    Ok(())
}

fn row(name: &str, phase: &Phase) -> [Cell; 8] {
    let bytes = if phase.bytes_total > 0 {
        format!("{} of {}", HumanBytes(phase.bytes_done), HumanBytes(phase.bytes_total))
    } else {
        String::new()
    };
    let succeeded = format!("{}/{}", phase.succeeded, phase.total);
    let failed = match phase.cancelled {
        0 => Cell::count(phase.failed, Tone::Bad),
        cancelled => Cell::toned(
            if phase.failed > 0 { Tone::Bad } else { Tone::Doubtful },
            format!("{} (+{cancelled} cancelled)", phase.failed),
        ),
    };
    [
        name.to_owned().into(),
        format!("{:.1}%", phase.percent).into(),
        if phase.succeeded > 0 { Cell::toned(Tone::Good, succeeded) } else { succeeded.into() },
        failed,
        Cell::count(phase.running, Tone::Busy),
        phase.waiting.to_string().into(),
        phase.skipped.to_string().into(),
        bytes.into(),
    ]
}

fn write_totals(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    let wan: u64 = status.wan_bytes.values().sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is shown only")]
    let rate = status.bytes_per_second as u64;
    let time = match status.seconds_left {
        Some(left) => format!("{} so far, {} left", duration(status.seconds), duration(left)),
        None => duration(status.seconds),
    };
    writeln!(
        console.out,
        "{} over the WAN to {}, {}/s, {time}",
        HumanBytes(wan),
        counted(status.wan_bytes.len(), "region"),
        HumanBytes(rate)
    )
}

/// Writes what failed, all of it.
///
/// # Errors
/// Where the console can't be written to.
pub fn write_failures(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    if console.output == Output::Json {
        return write_json(console.out, &status.failures);
    }
    if status.failures.is_empty() {
        return writeln!(console.out, "nothing of job {} failed", status.job);
    }
    write_failure_table(&status.failures, console)
}

fn write_failure_table(failures: &[crate::control::status::FailureLine], console: &mut Console<'_>) -> io::Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let rows = failures.iter().map(|failure| {
        let id = failure.request_id.as_ref().map_or_else(String::new, |id| format!(" (request {id})"));
        let reason = format!("{}{id}", failure.reason);
        [failure.target.clone(), failure.phase.to_string(), failure.code.clone(), reason]
    });
    write_table(console, &["failed at", "phase", "code", "reason"], rows)
}
