//! A schedule: rules, runs with faults, and runs without.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use goldfleet_model::ids::{JobId, SubscriptionId};
use goldfleet_snapshots::difference::Difference;
use goldfleet_snapshots::graph::{Graph, Row};
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::plan::Severity;
use goldfleet_snapshots::rules::{DeletePolicy, Destination, Rules, Run, Speed};
use goldfleet_snapshots::select::{Pattern, Selection};
use goldfleet_snapshots::state::SyncState;
use jiff::SignedDuration;

use crate::invariants::{Invariants, TRIGGER, at_the_end};
use crate::rng::Rng;
use crate::service::Service;
use crate::world::{World, time};
use crate::{engine, environment};

/// The grace period of most schedules, in seconds.
const GRACE: i64 = 1800;
/// The number of runs without faults that must be enough.
const CALM_RUNS: u32 = 8;

/// What schedules did, to see that they reach the interesting cases.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    runs: u64,
    copies: u64,
    promotions: u64,
    deletions: u64,
    stopped: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.copies += other.copies;
        self.promotions += other.promotions;
        self.deletions += other.deletions;
        self.stopped += other.stopped;
    }
}

pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) totals: Totals,
}

fn group(subscription: u32, name: &str) -> GroupRef {
    GroupRef { subscription: SubscriptionId::nth_for_tests(subscription), resource_group: name.parse().unwrap() }
}

fn rules(rng: &mut Rng) -> Rules {
    let mut places = vec![(1, "westeurope"), (1, "eastus"), (2, "eastus"), (2, "westeurope")];
    let destination = |(index, (subscription, region)): (usize, (u32, &str))| Destination {
        group: group(subscription, &format!("Replicas{index}")),
        region: region.parse().unwrap(),
        encryption_set: None,
        other_tenant: false,
        disk_access: None,
    };
    let count = 1 + rng.index(3);
    let chosen: Vec<_> = (0..count).map(|_| places.swap_remove(rng.index(places.len()))).collect();
    let mirror = rng.chance(0.8);
    let keep = u32::try_from(rng.number(0..4)).unwrap();
    Rules {
        name: "ctx".to_owned(),
        fleet: uuid::Uuid::from_u128(7),
        source: group(1, "Snaps"),
        selection: Selection {
            tags: BTreeMap::from([(TRIGGER.0.to_owned(), Pattern::of_value(TRIGGER.1).unwrap())]),
            ..Selection::default()
        },
        destinations: chosen.into_iter().enumerate().map(destination).collect(),
        scratch: Some(group(1, "scratch")),
        delete: if mirror { DeletePolicy::Mirror } else { DeletePolicy::Never },
        keep: NonZeroU32::new(keep).filter(|_| mirror && rng.chance(0.5)),
        max_deletes: u32::try_from(rng.number(1..6)).unwrap(),
        // Without a grace period, only the rule of two runs protects.
        grace: SignedDuration::from_secs(if rng.chance(0.3) { 0 } else { GRACE }),
        lock: rng.chance(0.3),
        speed: Speed::Standard,
        replica_name: None,
        measured: BTreeMap::new(),
    }
}

struct Fleet<'r> {
    rules: &'r Rules,
    state: SyncState,
    runs: u64,
    /// How much the clock of a run can be wrong, in seconds.
    skew: i64,
    totals: Totals,
    /// The destinations and names that the last run reported as not replicated.
    unreplicated: BTreeSet<(usize, String)>,
    /// Whether the last run had nothing to do.
    is_idle: bool,
    notes: Vec<String>,
}

