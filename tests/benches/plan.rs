//! What plans save, by the built-in rates: egress of the cheapest tree against that of the star, from every region of
//! thirty to the others, and what 150 and 1,000 targets cost and take. Nothing is moved: these are estimates, and how
//! long it takes to make them.
#![expect(clippy::print_stdout, reason = "a benchmark's results are what it prints")]

use std::time::Instant;

use anyhow::ensure;
use goldfleet_model::ids::Region;
use goldfleet_plan::estimate::Estimate;
use goldfleet_plan::{Plan, render};
use goldfleet_rates::Rates;
use goldfleet_tests::bench::size;
use goldfleet_tests::regions::{MAX_STAR_SHARE, THIRTY, plan};

fn main() -> anyhow::Result<()> {
    let rates = Rates::built_in()?;
    println!("prices: {}, {}", rates.egress.date, rates.egress.source);
    println!("\negress of the cheapest tree to that of the star, 30 GiB to {} regions, from", THIRTY.len());
    for source in THIRTY.into_iter().take(size(THIRTY.len(), 3)) {
        let (plan, seconds) = made(source, &THIRTY, 1, &rates)?;
        let ratio = plan.estimate.cost.egress.dollars() / plan.star.cost.egress.dollars();
        let bound = MAX_STAR_SHARE.iter().find(|(region, _)| *region == source).map(|(_, bound)| *bound);
        let at_most = bound.map_or_else(String::new, |bound| format!(" (at most {bound})"));
        let (own, star) = (plan.estimate.cost.egress, plan.star.cost.egress);
        println!("  {source:<19} {own:>7} / {star:>8} = {ratio:.3}{at_most}, planned in {:.1} ms", seconds * 1e3);
        ensure!(ratio <= bound.unwrap_or(1.0), "{source} is over its bound");
    }
    for (regions, subscriptions) in [(3, 50), (10, 100)] {
        let (plan, seconds) = made("westeurope", &spread(regions), subscriptions, &rates)?;
        let targets = regions * usize::try_from(subscriptions)?;
        println!(
            "\n{targets} targets in {regions} regions, 30 GiB from westeurope; planned in {:.1} ms",
            seconds * 1e3
        );
        line("this plan", &plan.estimate);
        line("every target from one source", &plan.star);
        line("pre-copies, then every target", &plan.pre_copies);
    }
    let every: Vec<&str> = rates.geography.regions.keys().map(Region::as_str).collect();
    let (_, seconds) = made("westeurope", &every, 17, &rates)?;
    println!("\n{} targets in {} regions: planned in {:.1} ms", 17 * every.len(), every.len(), seconds * 1e3);
    Ok(())
}

/// Regions of several continents, the first in the source's own region.
fn spread(count: usize) -> Vec<&'static str> {
    let order =
        ["westeurope", "eastus", "japaneast", "northeurope", "westus3", "southeastasia", "uksouth", "centralus"];
    order.into_iter().chain(["brazilsouth", "australiaeast"]).take(count).collect()
}

fn line(name: &str, estimate: &Estimate) {
    let Estimate { wan_bytes, cost, time } = estimate;
    println!(
        "  {name:<30} {:>9} over the WAN, {:>9} of egress, {:>12}: {}",
        render::bytes(*wan_bytes),
        cost.egress,
        render::time(time.total),
        time.binds
    );
}

/// A plan, and how long it took to make.
fn made(source: &str, regions: &[&str], subscriptions: u32, rates: &Rates) -> anyhow::Result<(Plan, f64)> {
    let begun = Instant::now();
    let plan = plan(source, regions, subscriptions, rates)?;
    Ok((plan, begun.elapsed().as_secs_f64()))
}
