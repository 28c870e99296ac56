//! Lines that are redrawn in place on the terminal of standard error.
//!
//! The cursor rests right behind the last line, and not at the terminal's edge: the `^C` that a terminal echoes there
//! must not break the line, or the place would be lost.
//!
//! # Why not `indicatif::MultiProgress`
//!
//! `MultiProgress` of indicatif 0.18.6 ends a line by padding it with spaces to the width of the terminal, and lets the
//! terminal wrap. Three guarantees of this module would be lost:
//!
//! - **Nothing is left behind after an interrupt.** The cursor rests at the right edge, so an echoed `^C` wraps to a
//!   new row. The next clear goes up one row too few, and the first line of the display stays on the screen.
//! - **A display is redrawn in place after the terminal was resized.** Padded lines are one wrapped line to the
//!   terminal: when the width changes, it breaks them elsewhere, and the counted rows are wrong (indicatif issue 182,
//!   open since 2020). Lines that end with a line break keep their rows in a wider terminal.
//! - **A closed standard error ends nothing.** `MultiProgress::suspend`, which would write the log lines, panics when a
//!   write fails.
//!
//! A custom `TermLike` can work around these: it has to track the column, replace the padding by line breaks and ignore
//! errors. That is as much code as this module, and it depends on the order in which indicatif makes its calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use goldfleet_runtime::screen::{self, Drawing};

/// Columns that callers must leave free at the right edge, for characters that the terminal echoes.
pub const MARGIN: usize = 2;

/// Clears from the cursor to the end of the screen.
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Clears from the cursor to the end of its line, and moves to the next line.
const NEXT_LINE: &str = "\u{1b}[K\r\n";

/// Clears the current line, and moves to its start.
const CLEAR_LINE: &str = "\r\u{1b}[K";

/// Moves up one line.
const UP: &str = "\u{1b}[A";

/// An area of redrawn lines. Log lines appear above it until it is dropped.
pub struct Redraw {
    shown: Arc<Mutex<Vec<String>>>,
    _drawing: Drawing,
}

impl Default for Redraw {
    fn default() -> Self {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let drawn = Arc::clone(&shown);
        let drawing = Drawing::begin(move |write| {
            let shown = lock(&drawn);
            screen::write_raw(&away(&shown));
            write();
            screen::write_raw(&text(&shown));
        });
        Self { shown, _drawing: drawing }
    }
}

impl Redraw {
    /// Draws lines in place of the previous ones. They must not be wider than the terminal less [`MARGIN`], nor more
    /// than its height.
    pub fn draw(&self, lines: Vec<String>) {
        let mut shown = lock(&self.shown);
        screen::write_raw(&(to_first(&shown) + &text(&lines)));
        *shown = lines;
    }

    /// Keeps the lines on the screen. Anything drawn or written later appears below them.
    pub fn leave(&self) {
        let mut shown = lock(&self.shown);
        if !shown.is_empty() {
            screen::write_raw("\r\n");
            shown.clear();
        }
    }

    /// Clears the lines.
    pub fn clear(&self) {
        let mut shown = lock(&self.shown);
        screen::write_raw(&away(&shown));
        shown.clear();
    }
}

impl Drop for Redraw {
    fn drop(&mut self) {
        // An error message then appears in place of the lines.
        self.clear();
    }
}

fn lock(shown: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Moves from the end of the last line to the start of the first.
fn to_first(shown: &[String]) -> String {
    format!("\r{}", UP.repeat(shown.len().saturating_sub(1)))
}

/// Clears the lines one by one. Some terminals add a screen that is cleared as a whole to their scrollback.
fn away(shown: &[String]) -> String {
    vec![CLEAR_LINE; shown.len()].join(UP)
}

fn text(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { lines.join(NEXT_LINE) + CLEAR_BELOW }
}
