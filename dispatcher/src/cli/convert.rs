//! `convert`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use goldfleet_disk::{AzureDisk, Checked, ConvertError, ConvertOptions, Converted, DiskError, check, convert};
use goldfleet_runtime::process;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::json;

use super::arguments::ConvertArguments;
use super::check::{write_notes, write_report};
use super::error::{CommandError, DONE, INTERRUPTED, USAGE};
use super::output::{Console, Output, write_json};
use crate::control::check::ImageReport;
use crate::terminal::progress::ProgressMode;

/// `goldfleet convert`.
///
/// # Errors
/// [`CommandError`] if the file cannot be written.
pub fn run(arguments: &ConvertArguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let inputs = std::iter::once(&arguments.file).chain(&arguments.disk.parents);
    if inputs.into_iter().any(|input| same_file(input, &arguments.target)) {
        return Err(CommandError::SameFile(arguments.target.clone()));
    }
    let runtime = process::runtime()?;
    let cancel = Arc::new(AtomicBool::new(false));
    let cancelling = Arc::clone(&cancel);
    let _signals = {
        let _context = runtime.enter();
        process::on_stop_signal(move || cancelling.store(true, Ordering::Relaxed))
    };
    let mut options = arguments.disk.options();
    options.open.cancel = Some(Arc::clone(&cancel));
    let Checked { report, disk, .. } = check(&arguments.file, &options);
    let report = ImageReport::from(report);
    if cancel.load(Ordering::Relaxed) {
        return Ok(INTERRUPTED);
    }
    let (Some(disk), true) = (disk, report.is_usable()) else {
        write_report(&report, console)?;
        return Ok(USAGE);
    };
    write_notes(&report, console)?;
    match write(&disk, arguments, &cancel, console.output == Output::Json) {
        Err(ConvertError::Disk(DiskError::Cancelled)) => Ok(INTERRUPTED),
        Err(error) => Err(error.into()),
        Ok(converted) => {
            say_converted(arguments, converted, console)?;
            Ok(DONE)
        }
    }
}

fn write(
    disk: &AzureDisk,
    arguments: &ConvertArguments,
    cancel: &AtomicBool,
    quiet: bool,
) -> Result<Converted, ConvertError> {
    let bar = if !quiet && ProgressMode::for_stderr(false) == ProgressMode::Bar {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left") {
        bar.set_style(style);
    }
    let options = ConvertOptions { force: arguments.force, ..ConvertOptions::default() };
    let progress = |read: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(read);
    };
    let converted = convert(disk, &arguments.target, &options, &progress, cancel);
    bar.finish_and_clear();
    converted
}

fn say_converted(
    arguments: &ConvertArguments,
    converted: Converted,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    if console.output == Output::Json {
        let file = arguments.target.display().to_string();
        let result = json!({ "file": file, "length": converted.length, "written": converted.written });
        return Ok(write_json(console.out, &result)?);
    }
    let (length, written) = (HumanBytes(converted.length), HumanBytes(converted.written));
    writeln!(console.out, "{}: written, {length}, of which {written} are data", arguments.target.display())?;
    Ok(())
}

/// Whether two paths refer to the same file, including through links.
fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(a).is_some_and(|a| Some(a) == identity(b))
}
