//! The command line's arguments.

mod data_disks;
mod dispatch;
mod galleries;
mod jobs;
mod machines;
mod rehearse;
mod selection;
mod services;
mod snapshots;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::{ArgValueCandidates, Shell};
use goldfleet_config::{Config, HumanDuration};
use goldfleet_disk::{CheckOptions, OpenOptions, StatedFormat};
use goldfleet_inside::{Destination, Requirements};
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_runtime::process;
use goldfleet_worker::arguments;

use super::choose::JobPrefix;
use super::complete;
use super::output::Output;
use super::targets::TargetsCommand;
use crate::control::check::{ImageChecks, Inside, check_acceptable};
use crate::control::upload::ByteRate;

pub use data_disks::DataDiskArguments;
pub use dispatch::{CopiedSource, DispatchArguments};
pub use galleries::PromoteArguments;
pub use jobs::{
    ApproveArguments, ChangedJob, CleanupArguments, JobsArguments, LogsArguments, RetryArguments, ShownJob,
    StatusArguments,
};
pub use machines::{CloneArguments, VmCommand};
pub use rehearse::{RehearseArguments, RehearsedSync, Size};
pub use selection::SelectionArguments;
pub use services::{DoctorArguments, SetupArguments};
pub use snapshots::{CopyArguments, ListArguments, SnapshotJobArguments, SnapshotsCommand, SyncArguments};

/// Shown below the list of commands.
const EXAMPLES: &str = "\
Examples:
  goldfleet demo               Run everything on this machine with generated images
  goldfleet check golden.vhd   Check whether a VHD can become an OS disk

With a goldfleet.toml and a targets file (see 'goldfleet help configuration' and 'goldfleet help targets-file'):
  goldfleet upload golden.vhd --image ubuntu-24.04 --version 2026.11.1 --os linux --wait
  goldfleet status";

