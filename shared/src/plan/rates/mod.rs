//! Rates: the prices, limits and speeds that plans and estimates are made with.
//!
//! They come from `rates.toml`, which is built in, and over it from a file of the operator's. Every section says from when
//! its figures are and who says so.

mod check;
mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::money::Money;
use crate::model::ids::Region;

pub use read::RatesError;

/// The continent of regions that are not in the list.
pub const UNKNOWN: &str = "unknown";

/// The rates, by section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Where regions are.
    pub geography: Geography,
    /// What data costs that leaves a region.
    pub egress: Egress,
    /// What requests cost.
    pub requests: Requests,
    /// What data costs that lies somewhere.
    pub storage: Storage,
    /// How fast regions are connected.
    pub wan: Wan,
    /// What a blob can do.
    pub blob: Blob,
    /// What a storage account can do.
    pub accounts: Accounts,
    /// What Resource Manager admits.
    pub resource_manager: ResourceManager,
    /// How long a managed image takes.
    pub image: Image,
}

/// `[geography]`: where regions are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geography {
    /// From when the figures are.
    pub date: String,
    /// Who says so.
    pub source: String,
    /// The regions.
    pub regions: BTreeMap<Region, Place>,
}

/// Where a region is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its continent: a key of `[egress.continents]`.
    pub continent: String,
    /// Whether its storage accounts have the higher default limits.
    #[serde(default)]
    pub large: bool,
}

/// `[egress]`: what data costs that leaves a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// From when the figures are.
    pub date: String,
    /// Who says so.
    pub source: String,
    /// Bytes in the gigabyte that is billed.
    pub gigabyte: u64,
    /// Prices by the continent that data leaves from.
    pub continents: BTreeMap<String, EgressPrice>,
}

/// Dollars a gigabyte.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressPrice {
    /// To another region of the continent.
    pub inside: f64,
    /// To another continent.
    pub leaving: f64,
}

/// `[requests]`: dollars for 10,000 requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// From when the figures are.
    pub date: String,
    /// Who says so.
    pub source: String,
    /// Writing a block blob.
    pub block_write: f64,
    /// Reading a block blob.
    pub block_read: f64,
    /// Writing pages.
    pub page_write: f64,
    /// Reading pages.
    pub page_read: f64,
}

/// `[storage]`: what data costs that lies somewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// From when the figures are.
    pub date: String,
    /// Who says so.
    pub source: String,
    /// Block blobs: dollars a gigabyte and 30 days.
    pub block_blob: f64,
    /// Page blobs: dollars a gigabyte and 30 days.
    pub page_blob: f64,
    /// Days that chunks and VHDs are taken to lie.
    pub days: u64,
}

/// `[wan]`: how fast regions are connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wan {
    /// From when the figures are.
    pub date: String,
    /// Who says so.
    pub source: String,
    /// Gbit/s of pairs that are not listed.
    pub gbit_per_second: f64,
    /// Pairs with a rate of their own.
    #[serde(default, rename = "pair")]
    pub pairs: Vec<WanPair>,
}

/// The rate between two regions: of both directions, unless the other one is listed too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WanPair {
    /// From this region,
    pub from: Region,
    /// to that one.
    pub to: Region,
    /// Gbit/s.
    pub gbit_per_second: f64,
}

/// `[blob]`: what a blob can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// From when the figures are.
    pub date: String,
    /// Who says so.
    pub source: String,
    /// MiB/s of one page blob, read or written.
    pub page_blob_mib_per_second: f64,
    /// Requests a second of one blob.
    pub requests_per_second: f64,
    /// MB/s at which page blobs are copied inside their account, one after the other.
    pub copy_inside_account_mb_per_second: f64,
}

/// `[accounts]`: what a storage account can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// From when the figures are.
    pub date: String,
    /// Who says so.
    pub source: String,
    /// In large regions.
    pub large: Account,
    /// In all others.
    pub other: Account,
}

/// What a storage account can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Gbit/s in.
    pub ingress_gbit_per_second: f64,
    /// Gbit/s out.
    pub egress_gbit_per_second: f64,
    /// Requests a second.
    pub requests_per_second: f64,
}

