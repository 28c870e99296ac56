//! The sections of the configuration, one type each.

use std::path::PathBuf;

use goldfleet_azure_settings::{AzureCloud, AzureCoordination};
use goldfleet_model::ids::{AccountName, ContainerName, Region, SubscriptionId};
use goldfleet_model::image::StorageType;
use goldfleet_model::naming::NameTemplate;
use goldfleet_model::store::Store;
use serde::{Deserialize, Deserializer, Serialize};

use super::values::{HumanDuration, ListenAddress};

/// `[coordination]`: where queues and tables are. The key `backend` tells the variants apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "backend", rename_all = "lowercase")]
pub enum Coordination {
    /// A SQLite file: one machine.
    Embedded(EmbeddedCoordination),
    /// Storage Queues and Tables: any number of machines.
    Azure(AzureCoordination),
}

impl Default for Coordination {
    fn default() -> Self {
        Self::Embedded(EmbeddedCoordination::default())
    }
}

// A [`goldfleet_diagnostics::Node`] gives a tagged table as a plain enum, so that errors keep their lines. The remote mirrors of
// this enum and the next are read as such, while the enums themselves are written with their tag.
#[derive(Deserialize)]
#[serde(remote = "Coordination", rename_all = "lowercase")]
enum CoordinationByBackend {
    Embedded(EmbeddedCoordination),
    Azure(AzureCoordination),
}

impl<'de> Deserialize<'de> for Coordination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        CoordinationByBackend::deserialize(deserializer)
    }
}

/// `[coordination]` with `backend = "embedded"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedCoordination {
    /// The SQLite file.
    pub path: PathBuf,
}

impl Default for EmbeddedCoordination {
    fn default() -> Self {
        Self { path: "goldfleet.db".into() }
    }
}

/// `[cloud]`: where blobs and images are. The key `backend` tells the variants apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "backend", rename_all = "lowercase")]
pub enum Cloud {
    /// Storage accounts are folders, and images are JSON records: demonstrations, rehearsals, tests.
    Directory(DirectoryCloud),
    /// Blob Storage and Resource Manager.
    Azure(AzureCloud),
    /// A model of the cloud that stores no bytes but keeps its rules and its pace.
    Modelled(ModelledCloud),
}

impl Default for Cloud {
    fn default() -> Self {
        Self::Directory(DirectoryCloud::default())
    }
}

#[derive(Deserialize)]
#[serde(remote = "Cloud", rename_all = "lowercase")]
enum CloudByBackend {
    Directory(DirectoryCloud),
    Azure(AzureCloud),
    Modelled(ModelledCloud),
}

impl<'de> Deserialize<'de> for Cloud {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        CloudByBackend::deserialize(deserializer)
    }
}

/// `[cloud]` with `backend = "directory"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectoryCloud {
    /// The folder that holds a folder for each storage account.
    pub root: PathBuf,
}

impl Default for DirectoryCloud {
    fn default() -> Self {
        Self { root: "cloud".into() }
    }
}

/// `[cloud]` with `backend = "modelled"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelledCloud {
    /// Decides what is left to chance.
    pub seed: u32,
}

impl Default for ModelledCloud {
    fn default() -> Self {
        Self { seed: 1 }
    }
}

/// `[source]`: the store that uploads go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The subscription of the source account.
    pub subscription: SubscriptionId,
    /// Its region.
    pub region: Region,
    /// The source account.
    pub account: AccountName,
    /// The container for chunks and manifests.
    pub container: ContainerName,
}

impl Source {
    /// The source as a store.
    #[must_use]
    pub fn store(&self) -> Store {
        Store { region: self.region.clone(), account: self.account.clone(), container: self.container.clone() }
    }
}

/// `[targets]`: which targets there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targets {
    /// The targets file.
    pub file: PathBuf,
}

impl Default for Targets {
    fn default() -> Self {
        Self { file: "targets.toml".into() }
    }
}

/// `[images]`: the managed images that are made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// How they are named.
    pub name: NameTemplate,
    /// The storage of their disks.
    pub storage_type: StorageType,
}

/// `[worker]`: how much workers do at once, and how long they hold on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Operations in flight in a process.
    pub concurrency: usize,
    /// How long a claim on an operation holds without a heartbeat.
    pub lease: HumanDuration,
    /// Attempts after which an operation has failed.
    pub max_attempts: u32,
    /// The wait before the second attempt; it doubles with each further one.
    pub retry_base: HumanDuration,
    /// The longest wait between attempts.
    pub retry_cap: HumanDuration,
    /// The longest pause between looks at an empty queue.
    pub poll: HumanDuration,
    /// Requests in flight for one copy.
    pub chunk_requests: usize,
    /// Requests in flight for one seed.
    pub seed_requests: usize,
    /// Requests in flight in a process, over all operations.
    pub requests: usize,
    /// Whether chunks come from the next nearest store where a region's store is slow or keeps failing: it may cost egress.
    pub detours: bool,
    /// Whether a copy begins as a copy of an earlier version's VHD, all of which the worker then reads back.
    pub clone_and_patch: bool,
    /// Where a worker tells how it fares; nowhere, where none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<ListenAddress>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            concurrency: 32,
            lease: HumanDuration::seconds(60),
            max_attempts: 8,
            retry_base: HumanDuration::seconds(1),
            retry_cap: HumanDuration::seconds(300),
            poll: HumanDuration::seconds(5),
            chunk_requests: 8,
            seed_requests: 16,
            requests: 256,
            detours: true,
            clone_and_patch: false,
            listen: None,
        }
    }
}

/// `[upload]`: how uploads are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upload {
    /// Requests in flight. Each holds a chunk of up to 4 MiB in memory.
    pub requests: usize,
}

impl Default for Upload {
    fn default() -> Self {
        Self { requests: 8 }
    }
}

/// `[dispatch]`: how the dispatcher looks after jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dispatch {
    /// The time between two reconciler passes.
    pub sweep: HumanDuration,
    /// How long an operation may lie ready and unclaimed before its message is sent again.
    pub patience: HumanDuration,
    /// Whether every ring of a job after the first waits for an operator's approval, even if the job is asked for without.
    pub approve: bool,
    /// Where a dispatcher tells how it fares; nowhere, where none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<ListenAddress>,
}

impl Default for Dispatch {
    fn default() -> Self {
        Self { sweep: HumanDuration::seconds(10), patience: HumanDuration::seconds(120), approve: false, listen: None }
    }
}

/// `[plan]`: how plans are made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Planning {
    /// A file with prices, limits, rates and times that differ from the built-in ones; the modelled cloud keeps to them too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<PathBuf>,
    /// How long a job's plan may take to the last image; as long as the cheapest takes, where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<HumanDuration>,
}

/// `[cleanup]`: what is removed, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cleanup {
    /// What becomes of a target's VHD once its image is made.
    pub staged: StagedPolicy,
    /// How old a chunk must be before it can be collected.
    pub chunk_grace: HumanDuration,
}

impl Default for Cleanup {
    fn default() -> Self {
        Self { staged: StagedPolicy::Keep, chunk_grace: HumanDuration::seconds(24 * 60 * 60) }
    }
}

/// What becomes of a target's VHD once its image is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StagedPolicy {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
}

/// `[log]`: what goes to standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged, as a filter such as `info` or `goldfleet_worker=debug`; each program has its own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}
