//! What a program costs while it runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// The time between two looks at a program's memory. Its peak never falls, so only the last look counts.
const LOOK: Duration = Duration::from_millis(2);

/// What one run cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds of processor time, in user mode and in the kernel.
    pub(crate) cpu: f64,
    /// The most bytes of memory it held.
    pub(crate) memory: f64,
}

/// Runs a program to its end, which must be a good one. What it says goes to `log`.
pub(crate) fn run(command: &mut Command, log: &Path) -> anyhow::Result<Cost> {
    let said = fs::File::create(log)?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    let (cpu, begun) = (cpu_of_ended_children()?, Instant::now());
    let mut child = command.spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0.0;
    let ended = loop {
        if let Some(peak) = fs::read_to_string(&status).ok().and_then(|text| peak(&text)) {
            memory = peak;
        }
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        sleep(LOOK);
    };
    let wall = begun.elapsed().as_secs_f64();
    ensure!(ended.success(), "{:?} ended with {ended}: {}", command.get_program(), fs::read_to_string(log)?);
    Ok(Cost { wall, cpu: cpu_of_ended_children()? - cpu, memory })
}

/// The peak of the resident memory in `/proc/PID/status`, in bytes. A process that has ended has none.
fn peak(status: &str) -> Option<f64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kib.trim().parse::<f64>().ok()? * 1024.0)
}

/// The processor time of all children that have ended and been waited for, and of theirs, in seconds.
fn cpu_of_ended_children() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The program's name, in brackets, may have blanks. Behind it the children's times are the 14th and 15th field.
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat has another form")?;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    #[expect(clippy::cast_precision_loss, reason = "it is 100, as a rule")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(ticks / per_second)
}