/// Upload one golden OS image and create a managed image from it in every subscription and region
///
/// Exit codes: 0 success; 1 an operation failed; 2 invalid usage, configuration or input; 3 a service refused a request
/// or could not be reached; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "goldfleet", version = process::VERSION, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Arguments {
    // `Config::load` reads the variable: clap would reject one that is set to an empty string.
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", help = arguments::CONFIG_HELP, value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Output format of results
    #[arg(long, short = 'o', global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
    /// Log more on standard error, such as the configuration file that is used
    #[arg(long, short = 'v', global = true)]
    pub verbose: bool,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: generated images, a cloud of directories, several workers
    Demo(DemoArguments),
    /// Check whether disk images of any format can become OS disks
    Check {
        /// The disk images
        #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
        /// The data disks of the image, if one file is checked.
        #[command(flatten)]
        data: DataDiskArguments,
        /// Accept what the configuration accepts for this image in `upload.accept`
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::images))]
        image: Option<ImageName>,
        /// What the disk becomes: a managed image, or a version of a gallery's image definition
        #[arg(long, default_value_t = Destination::ManagedImage, value_parser = values::<Destination>(&["image", "gallery", "gallery-specialised"]))]
        destination: Destination,
        /// How to read them.
        #[command(flatten)]
        disk: DiskArguments,
        /// Whether to check the operating system.
        #[command(flatten)]
        inside: InsideArguments,
    },
    /// Convert a disk image of any format to the fixed VHD that would be uploaded
    Convert(ConvertArguments),
    /// Upload a disk image of any format as a version of an image, and dispatch it to the targets
    Upload(UploadArguments),
    /// Show how a version, or a disk or snapshot, would reach the targets, what that costs and how long it takes
    Plan {
        /// What the platform copies.
        #[command(flatten)]
        source: CopiedSource,
        /// Which version of which image.
        #[command(flatten)]
        image: ImageArguments,
        /// Which targets.
        #[command(flatten)]
        selection: SelectionArguments,
        /// Choose the cheapest plan that takes at most this long, such as 30m [default: the cheapest of all]
        #[arg(long, value_name = "DURATION", conflicts_with = "from")]
        within: Option<HumanDuration>,
    },
    /// Create managed images of an uploaded version, or of a disk or snapshot, at the targets
    Dispatch(DispatchArguments),
    /// Make a published version the latest one in all galleries
    Promote(PromoteArguments),
    /// Copy snapshots of disks to other subscriptions and regions, and keep them in sync
    #[command(subcommand)]
    Snapshots(SnapshotsCommand),
    /// Clone virtual machines with all their disks
    #[command(subcommand)]
    Vm(VmCommand),
    /// Run the dispatcher: plan jobs, requeue lost work, clean up
    Dispatcher {
        /// Exit when every job has ended
        #[arg(long)]
        exit_when_idle: bool,
    },
    /// Serve a web page that shows jobs as they run
    Dashboard(DashboardArguments),
    /// Check the dispatcher on this machine, at `dispatch.listen`
    Health,
    /// Simulate a rollout in virtual time: how long it takes, and what limits it
    Rehearse(RehearseArguments),
    /// List uploaded image versions, and uploads in progress
    Images(ImagesArguments),
    /// List jobs, newest first
    Jobs(JobsArguments),
    /// Show the progress of a job
    Status(StatusArguments),
    /// Show the events of a job: who did what, when and why
    Logs(LogsArguments),
    /// Approve the next ring of a job, so that it starts
    Approve(ApproveArguments),
    /// Retry what failed or was cancelled, and nothing else
    Retry(RetryArguments),
    /// Cancel a job at its next checkpoint; what has succeeded stays
    Cancel(ChangedJob),
    /// Delete staged VHDs, an image version, unreferenced chunks, rows of old jobs, or orphaned temporaries
    #[command(override_usage = "goldfleet cleanup [OPTIONS] <JOB>\n       \
            goldfleet cleanup [OPTIONS] --image <NAME> --version <VERSION>\n       \
            goldfleet cleanup [OPTIONS] --chunks\n       \
            goldfleet cleanup [OPTIONS] --history <DAYS>\n       \
            goldfleet cleanup [OPTIONS] --orphans [--job <ID>] [--yes]")]
    Cleanup(CleanupArguments),
    /// Show and change the targets: the subscriptions and regions that get images
    #[command(subcommand)]
    Targets(TargetsCommand),
    /// Compare stores, staged VHDs and managed images with the manifest
    Verify(VerifyArguments),
    /// Create the queues, tables and containers that are missing
    Setup(SetupArguments),
    /// Check configuration, services and permissions without changing anything; with --probe, measure Azure's behaviour
    Doctor(DoctorArguments),
    /// Explain a failure code
    Explain {
        /// The code, such as ring-stopped; without it, all codes are listed
        #[arg(add = ArgValueCandidates::new(complete::codes))]
        code: Option<String>,
    },
    /// Show help for a command, or a page of the documentation
    Help {
        /// A command, or a topic such as configuration
        #[arg(value_name = "COMMAND|TOPIC", add = ArgValueCandidates::new(super::help::words))]
        words: Vec<String>,
    },
    /// Generate shell completions on standard output
    ///
    /// For bash: goldfleet completions bash > /etc/bash_completion.d/goldfleet
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Generate the manual pages of goldfleet and goldfleet-worker
    Man {
        /// The directory to write to
        #[arg(value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Show version, commit and the versions of the data formats
    Version,
    /// Run a worker, like goldfleet-worker
    #[command(hide = true)]
    Worker {
        /// Exit when all queues are empty
        #[arg(long)]
        exit_when_idle: bool,
        /// Number of operations at a time
        #[arg(long)]
        concurrency: Option<u16>,
    },
}

/// A parser that lists its values in help and completions.
pub(super) fn values<T>(names: &'static [&'static str]) -> impl clap::builder::TypedValueParser<Value = T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}

