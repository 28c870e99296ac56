//! The tree over stores: who fills whom.
//!
//! [`super::Plan`] makes the cheapest one. Here is also the simplest that crosses the WAN once a region, to compare with:
//! the source fills every region's store, and targets in the source's own region read from the source. All else only sees
//! [`Tree`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::ids::Region;
use crate::model::store::Store;
use crate::model::target::Target;

/// A store to be filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStore {
    /// The store.
    pub store: Store,
    /// The store it is filled from: an index into [`Tree::stores`], smaller than its own; none for the source.
    pub parent: Option<usize>,
}

/// Which store fills which. The first store is the source; parents stand before their children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// All stores, the source first.
    pub stores: Vec<PlannedStore>,
}

impl Tree {
    /// The tree for these targets: the source fills one store in every other region that has a target. A region's store
    /// is the first configured one, else the staging container of the region's first target.
    #[must_use]
    pub fn star<'a>(
        source: &Store,
        configured: &BTreeMap<Region, Vec<Store>>,
        targets: impl IntoIterator<Item = &'a Target>,
    ) -> Self {
        let mut regions: BTreeMap<&Region, Store> = BTreeMap::new();
        for target in targets {
            regions.entry(&target.region).or_insert_with(|| {
                match configured.get(&target.region).and_then(|stores| stores.first()) {
                    Some(store) => store.clone(),
                    None => target.store(),
                }
            });
        }
        regions.remove(&source.region);
        let root = PlannedStore { store: source.clone(), parent: None };
        let children = regions.into_values().map(|store| PlannedStore { store, parent: Some(0) });
        Self { stores: std::iter::once(root).chain(children).collect() }
    }

    /// The stores that have to be filled, each with where from: its parent, then that one's parents up to the source.
    pub fn seeds(&self) -> impl Iterator<Item = (&Store, Vec<Store>)> {
        self.stores.iter().filter_map(|planned| {
            let parent = planned.parent?;
            Some((&planned.store, self.upwards(parent)))
        })
    }

    /// Where targets of a region read from: their region's store, then its parents up to the source.
    #[must_use]
    pub fn sources_for(&self, region: &Region) -> Vec<Store> {
        let own = self.stores.iter().position(|planned| planned.store.region == *region);
        self.upwards(own.unwrap_or(0))
    }

    /// A store, its parent, that one's parent, and so on up to the source.
    pub(super) fn upwards(&self, from: usize) -> Vec<Store> {
        std::iter::successors(self.stores.get(from), |planned| self.stores.get(planned.parent?))
            .map(|planned| planned.store.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::{store, target};

    #[test]
    fn every_remote_region_is_filled_once_and_the_sources_own_never() {
        let source = store("westeurope", "goldsource");
        let targets = [target(1, "westeurope"), target(2, "eastus"), target(3, "eastus"), target(4, "japaneast")];
        let configured = BTreeMap::from([("japaneast".parse().unwrap(), vec![store("japaneast", "goldjapan")])]);
        let tree = Tree::star(&source, &configured, &targets);
        let seeds: Vec<String> = tree.seeds().map(|(store, from)| format!("{store} <- {}", from[0])).collect();
        assert_eq!(
            seeds,
            [
                "s0002eastus/vhds (eastus) <- goldsource/golden (westeurope)",
                "goldjapan/golden (japaneast) <- goldsource/golden (westeurope)"
            ]
        );
        assert_eq!(tree.sources_for(&"westeurope".parse().unwrap()), std::slice::from_ref(&source));
        assert_eq!(tree.sources_for(&"japaneast".parse().unwrap()), [store("japaneast", "goldjapan"), source]);
    }
}
