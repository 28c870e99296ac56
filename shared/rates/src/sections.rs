//! The sections of the rates. All but a few types hold `date` and `source`: no figure stands there without.

use std::collections::BTreeMap;

use goldfleet_model::ids::{AccountName, Region};
use serde::{Deserialize, Serialize};

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
    /// Round trips.
    pub latency: Latency,
    /// What one request gets between regions.
    pub stream: Stream,
    /// When a service refuses.
    pub server_busy: ServerBusy,
    /// What requests to queues, tables and Resource Manager take.
    pub control: Control,
}

/// Makes a section's type: its figures, and from when and whom they are.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// From when the figures are.
            pub date: String,
            /// Who says so.
            pub source: String,
            $($(#[$field_doc])* pub $field: $type,)*
        }
    };
}

section! {
    /// `[geography]`: where regions are.
    Geography {
        /// The regions.
        regions: BTreeMap<Region, RegionInfo>,
    }
}

/// Where a region is.
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
    /// `[egress]`: what data costs that leaves a region.
    Egress {
        /// Bytes in the gigabyte that is billed.
        gigabyte: u64,
        /// Prices by the continent that data leaves from.
        continents: BTreeMap<String, EgressPrice>,
    }
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

section! {
    /// `[requests]`: dollars for 10,000 requests.
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
    /// `[storage]`: what data costs that lies somewhere.
    Storage {
        /// Block blobs: dollars a gigabyte and 30 days.
        block_blob: f64,
        /// Page blobs: dollars a gigabyte and 30 days.
        page_blob: f64,
        /// Days that chunks and VHDs are taken to lie.
        days: u64,
    }
}

section! {
    /// `[wan]`: how fast regions are connected.
    Wan {
        /// Gbit/s of pairs that are not listed.
        gbit_per_second: f64,
        /// Pairs with a rate of their own.
        #[serde(default, rename = "pair")]
        pairs: Vec<WanPair>,
    }
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

section! {
    /// `[blob]`: what a blob can do.
    Blob {
        /// MiB/s of one page blob, read or written.
        page_blob_mib_per_second: f64,
        /// Requests a second of one blob.
        requests_per_second: f64,
        /// MB/s at which page blobs are copied inside their account, one after the other.
        copy_inside_account_mb_per_second: f64,
    }
}

section! {
    /// `[accounts]`: what a storage account can do.
    Accounts {
        /// In large regions.
        large: AccountLimits,
        /// In all others.
        other: AccountLimits,
        /// By name, for the modelled cloud: accounts with raised limits, or slow ones.
        #[serde(default)]
        named: BTreeMap<AccountName, AccountLimits>,
    }
}

/// What a storage account can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountLimits {
    /// Gbit/s in.
    pub ingress_gbit_per_second: f64,
    /// Gbit/s out.
    pub egress_gbit_per_second: f64,
    /// Requests a second.
    pub requests_per_second: f64,
}

section! {
    /// `[resource_manager]`: token buckets, for each subscription, region and principal.
    ResourceManager {
        /// Writes at once,
        write_burst: f64,
        /// and then a second.
        writes_per_second: f64,
        /// Reads at once,
        read_burst: f64,
        /// and then a second.
        reads_per_second: f64,
        /// Deletes at once,
        delete_burst: f64,
        /// and then a second.
        deletes_per_second: f64,
    }
}

section! {
    /// `[image]`: how long a managed image takes.
    Image {
        /// Seconds from the request to the image.
        seconds: f64,
    }
}

section! {
    /// `[latency]`: round trips, which only the model knows.
    Latency {
        /// Milliseconds inside a region.
        inside_region_ms: f64,
        /// Milliseconds between regions of one continent.
        same_continent_ms: f64,
        /// Milliseconds between continents, or where a region is not known.
        other_continent_ms: f64,
        /// What a storage request takes besides round trips and bytes.
        request_ms: f64,
        /// Pairs with a round trip of their own.
        #[serde(default, rename = "pair")]
        pairs: Vec<LatencyPair>,
    }
}

/// The round trip between two regions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyPair {
    /// Between this region
    pub from: Region,
    /// and that one.
    pub to: Region,
    /// Milliseconds.
    pub ms: f64,
}

section! {
    /// `[stream]`: what one request gets between regions, however fast they are connected. Only the model knows it.
    Stream {
        /// MB/s.
        mb_per_second: f64,
    }
}

section! {
    /// `[server_busy]`: when a service refuses. Only the model knows it.
    ServerBusy {
        /// Seconds that a blob or account may be behind before it refuses.
        behind_seconds: f64,
        /// Seconds that it then asks to wait, give or take a half.
        retry_after_seconds: f64,
    }
}

section! {
    /// `[control]`: what requests to queues, tables and Resource Manager take. Only the model knows it.
    Control {
        /// Milliseconds of a request to a queue or table.
        queue_and_table_ms: f64,
        /// Milliseconds of a request to Resource Manager.
        resource_manager_ms: f64,
        /// Seconds after which a change is to be looked at again.
        poll_seconds: f64,
    }
}