/// A version of an image.
#[derive(Debug, Args)]
pub struct ImageArguments {
    /// Name of the image
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::images))]
    pub image: ImageName,
    /// Version of the image
    #[arg(long, value_name = "VERSION", add = ArgValueCandidates::new(complete::versions))]
    pub version: ImageVersion,
}

/// What a new job does besides creating images.
#[derive(Debug, Args)]
pub struct NewJobArguments {
    /// Let every ring after the first wait for 'goldfleet approve'
    #[arg(long)]
    pub approve: bool,
    /// A remark that is shown with the job, such as a ticket number
    #[arg(long, value_name = "TEXT", value_parser = jobs::note)]
    pub note: Option<String>,
    /// Wait until the job has ended; with embedded coordination, this process does the work
    #[arg(long)]
    pub wait: bool,
}

/// How a disk image is read and checked.
#[derive(Debug, Args)]
pub struct DiskArguments {
    /// The Hyper-V generation: v1 (BIOS) or v2 (UEFI) [default: deduced from the partition table]
    #[arg(long, value_parser = values::<Generation>(&["v1", "v2"]))]
    pub generation: Option<Generation>,
    /// The format: raw, vhd, vhdx, qcow2 or vmdk [default: detected]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<StatedFormat>,
    /// The parent of a differencing VHD or VHDX. Can be given several times for a chain of parents
    #[arg(long = "parent", value_name = "FILE")]
    pub parents: Vec<PathBuf>,
    /// Treat errors with this code as warnings. Only what is deduced from the disk's content can be accepted
    #[arg(long, value_name = "CODE", value_parser = acceptable)]
    pub accept: Vec<String>,
    /// If the first copy of the partition table (GPT) is damaged, write it again from the backup
    #[arg(long)]
    pub repair_gpt: bool,
}

impl DiskArguments {
    /// The options of a check.
    #[must_use]
    pub fn options(&self) -> CheckOptions {
        let open = OpenOptions { format: self.format, parents: self.parents.clone(), ..OpenOptions::default() };
        CheckOptions {
            open,
            generation: self.generation,
            accept: self.accept.clone(),
            repair_gpt: self.repair_gpt,
            ..CheckOptions::default()
        }
    }

    /// The options of a check of this image, for which the configuration may accept more.
    #[must_use]
    pub fn options_for(&self, image: &ImageName, config: &Config) -> CheckOptions {
        let mut options = self.options();
        options.accept.extend(config.upload.accept.of(image).map(str::to_owned));
        options
    }
}

/// Whether and how the operating system inside the disk is checked.
#[derive(Debug, Args)]
pub struct InsideArguments {
    /// Check the operating system inside the disk: auto (what cannot be inspected is a warning), require (an error) or
    /// no
    #[arg(long, value_name = "WHEN", default_value_t = Inside::Auto, value_parser = values::<Inside>(&["auto", "require", "no"]))]
    pub inside: Inside,
    /// What the virtual machines have: nvme (a missing NVMe driver is an error), secure-boot (so is a loader that is
    /// not signed), arm64
    #[arg(long = "for", value_name = "HARDWARE", value_delimiter = ',', value_parser = ["nvme", "secure-boot", "arm64"])]
    pub hardware: Vec<String>,
}

impl InsideArguments {
    /// The checks of an image, with these options for its container and partition table.
    #[must_use]
    pub fn checks(&self, disk: CheckOptions) -> ImageChecks {
        let has = |name: &str| self.hardware.iter().any(|hardware| hardware == name);
        let requirements = Requirements { nvme: has("nvme"), secure_boot: has("secure-boot"), arm64: has("arm64") };
        ImageChecks { disk, inside: self.inside, requirements, ..ImageChecks::default() }
    }
}

/// A code of a finding that an operator may accept.
fn acceptable(text: &str) -> Result<String, String> {
    check_acceptable(text).map(|()| text.to_owned())
}

