//! The tree of regions: the cheapest tree that fills the stores of all regions that need it.
//!
//! The cost of a link depends on the continent of its origin, on whether it leaves the continent, and on the bytes that
//! its end lacks. So at most one relay per continent is useful: of two relays, one can replace the other. All such
//! choices of relays are tried, each with an exact cheapest tree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use goldfleet_model::ids::Region;
use goldfleet_rates::Rates;

use super::arborescence::{CheapestTrees, Graph, TreeShape};

/// The largest number of relay choices to try. If there are more, the relays that lack most bytes are excluded.
const MAX_RELAY_CHOICES: usize = 256;

/// The problem of filling regions over the WAN: all regions in the order of their names, and the weights of the links
/// between them.
#[derive(Debug, Clone)]
pub(super) struct WanProblem {
    regions: Vec<Region>,
    /// The region of the source store.
    source: usize,
    /// The regions whose stores must be filled.
    needed: Vec<usize>,
    /// The possible relays, grouped by continent. In each group the regions that lack the least bytes are first.
    relays: Vec<Vec<usize>>,
    /// The weight of the link from `u` to `v`, at index `u * regions + v`, and the time that it alone needs.
    links: Vec<(u128, Duration)>,
}

/// A tree of regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegionTree {
    /// The parent of each region. The source is not a key.
    pub(super) parents: BTreeMap<Region, Region>,
    /// The regions of the tree that are relays.
    pub(super) relays: BTreeSet<Region>,
    /// The cost, in millionths of a dollar per gigabyte, times bytes.
    pub(super) weight: u128,
    /// The time of its slowest link.
    pub(super) slowest: Duration,
    /// The number of links on the longest path from the source.
    pub(super) depth: usize,
}

/// The source, the needed regions and one choice of relays, in the order of their names.
struct Subproblem<'a> {
    between: &'a WanProblem,
    regions: Vec<usize>,
    relays: Vec<usize>,
}

impl WanProblem {
    /// `needed` and `relays` contain the bytes that each region lacks. No region is in both.
    pub(super) fn new(
        source: &Region,
        needed: &BTreeMap<Region, u64>,
        relays: &BTreeMap<Region, u64>,
        rates: &Rates,
    ) -> Self {
        let mut lacks: BTreeMap<Region, u64> = relays.clone();
        lacks.extend(needed.clone());
        lacks.insert(source.clone(), 0);
        let link = |from: &Region, to: &Region, lacks: u64| {
            let price = u128::from(rates.egress_price(from, to));
            (price * u128::from(lacks), time_for(lacks, rates.wan(from, to)))
        };
        let links = lacks.keys().flat_map(|from| lacks.iter().map(move |(to, lacks)| link(from, to, *lacks))).collect();
        let mut of_continent: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
        for (index, (region, lacks)) in lacks.iter().enumerate() {
            if region != source && !needed.contains_key(region) {
                of_continent.entry(rates.continent(region)).or_default().push((*lacks, index));
            }
        }
        let by_lack = |mut relays: Vec<(u64, usize)>| {
            relays.sort_unstable();
            relays.into_iter().map(|(_, index)| index).collect()
        };
        let relays = of_continent.into_values().map(by_lack).collect();
        let regions: Vec<Region> = lacks.into_keys().collect();
        let index = |region: &Region| regions.binary_search(region).ok();
        Self {
            source: index(source).unwrap_or(0),
            needed: needed.keys().filter(|region| *region != source).filter_map(index).collect(),
            relays: limit_relays(relays),
            links,
            regions,
        }
    }

    /// The cheapest tree in which each link takes at most `limit`. None if every tree has a slower link. Among equally
    /// cheap trees it prefers fewer relays, then the fastest slowest link, then the smallest depth, then the first by
    /// name.
    pub(super) fn cheapest(&self, limit: Option<Duration>) -> Option<RegionTree> {
        let fields: Vec<Subproblem<'_>> =
            self.relay_choices().into_iter().map(|relays| Subproblem::new(self, relays)).collect();
        let weigh =
            |field| -> Option<_> { Subproblem::solve(field, limit).map(|found| (found.weight, field.relays.len())) };
        let weighed: Vec<_> = fields.iter().filter_map(|field| Some((weigh(field)?, field))).collect();
        let (weight, relays) = weighed.iter().map(|(rank, _)| *rank).min()?;
        let best = weighed.iter().filter(|(rank, _)| *rank == (weight, relays));
        best.filter_map(|(_, field)| field.tree(weight, limit)).min_by(|one, other| {
            let rank = |tree: &RegionTree| (tree.slowest, tree.depth);
            rank(one).cmp(&rank(other)).then_with(|| one.parents.cmp(&other.parents))
        })
    }

