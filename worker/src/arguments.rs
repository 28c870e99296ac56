//! The command line of `goldfleet-worker`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use goldfleet_runtime::process::VERSION;

/// The help text of `--config` in both programs.
pub const CONFIG_HELP: &str =
    "Configuration file [env: GOLDFLEET_CONFIG] [default: goldfleet.toml in this directory or a parent directory]";

/// Receives messages from the queues and runs their operations. Any number of workers can run on any number of
/// machines.
///
/// On SIGTERM or SIGINT it takes no new work, lets running operations reach a checkpoint, releases its leases and exits
/// with 0. Exit codes: 0 stopped as requested; 2 invalid usage or configuration; 3 a service refused a request or could
/// not be reached.
#[derive(Debug, Parser)]
#[command(name = "goldfleet-worker", version = VERSION)]
pub struct Arguments {
    /// The configuration file.
    // `Config::load` reads the environment variable, because clap would reject an empty value.
    #[arg(long, global = true, value_name = "FILE", help = CONFIG_HELP)]
    pub config: Option<PathBuf>,
    /// The maximum number of operations in flight; overrides `worker.concurrency`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: Option<u16>,
    /// Stop after all queues are empty.
    #[arg(long)]
    pub exit_when_idle: bool,
    /// The command to run instead of the worker.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The command to run instead of the worker.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Query the health of the worker on this machine at `worker.listen`. Exits with 0 if it is healthy, otherwise with
    /// 1.
    Health,
}
