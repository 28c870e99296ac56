//! Worker processes of a demonstration.

use std::path::Path;
use std::process::Stdio;

use goldfleet_runtime::{screen, telemetry};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::DemoError;

/// Worker processes that are stopped when the demonstration ends, for any reason.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    child: Child,
    /// Forwards the output of the process until it ends.
    output: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts the workers. Each runs the current executable, so that the versions match.
    pub(super) fn start(count: u32, config: &Path) -> Result<Self, DemoError> {
        let program = std::env::current_exe().map_err(DemoError::io("this program can't be found"))?;
        // Their output goes through a pipe, which disables colours by default.
        let colours = telemetry::supports_color(&std::io::stderr()).then_some(("CLICOLOR_FORCE", "1"));
        let start = || {
            let mut child = Command::new(&program)
                .arg("worker")
                .arg("--config")
                .arg(config)
                .env("GOLDFLEET_LOG", "warn")
                .envs(colours)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(DemoError::io("a worker can't be started"))?;
            let said = child.stderr.take().map(|said| tokio::spawn(forward_output(said)));
            Ok(Worker { child, output: said })
        };
        (0..count).map(|_| start()).collect::<Result<_, _>>().map(Self)
    }

    /// Drains the workers. Returns the peak memory of the one that used most, in bytes.
    pub(super) async fn stop(mut self) -> u64 {
        let mut peak = 0;
        for Worker { child, .. } in &self.0 {
            let Some(id) = child.id() else { continue };
            peak = peak.max(peak_memory(id));
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                // A worker that has already ended needs no signal.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for Worker { child, output: said } in &mut self.0 {
            let _ = child.wait().await;
            if let Some(said) = said {
                let _ = said.await;
            }
        }
        peak
    }
}

/// Writes the output line by line, above the lines that are drawn on the shared terminal.
async fn forward_output(said: impl AsyncRead + Unpin) {
    let mut said = BufReader::new(said);
    let mut line = Vec::new();
    while let Ok(1..) = said.read_until(b'\n', &mut line).await {
        screen::write_lines(&line);
        line.clear();
    }
}

/// The peak memory of a process in bytes, as reported by Linux. 0 if it is not available.
fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
