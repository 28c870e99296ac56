//! Findings about fstab, crypttab, the kernel command line's devices, and swap.

use goldfleet_disk::Severity;

use super::device::{self, Device};
use super::entries::BootEntry;
use super::{Linux, fstab};
use crate::codes::linux as codes;
use crate::finding::Findings;
use crate::volumes::signature::Content;

/// Types of file systems that need no local block device.
const NOT_LOCAL: [&str; 16] = [
    "tmpfs",
    "proc",
    "sysfs",
    "devpts",
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "debugfs",
    "securityfs",
    "cgroup",
    "cgroup2",
    "overlay",
    "fuse",
    "efivarfs",
    "hugetlbfs",
];

/// Adds the findings about what is mounted.
pub(super) fn check(linux: &Linux<'_>, findings: &mut Findings) {
    let opened = linux.opened();
    for entry in &linux.fstab {
        if !NOT_LOCAL.contains(&entry.kind.as_str()) && !entry.has("bind") {
            fstab_entry(linux, entry, &opened, findings);
        }
    }
    crypttab(linux, findings);
    for (index, entry) in linux.boot.entries.iter().enumerate() {
        if !entry.is_rescue() {
            boot_entry(linux, entry, linux.boot.default == Some(index), &opened, findings);
        }
    }
    searches(linux, findings);
    initramfs_arguments(linux, &opened, findings);
    swap(linux, findings);
    if linux.machine.volumes[linux.root_volume].lvm.is_some() {
        findings.add(&codes::LVM, format!("the root is on {}", linux.machine.volumes[linux.root_volume].title));
    }
}

/// What to write instead of an unstable name of the root's device.
fn by_uuid(linux: &Linux<'_>) -> String {
    format!("Use UUID={} (as blkid prints it)", linux.root.fs().info().uuid)
}

fn fstab_entry(linux: &Linux<'_>, entry: &fstab::Entry, opened: &[String], findings: &mut Findings) {
    let is_root = entry.point == "/";
    let place = format!("line {}: {} on {}", entry.line, entry.spec, entry.point);
    match device::find(&linux.names, &entry.spec, opened) {
        Device::Missing => {
            // The root is mounted by the initramfs: a wrong entry for it delays nothing, but it is not remounted.
            let severity = if entry.is_required() && !is_root { Severity::Error } else { Severity::Warning };
            if entry.is_required() || is_root {
                let message = format!("{place}: no volume of this disk has this name");
                findings.add(&codes::FSTAB_MISSING, message).at("/etc/fstab").severity(severity);
            }
        }
        Device::Unstable { exists } => {
            let nvme = linux.machine.options.requirements.nvme && entry.spec.starts_with("/dev/nvme");
            let severity = if entry.is_required() && !is_root && !nvme { Severity::Error } else { Severity::Warning };
            let why = if exists { "the name may mean another disk" } else { "there is no such device on Azure" };
            findings
                .add(&codes::DEVICE_NAME, format!("{place}: {why}"))
                .at("/etc/fstab")
                .severity(severity)
                .remedy(if is_root { by_uuid(linux) } else { codes::DEVICE_NAME.remedy.to_owned() });
        }
        Device::MissingMapper => {
            let severity = if entry.is_required() && !is_root { Severity::Error } else { Severity::Warning };
            let message = format!("{place}: there is no such logical volume on this disk");
            findings.add(&codes::DEVICE_NAME, message).at("/etc/fstab").severity(severity);
        }
        Device::Found(_) | Device::Other => {}
    }
}

fn crypttab(linux: &Linux<'_>, findings: &mut Findings) {
    for entry in &linux.crypttab {
        let problem = match device::find(&linux.names, &entry.spec, &[]) {
            Device::Missing | Device::MissingMapper => "no volume of this disk has this name",
            Device::Unstable { .. } => "the name is not stable",
            Device::Found(_) | Device::Other => continue,
        };
        let message = format!("{} is opened from {}: {problem}", entry.name, entry.spec);
        let severity = if entry.required { Severity::Warning } else { Severity::Note };
        findings
            .add(&codes::DEVICE_NAME, message)
            .at("/etc/crypttab")
            .severity(severity)
            .remedy("Remove the entry, or add the option nofail to it.");
    }
}

