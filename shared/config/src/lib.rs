//! The configuration: `goldfleet.toml`, overlaid by the environment.
//!
//! Every key can be set as `GOLDFLEET_SECTION__KEY`. Paths in the file are relative to the file's folder, paths in the
//! environment to the working directory. Nothing in a configuration is secret.
//!
//! ```
//! use goldfleet_config::{Cloud, Config};
//!
//! let folder = std::env::temp_dir().join(format!("goldfleet-doc-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! let file = folder.join("goldfleet.toml");
//! std::fs::write(&file, r#"
//!     [coordination]
//!     backend = "embedded"
//!     path = "goldfleet.db"
//!
//!     [cloud]
//!     backend = "directory"
//!     root = "cloud"
//!
//!     [source]
//!     subscription = "00000000-0000-0000-0000-000000000000"
//!     region = "westeurope"
//!     account = "goldsource"
//!     container = "golden"
//!
//!     [targets]
//!     file = "targets.toml"
//!
//!     [images]
//!     name = "{image}-{version}-{region}"
//!
//!     [worker]
//!     concurrency = 32
//!     lease = "20s"
//!     max_attempts = 8
//!     retry_base = "1s"
//!     retry_cap = "5m"
//!     max_retry_after = "10m"
//!     poll = "5s"
//!     chunk_requests = 8
//!     seed_requests = 16
//!     requests = 64
//!     listen = "127.0.0.1:8080"
//!
//!     [upload]
//!     requests = 16
//!
//!     [dispatch]
//!     sweep = "10s"
//!     approve = false
//!     listen = "127.0.0.1:8081"
//!
//!     [plan]
//!     within = "1h"
//!
//!     [cleanup]
//!     staged = "keep"
//!     chunk_grace = "24h"
//!
//!     [log]
//!     format = "text"
//!     level = "info"
//! "#)?;
//!
//! let environment = [("GOLDFLEET_CLOUD__ROOT".to_owned(), "elsewhere".to_owned())];
//! let config = Config::load(Some(&file), environment.into_iter())?;
//! assert_eq!(config.targets.file, folder.join("targets.toml"));
//! let Cloud::Directory(cloud) = &config.cloud else { panic!("another cloud") };
//! assert_eq!(cloud.root.to_str(), Some("elsewhere"));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accept;
mod check;
mod error;
pub mod filter;
mod read;
mod sections;
mod sync;
pub mod targets;
mod values;

use std::path::{Path, PathBuf};
use std::{env, io};

use goldfleet_azure_settings::{AzureCloud, AzureCoordination, Identity};
use goldfleet_diagnostics::{Node, Origin, Value, read_text};
use goldfleet_model::tenants::Tenants;
use serde::{Deserialize, Serialize};

pub use accept::{AcceptedFindings, CodeCheck};
pub use error::ConfigError;
pub use sections::{
    Cleanup, Cloud, Coordination, DirectoryCloud, Dispatch, EmbeddedCoordination, Images, Log, LogFormat,
    ModelledCloud, Planning, Source, StagedPolicy, Targets, Upload, UploadRoute, Worker,
};
pub use sync::{RESERVED_NAME, Sync, SyncDestination};
pub use values::{HumanDuration, ListenAddress};

/// The prefix of the environment variables that set keys.
const PREFIX: &str = "GOLDFLEET_";

/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "GOLDFLEET_CONFIG";

/// The name of the configuration file if none is given.
const DEFAULT_FILE: &str = "goldfleet.toml";

/// The whole configuration. Only [`Source`] has no default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where queues and tables are.
    #[serde(default)]
    pub coordination: Coordination,
    /// Where blobs and images are.
    #[serde(default)]
    pub cloud: Cloud,
    /// The store that receives uploads.
    pub source: Source,
    /// The targets file.
    #[serde(default)]
    pub targets: Targets,
    /// The managed images to create.
    #[serde(default)]
    pub images: Images,
    /// The concurrency, leases and retries of workers.
    #[serde(default)]
    pub worker: Worker,
    /// The concurrency of uploads, and what the check before an upload accepts.
    #[serde(default)]
    pub upload: Upload,
    /// The intervals of the dispatcher, and approvals.
    #[serde(default)]
    pub dispatch: Dispatch,
    /// The settings of the planner.
    #[serde(default)]
    pub plan: Planning,
    /// The retention settings.
    #[serde(default)]
    pub cleanup: Cleanup,
    /// The output to standard error.
    #[serde(default)]
    pub log: Log,
    /// The tenants of subscriptions that are not in the tenant of the credential.
    #[serde(default, skip_serializing_if = "Tenants::is_empty")]
    pub tenants: Tenants,
    /// The syncs of snapshots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sync: Vec<Sync>,
    /// The file that was read. None if the environment provides all keys.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

impl Config {
    /// Reads the configuration from the file at `path`, from the file that `GOLDFLEET_CONFIG` names, or from
    /// `goldfleet.toml` in the working directory or the nearest parent directory that has one. Only the last of these
    /// may be missing. The variables of `env` override the file; see [`environment`]. The codes in `upload.accept` are
    /// not checked; see [`Config::load_and_check`].
    ///
    /// # Errors
    /// [`ConfigError`], with all errors that were found and their remedies.
    pub fn load(path: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        Self::load_and_check(path, env, &|_| Ok(()))
    }

