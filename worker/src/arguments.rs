//! What can be said on the command line of `goldfleet-worker`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use goldfleet_runtime::process::VERSION;

/// What both programs say of `--config`.
pub const CONFIG_HELP: &str =
    "Configuration file [env: GOLDFLEET_CONFIG] [default: goldfleet.toml in this directory or a parent directory]";

/// Receives operations from the queues and carries them out. Start as many as you like, anywhere.
///
/// On SIGTERM or SIGINT it takes no new work, brings what runs to its next checkpoint, gives back its leases and exits
/// with 0. Exit codes: 0 ended as asked; 2 bad usage or configuration; 3 a service refused or could not be reached.
#[derive(Debug, Parser)]
#[command(name = "goldfleet-worker", version = VERSION)]
pub struct Arguments {
    /// The configuration file.
    // `Config::load` looks at the variable: to clap, one that is set to nothing would be an error.
    #[arg(long, global = true, value_name = "FILE", help = CONFIG_HELP)]
    pub config: Option<PathBuf>,
    /// Operations in flight, instead of `worker.concurrency`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: Option<u16>,
    /// Stop once all queues are empty.
    #[arg(long)]
    pub exit_when_idle: bool,
    /// What to do instead of working.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of working.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask the worker on this machine, at `worker.listen`, whether it is well: exits with 0 or 1.
    Health,
}
