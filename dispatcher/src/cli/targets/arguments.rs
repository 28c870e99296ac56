//! Arguments of `goldfleet targets`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;
use goldfleet_config::targets::{AccountPrefix, Format, OnDuplicate};
use goldfleet_model::ids::{AccountName, ContainerName, Region, ResourceGroup, SubscriptionId};
use goldfleet_model::selector::Selector;
use goldfleet_model::sink::{InvalidSinks, Sink, Sinks};
use goldfleet_model::target::Target;

use crate::cli::complete;

/// Show and change the targets: the subscriptions and regions that images go to
#[derive(Debug, Subcommand)]
pub enum TargetsCommand {
    /// List targets, enabled or not
    List {
        /// Which targets: globs such as 'west*', or terms such as 'ring=0,tag.env=prod' [default: all]
        #[arg(value_name = "SELECTOR", add = ArgValueCompleter::new(complete::selectors))]
        selectors: Vec<Selector>,
    },
    /// Add a target
    Add(AddArguments),
    /// Include targets in jobs
    Enable(Selection),
    /// Exclude targets from jobs
    Disable(Selection),
    /// Remove targets from the targets file
    Remove(RemoveArguments),
    /// Add targets from a CSV or JSON file
    Import(ImportArguments),
    /// Add a target for every subscription in every region
    Generate(GenerateArguments),
}

/// The targets to change: by selectors, or all of them.
#[derive(Debug, Args)]
pub struct Selection {
    /// Which targets: globs such as 'west*', or terms such as 'ring=0,tag.env=prod'
    #[arg(value_name = "SELECTOR", required_unless_present = "all", conflicts_with = "all", add = ArgValueCompleter::new(complete::selectors))]
    pub selectors: Vec<Selector>,
    /// All targets
    #[arg(long)]
    pub all: bool,
}

/// Targets to be removed.
#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Which targets.
    #[command(flatten)]
    pub selection: Selection,
    /// Show which targets would be removed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A target to be added.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// Id of the subscription
    #[arg(long)]
    pub subscription: SubscriptionId,
    /// The region, such as westeurope
    #[arg(long)]
    pub region: Region,
    /// The resource group for images
    #[arg(long)]
    pub resource_group: ResourceGroup,
    /// The staging account, in this subscription and region
    #[arg(long)]
    pub account: AccountName,
    /// The container for VHDs in the staging account
    #[arg(long)]
    pub container: ContainerName,
    /// The display name of the subscription
    #[arg(long)]
    pub name: Option<String>,
    /// The ring; ring 0 is the first
    #[arg(long, default_value_t = 0)]
    pub ring: u32,
    /// A tag for selectors; can be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// Resource id of the disk encryption set for the image's disk
    #[arg(long)]
    pub disk_encryption_set: Option<String>,
    /// Tenant of the subscription, if it differs from the credential's
    #[arg(long)]
    pub tenant: Option<String>,
    /// What the target receives, of image, snapshot and disk; can be given several times or with commas [default:
    /// image]
    #[arg(long = "sink", value_name = "SINK", value_delimiter = ',', value_parser = super::super::arguments::values::<Sink>(&["image", "snapshot", "disk"]))]
    pub sinks: Vec<Sink>,
    /// Exclude the target from jobs for now
    #[arg(long)]
    pub disabled: bool,
}

impl AddArguments {
    pub(super) fn into_target(self) -> Result<Target, InvalidSinks> {
        let sinks = if self.sinks.is_empty() { Sinks::default() } else { Sinks::new(&self.sinks)? };
        Ok(Target {
            subscription: self.subscription,
            region: self.region,
            resource_group: self.resource_group,
            account: self.account,
            container: self.container,
            name: self.name,
            ring: self.ring,
            enabled: !self.disabled,
            tags: self.tags.into_iter().collect::<BTreeMap<_, _>>(),
            disk_encryption_set: self.disk_encryption_set,
            tenant: self.tenant,
            sinks,
        })
    }
}

/// Targets to be imported.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The CSV or JSON file
    pub file: PathBuf,
    /// Format of the file [default: by its extension]
    #[arg(long)]
    pub format: Option<ImportFormat>,
    /// Replace existing targets that have other settings; without this option they are kept
    #[arg(long)]
    pub replace: bool,
}

impl ImportArguments {
    pub(super) fn on_duplicate(&self) -> OnDuplicate {
        if self.replace { OnDuplicate::Replace } else { OnDuplicate::Keep }
    }
}

/// The format of a file with targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// A header and one row per target; tags as 'env=prod;team=x' or in columns 'tag.env', sinks as 'image;snapshot'
    Csv,
    /// A list of objects, as printed by 'goldfleet targets list --output json'
    Json,
}

impl From<ImportFormat> for Format {
    fn from(format: ImportFormat) -> Self {
        match format {
            ImportFormat::Csv => Self::Csv,
            ImportFormat::Json => Self::Json,
        }
    }
}

/// Targets to be generated.
#[derive(Debug, Args)]
pub struct GenerateArguments {
    /// Subscription ids, separated by commas, or a file with one per line, each with an optional display name
    #[arg(long, value_name = "FILE|ID,ID")]
    pub subscriptions: String,
    /// Regions, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    pub regions: Vec<Region>,
    /// Prefix of the names of staging accounts: 1 to 16 lower-case letters and digits
    #[arg(long)]
    pub prefix: AccountPrefix,
    /// The resource group for images
    #[arg(long, default_value = "images")]
    pub resource_group: ResourceGroup,
    /// The container for VHDs in the staging accounts
    #[arg(long, default_value = "vhds")]
    pub container: ContainerName,
    /// The ring; ring 0 is the first
    #[arg(long, default_value_t = 0)]
    pub ring: u32,
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("use NAME=VALUE, such as env=prod".to_owned()),
    }
}
