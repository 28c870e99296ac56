//! Following a job to its end, and showing how far it is.

use std::time::{Duration, Instant};

use goldfleet_shared::model::ids::JobId;
use goldfleet_shared::model::upload::Upload;
use goldfleet_shared::screen::{self, Drawing};
use goldfleet_shared::telemetry;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::board::{self, duration};
use crate::desk::{Desk, DeskError};
use crate::status::{Standing, Status, status, upload_status};
use crate::sweep::{Looked, look_after};

/// The time between the first two looks at a job; it doubles up to [`LOOK`].
const FIRST_LOOK: Duration = Duration::from_millis(25);

/// The time between two looks at a job that takes long.
const LOOK: Duration = Duration::from_millis(500);

/// The time between two lines, where no terminal shows a bar.
const LINE: Duration = Duration::from_secs(5);

/// How progress is shown, always on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar that is redrawn.
    Bar,
    /// A line once in a while.
    Lines,
    /// A JSON object once in a while.
    Json,
    /// Not at all.
    Silent,
}

impl Style {
    /// The style that suits standard error and the form of the results.
    #[must_use]
    pub fn fitting(json: bool) -> Self {
        // Hidden also where a terminal can't move its cursor.
        match (json, ProgressDrawTarget::stderr().is_hidden()) {
            (true, _) => Self::Json,
            (false, false) => Self::Bar,
            (false, true) => Self::Lines,
        }
    }
}

/// Shows progress on standard error.
pub struct Progress {
    style: Style,
    bar: Option<Bar>,
    last: std::sync::Mutex<Last>,
}

/// A bar or a board: whatever is drawn is a message of this bar, which knows how many lines it takes.
struct Bar {
    bar: ProgressBar,
    /// Has what is logged come above it.
    _drawing: Drawing,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(1000);
        let drawn = bar.clone();
        Self { bar, _drawing: Drawing::begin(move |write| drawn.suspend(write)) }
    }

    /// Draws a message, with a bar before it where there is a percentage.
    fn draw(&self, percent: Option<f64>, message: String) {
        if self.bar.is_finished() {
            // One job has ended, and the next is followed.
            self.bar.reset();
        }
        let template = if percent.is_some() { "{bar:30} {percent:>3}% {msg}" } else { "{msg}" };
        self.bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        if let Some(percent) = percent {
            self.bar.set_position(whole(percent * 10.0));
        }
        self.bar.set_message(message);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // What an error has to say comes where the bar was.
        self.bar.finish_and_clear();
    }
}

/// What was shown last, where lines are.
#[derive(Default)]
struct Last {
    at: Option<Instant>,
    /// What an operator has to do, which is said at once.
    awaits: Option<String>,
}

impl Progress {
    /// In a style.
    #[must_use]
    pub fn new(style: Style) -> Self {
        let bar = (style == Style::Bar).then(Bar::new);
        Self { style, bar, last: std::sync::Mutex::default() }
    }

    /// Shows how far an upload is.
    pub fn upload(&self, upload: &Upload, since: Instant) {
        let state = upload_status(upload);
        let seconds = since.elapsed().as_secs_f64();
        self.show(
            state.percent,
            || {
                let left = seconds * (100.0 - state.percent) / state.percent;
                // What has not begun tells nothing of how long it takes.
                let left = if left.is_finite() { format!(", {} left", duration(left)) } else { String::new() };
                format!(
                    "upload: {} of {} read, {} sent, {} there already, {}{left}",
                    HumanBytes(upload.bytes_read),
                    HumanBytes(upload.bytes_total),
                    HumanBytes(upload.bytes_sent),
                    HumanBytes(upload.bytes_reused),
                    rate(upload.bytes_read, seconds),
                )
            },
            || serde_json::json!({ "progress": "upload", "upload": state }),
        );
    }

    /// Shows how far a job is.
    pub fn job(&self, status: &Status) {
        if let Some(bar) = &self.bar {
            bar.draw(None, board::lines(status, room()).join("\n"));
            return;
        }
        let awaits = status.awaits();
        self.heed(awaits.as_ref());
        let phases = status.phases.named();
        let percent = phases.iter().map(|(_, phase)| phase.percent).sum::<f64>() / 3.0;
        self.show(
            percent,
            || {
                let counts = phases.iter().map(|(kind, phase)| {
                    let done = phase.succeeded + phase.skipped;
                    let failed = if phase.failed > 0 { format!(" ({} failed)", phase.failed) } else { String::new() };
                    format!("{kind} {done}/{}{failed}", phase.total)
                });
                let left = status.seconds_left.map_or_else(String::new, |left| format!(", {} left", duration(left)));
                let counts = counts.collect::<Vec<_>>().join(", ");
                let awaits = awaits.as_ref().map_or_else(String::new, |awaits| format!("; {awaits}"));
                format!("{}: {counts}, {}/s{left}{awaits}", status.job, HumanBytes(whole(status.bytes_per_second)))
            },
            || {
                serde_json::json!({
                    "progress": "job",
                    "job": status.job,
                    "state": status.state,
                    "approvals": status.approvals,
                    "phases": status.phases,
                })
            },
        );
    }

    /// Has the next line written at once, if it tells of something that an operator has to do and does not know yet.
    fn heed(&self, awaits: Option<&String>) {
        let mut last = self.last();
        if last.awaits.as_ref() != awaits {
            *last = Last { at: None, awaits: awaits.cloned() };
        }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn show(&self, percent: f64, text: impl Fn() -> String, json: impl Fn() -> serde_json::Value) {
        if let Some(bar) = &self.bar {
            bar.draw(Some(percent), text());
            return;
        }
        if self.style == Style::Silent {
            return;
        }
        let mut last = self.last();
        if last.at.is_some_and(|at| at.elapsed() < LINE) {
            return;
        }
        last.at = Some(Instant::now());
        let line = if self.style == Style::Json { json().to_string() } else { text() };
        screen::write_lines(format!("{line}\n").as_bytes());
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(Bar { bar, .. }) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The room on the terminal that standard error is.
fn room() -> board::Room {
    let (height, width) = console::Term::stderr().size();
    board::Room { width: width.into(), height: height.into(), colours: telemetry::colours(&std::io::stderr()) }
}

/// For display, where the fraction does not matter.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is shown only")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn rate(bytes: u64, seconds: f64) -> String {
    format!("{}/s", HumanBytes(whole(bytes as f64 / seconds.max(0.001))))
}

/// Who writes a job's end to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Whoever follows it, as soon as its last operation has ended.
    Here,
    /// A dispatcher, at its next sweep.
    Elsewhere,
}

/// Follows a job until it has ended. None where `stop` was cancelled first.
///
/// # Errors
/// Where the table can't be reached.
pub async fn follow(
    desk: &Desk,
    id: &JobId,
    finish: Finish,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Option<Status>, DeskError> {
    let mut look = FIRST_LOOK;
    loop {
        let job = desk.job(id).await?.value;
        let status = status(desk, &job).await?;
        progress.job(&status);
        // Its own row too: clean-up comes before the job's end is written there.
        if status.state != Standing::Running && job.state.is_terminal() {
            progress.end();
            return Ok(Some(status));
        }
        if status.state != Standing::Running && finish == Finish::Here && look_after(desk, id).await? == Looked::Ended {
            continue;
        }
        tokio::select! {
            () = desk.ports.clock.sleep(look) => look = (look * 2).min(LOOK),
            () = stop.cancelled() => {
                progress.end();
                return Ok(None);
            }
        }
    }
}
