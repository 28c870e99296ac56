//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use goldfleet_config::Time;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::operation::Kind;
use goldfleet_model::selector::Selector;
use goldfleet_model::store::Container;
use goldfleet_runtime::process;
use goldfleet_worker::arguments;

use super::output::Output;
use super::targets::TargetsCommand;
use crate::control::upload::Rate;

/// What to type first.
const BEGIN: &str = "\
To begin:
  goldfleet demo               all of it on this machine, with made-up images
  goldfleet check golden.vhd   whether that VHD can become an OS disk

With a goldfleet.toml and targets, as docs/quick-start.md and docs/deploy.md have them:
  goldfleet upload golden.vhd --image ubuntu-24.04 --version 2026.11.1 --os linux --wait
  goldfleet status";

/// One golden OS image, bootable everywhere: uploads a VHD once, and makes it a managed image in every subscription and
/// region.
///
/// Exit codes: 0 all done; 1 some operation failed; 2 bad usage, configuration or input; 3 a service refused or could not
/// be reached; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "goldfleet", version = process::VERSION, after_help = BEGIN)]
pub struct Arguments {
    /// The configuration file.
    // `Config::load` looks at the variable: to clap, one that is set to nothing would be an error.
    #[arg(long, global = true, value_name = "FILE", help = arguments::CONFIG_HELP)]
    pub config: Option<PathBuf>,
    /// The form of results on standard output.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show all of it on this machine: made-up images, a cloud of directories, several workers.
    Demo(DemoArguments),
    /// Find out whether a VHD can become an OS disk, without sending a byte.
    Check {
        /// The VHD.
        file: PathBuf,
        /// The Hyper-V generation it is meant for: v1 or v2.
        #[arg(long)]
        generation: Option<Generation>,
    },
    /// Upload a VHD as a version of an image, and dispatch it to the targets.
    Upload(UploadArguments),
    /// Show which store would fill which, what that costs and how long it takes, for a version that is uploaded.
    Plan {
        /// Which version of which image.
        #[command(flatten)]
        image: ImageArguments,
        /// Only targets that a glob such as 'west*' or terms such as 'ring=0,tag.env=prod' match; may be given several times.
        #[arg(long = "target", value_name = "GLOB")]
        targets: Vec<Selector>,
        /// The cheapest plan that takes no longer to the last image, such as 30m; by default the cheapest of all.
        #[arg(long, value_name = "DURATION")]
        within: Option<Time>,
    },
    /// Make an uploaded version an image at the targets.
    Dispatch {
        /// Which version of which image.
        #[command(flatten)]
        image: ImageArguments,
        /// Only targets that a glob such as 'west*' or terms such as 'ring=0,tag.env=prod' match; may be given several times.
        #[arg(long = "target", value_name = "GLOB")]
        targets: Vec<Selector>,
        /// Have every ring after the first wait for 'goldfleet approve'.
        #[arg(long)]
        approve: bool,
        /// Wait until the job has ended; with embedded coordination, do the work here.
        #[arg(long)]
        wait: bool,
    },
    /// Run the dispatcher: fan out jobs, sweep, clean up.
    Dispatcher {
        /// Stop once every job has ended.
        #[arg(long)]
        exit_when_idle: bool,
    },
    /// Serve a page that shows jobs as they run.
    Dashboard(DashboardArguments),
    /// Ask the dispatcher on this machine, at `dispatch.listen`, whether it is well.
    Health,
    /// Try a rollout on a model of the cloud, in virtual time: how long it would take, and what would hold it up.
    Rehearse(RehearseArguments),
    /// List jobs, newest first.
    Jobs,
    /// Show how far a job is.
    Status {
        /// The job; the newest, where none is named.
        job: Option<JobId>,
        /// Show it again and again until the job has ended.
        #[arg(long)]
        watch: bool,
        /// Show only what failed.
        #[arg(long)]
        failed: bool,
    },
    /// Show the events of a job: who did what, when and why.
    Logs {
        /// The job; the newest, where none is named.
        job: Option<JobId>,
        /// Only operations whose id contains this text.
        #[arg(long, value_name = "TEXT")]
        operation: Option<String>,
    },
    /// Let the next ring of a job begin, which waits for that.
    Approve {
        /// The job; the newest, where none is named.
        job: Option<JobId>,
        /// Only if it is this ring that is up next.
        #[arg(long, value_name = "NUMBER")]
        ring: Option<u32>,
        /// Who approves, for the job's row and log.
        #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, value_parser = operator)]
        by: Option<String>,
    },
    /// Try again what failed or was cancelled, and nothing else.
    Retry {
        /// The job; the newest, where none is named.
        job: Option<JobId>,
        /// Only operations of this kind: seed, copy or image.
        #[arg(long)]
        phase: Option<Kind>,
        /// Only targets that a glob such as 'west*' or terms such as 'ring=0,tag.env=prod' match; may be given several times.
        #[arg(long = "target", value_name = "GLOB")]
        targets: Vec<Selector>,
        /// Wait until the job has ended; with embedded coordination, do the work here.
        #[arg(long)]
        wait: bool,
    },
    /// Stop a job at its next checkpoint. What is done stays done.
    Cancel {
        /// The job; the newest, where none is named.
        job: Option<JobId>,
    },
    /// Remove a job's staged VHDs, a version, chunks that nothing names, or old jobs' rows.
    Cleanup(CleanupArguments),
    /// List and change the targets.
    #[command(subcommand)]
    Targets(TargetsCommand),
    /// Compare what lies in stores and at targets with the manifest.
    Verify(VerifyArguments),
    /// Make the queues, tables and containers that are missing.
    Setup,
    /// Check configuration, services and permissions, and change nothing.
    Doctor,
    /// Write a shell's completions to standard output.
    ///
    /// For bash: goldfleet completions bash > /etc/bash_completion.d/goldfleet
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages of goldfleet and goldfleet-worker into a folder.
    Man {
        /// The folder.
        folder: PathBuf,
    },
    /// Run a worker, as goldfleet-worker does.
    #[command(hide = true)]
    Worker {
        /// Stop once all queues are empty.
        #[arg(long)]
        exit_when_idle: bool,
        /// Operations in flight.
        #[arg(long)]
        concurrency: Option<u16>,
    },
}