fn boot_entry(linux: &Linux<'_>, entry: &BootEntry, is_default: bool, opened: &[String], findings: &mut Findings) {
    let severity = if is_default { Severity::Error } else { Severity::Warning };
    let after = linux.release.after_change(entry);
    if let Some(spec) = entry.argument("root") {
        match device::find(&linux.names, spec, opened) {
            Device::Missing | Device::MissingMapper => {
                let message = format!("root={spec}: no volume of this disk has this name");
                let remedy = format!("{}{after}", by_uuid(linux));
                findings.add(&codes::ROOT_MISSING, message).at(&entry.source).severity(severity).remedy(remedy);
            }
            Device::Unstable { exists } => {
                let (severity, why) = if exists {
                    (Severity::Warning, "the name may mean another disk")
                } else {
                    (severity, "there is no such device on Azure")
                };
                let remedy = format!("{}{after}", by_uuid(linux));
                let report = findings.add(&codes::DEVICE_NAME, format!("root={spec}: {why}"));
                report.at(&entry.source).severity(severity).remedy(remedy);
            }
            Device::Found(index) if index != linux.root_volume => {
                let title = &linux.machine.volumes[index].title;
                let message = format!("root={spec} is {title}, which holds no Linux system that was recognised");
                findings.add(&codes::ROOT_MISSING, message).at(&entry.source).severity(Severity::Warning);
            }
            Device::Found(_) | Device::Other => {}
        }
    }
    for volume in entry.arguments("rd.lvm.lv") {
        if device::find(&linux.names, &format!("/dev/{volume}"), &[]) == Device::MissingMapper {
            let message = format!("rd.lvm.lv={volume}: there is no such logical volume on this disk");
            findings.add(&codes::ROOT_MISSING, message).at(&entry.source).severity(Severity::Warning);
        }
    }
    if let Some(spec) = entry.argument("resume") {
        let found = device::find(&linux.names, spec, opened);
        if !matches!(found, Device::Found(_) | Device::Other) {
            let message =
                format!("resume={spec}: the boot waits for a device that is not there, or that has another name");
            findings
                .add(&codes::DEVICE_NAME, message)
                .at(&entry.source)
                .remedy(format!("Remove resume= from the kernel command line{after}"));
        }
    }
}

/// GRUB searches the file system that holds its menu or the kernels.
fn searches(linux: &Linux<'_>, findings: &mut Findings) {
    for (uuid, source) in &linux.boot.searches {
        if device::find(&linux.names, &format!("UUID={uuid}"), &[]) == Device::Missing {
            // The loader's own file on the ESP has nothing else to start from. In the menu, GRUB continues with the
            // file system that it was started from.
            let on_esp = linux.esp.as_ref().is_some_and(|esp| source.starts_with(esp.as_str()));
            let severity = if on_esp { Severity::Error } else { Severity::Warning };
            let message = format!("GRUB searches the file system {uuid}, which is not on this disk");
            findings
                .add(&codes::ROOT_MISSING, message)
                .at(source)
                .severity(severity)
                .remedy(format!("grub-install, then: {}", linux.release.update_grub()));
        }
    }
}

/// dracut keeps arguments in `etc/cmdline.d`, initramfs-tools in `conf/conf.d`.
fn initramfs_arguments(linux: &Linux<'_>, opened: &[String], findings: &mut Findings) {
    for kernel in linux.kernels.iter().filter(|kernel| kernel.is_default) {
        let Some(initramfs) = &kernel.initramfs else { continue };
        for (path, text) in initramfs.files("etc/cmdline.d", ".conf").chain(initramfs.files("conf/conf.d", "")) {
            for word in text.split_whitespace() {
                let Some((name @ ("root" | "resume" | "RESUME" | "ROOT"), spec)) = word.split_once('=') else {
                    continue;
                };
                let spec = spec.trim_matches('"');
                let found = device::find(&linux.names, spec, opened);
                if matches!(found, Device::Missing | Device::MissingMapper | Device::Unstable { .. }) {
                    let message = format!("the initramfs of kernel {} waits for {name}={spec}", kernel.version);
                    findings
                        .add(&codes::DEVICE_NAME, message)
                        .at(path)
                        .remedy(format!("Correct the configuration, then: {}", linux.release.build_initramfs()));
                }
            }
        }
    }
}

fn swap(linux: &Linux<'_>, findings: &mut Findings) {
    for (volume, signature) in linux.machine.volumes.iter().zip(&linux.machine.signatures) {
        if signature.content == (Content::Swap { hibernated: false }) {
            findings.add(&codes::SWAP, format!("{} is swap space", volume.title));
        }
    }
    for entry in linux.fstab.iter().filter(|entry| entry.kind == "swap" && entry.spec.starts_with('/')) {
        if linux.root.exists(&entry.spec) {
            findings.add(&codes::SWAP, format!("{} is a swap file", entry.spec)).at("/etc/fstab");
        }
    }
}
