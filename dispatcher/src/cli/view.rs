//! Prints the status of a job.

use std::io;

use goldfleet_model::job::{Finding, JobState};
use goldfleet_model::operation::OperationState;
use goldfleet_model::text::{HumanBytes, pluralize};
use goldfleet_model::upload::UploadState;
use goldfleet_ports::listing::{ROW_DAMAGED, UnreadableRow};
use jiff::Timestamp;
use textwrap::WordSplitter;

use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use crate::control::explain;
use crate::control::status::{FailureRow, Phase, ReportedState, RingStatus, Status, UploadStatus};
use crate::terminal::color::Tone;
use crate::terminal::job_view::duration;

/// The number of failures that the status shows before it refers to `--failed`.
const MAX_FAILURES_SHOWN: usize = 10;

/// The number of remarks that the status shows before it refers to the log.
const MAX_REMARKS_SHOWN: usize = 20;

/// The column at which the values below the headline start.
const VALUES: usize = 12;

/// Prints a job's status.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_status(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    if console.output == Output::Json {
        return write_json(console.out, status);
    }
    write_head(status, console)?;
    writeln!(console.out)?;
    write_phases(status, console)?;
    write_disks(status, console)?;
    write_rings(status, console)?;
    if !status.is_empty() {
        writeln!(console.out)?;
        write_totals(status, console)?;
    }
    if status.staged_removed {
        writeln!(console.out, "staged VHDs are deleted")?;
    }
    write_remarks(status, console)?;
    write_findings(&status.findings, console)?;
    write_unreadable("operation", &status.unreadable, console)?;
    write_unreadable("job", &status.unreadable_jobs, console)?;
    let shown = &status.failures[..status.failures.len().min(MAX_FAILURES_SHOWN)];
    if !shown.is_empty() {
        writeln!(console.out)?;
    }
    write_failure_list(shown, console)?;
    if shown.len() < status.failures.len() {
        let more = status.failures.len() - shown.len();
        writeln!(console.out, "and {}: goldfleet status {} --failed", pluralize(more, "more failure"), status.job)?;
    }
    write_next_steps(status, console)
}

/// Writes the headline of a job: its id, who requested it and when, its system, its targets and its note.
fn write_head(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    let state = console.word(status.shown_state(), status.shown_state().as_str());
    writeln!(console.out, "job {}: {}, {state}", status.job, status.title)?;
    let mut line = |name: &str, value: &str| writeln!(console.out, "  {name:<VALUES$}{value}");
    let by = status.requested_by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    line("requested", &format!("{}{by}", time(status.created)))?;
    if let Some(finished) = status.finished {
        line("finished", &time(finished))?;
    }
    if let Some(system) = &status.system {
        line("system", &system.to_string())?;
    }
    if !status.selection.is_empty() {
        let selection: Vec<String> = status.selection.iter().map(ToString::to_string).collect();
        line("targets", &selection.join(" or "))?;
    }
    if let Some(note) = &status.note {
        line("note", note)?;
    }
    if let Some(reason) = &status.reason {
        line("reason", reason)?;
    }
    if status.detail == JobState::Requested {
        writeln!(console.out, "waiting for 'goldfleet dispatcher', or for an earlier job that does the same to end")?;
    }
    if let Some((idle, resume)) = status.idle_words() {
        // The command is on one line, so that it can be copied.
        writeln!(console.out, "{}\n  {resume}", console.word(Tone::Warning, &wrapped(console, &idle, "")))?;
    }
    if let Some(awaits) = status.pending_action() {
        writeln!(console.out, "{awaits}")?;
    }
    Ok(())
}

/// A time in UTC, in seconds.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The columns of the table of phases. Columns without any count are omitted.
const COUNTS: [&str; 6] = ["succeeded", "failed", "cancelled", "running", "waiting", "skipped"];

/// A line of the table of phases: name, percent, counts in the order of [`COUNTS`], and bytes.
struct PhaseLine<'a> {
    name: &'a str,
    percent: f64,
    total: usize,
    counts: [usize; 6],
    bytes: (u64, u64),
}

impl<'a> PhaseLine<'a> {
    fn of(name: &'a str, phase: &Phase) -> Self {
        let Phase { succeeded, failed, cancelled, running, waiting, skipped, .. } = *phase;
        let counts = [succeeded, failed, cancelled, running, waiting, skipped];
        let bytes = (phase.bytes_done, phase.bytes_total);
        Self { name, percent: phase.percent, total: phase.total, counts, bytes }
    }

    fn of_upload(upload: &UploadStatus) -> Self {
        let is = |state: UploadState| usize::from(upload.state == state);
        let counts = [is(UploadState::Complete), is(UploadState::Failed), 0, is(UploadState::Running), 0, 0];
        // The number of data bytes is known only after the whole file was read. Then the line shows the same quantity
        // as the phases below it. It is less than the number of bytes that were read, because zeros and metadata of the
        // file do not count.
        let bytes = match upload.state {
            UploadState::Complete => (upload.bytes_data, upload.bytes_data),
            UploadState::Running | UploadState::Failed => (upload.bytes_read, upload.bytes_total),
        };
        Self { name: "upload", percent: upload.percent, total: 1, counts, bytes }
    }

