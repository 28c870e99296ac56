//! The process that holds SQLite's write lock.
//!
//! In write-ahead mode a writer holds a POSIX lock of the byte [`WRITE_LOCK`] of the file that ends in `-shm`. Linux
//! lists the locks of all processes in `/proc/locks`. The file is not opened to ask for its lock: when a process closes
//! a file, it loses all its POSIX locks of that file, those of SQLite too.
//!
//! A process that is stopped, for example by SIGSTOP, keeps its locks, so it halts every process that writes. If such a
//! process is one of goldfleet and of the same user, and did not run for longer than a lease, it is killed: its work is
//! lost to it anyway.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

/// The byte of the write lock: `UNIX_SHM_BASE` + `WAL_WRITE_LOCK` (source: SQLite, os_unix.c and wal.c).
const WRITE_LOCK: u64 = 120;

/// The state of a process that does not run until it receives a signal (source: proc_pid_stat(5)).
const STOPPED: &str = "T";

/// A process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: i32,
    /// When it was started, in clock ticks since the machine was. With the id, it identifies a process.
    started: String,
    /// How often it has run. It does not change while the process is stopped.
    switches: Vec<String>,
    is_stopped: bool,
    /// The name of its program.
    program: String,
    user: u32,
}

/// What is known about the holder of the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// It was killed, so the lock is free.
    Killed(String),
    /// Another process holds the lock. Contains its description, and what to do.
    Held(String),
    /// Nobody holds it now, or the holder cannot be found.
    Unknown,
}

/// Observes who holds the lock of a database, and kills a stopped holder.
#[derive(Debug)]
pub(super) struct HolderWatch {
    /// The file that ends in `-shm`.
    file: PathBuf,
    /// How long a process must have been stopped before it is killed.
    stopped_for: Duration,
    /// The stopped process that held the lock at the last observation, and since when it was seen.
    seen: Option<(Process, Instant)>,
}

impl HolderWatch {
    pub(super) fn new(database: &Path, stopped_for: Duration) -> Self {
        let mut file = database.as_os_str().to_owned();
        file.push("-shm");
        Self { file: file.into(), stopped_for, seen: None }
    }

    /// Looks who holds the lock now. Call it each time the lock could not be taken.
    pub(super) fn observe(&mut self) -> Holder {
        let Some(holder) = self.holder() else {
            self.seen = None;
            return Holder::Unknown;
        };
        let name = format!("process {} ({})", holder.pid, holder.program);
        if !holder.is_stopped {
            self.seen = None;
            return Holder::Held(name);
        }
        let since = match &self.seen {
            Some((seen, since)) if *seen == holder => *since,
            _ => {
                let now = Instant::now();
                self.seen = Some((holder.clone(), now));
                now
            }
        };
        let is_ours = holder.program.starts_with("goldfleet") && holder.user == geteuid().as_raw();
        if is_ours && since.elapsed() >= self.stopped_for && self.kill(&holder) {
            self.seen = None;
            return Holder::Killed(name);
        }
        Holder::Held(format!("{name}, which is stopped: continue it with 'kill -CONT {}', or kill it", holder.pid))
    }

    /// The process that holds the write lock.
    fn holder(&self) -> Option<Process> {
        let metadata = fs::metadata(&self.file).ok()?;
        let device = metadata.dev();
        let id = format!("{:02x}:{:02x}:{}", rustix::fs::major(device), rustix::fs::minor(device), metadata.ino());
        let pid = holder_in(&fs::read_to_string("/proc/locks").ok()?, &id)?;
        Process::read(pid)
    }

    /// Kills a process, if it is still the same one and still has the lock.
    fn kill(&self, process: &Process) -> bool {
        let Some(pid) = Pid::from_raw(process.pid) else { return false };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        // The handle is that of the process with this id now. Only then is it compared.
        self.holder().as_ref() == Some(process) && pidfd_send_signal(handle, Signal::KILL).is_ok()
    }
}

/// The process that holds the write lock of the file `id` (device and inode), according to `/proc/locks`. A line is
/// `1: POSIX  ADVISORY  WRITE 1234 08:01:567 120 120`; one of a process that waits has `->` behind its number.
fn holder_in(locks: &str, id: &str) -> Option<i32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().skip(1).collect();
        let ["POSIX", _, "WRITE", pid, file, first, last] = fields[..] else { return None };
        let covers =
            first.parse::<u64>().ok()? <= WRITE_LOCK && last.parse().map_or(true, |last: u64| WRITE_LOCK <= last);
        let pid: i32 = pid.parse().ok()?;
        (file == id && covers && pid > 0).then_some(pid)
    })
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        // The name of the program is in parentheses, and can contain any character.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, started) = (*fields.first()?, (*fields.get(19)?).to_owned());
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let switches = status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect();
        let program = fs::read_link(folder.join("exe")).ok();
        let program =
            program.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
        let user = fs::metadata(&folder).ok()?.uid();
        let program = program.unwrap_or_else(|| "unknown program".to_owned());
        Some(Self { pid, started, switches, is_stopped: state == STOPPED, program, user })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_is_found_by_file_and_byte() {
        let locks = "1: POSIX  ADVISORY  READ 11 08:01:567 120 120\n\
            2: POSIX  ADVISORY  WRITE 12 08:01:567 123 123\n\
            3: POSIX  ADVISORY  WRITE 13 08:01:568 120 120\n\
            3: -> POSIX  ADVISORY  WRITE 14 08:01:567 120 120\n\
            4: FLOCK  ADVISORY  WRITE 15 08:01:567 0 EOF\n\
            5: POSIX  ADVISORY  WRITE 0 08:01:567 120 120\n\
            6: POSIX  ADVISORY  WRITE 16 08:01:567 120 120\n";
        assert_eq!(holder_in(locks, "08:01:567"), Some(16));
        assert_eq!(holder_in(locks, "08:01:569"), None);
    }
}
