//! Inspects a raw disk image and prints the result: `inspect FILE [--json] [--secure-boot] [--hardware virtio|nvme]`.
//!
//! A tool for development. The command `goldfleet check` reads all formats and has more options.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::sync::Arc;

use goldfleet_disk::{DiskError, DiskReader, Severity};
use goldfleet_inside::{Hardware, Options, inspect};

/// A raw image in a file.
#[derive(Debug)]
struct Raw(File, u64);

impl DiskReader for Raw {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        Ok(self.0.read_exact_at(buffer, offset)?)
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        Ok((offset < self.1).then_some(offset..self.1))
    }
}

/// The most memory that the process had at one time, in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

#[allow(clippy::print_stdout, reason = "the output of a program")]
fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("usage: inspect FILE [--json] [--hardware virtio|nvme]")?;
    let file = File::open(path)?;
    let size = file.metadata()?.len() / 512 * 512;
    let mut options = Options::default();
    let after = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
    options.hardware = match after("--hardware").map(String::as_str) {
        Some("virtio") => Hardware::Virtio,
        Some("nvme") => Hardware::Nvme,
        Some(other) => return Err(format!("unknown hardware {other}").into()),
        None => Hardware::HyperV,
    };
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    options.secure_boot = has("--secure-boot");
    let inspection = inspect(Arc::new(Raw(file, size)), &options);
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
        let usage = inspection.usage;
        println!(
            "{} ms, {} MiB read, {} MiB of memory in the whole process",
            usage.milliseconds,
            usage.bytes_read >> 20,
            peak_memory().unwrap_or(0) >> 10
        );
    }
    let error = inspection.findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if error { ExitCode::from(2) } else { ExitCode::SUCCESS })
}