/// A version of an image.
#[derive(Debug, Args)]
pub struct ImageArguments {
    /// The image's name.
    #[arg(long, value_name = "NAME")]
    pub image: ImageName,
    /// Its version.
    #[arg(long, value_name = "VERSION")]
    pub version: ImageVersion,
}

/// Arguments of `upload`.
#[derive(Debug, Args)]
pub struct UploadArguments {
    /// The VHD, fixed or dynamic.
    pub file: PathBuf,
    /// Which version of which image it becomes.
    #[command(flatten)]
    pub image: ImageArguments,
    /// The operating system on it: linux or windows.
    #[arg(long)]
    pub os: OsType,
    /// The Hyper-V generation, v1 or v2; deduced from the partition table, where not given.
    #[arg(long)]
    pub generation: Option<Generation>,
    /// Send no faster than this, such as 200MiB/s.
    #[arg(long, value_name = "RATE")]
    pub limit: Option<Rate>,
    /// Only upload.
    #[arg(long, conflicts_with_all = ["wait", "approve"])]
    pub no_dispatch: bool,
    /// Have every ring after the first wait for 'goldfleet approve'.
    #[arg(long)]
    pub approve: bool,
    /// Wait until the job has ended; with embedded coordination, do the work here.
    #[arg(long)]
    pub wait: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The job whose stores, VHDs and images are looked at; the newest, where none is named.
    pub job: Option<JobId>,
    /// Only the source store, for a version of this image.
    #[arg(long, value_name = "NAME", requires = "version", conflicts_with = "job")]
    pub image: Option<ImageName>,
    /// The version.
    #[arg(long, value_name = "VERSION", requires = "image")]
    pub version: Option<ImageVersion>,
    /// Read every byte and compare its checksum: takes as long as reading all of it from here.
    #[arg(long)]
    pub read: bool,
    /// Remove chunks that are not whole (with --read: and those with other bytes) from stores, so that an upload of the same
    /// version, or the next job, puts whole ones in their place.
    #[arg(long)]
    pub remove: bool,
}

