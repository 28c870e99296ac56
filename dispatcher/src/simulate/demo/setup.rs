//! The setup of a demonstration: a directory with golden VHDs, targets, a configuration and an empty cloud.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use goldfleet_disk::GoldenSpec;
use goldfleet_model::ids::{ImageName, ImageVersion, InvalidName, SubscriptionId};
use goldfleet_model::manifest::{Generation, OsType};

use super::{DemoError, DemoRequest};
use crate::control::context::ControlError;
use crate::control::sample_regions::REGIONS;

/// The file that identifies the directory of a demonstration.
const MARKER_FILE: &str = ".goldfleet-demo";

/// The number of extents that contain the data of each disk.
const EXTENTS: u64 = 8;

/// A golden VHD of the demonstration.
#[derive(Debug, Clone)]
pub struct GoldenVhd {
    /// The file.
    pub file: PathBuf,
    /// The image's name.
    pub image: ImageName,
    /// Its version.
    pub version: ImageVersion,
    /// The operating system that its upload states.
    pub os: OsType,
}

/// The files of a demonstration.
#[derive(Debug, Clone)]
pub struct DemoSetup {
    /// The configuration file.
    pub config: PathBuf,
    /// The golden VHDs.
    pub golden: Vec<GoldenVhd>,
}

impl DemoSetup {
    /// Creates the files in the directory of the demonstration, and replaces those of an earlier one.
    ///
    /// # Errors
    /// [`DemoError::Occupied`] if the directory does not belong to a demonstration, [`DemoError::Foreign`] if it
    /// contains files that no demonstration created.
    pub fn build(asked: &DemoRequest) -> Result<Self, DemoError> {
        let folder = &asked.folder;
        let io = |what: &str| DemoError::io(format!("{}: {what}", folder.display()));
        if folder.exists() {
            if !folder.join(MARKER_FILE).is_file() {
                return Err(DemoError::Occupied(folder.clone()));
            }
            for entry in fs::read_dir(folder).map_err(io("can't be read"))? {
                let name = entry.map_err(io("can't be read"))?.file_name();
                if !name.to_str().is_some_and(is_made_here) {
                    return Err(DemoError::Foreign { folder: folder.clone(), name: PathBuf::from(name) });
                }
            }
            fs::remove_dir_all(folder).map_err(io("the earlier demonstration can't be removed"))?;
        }
        fs::create_dir_all(folder).map_err(io("can't be made"))?;
        fs::write(folder.join(MARKER_FILE), "").map_err(io("can't be written to"))?;
        let config = folder.join("goldfleet.toml");
        fs::write(&config, CONFIG).map_err(io("can't be written to"))?;
        fs::write(folder.join("targets.toml"), targets(asked)).map_err(io("can't be written to"))?;
        let golden = (0..asked.images).map(|n| golden(asked, n)).collect::<Result<_, _>>()?;
        Ok(Self { config, golden })
    }
}

/// Whether a demonstration creates a file or directory of this name. Only a directory without other content is removed.
fn is_made_here(name: &str) -> bool {
    let is_golden = |image: &str| {
        let number = image.strip_prefix("ubuntu-").or_else(|| image.strip_prefix("windows-"));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    [MARKER_FILE, "goldfleet.toml", "targets.toml", "cloud"].contains(&name)
        || ["goldfleet.db", "goldfleet.db-wal", "goldfleet.db-shm"].contains(&name)
        || name.strip_suffix(".vhd").is_some_and(is_golden)
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
                SubscriptionId::nth_for_tests(subscription)
            );
        }
    }
    text
}

fn golden(asked: &DemoRequest, n: u32) -> Result<GoldenVhd, DemoError> {
    let (name, os, generation) = match n % 2 {
        0 => (format!("ubuntu-{n}"), OsType::Linux, Generation::V2),
        _ => (format!("windows-{n}"), OsType::Windows, Generation::V1),
    };
    let file = asked.folder.join(format!("{name}.vhd"));
    let spec = GoldenSpec::spread(asked.disk, generation, asked.data, EXTENTS, u64::from(n) + 1);
    spec.write(&file).map_err(DemoError::io(file.display().to_string()))?;
    let invalid = |error: InvalidName| ControlError::Refused(error.to_string());
    Ok(GoldenVhd { file, image: name.parse().map_err(invalid)?, version: "1.0.0".parse().map_err(invalid)?, os })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with a file that the demonstration did not create is not removed.
    #[test]
    fn only_what_a_demonstration_made_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let request = DemoRequest {
            folder: folder.path().join("demo"),
            subscriptions: 1,
            regions: 1,
            images: 2,
            workers: 1,
            disk: 20 << 20,
            data: 64 << 10,
        };
        DemoSetup::build(&request).unwrap();
        for name in ["goldfleet.db", "goldfleet.db-wal", "goldfleet.db-shm"] {
            fs::write(request.folder.join(name), "").unwrap();
        }
        DemoSetup::build(&request).unwrap();
        let own = request.folder.join("my-golden.vhd");
        fs::write(&own, "mine").unwrap();
        let refused = DemoSetup::build(&request).unwrap_err();
        assert!(
            matches!(&refused, DemoError::Foreign { name, .. } if name.as_os_str() == "my-golden.vhd"),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(&own).unwrap(), "mine");
        assert!(request.folder.join("ubuntu-0.vhd").exists(), "nothing else was removed either");
    }
}
