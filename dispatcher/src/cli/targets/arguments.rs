//! What `goldfleet targets` takes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use goldfleet_config::targets::{AccountPrefix, Format, OnDuplicate};
use goldfleet_model::ids::{AccountName, ContainerName, Region, ResourceGroup, SubscriptionId};
use goldfleet_model::selector::Selector;
use goldfleet_model::target::Target;

/// Show and change the targets: the subscriptions and regions that images go to
#[derive(Debug, Subcommand)]
pub enum TargetsCommand {
    /// List targets, enabled or not
    List {
        /// Which targets: globs such as 'west*', or terms such as 'ring=0,tag.env=prod'; all where none is given
        #[arg(value_name = "SELECTOR")]
        selectors: Vec<Selector>,
    },
    /// Add a target
    Add(AddArguments),
    /// Let jobs include targets
    Enable(Selection),
    /// Have jobs leave targets out
    Disable(Selection),
    /// Add targets from a CSV or JSON file
    Import(ImportArguments),
    /// Add a target for every subscription in every region
    Generate(GenerateArguments),
}

/// The targets to change: by selectors, or all of them.
#[derive(Debug, Args)]
pub struct Selection {
    /// Which targets: globs such as 'west*', or terms such as 'ring=0,tag.env=prod'
    #[arg(value_name = "SELECTOR", required_unless_present = "all", conflicts_with = "all")]
    pub selectors: Vec<Selector>,
    /// All targets
    #[arg(long)]
    pub all: bool,
}

/// A target to be added.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// The subscription's id
    #[arg(long)]
    pub subscription: SubscriptionId,
    /// The region, such as westeurope
    #[arg(long)]
    pub region: Region,
    /// The resource group that images are made in
    #[arg(long)]
    pub resource_group: ResourceGroup,
    /// The staging account, in this subscription and region
    #[arg(long)]
    pub account: AccountName,
    /// The container for VHDs in the staging account
    #[arg(long)]
    pub container: ContainerName,
    /// The ring: 0 is first
    #[arg(long, default_value_t = 0)]
    pub ring: u32,
    /// A tag to select by; may be given again
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// The resource id of the disk encryption set for the image's disk
    #[arg(long)]
    pub disk_encryption_set: Option<String>,
    /// The tenant of the subscription, where it is not the credential's
    #[arg(long)]
    pub tenant: Option<String>,
    /// Have jobs leave it out for now
    #[arg(long)]
    pub disabled: bool,
}

impl AddArguments {
    pub(super) fn into_target(self) -> Target {
        Target {
            subscription: self.subscription,
            region: self.region,
            resource_group: self.resource_group,
            account: self.account,
            container: self.container,
            ring: self.ring,
            enabled: !self.disabled,
            tags: self.tags.into_iter().collect::<BTreeMap<_, _>>(),
            disk_encryption_set: self.disk_encryption_set,
            tenant: self.tenant,
        }
    }
}

/// Targets to be imported.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The file
    pub file: PathBuf,
    /// Its format, where its name does not tell
    #[arg(long)]
    pub format: Option<ImportFormat>,
    /// Put targets in the place of those that are there with other settings; otherwise these stay
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
    /// A header, and a row a target; tags as 'env=prod;team=x' or in columns 'tag.env'
    Csv,
    /// A list of objects, as 'goldfleet targets list --output json' writes it
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
    /// Subscription ids with commas between them, or a file with one a line
    #[arg(long, value_name = "FILE|ID,ID")]
    pub subscriptions: String,
    /// Regions with commas between them
    #[arg(long, value_delimiter = ',', required = true)]
    pub regions: Vec<Region>,
    /// What the staging accounts' names begin with: 1 to 16 lower-case letters and digits
    #[arg(long)]
    pub prefix: AccountPrefix,
    /// The resource group that images are made in
    #[arg(long, default_value = "images")]
    pub resource_group: ResourceGroup,
    /// The container for VHDs in the staging accounts
    #[arg(long, default_value = "vhds")]
    pub container: ContainerName,
    /// The ring: 0 is first
    #[arg(long, default_value_t = 0)]
    pub ring: u32,
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE, such as env=prod".to_owned()),
    }
}
