//! The sections of the configuration, one type each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use goldfleet_azure_settings::{AzureCloud, AzureCoordination};
use goldfleet_model::ids::{AccountName, ContainerName, InvalidName, Region, SubscriptionId};
use goldfleet_model::image::{Caching, ImageTags, StorageType};
use goldfleet_model::naming::NameTemplate;
use goldfleet_model::store::Store;
use serde::{Deserialize, Deserializer, Serialize};

use super::accept::AcceptedFindings;
use super::values::{HumanDuration, ListenAddress};

/// `[coordination]`: where queues and tables are. The key `backend` selects the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "backend", rename_all = "lowercase")]
pub enum Coordination {
    /// A SQLite file, for one machine.
    Embedded(EmbeddedCoordination),
    /// Storage Queues and Tables, for any number of machines.
    Azure(AzureCoordination),
}

impl Default for Coordination {
    fn default() -> Self {
        Self::Embedded(EmbeddedCoordination::default())
    }
}

// A [`goldfleet_diagnostics::Node`] deserialises a tagged table as an externally tagged enum, so that errors keep their
// line numbers. This enum and `CloudByBackend` are the remote definitions for deserialising. The public enums are
// serialised with their tag.
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

/// `[cloud]`: where blobs and images are. The key `backend` selects the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "backend", rename_all = "lowercase")]
pub enum Cloud {
    /// Storage accounts are folders, and images are JSON records: for demonstrations, rehearsals and tests.
    Directory(DirectoryCloud),
    /// Blob Storage and Resource Manager.
    Azure(AzureCloud),
    /// The modelled cloud: it applies the rules and limits of the cloud without storing bytes.
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
    /// The folder that contains one folder per storage account.
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
    /// The seed of all random values.
    pub seed: u32,
}

impl Default for ModelledCloud {
    fn default() -> Self {
        Self { seed: 1 }
    }
}

/// `[source]`: the store that receives uploads.
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

/// `[targets]`: the targets file.
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

/// `[images]`: the managed images to create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// The template of their names.
    pub name: NameTemplate,
    /// The storage type of their disks.
    pub storage_type: StorageType,
    /// The host's cache of their data disks.
    pub data_disk_caching: Caching,
    /// Further tags of each image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Images {
    /// The largest number of further tags: a resource has at most 50 tags, and goldfleet sets up to ten itself. Source:
    /// Azure, tag resources.
    const MAX_TAGS: usize = 40;
    /// The largest number of characters in the name of a tag. Source: Azure, tag resources.
    const MAX_TAG_NAME: usize = 512;
    /// The largest number of characters in the value of a tag. Source: Azure, tag resources.
    const MAX_TAG_VALUE: usize = 256;

    /// What is wrong with the tags, and what to do.
    pub(super) fn tag_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.tags.len() > Self::MAX_TAGS {
            faults.push(format!("{} tags: use at most {}", self.tags.len(), Self::MAX_TAGS));
        }
        let mut names = BTreeSet::new();
        for (name, value) in &self.tags {
            let lower = name.to_ascii_lowercase();
            if lower.starts_with(ImageTags::PREFIX) {
                faults.push(format!("{name:?}: goldfleet sets the tags that begin with {}", ImageTags::PREFIX));
            } else if name.is_empty() || name.chars().count() > Self::MAX_TAG_NAME {
                faults.push(format!("{name:?}: the name of a tag has 1 to {} characters", Self::MAX_TAG_NAME));
            } else if name.contains(['<', '>', '%', '&', '\\', '?', '/']) || name.chars().any(char::is_control) {
                faults.push(format!("{name:?}: the name of a tag has none of the characters < > % & \\ ? /"));
            } else if value.chars().count() > Self::MAX_TAG_VALUE {
                faults.push(format!("{name:?}: the value of a tag has at most {} characters", Self::MAX_TAG_VALUE));
            } else if !names.insert(lower) {
                faults.push(format!("{name:?}: another tag has this name; case is not significant"));
            }
        }
        faults
    }
}