    fn cells(&self, shown: &[usize]) -> Vec<Cell> {
        let tones = [Tone::Success, Tone::Error, Tone::Warning, Tone::Active, Tone::Muted, Tone::Success];
        let mut cells = vec![Cell::from(self.name.to_owned()), format!("{:.1}%", self.percent).into()];
        for &column in shown {
            let count = self.counts[column];
            let text = if column == 0 { format!("{count}/{}", self.total) } else { count.to_string() };
            cells.push(if count > 0 { Cell::toned(tones[column], text) } else { text.into() });
        }
        cells.push(if self.bytes.1 > 0 { of_bytes(self.bytes.0, self.bytes.1) } else { String::new() }.into());
        cells
    }
}

/// A number of bytes out of a total. Both use one unit if they have the same.
#[must_use]
pub fn of_bytes(part: u64, whole: u64) -> String {
    let (part, whole) = (HumanBytes(part).to_string(), HumanBytes(whole).to_string());
    match (part.split_once(' '), whole.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number}/{whole}"),
        _ => format!("{part}/{whole}"),
    }
}

fn write_phases(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    let mut lines: Vec<PhaseLine> = status.upload.iter().map(PhaseLine::of_upload).collect();
    if !status.is_empty() {
        let used = status.phases.named().iter().filter(|(_, phase)| phase.total > 0);
        lines.extend(used.map(|(kind, phase)| PhaseLine::of(kind.as_str(), phase)));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let counted = |column: &usize| *column == 0 || lines.iter().any(|line| line.counts[*column] > 0);
    let shown: Vec<usize> = (0..COUNTS.len()).filter(counted).collect();
    let counts = shown.iter().map(|&column| COUNTS[column]);
    let header: Vec<&str> = ["phase", "done"].into_iter().chain(counts).chain(["bytes"]).collect();
    write_table(console, &header, lines.iter().map(|line| line.cells(&shown)))
}

/// Writes the disks of a version, if it has several.
fn write_disks(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    if status.disks.is_empty() {
        return Ok(());
    }
    writeln!(console.out)?;
    let rows = status.disks.iter().map(|disk| {
        [
            Cell::from(disk.disk.to_string()),
            format!("{}/{}", disk.done, disk.targets).into(),
            Cell::count(disk.running, Tone::Active),
            Cell::count(disk.failed, Tone::Error),
            of_bytes(disk.bytes_done, disk.bytes_total).into(),
        ]
    });
    write_table(console, &["disk", "targets", "running", "failed", "bytes"], rows)
}

/// Writes the rings, if there are several or one waits for approval.
fn write_rings(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    let rings = &status.rings;
    if rings.len() < 2 && rings.iter().all(|ring| ring.approval.is_none()) {
        return Ok(());
    }
    writeln!(console.out)?;
    let pending = status.approvals.as_ref().and_then(|approvals| approvals.waits);
    let rows = rings.iter().map(|ring| {
        let approval = ring.approval.as_ref();
        let approval = approval.map(|approval| format!("approved by {} at {}", approval.by, time(approval.at)));
        let pending = (pending == Some(ring.ring)).then(|| "waits for approval".to_owned());
        let details: Vec<String> = ring.reason.iter().cloned().chain(approval).chain(pending).collect();
        [
            Cell::from(ring.ring.to_string()),
            Cell::toned(ring.state, ring_state(ring)),
            format!("{}/{}", ring.images, ring.targets).into(),
            Cell::count(ring.failed, Tone::Error),
            details.join("; ").into(),
        ]
    });
    write_table(console, &["ring", "state", "images", "failed", "details"], rows)
}

fn ring_state(ring: &RingStatus) -> &'static str {
    match ring.state {
        // An earlier ring stopped this ring before it started.
        OperationState::Cancelled if ring.reason.is_some() => "not started",
        state => state.as_str(),
    }
}

fn write_totals(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    let wan: u64 = status.wan_bytes.values().sum();
    let rate = status.rate_words().map_or_else(String::new, |rate| format!(", {rate}"));
    let time = match status.seconds_left {
        Some(left) => format!("{} so far, {} left", duration(status.seconds), duration(left)),
        None => duration(status.seconds),
    };
    // The platform does not report how many bytes its copies moved.
    if status.image.is_none() {
        return writeln!(console.out, "{time}");
    }
    if wan == 0 {
        let yet = if status.state == ReportedState::Running { " yet" } else { "" };
        return writeln!(console.out, "nothing over the WAN{yet}{rate}, {time}");
    }
    writeln!(
        console.out,
        "{} over the WAN to {}{rate}, {time}",
        HumanBytes(wan),
        pluralize(status.wan_bytes.len(), "region")
    )
}