/// Arguments of `rehearse`. What is not given comes from the configuration; with `--data` and `--targets-like` none is
/// needed.
#[derive(Debug, Args)]
pub struct RehearseArguments {
    /// The name of an image that is uploaded.
    #[arg(long, value_name = "NAME", requires = "version", required_unless_present = "data")]
    pub image: Option<ImageName>,
    /// Its version.
    #[arg(long, value_name = "VERSION", requires = "image")]
    pub version: Option<ImageVersion>,
    /// Instead of an image: a disk with so much data, such as 30GiB.
    #[arg(long, value_name = "SIZE", conflicts_with = "image")]
    pub data: Option<Size>,
    /// Only targets that a glob such as 'west*' or terms such as 'ring=0,tag.env=prod' match; may be given several times.
    #[arg(long = "target", value_name = "GLOB", conflicts_with = "targets_like")]
    pub targets: Vec<Selector>,
    /// Instead of the configured targets: so many.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub targets_like: Option<u32>,
    /// The regions that they are in, the source's own among them.
    #[arg(long, value_name = "COUNT", default_value_t = 3, requires = "targets_like")]
    pub regions: u32,
    /// Prices, limits, rates and times that differ from the built-in ones, instead of those of the configuration.
    #[arg(long, value_name = "FILE")]
    pub rates: Option<PathBuf>,
    /// Workers; as many as can work on all targets at once, where not given.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Requests in flight in each worker, where not as configured.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub requests: Option<u16>,
    /// What is left to chance follows from this number.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// An operator's name, which is shown on terminals and pages; empty where the environment says nothing.
fn operator(text: &str) -> Result<String, String> {
    if text.chars().count() > 100 || text.chars().any(char::is_control) {
        return Err("a name has at most 100 characters, none of them a control character".to_owned());
    }
    Ok(text.to_owned())
}

/// A number of bytes as people write it: `512MiB`, `30GiB`, `1TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        let parsed = units.into_iter().find_map(|(unit, shift)| {
            let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            number.checked_mul(1 << shift)
        });
        parsed.map(Self).ok_or_else(|| "write it with a unit, such as 512MiB, 30GiB or 1TiB".to_owned())
    }
}

/// Arguments of `cleanup`.
#[derive(Debug, Args)]
pub struct CleanupArguments {
    /// The job whose staged VHDs are removed; the newest, where none is named.
    pub job: Option<JobId>,
    /// Delete chunks that no manifest names and that are older than `cleanup.chunk_grace`.
    #[arg(long, conflicts_with_all = ["job", "image", "version"])]
    pub chunks: bool,
    /// With --chunks: only show which stores hold how many chunks to delete; nothing is deleted.
    #[arg(long, requires = "chunks")]
    pub dry_run: bool,
    /// With --chunks: go on although this source store has no manifests (or, if it is not the configured one, is gone), as all
    /// its versions were given up; may be given several times.
    #[arg(long, value_name = "ACCOUNT/CONTAINER", requires = "chunks")]
    pub without_source: Vec<Container>,
    /// Give up a version of this image, so that its chunks can be collected; managed images stay.
    #[arg(long, value_name = "NAME", requires = "version", conflicts_with = "job")]
    pub image: Option<ImageName>,
    /// The version to give up.
    #[arg(long, value_name = "VERSION", requires = "image")]
    pub version: Option<ImageVersion>,
    /// Remove what the tables hold of jobs that ended more than so many days ago, but for those that are still needed.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..),
        conflicts_with_all = ["job", "image", "version", "chunks"])]
    pub history: Option<u32>,
}

/// Arguments of `dashboard`.
#[derive(Debug, Args)]
pub struct DashboardArguments {
    /// Where to listen. Any address but a loopback one needs --token-file, and then everything needs the token.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// A file with the token that lets people approve, retry and cancel; without it the page only shows.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A name, besides the address, that browsers use for this server; may be given several times.
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// How many subscriptions.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub subscriptions: u32,
    /// How many regions, the source's own included.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub regions: u32,
    /// How many images.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub images: u32,
    /// How many worker processes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// The folder that the demonstration is made in; it must not exist, or be one of an earlier demonstration.
    #[arg(long, default_value = "goldfleet-demo", value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The size of each image's disk, in MiB.
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u64).range(20..=1_048_576))]
    pub disk: u64,
    /// The data on each disk, in KiB.
    #[arg(long, default_value_t = 1536, value_name = "KIB", value_parser = clap::value_parser!(u64).range(64..=67_108_864))]
    pub data: u64,
}
