//! Thirty regions, and plans for them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_plan::{Inventory, Plan, PlanContent, PlanRequest};
use goldfleet_rates::Rates;

const GIB: u64 = 1 << 30;

/// The 25 regions whose accounts have the higher limits, and 5 others.
pub const THIRTY: [&str; 30] = [
    "australiaeast",
    "brazilsouth",
    "canadacentral",
    "centralindia",
    "centralus",
    "eastasia",
    "eastus",
    "eastus2",
    "francecentral",
    "germanywestcentral",
    "japaneast",
    "jioindiawest",
    "koreacentral",
    "northcentralus",
    "northeurope",
    "norwayeast",
    "southafricanorth",
    "southcentralus",
    "southeastasia",
    "swedencentral",
    "uksouth",
    "westeurope",
    "westus",
    "westus2",
    "westus3",
    "canadaeast",
    "italynorth",
    "polandcentral",
    "switzerlandnorth",
    "uaenorth",
];

/// The maximum cost of egress from these regions to the others, as a share of the cost of the star.
pub const MAX_STAR_SHARE: [(&str, f64); 4] =
    [("brazilsouth", 0.25), ("westeurope", 0.82), ("eastus", 0.82), ("japaneast", 0.50)];

/// The cheapest plan for 30 GiB to this many subscriptions in each region.
///
/// # Errors
/// If the name of a region is not valid.
pub fn plan(source: &str, regions: &[&str], subscriptions: u32, rates: &Rates) -> anyhow::Result<Plan> {
    let source = Store { region: source.parse()?, account: "goldsource".parse()?, container: "golden".parse()? };
    let mut targets = Vec::new();
    for region in regions {
        for n in 1..=subscriptions {
            targets.push(target(n, region)?);
        }
    }
    let (targets, content) = (targets.iter().collect::<Vec<&Target>>(), PlanContent::synthetic(30 * GIB));
    Plan::make(&PlanRequest {
        source: &source,
        targets: &targets,
        configured: &BTreeMap::new(),
        content: &content,
        inventory: &Inventory::default(),
        rates,
        within: None,
    })
    .context("nothing asks for speed")
}

fn target(n: u32, region: &str) -> anyhow::Result<Target> {
    Ok(serde_json::from_value(serde_json::json!({
        "subscription": SubscriptionId::nth_for_tests(n),
        "region": region,
        "resource_group": "images",
        "account": format!("s{n:04}{region}").chars().take(24).collect::<String>(),
        "container": "vhds",
    }))?)
}
