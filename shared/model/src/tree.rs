//! The tree of stores: which store fills which. The planner computes the cheapest tree.

use serde::{Deserialize, Serialize};

use crate::ids::Region;
use crate::store::Store;

/// A store of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStore {
    /// The store.
    pub store: Store,
    /// The store that fills it: an index into [`Tree::stores`], smaller than its own index. None for the source.
    pub parent: Option<usize>,
}

/// Which store fills which. The first store is the source, and parents precede their children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// All stores, the source first.
    pub stores: Vec<PlannedStore>,
}

impl Tree {
    /// The stores to fill, each with the stores that fill it: its parent and further ancestors up to the source.
    pub fn seeds(&self) -> impl Iterator<Item = (&Store, Vec<Store>)> {
        self.stores.iter().filter_map(|planned| {
            let parent = planned.parent?;
            Some((&planned.store, self.upwards(parent)))
        })
    }

    /// The stores that targets of a region read from: the store of the region and its ancestors up to the source.
    #[must_use]
    pub fn sources_for(&self, region: &Region) -> Vec<Store> {
        let own = self.stores.iter().position(|planned| planned.store.region == *region);
        self.upwards(own.unwrap_or(0))
    }

    /// A store and its ancestors up to the source.
    #[must_use]
    pub fn upwards(&self, from: usize) -> Vec<Store> {
        std::iter::successors(self.stores.get(from), |planned| self.stores.get(planned.parent?))
            .map(|planned| planned.store.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(region: &str, account: &str) -> Store {
        let container = "golden".parse().unwrap();
        Store { region: region.parse().unwrap(), account: account.parse().unwrap(), container }
    }

    #[test]
    fn sources_follow_parents_to_root() {
        let [source, east, japan] = [("westeurope", "goldsource"), ("eastus", "goldeast"), ("japaneast", "goldjapan")]
            .map(|(r, a)| store(r, a));
        let planned = |store: &Store, parent| PlannedStore { store: store.clone(), parent };
        let tree = Tree { stores: vec![planned(&source, None), planned(&east, Some(0)), planned(&japan, Some(1))] };
        let seeds: Vec<_> = tree.seeds().collect();
        assert_eq!(seeds, [(&east, vec![source.clone()]), (&japan, vec![east.clone(), source.clone()])]);
        let sources_for = |region: &str| tree.sources_for(&region.parse().unwrap());
        assert_eq!(sources_for("westeurope"), std::slice::from_ref(&source));
        assert_eq!(sources_for("japaneast"), [japan, east, source.clone()]);
        assert_eq!(sources_for("uksouth"), [source], "a region without a store of its own");
    }
}
