//! The rates as the model uses them: whole units a second, or none where nothing rates.

use std::time::Duration;

use goldfleet_model::ids::{AccountName, Region};
use goldfleet_rates::{Rates, milliseconds, seconds};
use serde::Serialize;

/// The pace of the modelled cloud.
#[derive(Debug, Clone, PartialEq)]
pub enum LimitMode {
    /// Everything happens at once: for tests of rules.
    Unlimited,
    /// By these rates.
    Limited(Box<Rates>),
}

/// A limit of the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Bytes a second of one page blob.
    PageBlob,
    /// Requests a second of one blob.
    BlobRequests,
    /// Bytes a second into a storage account.
    AccountIngress,
    /// Bytes a second out of a storage account.
    AccountEgress,
    /// Requests a second of a storage account.
    AccountRequests,
    /// Bytes a second between two regions.
    Wan,
    /// Bytes a second of one request between two regions.
    Stream,
    /// Copies inside an account, which wait for each other.
    CopiesInside,
    /// Resource Manager's token buckets.
    ResourceManager,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::PageBlob,
        Self::BlobRequests,
        Self::AccountIngress,
        Self::AccountEgress,
        Self::AccountRequests,
        Self::Wan,
        Self::Stream,
        Self::CopiesInside,
        Self::ResourceManager,
    ];

    /// The limit in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PageBlob => "a page blob's bytes a second",
            Self::BlobRequests => "a blob's requests a second",
            Self::AccountIngress => "an account's bytes a second in",
            Self::AccountEgress => "an account's bytes a second out",
            Self::AccountRequests => "an account's requests a second",
            Self::Wan => "a link between regions",
            Self::Stream => "one request between regions",
            Self::CopiesInside => "copies inside an account",
            Self::ResourceManager => "Resource Manager's requests",
        }
    }
}

/// Units a second; none where nothing rates.
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

impl LimitMode {
    fn rates(&self) -> Option<&Rates> {
        match self {
            Self::Unlimited => None,
            Self::Limited(rates) => Some(rates),
        }
    }

    pub(super) fn account(&self, name: &AccountName, region: &Region) -> AccountRates {
        let Some(rates) = self.rates() else { return AccountRates::default() };
        let account = rates.accounts.named.get(name).unwrap_or_else(|| rates.account(region));
        AccountRates {
            ingress: at_least_one(account.ingress()),
            egress: at_least_one(account.egress()),
            requests: round_to_u64(account.requests_per_second),
        }
    }

    /// Requests a second of a blob.
    pub(super) fn blob_requests(&self) -> Rate {
        self.rates().and_then(|rates| round_to_u64(rates.blob.requests_per_second))
    }

    /// Bytes a second of a page blob.
    pub(super) fn page_blob(&self) -> Rate {
        self.rates().and_then(|rates| at_least_one(rates.page_blob()))
    }

    /// Bytes a second of copies inside an account.
    pub(super) fn copies_inside(&self) -> Rate {
        self.rates().and_then(|rates| round_to_u64(rates.blob.copy_inside_account_mb_per_second * 1e6))
    }

    /// Bytes a second of one request between regions.
    pub(super) fn stream(&self) -> Rate {
        self.rates().and_then(|rates| round_to_u64(rates.stream.mb_per_second * 1e6))
    }

    /// Bytes a second from one region to another; none inside a region.
    pub(super) fn wan(&self, from: &Region, to: &Region) -> Rate {
        self.rates().filter(|_| from != to).and_then(|rates| at_least_one(rates.wan(from, to)))
    }

    pub(super) fn round_trip(&self, from: &Region, to: &Region) -> Duration {
        self.rates().map_or(Duration::ZERO, |rates| rates.round_trip(from, to))
    }

    /// What a storage request takes besides round trips and bytes.
    pub(super) fn request(&self) -> Duration {
        self.rates().map_or(Duration::ZERO, |rates| milliseconds(rates.latency.request_ms))
    }

    /// How far behind a blob or account may be before it refuses, and what it asks to wait.
    pub(super) fn server_busy(&self) -> (Duration, Duration) {
        self.rates().map_or((Duration::MAX, Duration::ZERO), |rates| {
            let busy = &rates.server_busy;
            (seconds(busy.behind_seconds), seconds(busy.retry_after_seconds))
        })
    }

    pub(super) fn queue_and_table(&self) -> Duration {
        self.rates().map_or(Duration::ZERO, |rates| milliseconds(rates.control.queue_and_table_ms))
    }

    pub(super) fn resource_manager(&self) -> Duration {
        self.rates().map_or(Duration::ZERO, |rates| milliseconds(rates.control.resource_manager_ms))
    }

    /// How long an image takes, and after which time it is to be looked at again.
    pub(super) fn image(&self) -> (Duration, Duration) {
        self.rates()
            .map_or((Duration::ZERO, Duration::ZERO), |rates| (rates.image(), seconds(rates.control.poll_seconds)))
    }

    pub(super) fn bucket(&self, kind: ArmKind) -> Option<BucketRates> {
        let arm = &self.rates()?.resource_manager;
        let (burst, rate) = match kind {
            ArmKind::Read => (arm.read_burst, arm.reads_per_second),
            ArmKind::Write => (arm.write_burst, arm.writes_per_second),
            ArmKind::Delete => (arm.delete_burst, arm.deletes_per_second),
        };
        Some(BucketRates { burst: round_to_u64(burst)?, per_1000_seconds: round_to_u64(rate * 1e3)? })
    }
}

/// The nearest whole number of a rate.
fn round_to_u64(number: f64) -> Rate {
    at_least_one(goldfleet_rates::round_to_u64(number))
}

/// At least one: a rate that was rounded to nothing is no standstill.
fn at_least_one(number: u64) -> Rate {
    Some(number.max(1))
}
