//! The limits that the modelled cloud keeps to: `limits.toml`, which is built in, and over it a file of the operator's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Deserialize;

use crate::model::ids::{AccountName, Region};

/// The built-in limits.
const BUILT_IN: &str = include_str!("limits.toml");

/// What errors call the built-in limits.
const BUILT_IN_NAME: &str = "built-in limits.toml";

/// Sections of plans' rates that are no limits.
const PRICES: [&str; 3] = ["egress", "requests", "storage"];

/// The fastest rate that is believed, in whatever unit; also the longest time in milliseconds.
const MOST: f64 = 1e9;

/// Why limits were refused.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// The file can't be read.
    #[error("the limits file {} can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is written can't be used.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// The limits, by section of the file. `date` and `source` say from when figures are, and who says so.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Where regions are.
    pub geography: Geography,
    /// How fast regions are connected.
    pub wan: Wan,
    /// What a blob can do.
    pub blob: Blob,
    /// What storage accounts can do.
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
        #[derive(Debug, Clone, PartialEq, Deserialize)]
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
    /// `[geography]`.
    Geography {
        /// The regions that are known.
        regions: BTreeMap<Region, Place>,
    }
}

/// Where a region is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its continent.
    pub continent: String,
    /// Whether its storage accounts have the higher limits.
    #[serde(default)]
    pub large: bool,
}

section! {
    /// `[wan]`.
    Wan {
        /// Gbit/s of pairs that are not listed, each way.
        gbit_per_second: f64,
        /// Pairs with a rate of their own, both ways unless the other way is listed too.
        #[serde(default)]
        pair: Vec<WanPair>,
    }
}

/// The rate from one region to another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    /// `[blob]`.
    Blob {
        /// MiB/s of one page blob, read and written together.
        page_blob_mib_per_second: f64,
        /// Requests a second of any one blob.
        requests_per_second: f64,
        /// MB/s at which page blobs are copied inside an account, one after the other.
        copy_inside_account_mb_per_second: f64,
    }
}

section! {
    /// `[accounts]`.
    Accounts {
        /// In large regions.
        large: Account,
        /// In all others.
        other: Account,
        /// By name: accounts with raised limits, or slow ones.
        #[serde(default)]
        named: BTreeMap<AccountName, Account>,
    }
}

/// What a storage account can do.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Gbit/s in.
    pub ingress_gbit_per_second: f64,
    /// Gbit/s out.
    pub egress_gbit_per_second: f64,
    /// Requests a second.
    pub requests_per_second: f64,
}

section! {
    /// `[resource_manager]`: token buckets of a subscription.
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
    /// `[image]`.
    Image {
        /// Seconds from the request to the image.
        seconds: f64,
    }
}

section! {
    /// `[latency]`: round trips in milliseconds.
    Latency {
        /// Inside a region.
        inside_region_ms: f64,
        /// Between regions of one continent.
        same_continent_ms: f64,
        /// Between continents, or where a region is not known.
        other_continent_ms: f64,
        /// What a storage request takes besides round trips and bytes.
        request_ms: f64,
        /// Pairs with a round trip of their own.
        #[serde(default)]
        pair: Vec<LatencyPair>,
    }
}

/// The round trip between two regions.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    /// `[stream]`.
    Stream {
        /// MB/s of one request between regions.
        mb_per_second: f64,
    }
}

section! {
    /// `[server_busy]`.
    ServerBusy {
        /// Seconds that a blob or account may be behind before it refuses.
        behind_seconds: f64,
        /// Seconds that it then asks to wait, give or take a half.
        retry_after_seconds: f64,
    }
}

section! {
    /// `[control]`.
    Control {
        /// Milliseconds of a request to a queue or table.
        queue_and_table_ms: f64,
        /// Milliseconds of a request to Resource Manager.
        resource_manager_ms: f64,
        /// Seconds after which a change is to be looked at again.
        poll_seconds: f64,
    }
}

