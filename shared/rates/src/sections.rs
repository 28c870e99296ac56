//! The sections of the rates. Every section has `date` and `source`, so each figure has a source.

use std::collections::BTreeMap;

use goldfleet_model::ids::{AccountName, Region};
use serde::{Deserialize, Serialize};

/// The rates, by section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// The continents of regions.
    pub geography: Geography,
    /// The prices of egress.
    pub egress: Egress,
    /// The prices of requests.
    pub requests: Requests,
    /// The prices of storage.
    pub storage: Storage,
    /// The rates between regions.
    pub wan: Wan,
    /// The limits of a blob.
    pub blob: Blob,
    /// The limits of storage accounts.
    pub accounts: Accounts,
    /// The limits of Resource Manager.
    pub resource_manager: ResourceManager,
    /// The time to create a managed image.
    pub image: Image,
    /// The time to create a snapshot.
    pub snapshot: Snapshot,
    /// The times of gallery versions.
    pub gallery: Gallery,
    /// Round-trip times.
    pub latency: Latency,
    /// The rate of one request between regions.
    pub stream: Stream,
    /// The throttling of services.
    pub server_busy: ServerBusy,
    /// The times of requests to queues, tables and Resource Manager.
    pub control: Control,
}

/// Defines the type of a section: its figures, their date and their source.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The date of the figures.
            pub date: String,
            /// The source of the figures.
            pub source: String,
            $($(#[$field_doc])* pub $field: $type,)*
        }
    };
}

section! {
    /// `[geography]`: the continents of regions.
    Geography {
        /// The regions.
        regions: BTreeMap<Region, RegionInfo>,
    }
}

/// The geography of a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionInfo {
    /// Its continent: a key of `[egress.continents]`.
    pub continent: String,
    /// Whether its storage accounts have the higher default limits.
    #[serde(default)]
    pub large: bool,
}

section! {
    /// `[egress]`: the prices of data that leaves a region.
    Egress {
        /// The number of bytes in a billed gigabyte.
        gigabyte: u64,
        /// The prices by the continent of the sending region.
        continents: BTreeMap<String, EgressPrice>,
    }
}

/// Prices in dollars per gigabyte.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressPrice {
    /// To another region of the same continent.
    pub inside: f64,
    /// To another continent.
    pub leaving: f64,
}

section! {
    /// `[requests]`: the prices of requests, in dollars per 10,000 requests.
    Requests {
        /// Writing a block blob.
        block_write: f64,
        /// Reading a block blob.
        block_read: f64,
        /// Writing pages.
        page_write: f64,
        /// Reading pages.
        page_read: f64,
    }
}

section! {
    /// `[storage]`: the prices of stored data.
    Storage {
        /// Block blobs: dollars per gigabyte for 30 days.
        block_blob: f64,
        /// Page blobs: dollars per gigabyte for 30 days.
        page_blob: f64,
        /// Snapshots: dollars per gigabyte for 30 days.
        snapshot: f64,
        /// The assumed number of days for which chunks and VHDs are stored.
        days: u64,
    }
}

section! {
    /// `[wan]`: the rates between regions.
    Wan {
        /// The rate of pairs that are not listed, in Gbit/s.
        gbit_per_second: f64,
        /// Pairs with their own rate.
        #[serde(default, rename = "pair")]
        pairs: Vec<WanPair>,
    }
}

/// The rate between two regions. It applies to both directions unless the other direction is listed too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WanPair {
    /// The sending region.
    pub from: Region,
    /// The receiving region.
    pub to: Region,
    /// The rate in Gbit/s.
    pub gbit_per_second: f64,
}

section! {
    /// `[blob]`: the limits of a blob.
    Blob {
        /// The read or write rate of one page blob, in MiB/s.
        page_blob_mib_per_second: f64,
        /// The requests per second to one blob.
        requests_per_second: f64,
        /// The rate of page blob copies within one account, one after the other, in MB/s.
        copy_inside_account_mb_per_second: f64,
    }
}

section! {
    /// `[accounts]`: the limits of storage accounts.
    Accounts {
        /// Accounts in large regions.
        large: AccountLimits,
        /// Accounts in all other regions.
        other: AccountLimits,
        /// Accounts by name, for the modelled cloud: accounts with raised limits, or slow ones.
        #[serde(default)]
        named: BTreeMap<AccountName, AccountLimits>,
    }
}

/// The limits of a storage account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountLimits {
    /// The ingress rate in Gbit/s.
    pub ingress_gbit_per_second: f64,
    /// The egress rate in Gbit/s.
    pub egress_gbit_per_second: f64,
    /// The requests per second.
    pub requests_per_second: f64,
}

section! {
    /// `[resource_manager]`: token buckets, one for each subscription, region and principal.
    ResourceManager {
        /// The size of the bucket for writes.
        write_burst: f64,
        /// The refill rate of the bucket for writes, per second.
        writes_per_second: f64,
        /// The size of the bucket for reads.
        read_burst: f64,
        /// The refill rate of the bucket for reads, per second.
        reads_per_second: f64,
        /// The size of the bucket for deletes.
        delete_burst: f64,
        /// The refill rate of the bucket for deletes, per second.
        deletes_per_second: f64,
    }
}

section! {
    /// `[image]`: the time to create a managed image.
    Image {
        /// Seconds from the request to the finished image.
        seconds: f64,
    }
}

section! {
    /// `[snapshot]`: the time to create a snapshot of a disk or snapshot in the same region.
    Snapshot {
        /// Seconds from the request to the finished snapshot.
        seconds: f64,
    }
}

section! {
    /// `[gallery]`: the times of gallery versions.
    Gallery {
        /// Seconds of a replication to a region, besides those of its bytes on the link between the regions.
        replication_seconds: f64,
        /// Seconds from the reported end of a replication until the version can be used in the region.
        usable_seconds: f64,
    }
}

section! {
    /// `[latency]`: round-trip times. Only the modelled cloud uses them.
    Latency {
        /// Milliseconds within a region.
        inside_region_ms: f64,
        /// Milliseconds between regions of one continent.
        same_continent_ms: f64,
        /// Milliseconds between continents, or if a region is unknown.
        other_continent_ms: f64,
        /// The time of a storage request without round trips and the transfer of bytes, in milliseconds.
        request_ms: f64,
        /// Pairs with their own round-trip time.
        #[serde(default, rename = "pair")]
        pairs: Vec<LatencyPair>,
    }
}

/// The round-trip time between two regions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyPair {
    /// One region.
    pub from: Region,
    /// The other region.
    pub to: Region,
    /// The round-trip time in milliseconds.
    pub ms: f64,
}

section! {
    /// `[stream]`: the rate of one request between regions, independent of the rate of the link. Only the modelled
    /// cloud uses it.
    Stream {
        /// The rate in MB/s.
        mb_per_second: f64,
    }
}

section! {
    /// `[server_busy]`: the throttling of services. Only the modelled cloud uses it.
    ServerBusy {
        /// The backlog in seconds at which a blob or account refuses requests.
        behind_seconds: f64,
        /// The Retry-After time of a refusal in seconds; it varies by up to one half in both directions.
        retry_after_seconds: f64,
    }
}

section! {
    /// `[control]`: the times of requests to queues, tables and Resource Manager. Only the modelled cloud uses it.
    Control {
        /// Milliseconds of a request to a queue or table.
        queue_and_table_ms: f64,
        /// Milliseconds of a request to Resource Manager.
        resource_manager_ms: f64,
        /// The interval in seconds at which a long-running change is to be polled.
        poll_seconds: f64,
    }
}
