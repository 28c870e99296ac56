//! `rehearse`.

use std::path::Path;
use std::sync::Arc;

use goldfleet_config::targets::TargetsFile;
use goldfleet_config::{Config, UploadRoute, environment};
use goldfleet_model::artifact::LoadedVersion;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::text::{HumanBytes, pluralize};
use goldfleet_plan::{Inventory, render};
use goldfleet_rates::Rates;
use goldfleet_runtime::process;
use goldfleet_runtime::telemetry;

use super::arguments::RehearseArguments;
use super::error::{CommandError, DONE, FAILED};
use super::output::{Console, Output, write_json};
use super::run::load_config;
use super::table::write_table;
use crate::control::artifacts::load_version;
use crate::control::context::{ControlContext, ControlError};
use crate::control::fan_out;
use crate::simulate::rehearse::{self, Rehearsal, RehearsalError, Report};

/// `goldfleet rehearse`.
///
/// # Errors
/// [`CommandError`].
pub fn run(
    arguments: &RehearseArguments,
    config: Option<&Path>,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let made_up = arguments.data.is_some() && arguments.targets_like.is_some();
    let mut config = if made_up { rehearse::config()? } else { load_config(config)? };
    telemetry::init(&config.log, "error", environment())?;
    if let Some(rates) = &arguments.rates {
        config.plan.rates = Some(rates.clone());
    }
    if let Some(requests) = arguments.requests {
        config.worker.requests = requests.into();
    }
    let rates = Rates::load(config.plan.rates.as_deref()).map_err(ControlError::from)?;
    if let Some(name) = &arguments.sync.sync {
        return super::rehearse_sync::run(name, arguments, (config, rates), console);
    }
    let RehearsalInput { image, targets, held } = rehearsal_input(arguments, &config)?;
    let rehearsal = Rehearsal {
        config,
        targets,
        held,
        before: Vec::new(),
        image,
        rates,
        workers: arguments.workers.map(usize::from),
        seed: arguments.seed,
        route: UploadRoute::Staging,
    };
    let report = rehearse::rehearse(&rehearsal)?;
    match console.output {
        Output::Json => write_json(console.out, &report)?,
        Output::Table | Output::Svg => write(&report, console)?,
    }
    Ok(if report.failed == 0 && report.whole { DONE } else { FAILED })
}

/// The input of a rehearsal: the image and the targets, configured or generated, and the chunks that stores already
/// hold.
struct RehearsalInput {
    image: LoadedVersion,
    targets: TargetsFile,
    held: Inventory,
}

fn rehearsal_input(arguments: &RehearseArguments, config: &Config) -> Result<RehearsalInput, CommandError> {
    let targets = match arguments.targets_like {
        Some(count) => rehearse::targets(count, arguments.regions)?,
        None => {
            let file = TargetsFile::load(&config.targets.file).map_err(ControlError::from)?;
            let targets = file.selected(&arguments.targets).into_iter().cloned().collect();
            TargetsFile { targets, ..file }
        }
    };
    match (&arguments.image, &arguments.version, arguments.data) {
        (Some(image), Some(version), _) => uploaded(arguments, config, (image, version), targets),
        (_, _, Some(data)) => {
            Ok(RehearsalInput { image: rehearse::version(data.0, 1, 100)?, targets, held: Inventory::default() })
        }
        _ => Err(RehearsalError::Invalid("give --image and --version, or --data".to_owned()).into()),
    }
}

/// A version in the configured source store. If the targets are the configured ones, targets and stores are inspected
/// as for a real job: targets that have the version are skipped, and chunks that are in a store are not copied.
fn uploaded(
    arguments: &RehearseArguments,
    config: &Config,
    (image, version): (&ImageName, &ImageVersion),
    targets: TargetsFile,
) -> Result<RehearsalInput, CommandError> {
    let runtime = process::runtime()?;
    let looked = runtime.block_on(async {
        let ports = goldfleet_connect::open(config)?;
        if config.azure_coordination().is_none() {
            ports.table.ensure().await?;
        }
        let control = ControlContext::new(ports, Arc::new(config.clone()), "rehearsal".to_owned());
        let image = load_version(&control.ports, &control.config, image, version).await?;
        if arguments.targets_like.is_some() {
            return Ok(RehearsalInput { image, targets, held: Inventory::default() });
        }
        let planned = fan_out::plan_with_preferred_time(&control, &image, &arguments.targets).await?;
        let to_do = planned.targets.into_iter().map(|(target, _)| target).collect();
        Ok::<_, CommandError>(RehearsalInput {
            image,
            targets: TargetsFile { targets: to_do, ..targets },
            held: planned.inventory,
        })
    });
    runtime.shutdown_background();
    looked
}

