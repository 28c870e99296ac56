//! Tests of the planner's properties, against brute force and against its own figures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use goldfleet_model::ids::Region;
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_rates::{EgressPrice, Rates, RegionInfo, WanPair};
use proptest::prelude::*;

use super::regions::{RegionTree, WanProblem, time_for};
use super::testing::{store, target};
use super::*;

const GIB: u64 = 1 << 30;

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

/// The input of a plan, owned.
struct World {
    source: Store,
    targets: Vec<Target>,
    configured: BTreeMap<Region, Vec<Store>>,
    content: PlanContent,
    inventory: Inventory,
    rates: Rates,
}

impl World {
    /// One target in each of these regions, and 30 GiB of content at the source.
    fn new(source: &str, regions: &[&str]) -> Self {
        Self {
            source: store(source, "goldsource"),
            targets: regions.iter().map(|region| target(1, region)).collect(),
            configured: BTreeMap::new(),
            content: PlanContent::synthetic(30 * GIB),
            inventory: Inventory::default(),
            rates: Rates::built_in().unwrap(),
        }
    }

    fn plan(&self, within: Option<Duration>) -> Result<Plan, TooSlow> {
        let targets: Vec<&Target> = self.targets.iter().collect();
        Plan::make(&PlanRequest {
            source: &self.source,
            targets: &targets,
            configured: &self.configured,
            content: &self.content,
            inventory: &self.inventory,
            rates: &self.rates,
            within,
        })
    }
}

/// A random map: regions with a continent, the bytes that they lack, and whether they are relays. The first region is
/// the source.
#[derive(Debug, Clone)]
struct Map {
    regions: Vec<(Region, usize, u64, bool)>,
    rates: Rates,
}

impl Map {
    fn between(&self) -> WanProblem {
        let lacks = |relay: bool| {
            let kind = self.regions[1..].iter().filter(move |(.., is_relay)| *is_relay == relay);
            kind.map(|(region, _, lacks, _)| (region.clone(), *lacks)).collect()
        };
        WanProblem::new(&self.regions[0].0, &lacks(false), &lacks(true), &self.rates)
    }

    /// The best of all trees over the source, the needed regions and any relays, by cost, number of relays, slowest
    /// link and depth.
    fn brute_force(&self, limit: Option<Duration>, one_a_continent: bool) -> Option<(u128, usize, Duration, usize)> {
        let count = self.regions.len();
        let mut best = None;
        // Each digit of the code is the parent of a region other than the source. A region that is its own parent is
        // left out.
        for code in 0..count.pow(u32::try_from(count - 1).unwrap()) {
            let mut parents = vec![0];
            let mut rest = code;
            for _ in 1..count {
                parents.push(rest % count);
                rest /= count;
            }
            let Some(found) = self.weigh(&parents, limit, one_a_continent) else { continue };
            best = Some(best.map_or(found, |best| found.min(best)));
        }
        best
    }

    fn weigh(
        &self,
        parents: &[usize],
        limit: Option<Duration>,
        one_a_continent: bool,
    ) -> Option<(u128, usize, Duration, usize)> {
        let mut found = (0, 0, Duration::ZERO, 0);
        let mut continents = BTreeSet::new();
        for (to, (name, continent, lacks, relay)) in self.regions.iter().enumerate().skip(1) {
            let from = parents[to];
            if from == to {
                if *relay {
                    continue;
                }
                return None;
            }
            let ways = std::iter::successors(Some(to), |at| Some(parents[*at])).take(parents.len());
            let depth = ways.clone().position(|at| at == 0)?;
            let parent = &self.regions[from].0;
            let time = time_for(*lacks, self.rates.wan(parent, name));
            if limit.is_some_and(|limit| time > limit) {
                return None;
            }
            if *relay && !continents.insert(continent) && one_a_continent {
                return None;
            }
            found.0 += u128::from(self.rates.egress_price(parent, name)) * u128::from(*lacks);
            found.1 += usize::from(*relay);
            found.2 = found.2.max(time);
            found.3 = found.3.max(depth);
        }
        Some(found)
    }

