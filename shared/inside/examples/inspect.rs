//! Inspects a disk image and prints the result: `inspect FILE [--json] [--secure-boot] [--hardware virtio|nvme]`.
//!
//! A tool for development. The command `goldfleet check` has more options, and checks the container too.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use goldfleet_disk::{AzureDisk, Severity};
use goldfleet_inside::{Hardware, Options, inspect};

/// The most memory that the process had at one time, in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

/// The processor time of the process in milliseconds. Linux counts it in hundredths of a second.
fn processor_time() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The fields behind the name, which is in parentheses: user time is the 14th of all fields, system time the 15th.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Some(ticks.sum::<u64>() * 10)
}

#[allow(clippy::print_stdout, reason = "the output of a program")]
fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("usage: inspect FILE [--json] [--secure-boot] [--hardware virtio|nvme]")?;
    let mut options = Options::default();
    let after = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
    options.hardware = match after("--hardware").map(String::as_str) {
        Some("virtio") => Hardware::Virtio,
        Some("nvme") => Hardware::Nvme,
        Some(other) => return Err(format!("unknown hardware {other}").into()),
        None => Hardware::HyperV,
    };
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    options.requirements.secure_boot = has("--secure-boot");
    let start = Instant::now();
    let disk = AzureDisk::open(Path::new(path))?;
    let inspection = inspect(Arc::new(disk), &options);
    let elapsed = start.elapsed().as_millis();
    if has("--json") {
        println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        for finding in &inspection.findings {
            let path = finding.path.as_deref().map(|path| format!(" [{path}]")).unwrap_or_default();
            println!("{:<8} {:<22} {}{path}", finding.severity, finding.code, finding.message);
            if finding.severity == Severity::Error {
                println!("         {}", finding.remedy);
            }
        }
        println!(
            "{elapsed} ms, {} ms of processor time, {} MiB of the disk read, {} MiB of memory in the whole process",
            processor_time().unwrap_or(0),
            inspection.usage.bytes_read >> 20,
            peak_memory().unwrap_or(0) >> 10
        );
    }
    let error = inspection.findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if error { ExitCode::from(2) } else { ExitCode::SUCCESS })
}
