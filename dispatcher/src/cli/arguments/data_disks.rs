//! The data disks of an image, as files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use goldfleet_disk::StatedFormat;
use goldfleet_model::artifact::DiskRole;
use goldfleet_sources::DataFile;

use crate::cli::error::CommandError;

/// The data disks of an image.
#[derive(Debug, Args)]
pub struct DataDiskArguments {
    /// A data disk and its LUN, such as 0=data.vhd, or 0=raw:data.img to state its format. Can be given several times
    #[arg(long = "data", value_name = "LUN=FILE", value_hint = clap::ValueHint::FilePath)]
    pub data: Vec<DataDisk>,
}

/// A data disk on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDisk(DataFile);

impl FromStr for DataDisk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected LUN=FILE, such as 0=data.vhd, with a LUN from 0 to {}", DiskRole::MAX_LUN);
        let (lun, file) = text.split_once('=').ok_or_else(expected)?;
        let is_number = !lun.is_empty() && lun.bytes().all(|byte| byte.is_ascii_digit());
        let lun = lun.parse::<u8>().ok().filter(|lun| is_number && *lun <= DiskRole::MAX_LUN).ok_or_else(expected)?;
        let stated = file.split_once(':').and_then(|(format, path)| Some((format.parse::<StatedFormat>().ok()?, path)));
        let (format, path) = stated.map_or((None, file), |(format, path)| (Some(format), path));
        if path.is_empty() {
            return Err(expected());
        }
        Ok(Self(DataFile { lun, format, path: path.into() }))
    }
}

impl DataDiskArguments {
    /// The files, for an image with this OS disk.
    ///
    /// # Errors
    /// If two disks have the same LUN, or if a file occurs twice.
    pub fn files(&self, os_disk: &Path) -> Result<Vec<DataFile>, CommandError> {
        let mut luns = BTreeMap::new();
        let mut files = BTreeMap::from([(identity(os_disk), "the OS disk".to_owned())]);
        for DataDisk(disk) in &self.data {
            let (lun, path) = (disk.lun, disk.path.display());
            if let Some(other) = luns.insert(lun, &disk.path) {
                let message =
                    format!("--data: {} and {path} both have LUN {lun}: give each disk its own LUN", other.display());
                return Err(CommandError::Unknown(message));
            }
            if let Some(other) = files.insert(identity(&disk.path), format!("the disk with LUN {lun}")) {
                let message = format!("--data {lun}={path}: the file is also {other}: name another file");
                return Err(CommandError::Unknown(message));
            }
        }
        Ok(self.data.iter().map(|DataDisk(disk)| disk.clone()).collect())
    }
}

/// The file that a path names, with symbolic links resolved. A file that does not exist is reported when it is opened.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_a_lun_a_format_and_a_file() {
        let parsed = |text: &str| text.parse::<DataDisk>().map(|DataDisk(file)| file);
        let file = parsed("3=a=b:c.vhd").unwrap();
        assert_eq!((file.lun, file.format, file.path), (3, None, PathBuf::from("a=b:c.vhd")));
        let raw = parsed("0=raw:data.img").unwrap();
        assert_eq!((raw.lun, raw.format.is_some(), raw.path), (0, true, PathBuf::from("data.img")));
        for bad in ["data.vhd", "64=a", "256=a", "-1=a", "+1=a", "=a", "x=a", "1=", "1=raw:"] {
            assert!(parsed(bad).unwrap_err().contains("LUN from 0 to 63"), "{bad}");
        }
    }

    #[test]
    fn luns_and_files_occur_once() {
        let of = |disks: &[&str]| {
            let data = disks.iter().map(|text| text.parse().unwrap()).collect();
            DataDiskArguments { data }.files(Path::new("os.vhd")).map_err(|error| error.to_string())
        };
        assert_eq!(of(&["1=a", "0=b"]).unwrap().len(), 2);
        assert_eq!(of(&["1=a", "1=b"]).unwrap_err(), "--data: a and b both have LUN 1: give each disk its own LUN");
        assert_eq!(
            of(&["1=a", "2=a"]).unwrap_err(),
            "--data 2=a: the file is also the disk with LUN 1: name another file"
        );
        assert_eq!(of(&["1=os.vhd"]).unwrap_err(), "--data 1=os.vhd: the file is also the OS disk: name another file");
    }
}
