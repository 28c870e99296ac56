//! `rehearse --sync`.

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_model::text::{HumanBytes, duration, pluralize};
use goldfleet_rates::Rates;

use super::arguments::RehearseArguments;
use super::error::{CommandError, DONE, FAILED};
use super::output::{Console, Output, write_json};
use super::rehearse::write_origin;
use super::table::write_table;
use crate::control::snapshots::request::find;
use crate::simulate::rehearse::sync::{SyncRehearsal, SyncReport, SyncRunReport, rehearse_sync};

/// The size of a generated disk, if the command line has none.
const DISK_SIZE: u64 = 32 << 30;

/// `goldfleet rehearse --sync NAME`.
///
/// # Errors
/// [`CommandError`].
pub(super) fn run(
    name: &str,
    arguments: &RehearseArguments,
    (config, rates): (Config, Rates),
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let sync = find(&config.sync, name)?.clone();
    let options = &arguments.sync;
    let rehearsal = SyncRehearsal {
        config,
        sync,
        disks: options.disks,
        snapshots: options.snapshots,
        full: options.full,
        size: arguments.data.map_or(DISK_SIZE, |size| size.0),
        changed: options.changed.0,
        rates,
        workers: arguments.workers.map(usize::from),
        seed: arguments.seed,
    };
    let report = rehearse_sync(&rehearsal)?;
    match console.output {
        Output::Json => write_json(console.out, &report)?,
        Output::Table | Output::Svg => write(&report, console)?,
    }
    Ok(if report.complete { DONE } else { FAILED })
}

fn write(report: &SyncReport, console: &mut Console<'_>) -> std::io::Result<()> {
    let snapshots = if report.full { "full snapshot" } else { "incremental snapshot" };
    writeln!(
        console.out,
        "sync {}: {} of {} with {} each, {} changed between two of them, to {}, by {}\n",
        report.sync,
        pluralize(report.disks as usize, "disk"),
        HumanBytes(report.disk_bytes),
        pluralize(report.snapshots_per_disk as usize, snapshots),
        HumanBytes(report.changed_bytes),
        pluralize(report.destinations.len(), "destination"),
        pluralize(report.workers, "worker")
    )?;
    let row = |run: &str, SyncRunReport { copies, removals, seconds, links, egress_usd, requests, throttled, .. }: &SyncRunReport| {
        let bytes: u64 = links.iter().map(|link| link.bytes).sum();
        let requests: u64 = requests.values().sum();
        [
            run.to_owned(),
            copies.to_string(),
            removals.to_string(),
            duration(Duration::from_secs_f64(*seconds)),
            HumanBytes(bytes).to_string(),
            format!("${egress_usd:.2}"),
            requests.to_string(),
            throttled.to_string(),
        ]
    };
    let rows = [row("all snapshots", &report.first), row("one more of each disk", &report.next)];
    write_table(
        console,
        &["run", "copies", "deletions", "virtual time", "between regions", "egress", "requests", "throttled"],
        rows,
    )?;
    writeln!(console.out)?;
    write_problems("first", &report.first, console)?;
    write_problems("next", &report.next, console)?;
    let whole = if report.complete { "has every snapshot that it should have" } else { "does NOT have every snapshot" };
    writeln!(console.out, "each destination {whole}; the rehearsal took {:.1} s", report.real_seconds)?;
    write_origin(console)
}

/// One line for each code and message, because a plan reports them for each snapshot.
fn write_problems(run: &str, result: &SyncRunReport, console: &mut Console<'_>) -> std::io::Result<()> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for finding in &result.findings {
        *counts.entry((&finding.code, &finding.message)).or_default() += 1;
    }
    for ((code, message), count) in counts {
        writeln!(console.out, "{run} run: {}: {code}: {message}", pluralize(count, "snapshot"))?;
    }
    if result.failed > 0 {
        writeln!(console.out, "{run} run: {} failed", pluralize(result.failed, "operation"))?;
    }
    Ok(())
}
