//! Arguments of `rehearse`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::{ArgValueCandidates, ArgValueCompleter};
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::selector::Selector;

use crate::cli::complete;

/// Arguments of `rehearse`. What is not given is read from the configuration; `--data` together with `--targets-like`
/// needs none.
#[derive(Debug, Args)]
pub struct RehearseArguments {
    /// Name of an uploaded image
    #[arg(long, value_name = "NAME", requires = "version", required_unless_present_any = ["data", "sync"])]
    pub image: Option<ImageName>,
    /// Version of the image
    #[arg(long, value_name = "VERSION", requires = "image")]
    pub version: Option<ImageVersion>,
    /// Instead of an image: a disk with this much data, such as 30GiB. With --sync: the size of each disk [default:
    /// 32GiB]
    #[arg(long, value_name = "SIZE", conflicts_with = "image")]
    pub data: Option<Size>,
    /// Only targets that match: a glob such as 'west*', or terms such as 'ring=0,tag.env=prod'; can be given several
    /// times
    #[arg(long = "target", value_name = "SELECTOR", conflicts_with = "targets_like", add = ArgValueCompleter::new(complete::selectors))]
    pub targets: Vec<Selector>,
    /// Instead of the configured targets: this many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub targets_like: Option<u32>,
    /// Number of regions of these targets, including the source's region
    #[arg(long, value_name = "COUNT", default_value_t = 3, requires = "targets_like")]
    pub regions: u32,
    /// Options of a sync
    #[command(flatten)]
    pub sync: RehearsedSync,
    /// A file with prices, limits, rates and times that replace the built-in ones
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub rates: Option<PathBuf>,
    /// Number of workers [default: enough to work on all targets at once]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Requests in flight in each worker [default: `worker.requests`]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub requests: Option<u16>,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Arguments of `rehearse` for a sync of snapshots.
#[derive(Debug, Args)]
pub struct RehearsedSync {
    /// Instead of an image: a sync of the configuration, with generated disks and snapshots in the region of the source
    /// store
    #[arg(long = "sync", value_name = "NAME", add = ArgValueCandidates::new(complete::syncs), conflicts_with_all = ["image", "targets", "targets_like"])]
    pub sync: Option<String>,
    /// Number of disks of the sync
    #[arg(long, value_name = "COUNT", default_value_t = 20, requires = "sync",
        value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub disks: u32,
    /// Number of snapshots of each disk before the first run
    #[arg(long, value_name = "COUNT", default_value_t = 10, requires = "sync",
        value_parser = clap::value_parser!(u32).range(1..=500))]
    pub snapshots: u32,
    /// How much of a disk changes between two of its snapshots
    #[arg(long, value_name = "SIZE", default_value = "1GiB", requires = "sync")]
    pub changed: Size,
    /// The snapshots are full ones, not incremental
    #[arg(long, requires = "sync")]
    pub full: bool,
}

/// A size in bytes with a unit: `512MiB`, `30GiB`, `1TiB`.
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
        parsed.map(Self).ok_or_else(|| "use a number and a unit, such as 512MiB, 30GiB or 1TiB".to_owned())
    }
}