fn write_next_steps(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    let any = status.phases.named().iter().any(|(_, phase)| phase.failed + phase.cancelled > 0);
    if !any || status.state == ReportedState::Running {
        return Ok(());
    }
    writeln!(console.out)?;
    if status.planned || status.state == ReportedState::Cancelled {
        writeln!(console.out, "to retry what failed or was cancelled: goldfleet retry {}", status.job)?;
    } else {
        writeln!(console.out, "to start a new job: {}", status.resume)?;
    }
    writeln!(console.out, "to see what happened: goldfleet logs {} --failed", status.job)
}

/// Writes what operations did and why.
fn write_remarks(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    if !status.remarks.is_empty() {
        writeln!(console.out)?;
    }
    for remark in status.remarks.iter().take(MAX_REMARKS_SHOWN) {
        writeln!(console.out, "{}", wrapped(console, &remark.text, ""))?;
    }
    match status.remarks.len().saturating_sub(MAX_REMARKS_SHOWN) {
        0 => Ok(()),
        more => writeln!(console.out, "and {more} more: goldfleet logs {}", status.job),
    }
}

/// Writes what the planning of a job reported.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_findings(findings: &[Finding], console: &mut Console<'_>) -> io::Result<()> {
    if !findings.is_empty() {
        writeln!(console.out)?;
    }
    for Finding { code, failed, place, message } in findings {
        let level = if *failed { console.word(Tone::Error, "failed") } else { "note".to_owned() };
        let place = place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
        writeln!(console.out, "{}", wrapped(console, &format!("{level} [{code}]: {place}{message}"), ""))?;
        if let Some(remedy) = explain::remedy(code).filter(|_| *failed) {
            writeln!(console.out, "{}", wrapped(console, &format!("remedy: {remedy}"), "  "))?;
        }
    }
    Ok(())
}

/// Writes the rows that cannot be read, and what to do about them.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_unreadable(what: &str, rows: &[UnreadableRow], console: &mut Console<'_>) -> io::Result<()> {
    if !rows.is_empty() {
        writeln!(console.out)?;
    }
    for row in rows.iter().take(MAX_FAILURES_SHOWN) {
        let head = console.word(Tone::Error, "set aside");
        writeln!(
            console.out,
            "{}",
            wrapped(console, &format!("{head} [{ROW_DAMAGED}]: {what} {}: {row}", row.id), "")
        )?;
    }
    if let Some(more) = rows.len().checked_sub(MAX_FAILURES_SHOWN).filter(|more| *more > 0) {
        writeln!(console.out, "and {more} more: goldfleet doctor")?;
    }
    if let Some(remedy) = explain::remedy(ROW_DAMAGED).filter(|_| !rows.is_empty()) {
        writeln!(console.out, "{}", wrapped(console, &format!("remedy: {remedy}"), "  "))?;
    }
    Ok(())
}

/// Breaks a text into lines that fit the console. Those after the first are indented by two more spaces.
fn wrapped(console: &Console<'_>, text: &str, indent: &str) -> String {
    wrapped_with(console, text, indent, &format!("{indent}  "))
}

/// Breaks a text into lines that fit the console, with these indentations of the first line and of the following ones.
pub(super) fn wrapped_with(console: &Console<'_>, text: &str, indent: &str, following: &str) -> String {
    let width = console.width.map_or(usize::MAX, usize::from);
    let options = textwrap::Options::new(width)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation)
        .initial_indent(indent)
        .subsequent_indent(following);
    textwrap::fill(text, options)
}

/// A place, after its display name if it has one.
pub(super) fn named_place(name: Option<&str>, place: &str) -> String {
    name.map_or_else(|| place.to_owned(), |name| format!("{name} ({place})"))
}

/// Prints all failures.
///
/// # Errors
/// If the console cannot be written to.
pub fn write_failures(status: &Status, console: &mut Console<'_>) -> io::Result<()> {
    if console.output == Output::Json {
        return write_json(console.out, &status.failures);
    }
    if status.failures.is_empty() {
        return writeln!(console.out, "no operation of job {} failed", status.job);
    }
    write_failure_list(&status.failures, console)
}

/// Writes each failure with its reason and remedy. A remedy that consecutive failures share is printed once, below
/// them.
fn write_failure_list(failures: &[FailureRow], console: &mut Console<'_>) -> io::Result<()> {
    for (index, failure) in failures.iter().enumerate() {
        let FailureRow { target, phase, code, .. } = failure;
        let disk = failure.disk.map_or_else(String::new, |disk| format!(" {disk}"));
        let failed = console.word(Tone::Error, "failed");
        let place = named_place(failure.name.as_deref(), target);
        let head = format!("{phase}{disk} {failed} [{code}]: {place}");
        writeln!(console.out, "{}", wrapped(console, &head, ""))?;
        let id = failure.request_id.as_ref().map_or_else(String::new, |id| format!(" (request id {id})"));
        writeln!(console.out, "{}", wrapped(console, &format!("reason: {}{id}", failure.reason), "  "))?;
        let next = failures.get(index + 1).and_then(|next| next.remedy.as_ref());
        if let Some(remedy) = failure.remedy.as_ref().filter(|remedy| Some(*remedy) != next) {
            writeln!(console.out, "{}", wrapped(console, &format!("remedy: {remedy}"), "  "))?;
        }
    }
    Ok(())
}
