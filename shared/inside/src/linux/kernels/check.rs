//! Findings about kernels.

use goldfleet_disk::Severity;
use goldfleet_model::system::Architecture;

use super::{Availability, Kernel};
use crate::codes::linux as codes;
use crate::finding::Findings;
use crate::fs::{FileSystem, FsError, FsKind};
use crate::initramfs::InitramfsError;
use crate::linux::Linux;
use crate::linux::entries::EntryKind;
use crate::machine::Mounted;
use crate::options::Hardware;

/// What activates logical volumes. The kernel alone does not.
const LVM_PROGRAM: &str = "the program lvm";

/// A driver that the root needs: any of these modules.
type Driver = &'static [&'static str];

/// Adds the findings about kernels and their drivers.
pub(in crate::linux) fn check(linux: &Linux<'_>, findings: &mut Findings) {
    architecture(linux, findings);
    if linux.kernels.iter().all(|kernel| !kernel.exists) {
        let message = match linux.boot.default_entry() {
            Some(entry) => format!("the default boot entry starts {}, which does not exist", entry.kernel),
            None => "there is no kernel in /boot, in /usr/lib/modules or on the EFI system partition".into(),
        };
        let arm = super::architecture(linux) == Some(Architecture::Arm64);
        findings.add(&codes::NO_KERNEL, message).remedy(linux.release.install_kernel(arm));
        return;
    }
    if let Some(default) = linux.default_kernel().filter(|kernel| !kernel.exists) {
        let message = format!("the default boot entry starts {}, which does not exist", default.image);
        let entry = default.entry.and_then(|index| linux.boot.entries.get(index));
        let source = entry.map_or("/boot", |entry| entry.source.as_str());
        let remedy = match entry {
            Some(entry) if entry.kind() != EntryKind::Grub => format!("Correct the name of the kernel in {source}"),
            _ => linux.release.update_grub().to_owned(),
        };
        findings.add(&codes::NO_KERNEL, message).at(source).remedy(remedy);
    }
    initramfs_problems(linux, findings);
    storage(linux, findings);
    network(linux, findings);
    nvme(linux, findings);
}

fn architecture(linux: &Linux<'_>, findings: &mut Findings) {
    let options = &linux.machine.options;
    let path = linux.default_kernel().or(linux.kernels.first()).map_or("/boot", |kernel| kernel.image.as_str());
    match super::architecture(linux) {
        Some(Architecture::Arm64) => {
            let severity = if options.takes_arm64() { Severity::Note } else { Severity::Error };
            findings.add(&codes::ARM64, "the kernel is for Arm64").at(path).severity(severity);
        }
        Some(Architecture::X86) => {
            findings.add(&codes::NOT_64_BIT, "the kernel is for 32-bit processors").at(path);
        }
        Some(Architecture::X64) | None => {}
    }
}

/// The severity of what is wrong with one kernel.
fn severity(kernel: &Kernel) -> Severity {
    if kernel.is_default { Severity::Error } else { Severity::Warning }
}

fn initramfs_problems(linux: &Linux<'_>, findings: &mut Findings) {
    for kernel in &linux.kernels {
        for (path, error) in &kernel.problems {
            let message = match error {
                InitramfsError::Fs(FsError::NotFound) => {
                    format!("the initramfs of kernel {} does not exist", kernel.version)
                }
                error => format!("the initramfs of kernel {} cannot be read: {error}", kernel.version),
            };
            let code = match error {
                InitramfsError::Damaged(_) | InitramfsError::Fs(FsError::NotFound) => &codes::INITRAMFS_DAMAGED,
                _ => &codes::NOT_INSPECTED,
            };
            let report = findings.add(code, message).at(path);
            if code.code == codes::INITRAMFS_DAMAGED.code {
                report.severity(severity(kernel)).remedy(linux.release.build_initramfs());
            }
        }
    }
}

/// The drivers that mount the root, and a separate `/usr`, on some hardware. The initramfs mounts `/usr` too: programs
/// that the root's first process needs are there.
fn needed(linux: &Linux<'_>) -> Vec<Driver> {
    let mut drivers: Vec<Driver> = match linux.machine.options.hardware {
        Hardware::HyperV => vec![&["hv_vmbus"], &["hv_storvsc"], &["sd_mod"]],
        Hardware::Virtio => vec![&["virtio_pci"], &["virtio_blk"]],
        Hardware::Nvme => vec![&["nvme"]],
    };
    let usr = linux.root.mounted_on("/usr").map(|fs| fs.info().kind);
    for kind in std::iter::once(linux.root.fs().info().kind).chain(usr) {
        let driver: Driver = match kind {
            FsKind::Ext => &["ext4", "ext3", "ext2"],
            FsKind::Xfs => &["xfs"],
            FsKind::Btrfs => &["btrfs"],
            FsKind::Fat | FsKind::Ntfs => continue,
        };
        if !drivers.contains(&driver) {
            drivers.push(driver);
        }
    }
    if on_lvm(linux) {
        drivers.push(&["dm_mod"]);
    }
    drivers
}

/// Whether the root or a separate `/usr` is a logical volume.
fn on_lvm(linux: &Linux<'_>) -> bool {
    let usr = linux.root.mounted_on("/usr").map(FileSystem::info);
    let is_usr = |mounted: &&Mounted| {
        let info = mounted.fs.info();
        usr.is_some_and(|usr| usr.kind == info.kind && usr.uuid == info.uuid)
    };
    linux.machine.volumes[linux.root_volume].lvm.is_some()
        || linux.machine.mounted.iter().find(is_usr).is_some_and(|mounted| mounted.volume.lvm.is_some())
}

