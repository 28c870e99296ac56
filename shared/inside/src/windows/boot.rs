//! How Windows starts: loader, boot configuration, processor, hibernation.

use goldfleet_disk::Severity;
use goldfleet_model::manifest::Generation;
use goldfleet_model::system::{Architecture, System};

use super::{codes, general, report};
use crate::bcd::{self, Device, Store};
use crate::finding::Findings;
use crate::fs::{FileSystem, FsKind};
use crate::hive::HiveError;
use crate::machine::{self, Machine, Mounted};
use crate::pe::{self, Pe};
use crate::volumes::Volume;
use crate::volumes::partitions::Table;

const UEFI_STORE: &str = "/EFI/Microsoft/Boot/BCD";
const BIOS_STORE: &str = "/Boot/BCD";
const BIOS_LOADER: &str = "/bootmgr";
const KERNEL: &str = "/Windows/System32/ntoskrnl.exe";
const HIBERNATION: &str = "/hiberfil.sys";

/// A boot configuration on the disk.
pub(super) struct Found {
    /// The title of its volume.
    title: String,
    path: &'static str,
    generation: Generation,
    pub(super) store: Result<Store, HiveError>,
}

/// The boot configurations of all volumes.
pub(super) fn stores(machine: &Machine) -> Vec<Found> {
    let mut found = Vec::new();
    for mounted in &machine.mounted {
        for (path, generation) in [(UEFI_STORE, Generation::V2), (BIOS_STORE, Generation::V1)] {
            let kind = mounted.fs.info().kind;
            let possible = kind == FsKind::Fat || (kind == FsKind::Ntfs && generation == Generation::V1);
            if possible && mounted.fs.stat(path).is_ok() {
                let store = mounted.fs.open(path).map_err(HiveError::from).and_then(bcd::read);
                found.push(Found { title: mounted.volume.title.clone(), path, generation, store });
            }
        }
    }
    found
}

/// Whether a device of a boot configuration is this volume.
pub(super) fn is_at(device: &Device, volume: &Volume) -> bool {
    let id = volume.partition.as_ref().map(|partition| partition.part_uuid.as_str()).unwrap_or_default();
    match device {
        Device::Gpt { partition, .. } => id == partition,
        Device::Mbr { offset, disk } => *offset == volume.start() && id.starts_with(&format!("{disk:08x}-")),
        Device::Found | Device::Other(_) => false,
    }
}

/// The processor that the kernel is for; `None` if there is no readable kernel.
pub(super) fn architecture(fs: &dyn FileSystem) -> Option<Architecture> {
    match Pe::read(fs.open(KERNEL).ok()?.as_mut()).ok()?.machine {
        pe::Machine::X64 => Some(Architecture::X64),
        pe::Machine::Arm64 => Some(Architecture::Arm64),
        pe::Machine::X86 => Some(Architecture::X86),
        pe::Machine::Other(_) => None,
    }
}

/// All checks of how Windows starts. Sets the generations of `system`.
pub(super) fn check(
    machine: &Machine,
    mounted: &Mounted,
    stores: &[Found],
    system: &mut System,
    findings: &mut Findings,
) {
    processor(machine, system.architecture, findings);
    hibernated(mounted.fs.as_ref(), findings);
    let loader = fallback_loader(machine, system.architecture);
    let bios = boots_by_bios(machine);
    system.generations.extend(bios.then_some(Generation::V1));
    system.generations.extend(loader.is_some().then_some(Generation::V2));
    // The generation that must boot; without a choice, the one that the disk is made for.
    let only_bios = bios && loader.is_none();
    let wanted = machine.options.generation.unwrap_or(if only_bios { Generation::V1 } else { Generation::V2 });
    if wanted == Generation::V2 {
        match loader {
            Some((mounted, path)) => signature(machine, mounted, path, findings),
            None => no_loader(machine, system.architecture, findings),
        }
    }
    if wanted == Generation::V1 && !bios {
        findings
            .add(
                &general::NO_BIOS_LOADER,
                "the image is of generation 1, but no active partition of an MBR holds bootmgr",
            )
            .remedy("Register the image with generation 2; or, on an MBR disk: bcdboot C:\\Windows /s S: /f BIOS");
    }
    configuration(machine, stores, wanted, findings);
}

/// `arm64` and `not-64-bit`.
fn processor(machine: &Machine, architecture: Option<Architecture>, findings: &mut Findings) {
    match architecture {
        Some(Architecture::Arm64) => {
            let severity = if machine.options.takes_arm64() { Severity::Note } else { Severity::Error };
            findings.add(&general::ARM64, "Windows is for Arm64").at(KERNEL).severity(severity);
        }
        Some(Architecture::X86) => {
            findings.add(&general::NOT_64_BIT, "Windows is for 32-bit processors").at(KERNEL);
        }
        Some(Architecture::X64) | None => {}
    }
}

/// `hibernated`.
fn hibernated(fs: &dyn FileSystem, findings: &mut Findings) {
    let mut magic = [0; 4];
    let read = fs.open(HIBERNATION).and_then(|mut file| file.read_at(0, &mut magic));
    if read.is_ok() && magic.eq_ignore_ascii_case(b"HIBR") {
        findings
            .add(&general::HIBERNATED, "Windows is hibernated, or was shut down with fast startup")
            .at(HIBERNATION)
            .remedy("powercfg /hibernate off, then shutdown /s /t 0");
    }
}

