//! The routes of an uploaded version, side by side: with `staging`, each target receives the bytes; with `region`, one
//! disk of each region receives them, and the targets copy its golden snapshot.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_model::ids::{AccountName, Region};
use goldfleet_model::target::Target;
use serde::Serialize;

use crate::content::PlanContent;
use crate::estimate::{Cost, Estimate};
use crate::gallery::GalleryReceiver;
use crate::planned::{Plan, PlanRequest};

/// The writes to Resource Manager for each target of the route `staging`: the image.
const STAGING_WRITES: u128 = 1;
/// The writes to Resource Manager for each target of the route `region`, besides those for each disk: the image.
const TARGET_WRITES: u128 = 1;
/// The writes for each disk at a target: the copy of the snapshot, and the removal of the copy.
const COPY_WRITES: u128 = 2;
/// The writes for each disk in a hub: the disk, begin and end of access, the snapshot, and the removal of the disk.
const HUB_WRITES: u128 = 5;

/// What an uploaded version needs by a route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteEstimate {
    /// The name of the route.
    pub route: &'static str,
    /// The writes of pages.
    pub page_writes: u128,
    /// The writes to Resource Manager.
    pub management_writes: u128,
    /// Cost and time.
    pub estimate: Estimate,
}

impl RouteEstimate {
    /// The route `staging` by this plan.
    #[must_use]
    pub fn staging(plan: &Plan, asked: &PlanRequest<'_>) -> Self {
        let targets = asked.targets.len() as u128;
        Self {
            route: "staging",
            page_writes: targets * u128::from(asked.content.runs),
            management_writes: targets * STAGING_WRITES,
            estimate: plan.estimate.clone(),
        }
    }

    /// The route `region` by the cheapest plan, as if each region of a target or gallery had a hub without a golden
    /// snapshot. What galleries need besides that is in [`GalleryEstimate`](crate::GalleryEstimate).
    ///
    /// The golden snapshot and its copy each take the time of a snapshot.
    #[must_use]
    pub fn region(asked: &PlanRequest<'_>, galleries: &[GalleryReceiver]) -> Self {
        let hubs = hub_targets(asked.targets, galleries);
        let made = Plan::make(&PlanRequest { targets: &hubs.iter().collect::<Vec<_>>(), within: None, ..*asked });
        let plan = made.unwrap_or_else(|too_slow| *too_slow.fastest);
        let mut estimate = Estimate { cost: region_cost(&plan, asked, hubs.len()), ..plan.estimate };
        if !hubs.is_empty() {
            let snapshots = asked.rates.snapshot().saturating_mul(2);
            estimate.time.total = estimate.time.total.saturating_add(snapshots);
        }
        let (targets, hubs) = (asked.targets.len() as u128, hubs.len() as u128);
        let disks = u128::from(asked.content.disks);
        Self {
            route: "region",
            page_writes: hubs * u128::from(asked.content.runs),
            management_writes: targets * (TARGET_WRITES + disks * COPY_WRITES) + hubs * disks * HUB_WRITES,
            estimate,
        }
    }
}

/// The cost of filling stores, then one disk in each hub, and of keeping chunks and golden snapshots. As with the route
/// `staging`, the images themselves are not counted.
fn region_cost(plan: &Plan, asked: &PlanRequest<'_>, hubs: usize) -> Cost {
    let PlanRequest { content, rates, .. } = *asked;
    let PlanContent { data_bytes, runs, .. } = *content;
    let seeded: u128 = plan.links.iter().map(|link| u128::from(link.missing.bytes)).sum();
    let chunks: u128 = plan.links.iter().map(|link| u128::from(link.missing.chunks)).sum();
    let (writes, golden) = (hubs as u128 * u128::from(runs), hubs as u128 * u128::from(data_bytes));
    let prices = &rates.requests;
    Cost {
        egress: plan.links.iter().map(|link| link.egress).sum(),
        requests: rates.request_cost(prices.block_write, chunks)
            + rates.request_cost(prices.block_read, chunks + writes)
            + rates.request_cost(prices.page_write, writes),
        storage: rates.storage_cost(rates.storage.block_blob, seeded)
            + rates.storage_cost(rates.storage.snapshot, golden),
    }
}

