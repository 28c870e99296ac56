//! How long rollouts take on the modelled cloud: `cargo bench -p goldfleet-tests --bench model`; a part of it with one
//! of `small`, `large`, `refresh`, `settings`, `slow` behind `--`.
//!
//! 30 GiB of data, the built-in limits, workers enough to work on all targets at once. Beside goldfleet: every target
//! from the one page blob of the source account, and pre-copies in the source account first. All of it is virtual time;
//! `docs/model.md` says what the model leaves out.
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::path::Path;
use std::time::{Duration, Instant};

use goldfleet_config::UploadRoute;
use goldfleet_dispatcher::simulate::rehearse::baseline::{Baseline, compare};
use goldfleet_dispatcher::simulate::rehearse::{self, Rehearsal, RehearsalError, Report, rehearse};
use goldfleet_model::event::Event;
use goldfleet_plan::Inventory;
use goldfleet_rates::Rates;
use goldfleet_tests::bench::{is_short, size};

/// Bytes of data of an image.
fn data() -> u64 {
    size(30 << 30, 1 << 30)
}

fn main() -> anyhow::Result<()> {
    let began = Instant::now();
    if is_short() {
        let few = fleet(6, 3)?;
        let report = fleet_report("2 subscriptions x 3 regions", &few, 1.05, None)?;
        anyhow::ensure!(report.failed == 0 && report.whole, "{} failed, whole: {}", report.failed, report.whole);
        others(&few, &report)?;
        return refresh();
    }
    if wanted("small") {
        let small = fleet(150, 3)?;
        let report = fleet_report("50 subscriptions x 3 regions", &small, 1.05, Some(1.15))?;
        others(&small, &report)?;
    }
    if wanted("large") {
        let large = fleet(1000, 10)?;
        let report = fleet_report("100 subscriptions x 10 regions", &large, 1.10, None)?;
        others(&large, &report)?;
    }
    if wanted("refresh") {
        refresh()?;
    }
    if wanted("settings") {
        settings()?;
    }
    if wanted("slow") {
        slow_store()?;
        slow_target()?;
    }
    println!("\nin all {:.0} s of real time", began.elapsed().as_secs_f64());
    Ok(())
}

/// Whether a part is to be run: all are, unless some are named.
fn wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|argument| argument == part)
}

fn fleet(targets: u32, regions: u32) -> anyhow::Result<Rehearsal> {
    Ok(Rehearsal {
        config: rehearse::config()?,
        targets: rehearse::targets(targets, regions)?,
        held: Inventory::default(),
        before: Vec::new(),
        image: rehearse::version(data(), 1, 100)?,
        rates: Rates::built_in()?,
        workers: None,
        seed: 1,
        route: UploadRoute::Staging,
    })
}

/// Rehearses, and prints what goldfleet is measured by.
fn fleet_report(
    name: &str,
    rehearsal: &Rehearsal,
    single_goal: f64,
    bound_goal: Option<f64>,
) -> Result<Report, RehearsalError> {
    let report = rehearse(rehearsal)?;
    println!("\n{name}, 30 GiB: {} targets by {} workers", report.targets, report.workers);
    let Report { first_image_seconds: first, last_image_seconds: last, .. } = report;
    println!("  first image {first:.1} s, last image {last:.1} s of virtual time");
    goal("last image / single farthest target", report.times_single, single_goal);
    println!("    single: {} {:.1} s", report.single.target, report.single.seconds);
    match bound_goal {
        Some(goal_) => goal("last image / lower bound", report.times_estimate, goal_),
        None => println!("  last image / lower bound: {:.3}", report.times_estimate),
    }
    let bound = &report.estimate;
    println!(
        "    bound: {:.1} s, of which the image takes {:.0} s; {} binds",
        bound.seconds, bound.image_seconds, bound.binds
    );
    // Manifests alone cross some more.
    let links: Vec<f64> = report.links.iter().filter(|link| link.bytes > 0).map(|link| link.times_data).collect();
    let most = links.iter().copied().fold(0.0, f64::max);
    let least = links.iter().copied().fold(f64::MAX, f64::min);
    goal("WAN bytes a remote region / data, most", most, 1.0);
    println!("    least {least:.6}, {} links; and 512 bytes of footer a target", links.len());
    println!("  what binds: {}", report.binds.map_or("the workers", |limit| limit.as_str()));
    for share in &report.shares {
        println!("    {}: {:.0}% ({})", share.limit.as_str(), share.share * 100.0, share.name);
    }
    let requests: u64 = report.requests.values().sum();
    println!("  {requests} requests, refused: {:?}", report.throttles);
    println!("  failed {}, whole {}, {:.1} s of real time", report.failed, report.whole, report.real_seconds);
    Ok(report)
}

