//! The arguments of commands that create and check what a fleet needs.

use clap::Args;
use goldfleet_machines::request::Place;

/// Arguments of `setup`.
#[derive(Debug, Args)]
pub struct SetupArguments {
    /// Also register the subscriptions of targets and syncs for the resource providers that they need, such as
    /// Microsoft.Compute
    #[arg(long)]
    pub register: bool,
    /// Show which registrations are missing, and change nothing
    #[arg(long, requires = "register")]
    pub dry_run: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Measure behaviour of Azure that is not documented, with a disk of 20 MiB in this resource group and copies in a
    /// second and a third one; it takes minutes and costs cents
    #[arg(long, num_args = 1..=3, value_names = ["SUBSCRIPTION/REGION/GROUP", "SUBSCRIPTION/REGION/GROUP", "SUBSCRIPTION/REGION/GROUP"])]
    pub probe: Vec<Place>,
    /// Also check the rights on a source of `upload --from` and `dispatch --from`, such as image:ID; may be repeated
    #[arg(long, value_name = "SOURCE", conflicts_with = "probe")]
    pub from: Vec<String>,
    /// With --from vm:ID: check the rights for a clone of the machine in this place
    #[arg(long, value_name = "SUBSCRIPTION/REGION/GROUP", requires = "from")]
    pub clone_to: Option<Place>,
    /// A disk encryption set in the first place, to measure whether a copy can use it
    #[arg(long, value_name = "ID", requires = "probe")]
    pub des: Option<String>,
}
