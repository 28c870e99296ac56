//! The arguments of `snapshots`.

use std::str::FromStr;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use goldfleet_config::SyncDestination;
use goldfleet_machines::request::Place;
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::names::ReplicaName;

use crate::cli::complete;

/// The commands on snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotsCommand {
    /// Copy snapshots to other subscriptions and regions, once; nothing is deleted
    Copy(CopyArguments),
    /// Show which snapshots the syncs of the configuration select, and where their replicas are
    List(ListArguments),
    /// Run syncs of the configuration now: copy what is missing, and delete replicas as their rules permit
    Sync(SyncArguments),
}

/// Options of all commands that create jobs of snapshots.
#[derive(Debug, Args)]
pub struct SnapshotJobArguments {
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with_all = ["wait", "note"])]
    pub dry_run: bool,
    /// Wait until the jobs end, and show progress; with embedded coordination, this process does the work
    #[arg(long)]
    pub wait: bool,
    /// A remark that the jobs keep, such as a ticket number
    #[arg(long, value_name = "TEXT", value_parser = super::jobs::note)]
    pub note: Option<String>,
}

/// Arguments of `snapshots copy`.
#[derive(Debug, Args)]
pub struct CopyArguments {
    /// The resource ids of the snapshots
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<SnapshotId>,
    /// Where the replicas are created; can be given several times
    #[arg(long, required = true, value_name = "SUBSCRIPTION/REGION/GROUP")]
    pub to: Vec<PlaceArgument>,
    /// The names of the replicas, with {name} for the source's name, {date} for its day of creation, {region} for the
    /// replica's region [default: {name}]
    #[arg(long, value_name = "TEMPLATE")]
    pub name: Option<ReplicaName>,
    /// The id of the disk encryption set of the replicas
    #[arg(long, value_name = "ID")]
    pub des: Option<String>,
    /// The group for temporaries of full snapshots that are copied to another region
    #[arg(long, value_name = "SUBSCRIPTION/GROUP")]
    pub scratch: Option<ScratchArgument>,
    /// Use the service's faster copy between regions, at a price
    #[arg(long)]
    pub enhanced: bool,
    /// What the job does besides.
    #[command(flatten)]
    pub job: SnapshotJobArguments,
}

/// Arguments of `snapshots list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// The names of the syncs [default: all]
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::syncs))]
    pub names: Vec<String>,
}

/// Arguments of `snapshots sync`.
#[derive(Debug, Args)]
pub struct SyncArguments {
    /// The names of the syncs [default: all]
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::syncs))]
    pub names: Vec<String>,
    /// Delete at most this many replicas in this run; if more are due, none is deleted [default: `max_deletes` of the
    /// sync]
    #[arg(long, value_name = "COUNT")]
    pub max_deletes: Option<u32>,
    /// Delete replicas even if no source snapshot is selected at all
    #[arg(long)]
    pub allow_empty: bool,
    /// What the jobs do besides.
    #[command(flatten)]
    pub job: SnapshotJobArguments,
}

/// A place for replicas, written `SUBSCRIPTION/REGION/GROUP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceArgument(pub SyncDestination);

impl FromStr for PlaceArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Place { subscription, region, resource_group } = text.parse()?;
        Ok(Self(SyncDestination { subscription, region, resource_group, disk_encryption_set: None, disk_access: None }))
    }
}

/// A resource group, written `SUBSCRIPTION/GROUP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchArgument(pub GroupRef);

impl FromStr for ScratchArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (subscription, group) = text.split_once('/').ok_or("it is written SUBSCRIPTION/GROUP")?;
        Ok(Self(GroupRef {
            subscription: subscription.parse().map_err(|error| format!("{error}"))?,
            resource_group: group.parse().map_err(|error| format!("{error}"))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_three_parts() {
        let place: PlaceArgument = "00000000-0000-0000-0000-000000000002/eastus/replicas".parse().unwrap();
        assert_eq!((place.0.region.as_str(), place.0.resource_group.as_str()), ("eastus", "replicas"));
        for wrong in ["", "a/b", "00000000-0000-0000-0000-000000000002/East US/g", "x/eastus/g", "a/b/c/d"] {
            assert!(wrong.parse::<PlaceArgument>().is_err(), "{wrong}");
        }
        assert!("00000000-0000-0000-0000-000000000002/scratch".parse::<ScratchArgument>().is_ok());
        assert!("scratch".parse::<ScratchArgument>().is_err());
    }
}
