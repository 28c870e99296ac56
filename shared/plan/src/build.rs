//! Builds a plan: derives stores, links and estimates from a tree of regions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use goldfleet_model::ids::{AccountName, Region};
use goldfleet_model::store::Store;
use goldfleet_model::target::{Target, TargetKey};
use goldfleet_model::tree::{PlannedStore, Tree};

use super::estimate::{self, AccountLocation, Estimate, Limit, Loads, Time};
use super::links::{Link, links};
use super::planned::{Plan, PlanRequest, RegionPlan, TradeOff};
use super::regions::{RegionTree, WanProblem};
use super::stores::{RegionStores, allocate_stores, candidates, readers_of_an_account};

/// The largest number of trees that are examined for the trade-offs of cost against time.
const MAX_TREES: usize = 64;

/// The largest number of trade-offs in a plan.
const MAX_TRADE_OFFS: usize = 5;

/// The candidate stores and the targets of a region.
struct RegionInput<'a> {
    candidates: Vec<Store>,
    targets: Vec<&'a Target>,
}

/// The input of a plan, by region.
pub(super) struct PlanBuilder<'a> {
    request: &'a PlanRequest<'a>,
    regions: BTreeMap<Region, RegionInput<'a>>,
    pub(super) between: WanProblem,
}

impl<'a> PlanBuilder<'a> {
    pub(super) fn of(asked: &'a PlanRequest<'a>) -> Self {
        let source = &asked.source.region;
        let mut targets: BTreeMap<Region, Vec<&Target>> = BTreeMap::new();
        for target in asked.targets {
            targets.entry(target.region.clone()).or_default().push(target);
        }
        targets.entry(source.clone()).or_default();
        for region in asked.configured.keys() {
            targets.entry(region.clone()).or_default();
        }
        let missing = |store: &Store| asked.inventory.missing(asked.content, &store.container()).bytes;
        let site = |(region, targets): (Region, Vec<&'a Target>)| {
            let configured = asked.configured.get(&region).map_or(&[][..], Vec::as_slice);
            let mut candidates = candidates(configured, &targets, missing);
            if region == *source {
                candidates.retain(|store| store.account != asked.source.account);
                candidates.insert(0, asked.source.clone());
            }
            (region, RegionInput { candidates, targets })
        };
        let sites: BTreeMap<Region, RegionInput<'_>> =
            targets.into_iter().map(site).filter(|(_, site)| !site.candidates.is_empty()).collect();
        let lacks = |idle: bool| -> BTreeMap<Region, u64> {
            let wanted = sites.iter().filter(|(region, site)| *region != source && site.targets.is_empty() == idle);
            wanted.map(|(region, site)| (region.clone(), missing(&site.candidates[0]))).collect()
        };
        let between = WanProblem::new(source, &lacks(false), &lacks(true), asked.rates);
        Self { request: asked, regions: sites, between }
    }

    /// Computes trees of increasing cost and decreasing time. Returns the Pareto-optimal points and the fastest plan.
    pub(super) fn pareto_front(&self, cheapest: &Plan) -> (Vec<TradeOff>, Plan) {
        let point = |plan: &Plan| {
            let (cost, time) = (&plan.estimate.cost, &plan.estimate.time);
            TradeOff { egress: cost.egress, seconds: time.total.as_secs_f64() }
        };
        let mut points = vec![point(cheapest)];
        let mut fastest = cheapest.clone();
        let mut last = cheapest.clone();
        for _ in 1..MAX_TREES {
            // If the binding limit is not a link between regions, no other tree is faster.
            if !last.estimate.time.binds.depends_on_the_tree() {
                break;
            }
            let limit = last.estimate.time.binds_for.saturating_sub(Duration::from_micros(1));
            let Some(tree) = self.between.cheapest(Some(limit)) else { break };
            last = self.plan(Some(&tree));
            if last.estimate.time.total < fastest.estimate.time.total {
                fastest = last.clone();
                points.retain(|known| known.egress < last.estimate.cost.egress);
                points.push(point(&last));
            }
        }
        (thin_out(points), fastest)
    }

    /// The plan for a tree of regions. Without a tree it contains only the source's region.
    pub(super) fn plan(&self, tree: Option<&RegionTree>) -> Plan {
        let PlanRequest { source, targets, content, inventory, rates, .. } = *self.request;
        let (tree, readers, relays) = self.stores(tree);
        let links = links(&tree, content, inventory, rates);
        let loads = self.loads(&tree, &readers, &links);
        let times = loads.times();
        let estimate = Estimate {
            wan_bytes: loads.wan_bytes(),
            cost: estimate::cost_of_plan(rates, &links, targets.len() as u64, content),
            time: loads.time(&times, None, |_| true),
        };
        let regions = self.regions(&tree, &relays, |counts| loads.time(&times, None, counts));
        let findings = self.findings(&regions);
        Plan {
            star: estimate::star(rates, source, targets, content),
            pre_copies: estimate::pre_copies(rates, source, targets, content),
            points: Vec::new(),
            tree,
            readers,
            links,
            regions,
            estimate,
            findings,
        }
    }