fn others(rehearsal: &Rehearsal, report: &Report) -> Result<(), RehearsalError> {
    for (name, baseline) in
        [("star from one page blob", Baseline::Star), ("pre-copies, then star", Baseline::PreCopies)]
    {
        let compared = compare(rehearsal, baseline)?;
        let last = compared.last_image.as_secs_f64();
        println!(
            "  {name}: last image {last:.0} s, {:.1} times goldfleet's; {:.0} GiB over the WAN, {:.1} times goldfleet's",
            last / report.last_image_seconds,
            gib(compared.stats.wan_bytes()),
            gib(compared.stats.wan_bytes()) / gib(report.wan_bytes)
        );
    }
    Ok(())
}

/// The next version, a tenth of whose chunks differ: all runs written from the region's store, and with clone and
/// patch, where the service copies the version before inside the staging account and the worker reads back what stays.
/// Times are from the request on; the image takes as long whatever was copied.
fn refresh() -> anyhow::Result<()> {
    for clone_and_patch in [false, true] {
        refresh_by(clone_and_patch)?;
    }
    Ok(())
}

fn refresh_by(clone_and_patch: bool) -> anyhow::Result<()> {
    let (before, image) = (rehearse::version(data(), 1, 10)?, rehearse::version(data(), 2, 10)?);
    let changed = image.chunks().zip(before.chunks()).filter(|(a, b)| a.hash != b.hash).count();
    let first = Rehearsal { image: before.clone(), ..fleet(12, 3)? };
    let mut next = Rehearsal { before: vec![before], image, ..first.clone() };
    next.config.worker.clone_and_patch = clone_and_patch;
    let (all, first, next) =
        (next.image.chunks().count(), rehearse::run_rehearsal(&first)?, rehearse::run_rehearsal(&next)?);
    println!(
        "\nrefresh of 12 targets in 3 regions, {changed} of {all} chunks changed, clone_and_patch = {clone_and_patch}"
    );
    for link in next.stats.wan() {
        let name = format!("WAN bytes to {} / data", link.to);
        goal(&name, gib(link.copied) / gib(data()), 0.1);
    }
    let times = [("last copy", next.last_copy, first.last_copy), ("last image", next.last_image, first.last_image)];
    for (what, next, first) in times.map(|(what, next, first)| (what, next.as_secs_f64(), first.as_secs_f64())) {
        println!("  {what}: {next:.1} s, of the first version {first:.1} s");
    }
    let ratio = |next: Duration, first: Duration| next.as_secs_f64() / first.as_secs_f64();
    println!("  last copy / the first version's: {:.3}", ratio(next.last_copy, first.last_copy));
    let sent: u64 = next.stats.links.iter().filter(|link| link.from != link.to).map(|link| link.sent).sum();
    println!("  GiB over the WAN to and from workers: {:.1}", gib(sent));
    println!("  last image / the first version's: {:.3}", ratio(next.last_image, first.last_image));
    println!("  clones {}, whole {}", next.stats.requests.get("copy blob").unwrap_or(&0), next.whole);
    Ok(())
}

