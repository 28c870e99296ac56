//! Installed kernels, and whether each can reach its root file system on Azure.

mod check;
mod image;

pub(super) use check::check;

use std::collections::HashSet;

use goldfleet_model::system::Architecture;

use crate::fs::FsError;
use crate::fs::part::Part;
use crate::initramfs::{Initramfs, InitramfsError, module_name};
use crate::pe::Pe;
use crate::root::Root;

use super::Linux;
use super::entries::{Boot, BootEntry, compare};

/// Only so many kernels have their initramfs unpacked: the default one and the newest.
const UNPACKED: usize = 3;
/// The longest list of modules that is read. That of a distribution's kernel has less than 1 MiB.
const MAX_LIST: u64 = 16 << 20;

/// A kernel that an entry starts, or that is installed.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The version as `uname -r` prints it.
    pub(super) version: String,
    /// Its path in the tree.
    pub(super) image: String,
    /// It is the one that the loader starts if nothing is chosen.
    pub(super) is_default: bool,
    /// The index of its entry.
    pub(super) entry: Option<usize>,
    /// The architecture in its header.
    pub(super) architecture: Option<Architecture>,
    /// The file exists.
    pub(super) exists: bool,
    builtin: Option<HashSet<String>>,
    config: Option<String>,
    installed: HashSet<String>,
    /// What its initramfs contains. `None` if it has none, or if it was not unpacked.
    pub(super) initramfs: Option<Initramfs>,
    /// Initramfs files that cannot be read, with the reason.
    problems: Vec<(String, InitramfsError)>,
    /// Its initramfs was unpacked, or it has none.
    examined: bool,
}

/// Where a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Availability {
    /// In the kernel.
    BuiltIn,
    /// In the initramfs.
    Initramfs,
    /// Only in the root file system.
    Installed,
    /// Nowhere.
    Missing,
    /// The kernel has neither a list of built-in modules nor a configuration.
    Unknown,
}

impl Kernel {
    /// Where a module is. Names have `_` for `-`.
    pub(super) fn availability(&self, module: &str) -> Availability {
        if self.is_builtin(module) == Some(true) {
            return Availability::BuiltIn;
        }
        if self.initramfs.as_ref().is_some_and(|initramfs| initramfs.has_module(&self.version, module)) {
            return Availability::Initramfs;
        }
        if self.installed.contains(module) {
            return Availability::Installed;
        }
        if self.is_builtin(module).is_none() { Availability::Unknown } else { Availability::Missing }
    }

    /// Whether a module is in the kernel, or `None` if nothing tells.
    pub(super) fn is_builtin(&self, module: &str) -> Option<bool> {
        if let Some(builtin) = &self.builtin {
            return Some(builtin.contains(module));
        }
        let config = self.config.as_ref()?;
        let options = config_options(module);
        (!options.is_empty()).then(|| options.iter().any(|option| config.lines().any(|l| l == format!("{option}=y"))))
    }
}

/// The options of the kernel's configuration that build a module in.
fn config_options(module: &str) -> &'static [&'static str] {
    match module {
        "hv_vmbus" => &["CONFIG_HYPERV", "CONFIG_HYPERV_VMBUS"],
        "hv_storvsc" => &["CONFIG_HYPERV_STORAGE"],
        "hv_netvsc" => &["CONFIG_HYPERV_NET"],
        "pci_hyperv" => &["CONFIG_PCI_HYPERV"],
        "sd_mod" => &["CONFIG_BLK_DEV_SD"],
        "sr_mod" => &["CONFIG_BLK_DEV_SR"],
        "dm_mod" => &["CONFIG_BLK_DEV_DM"],
        "ext4" => &["CONFIG_EXT4_FS"],
        "ext3" => &["CONFIG_EXT3_FS"],
        "ext2" => &["CONFIG_EXT2_FS"],
        "xfs" => &["CONFIG_XFS_FS"],
        "btrfs" => &["CONFIG_BTRFS_FS"],
        "udf" => &["CONFIG_UDF_FS"],
        "vfat" => &["CONFIG_VFAT_FS"],
        "nvme" => &["CONFIG_BLK_DEV_NVME"],
        "virtio_pci" => &["CONFIG_VIRTIO_PCI"],
        "virtio_blk" => &["CONFIG_VIRTIO_BLK"],
        _ => &[],
    }
}

/// Finds the kernels: those of the entries, or else those in /boot. The default one comes first, then the newest.
pub(super) fn find(root: &Root<'_>, boot: &Boot) -> Vec<Kernel> {
    let entries = boot.entries.iter().enumerate().filter(|(_, entry)| !entry.is_rescue());
    let mut kernels: Vec<Kernel> = Vec::new();
    for (index, entry) in entries {
        let is_default = boot.default == Some(index);
        match kernels.iter_mut().find(|kernel| kernel.image == entry.kernel) {
            Some(known) if is_default => (known.is_default, known.entry) = (true, Some(index)),
            Some(_) => {}
            None => kernels.push(Kernel { is_default, entry: Some(index), ..read_kernel(root, entry) }),
        }
    }
    if kernels.is_empty() {
        kernels = installed(root);
    }
    kernels.sort_by(|a, b| b.is_default.cmp(&a.is_default).then_with(|| compare(&b.version, &a.version)));
    for kernel in kernels.iter_mut().take(UNPACKED) {
        let entry = kernel.entry.and_then(|index| boot.entries.get(index));
        let unified = entry.is_some_and(|entry| entry.unified);
        let initrds = match entry {
            Some(entry) => entry.initrds.clone(),
            None => conventional_initrd(root, &kernel.version).into_iter().collect(),
        };
        kernel.examined = true;
        if unified {
            let image = kernel.image.clone();
            match unified_initramfs(root, &image) {
                Ok(initramfs) => kernel.initramfs = initramfs,
                Err(error) => kernel.problems.push((image, error)),
            }
        }
        for path in initrds {
            match read_initramfs(root, &path) {
                Ok(found) => match &mut kernel.initramfs {
                    Some(initramfs) => initramfs.merge(found),
                    empty => *empty = Some(found),
                },
                Err(error) => kernel.problems.push((path, error)),
            }
        }
    }
    kernels
}

