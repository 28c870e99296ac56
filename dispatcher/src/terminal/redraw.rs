//! Lines that are redrawn in place on the terminal of standard error.
//!
//! The cursor stays directly after the last line, and not at the right edge of the terminal. A `^C` that the terminal
//! echoes there must not wrap the line, because the position would then be lost.

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
