//! The routes of an uploaded version, side by side: with `staging`, each target receives the bytes; with `region`, one disk of
//! each region receives them, and the targets copy its golden snapshot.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_model::ids::{AccountName, Region};
use goldfleet_model::target::Target;

/// The hubs of the targets' regions, as the targets of chunks. Regions without targets have no hub.
///
/// Each stands for the page blob of a disk, which is in an account of the platform, and has the subscription of a target of
/// its region. Nothing but the planner uses its account.
#[must_use]
pub fn hub_targets(targets: &[&Target]) -> Vec<Target> {
    let mut first: BTreeMap<&Region, &Target> = BTreeMap::new();
    for target in targets {
        first.entry(&target.region).or_insert(target);
    }
    let accounts: BTreeSet<&AccountName> = targets.iter().map(|target| &target.account).collect();
    let hub = |(region, target): (&Region, &Target)| {
        let account = account(region).filter(|account| !accounts.contains(account));
        Target { account: account.unwrap_or_else(|| target.account.clone()), ..target.clone() }
    };
    first.into_iter().map(hub).collect()
}

/// A name for the account of a region's disk.
fn account(region: &Region) -> Option<AccountName> {
    let name: String = format!("md{region}").chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    name.parse().ok()
}