    /// The same map with other names.
    fn renamed(&self, name: impl Fn(usize) -> String) -> Self {
        let names: BTreeMap<Region, Region> =
            self.regions.iter().enumerate().map(|(n, (old, ..))| (old.clone(), region(&name(n)))).collect();
        let mut map = self.clone();
        map.regions.iter_mut().for_each(|(region, ..)| *region = names[region].clone());
        let places = std::mem::take(&mut map.rates.geography.regions);
        map.rates.geography.regions = places.into_iter().map(|(old, place)| (names[&old].clone(), place)).collect();
        for pair in &mut map.rates.wan.pairs {
            pair.from = names[&pair.from].clone();
            pair.to = names[&pair.to].clone();
        }
        map
    }
}

fn maps(most: usize) -> impl Strategy<Value = Map> {
    let place = (0..3_usize, prop::sample::select(vec![0, GIB, 2 * GIB]), any::<bool>());
    let places = prop::collection::vec(place, 2..=most);
    let prices = prop::collection::vec((1..5_u8, 1..9_u8), 3);
    let speeds = prop::collection::vec(prop::sample::select(vec![1.0, 2.0, 8.0]), most * most);
    (places, prices, speeds).prop_map(move |(places, prices, speeds)| {
        let name = |n: usize| region(&format!("r{n}"));
        let mut rates = Rates::built_in().unwrap();
        let price = |(inside, leaving): &(u8, u8)| EgressPrice {
            inside: f64::from(*inside) / 100.0,
            leaving: f64::from(*leaving) / 100.0,
        };
        rates.egress.continents =
            prices.iter().enumerate().map(|(n, prices)| (format!("c{n}"), price(prices))).collect();
        let place = |continent: usize| RegionInfo { continent: format!("c{continent}"), large: false };
        rates.geography.regions =
            places.iter().enumerate().map(|(n, (continent, ..))| (name(n), place(*continent))).collect();
        let all = (0..places.len()).flat_map(|from| (0..places.len()).map(move |to| (from, to)));
        let pair = |(from, to): (usize, usize)| WanPair {
            from: name(from),
            to: name(to),
            gbit_per_second: speeds[from * most + to],
        };
        rates.wan.pairs = all.filter(|(from, to)| from != to).map(pair).collect();
        let regions = places.into_iter().enumerate();
        let regions = regions.map(|(n, (continent, lacks, relay))| (name(n), continent, lacks, relay)).collect();
        Map { regions, rates }
    })
}

fn rank(tree: &RegionTree) -> (u128, usize, Duration, usize) {
    (tree.weight, tree.relays.len(), tree.slowest, tree.depth)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tree_equals_brute_force(map in maps(5)) {
        prop_assert_eq!(map.between().cheapest(None).as_ref().map(rank), map.brute_force(None, false));
    }

    #[test]
    fn tree_equals_brute_force_with_time_limit(map in maps(5), millis in prop::sample::select(vec![1200, 5000, 9000, 17_000])) {
        let limit = Some(Duration::from_millis(millis));
        prop_assert_eq!(map.between().cheapest(limit).as_ref().map(rank), map.brute_force(limit, true));
    }

    #[test]
    fn tree_reaches_every_region_and_costs_at_most_star(map in maps(9)) {
        let tree = map.between().cheapest(None).unwrap();
        let source = &map.regions[0].0;
        let mut star = 0;
        for (region, _, lacks, relay) in &map.regions[1..] {
            prop_assert!(tree.parents.contains_key(region) || *relay);
            if !relay {
                star += u128::from(map.rates.egress_price(source, region)) * u128::from(*lacks);
            }
            let way = std::iter::successors(Some(region), |at| tree.parents.get(*at));
            prop_assert!(!tree.parents.contains_key(region) || way.take(map.regions.len()).last() == Some(source));
        }
        prop_assert!(!tree.parents.contains_key(source));
        prop_assert!(tree.weight <= star);
    }

    #[test]
    fn plan_is_independent_of_names(map in maps(8), order in Just((0..8).collect::<Vec<usize>>()).prop_shuffle()) {
        let tree = map.between().cheapest(None).unwrap();
        let shuffled = map.renamed(|n| format!("x{}", order[n])).between().cheapest(None).unwrap();
        prop_assert_eq!(rank(&tree), rank(&shuffled));
        // If the new names sort in the same order, the tree is identical.
        let longer = |region: &Region| self::region(&format!("{region}longer"));
        let renamed = map.renamed(|n| format!("r{n}longer")).between().cheapest(None).unwrap();
        let expected: BTreeMap<Region, Region> =
            tree.parents.iter().map(|(to, from)| (longer(to), longer(from))).collect();
        prop_assert_eq!(renamed.parents, expected);
    }
}