fn write(report: &Report, console: &mut Console<'_>) -> std::io::Result<()> {
    let Report { image, version, targets, regions, workers, worker_requests, .. } = report;
    writeln!(
        console.out,
        "{image} {version}, {} of data, to {} in {}, by {} with up to {worker_requests} requests each\n",
        HumanBytes(report.data_bytes),
        pluralize(*targets, "target"),
        pluralize(*regions, "region"),
        pluralize(*workers, "worker")
    )?;
    let row = |what: &str, seconds: f64, remark: String| [what.to_owned(), format!("{seconds:.0} s"), remark];
    let alone = format!("{}; the last image takes {:.3} times as long", report.single.target, report.times_single);
    let promised = &report.estimate;
    let estimate = format!("{}; the last image takes {:.3} times as long", promised.binds, report.times_estimate);
    let rows = [
        row("the first image", report.first_image_seconds, String::new()),
        row("the last image", report.last_image_seconds, String::new()),
        row("one target alone", report.single.seconds, alone),
        row("estimate of the plan, a lower bound", promised.seconds, estimate),
    ];
    write_table(console, &["to", "virtual time", ""], rows)?;
    writeln!(console.out)?;
    let routes = report.routes.iter().map(|route| {
        [
            route.route.clone(),
            format!("{:.0} s", route.last_image_seconds),
            route.page_writes.to_string(),
            format!("{} + {}", route.management_writes, route.management_reads),
            HumanBytes(route.wan_bytes).to_string(),
            format!("${:.2}", route.egress_usd),
            format!("${:.2}", route.requests_usd),
            format!("${:.2}", route.storage_usd),
        ]
    });
    let header = [
        "route",
        "last image",
        "page writes",
        "management writes + reads",
        "over the WAN",
        "egress",
        "requests",
        "storage",
    ];
    write_table(console, &header, routes)?;
    writeln!(console.out)?;
    write_galleries(report, console)?;
    let links = report.links.iter().map(|link| {
        [link.from.clone(), link.to.clone(), HumanBytes(link.bytes).to_string(), format!("{:.4}", link.times_data)]
    });
    write_table(console, &["from", "to", "bytes", "times the data"], links)?;
    let planned = render::bytes(promised.wan_bytes.into());
    writeln!(console.out, "{planned} between regions were planned, for ${:.2} of egress\n", promised.egress_usd)?;
    let shares = report
        .shares
        .iter()
        .map(|share| [share.limit.as_str().to_owned(), share.name.clone(), format!("{:.0}%", share.share * 100.0)]);
    write_table(console, &["limit", "used most by", "of the time"], shares)?;
    writeln!(console.out)?;
    write_counts(report, console)
}

/// The galleries that the route `region` publishes to.
fn write_galleries(report: &Report, console: &mut Console<'_>) -> std::io::Result<()> {
    if report.galleries.is_empty() {
        return Ok(());
    }
    let rows = report.galleries.iter().map(|gallery| {
        [
            gallery.gallery.clone(),
            gallery.regions.to_string(),
            gallery.replicas.to_string(),
            gallery.ready_seconds.map_or_else(|| "not published".to_owned(), |seconds| format!("{seconds:.0} s")),
            format!("{:.0} s", gallery.estimate_seconds),
            format!("${:.2}", gallery.egress_usd),
            format!("${:.2}", gallery.storage_usd),
        ]
    });
    let header = ["gallery", "regions", "replicas", "ready in all regions", "estimate", "egress", "storage"];
    write_table(console, &header, rows)?;
    writeln!(console.out)
}

fn write_counts(report: &Report, console: &mut Console<'_>) -> std::io::Result<()> {
    let binds = report.binds.map_or("the workers: requests in flight, heartbeats, queue polls", |limit| limit.as_str());
    writeln!(console.out, "limiting factor: {binds}")?;
    let requests: u64 = report.requests.values().sum();
    let refused: u64 = report.throttles.values().sum();
    writeln!(console.out, "{}, {refused} throttled", pluralize(requests, "request"))?;
    for (limit, count) in &report.throttles {
        writeln!(console.out, "  {count} by {}", limit.as_str())?;
    }
    if report.failed > 0 {
        writeln!(console.out, "{} failed", pluralize(report.failed, "operation"))?;
    }
    let whole = if report.whole { "is complete by its checksums" } else { "is NOT complete" };
    writeln!(console.out, "the VHD of every target {whole}; the rehearsal took {:.1} s", report.real_seconds)?;
    write_origin(console)
}

/// Says where the figures come from.
pub(super) fn write_origin(console: &mut Console<'_>) -> std::io::Result<()> {
    writeln!(
        console.notes,
        "these figures come from a model with limits that goldfleet did not measure: 'goldfleet help model'"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::arguments::{Arguments, Command};
    use super::*;

    fn rehearsed(output: Output) -> String {
        let line = "goldfleet rehearse --data 64MiB --targets-like 4 --regions 2";
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        let Command::Rehearse(arguments) = arguments.command else { panic!("another command") };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console::plain(output, &mut out, &mut notes);
        assert_eq!(run(&arguments, None, &mut console).unwrap(), DONE);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn synthetic_fleet_needs_no_configuration() {
        let report: serde_json::Value = serde_json::from_str(&rehearsed(Output::Json)).unwrap();
        assert_eq!((report["targets"].as_u64(), report["failed"].as_u64()), (Some(4), Some(0)));
        assert_eq!(report["links"][0]["times_data"], 1.0);
        let text = rehearsed(Output::Table);
        assert!(text.contains("to 4 targets in 2 regions") && text.contains("0 throttled"), "{text}");
    }

    #[test]
    fn conflicting_arguments_are_rejected() {
        for line in [
            "goldfleet rehearse",
            "goldfleet rehearse --image a",
            "goldfleet rehearse --image a --version 1 --data 1GiB",
            "goldfleet rehearse --data 30GB --targets-like 3",
            "goldfleet rehearse --data 1GiB --targets-like 3 --target west*",
            "goldfleet rehearse --data 1GiB --disks 3",
            "goldfleet rehearse --sync nightly --image a --version 1",
            "goldfleet rehearse --sync nightly --targets-like 3",
            "goldfleet rehearse --sync nightly --snapshots 0",
        ] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
