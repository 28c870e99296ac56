//! Sends an image through the program itself to two targets of the directory cloud.

use std::path::{Path, PathBuf};
use std::process::Command;

use goldfleet_disk::{AzureDisk, OpenOptions, StatedFormat, same_disk};

/// The smallest disk that is accepted, in bytes.
pub const MIN_DISK: usize = 20 << 20;

/// The program `goldfleet` that `GOLDFLEET_DELIVER` names. Without it, images are only converted.
pub fn program() -> Option<PathBuf> {
    std::env::var_os("GOLDFLEET_DELIVER").map(PathBuf::from)
}

const SOURCE: &str = r#"
[source]
subscription = "00000000-0000-0000-0000-000000000000"
region = "westeurope"
account = "goldsource"
container = "golden"
"#;

/// Uploads the image, waits until it is an image at both targets, and compares their disks with the expected one.
pub fn deliver(goldfleet: &Path, image: &Path, options: &OpenOptions, expected: &AzureDisk, folder: &Path) {
    let place = folder.join("fleet");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("goldfleet.toml"), SOURCE).unwrap();
    let target = |(number, region): (u8, &str)| {
        format!(
            "[[target]]\nsubscription = \"00000000-0000-0000-0000-00000000000{number}\"\nregion = \"{region}\"\n\
             resource_group = \"images\"\naccount = \"stage{number}\"\ncontainer = \"vhds\"\n"
        )
    };
    std::fs::write(place.join("targets.toml"), [(1, "westeurope"), (2, "eastus")].map(target).concat()).unwrap();
    let mut command = Command::new(goldfleet);
    command.current_dir(&place).arg("upload").arg(image);
    // The content is random: it has no partition table and no system.
    command.args("--image golden --version 1 --os linux --generation v1 --inside no --wait".split(' '));
    if let Some(format) = options.format {
        command.args(["--format", if format == StatedFormat::Raw { "raw" } else { "vhd" }]);
    }
    for parent in &options.parents {
        command.arg("--parent").arg(parent);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    for account in ["stage1", "stage2"] {
        let vhd = place.join(format!("cloud/{account}/vhds/golden/1.vhd"));
        assert_eq!(same_disk(expected, &vhd).unwrap(), None, "{}", vhd.display());
    }
}