/// `[resource_manager]`: token buckets, for each subscription, region and principal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceManager {
    /// From when the figures are.
    pub date: String,
    /// Who says so.
    pub source: String,
    /// Writes at once,
    pub write_burst: f64,
    /// and then a second.
    pub writes_per_second: f64,
    /// Reads at once,
    pub read_burst: f64,
    /// and then a second.
    pub reads_per_second: f64,
    /// Deletes at once,
    pub delete_burst: f64,
    /// and then a second.
    pub deletes_per_second: f64,
}

/// `[image]`: how long a managed image takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// From when the figures are.
    pub date: String,
    /// Who says so.
    pub source: String,
    /// Seconds from the request to the image.
    pub seconds: f64,
}

impl Rates {
    /// Whether the region is in the list.
    #[must_use]
    pub fn knows(&self, region: &Region) -> bool {
        self.geography.regions.contains_key(region)
    }

    /// The region's continent, or [`UNKNOWN`].
    #[must_use]
    pub fn continent(&self, region: &Region) -> &str {
        self.geography.regions.get(region).map_or(UNKNOWN, |place| &place.continent)
    }

    /// What storage accounts of the region can do.
    #[must_use]
    pub fn account(&self, region: &Region) -> &Account {
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
            None => self.dearest(),
        }
    }

    /// What it costs to move bytes from one region to another.
    #[must_use]
    pub fn egress_cost(&self, from: &Region, to: &Region, bytes: u64) -> Money {
        Money::for_units(bytes.into(), self.egress_price(from, to), self.egress.gigabyte)
    }

    /// The highest price there is.
    fn dearest(&self) -> u64 {
        let prices = self.egress.continents.values().flat_map(|price| [micros(price.inside), micros(price.leaving)]);
        prices.max().unwrap_or(0)
    }

    /// What it costs to keep bytes for the days that they are taken to lie, at dollars a gigabyte and 30 days.
    #[must_use]
    pub fn storage_cost(&self, dollars: f64, bytes: u128) -> Money {
        let amount = bytes.saturating_mul(self.storage.days.into());
        Money::for_units(amount, micros(dollars), self.egress.gigabyte.saturating_mul(30))
    }

    /// What requests cost, at dollars for 10,000.
    #[must_use]
    pub fn request_cost(&self, dollars: f64, requests: u128) -> Money {
        Money::for_units(requests, micros(dollars), 10_000)
    }

    /// The rate between two regions, in bytes a second.
    #[must_use]
    pub fn wan(&self, from: &Region, to: &Region) -> u64 {
        let listed = |from: &Region, to: &Region| {
            self.wan.pairs.iter().find(|pair| pair.from == *from && pair.to == *to).map(|pair| pair.gbit_per_second)
        };
        gbit(listed(from, to).or_else(|| listed(to, from)).unwrap_or(self.wan.gbit_per_second))
    }

    /// The rate of a page blob, in bytes a second.
    #[must_use]
    pub fn page_blob(&self) -> u64 {
        whole(self.blob.page_blob_mib_per_second * 1024.0 * 1024.0)
    }

    /// How long a managed image takes.
    #[must_use]
    pub fn image(&self) -> Duration {
        Duration::try_from_secs_f64(self.image.seconds).unwrap_or_default()
    }
}

impl Account {
    /// Bytes a second in.
    #[must_use]
    pub fn ingress(&self) -> u64 {
        gbit(self.ingress_gbit_per_second)
    }

    /// Bytes a second out.
    #[must_use]
    pub fn egress(&self) -> u64 {
        gbit(self.egress_gbit_per_second)
    }
}

/// Gbit/s as bytes a second.
fn gbit(rate: f64) -> u64 {
    whole(rate * 1e9 / 8.0)
}

/// Dollars as millionths.
fn micros(dollars: f64) -> u64 {
    whole(dollars * 1e6)
}

/// The nearest whole number. Rates were checked to be finite and in range when they were read.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, and a cast saturates")]
pub(super) fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests;
