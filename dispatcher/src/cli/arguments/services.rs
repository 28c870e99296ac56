//! The arguments of commands that create and check what a fleet needs.

use clap::Args;

/// Arguments of `setup`.
#[derive(Debug, Args)]
pub struct SetupArguments {
    /// Also register the subscriptions of targets and syncs for the resource providers that they need, such as Microsoft.Compute
    #[arg(long)]
    pub register: bool,
    /// Show which registrations are missing, and change nothing
    #[arg(long, requires = "register")]
    pub dry_run: bool,
}
