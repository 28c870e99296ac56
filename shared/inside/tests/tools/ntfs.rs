//! NTFS volumes, made by ntfs-3g.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;

use goldfleet_inside::fs::ntfs::Ntfs;

use super::{RawFile, large_budget, run, text, windowed};

/// The package of the tools.
pub const PACKAGE: &str = "ntfs-3g";

/// An NTFS volume that is mounted by ntfs-3g (FUSE) while it is filled.
pub struct Volume {
    pub image: PathBuf,
    mount: PathBuf,
    /// ntfs-3g, while the volume is mounted.
    process: Option<Child>,
    _folder: tempfile::TempDir,
}

impl Volume {
    pub fn new(mebibytes: u64, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (image, mount) = (folder.path().join("ntfs"), folder.path().join("mount"));
        File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        fs::create_dir(&mount).unwrap();
        let fixed = ["--fast", "--force", "--quiet", "--label", "Windows", "--partition-start", "2048"];
        run(PACKAGE, "mkntfs", &[&fixed[..], options, &[text(&image)]].concat());
        let mut volume = Self { image, mount, process: None, _folder: folder };
        volume.mount();
        volume
    }

    /// Mounts the volume again.
    pub fn mount(&mut self) {
        let before = fs::metadata(&self.mount).unwrap().dev();
        let options = "no_detach,compression,big_writes,noatime";
        let spawned = Command::new("ntfs-3g").args(["-o", options, text(&self.image), text(&self.mount)]).spawn();
        let mut process =
            spawned.unwrap_or_else(|error| panic!("ntfs-3g is needed (tests/run.sh installs it): {error}"));
        while fs::metadata(&self.mount).unwrap().dev() == before {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "ntfs-3g cannot mount through FUSE: {ended:?}. Is there /dev/fuse?");
            std::thread::yield_now();
        }
        self.process = Some(process);
    }

    /// Unmounts and waits until ntfs-3g has written everything.
    pub fn unmount(&mut self) {
        run("mount", "umount", &[text(&self.mount)]);
        let status = self.process.take().unwrap().wait().unwrap();
        assert!(status.success());
    }

    /// Kills ntfs-3g, so that what it has not written yet is lost.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        run("mount", "umount", &["--lazy", text(&self.mount)]);
    }

    pub fn open(&self) -> Ntfs {
        let budget = large_budget();
        Ntfs::open(windowed(Arc::new(RawFile::open(&self.image)), &budget), budget).unwrap()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.mount.join(path.trim_start_matches('/'))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = Command::new("umount").arg("--lazy").arg(&self.mount).status();
            let _ = process.wait();
        }
    }
}