#[test]
fn store_without_targets_relays_if_cheaper() {
    let mut world = World::new("brazilsouth", &["uksouth", "ukwest", "japaneast"]);
    let alone = world.plan(None).unwrap();
    world.configured.insert(region("eastus"), vec![store("eastus", "goldeast")]);
    // A region with a target in Europe is an equally good relay for the others.
    assert_eq!(world.plan(None).unwrap().estimate.cost.egress, alone.estimate.cost.egress);
    world.targets = vec![target(1, "japaneast"), target(1, "koreacentral"), target(1, "australiaeast")];
    let with = world.plan(None).unwrap();
    assert!(with.regions.iter().any(|planned| planned.relay && planned.region == region("eastus")));
    world.configured.clear();
    assert!(with.estimate.cost.egress < world.plan(None).unwrap().estimate.cost.egress);
    insta::assert_snapshot!(render::tree(&with));
}

#[test]
fn stored_chunks_are_not_planned() {
    let mut world = World::new("westeurope", &["eastus", "westus"]);
    let account = world.targets[1].staging();
    let held: Vec<_> = world.content.hashes().copied().collect();
    for chunk in &held[..held.len() - 10] {
        world.inventory.insert(account.clone(), *chunk);
    }
    let plan = world.plan(None).unwrap();
    let bytes: BTreeMap<&str, u64> =
        plan.links.iter().map(|link| (link.to.region.as_str(), link.missing.bytes)).collect();
    assert_eq!(bytes, BTreeMap::from([("eastus", 30 * GIB), ("westus", 40 << 20)]));
    // The region that lacks only a few chunks is filled from Europe, and fills the other region at a lower cost.
    let parents: Vec<&str> = plan.links.iter().map(|link| link.from.region.as_str()).collect();
    assert_eq!(parents, ["westeurope", "westus"]);
}

#[test]
fn many_targets_use_several_stores_and_one_wan_copy() {
    let mut world = World::new("westeurope", &[]);
    world.targets = (1..=250).map(|n| target(n, "ukwest")).collect();
    let plan = world.plan(None).unwrap();
    assert_eq!((plan.regions[1].stores, plan.links.iter().filter(|link| link.wan).count()), (3, 1));
    let seeds: Vec<String> = plan.tree.seeds().map(|(store, from)| format!("{store} <- {}", from[0])).collect();
    assert_eq!(
        seeds,
        [
            "s0001ukwest/vhds (ukwest) <- goldsource/golden (westeurope)",
            "s0002ukwest/vhds (ukwest) <- s0001ukwest/vhds (ukwest)",
            "s0003ukwest/vhds (ukwest) <- s0001ukwest/vhds (ukwest)",
        ]
    );
    let own = plan.sources_for(&world.targets[1]);
    let names: Vec<&str> = own.iter().map(|store| store.account.as_str()).collect();
    assert_eq!(names, ["s0002ukwest", "s0001ukwest", "goldsource"]);
    assert_eq!(plan.estimate.time.binds, estimate::Limit::PageBlob);
}