/// `[worker]`: the concurrency, leases and retries of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// The maximum number of operations in flight per process.
    pub concurrency: usize,
    /// The time until a lease expires without a heartbeat.
    pub lease: HumanDuration,
    /// The number of failed attempts after which an operation fails.
    pub max_attempts: u32,
    /// The back-off before the second attempt. It doubles with each further attempt.
    pub retry_base: HumanDuration,
    /// The longest back-off between attempts.
    pub retry_cap: HumanDuration,
    /// The longest wait that a service may ask for with Retry-After. All programs observe it.
    pub max_retry_after: HumanDuration,
    /// The longest wait between polls of an empty queue.
    pub poll: HumanDuration,
    /// The maximum number of requests in flight for one copy.
    pub chunk_requests: usize,
    /// The maximum number of requests in flight for one seed.
    pub seed_requests: usize,
    /// The maximum number of requests in flight per process, over all operations.
    pub requests: usize,
    /// Whether failover is enabled: chunks are read from the next nearest store if the store of the region is slow or
    /// fails repeatedly. This can cost egress.
    pub detours: bool,
    /// Whether a copy starts as a clone of a base version's VHD. The worker then reads back the whole VHD.
    pub clone_and_patch: bool,
    /// The address at which a worker serves health and metrics. None serves nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<ListenAddress>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            concurrency: 32,
            lease: HumanDuration::seconds(20),
            max_attempts: 8,
            retry_base: HumanDuration::seconds(1),
            retry_cap: HumanDuration::seconds(300),
            max_retry_after: HumanDuration::seconds(600),
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

/// `[upload]`: the concurrency of uploads, and what the check before an upload accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upload {
    /// The maximum number of requests in flight. Each holds a chunk of up to 4 MiB in memory.
    pub requests: usize,
    /// The findings that are accepted, by the name of the image.
    #[serde(skip_serializing_if = "AcceptedFindings::is_empty")]
    pub accept: AcceptedFindings,
}

impl Default for Upload {
    fn default() -> Self {
        Self { requests: 8, accept: AcceptedFindings::default() }
    }
}

/// `[dispatch]`: the intervals of the dispatcher, and approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dispatch {
    /// The time between two passes of the reconciler.
    pub sweep: HumanDuration,
    /// Whether every ring of a job after the first waits for an operator's approval, even if the job was requested
    /// without approvals.
    pub approve: bool,
    /// The address at which a dispatcher serves health and metrics. None serves nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<ListenAddress>,
}

impl Default for Dispatch {
    fn default() -> Self {
        Self { sweep: HumanDuration::seconds(10), approve: false, listen: None }
    }
}

/// `[plan]`: the settings of the planner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Planning {
    /// A file that overrides the built-in rates (prices, limits, speeds and times). The modelled cloud uses it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<PathBuf>,
    /// The maximum time of a plan until the last image. None accepts the time of the cheapest plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<HumanDuration>,
    /// How uploaded versions reach the targets.
    pub route: UploadRoute,
}

/// How an uploaded version reaches the targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadRoute {
    /// Each target's VHD is assembled in its staging account.
    #[default]
    Staging,
    /// Each region gets one disk and one golden snapshot, which the targets copy.
    Region,
}

impl UploadRoute {
    /// The names of all routes.
    pub const NAMES: [&'static str; 2] = ["staging", "region"];

    /// The name in the configuration and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Region => "region",
        }
    }
}

impl fmt::Display for UploadRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for UploadRoute {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "staging" => Ok(Self::Staging),
            "region" => Ok(Self::Region),
            _ => Err(InvalidName { what: "route", given: text.to_owned(), rule: "use staging or region" }),
        }
    }
}

/// `[cleanup]`: the retention settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cleanup {
    /// Whether a target's VHD is kept after its image was created.
    pub staged: StagedPolicy,
    /// The grace period: the minimum age of chunks that garbage collection deletes.
    pub chunk_grace: HumanDuration,
}

impl Default for Cleanup {
    fn default() -> Self {
        Self { staged: StagedPolicy::Keep, chunk_grace: HumanDuration::seconds(24 * 60 * 60) }
    }
}

/// Whether a target's VHD is kept after its image was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StagedPolicy {
    /// The VHD is kept.
    Keep,
    /// The VHD is deleted.
    Remove,
}

/// `[log]`: the output to standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The format of a line.
    pub format: LogFormat,
    /// The log filter, such as `info` or `goldfleet_worker=debug`. Each program has its own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
