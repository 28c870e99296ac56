//! Arguments of `promote`.

use clap::Args;

use super::ImageArguments;

/// Arguments of `promote`.
#[derive(Debug, Args)]
pub struct PromoteArguments {
    /// Which version of which image.
    #[command(flatten)]
    pub image: ImageArguments,
    /// Also if a newer version is the latest one now: the newer version stops being the latest one
    #[arg(long)]
    pub backwards: bool,
}