#[test]
fn time_limit_buys_faster_tree() {
    let mut world = World::new("brazilsouth", &["eastus", "westeurope"]);
    let pair = |from: &str, to: &str, gbit_per_second| WanPair { from: region(from), to: region(to), gbit_per_second };
    world.rates.wan.pairs = vec![pair("eastus", "westeurope", 0.2), pair("brazilsouth", "eastus", 1.0)];
    let cheap = world.plan(None).unwrap();
    // The route via Europe is as cheap and as slow. The direct route from Brazil is more expensive, and as fast as a
    // page blob.
    assert_eq!(cheap.points.len(), 2);
    assert_eq!(cheap.estimate.time.binds, estimate::Limit::Wan { from: region("eastus"), to: region("westeurope") });
    let fast = world.plan(Some(Duration::from_secs(600))).unwrap();
    assert_eq!(fast.estimate.time.binds, estimate::Limit::PageBlob);
    assert!(fast.estimate.cost.egress > cheap.estimate.cost.egress);
    assert_eq!(fast.points, cheap.points);
    assert_eq!(world.plan(Some(Duration::from_secs(3600))).unwrap(), cheap);
    let refused = world.plan(Some(Duration::from_secs(500))).unwrap_err();
    insta::assert_snapshot!(refused, @"no plan takes at most 8 min 20 s: the fastest takes 9 min 32 s, of which 8 min 32 s for the rate of a page blob and 1 min 00 s for the image");
}

#[test]
fn plan_text_snapshot() {
    let mut world =
        World::new("westeurope", &["westeurope", "northeurope", "eastus", "westus", "japaneast", "moonnorth"]);
    world.targets.push(target(2, "eastus"));
    let plan = world.plan(None).unwrap();
    let rows: Vec<String> = render::estimates(&plan).iter().map(|row| row.join(" | ")).collect();
    insta::assert_snapshot!(format!("{}\n{}\n{}", render::tree(&plan), rows.join("\n"), plan.findings.join("\n")));
    insta::assert_snapshot!(render::svg(&plan));
    insta::assert_json_snapshot!(render::json(&plan, &world.rates));
}

#[test]
fn first_rollout_stores_match_plan() {
    let mut world = World::new("westeurope", &["westeurope", "eastus", "japaneast"]);
    world.targets.extend((2..=150).map(|n| target(n, "ukwest")));
    world.configured.insert(region("japaneast"), vec![store("japaneast", "goldjapan")]);
    let planned = |world: &World| {
        let plan = world.plan(None).unwrap();
        plan.tree.stores.into_iter().map(|planned| planned.store).collect::<Vec<_>>()
    };
    let first = |world: &World| {
        stores_of_first_rollout(
            &world.source,
            &world.targets.iter().collect::<Vec<_>>(),
            &world.configured,
            &world.rates,
        )
    };
    assert_eq!(first(&world), planned(&world));
    let accounts: BTreeSet<String> = first(&world).iter().map(|store| store.account.to_string()).collect();
    assert_eq!(
        accounts.iter().map(String::as_str).collect::<Vec<_>>(),
        ["goldjapan", "goldsource", "s0001eastus", "s0002ukwest", "s0003ukwest"]
    );
    // The order of targets has the same effect as in the planner, and the planner prefers a store that already has
    // chunks.
    world.targets.reverse();
    assert!(first(&world).iter().any(|store| store.account.as_str() == "s0150ukwest"));
    assert_eq!(first(&world), planned(&world));
    for chunk in world.content.hashes() {
        world.inventory.insert(target(77, "ukwest").store().container(), *chunk);
    }
    assert!(planned(&world).iter().any(|store| store.account.as_str() == "s0077ukwest"));
    assert!(first(&world).iter().all(|store| store.account.as_str() != "s0077ukwest"));
}
