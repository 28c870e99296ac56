//! `demo`.

use goldfleet_model::text::{HumanBytes, pluralize};
use goldfleet_runtime::process;
use tokio_util::sync::CancellationToken;

use super::arguments::DemoArguments;
use super::error::{CommandError, DONE, FAILED};
use super::output::{Console, Output, write_json};
use super::view;
use crate::control::status::Status;
use crate::simulate::demo::{DemoReport, DemoRequest, demo};
use crate::terminal::progress::{ProgressDisplay, ProgressMode};

/// `goldfleet demo`.
///
/// # Errors
/// [`CommandError`].
pub fn run(arguments: &DemoArguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let asked = DemoRequest {
        subscriptions: arguments.subscriptions,
        regions: arguments.regions,
        images: arguments.images,
        workers: arguments.workers,
        folder: arguments.folder.clone(),
        disk: arguments.disk << 20,
        data: (arguments.data << 10).min(arguments.disk << 19),
    };
    let progress = ProgressDisplay::new(ProgressMode::for_stderr(console.output == Output::Json));
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let (report, statuses) = process::runtime()?.block_on(async {
        process::on_stop_signal(move || stopping.cancel());
        demo(&asked, &progress, &stop).await
    })?;
    if console.output == Output::Json {
        write_json(console.out, &report)?;
    } else {
        write(&report, &statuses, console)?;
    }
    let well = report.verified && report.failed == 0 && report.succeeded == report.operations;
    Ok(if well { DONE } else { FAILED })
}

fn write(report: &DemoReport, statuses: &[Status], console: &mut Console<'_>) -> std::io::Result<()> {
    for status in statuses {
        view::write_status(status, console)?;
        writeln!(console.out)?;
    }
    let folder = report.folder.display();
    writeln!(
        console.out,
        "{} ({}, {}) and {} in {:.1} s, {} failed",
        pluralize(report.operations, "operation"),
        pluralize(report.copies, "copy"),
        pluralize(report.images, "image"),
        pluralize(report.seeds, "seed"),
        report.seconds,
        report.failed
    )?;
    writeln!(
        console.out,
        "{} of golden data, {} into VHDs, {} over the WAN",
        HumanBytes(report.data_bytes),
        HumanBytes(report.bytes_copied),
        HumanBytes(report.wan_bytes)
    )?;
    for (region, bytes) in &report.wan_bytes_by_region {
        writeln!(console.out, "  {region:<20} {}", HumanBytes(*bytes))?;
    }
    let verified = if report.verified { "is identical to its golden disk, byte for byte" } else { "was NOT verified" };
    writeln!(console.out, "the VHD of every target {verified} ({:.1} s)", report.verify_seconds)?;
    writeln!(console.out, "peak memory of a worker: {}", HumanBytes(report.worker_peak_memory))?;
    writeln!(
        console.out,
        "\nto explore it: the cloud is {folder}/cloud; run 'goldfleet --config {folder}/goldfleet.toml status' (or jobs, logs, images)"
    )
}
