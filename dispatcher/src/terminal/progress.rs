//! Shows progress on standard error.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use goldfleet_model::text::{HumanBytes, pluralize};
use goldfleet_model::upload::Upload;
use goldfleet_runtime::screen;
use goldfleet_runtime::telemetry;

use crate::control::status::{Status, UploadStatus};
use crate::control::verify::VerifyProgress;
use crate::terminal::job_view::{self, UploadRate};
use crate::terminal::redraw::{MARGIN, Redraw};

/// The interval between two lines if there is no terminal that shows a bar.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// How long an upload takes at least before the first line.
const FIRST_LINE: Duration = Duration::from_secs(1);

/// The minimum interval between two drawings of an upload. Progress is reported more often than a person can see.
const REDRAW_INTERVAL: Duration = Duration::from_millis(50);

/// How progress is shown. It always goes to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// Bars that are redrawn in place.
    Bar,
    /// A line at regular intervals.
    Lines,
    /// A JSON object at regular intervals.
    Json,
    /// Not at all.
    Silent,
}

impl ProgressMode {
    /// The mode for standard error (which may be a terminal that cannot move its cursor) and for the form of the
    /// results.
    #[must_use]
    pub fn for_stderr(json: bool) -> Self {
        let redraws = Term::stderr().is_term() && !console::is_dumb();
        match (json, redraws) {
            (true, _) => Self::Json,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// Shows progress on standard error.
pub struct ProgressDisplay {
    shown: DisplayState,
    last: Mutex<LastOutput>,
}

/// The state that a mode needs.
enum DisplayState {
    Bar(Redraw),
    Lines,
    Json,
    Silent,
}

/// When and what was shown last.
#[derive(Default)]
struct LastOutput {
    at: Option<Instant>,
    /// What the operator has to do. A change is shown without delay.
    awaits: Option<String>,
}

impl ProgressDisplay {
    /// A display in this mode.
    #[must_use]
    pub fn new(style: ProgressMode) -> Self {
        let shown = match style {
            ProgressMode::Bar => DisplayState::Bar(Redraw::default()),
            ProgressMode::Lines => DisplayState::Lines,
            ProgressMode::Json => DisplayState::Json,
            ProgressMode::Silent => DisplayState::Silent,
        };
        Self { shown, last: Mutex::default() }
    }

    /// Shows the progress of an upload.
    pub fn upload(&self, upload: &Upload, since: Instant) {
        let state = UploadStatus::of(upload);
        let pace = UploadRate::of(upload, since.elapsed().as_secs_f64());
        if let DisplayState::Bar(drawn) = &self.shown {
            if self.take_if_due(REDRAW_INTERVAL) {
                drawn.draw(job_view::upload_lines(upload, &pace, viewport()));
            }
            return;
        }
        // Many uploads end before progress is of interest. A line of zeros shows nothing, unless nothing is read for
        // long.
        if since.elapsed() < FIRST_LINE || (upload.bytes_read == 0 && since.elapsed() < LINE_INTERVAL) {
            return;
        }
        self.show(
            || {
                let left = job_view::time_left_suffix(pace.left);
                let rate = pace.rate.map_or_else(String::new, |rate| format!(", {}/s", HumanBytes(rate)));
                // How much is read is a part of the file. It is no number of bytes here, because the file and its VHD
                // have different ones.
                format!(
                    "upload: {:.0}% read, {} sent, {} already in the store{rate}{left}",
                    pace.percent.floor(),
                    HumanBytes(upload.bytes_sent),
                    HumanBytes(upload.bytes_reused),
                )
            },
            || serde_json::json!({ "progress": "upload", "upload": state }),
        );
    }

    /// Shows the progress of a verification.
    pub fn verification(&self, seen: &VerifyProgress, since: Instant) {
        let rate = rate(seen.bytes_read, since.elapsed().as_secs_f64());
        if let DisplayState::Bar(drawn) = &self.shown {
            if self.take_if_due(REDRAW_INTERVAL) {
                drawn.draw(vec![job_view::verification_line(seen, rate, viewport())]);
            }
            return;
        }
        // Most verifications end before progress is of interest.
        if since.elapsed() < LINE_INTERVAL {
            return;
        }
        self.show(
            || {
                let read = match seen.bytes_total {
                    0 => String::new(),
                    _ => format!(", {} read, {}/s", HumanBytes(seen.bytes_read), HumanBytes(rate)),
                };
                format!("verify: {} of {} checked{read}", seen.locations, pluralize(seen.places_total, "place"))
            },
            || serde_json::json!({ "progress": "verify", "verify": seen }),
        );
    }

    /// Shows the progress of a job.
    pub fn job(&self, status: &Status) {
        if let DisplayState::Bar(drawn) = &self.shown {
            drawn.draw(job_view::job_lines(status, viewport()));
            return;
        }
        let awaits = status.pending_action();
        self.force_next_line(awaits.as_ref());
        let phases = status.phases.named();
        self.show(
            || {
                if status.is_empty() {
                    return format!("{}: {}", status.job, status.shown_state());
                }
                let used = phases.iter().filter(|(_, phase)| phase.total > 0);
                let counts = used.map(|(kind, phase)| format!("{kind} {}", job_view::phase_counts(phase)));
                let left = job_view::time_left_suffix(status.seconds_left);
                let counts = counts.collect::<Vec<_>>().join(", ");
                let idle = status.idle_words().map_or_else(String::new, |(idle, resume)| format!("; {idle} {resume}"));
                let awaits = awaits.as_ref().map_or_else(String::new, |awaits| format!("; {awaits}"));
                let rate = status.rate_words().map_or_else(String::new, |rate| format!(", {rate}"));
                format!("{}: {counts}{rate}{left}{idle}{awaits}", status.job)
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

    /// Makes the next line appear without delay if the operator has to do something that was not shown yet.
    fn force_next_line(&self, awaits: Option<&String>) {
        let mut last = self.last();
        if last.awaits.as_ref() != awaits {
            *last = LastOutput { at: None, awaits: awaits.cloned() };
        }
    }

    fn last(&self) -> MutexGuard<'_, LastOutput> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, text: impl Fn() -> String, json: impl Fn() -> serde_json::Value) {
        if !self.take_if_due(LINE_INTERVAL) {
            return;
        }
        let line = match self.shown {
            DisplayState::Lines => text(),
            DisplayState::Json => json().to_string(),
            DisplayState::Bar(_) | DisplayState::Silent => return,
        };
        screen::write_lines(format!("{line}\n").as_bytes());
    }

    /// Whether nothing was shown for the duration of `pause`. If so, the time is reset.
    fn take_if_due(&self, pause: Duration) -> bool {
        let mut last = self.last();
        let due = last.at.is_none_or(|at| at.elapsed() >= pause);
        if due {
            last.at = Some(Instant::now());
        }
        due
    }

    /// Keeps what is drawn on the screen, and continues below it.
    pub fn leave(&self) {
        if let DisplayState::Bar(drawn) = &self.shown {
            drawn.leave();
        }
    }

    /// Clears what is drawn.
    pub fn end(&self) {
        if let DisplayState::Bar(drawn) = &self.shown {
            drawn.clear();
        }
    }
}

/// The available space on the terminal of standard error.
fn viewport() -> job_view::Viewport {
    let (height, width) = Term::stderr().size();
    let width = usize::from(width).saturating_sub(MARGIN);
    job_view::Viewport { width, height: height.into(), colours: telemetry::supports_color(&std::io::stderr()) }
}

/// Converts for display, where the fraction does not matter.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is shown only")]
fn to_u64(number: f64) -> u64 {
    number as u64
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn rate(bytes: u64, seconds: f64) -> u64 {
    to_u64(bytes as f64 / seconds.max(0.001))
}
