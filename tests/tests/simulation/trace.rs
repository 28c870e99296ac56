//! A trace, line by line. It is printed if a seed fails, and compared if a seed is run twice.

use std::collections::VecDeque;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

/// The number of lines that are kept.
const KEPT: usize = 250;

/// More lines than any run has that ends.
const MAX_LINES: u64 = 3_000_000;

/// The trace of a run.
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
    /// A trace that starts now. With `all`, it keeps all lines.
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

    /// Records a violation.
    pub(crate) fn record_violation(&self, text: impl Display) {
        self.line(format!("WRONG: {text}"));
        let at = self.began.elapsed().as_secs_f64();
        self.lines().wrong.push(format!("at {at:.3}: {text}"));
    }

    /// The violations so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.lines().wrong.clone()
    }

    /// A hash of the whole trace, and the number of its lines.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let lines = self.lines();
        (lines.hash.finish(), lines.count)
    }

    /// The end of the trace, or the complete trace if it was kept.
    pub(crate) fn end(&self) -> String {
        let lines = self.lines();
        lines.last.iter().map(|line| format!("{line}\n")).collect()
    }
}
