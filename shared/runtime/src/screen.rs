//! Standard error, where lines and a drawing that is redrawn in place may share a terminal.
//!
//! A line that was simply written would land in the middle of the drawing. So whoever draws says how room is made, and
//! every line of [`telemetry`](crate::telemetry) comes by here. Where nothing is drawn, lines are just written.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Takes a drawing away, has lines written where it was, and draws it anew below them.
type MakeRoom = dyn Fn(&mut dyn FnMut()) + Send + Sync;

/// The one drawing of this process: a terminal has one place where the cursor is.
static DRAWN: Mutex<Option<Arc<MakeRoom>>> = Mutex::new(None);

/// A drawing on standard error's terminal, until it is dropped.
#[must_use = "lines make room for a drawing only as long as this lives"]
pub struct Drawing(Arc<MakeRoom>);

impl Drawing {
    /// From now on lines are written by `make_room`, which has to call what it is given once, must not log itself, and may
    /// be called by several threads. A drawing before this one is forgotten.
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

/// Writes the drawing itself, or whatever takes it away.
pub fn write_raw(text: &str) {
    // Whoever has closed standard error wants to be told nothing, and there is nobody else to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes whole lines to standard error, above what is drawn there.
pub fn write_lines(lines: &[u8]) {
    let mut write = || drop(io::stderr().write_all(lines));
    // The lock is given back first: a drawing may end while another thread waits for room.
    let make_room = drawn().clone();
    match make_room {
        Some(make_room) => make_room(&mut write),
        None => write(),
    }
}

/// A writer to standard error of which each single write is of whole lines, as those of a logger are.
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
                // Other tests of this process may log meanwhile.
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