fn loader_path(architecture: Option<Architecture>) -> &'static str {
    if architecture == Some(Architecture::Arm64) { "/EFI/BOOT/BOOTAA64.EFI" } else { "/EFI/BOOT/BOOTX64.EFI" }
}

/// The loader that the firmware of a new virtual machine starts.
fn fallback_loader(machine: &Machine, architecture: Option<Architecture>) -> Option<(&Mounted, &'static str)> {
    let path = loader_path(architecture);
    let has_loader = |mounted: &&Mounted| mounted.fs.info().kind == FsKind::Fat && mounted.fs.stat(path).is_ok();
    machine.mounted.iter().find(has_loader).map(|mounted| (mounted, path))
}

/// Whether a BIOS finds a loader: an active partition of an MBR, and bootmgr.
fn boots_by_bios(machine: &Machine) -> bool {
    const ENTRIES: usize = 446;
    let active = (0..4).any(|index| machine.boot_sector.get(ENTRIES + 16 * index) == Some(&0x80));
    machine.table == Table::Mbr && active && machine.mounted.iter().any(|mounted| mounted.fs.stat(BIOS_LOADER).is_ok())
}

/// `no-fallback-loader` and `esp-damaged`.
fn no_loader(machine: &Machine, architecture: Option<Architecture>, findings: &mut Findings) {
    let path = loader_path(architecture);
    let is_open = |volume: &Volume| machine.mounted.iter().any(|mounted| mounted.volume.start() == volume.start());
    match machine.volumes.iter().find(|volume| machine::is_esp(volume)) {
        Some(esp) if !is_open(esp) => {
            let message = format!("the EFI system partition ({}) is not a readable FAT file system", esp.title);
            findings.add(&general::ESP_DAMAGED, message);
        }
        _ => {
            findings
                .add(&general::NO_FALLBACK_LOADER, format!("no FAT volume has {path}"))
                .at(path)
                .remedy("bcdboot C:\\Windows /s S: /f UEFI, where S: is the EFI system partition");
        }
    }
}

/// `secure-boot`.
fn signature(machine: &Machine, mounted: &Mounted, path: &str, findings: &mut Findings) {
    let issuers = mounted.fs.open(path).and_then(|mut file| Pe::read(file.as_mut())?.issuers(file.as_mut()));
    let message = match issuers {
        Ok(issuers) if issuers.iter().any(|issuer| issuer.starts_with("Microsoft ")) => return,
        Ok(issuers) if issuers.is_empty() => "the loader is not signed".to_owned(),
        Ok(issuers) => format!("the loader is signed by a certificate of {}, not of Microsoft", issuers.join(", ")),
        Err(error) => format!("the signature of the loader cannot be read: {error}"),
    };
    let severity = if machine.options.requirements.secure_boot { Severity::Error } else { Severity::Note };
    findings
        .add(&general::SECURE_BOOT, message)
        .at(path)
        .severity(severity)
        .remedy("bcdboot C:\\Windows /s S: /f UEFI, where S: is the EFI system partition");
}

/// `no-bcd`, and a note if the default entry does not use the serial console.
fn configuration(machine: &Machine, stores: &[Found], wanted: Generation, findings: &mut Findings) {
    let path = if wanted == Generation::V2 { UEFI_STORE } else { BIOS_STORE };
    let Some(found) = stores.iter().find(|found| found.generation == wanted) else {
        let message = format!("there is no boot configuration {path} for generation {wanted}");
        findings.add(&codes::NO_BCD, message).at(path);
        return;
    };
    let store = match &found.store {
        Ok(store) => store,
        Err(error) => return report(machine, findings, found.path, error),
    };
    let Some(default) = &store.default else {
        findings
            .add(&codes::NO_BCD, format!("the boot configuration on {} has no default entry", found.title))
            .at(path);
        return;
    };
    for device in [&store.device, &store.os_device].into_iter().flatten() {
        let known = match device {
            Device::Gpt { .. } | Device::Mbr { .. } => machine.volumes.iter().any(|volume| is_at(device, volume)),
            Device::Found | Device::Other(_) => true,
        };
        if !known {
            let message = format!("the default entry {default} names {}, which is not on this disk", name(device));
            findings.add(&codes::NO_BCD, message).at(path).severity(Severity::Warning);
        }
    }
    if !store.ems {
        findings
            .add(&general::NO_SERIAL_CONSOLE, "Windows does not use the serial console (Emergency Management Services)")
            .at(path)
            .severity(Severity::Note)
            .remedy("bcdedit /ems {current} on; bcdedit /emssettings EMSPORT:1 EMSBAUDRATE:115200");
    }
}

fn name(device: &Device) -> String {
    match device {
        Device::Gpt { partition, disk } => format!("partition {partition} of disk {disk}"),
        Device::Mbr { offset, disk } => format!("the partition at byte {offset} of disk {disk:08x}"),
        Device::Found => "the boot device".into(),
        Device::Other(kind) => format!("a device of type {kind}"),
    }
}
