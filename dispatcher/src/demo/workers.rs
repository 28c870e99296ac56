//! Worker processes of a demonstration.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::DemoError;

/// Worker processes that end with the demonstration, however it ends.
pub(super) struct Workers(Vec<Child>);

impl Workers {
    /// Starts them: this very program, as a worker, so that both are of one version.
    pub(super) fn start(count: u32, config: &Path) -> Result<Self, DemoError> {
        let program = std::env::current_exe().map_err(DemoError::io("this program can't be found"))?;
        let start = || {
            Command::new(&program)
                .arg("worker")
                .arg("--config")
                .arg(config)
                .env("GOLDFLEET_LOG", "warn")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .map_err(DemoError::io("a worker can't be started"))
        };
        (0..count).map(|_| start()).collect::<Result<_, _>>().map(Self)
    }

    /// Lets them drain. Returns the most memory one of them had in use at once, in bytes.
    pub(super) async fn stop(mut self) -> u64 {
        let mut peak = 0;
        for child in &self.0 {
            let Some(id) = child.id() else { continue };
            peak = peak.max(peak_memory(id));
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                // One that has ended by itself needs no signal.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for child in &mut self.0 {
            let _ = child.wait().await;
        }
        peak
    }
}

/// The most memory that a process had in use at once, in bytes, as Linux counts it; 0 where nobody tells.
fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
