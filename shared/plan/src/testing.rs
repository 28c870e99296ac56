//! Targets and stores for tests.

use goldfleet_model::store::Store;
use goldfleet_model::target::Target;

/// A target in the `n`th subscription and a region.
pub(super) fn target(n: u32, region: &str) -> Target {
    serde_json::from_value(serde_json::json!({
        "subscription": goldfleet_model::ids::SubscriptionId::nth_for_tests(n), "region": region,
        "resource_group": "images", "account": account(n, region), "container": "vhds",
    }))
    .unwrap()
}

/// A store in a region.
pub(super) fn store(region: &str, account: &str) -> Store {
    Store { region: region.parse().unwrap(), account: account.parse().unwrap(), container: "golden".parse().unwrap() }
}

/// A storage account is in one region, so its name contains the region.
fn account(n: u32, region: &str) -> String {
    format!("s{n:04}{}", &region[..region.len().min(19)])
}