impl Limits {
    /// The built-in limits, with those of the file at `path` over them.
    ///
    /// # Errors
    /// [`LimitsError`] where the file can't be read or used.
    pub fn load(path: Option<&Path>) -> Result<Self, LimitsError> {
        let Some(path) = path else { return Self::over_built_in(Path::new(BUILT_IN_NAME), "") };
        let text =
            fs::read_to_string(path).map_err(|source| LimitsError::Unreadable { path: path.to_owned(), source })?;
        Self::over_built_in(path, &text)
    }

    /// The built-in limits with what `text` says over them; errors name `file`.
    ///
    /// # Errors
    /// [`LimitsError::Invalid`].
    pub fn over_built_in(file: &Path, text: &str) -> Result<Self, LimitsError> {
        let invalid = |message: String| LimitsError::Invalid { path: file.to_owned(), message };
        let parse = |text: &str| text.parse::<toml::Table>().map_err(|error| invalid(error.to_string()));
        let (mut table, mut over) = (parse(BUILT_IN)?, parse(text)?);
        PRICES.iter().for_each(|section| drop(over.remove(*section)));
        lay_over(&mut table, over);
        let limits: Self = table.try_into().map_err(|error: toml::de::Error| invalid(error.to_string()))?;
        match limits.unbelievable() {
            Some(message) => Err(invalid(message)),
            None => Ok(limits),
        }
    }

    /// The first figure that is out of its range.
    fn unbelievable(&self) -> Option<String> {
        let (blob, arm, busy) = (&self.blob, &self.resource_manager, &self.server_busy);
        let accounts = [&self.accounts.large, &self.accounts.other];
        let accounts = accounts.into_iter().chain(self.accounts.named.values()).flat_map(|account| {
            [
                ("accounts.ingress_gbit_per_second", account.ingress_gbit_per_second),
                ("accounts.egress_gbit_per_second", account.egress_gbit_per_second),
                ("accounts.requests_per_second", account.requests_per_second),
            ]
        });
        let pairs = self.wan.pair.iter().map(|pair| ("wan.pair.gbit_per_second", pair.gbit_per_second));
        let rates = [
            ("wan.gbit_per_second", self.wan.gbit_per_second),
            ("blob.page_blob_mib_per_second", blob.page_blob_mib_per_second),
            ("blob.requests_per_second", blob.requests_per_second),
            ("blob.copy_inside_account_mb_per_second", blob.copy_inside_account_mb_per_second),
            ("resource_manager.write_burst", arm.write_burst),
            ("resource_manager.writes_per_second", arm.writes_per_second),
            ("resource_manager.read_burst", arm.read_burst),
            ("resource_manager.reads_per_second", arm.reads_per_second),
            ("resource_manager.delete_burst", arm.delete_burst),
            ("resource_manager.deletes_per_second", arm.deletes_per_second),
            ("stream.mb_per_second", self.stream.mb_per_second),
        ];
        let (latency, control) = (&self.latency, &self.control);
        let times = [
            ("latency.inside_region_ms", latency.inside_region_ms),
            ("latency.same_continent_ms", latency.same_continent_ms),
            ("latency.other_continent_ms", latency.other_continent_ms),
            ("latency.request_ms", latency.request_ms),
            ("server_busy.behind_seconds", busy.behind_seconds),
            ("server_busy.retry_after_seconds", busy.retry_after_seconds),
            ("control.queue_and_table_ms", control.queue_and_table_ms),
            ("control.resource_manager_ms", control.resource_manager_ms),
            ("control.poll_seconds", control.poll_seconds),
            ("image.seconds", self.image.seconds),
        ];
        let times = times.into_iter().chain(latency.pair.iter().map(|pair| ("latency.pair.ms", pair.ms)));
        let rates = rates.into_iter().chain(accounts).chain(pairs);
        rates
            .map(|(key, value)| (key, value, 0.001))
            .chain(times.map(|(key, value)| (key, value, 0.0)))
            .find(|(_, value, least)| !(*least..=MOST).contains(value))
            .map(|(key, value, least)| format!("{key}: {value} is out of range: use {least} to {MOST}"))
    }
}

/// Milliseconds as a duration. Figures were checked to be in range when they were read.
#[must_use]
pub(super) fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

fn lay_over(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}