/// What the built-in worker settings would make of the small fleet.
fn settings() -> anyhow::Result<()> {
    println!("\n150 targets with other worker settings");
    for (requests, chunk_requests, seed_requests) in
        [(64, 8, 16), (128, 8, 16), (256, 8, 8), (256, 8, 32), (512, 16, 16)]
    {
        let mut rehearsal = fleet(150, 3)?;
        rehearsal.config.worker.requests = requests;
        rehearsal.config.worker.chunk_requests = chunk_requests;
        rehearsal.config.worker.seed_requests = seed_requests;
        let played = rehearse::run_rehearsal(&rehearsal)?;
        println!(
            "  requests {requests}, chunk_requests {chunk_requests}, seed_requests {seed_requests}: last image {:.1} s, refused {:?}",
            played.last_image.as_secs_f64(),
            played.stats.throttles
        );
    }
    Ok(())
}

/// The store of eastus sends a fiftieth of what it should: with failover, and without.
fn slow_store() -> anyhow::Result<()> {
    println!("\n150 targets, the store of eastus at 1/50 of its rate");
    for detours in [true, false] {
        let mut rehearsal = fleet_with("stage0000101", 60.0, 200.0 / 50.0)?;
        rehearsal.config.worker.detours = detours;
        let played = rehearse::run_rehearsal(&rehearsal)?;
        let link =
            |to: &str| gib(played.stats.wan().filter(|link| link.to.as_str() == to).map(|link| link.copied).sum());
        println!(
            "  detours {detours}: last image {:.1} s, {:.0} GiB to eastus, {:.0} to japaneast, whole {}, refused {:?}",
            played.last_image.as_secs_f64(),
            link("eastus"),
            link("japaneast"),
            played.whole,
            played.stats.throttles
        );
    }
    Ok(())
}

/// One target of eastus takes a fiftieth of what a page blob does.
fn slow_target() -> anyhow::Result<()> {
    let rehearsal = fleet_with("stage0000201", 60.0 * 1.048_576 * 8.0 / 1e3 / 50.0, 50.0)?;
    let played = rehearse::run_rehearsal(&rehearsal)?;
    let is_image =
        |event: &&Event| event.what == "succeed" && event.operation.as_ref().is_some_and(|id| id.step() == "image");
    let mut ends: Vec<_> = played.events.iter().filter(is_image).map(|event| event.at).collect();
    ends.sort_unstable();
    let between = ends.last().zip(ends.iter().rev().nth(1)).map_or(0.0, |(a, b)| a.duration_since(*b).as_secs_f64());
    let last = played.last_image.as_secs_f64();
    println!(
        "\n150 targets, one at 1/50 of its rate: its image {last:.1} s, the last of the others {:.1} s",
        last - between
    );
    let wan: Vec<_> = played.stats.wan().map(|link| (link.to.to_string(), gib(link.copied))).collect();
    println!("  GiB over the WAN {wan:?}, whole {}", played.whole);
    Ok(())
}

/// The small fleet, with an account that has limits of its own.
fn fleet_with(account: &str, ingress: f64, egress: f64) -> anyhow::Result<Rehearsal> {
    let rates = format!(
        "[accounts]\ndate = \"now\"\nsource = \"this bench\"\n[accounts.named.{account}]\n\
         ingress_gbit_per_second = {ingress}\negress_gbit_per_second = {egress}\nrequests_per_second = 20000"
    );
    Ok(Rehearsal { rates: Rates::over_built_in(Path::new("bench"), &rates)?, ..fleet(150, 3)? })
}

fn goal(name: &str, value: f64, goal: f64) {
    // Rounded as it is printed, so that a goal of exactly 1.00 is not missed by a manifest.
    let verdict = if value <= goal + 5e-4 { "reached" } else { "MISSED" };
    println!("  {name}: {value:.3} (goal {goal:.2}: {verdict})");
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