    /// [`Config::load`], and checks the codes in `upload.accept`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_and_check(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        check: CodeCheck<'_>,
    ) -> Result<Self, ConfigError> {
        // Many container platforms represent an unset variable as an empty one.
        let variables: Vec<(String, String)> = env.filter(|(_, value)| !value.is_empty()).collect();
        let named = path.map(Path::to_owned).or_else(|| named_file(&variables));
        let file = &named.clone().unwrap_or_else(|| default_file(env::current_dir().ok().as_deref()));
        let mut written = match read_text(file, MAX_FILE) {
            Ok(text) => Node::from_toml(&text).map_err(|fault| ConfigError::invalid(file, &[fault]))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match named {
                Some(file) => return Err(ConfigError::NoSuchFile(file)),
                None => Node::empty(),
            },
            Err(source) => return Err(ConfigError::Unreadable { path: file.to_owned(), source }),
        };
        overlay(&mut written, variables);
        if written == Node::empty() && !file.exists() {
            return Err(ConfigError::NoDefaultFile(DEFAULT_FILE));
        }
        Self::read(file, &written, check)
    }

    fn read(file: &Path, written: &Node, check: CodeCheck<'_>) -> Result<Self, ConfigError> {
        let mut config = read::read(written, check).map_err(|faults| ConfigError::invalid(file, &faults))?;
        config.rebase(file.parent().unwrap_or(Path::new("")), written);
        config.file = file.exists().then(|| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
        Ok(config)
    }

    /// Makes relative paths from the file and from defaults relative to the file's folder.
    fn rebase(&mut self, folder: &Path, written: &Node) {
        let from_environment = |keys: &[&str]| matches!(written.origin_of(keys), Some(Origin::Variable(_)));
        let rebase = |keys: &[&str], path: &mut PathBuf| {
            if !from_environment(keys) {
                *path = folder.join(&*path);
            }
        };
        rebase(&["targets", "file"], &mut self.targets.file);
        if let Some(rates) = &mut self.plan.rates {
            rebase(&["plan", "rates"], rates);
        }
        match &mut self.coordination {
            Coordination::Embedded(embedded) => rebase(&["coordination", "path"], &mut embedded.path),
            Coordination::Azure(AzureCoordination { ca_certificate: Some(path), .. }) => {
                rebase(&["coordination", "ca_certificate"], path);
            }
            Coordination::Azure(_) => {}
        }
        match &mut self.cloud {
            Cloud::Directory(directory) => rebase(&["cloud", "root"], &mut directory.root),
            Cloud::Azure(AzureCloud { ca_certificate: Some(path), .. }) => rebase(&["cloud", "ca_certificate"], path),
            Cloud::Azure(_) | Cloud::Modelled(_) => {}
        }
    }
}

impl Config {
    /// The identity of the process in Azure. None if neither the coordination nor the cloud is Azure.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        goldfleet_azure_settings::identity(self.azure_coordination(), self.azure_cloud())
    }

    /// `[coordination]`, if it is Azure.
    #[must_use]
    pub fn azure_coordination(&self) -> Option<&AzureCoordination> {
        match &self.coordination {
            Coordination::Azure(azure) => Some(azure),
            Coordination::Embedded(_) => None,
        }
    }

    /// `[cloud]`, if it is Azure.
    #[must_use]
    pub fn azure_cloud(&self) -> Option<&AzureCloud> {
        match &self.cloud {
            Cloud::Azure(azure) => Some(azure),
            Cloud::Directory(_) | Cloud::Modelled(_) => None,
        }
    }
}

/// The environment of the process as [`Config::load`] takes it. Variables that are not Unicode are left out, because
/// none of them can be a key.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The default file: in the working directory, otherwise in the nearest parent directory that has one.
fn default_file(working_directory: Option<&Path>) -> PathBuf {
    let parents = working_directory.into_iter().flat_map(|folder| folder.ancestors().skip(1));
    let own = working_directory.map_or_else(|| PathBuf::from(DEFAULT_FILE), |folder| folder.join(DEFAULT_FILE));
    match parents.map(|folder| folder.join(DEFAULT_FILE)).find(|file| !own.exists() && file.is_file()) {
        Some(found) => found,
        // A relative path, so that messages show the name that the operator uses.
        None => PathBuf::from(DEFAULT_FILE),
    }
}

fn named_file(variables: &[(String, String)]) -> Option<PathBuf> {
    variables.iter().find(|(name, _)| name.eq_ignore_ascii_case(FILE_VARIABLE)).map(|(_, value)| value.into())
}

/// The largest size of a configuration file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The largest number of keys of a variable that are looked at. No value is deeper.
const MAX_KEYS: usize = 16;

/// Overrides the written values with the variables that name a key of a section. Other variables with the prefix are
/// ignored: `GOLDFLEET_LOG`, and those that the programs accept as arguments.
fn overlay(written: &mut Node, variables: Vec<(String, String)>) {
    for (name, value) in variables {
        let upper = name.to_ascii_uppercase();
        let Some(key) = upper.strip_prefix(PREFIX).filter(|key| key.contains("__")) else { continue };
        let path: Vec<String> = key.split("__").take(MAX_KEYS).map(str::to_ascii_lowercase).collect();
        written.set(&path, Node::new(Origin::Variable(shortened(name)), Value::Untyped(value)));
    }
}

/// The name of a variable for messages.
fn shortened(name: String) -> String {
    const MOST: usize = 100;
    if name.chars().count() > MOST { name.chars().take(MOST).chain(['…']).collect() } else { name }
}