/// Kernels in /boot and in the folders of modules, if there are no boot entries.
fn installed(root: &Root<'_>) -> Vec<Kernel> {
    let boot = root.list("/boot").into_iter().filter(|e| is_kernel_name(&e.name)).map(|e| format!("/boot/{}", e.name));
    let versions = root.list("/usr/lib/modules").into_iter().map(|e| format!("/usr/lib/modules/{}/vmlinuz", e.name));
    let mut paths: Vec<String> = boot.collect();
    if paths.is_empty() {
        paths = versions.filter(|path| root.exists(path)).collect();
    }
    paths.retain(|path| !path.contains("-rescue"));
    paths.iter().map(|path| read_kernel(root, &BootEntry { kernel: path.clone(), ..BootEntry::default() })).collect()
}

fn is_kernel_name(name: &str) -> bool {
    ["vmlinuz-", "vmlinux-", "Image-", "kernel-"].iter().any(|prefix| name.starts_with(prefix))
        && !name.ends_with(".hmac")
}

fn read_kernel(root: &Root<'_>, entry: &BootEntry) -> Kernel {
    let image = image::read(root, &entry.kernel, entry.unified);
    let by_name = version_of_path(&entry.kernel);
    let has_modules = |version: &str| root.exists(&format!("/usr/lib/modules/{version}"));
    let candidates = [image.version.clone(), Some(by_name.clone())];
    let version = candidates.into_iter().flatten().find(|version| has_modules(version)).or(image.version);
    let version = version.unwrap_or(by_name);
    let folder = format!("/usr/lib/modules/{version}");
    let list = |name: &str| -> Option<HashSet<String>> {
        let text = String::from_utf8_lossy(&root.read(&format!("{folder}/{name}"), MAX_LIST).ok()?).into_owned();
        let file = |line: &str| line.split(':').next()?.rsplit('/').next().and_then(module_name);
        Some(text.lines().filter_map(file).collect())
    };
    let config = || root.text(&format!("/boot/config-{version}")).or_else(|| root.text(&format!("{folder}/config")));
    let builtin = list("modules.builtin");
    Kernel {
        image: entry.kernel.clone(),
        is_default: false,
        entry: None,
        architecture: image.architecture,
        exists: image.exists,
        config: if builtin.is_none() { config() } else { None },
        builtin,
        installed: list("modules.dep").unwrap_or_default(),
        initramfs: None,
        problems: Vec::new(),
        examined: false,
        version,
    }
}

/// The version in a kernel's file name, or in its folder's for systemd-boot's `VERSION/linux`.
fn version_of_path(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or(path);
    if name == "linux" || name == "vmlinuz" {
        return parts.next().unwrap_or(name).to_owned();
    }
    name.split_once('-').map_or(name, |(_, version)| version).to_owned()
}

/// The initramfs that belongs to a kernel by the distributions' names.
fn conventional_initrd(root: &Root<'_>, version: &str) -> Option<String> {
    let names = [
        format!("/boot/initrd.img-{version}"),
        format!("/boot/initramfs-{version}.img"),
        format!("/boot/initrd-{version}"),
        format!("/boot/initramfs-{version}"),
    ];
    names.into_iter().find(|path| root.exists(path))
}

fn read_initramfs(root: &Root<'_>, path: &str) -> Result<Initramfs, InitramfsError> {
    let mut file = root.open(path)?;
    Initramfs::read(&mut *file, root.budget())
}

/// The initramfs in a section of a unified kernel image, if it has one.
fn unified_initramfs(root: &Root<'_>, path: &str) -> Result<Option<Initramfs>, InitramfsError> {
    let mut file = root.open(path)?;
    let pe = Pe::read(&mut *file)?;
    let Some(section) = pe.section(".initrd") else { return Ok(None) };
    let range = section.offset..section.offset.saturating_add(section.size);
    Initramfs::read(&mut Part::new(&mut *file, range), root.budget()).map(Some)
}

/// The architecture of the default kernel, or of any, or of the programs.
pub(super) fn architecture(linux: &Linux<'_>) -> Option<Architecture> {
    let kernels = linux.kernels.iter().find_map(|kernel| kernel.architecture);
    kernels.or_else(|| {
        ["/usr/bin/env", "/bin/sh"].iter().find_map(|path| elf_architecture(&linux.root, path).ok().flatten())
    })
}

/// The machine in the header of a program.
fn elf_architecture(root: &Root<'_>, path: &str) -> Result<Option<Architecture>, FsError> {
    let mut header = [0; 20];
    root.open(path)?.read_at(0, &mut header)?;
    if !header.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    Ok(match crate::bytes::le16(&header, 18) {
        62 => Some(Architecture::X64),
        183 => Some(Architecture::Arm64),
        3 => Some(Architecture::X86),
        _ => None,
    })
}
