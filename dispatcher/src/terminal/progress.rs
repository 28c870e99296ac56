//! Showing how far something is, on standard error.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use goldfleet_model::upload::Upload;
use goldfleet_model::words::counted;
use goldfleet_runtime::screen;
use goldfleet_runtime::telemetry;
use indicatif::HumanBytes;

use crate::control::status::{Status, UploadStatus};
use crate::control::verify::Seen;
use crate::terminal::board::{self, Pace};
use crate::terminal::redraw::{MARGIN, Redraw};

/// The time between two lines, where no terminal shows a bar.
const LINE: Duration = Duration::from_secs(5);

/// The time between two drawings of an upload, which is asked to show itself more often than anyone can see.
const REDRAW: Duration = Duration::from_millis(50);

/// How progress is shown, always on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bars that are redrawn in place.
    Bar,
    /// A line once in a while.
    Lines,
    /// A JSON object once in a while.
    Json,
    /// Not at all.
    Silent,
}

impl Style {
    /// The style that suits standard error, which may be a terminal that can't move its cursor, and the form of the results.
    #[must_use]
    pub fn fitting(json: bool) -> Self {
        let redraws = Term::stderr().is_term() && !console::is_dumb();
        match (json, redraws) {
            (true, _) => Self::Json,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// Shows progress on standard error.
pub struct Progress {
    shown: Shown,
    last: Mutex<Last>,
}

/// A style, and what it takes.
enum Shown {
    Bar(Redraw),
    Lines,
    Json,
    Silent,
}

/// When something was shown last, and what.
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
        let shown = match style {
            Style::Bar => Shown::Bar(Redraw::default()),
            Style::Lines => Shown::Lines,
            Style::Json => Shown::Json,
            Style::Silent => Shown::Silent,
        };
        Self { shown, last: Mutex::default() }
    }

    /// Shows how far an upload is.
    pub fn upload(&self, upload: &Upload, since: Instant) {
        let state = UploadStatus::of(upload);
        let seconds = since.elapsed().as_secs_f64();
        let left = seconds * (100.0 - state.percent) / state.percent;
        let rate = rate(upload.bytes_read, seconds);
        // What has not begun tells nothing of how long it takes.
        let pace = Pace { percent: state.percent, seconds, rate, left: left.is_finite().then_some(left) };
        if let Shown::Bar(drawn) = &self.shown {
            if self.due(REDRAW) {
                drawn.draw(board::upload_lines(upload, &pace, room()));
            }
            return;
        }
        self.show(
            || {
                let left = board::left(pace.left);
                format!(
                    "upload: {} of {} read, {} sent, {} there already, {}/s{left}",
                    HumanBytes(upload.bytes_read),
                    HumanBytes(upload.bytes_total),
                    HumanBytes(upload.bytes_sent),
                    HumanBytes(upload.bytes_reused),
                    HumanBytes(pace.rate),
                )
            },
            || serde_json::json!({ "progress": "upload", "upload": state }),
        );
    }

    /// Shows how far a verification is.
    pub fn verification(&self, seen: &Seen, since: Instant) {
        let rate = rate(seen.bytes_read, since.elapsed().as_secs_f64());
        if let Shown::Bar(drawn) = &self.shown {
            if self.due(REDRAW) {
                drawn.draw(vec![board::verification_line(seen, rate, room())]);
            }
            return;
        }
        // Most are over before anyone wonders.
        if since.elapsed() < LINE {
            return;
        }
        self.show(
            || {
                let read = match seen.bytes_total {
                    0 => String::new(),
                    _ => format!(", {} read, {}/s", HumanBytes(seen.bytes_read), HumanBytes(rate)),
                };
                format!("verify: {} of {} looked at{read}", seen.places, counted(seen.places_total, "place"))
            },
            || serde_json::json!({ "progress": "verify", "verify": seen }),
        );
    }

    /// Shows how far a job is.
    pub fn job(&self, status: &Status) {
        if let Shown::Bar(drawn) = &self.shown {
            drawn.draw(board::lines(status, room()));
            return;
        }
        let awaits = status.awaits();
        self.heed(awaits.as_ref());
        let phases = status.phases.named();
        self.show(
            || {
                let counts = phases.iter().map(|(kind, phase)| {
                    let done = phase.succeeded + phase.skipped;
                    let failed = if phase.failed > 0 { format!(" ({} failed)", phase.failed) } else { String::new() };
                    format!("{kind} {done}/{}{failed}", phase.total)
                });
                let left = board::left(status.seconds_left);
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

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, text: impl Fn() -> String, json: impl Fn() -> serde_json::Value) {
        if !self.due(LINE) {
            return;
        }
        let line = match self.shown {
            Shown::Lines => text(),
            Shown::Json => json().to_string(),
            Shown::Bar(_) | Shown::Silent => return,
        };
        screen::write_lines(format!("{line}\n").as_bytes());
    }

    /// Whether nothing was shown for so long, in which case it is now.
    fn due(&self, pause: Duration) -> bool {
        let mut last = self.last();
        let due = last.at.is_none_or(|at| at.elapsed() >= pause);
        if due {
            last.at = Some(Instant::now());
        }
        due
    }

    /// Takes away what is drawn.
    pub fn end(&self) {
        if let Shown::Bar(drawn) = &self.shown {
            drawn.clear();
        }
    }
}

/// The room on the terminal that standard error is.
fn room() -> board::Room {
    let (height, width) = Term::stderr().size();
    let width = usize::from(width).saturating_sub(MARGIN);
    board::Room { width, height: height.into(), colours: telemetry::colours(&std::io::stderr()) }
}

/// For display, where the fraction does not matter.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is shown only")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn rate(bytes: u64, seconds: f64) -> u64 {
    whole(bytes as f64 / seconds.max(0.001))
}
