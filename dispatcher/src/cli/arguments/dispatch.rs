//! Arguments of `dispatch`.

use clap::Args;
use goldfleet_config::UploadRoute;
use goldfleet_model::manifest::{Generation, OsType};

use super::selection::SelectionArguments;
use super::{ImageArguments, NewJobArguments, values};

/// Arguments of `dispatch`.
#[derive(Debug, Args)]
pub struct DispatchArguments {
    /// What the platform copies.
    #[command(flatten)]
    pub source: CopiedSource,
    /// How an uploaded version reaches the targets: by a VHD for each target, or by a golden snapshot for each region
    /// [default: `[plan] route`]
    #[arg(long, value_parser = values::<UploadRoute>(&UploadRoute::NAMES), conflicts_with = "from")]
    pub route: Option<UploadRoute>,
    /// Which version of which image.
    #[command(flatten)]
    pub image: ImageArguments,
    /// Which targets.
    #[command(flatten)]
    pub selection: SelectionArguments,
    /// What the job does besides.
    #[command(flatten)]
    pub job: NewJobArguments,
}

/// A source that the platform copies to the targets.
#[derive(Debug, Args)]
pub struct CopiedSource {
    /// In place of an uploaded version: a source in the cloud that the platform copies: disk:ID, snapshot:ID, image:ID,
    /// gallery:ID, or vm:ID of a stopped machine
    #[arg(long, value_name = "SOURCE")]
    pub from: Option<String>,
    /// With --from: the operating system on the disk [default: that of the source]
    #[arg(long, value_parser = values::<OsType>(&["linux", "windows"]), requires = "from")]
    pub os: Option<OsType>,
    /// With --from: the Hyper-V generation, v1 or v2 [default: that of the source]
    #[arg(long, value_parser = values::<Generation>(&["v1", "v2"]), requires = "from")]
    pub generation: Option<Generation>,
}