/// Arguments of `convert`.
#[derive(Debug, Args)]
pub struct ConvertArguments {
    /// The disk image
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The fixed VHD to write
    #[arg(value_hint = ValueHint::FilePath)]
    pub target: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
    /// How to read and check the disk image.
    #[command(flatten)]
    pub disk: DiskArguments,
}

/// Arguments of `upload`.
#[derive(Debug, Args)]
pub struct UploadArguments {
    /// The disk image: VHD, VHDX, qcow2, VMDK or raw; a VHD or raw disk may be compressed
    #[arg(value_hint = ValueHint::FilePath, required_unless_present = "from")]
    pub file: Option<PathBuf>,
    /// In place of a file: a source in the cloud: blob:URL, disk:ID, snapshot:ID, image:ID, gallery:ID, or vm:ID of a
    /// stopped machine
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["file", "parents", "data"])]
    pub from: Option<String>,
    /// The data disks.
    #[command(flatten)]
    pub data: DataDiskArguments,
    /// Which version of which image it becomes.
    #[command(flatten)]
    pub image: ImageArguments,
    /// The operating system on the disk [default: that of the source]
    #[arg(long, value_parser = values::<OsType>(&["linux", "windows"]), required_unless_present = "from")]
    pub os: Option<OsType>,
    /// How to read and check the disk image.
    #[command(flatten)]
    pub disk: DiskArguments,
    /// Whether to check the operating system.
    #[command(flatten)]
    pub inside: InsideArguments,
    /// Send at most this much per second, such as 200MiB/s
    #[arg(long, value_name = "RATE")]
    pub limit: Option<ByteRate>,
    /// Upload only; 'goldfleet dispatch' creates the images later
    #[arg(long, conflicts_with_all = ["wait", "approve", "note", "targets", "rings"])]
    pub no_dispatch: bool,
    /// Which targets.
    #[command(flatten)]
    pub selection: SelectionArguments,
    /// What the job does besides.
    #[command(flatten)]
    pub job: NewJobArguments,
}

/// Arguments of `images`.
#[derive(Debug, Args)]
pub struct ImagesArguments {
    /// Show only versions of this image
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::images))]
    pub image: Option<ImageName>,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The job whose stores, VHDs and images are checked: its id or an unambiguous prefix [default: the newest job]
    #[arg(value_name = "JOB", add = ArgValueCandidates::new(complete::jobs))]
    pub job: Option<JobPrefix>,
    /// Check only the source store, for a version of this image
    #[arg(long, value_name = "NAME", requires = "version", conflicts_with = "job")]
    pub image: Option<ImageName>,
    /// The version to check
    #[arg(long, value_name = "VERSION", requires = "image")]
    pub version: Option<ImageVersion>,
    /// Read every byte and compare its checksum
    #[arg(long)]
    pub read: bool,
    /// Delete damaged chunks from stores, so that an upload of the same version or the next job writes them again;
    /// without this option, they are only reported
    #[arg(long)]
    pub remove: bool,
}

/// Arguments of `dashboard`.
#[derive(Debug, Args)]
pub struct DashboardArguments {
    /// The address to listen on; any address but a loopback one requires --token-file, and then every request needs the
    /// token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// A file with the token that allows approve, retry and cancel; without it the page is read-only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// A host name by which browsers reach this server; can be given several times
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Number of subscriptions
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub subscriptions: u32,
    /// Number of regions, including the source's region
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub regions: u32,
    /// Number of images
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub images: u32,
    /// Number of worker processes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// The directory for the demo; it must not exist, or come from an earlier demo
    #[arg(long, default_value = "goldfleet-demo", value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// Size of each image's disk in MiB
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u64).range(20..=1_048_576))]
    pub disk: u64,
    /// Data on each disk in KiB
    #[arg(long, default_value_t = 1536, value_name = "KIB", value_parser = clap::value_parser!(u64).range(64..=67_108_864))]
    pub data: u64,
}
