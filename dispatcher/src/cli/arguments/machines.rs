//! The arguments of `vm`.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use goldfleet_config::HumanDuration;
use goldfleet_machines::request::{CloneRequest, Place};
use goldfleet_model::resource::ResourceId;

use super::jobs;

/// The commands on virtual machines.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// Clone a virtual machine with all its disks to another region, zone, group or subscription
    Clone(Box<CloneArguments>),
}

/// Arguments of `vm clone`.
#[derive(Debug, Args)]
pub struct CloneArguments {
    /// The resource id of the machine
    #[arg(value_name = "ID")]
    pub source: ResourceId,
    /// Where the clone is created
    #[arg(long, value_name = "SUBSCRIPTION/REGION/GROUP")]
    pub to: Place,
    /// The id of the subnet of the clone, in its subscription and region
    #[arg(long, value_name = "ID", required_unless_present_any = ["disks_only", "as_image"])]
    pub subnet: Option<String>,
    /// The name of the clone [default: the name of the machine]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The names of its disks; {machine}, {disk} and {lun} are replaced [default: {machine}-{lun}]
    #[arg(long, value_name = "TEMPLATE")]
    pub disk_name: Option<String>,
    /// The availability zone [default: that of the machine, in the same region]
    #[arg(long, value_name = "ZONE", conflicts_with = "availability_set")]
    pub zone: Option<String>,
    /// The id of an availability set in the group of the clone
    #[arg(long, value_name = "ID", conflicts_with = "disks_only")]
    pub availability_set: Option<String>,
    /// The size [default: the size of the machine]
    #[arg(long, value_name = "SIZE", conflicts_with = "disks_only")]
    pub size: Option<String>,
    /// The performance tier of all disks [default: that of each disk]
    #[arg(long, value_name = "SKU", value_parser = PossibleValuesParser::new(SKUS))]
    pub disk_sku: Option<String>,
    /// The id of the disk encryption set of the new disks [default: that of each disk, in the same region]
    #[arg(long, value_name = "ID")]
    pub des: Option<String>,
    /// Deallocate the machine, take snapshots of all disks, and start it again if it ran
    #[arg(long)]
    pub stop: bool,
    /// The longest time for which --stop keeps the machine deallocated: after it, snapshots that have not begun are
    /// cancelled, the machine is started, and the job fails [default: 1h]
    #[arg(long, value_name = "DURATION", requires = "stop")]
    pub max_downtime: Option<HumanDuration>,
    /// Take the disks from a restore point, and do not stop the source; their state is that after a power failure
    #[arg(long, conflicts_with_all = ["stop", "max_downtime", "as_image"])]
    pub live: bool,
    /// Create a managed image of a deallocated, generalised machine, and no machine; the machine is never started
    #[arg(long, conflicts_with_all = ["subnet", "stop", "disks_only", "disk_name", "zone", "availability_set", "size"])]
    pub as_image: bool,
    /// Clone the disks, and create no machine
    #[arg(long, conflicts_with = "subnet")]
    pub disks_only: bool,
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with_all = ["wait", "note", "yes"])]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Wait until the job ends, and show progress; with embedded coordination, this process does the work
    #[arg(long)]
    pub wait: bool,
    /// A remark that the job keeps, such as a ticket number
    #[arg(long, value_name = "TEXT", value_parser = jobs::note)]
    pub note: Option<String>,
}

/// The performance tiers that every disk can have.
const SKUS: [&str; 5] = ["Standard_LRS", "StandardSSD_LRS", "StandardSSD_ZRS", "Premium_LRS", "Premium_ZRS"];

/// The longest time for which a machine is stopped, if the command does not say otherwise. Snapshots take seconds, so a
/// machine that is stopped for so long waits for something that does not happen.
const MAX_DOWNTIME: Duration = Duration::from_secs(3600);

impl CloneArguments {
    /// The request for the clone.
    #[must_use]
    pub fn request(&self) -> CloneRequest {
        CloneRequest {
            source: self.source.clone(),
            to: self.to.clone(),
            subnet: self.subnet.clone(),
            name: self.name.clone(),
            disk_name: self.disk_name.clone(),
            zone: self.zone.clone(),
            availability_set: self.availability_set.clone(),
            size: self.size.clone(),
            disk_sku: self.disk_sku.clone(),
            disk_encryption_set: self.des.clone(),
            stop: self.stop,
            live: self.live,
            max_downtime: self.stop.then(|| self.max_downtime.map_or(MAX_DOWNTIME, HumanDuration::get).as_secs()),
            as_image: self.as_image,
            disks_only: self.disks_only,
        }
    }
}