    /// The load of stores, links and targets.
    fn loads<'l>(&'l self, tree: &'l Tree, readers: &BTreeMap<TargetKey, usize>, links: &'l [Link]) -> Loads<'l> {
        let PlanRequest { targets, content, rates, .. } = *self.request;
        let mut loads = Loads::new(rates);
        for link in links {
            loads.add_transfer(
                AccountLocation::from(&link.from),
                AccountLocation::from(&link.to),
                link.missing.bytes,
                link.missing.chunks,
            );
        }
        // The number of requests for one chunk that each store receives.
        let mut reading = vec![0_u64; tree.stores.len()];
        for target in targets {
            if let Some(index) = readers.get(&target.key()).copied() {
                reading[index] += content.runs_of_a_chunk;
                let from = AccountLocation::from(&tree.stores[index].store);
                loads.add_transfer(from, AccountLocation::from(*target), content.data_bytes, content.runs);
            }
        }
        for parent in tree.stores.iter().filter_map(|planned| planned.parent) {
            reading[parent] += 1;
        }
        let hottest = reading.into_iter().max().unwrap_or(0);
        loads.add_targets(targets, content);
        loads.add_limit(Limit::ChunkRequests, loads.blob_requests_time(hottest.into()));
        loads
    }

    /// The stores of all regions in the tree, parents before their children, with the readers of each and the relays.
    fn stores(&self, tree: Option<&RegionTree>) -> (Tree, BTreeMap<TargetKey, usize>, BTreeSet<Region>) {
        let source = &self.request.source.region;
        let nothing = BTreeMap::new();
        let parents = tree.map_or(&nothing, |tree| &tree.parents);
        let mut stores: Vec<PlannedStore> = Vec::new();
        let mut readers = BTreeMap::new();
        let mut level: Vec<(&Region, Option<usize>)> = vec![(source, None)];
        while !level.is_empty() {
            let mut next = Vec::new();
            for (region, parent) in level {
                let Some(site) = self.regions.get(region) else { continue };
                let children: Vec<&Region> =
                    parents.iter().filter(|(_, from)| *from == region).map(|(to, _)| to).collect();
                let RegionStores { stores: chosen, readers: of_region } = self.furnish(region, site, children.len());
                let first = stores.len();
                for (index, store) in chosen.into_iter().enumerate() {
                    let parent = if index == 0 { parent } else { Some(first) };
                    stores.push(PlannedStore { store, parent });
                }
                readers.extend(of_region.into_iter().map(|(key, index)| (key, first + index)));
                next.extend(children.into_iter().map(|child| (child, Some(first))));
            }
            level = next;
        }
        (Tree { stores }, readers, tree.map(|tree| tree.relays.clone()).unwrap_or_default())
    }

    fn furnish(&self, region: &Region, site: &RegionInput<'_>, children: usize) -> RegionStores {
        let capacity = readers_of_an_account(region, self.request.rates);
        // A relay has no targets, so one store is sufficient for its children.
        let candidates = if site.targets.is_empty() { &site.candidates[..1] } else { &site.candidates[..] };
        allocate_stores(candidates, &site.targets, children, capacity)
    }

    fn regions(
        &self,
        tree: &Tree,
        relays: &BTreeSet<Region>,
        time: impl Fn(&dyn Fn(&Limit) -> bool) -> Time,
    ) -> Vec<RegionPlan> {
        let first = |region: &Region| tree.stores.iter().position(|planned| planned.store.region == *region);
        let mut order: Vec<&Region> = tree.stores.iter().map(|planned| &planned.store.region).collect();
        order.dedup();
        let describe = |region: &Region| {
            let targets = self.regions.get(region).map_or(&[][..], |site| site.targets.as_slice());
            let way = tree.upwards(first(region).unwrap_or(0));
            let own = tree.stores.iter().map(|planned| &planned.store).filter(|store| store.region == *region);
            let hops: BTreeSet<(&Region, &Region)> =
                way.windows(2).map(|pair| (&pair[1].region, &pair[0].region)).collect();
            let stores = own.clone().count();
            let accounts: BTreeSet<&AccountName> = way
                .iter()
                .chain(own)
                .map(|store| &store.account)
                .chain(targets.iter().map(|target| &target.account))
                .collect();
            let counts = |limit: &Limit| match limit {
                Limit::Wan { from, to } => hops.contains(&(from, to)),
                Limit::Egress { account } | Limit::Ingress { account } | Limit::AccountRequests { account } => {
                    accounts.contains(account)
                }
                _ => true,
            };
            RegionPlan {
                region: region.clone(),
                continent: self.request.rates.continent(region).to_owned(),
                targets: targets.len(),
                stores,
                relay: relays.contains(region),
                time: time(&counts),
            }
        };
        order.into_iter().map(describe).collect()
    }

    fn findings(&self, regions: &[RegionPlan]) -> Vec<String> {
        let unknown: Vec<&str> = regions
            .iter()
            .map(|planned| &planned.region)
            .filter(|region| !self.request.rates.knows(region))
            .map(Region::as_str)
            .collect();
        if unknown.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "no rates for {}: taken at the dearest price and the lower limits; add them to [geography.regions] of the rates",
            unknown.join(", ")
        )]
    }
}

/// Reduces the points to the first, the last, and some in between.
fn thin_out(points: Vec<TradeOff>) -> Vec<TradeOff> {
    let last = points.len().saturating_sub(1);
    if last < MAX_TRADE_OFFS {
        return points;
    }
    (0..MAX_TRADE_OFFS).map(|n| points[n * last / (MAX_TRADE_OFFS - 1)]).collect()
}
