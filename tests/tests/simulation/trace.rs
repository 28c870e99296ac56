//! What happened, line by line: told where a seed fails, and compared where one is run twice.

use std::collections::VecDeque;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

/// The lines that are kept.
const KEPT: usize = 250;

/// More lines than any run that comes to an end has.
const MAX_LINES: u64 = 3_000_000;

/// A run's trace.
pub(crate) struct Trace {
    began: Instant,
    all: bool,
    lines: Mutex<Lines>,
}

struct Lines {
    hash: DefaultHasher,
    count: u64,
    last: VecDeque<String>,
    wrong: Vec<String>,
}

impl Trace {
    /// One that begins now, and with `all` keeps everything.
    pub(crate) fn new(all: bool) -> Self {
        let lines = Lines { hash: DefaultHasher::new(), count: 0, last: VecDeque::new(), wrong: Vec::new() };
        Self { began: Instant::now(), all, lines: Mutex::new(lines) }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap()
    }

    pub(crate) fn line(&self, text: impl Display) {
        let line = format!("{:>10.3} {text}", self.began.elapsed().as_secs_f64());
        let mut lines = self.lines();
        line.hash(&mut lines.hash);
        lines.count += 1;
        assert!(lines.count < MAX_LINES, "it does not end");
        if !self.all && lines.last.len() == KEPT {
            lines.last.pop_front();
        }
        lines.last.push_back(line);
    }

    /// Something that must not be.
    pub(crate) fn record_violation(&self, text: impl Display) {
        self.line(format!("WRONG: {text}"));
        let at = self.began.elapsed().as_secs_f64();
        self.lines().wrong.push(format!("at {at:.3}: {text}"));
    }

    /// What was wrong so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.lines().wrong.clone()
    }

    /// A number for the whole of it, and how many lines there are.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let lines = self.lines();
        (lines.hash.finish(), lines.count)
    }

    /// Its end, or all of it if that was kept.
    pub(crate) fn end(&self) -> String {
        let lines = self.lines();
        lines.last.iter().map(|line| format!("{line}\n")).collect()
    }
}
