//! The stores within a region: how many the targets need, in which accounts, and which targets read from which.
//!
//! Page blobs take bytes at a fixed rate, so the account of a store can serve only a limited number of targets at full
//! rate. Further stores are filled from the first store of the region, so the bytes cross the WAN only once.

use std::collections::BTreeMap;

use goldfleet_model::ids::Region;
use goldfleet_model::store::Store;
use goldfleet_model::target::{Target, TargetKey};
use goldfleet_rates::Rates;

/// The stores of a region. The first one is filled from another region and fills the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegionStores {
    /// The stores.
    pub(super) stores: Vec<Store>,
    /// For each target, the index of the store that it reads from.
    pub(super) readers: BTreeMap<TargetKey, usize>,
}

/// The candidate stores of a region, the best first: the configured stores, then the staging containers of its targets.
/// Within each of these groups the stores that lack the least bytes are first, then the given order applies.
pub(super) fn candidates(configured: &[Store], targets: &[&Target], missing: impl Fn(&Store) -> u64) -> Vec<Store> {
    let mut candidates: Vec<(bool, u64, Store)> = Vec::new();
    let given = configured.iter().map(|store| (false, store.clone()));
    for (is_staging, store) in given.chain(targets.iter().map(|target| (true, target.store()))) {
        // Another container of the same account would not increase the egress rate.
        if !candidates.iter().any(|(.., other)| other.account == store.account) {
            candidates.push((is_staging, missing(&store), store));
        }
    }
    candidates.sort_by_key(|(is_staging, lacks, _)| (*is_staging, *lacks));
    candidates.into_iter().map(|(.., store)| store).collect()
}

/// The number of page blobs that one account of the region can serve at their full rate.
pub(super) fn readers_of_an_account(region: &Region, rates: &Rates) -> u64 {
    (rates.account(region).egress() / rates.page_blob().max(1)).max(1)
}

/// Selects as many candidates as the targets of the region need, and assigns the targets to them. The first store also
/// fills the stores of `children` other regions.
pub(super) fn allocate_stores(
    candidates: &[Store],
    targets: &[&Target],
    children: usize,
    capacity: u64,
) -> RegionStores {
    let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
    // Filling a store is as much load as a target, and the first store fills the others.
    let suffices = |count: &usize| targets.len() + children + count - 1 <= count.saturating_mul(capacity);
    let most = candidates.len().max(1);
    let count = (1..=most).find(suffices).unwrap_or(most);
    let stores: Vec<Store> = candidates.iter().take(count).cloned().collect();
    let mut load = vec![0; count];
    load[0] = children + count - 1;
    let own = |target: &Target| stores.iter().position(|store| store.account == target.account);
    let mut readers = BTreeMap::new();
    for target in targets {
        if let Some(index) = own(target) {
            load[index] += 1;
            readers.insert(target.key(), index);
        }
    }
    let mut others: Vec<TargetKey> =
        targets.iter().filter(|target| own(target).is_none()).map(|target| target.key()).collect();
    others.sort_unstable();
    for key in others {
        let index = (0..count).min_by_key(|index| load[*index]).unwrap_or(0);
        load[index] += 1;
        readers.insert(key, index);
    }
    RegionStores { stores, readers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{store, target};

    fn allocated(targets: u32, children: usize, capacity: u64) -> (RegionStores, Vec<usize>) {
        let targets: Vec<Target> = (1..=targets).map(|n| target(n, "ukwest")).collect();
        let targets: Vec<&Target> = targets.iter().collect();
        let candidates = candidates(&[], &targets, |_| 1);
        let stores = allocate_stores(&candidates, &targets, children, capacity);
        let loads = (0..stores.stores.len()).map(|n| stores.readers.values().filter(|index| **index == n).count());
        let loads = loads.collect();
        (stores, loads)
    }

    #[test]
    fn account_feeds_targets_up_to_egress() {
        let rates = Rates::built_in().unwrap();
        assert_eq!(readers_of_an_account(&"ukwest".parse().unwrap(), &rates), 99);
        assert_eq!(readers_of_an_account(&"westeurope".parse().unwrap(), &rates), 397);
        assert_eq!(allocated(1, 0, 99).1, [1]);
        assert_eq!(allocated(99, 0, 99).1, [99]);
        // The first store also fills the second one.
        assert_eq!(allocated(100, 0, 99).1, [50, 50]);
        assert_eq!(allocated(101, 0, 99).1, [50, 51]);
        assert_eq!(allocated(99, 1, 99).1, [49, 50]);
        assert_eq!(allocated(10, 0, 1).0.stores.len(), 10);
    }

    #[test]
    fn targets_prefer_store_in_own_account() {
        let (stores, _) = allocated(150, 3, 99);
        for (index, store) in stores.stores.iter().enumerate() {
            let own = (1..=150).map(|n| target(n, "ukwest")).find(|target| target.account == store.account).unwrap();
            assert_eq!(stores.readers[&own.key()], index);
        }
    }

    #[test]
    fn configured_stores_first_then_fewest_missing() {
        let targets = [target(1, "ukwest"), target(2, "ukwest")];
        let configured = [store("ukwest", "golduk"), store("ukwest", "s0002ukwest")];
        let found =
            candidates(&configured, &targets.iter().collect::<Vec<_>>(), |store| match store.account.as_str() {
                "s0001ukwest" => 0,
                "s0002ukwest" => 5,
                _ => 9,
            });
        let names: Vec<&str> = found.iter().map(|store| store.account.as_str()).collect();
        assert_eq!(names, ["s0002ukwest", "golduk", "s0001ukwest"]);
    }
}
