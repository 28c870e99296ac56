//! Limits as the model uses them: whole units a second, or none where nothing limits.

use std::time::Duration;

use super::limits::{Account, Limits, milliseconds};
use crate::model::ids::{AccountName, Region};

/// The pace of the modelled cloud.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    /// Everything happens at once: for tests of rules.
    Unlimited,
    /// By these limits.
    Limited(Box<Limits>),
}

/// Units a second; none where nothing limits.
pub(super) type Rate = Option<u64>;

/// What a storage account can do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AccountRates {
    /// Bytes a second in.
    pub(super) ingress: Rate,
    /// Bytes a second out.
    pub(super) egress: Rate,
    /// Requests a second.
    pub(super) requests: Rate,
}

/// A token bucket's size and rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct BucketRates {
    /// Requests at once.
    pub(super) burst: u64,
    /// Requests a second, in thousandths.
    pub(super) per_1000_seconds: u64,
}

/// A request to Resource Manager, by the bucket that it takes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ArmKind {
    Read,
    Write,
    Delete,
}

impl Pace {
    fn limits(&self) -> Option<&Limits> {
        match self {
            Self::Unlimited => None,
            Self::Limited(limits) => Some(limits),
        }
    }

    pub(super) fn account(&self, name: &AccountName, region: &Region) -> AccountRates {
        let Some(limits) = self.limits() else { return AccountRates::default() };
        let Account { ingress_gbit_per_second, egress_gbit_per_second, requests_per_second } =
            limits.accounts.named.get(name).unwrap_or_else(|| limits.account(region));
        AccountRates {
            ingress: gbit(*ingress_gbit_per_second),
            egress: gbit(*egress_gbit_per_second),
            requests: whole(*requests_per_second),
        }
    }

    /// Requests a second of a blob.
    pub(super) fn blob_requests(&self) -> Rate {
        self.limits().and_then(|limits| whole(limits.blob.requests_per_second))
    }

    /// Bytes a second of a page blob.
    pub(super) fn page_blob(&self) -> Rate {
        self.limits().and_then(|limits| whole(limits.blob.page_blob_mib_per_second * 1024.0 * 1024.0))
    }

    /// Bytes a second of copies inside an account.
    pub(super) fn copies_inside(&self) -> Rate {
        self.limits().and_then(|limits| whole(limits.blob.copy_inside_account_mb_per_second * 1e6))
    }

    /// Bytes a second of one request between regions.
    pub(super) fn stream(&self) -> Rate {
        self.limits().and_then(|limits| whole(limits.stream.mb_per_second * 1e6))
    }

    /// Bytes a second from one region to another; none inside a region.
    pub(super) fn wan(&self, from: &Region, to: &Region) -> Rate {
        self.limits().filter(|_| from != to).and_then(|limits| gbit(limits.wan_gbit(from, to)))
    }

    pub(super) fn round_trip(&self, from: &Region, to: &Region) -> Duration {
        self.limits().map_or(Duration::ZERO, |limits| milliseconds(limits.round_trip_ms(from, to)))
    }

    /// What a storage request takes besides round trips and bytes.
    pub(super) fn request(&self) -> Duration {
        self.limits().map_or(Duration::ZERO, |limits| milliseconds(limits.latency.request_ms))
    }

    /// How far behind a blob or account may be before it refuses, and what it asks to wait.
    pub(super) fn server_busy(&self) -> (Duration, Duration) {
        self.limits().map_or((Duration::MAX, Duration::ZERO), |limits| {
            let busy = &limits.server_busy;
            (milliseconds(busy.behind_seconds * 1e3), milliseconds(busy.retry_after_seconds * 1e3))
        })
    }

    pub(super) fn queue_and_table(&self) -> Duration {
        self.limits().map_or(Duration::ZERO, |limits| milliseconds(limits.control.queue_and_table_ms))
    }

    pub(super) fn resource_manager(&self) -> Duration {
        self.limits().map_or(Duration::ZERO, |limits| milliseconds(limits.control.resource_manager_ms))
    }

    /// How long an image takes, and after which time it is to be looked at again.
    pub(super) fn image(&self) -> (Duration, Duration) {
        self.limits().map_or((Duration::ZERO, Duration::ZERO), |limits| {
            (milliseconds(limits.image.seconds * 1e3), milliseconds(limits.control.poll_seconds * 1e3))
        })
    }

    pub(super) fn bucket(&self, kind: ArmKind) -> Option<BucketRates> {
        let arm = &self.limits()?.resource_manager;
        let (burst, rate) = match kind {
            ArmKind::Read => (arm.read_burst, arm.reads_per_second),
            ArmKind::Write => (arm.write_burst, arm.writes_per_second),
            ArmKind::Delete => (arm.delete_burst, arm.deletes_per_second),
        };
        Some(BucketRates { burst: whole(burst)?, per_1000_seconds: whole(rate * 1e3)? })
    }
}

impl Limits {
    /// What storage accounts of a region can do, but for those with limits of their own.
    #[must_use]
    pub fn account(&self, region: &Region) -> &Account {
        let large = self.geography.regions.get(region).is_some_and(|place| place.large);
        if large { &self.accounts.large } else { &self.accounts.other }
    }

    /// Gbit/s from one region to another.
    #[must_use]
    pub fn wan_gbit(&self, from: &Region, to: &Region) -> f64 {
        let listed = |from: &Region, to: &Region| {
            self.wan.pair.iter().find(|pair| pair.from == *from && pair.to == *to).map(|pair| pair.gbit_per_second)
        };
        listed(from, to).or_else(|| listed(to, from)).unwrap_or(self.wan.gbit_per_second)
    }

    /// The round trip between two regions, in milliseconds.
    #[must_use]
    pub fn round_trip_ms(&self, from: &Region, to: &Region) -> f64 {
        let latency = &self.latency;
        if from == to {
            return latency.inside_region_ms;
        }
        let named = |pair: &&super::limits::LatencyPair| {
            (&pair.from, &pair.to) == (from, to) || (&pair.to, &pair.from) == (from, to)
        };
        if let Some(pair) = latency.pair.iter().find(named) {
            return pair.ms;
        }
        let continent = |region| self.geography.regions.get(region).map(|place| &place.continent);
        match (continent(from), continent(to)) {
            (Some(here), Some(there)) if here == there => latency.same_continent_ms,
            _ => latency.other_continent_ms,
        }
    }
}

fn gbit(rate: f64) -> Rate {
    whole(rate * 1e9 / 8.0)
}

/// The nearest whole number, and at least one: rates were checked to be above nothing when they were read.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded and in range")]
fn whole(number: f64) -> Rate {
    Some((number.round() as u64).max(1))
}
