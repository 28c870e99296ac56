//! Lines on the terminal that standard error is, drawn again and again in the same place.
//!
//! The cursor rests right behind the last line, and not at the terminal's edge: the `^C` that a terminal echoes there must
//! not break the line, or the place would be lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use goldfleet_runtime::screen::{self, Drawing};

/// Columns at the terminal's right edge to be left free by whoever makes the lines: room for what a terminal echoes.
pub const MARGIN: usize = 2;

/// Clears from the cursor to the end of the screen.
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Clears from the cursor to the end of its line, and begins the next.
const NEXT_LINE: &str = "\u{1b}[K\r\n";

/// Clears the line that the cursor is on, and goes to its beginning.
const CLEAR_LINE: &str = "\r\u{1b}[K";

/// Goes up a line.
const UP: &str = "\u{1b}[A";

/// The place where lines are drawn. Log lines come above it, until it is dropped.
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
    /// Draws lines where the last ones were. They must be no wider than the terminal less [`MARGIN`], and no more than it
    /// has.
    pub fn draw(&self, lines: Vec<String>) {
        let mut shown = lock(&self.shown);
        screen::write_raw(&(to_first(&shown) + &text(&lines)));
        *shown = lines;
    }

    /// Takes the lines away.
    pub fn clear(&self) {
        let mut shown = lock(&self.shown);
        screen::write_raw(&away(&shown));
        shown.clear();
    }
}

impl Drop for Redraw {
    fn drop(&mut self) {
        // What an error has to say comes where the lines were.
        self.clear();
    }
}

fn lock(shown: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// To the beginning of the first of the lines, from behind the last one.
fn to_first(shown: &[String]) -> String {
    format!("\r{}", UP.repeat(shown.len().saturating_sub(1)))
}

/// Takes the lines away one by one: a terminal that keeps what is cleared may take a screen that is cleared as a whole for
/// something to be kept.
fn away(shown: &[String]) -> String {
    vec![CLEAR_LINE; shown.len()].join(UP)
}

fn text(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { lines.join(NEXT_LINE) + CLEAR_BELOW }
}
