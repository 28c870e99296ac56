//! What an initramfs contains: its kernel modules and configuration files.
//!
//! An initramfs is a sequence of cpio archives, each plain or compressed, with zeros between them, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` states. Distributions put CPU microcode in a plain
//! archive before the compressed one. The file is unpacked completely, because only that shows whether it is complete.

mod cpio;
mod segments;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::budget::{Budget, Stop};
use crate::fs::{FileReader, FsError};

/// The most bytes that an initramfs may unpack to.
const MAX_UNPACKED: u64 = 4 << 30;
/// The most names in an initramfs.
const MAX_NAMES: u32 = 200_000;
/// The longest configuration file that is kept.
const MAX_FILE: u64 = 256 << 10;
/// The most bytes of configuration files that are kept in total.
const MAX_KEPT: usize = 4 << 20;

/// Why an initramfs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// The compression or an archive is damaged or cut off.
    #[error("{0}")]
    Damaged(String),
    /// A compression that is not supported.
    #[error("it is compressed by {0}, which is not supported")]
    Unsupported(&'static str),
    /// It unpacks to too much.
    #[error("it unpacks to more than {0}")]
    TooLarge(&'static str),
    /// The inspection was stopped.
    #[error("{0}")]
    Stopped(#[from] Stop),
    /// The file system cannot read the file.
    #[error("{0}")]
    Fs(#[from] FsError),
}

/// The contents of an initramfs.
#[derive(Debug, Default)]
pub struct Initramfs {
    /// Names of modules, with `_` for `-`, by the kernel version in their path.
    modules: HashMap<String, BTreeSet<String>>,
    /// Configuration files: path without a `/` at the start, and text.
    files: BTreeMap<String, String>,
    /// It configures the network before the root is mounted.
    pub network: bool,
    /// It was built by dracut.
    pub dracut: bool,
    /// It has the program that activates logical volumes.
    pub lvm: bool,
    kept: usize,
    names: u32,
    unpacked: u64,
}

impl Initramfs {
    /// Reads an initramfs.
    ///
    /// # Errors
    /// [`InitramfsError`] if it cannot be read completely.
    pub fn read(file: &mut dyn FileReader, budget: &Budget) -> Result<Self, InitramfsError> {
        let mut found = Self::default();
        segments::read(file, budget, &mut found)?;
        if found.names == 0 {
            return Err(InitramfsError::Damaged("it is empty".into()));
        }
        Ok(found)
    }

    /// Whether it has a module for a kernel version.
    #[must_use]
    pub fn has_module(&self, kernel: &str, module: &str) -> bool {
        self.modules.get(kernel).is_some_and(|modules| modules.contains(module))
    }

    /// Versions of kernels that it has modules for.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }

    /// Adds the contents of another initramfs, which the kernel unpacks over this one.
    pub fn merge(&mut self, other: Self) {
        for (kernel, modules) in other.modules {
            self.modules.entry(kernel).or_default().extend(modules);
        }
        self.files.extend(other.files);
        self.network |= other.network;
        self.lvm |= other.lvm;
        self.dracut |= other.dracut;
    }

    /// Configuration files in a folder (without a `/` at its start) whose names end with `suffix`.
    pub fn files<'a>(&'a self, folder: &'a str, suffix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let inside = move |path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let matching = self.files.iter().filter(move |(path, _)| inside(path) && path.ends_with(suffix));
        matching.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Counts a name, and returns whether the file's data should be passed to [`Self::keep`].
    fn name(&mut self, path: &str, size: u64) -> Result<bool, InitramfsError> {
        self.names += 1;
        self.unpacked = self.unpacked.saturating_add(size);
        if self.names > MAX_NAMES {
            return Err(InitramfsError::TooLarge("200,000 files"));
        }
        if self.unpacked > MAX_UNPACKED {
            return Err(InitramfsError::TooLarge("4 GiB"));
        }
        let path = trim(path);
        if let Some((version, module)) = module(path) {
            self.modules.entry(version.to_owned()).or_default().insert(module);
        }
        self.dracut |= path.starts_with("usr/lib/dracut/") || path.starts_with("lib/dracut/");
        self.lvm |= path.ends_with("bin/lvm");
        self.network |= matches!(
            path.rsplit('/').next(),
            Some("nm-initrd-generator" | "dhclient" | "ifup" | "netroot" | "wicked" | "systemd-networkd")
        ) && (path.contains("bin/") || path.contains("libexec/") || path.contains("lib/systemd/"));
        Ok(is_configuration(path) && size <= MAX_FILE && self.kept < MAX_KEPT)
    }

    fn keep(&mut self, path: &str, data: &[u8]) {
        self.kept += data.len();
        self.files.insert(trim(path).to_owned(), String::from_utf8_lossy(data).into_owned());
    }
}

fn trim(path: &str) -> &str {
    path.trim_start_matches("./").trim_start_matches('/')
}

/// The kernel version and name of a module's path: `usr/lib/modules/VERSION/kernel/…/NAME.ko.xz`.
fn module(path: &str) -> Option<(&str, String)> {
    let rest = path.strip_prefix("usr/").unwrap_or(path).strip_prefix("lib/modules/")?;
    let (version, rest) = rest.split_once('/')?;
    Some((version, module_name(rest.rsplit('/').next()?)?))
}

/// The name of a module from its file's name, with `_` for `-`, as the kernel shows it.
#[must_use]
pub fn module_name(file: &str) -> Option<String> {
    let name = ["", ".xz", ".zst", ".gz"].iter().find_map(|end| file.strip_suffix(end)?.strip_suffix(".ko"))?;
    Some(name.replace('-', "_"))
}

/// Whether a file can change which drivers are loaded or which devices are waited for.
fn is_configuration(path: &str) -> bool {
    const FOLDERS: [&str; 8] = [
        "etc/modprobe.d/",
        "lib/modprobe.d/",
        "usr/lib/modprobe.d/",
        "etc/cmdline.d/",
        "etc/cmdline",
        "etc/fstab",
        "conf/conf.d/",
        "cryptroot/",
    ];
    FOLDERS.iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
pub(crate) mod tests;
