//! Checks of Windows systems.
//!
//! What decides is in two registry hives, SYSTEM (services, in the current control set) and SOFTWARE (edition, state),
//! in the boot configuration, and in a few files. Nothing of Windows is executed.

mod boot;
mod drivers;
mod registry;
mod remote;
#[cfg(test)]
mod sample;
mod services;
mod setup;

use goldfleet_model::system::System;

use crate::bcd::Device;
use crate::codes::linux as general;
use crate::codes::windows as codes;
use crate::finding::Findings;
use crate::fs::{FileKind, FileSystem, FsError, FsKind};
use crate::hive::{Hive, HiveError};
use crate::machine::{Machine, Mounted};
use registry::Registry;

/// The hive of hardware and services.
pub(crate) const SYSTEM: &str = "/Windows/System32/config/SYSTEM";
/// The hive of installed software and the edition.
pub(crate) const SOFTWARE: &str = "/Windows/System32/config/SOFTWARE";

/// The Windows system that is checked.
struct Windows<'a> {
    machine: &'a Machine,
    /// The volume that holds the folder Windows.
    mounted: &'a Mounted,
    registry: Registry<'a>,
}

impl Windows<'_> {
    fn fs(&self) -> &dyn FileSystem {
        self.mounted.fs.as_ref()
    }

    /// Whether virtual machines are provisioned from the disk.
    fn is_generalized(&self) -> bool {
        self.machine.options.destination.is_generalized()
    }

    /// Whether a file or folder exists. What cannot be read counts as existing: it is not known to be missing.
    fn exists(&self, path: &str) -> bool {
        !matches!(self.fs().stat(path), Err(FsError::NotFound | FsError::WrongKind(_)))
    }
}

/// Checks the Windows system of a disk. Returns `None`, and adds nothing, if the disk has none.
pub fn check(machine: &Machine, findings: &mut Findings) -> Option<System> {
    let stores = boot::stores(machine);
    let mounted = find(machine, &stores)?;
    let mut system =
        System { family: "windows".into(), id: "windows".into(), name: "Windows".into(), ..System::default() };
    system.architecture = boot::architecture(mounted.fs.as_ref());
    let hive = open_hive(machine, mounted, SYSTEM, findings);
    let software = open_hive(machine, mounted, SOFTWARE, findings);
    if let Some(hive) = hive {
        match Registry::new(hive, software) {
            Ok(registry) => check_system(&Windows { machine, mounted, registry }, &mut system, findings),
            Err(error) => report(machine, findings, SYSTEM, &error),
        }
    }
    boot::check(machine, mounted, &stores, &mut system, findings);
    Some(system)
}

/// The volume with Windows: the one that the boot configuration names, otherwise the first.
fn find<'a>(machine: &'a Machine, stores: &[boot::Found]) -> Option<&'a Mounted> {
    let has_windows = |mounted: &&Mounted| {
        let stat = mounted.fs.stat(SYSTEM).is_ok_and(|stat| stat.kind == FileKind::File);
        mounted.fs.info().kind == FsKind::Ntfs && stat
    };
    let all: Vec<&Mounted> = machine.mounted.iter().filter(has_windows).collect();
    let is_named = |mounted: &&&Mounted| {
        let named =
            |device: &Option<Device>| device.as_ref().is_some_and(|device| boot::is_at(device, &mounted.volume));
        stores.iter().filter_map(|found| found.store.as_ref().ok()).any(|store| named(&store.os_device))
    };
    all.iter().find(is_named).or(all.first()).copied()
}

/// One group of checks. Errors of reading a hive end the group, not the others.
type Check = fn(&Windows<'_>, &mut Findings) -> Result<(), HiveError>;

/// The checks that read SYSTEM, and those that read SOFTWARE.
const CHECKS: [(&str, &[Check]); 2] = [
    (
        SYSTEM,
        &[
            drivers::boot_drivers,
            drivers::nvme,
            drivers::leftovers,
            services::provisioning,
            services::services,
            services::guest_tools,
            services::agent,
            remote::remote_desktop,
            remote::firewall,
            remote::addresses,
            setup::disks,
            setup::clock,
            setup::page_files,
        ],
    ),
    (SOFTWARE, &[setup::image_state, setup::pending_restart, remote::policy]),
];

fn check_system(windows: &Windows<'_>, system: &mut System, findings: &mut Findings) {
    for (hive, checks) in CHECKS {
        for check in checks {
            if let Err(error) = check(windows, findings) {
                report(windows.machine, findings, hive, &error);
            }
        }
    }
    if let Err(error) = setup::describe(windows, system) {
        report(windows.machine, findings, SOFTWARE, &error);
    }
    setup::files(windows, findings);
}

/// Opens a hive. One that cannot be opened is a finding.
fn open_hive<'a>(machine: &Machine, mounted: &'a Mounted, path: &str, findings: &mut Findings) -> Option<Hive<'a>> {
    let opened = mounted.fs.open(path).map_err(HiveError::from).and_then(Hive::open);
    match opened {
        Ok(hive) => {
            if hive.is_dirty() {
                let message =
                    "the hive was not completely written: changes that are only in its log are not considered";
                findings.add(&general::FS_DIRTY, message).at(path);
            }
            Some(hive)
        }
        Err(error) => {
            report(machine, findings, path, &error);
            None
        }
    }
}

/// Reports that a hive cannot be read. Why the inspection was stopped is reported once, by the inspection.
fn report(machine: &Machine, findings: &mut Findings, path: &str, error: &HiveError) {
    if machine.budget.stopped().is_some() {
        return;
    }
    match error {
        HiveError::File(FsError::Unsupported(_)) | HiveError::TooLarge(_) => {
            findings.add(&general::NOT_INSPECTED, error.to_string()).at(path);
        }
        _ => {
            let report = findings.add(&codes::HIVE_DAMAGED, error.to_string()).at(path);
            if path.ends_with("/BCD") {
                report.remedy("bcdboot C:\\Windows /s S: /f ALL, where S: is the system partition");
            }
        }
    }
}

#[cfg(test)]
mod tests;