/// Whether a driver is there before the root is mounted. `None` if nothing tells.
fn at_boot(kernel: &Kernel, driver: Driver) -> Option<bool> {
    let found = driver.iter().map(|module| kernel.availability(module));
    let mut unknown = false;
    for availability in found {
        match availability {
            Availability::BuiltIn | Availability::Initramfs => return Some(true),
            Availability::Unknown => unknown = true,
            // The list of installed modules does not tell what is built in.
            Availability::Installed | Availability::Missing => {}
        }
    }
    (!unknown).then_some(false)
}

fn storage(linux: &Linux<'_>, findings: &mut Findings) {
    let needed = needed(linux);
    let usable =
        || linux.kernels.iter().filter(|kernel| kernel.exists && kernel.examined && kernel.problems.is_empty());
    let on_lvm = on_lvm(linux);
    let missing = |kernel: &Kernel| -> Vec<&str> {
        let drivers = needed.iter().filter(|driver| at_boot(kernel, driver) == Some(false)).map(|driver| driver[0]);
        let lacks_program = on_lvm && kernel.initramfs.as_ref().is_none_or(|initramfs| !initramfs.lvm);
        drivers.chain(lacks_program.then_some(LVM_PROGRAM)).collect()
    };
    let all_lack = usable().all(|kernel| !missing(kernel).is_empty());
    for kernel in usable() {
        if needed.iter().any(|driver| at_boot(kernel, driver).is_none()) {
            let message = format!(
                "kernel {} has neither modules nor a configuration that tells which drivers are built in",
                kernel.version
            );
            findings.add(&codes::NOT_INSPECTED, message).at(&kernel.image);
            continue;
        }
        let missing = missing(kernel);
        if missing.is_empty() {
            continue;
        }
        let unknown_default = linux.default_kernel().is_none() && all_lack;
        let severity = if kernel.is_default || unknown_default { Severity::Error } else { Severity::Warning };
        let message = match &kernel.initramfs {
            Some(_) => format!("the initramfs of kernel {} lacks {}", kernel.version, missing.join(", ")),
            None => format!("kernel {} has no initramfs, and {} is not built in", kernel.version, missing.join(", ")),
        };
        let path = initrd_path(linux, kernel);
        findings.add(&codes::NO_STORAGE_DRIVER, message).at(path).severity(severity).remedy(remedy(linux, &missing));
    }
}

fn remedy(linux: &Linux<'_>, missing: &[&str]) -> String {
    let modules: Vec<&str> = missing.iter().copied().filter(|name| *name != LVM_PROGRAM).collect();
    if modules.is_empty() {
        format!("{} && {}", linux.release.install("lvm2"), linux.release.build_initramfs())
    } else {
        linux.release.add_to_initramfs(&modules)
    }
}

fn initrd_path<'a>(linux: &'a Linux<'_>, kernel: &'a Kernel) -> &'a str {
    let entry = kernel.entry.and_then(|index| linux.boot.entries.get(index));
    entry.and_then(|entry| entry.initrds.last()).map_or(kernel.image.as_str(), String::as_str)
}

fn network(linux: &Linux<'_>, findings: &mut Findings) {
    if linux.machine.options.hardware != Hardware::HyperV {
        return;
    }
    for kernel in linux.kernels.iter().filter(|kernel| kernel.exists && kernel.examined) {
        match kernel.availability("hv_netvsc") {
            Availability::Missing => {
                let message = format!("kernel {} has no driver hv_netvsc", kernel.version);
                let folder = format!("/usr/lib/modules/{}", kernel.version);
                findings.add(&codes::NO_NETWORK_DRIVER, message).at(folder).severity(severity(kernel));
            }
            Availability::Installed if kernel.initramfs.as_ref().is_some_and(|i| i.network && i.dracut) => {
                let message =
                    format!("the initramfs of kernel {} configures the network, but lacks hv_netvsc", kernel.version);
                findings
                    .add(&codes::NO_NETWORK_DRIVER, message)
                    .at(initrd_path(linux, kernel))
                    .severity(Severity::Warning)
                    .remedy(linux.release.add_to_initramfs(&["hv_netvsc"]));
            }
            _ => {}
        }
    }
}

fn nvme(linux: &Linux<'_>, findings: &mut Findings) {
    let options = &linux.machine.options;
    let kernel = linux.default_kernel().or_else(|| linux.kernels.iter().find(|k| k.exists && k.examined));
    let Some(kernel) = kernel.filter(|kernel| kernel.exists && kernel.problems.is_empty()) else { return };
    let drivers: &[Driver] =
        if options.hardware == Hardware::HyperV { &[&["nvme"], &["pci_hyperv"]] } else { &[&["nvme"]] };
    let missing: Vec<&str> =
        drivers.iter().filter(|driver| at_boot(kernel, driver) == Some(false)).map(|driver| driver[0]).collect();
    if !missing.is_empty() {
        let message = format!("the initramfs of kernel {} lacks {}", kernel.version, missing.join(", "));
        let severity = if options.requirements.nvme { Severity::Error } else { Severity::Note };
        findings
            .add(&codes::NO_NVME, message)
            .at(initrd_path(linux, kernel))
            .severity(severity)
            .remedy(linux.release.add_to_initramfs(&missing));
    }
}
