//! Standard error, shared by log lines and a drawing on the terminal that is updated in place.
//!
//! A log line that is written directly would appear inside the drawing. So a drawing registers a function that makes
//! room for lines, and all lines of [`telemetry`](crate::telemetry) are written through this module. Without a drawing,
//! lines are written directly.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Removes the drawing, calls the argument to write lines in its place, and draws it again below them.
type MakeRoom = dyn Fn(&mut dyn FnMut()) + Send + Sync;

/// The only drawing of this process. A terminal has one cursor, so there cannot be more.
static DRAWN: Mutex<Option<Arc<MakeRoom>>> = Mutex::new(None);

/// A drawing on the terminal of standard error. It ends when it is dropped.
#[must_use = "lines make room for a drawing only as long as this lives"]
pub struct Drawing(Arc<MakeRoom>);

impl Drawing {
    /// Registers a drawing: from now on, lines are written through `make_room`. It must call its argument once, must
    /// not log, and can be called from several threads. It replaces an earlier drawing.
    pub fn begin(make_room: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) -> Self {
        let make_room: Arc<MakeRoom> = Arc::new(make_room);
        *drawn() = Some(Arc::clone(&make_room));
        Self(make_room)
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        let mut drawn = drawn();
        if drawn.as_ref().is_some_and(|drawn| Arc::ptr_eq(drawn, &self.0)) {
            *drawn = None;
        }
    }
}

fn drawn() -> MutexGuard<'static, Option<Arc<MakeRoom>>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the drawing itself, or the control codes that remove it.
pub fn write_raw(text: &str) {
    // An error means that standard error is closed. There is no other place to report it.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes whole lines to standard error, above the drawing.
pub fn write_lines(lines: &[u8]) {
    let mut write = || drop(io::stderr().write_all(lines));
    // The lock is released first, so that a drawing can end while another thread waits for room.
    let make_room = drawn().clone();
    match make_room {
        Some(make_room) => make_room(&mut write),
        None => write(),
    }
}

/// A writer to standard error. Each write must consist of whole lines, as the writes of a logger do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        write_lines(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn log_lines_are_written_above_drawing() {
        let here = std::thread::current().id();
        let counted = || {
            let count = Arc::new(AtomicUsize::new(0));
            let counting = Arc::clone(&count);
            let drawing = Drawing::begin(move |write| {
                // Other tests of this process may log at the same time.
                counting.fetch_add(usize::from(std::thread::current().id() == here), Ordering::Relaxed);
                write();
            });
            (drawing, count)
        };
        let (first, of_first) = counted();
        assert_eq!(Lines.write(b"above the first\n").unwrap(), 16);
        let (second, of_second) = counted();
        drop(first);
        write_lines(b"above the second\n");
        drop(second);
        write_lines(b"above nothing\n");
        assert_eq!([of_first, of_second].map(|count| count.load(Ordering::Relaxed)), [1, 1]);
    }
}
