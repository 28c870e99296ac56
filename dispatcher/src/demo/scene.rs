//! The stage of a demonstration: a folder with golden VHDs, targets, a configuration and an empty cloud.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use goldfleet_disk::vhd::GoldenSpec;
use goldfleet_model::ids::{ImageName, ImageVersion, InvalidName, SubscriptionId};
use goldfleet_model::manifest::{Generation, OsType};

use super::{DemoError, DemoRequest};
use crate::desk::DeskError;
use crate::regions::REGIONS;

/// The file that tells a demonstration's folder from anyone else's.
const MARK: &str = ".goldfleet-demo";

/// The pieces that the data on each disk is in.
const EXTENTS: u64 = 8;

/// A golden VHD of the demonstration.
#[derive(Debug, Clone)]
pub struct Golden {
    /// The file.
    pub file: PathBuf,
    /// The image's name.
    pub image: ImageName,
    /// Its version.
    pub version: ImageVersion,
    /// The operating system it says it has.
    pub os: OsType,
}

/// The stage of a demonstration.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The configuration file.
    pub config: PathBuf,
    /// The golden VHDs.
    pub golden: Vec<Golden>,
}

impl Scene {
    /// Builds it in the demonstration's folder, over what an earlier one left there.
    ///
    /// # Errors
    /// [`DemoError::Occupied`] where the folder holds something else.
    pub fn build(asked: &DemoRequest) -> Result<Self, DemoError> {
        let folder = &asked.folder;
        let io = |what: &str| DemoError::io(format!("{}: {what}", folder.display()));
        if folder.exists() {
            if !folder.join(MARK).is_file() {
                return Err(DemoError::Occupied(folder.clone()));
            }
            fs::remove_dir_all(folder).map_err(io("the earlier demonstration can't be removed"))?;
        }
        fs::create_dir_all(folder).map_err(io("can't be made"))?;
        fs::write(folder.join(MARK), "").map_err(io("can't be written to"))?;
        let config = folder.join("goldfleet.toml");
        fs::write(&config, CONFIG).map_err(io("can't be written to"))?;
        fs::write(folder.join("targets.toml"), targets(asked)).map_err(io("can't be written to"))?;
        let golden = (0..asked.images).map(|n| golden(asked, n)).collect::<Result<_, _>>()?;
        Ok(Self { config, golden })
    }
}

const CONFIG: &str = r#"# Written by 'goldfleet demo'. All commands work here: goldfleet --config goldfleet.toml status
[coordination]
backend = "embedded"
path = "goldfleet.db"

[cloud]
backend = "directory"
root = "cloud"

[source]
subscription = "00000000-0000-0000-0000-000000000000"
region = "westeurope"
account = "goldsource"
container = "golden"

[targets]
file = "targets.toml"

[dispatch]
sweep = "2s"
"#;

fn targets(asked: &DemoRequest) -> String {
    let mut text = String::new();
    for subscription in 1..=asked.subscriptions {
        for (n, region) in REGIONS.iter().take(asked.regions as usize).enumerate() {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "[[target]]\nsubscription = \"{}\"\nregion = \"{region}\"\nresource_group = \"images\"\n\
                 account = \"stage{subscription:04}{n:02}\"\ncontainer = \"vhds\"\n\n",
                SubscriptionId::numbered(subscription)
            );
        }
    }
    text
}

fn golden(asked: &DemoRequest, n: u32) -> Result<Golden, DemoError> {
    let (name, os, generation) = match n % 2 {
        0 => (format!("ubuntu-{n}"), OsType::Linux, Generation::V2),
        _ => (format!("windows-{n}"), OsType::Windows, Generation::V1),
    };
    let file = asked.folder.join(format!("{name}.vhd"));
    let spec = GoldenSpec::spread(asked.disk, generation, asked.data, EXTENTS, u64::from(n) + 1);
    spec.write(&file).map_err(DemoError::io(file.display().to_string()))?;
    let invalid = |error: InvalidName| DeskError::Refused(error.to_string());
    Ok(Golden { file, image: name.parse().map_err(invalid)?, version: "1.0.0".parse().map_err(invalid)?, os })
}
