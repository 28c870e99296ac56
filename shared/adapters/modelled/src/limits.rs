//! The rates in the form that the model uses: whole units per second, or None for no limit.

use std::time::Duration;

use goldfleet_model::ids::{AccountName, Region};
use goldfleet_rates::{Rates, milliseconds, seconds};
use serde::Serialize;

/// The limits of the modelled cloud.
#[derive(Debug, Clone, PartialEq)]
pub enum LimitMode {
    /// No limits: everything completes immediately. For tests of rules.
    Unlimited,
    /// These rates.
    Limited(Box<Rates>),
}

/// A limit of the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Bytes per second of one page blob.
    PageBlob,
    /// Requests per second of one blob.
    BlobRequests,
    /// Bytes per second into a storage account.
    AccountIngress,
    /// Bytes per second out of a storage account.
    AccountEgress,
    /// Requests per second of a storage account.
    AccountRequests,
    /// Bytes per second between two regions.
    Wan,
    /// Bytes per second of one request between two regions.
    Stream,
    /// Copies inside an account, which run one after the other.
    CopiesInside,
    /// Resource Manager's token buckets.
    ResourceManager,
}

impl Limit {
    /// All limits.
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

    /// The description of the limit.
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

/// Units per second. None means no limit.
pub(super) type Rate = Option<u64>;

/// The limits of a storage account.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AccountRates {
    /// Bytes per second in.
    pub(super) ingress: Rate,
    /// Bytes per second out.
    pub(super) egress: Rate,
    /// Requests per second.
    pub(super) requests: Rate,
}

/// The size and the rate of a token bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct BucketRates {
    /// The maximum number of requests at once.
    pub(super) burst: u64,
    /// Requests per 1000 seconds.
    pub(super) per_1000_seconds: u64,
}

/// A request to Resource Manager, by its token bucket.
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

    /// Requests per second of a blob.
    pub(super) fn blob_requests(&self) -> Rate {
        self.rates().and_then(|rates| round_to_u64(rates.blob.requests_per_second))
    }

    /// Bytes per second of a page blob.
    pub(super) fn page_blob(&self) -> Rate {
        self.rates().and_then(|rates| at_least_one(rates.page_blob()))
    }

    /// Bytes per second of copies inside an account.
    pub(super) fn copies_inside(&self) -> Rate {
        self.rates().and_then(|rates| round_to_u64(rates.blob.copy_inside_account_mb_per_second * 1e6))
    }

    /// Bytes per second of one request between regions.
    pub(super) fn stream(&self) -> Rate {
        self.rates().and_then(|rates| round_to_u64(rates.stream.mb_per_second * 1e6))
    }

    /// Bytes per second from one region to another. None inside a region.
    pub(super) fn wan(&self, from: &Region, to: &Region) -> Rate {
        self.rates().filter(|_| from != to).and_then(|rates| at_least_one(rates.wan(from, to)))
    }

    pub(super) fn round_trip(&self, from: &Region, to: &Region) -> Duration {
        self.rates().map_or(Duration::ZERO, |rates| rates.round_trip(from, to))
    }

    /// The duration of a storage request without its round trips and bytes.
    pub(super) fn request(&self) -> Duration {
        self.rates().map_or(Duration::ZERO, |rates| milliseconds(rates.latency.request_ms))
    }

    /// The backlog at which a blob or account throttles, and the wait that the response requests.
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

    /// The duration of the creation of an image, and the interval of polling it.
    pub(super) fn image(&self) -> (Duration, Duration) {
        self.rates()
            .map_or((Duration::ZERO, Duration::ZERO), |rates| (rates.image(), seconds(rates.control.poll_seconds)))
    }

    /// The duration of the creation of a snapshot in the region of its source.
    pub(super) fn snapshot(&self) -> Duration {
        self.rates().map_or(Duration::ZERO, Rates::snapshot)
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

/// A rate rounded to a whole number.
fn round_to_u64(number: f64) -> Rate {
    at_least_one(goldfleet_rates::round_to_u64(number))
}

/// At least one, so that a rate that was rounded to zero does not stop all traffic.
fn at_least_one(number: u64) -> Rate {
    Some(number.max(1))
}