    fn link(&self, from: usize, to: usize) -> (u128, Duration) {
        self.links[from * self.regions.len() + to]
    }

    /// All choices of at most one relay per continent.
    fn relay_choices(&self) -> Vec<Vec<usize>> {
        self.relays.iter().fold(vec![Vec::new()], |chosen, candidates| {
            let with = |relay: usize| chosen.iter().map(move |others| [&others[..], &[relay]].concat());
            let more: Vec<Vec<usize>> = candidates.iter().flat_map(|relay| with(*relay)).collect();
            [chosen.clone(), more].concat()
        })
    }
}

/// Reduces the relays until all choices can be tried. It removes the relay that lacks most bytes from the largest
/// group.
fn limit_relays(mut relays: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    let choices =
        |relays: &[Vec<usize>]| relays.iter().fold(1_usize, |product, of| product.saturating_mul(of.len() + 1));
    while choices(&relays) > MAX_RELAY_CHOICES {
        match relays.iter_mut().max_by_key(|candidates| candidates.len()) {
            Some(most) if most.len() > 1 => drop(most.pop()),
            _ => break,
        }
    }
    relays
}

impl<'a> Subproblem<'a> {
    fn new(between: &'a WanProblem, relays: Vec<usize>) -> Self {
        let mut regions = [&between.needed[..], &relays[..], &[between.source]].concat();
        regions.sort_unstable();
        Self { between, regions, relays }
    }

    fn solve(&self, limit: Option<Duration>) -> Option<CheapestTrees> {
        let weight = |from: usize, to: usize| {
            let (weight, time) = self.between.link(self.regions[from], self.regions[to]);
            limit.is_none_or(|limit| time <= limit).then_some(weight)
        };
        let root = self.regions.binary_search(&self.between.source).ok()?;
        Graph::new(self.regions.len(), root, weight).cheapest()
    }

    /// The tree of this weight with the fastest slowest link; if there are several, the flattest of them.
    fn tree(&self, weight: u128, limit: Option<Duration>) -> Option<RegionTree> {
        let pairs = self.regions.iter().flat_map(|from| self.regions.iter().map(move |to| (*from, *to)));
        let real = pairs.filter(|(from, to)| from != to && *to != self.between.source);
        let mut times: Vec<Duration> = real.map(|(from, to)| self.between.link(from, to).1).collect();
        times.retain(|time| limit.is_none_or(|limit| *time <= limit));
        times.sort_unstable();
        times.dedup();
        // A higher time limit never makes the cheapest tree more expensive, so a binary search finds the smallest
        // sufficient limit.
        let enough = |time: &Duration| self.solve(Some(*time)).is_some_and(|found| found.weight <= weight);
        let first = times.partition_point(|time| !enough(time));
        let flat = self.solve(times.get(first).copied().or(limit))?.flattest()?;
        Some(self.named_tree(&flat, weight))
    }

    fn named_tree(&self, flat: &TreeShape, weight: u128) -> RegionTree {
        let region = |node: usize| self.between.regions[self.regions[node]].clone();
        let edges: Vec<(usize, usize)> =
            flat.parents.iter().enumerate().filter(|(to, from)| to != *from).map(|(to, from)| (to, *from)).collect();
        let time = |(to, from): &(usize, usize)| self.between.link(self.regions[*from], self.regions[*to]).1;
        RegionTree {
            parents: edges.iter().map(|(to, from)| (region(*to), region(*from))).collect(),
            relays: self.relays.iter().map(|relay| self.between.regions[*relay].clone()).collect(),
            weight,
            slowest: edges.iter().map(time).max().unwrap_or_default(),
            depth: flat.depth,
        }
    }
}

/// The time to transfer `bytes` at `per_second` bytes per second, rounded up to microseconds.
pub(super) fn time_for(bytes: u64, per_second: u64) -> Duration {
    time_for_many(bytes.into(), per_second)
}

/// The same for byte counts that exceed 64 bits.
pub(super) fn time_for_many(bytes: u128, per_second: u64) -> Duration {
    let micros = bytes.saturating_mul(1_000_000).div_ceil(u128::from(per_second.max(1)));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}
