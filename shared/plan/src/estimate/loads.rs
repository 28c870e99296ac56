//! The load on each limit, and the time that it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_model::ids::{AccountName, Region};
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_rates::{AccountLimits, Rates, round_to_u64};

use super::{Limit, Time};
use crate::content::PlanContent;
use crate::regions::time_for_many;

/// An account and its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AccountLocation<'a> {
    region: &'a Region,
    account: &'a AccountName,
}

impl<'a> From<&'a Store> for AccountLocation<'a> {
    fn from(store: &'a Store) -> Self {
        Self { region: &store.region, account: &store.account }
    }
}

impl<'a> From<&'a Target> for AccountLocation<'a> {
    fn from(target: &'a Target) -> Self {
        Self { region: &target.region, account: &target.account }
    }
}

/// The bytes that an account sends and receives, and its requests.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    out: u128,
    into: u128,
    requests: u128,
}

/// The load on each limit.
pub(crate) struct Loads<'a> {
    rates: &'a Rates,
    accounts: BTreeMap<AccountLocation<'a>, Load>,
    wan: BTreeMap<(&'a Region, &'a Region), u128>,
    others: BTreeMap<Limit, Duration>,
}

impl<'a> Loads<'a> {
    /// Creates an empty load.
    pub(crate) fn new(rates: &'a Rates) -> Self {
        Self { rates, accounts: BTreeMap::new(), wan: BTreeMap::new(), others: BTreeMap::new() }
    }

    /// Adds a transfer of bytes from one account to another with a number of requests.
    pub(crate) fn add_transfer(
        &mut self,
        from: AccountLocation<'a>,
        to: AccountLocation<'a>,
        bytes: u64,
        requests: u64,
    ) {
        let sender = self.accounts.entry(from).or_default();
        sender.out += u128::from(bytes);
        sender.requests += u128::from(requests);
        let taker = self.accounts.entry(to).or_default();
        taker.into += u128::from(bytes);
        taker.requests += u128::from(requests);
        if from.region != to.region {
            *self.wan.entry((from.region, to.region)).or_default() += u128::from(bytes);
        }
    }

    /// Adds writing the page blob and creating the image of every target.
    pub(crate) fn add_targets(&mut self, targets: &[&'a Target], content: &PlanContent) {
        if targets.is_empty() {
            return;
        }
        self.add_limit(Limit::PageBlob, self.page_blob_time(content.data_bytes_of_a_disk.into()));
        self.add_limit(Limit::PageBlobRequests, self.blob_requests_time(content.runs_of_a_disk.into()));
        let mut images: BTreeMap<_, f64> = BTreeMap::new();
        for target in targets {
            *images.entry(target.key()).or_default() += 1.0;
        }
        let most = images.into_values().fold(0.0, f64::max);
        let manager = &self.rates.resource_manager;
        let seconds = (most - manager.write_burst).max(0.0) / manager.writes_per_second;
        self.add_limit(Limit::ImageWrites, Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }

    /// Adds a load that needs `time` at this limit.
    pub(crate) fn add_limit(&mut self, limit: Limit, time: Duration) {
        let known = self.others.entry(limit).or_default();
        *known = time.max(*known);
    }

    /// The time to transfer bytes of one page blob.
    pub(crate) fn page_blob_time(&self, bytes: u128) -> Duration {
        time_for_many(bytes, self.rates.page_blob())
    }

    /// The time of requests to one blob.
    pub(crate) fn blob_requests_time(&self, requests: u128) -> Duration {
        time_for_many(requests, round_to_u64(self.rates.blob.requests_per_second))
    }

    /// The bytes that cross between regions.
    pub(crate) fn wan_bytes(&self) -> u128 {
        self.wan.values().sum()
    }

    /// The time that each limit alone needs.
    pub(crate) fn times(&self) -> BTreeMap<Limit, Duration> {
        let mut times = self.others.clone();
        for ((from, to), bytes) in &self.wan {
            let limit = Limit::Wan { from: (*from).clone(), to: (*to).clone() };
            times.insert(limit, time_for_many(*bytes, self.rates.wan(from, to)));
        }
        for (place, load) in &self.accounts {
            let account: &AccountLimits = self.rates.account(place.region);
            let name = || place.account.clone();
            let egress = (Limit::Egress { account: name() }, time_for_many(load.out, account.egress()));
            let ingress = (Limit::Ingress { account: name() }, time_for_many(load.into, account.ingress()));
            let requests = time_for_many(load.requests, round_to_u64(account.requests_per_second));
            times.extend([egress, ingress, (Limit::AccountRequests { account: name() }, requests)]);
        }
        times
    }

    /// The total time. It considers the limits for which `counts` returns true, after an earlier phase has taken
    /// `before`.
    pub(crate) fn time(
        &self,
        times: &BTreeMap<Limit, Duration>,
        before: Option<(Limit, Duration)>,
        counts: impl Fn(&Limit) -> bool,
    ) -> Time {
        let counted = times.iter().filter(|(limit, _)| counts(limit));
        // If several limits take the same time, the first one is reported: nobody can change the rate of a page blob.
        let longest = counted.rev().max_by_key(|(_, time)| **time);
        let (limit, time) = longest.map_or((Limit::PageBlob, Duration::ZERO), |(limit, time)| (limit.clone(), *time));
        let image = self.rates.image();
        let (first, spent) = before.unwrap_or((Limit::PageBlob, Duration::ZERO));
        let total = image.saturating_add(spent).saturating_add(time);
        let (binds, binds_for) = if spent > time { (first, spent) } else { (limit, time) };
        Time { total, binds, binds_for, image }
    }
}
