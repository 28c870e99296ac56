//! The parts of a fleet that a seed determines: its targets, its configuration, its cloud.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use goldfleet_config::{Config, HumanDuration, StagedPolicy};
use goldfleet_dispatcher::simulate::rehearse;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_modelled::LimitMode;
use goldfleet_rates::Rates;

use crate::rng::SimRng;

const REGIONS: [&str; 4] = ["westeurope", "eastus", "japaneast", "northeurope"];

/// A target in the targets file.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    subscription: u32,
    region: &'static str,
    ring: u32,
    pub(crate) is_enabled: bool,
}

/// The scenario of a fleet.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) targets: Vec<Target>,
    /// Regions with a configured store.
    stores: Vec<&'static str>,
    pub(crate) workers: usize,
    pub(crate) dispatchers: usize,
    pub(crate) poll: Duration,
    /// The number of actions while faults are active, and the maximum time between two.
    pub(crate) acts: u64,
    pub(crate) pause: u64,
    /// The maximum time between two ends of workers, in seconds.
    pub(crate) reap: u64,
    unlimited: bool,
    approve: bool,
    /// The number of periods that are long enough for chunks to become old.
    pub(crate) nights: u64,
    /// Whether a version may be deleted and uploaded with other content.
    pub(crate) twins: bool,
}

impl Scenario {
    pub(crate) fn draw(rng: &SimRng) -> Self {
        let (regions, rings) = (1 + rng.index(3), if rng.chance(0.3) { 2 } else { 1 });
        let first = rng.index(2);
        let target = |n: u32| Target {
            subscription: 1 + n / u32::try_from(regions).unwrap(),
            region: REGIONS[first + n as usize % regions],
            ring: u32::try_from(rng.number(0..rings)).unwrap(),
            is_enabled: true,
        };
        let targets = (0..u32::try_from(rng.number(1..6)).unwrap()).map(target).collect();
        let stores = REGIONS[first..first + regions].iter().filter(|_| rng.chance(0.2)).copied().collect();
        Self {
            targets,
            stores,
            workers: 1 + rng.index(3),
            dispatchers: 1 + rng.index(2),
            poll: rng.millis(500..6000),
            acts: rng.number(3..30),
            pause: rng.number(2..50),
            reap: *rng.pick(&[4, 15, 60, 600]).unwrap(),
            unlimited: rng.chance(0.5),
            approve: rings > 1 && rng.chance(0.3),
            nights: if rng.chance(0.2) { rng.number(1..4) } else { 0 },
            twins: rng.chance(0.2),
        }
    }

    /// The configuration of a fleet with this targets file.
    pub(crate) fn config(&self, rng: &SimRng, targets: &Path) -> Config {
        let mut config = rehearse::config().unwrap();
        targets.clone_into(&mut config.targets.file);
        config.worker.lease = HumanDuration::seconds(rng.number(20..61));
        config.worker.concurrency = 1 + rng.index(6);
        config.worker.chunk_requests = 1 + rng.index(4);
        config.worker.detours = rng.chance(0.7);
        config.worker.clone_and_patch = rng.chance(0.5);
        config.worker.retry_cap = HumanDuration::seconds(rng.number(5..120));
        config.worker.max_attempts = 3 + u32::try_from(rng.number(0..6)).unwrap();
        config.dispatch.approve = self.approve;
        config.cleanup.staged = if rng.chance(0.3) { StagedPolicy::Remove } else { StagedPolicy::Keep };
        config.cleanup.chunk_grace = HumanDuration::seconds(rng.number(14..30) * 60);
        config
    }

    pub(crate) fn pace(&self) -> LimitMode {
        if self.unlimited { LimitMode::Unlimited } else { LimitMode::Limited(Box::new(Rates::built_in().unwrap())) }
    }

    /// The targets file.
    pub(crate) fn file(&self) -> String {
        let mut file = String::new();
        for Target { subscription, region, ring, is_enabled } in &self.targets {
            let id = SubscriptionId::nth_for_tests(*subscription);
            writeln!(file, "[[target]]\nsubscription = \"{id}\"\nregion = \"{region}\"\nresource_group = \"images\"")
                .unwrap();
            writeln!(file, "account = \"stage{subscription}{region}\"\ncontainer = \"vhds\"").unwrap();
            writeln!(file, "ring = {ring}\nenabled = {is_enabled}\n").unwrap();
        }
        for region in &self.stores {
            let store = format!("region = \"{region}\"\naccount = \"gold{region}\"\ncontainer = \"golden\"");
            writeln!(file, "[[store]]\n{store}\n").unwrap();
        }
        file
    }
}