/// The hubs of the regions of targets and galleries, as the targets of chunks. Other regions have no hub.
///
/// Each stands for the page blob of a disk, which is in an account of the platform, and has the subscription of a
/// target or gallery of its region. Nothing but the planner uses its account.
#[must_use]
pub fn hub_targets(targets: &[&Target], galleries: &[GalleryReceiver]) -> Vec<Target> {
    let mut first: BTreeMap<&Region, &Target> = BTreeMap::new();
    for target in targets {
        first.entry(&target.region).or_insert(target);
    }
    let accounts: BTreeSet<&AccountName> = targets.iter().map(|target| &target.account).collect();
    let hub = |(region, target): (&Region, &Target)| {
        let account = account_of_hub(region).filter(|account| !accounts.contains(account));
        Target { account: account.unwrap_or_else(|| target.account.clone()), ..target.clone() }
    };
    let of_galleries: BTreeMap<&Region, Target> = galleries
        .iter()
        .filter(|gallery| !first.contains_key(&gallery.region))
        .filter_map(|gallery| Some((&gallery.region, gallery.hub()?)))
        .collect();
    first.iter().map(|(region, target)| hub((region, target))).chain(of_galleries.into_values()).collect()
}

/// A name for the account of a region's disk.
pub(crate) fn account_of_hub(region: &Region) -> Option<AccountName> {
    let name: String = format!("md{region}").chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use goldfleet_model::store::Store;
    use goldfleet_rates::Rates;

    use super::*;
    use crate::content::Inventory;
    use crate::testing::{store, target};

    const REGIONS: [&str; 10] = [
        "westeurope",
        "northeurope",
        "uksouth",
        "eastus",
        "westus2",
        "japaneast",
        "southeastasia",
        "australiaeast",
        "brazilsouth",
        "southafricanorth",
    ];

    /// The estimates of both routes for `count` targets in ten regions.
    fn both(count: u32, gib: u64) -> (RouteEstimate, RouteEstimate, Rates) {
        let rates = Rates::built_in().unwrap();
        let targets: Vec<Target> = (0..count).map(|n| target(n + 1, REGIONS[n as usize % 10])).collect();
        let configured: BTreeMap<Region, Vec<Store>> = REGIONS
            .iter()
            .map(|region| (region.parse().unwrap(), vec![store(region, &format!("gold{region}"))]))
            .collect();
        let (source, content) = (store("westeurope", "goldsource"), PlanContent::synthetic(gib << 30));
        let asked = PlanRequest {
            source: &source,
            targets: &targets.iter().collect::<Vec<_>>(),
            configured: &configured,
            content: &content,
            inventory: &Inventory::default(),
            rates: &rates,
            within: None,
        };
        let plan = Plan::make(&asked).unwrap();
        (RouteEstimate::staging(&plan, &asked), RouteEstimate::region(&asked, &[]), rates)
    }

    #[test]
    fn region_route_writes_each_region_once() {
        for count in [150, 1000] {
            let (staging, region, rates) = both(count, 30);
            let chunks = 30 * 256;
            assert_eq!((staging.page_writes, region.page_writes), (u128::from(count) * chunks, 10 * chunks));
            assert!(region.page_writes <= 80_000);
            let bound = staging.estimate.time.total.mul_f64(1.1) + rates.snapshot();
            assert!(region.estimate.time.total <= bound, "{:?} for {bound:?}", region.estimate.time.total);
            assert_eq!(region.estimate.wan_bytes, staging.estimate.wan_bytes, "each region receives the data once");
            let (a, b) = (region.estimate.cost, staging.estimate.cost);
            assert!(a.egress == b.egress && a.requests < b.requests && a.storage < b.storage);
            assert_eq!(region.management_writes, u128::from(count) * 3 + 50);
        }
    }

    #[test]
    fn regions_without_targets_have_no_hub() {
        let targets = [target(1, "eastus"), target(2, "eastus"), target(1, "ukwest")];
        let hubs = hub_targets(&targets.iter().collect::<Vec<_>>(), &[]);
        let regions: Vec<&str> = hubs.iter().map(|hub| hub.region.as_str()).collect();
        assert_eq!(regions, ["eastus", "ukwest"]);
        assert!(hubs.iter().all(|hub| hub.account.as_str().starts_with("md")));
    }
}
