//! Checks of Linux systems.

mod device;
mod entries;
mod fstab;
mod kernels;
mod leftovers;
mod loader;
mod modules;
mod mounts;
mod network;
mod provisioning;
mod release;
mod services;
mod tree;

#[cfg(test)]
mod tests;

use goldfleet_disk::Severity;
use goldfleet_model::system::System;

use crate::codes::linux as codes;
use crate::finding::Findings;
use crate::machine::{Machine, is_esp};
use crate::options::Destination;
use crate::root::Root;

use device::Names;
use fstab::{Crypt, Entry};
use kernels::Kernel;
use release::Release;
use services::Services;

/// A Linux system, as the checks see it.
struct Linux<'a> {
    machine: &'a Machine,
    root: Root<'a>,
    /// The index of the root's volume.
    root_volume: usize,
    /// The folder on which the EFI system partition is mounted, if there is one that can be read.
    esp: Option<String>,
    release: Release,
    names: Vec<Names>,
    fstab: Vec<Entry>,
    crypttab: Vec<Crypt>,
    boot: entries::Boot,
    kernels: Vec<Kernel>,
    services: Services,
}

impl Linux<'_> {
    fn destination(&self) -> Destination {
        self.machine.options.destination
    }

    /// An error where the disk becomes a generalised image, otherwise `other`.
    fn generalized(&self, other: Severity) -> Severity {
        if self.destination().is_generalized() { Severity::Error } else { other }
    }

    /// Whether an EFI system partition exists, even if it cannot be read.
    fn has_esp(&self) -> bool {
        self.machine.volumes.iter().any(is_esp)
    }

    /// The kernel that the loader starts, if it is known.
    fn default_kernel(&self) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.is_default)
    }

    /// The names under `/dev/mapper` that crypttab opens.
    fn opened(&self) -> Vec<String> {
        self.crypttab.iter().map(|crypt| crypt.name.clone()).collect()
    }
}

/// Checks the Linux system of a disk. Returns `None`, and adds nothing, if the disk has none.
pub fn check(machine: &Machine, findings: &mut Findings) -> Option<System> {
    let names = device::names(machine);
    let tree = tree::find(machine, &names, &machine.budget)?;
    for title in &tree.others {
        let message = format!("{title} holds another Linux system, which was not inspected");
        findings.add(&codes::NOT_INSPECTED, message).severity(Severity::Note);
    }
    for point in &tree.unmounted {
        findings.add(&codes::NOT_INSPECTED, format!("the file system of {point} could not be opened")).at("/etc/fstab");
    }
    let root = tree.root;
    let release = Release::read(&root);
    let crypttab = fstab::parse_crypttab(&root.text("/etc/crypttab").unwrap_or_default());
    let boot = entries::Boot::read(&root, tree.esp.as_deref());
    let kernels = kernels::find(&root, &boot);
    let root_volume = tree.volume;
    let services = Services::read(&root);
    let linux = Linux {
        machine,
        root,
        root_volume,
        esp: tree.esp,
        release,
        names,
        fstab: tree.fstab,
        crypttab,
        boot,
        kernels,
        services,
    };

    let agents = provisioning::check(&linux, findings);
    let generations = loader::check(&linux, findings);
    kernels::check(&linux, findings);
    mounts::check(&linux, findings);
    modules::check(&linux, findings);
    network::check(&linux, findings);
    services::check(&linux, findings);
    leftovers::check(&linux, findings);
    for (path, reason) in linux.root.problems() {
        findings.add(&codes::NOT_INSPECTED, format!("a file cannot be read: {reason}")).at(path);
    }
    if !linux.release.is_endorsed() {
        findings
            .add(&codes::NOT_ENDORSED, format!("{} is not in the list of endorsed distributions", linux.release.name));
    }
    let default = linux.default_kernel().map(|kernel| kernel.version.clone());
    let rest = linux.kernels.iter().filter(|k| !k.is_default).map(|k| k.version.clone());
    Some(System {
        family: "linux".into(),
        id: linux.release.id.clone(),
        name: linux.release.name.clone(),
        version: linux.release.version.clone(),
        kernels: default.into_iter().chain(rest).collect(),
        agents,
        generations,
        architecture: kernels::architecture(&linux),
    })
}