impl Fleet<'_> {
    /// One run of the sync. With faults, its planning can be killed and repeated.
    fn run(&mut self, service: &mut Service) {
        self.runs += 1;
        let skew = if service.faulty && self.skew > 0 {
            i64::try_from(service.rng.number(0..u64::try_from(2 * self.skew).unwrap())).unwrap() - self.skew
        } else {
            0
        };
        let calm = !service.faulty;
        let run = Run {
            job: JobId::new(time(0), self.runs),
            now: time(service.world.now + skew),
            allow_empty: calm || service.rng.chance(0.1),
            max_deletes: calm.then_some(1000),
        };
        let max = run.max_deletes.unwrap_or(self.rules.max_deletes);
        service.invariants.begin_run(&service.world, max);
        service.log(|| format!("run {} skew {skew} {:?}", self.runs, self.state.absences));
        for _ in 0..3 {
            if let Some(groups) = self.plan(&run, service) {
                engine::run(groups, self.rules, service);
                return;
            }
        }
    }

    /// Plans a run and stores the state. None if the planner was killed.
    fn plan(&mut self, run: &Run, service: &mut Service) -> Option<Vec<Vec<Row>>> {
        let source = service.list(&self.rules.source);
        let destinations: Vec<_> = self.rules.destinations.iter().map(|to| service.list(&to.group)).collect();
        let difference = Difference::new(self.rules, run, &source, &destinations);
        let evidence = difference.lookups().into_iter().map(|id| (id.clone(), service.evidence(&id))).collect();
        let plan = difference.decide(&evidence, &self.state);
        if service.faulty && service.rng.chance(0.05) {
            return None;
        }
        self.state = serde_json::from_str(&serde_json::to_string(&plan.state).unwrap()).unwrap();
        if service.faulty && service.rng.chance(0.05) {
            return None;
        }
        self.totals.runs += 1;
        self.totals.copies += plan.copies.len() as u64;
        self.totals.promotions += plan.promotions.len() as u64;
        self.totals.deletions += plan.deletions() as u64;
        self.totals.stopped += u64::from(plan.stopped.is_some());
        self.is_idle = plan.is_empty() && plan.stopped.is_none();
        let bad = ["snapshot-foreign", "snapshot-order", "not-kept", "replica-outdated"];
        let reported = plan.notes.iter().filter(|note| bad.contains(&note.code));
        self.unreplicated =
            reported.filter_map(|note| Some((note.destination?, note.snapshot.as_ref()?.name_key()))).collect();
        self.notes = plan
            .notes
            .iter()
            .filter(|note| note.severity > Severity::Info || service.trace.is_some())
            .map(|note| format!("{} {:?} {:?}: {}", note.code, note.destination, note.snapshot, note.message))
            .collect();
        service.log(|| format!("plan {:?} {:?}", plan.stopped, self.notes));
        Some(Graph::new(&plan, self.rules, run).groups().collect())
    }
}

/// Runs one seed.
pub(crate) fn run(seed: u64, trace: bool) -> Outcome {
    let mut rng = Rng::new(seed);
    let rules = rules(&mut rng);
    let skew = if rng.chance(0.3) { 600 } else { 0 };
    let rounds = rng.number(3..9);
    let mut service = Service::new(World::default(), rng, Invariants::new(rules.clone(), 2 * skew), trace);
    service.log(|| format!("{rules:?}"));
    let state = SyncState::default();
    let mut fleet = Fleet {
        rules: &rules,
        state,
        runs: 0,
        skew,
        totals: Totals::default(),
        unreplicated: BTreeSet::new(),
        is_idle: false,
        notes: Vec::new(),
    };
    for _ in 0..service.rng.number(1..8) {
        environment::create(&mut service, &rules, None);
    }
    for _ in 0..rounds {
        fleet.run(&mut service);
        service.settle();
        service.remember();
        for _ in 0..service.rng.number(0..5) {
            environment::act(&mut service, &rules);
        }
        service.world.now += i64::try_from(service.rng.number(300..7200)).unwrap();
    }
    service.faulty = false;
    service.log(|| "faults end".to_owned());
    for _ in 0..4 {
        environment::create(&mut service, &rules, None);
    }
    environment::remove_locks(&mut service.world);
    for _ in 0..CALM_RUNS {
        fleet.run(&mut service);
        service.world.now += GRACE + 1;
    }
    service.remove_orphans(rules.fleet);
    let mut violations = std::mem::take(&mut service.invariants.violations);
    violations.extend(at_the_end(&service.world, &rules, &fleet.unreplicated));
    if !fleet.is_idle {
        violations.push("the last run still has something to do".to_owned());
    }
    if !violations.is_empty() {
        violations.extend(std::mem::take(&mut fleet.notes));
    }
    Outcome { violations, trace: service.trace.take().unwrap_or_default(), totals: fleet.totals }
}
