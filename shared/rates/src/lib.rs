//! Rates: prices, limits, speeds and times. The planner and the modelled cloud use them.
//!
//! They are the built-in `rates.toml`, overlaid by an optional file of the operator. Every section names the date and
//! the source of its figures. The planner and the modelled cloud use the same rates, so their figures cannot differ.

mod check;
mod money;
mod read;
mod sections;

use std::time::Duration;

use goldfleet_model::ids::Region;

pub use money::Money;
pub use read::RatesError;
pub use sections::{
    AccountLimits, Accounts, Blob, Control, Egress, EgressPrice, Geography, Image, Latency, LatencyPair, Rates,
    RegionInfo, Requests, ResourceManager, ServerBusy, Storage, Stream, Wan, WanPair,
};

/// The continent of regions that are not listed.
pub const UNKNOWN: &str = "unknown";

impl Rates {
    /// Whether the region is listed.
    #[must_use]
    pub fn knows(&self, region: &Region) -> bool {
        self.geography.regions.contains_key(region)
    }

    /// The continent of the region, or [`UNKNOWN`].
    #[must_use]
    pub fn continent(&self, region: &Region) -> &str {
        self.geography.regions.get(region).map_or(UNKNOWN, |place| &place.continent)
    }

    /// The default limits of storage accounts in the region. They do not apply to accounts that are listed with their
    /// own limits.
    #[must_use]
    pub fn account(&self, region: &Region) -> &AccountLimits {
        let large = self.geography.regions.get(region).is_some_and(|place| place.large);
        if large { &self.accounts.large } else { &self.accounts.other }
    }

    /// The price of a gigabyte from one region to another, in millionths of a dollar.
    #[must_use]
    pub fn egress_price(&self, from: &Region, to: &Region) -> u64 {
        if from == to {
            return 0;
        }
        let (here, there) = (self.continent(from), self.continent(to));
        match self.egress.continents.get(here) {
            Some(price) if here == there => micros(price.inside),
            Some(price) => micros(price.leaving),
            None => self.highest_price(),
        }
    }

    /// The cost of moving bytes from one region to another.
    #[must_use]
    pub fn egress_cost(&self, from: &Region, to: &Region, bytes: u64) -> Money {
        Money::for_units(bytes.into(), self.egress_price(from, to), self.egress.gigabyte)
    }

    /// The highest egress price.
    fn highest_price(&self) -> u64 {
        let prices = self.egress.continents.values().flat_map(|price| [micros(price.inside), micros(price.leaving)]);
        prices.max().unwrap_or(0)
    }

    /// The cost of storing bytes for the assumed number of days. `dollars` is the price of a gigabyte for 30 days.
    #[must_use]
    pub fn storage_cost(&self, dollars: f64, bytes: u128) -> Money {
        let amount = bytes.saturating_mul(self.storage.days.into());
        Money::for_units(amount, micros(dollars), self.egress.gigabyte.saturating_mul(30))
    }

    /// The cost of requests. `dollars` is the price of 10,000 requests.
    #[must_use]
    pub fn request_cost(&self, dollars: f64, requests: u128) -> Money {
        Money::for_units(requests, micros(dollars), 10_000)
    }

    /// The rate between two regions, in bytes per second.
    #[must_use]
    pub fn wan(&self, from: &Region, to: &Region) -> u64 {
        let listed = |from: &Region, to: &Region| {
            self.wan.pairs.iter().find(|pair| pair.from == *from && pair.to == *to).map(|pair| pair.gbit_per_second)
        };
        gbit(listed(from, to).or_else(|| listed(to, from)).unwrap_or(self.wan.gbit_per_second))
    }

    /// The rate of a page blob, in bytes per second.
    #[must_use]
    pub fn page_blob(&self) -> u64 {
        round_to_u64(self.blob.page_blob_mib_per_second * 1024.0 * 1024.0)
    }

    /// The time to create a snapshot of a disk or snapshot in the same region.
    #[must_use]
    pub fn snapshot(&self) -> Duration {
        seconds(self.snapshot.seconds)
    }

    /// The time of a replication of a gallery version to a region, without that of its bytes, and the time from its
    /// reported end until the version can be used in the region.
    #[must_use]
    pub fn gallery(&self) -> (Duration, Duration) {
        (seconds(self.gallery.replication_seconds), seconds(self.gallery.usable_seconds))
    }

    /// The time to create a managed image.
    #[must_use]
    pub fn image(&self) -> Duration {
        seconds(self.image.seconds)
    }

    /// The round-trip time between two regions.
    #[must_use]
    pub fn round_trip(&self, from: &Region, to: &Region) -> Duration {
        let latency = &self.latency;
        let either_way =
            |pair: &&LatencyPair| (&pair.from, &pair.to) == (from, to) || (&pair.to, &pair.from) == (from, to);
        milliseconds(if from == to {
            latency.inside_region_ms
        } else if let Some(pair) = latency.pairs.iter().find(either_way) {
            pair.ms
        } else if self.knows(from) && self.continent(from) == self.continent(to) {
            latency.same_continent_ms
        } else {
            latency.other_continent_ms
        })
    }
}

impl AccountLimits {
    /// The ingress rate, in bytes per second.
    #[must_use]
    pub fn ingress(&self) -> u64 {
        gbit(self.ingress_gbit_per_second)
    }

    /// The egress rate, in bytes per second.
    #[must_use]
    pub fn egress(&self) -> u64 {
        gbit(self.egress_gbit_per_second)
    }
}

/// Converts Gbit/s to bytes per second.
fn gbit(rate: f64) -> u64 {
    round_to_u64(rate * 1e9 / 8.0)
}

/// Converts seconds to a duration. Rates are finite and in range, because they were checked when they were read.
#[must_use]
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Converts milliseconds to a duration.
#[must_use]
pub fn milliseconds(ms: f64) -> Duration {
    seconds(ms / 1000.0)
}

/// Converts dollars to millionths of a dollar.
fn micros(dollars: f64) -> u64 {
    round_to_u64(dollars * 1e6)
}

/// Returns the nearest integer. Rates are finite and in range, because they were checked when they were read.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, and a cast saturates")]
#[must_use]
pub fn round_to_u64(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests;
