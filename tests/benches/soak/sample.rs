//! One look at everything that could grow.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use goldfleet_tests::process_fixture::{Process, ProcessFixture};
use rusqlite::{Connection, OpenFlags};

/// A process, as `/proc` shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessSample {
    pub(crate) name: &'static str,
    /// Memory of its own in KiB: what it allocated, and not the pages of programs and files, which the system gives it
    /// and takes away as it likes.
    pub(crate) memory: u64,
    /// The most resident memory in KiB so far, with such pages.
    pub(crate) peak: u64,
    /// Open file handles.
    pub(crate) handles: u64,
}

/// Everything at one moment, between two jobs.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) jobs: u64,
    pub(crate) operations: u64,
    pub(crate) processes: Vec<ProcessSample>,
    /// KiB of the SQLite file and of its log.
    pub(crate) database: u64,
    pub(crate) log: u64,
    /// Messages in all queues; rows of operations and events.
    pub(crate) messages: u64,
    pub(crate) rows: u64,
    /// Files of the storage accounts: blobs, and what is kept of each. (Images are not goldfleet's to remove.)
    pub(crate) files: u64,
}

impl Sample {
    pub(crate) fn take(
        fixture: &ProcessFixture,
        processes: &[(&'static str, Process)],
        at: Duration,
        jobs: u64,
        operations: u64,
    ) -> Self {
        let database =
            Connection::open_with_flags(fixture.path("goldfleet.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap().into();
        Self {
            at,
            jobs,
            operations,
            processes: processes.iter().map(|(name, process)| held(name, process)).collect(),
            messages: count("SELECT count(*) FROM messages"),
            rows: count("SELECT (SELECT count(*) FROM operations) + (SELECT count(*) FROM events)"),
            database: length(&fixture.path("goldfleet.db")) >> 10,
            log: length(&fixture.path("goldfleet.db-wal")) >> 10,
            files: files(&fixture.path("cloud")) - files(&fixture.path("cloud/subscriptions")),
        }
    }
}

fn held(name: &'static str, process: &Process) -> ProcessSample {
    let folder = format!("/proc/{}", process.0.id());
    let status = std::fs::read_to_string(format!("{folder}/status")).unwrap();
    let kib = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{name} is gone"));
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let handles = std::fs::read_dir(format!("{folder}/fd")).unwrap().count() as u64;
    ProcessSample { name, memory: kib("RssAnon:"), peak: kib("VmHWM:"), handles }
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}

/// How many files there are in a folder; workers may take one away meanwhile.
fn files(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// What stands above the samples.
pub(crate) fn heading() -> String {
    format!(
        "{:>6} {:>6} {:>6}  {:>41}  {:>24}  {:>8} {:>8} {:>8} {:>8}\n{:>6} {:>6} {:>6}  {:>41}  {:>24}",
        "min",
        "jobs",
        "ops",
        "own memory, MiB",
        "handles",
        "db, MiB",
        "log, MiB",
        "messages",
        "files",
        "",
        "",
        "",
        "dispatcher, 4 workers",
        "dispatcher, 4 workers"
    )
}

impl fmt::Display for Sample {
    #[expect(clippy::cast_precision_loss, reason = "shown with a digit")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.1} {:>6} {:>6} ", self.at.as_secs_f64() / 60.0, self.jobs, self.operations)?;
        self.processes.iter().try_for_each(|held| write!(f, " {:>7.1}", held.memory as f64 / 1024.0))?;
        write!(f, "   ")?;
        self.processes.iter().try_for_each(|held| write!(f, " {:>4}", held.handles))?;
        let (database, log) = (self.database as f64 / 1024.0, self.log as f64 / 1024.0);
        write!(f, "   {database:>8.1} {log:>8.1} {:>8} {:>8}", self.messages, self.files)
    }
}
