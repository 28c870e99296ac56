//! Findings about the boot loader on the EFI system partition and in the boot sector.

use goldfleet_disk::Severity;
use goldfleet_model::manifest::Generation;
use goldfleet_model::system::Architecture;

use super::Linux;
use super::kernels::architecture;
use crate::codes::linux as codes;
use crate::finding::Findings;
use crate::fs::FsError;
use crate::pe::Pe;

/// What the firmware finds.
struct Firmware {
    /// The boot sector holds a loader.
    bios: bool,
    /// The severity of an EFI loader that is missing. `None` if the image does not need it.
    severity: Option<Severity>,
}

/// Adds the findings about the loader. Returns the generations whose firmware finds one.
pub(super) fn check(linux: &Linux<'_>, findings: &mut Findings) -> Vec<Generation> {
    let bios = has_bios_loader(&linux.machine.boot_sector);
    let severity = match (linux.machine.options.generation, bios) {
        (Some(Generation::V1), _) => None,
        (Some(Generation::V2), _) | (None, false) => Some(Severity::Error),
        (None, true) => Some(Severity::Note),
    };
    let firmware = Firmware { bios, severity };
    let efi = efi(linux, &firmware, findings);
    if linux.machine.options.generation == Some(Generation::V1) && !bios {
        findings
            .add(&codes::NO_BIOS_LOADER, "the image is of generation 1, but the boot sector holds no loader")
            .remedy("grub-install --target=i386-pc DISK, or register the image with generation 2");
    }
    let v1 = bios.then_some(Generation::V1);
    v1.into_iter().chain(efi.then_some(Generation::V2)).collect()
}

/// Whether the first sector holds the code of a loader. A disk that was only partitioned has none.
fn has_bios_loader(sector: &[u8]) -> bool {
    let code = sector.get(..440).unwrap_or(&[]);
    let names: [&[u8]; 4] = [b"GRUB", b"LILO", b"SYSLINUX", b"EXTLINUX"];
    let named = names.iter().any(|name| code.windows(name.len()).any(|window| window == *name));
    let active = sector.get(446..510).unwrap_or(&[]).chunks(16).any(|entry| entry.first() == Some(&0x80));
    named || active && code.iter().any(|byte| *byte != 0)
}

/// Checks the EFI loader. Returns whether the firmware finds one.
fn efi(linux: &Linux<'_>, firmware: &Firmware, findings: &mut Findings) -> bool {
    let arm = architecture(linux) == Some(Architecture::Arm64);
    let short = if arm { "aa64" } else { "x64" };
    let name = format!("EFI/BOOT/BOOT{}.EFI", short.to_uppercase());
    let missing = |findings: &mut Findings, message: String, path: String| {
        if let Some(severity) = firmware.severity {
            let remedy = linux.release.install_fallback_loader(short == "aa64");
            findings.add(&codes::NO_FALLBACK_LOADER, message).at(path).severity(severity).remedy(remedy);
        }
    };
    let Some(esp) = &linux.esp else {
        if linux.has_esp() {
            damaged(linux, firmware, "it is not a FAT file system that can be read", findings);
        } else {
            missing(
                findings,
                format!("there is no EFI system partition, and so no {name}"),
                "EFI system partition".into(),
            );
        }
        return false;
    };
    let path = format!("{esp}/{name}");
    let pe = match read_pe(linux, &path) {
        Ok(pe) => pe,
        Err(FsError::NotFound) => {
            missing(findings, format!("the EFI system partition has no {name}"), path);
            return false;
        }
        Err(error) => {
            damaged(linux, firmware, &format!("{name}: {error}"), findings);
            return false;
        }
    };
    let shim = shim_generation(linux, &pe, &path);
    if shim.is_some() && !second_stage(linux, esp, short, findings, &missing) {
        return false;
    }
    secure_boot(linux, &Loader { path: &path, pe: &pe, shim, esp, short }, findings);
    true
}

fn read_pe(linux: &Linux<'_>, path: &str) -> Result<Pe, FsError> {
    Pe::read(&mut *linux.root.open(path)?)
}

fn damaged(linux: &Linux<'_>, firmware: &Firmware, what: &str, findings: &mut Findings) {
    let severity = match linux.machine.options.generation {
        Some(Generation::V2) => Severity::Error,
        _ if firmware.bios => Severity::Warning,
        _ => Severity::Error,
    };
    findings.add(&codes::ESP_DAMAGED, format!("the EFI system partition: {what}")).severity(severity);
}

/// shim starts GRUB beside it, or the fallback program, which needs a list of loaders. Returns whether one of them is
/// there.
fn second_stage(
    linux: &Linux<'_>,
    esp: &str,
    short: &str,
    findings: &mut Findings,
    missing: &dyn Fn(&mut Findings, String, String),
) -> bool {
    let folder = format!("{esp}/EFI/BOOT");
    let exists = |name: &str| linux.root.exists(&format!("{folder}/{name}"));
    let folders = linux.root.list(&format!("{esp}/EFI"));
    let any = |name: &str| folders.iter().any(|f| linux.root.exists(&format!("{esp}/EFI/{}/{name}", f.name)));
    let (grub, fallback) = (format!("grub{short}.efi"), format!("fb{short}.efi"));
    if exists(&grub) {
        if !any("grub.cfg") {
            let message = "GRUB is on the EFI system partition, but no grub.cfg that leads to its menu".to_owned();
            findings.add(&codes::NO_FALLBACK_LOADER, message).at(format!("{esp}/EFI")).severity(Severity::Warning);
        }
        return true;
    }
    if !exists(&fallback) {
        missing(
            findings,
            format!("the fallback loader is shim, but neither {grub} nor {fallback} is beside it"),
            folder,
        );
        return false;
    }
    let list = format!("BOOT{}.CSV", short.to_uppercase());
    if !any(&list) {
        missing(findings, format!("the fallback program {fallback} finds no {list}"), format!("{esp}/EFI"));
        return false;
    }
    true
}

/// The EFI loader at the fallback path.
struct Loader<'a> {
    path: &'a str,
    pe: &'a Pe,
    /// The SBAT generation of shim, if it is shim.
    shim: Option<u32>,
    esp: &'a str,
    short: &'a str,
}

fn secure_boot(linux: &Linux<'_>, loader: &Loader<'_>, findings: &mut Findings) {
    let severity = if linux.machine.options.requirements.secure_boot { Severity::Error } else { Severity::Note };
    let mut report = |message: String, path: &str| {
        let remedy = linux.release.install_fallback_loader(loader.short == "aa64");
        findings.add(&codes::SECURE_BOOT, message).at(path).severity(severity).remedy(remedy);
    };
    let issuers =
        |pe: &Pe, path: &str| linux.root.open(path).and_then(|mut file| pe.issuers(&mut *file)).unwrap_or_default();
    let signers = issuers(loader.pe, loader.path);
    if signers.is_empty() {
        report("the EFI loader is not signed".into(), loader.path);
    } else if !signers.iter().any(|name| name.contains("Microsoft")) {
        report(format!("the EFI loader is signed by {}, not by Microsoft", signers.join(", ")), loader.path);
    }
    let Some(generation) = loader.shim else { return };
    if generation < MIN_SHIM_GENERATION {
        let message = format!(
            "shim has the SBAT generation {generation}; firmware with the revocations of 2024 refuses those below \
             {MIN_SHIM_GENERATION}"
        );
        report(message, loader.path);
    }
    // shim verifies GRUB, and GRUB verifies the kernel, by the distribution's certificate.
    let grub = format!("{}/EFI/BOOT/grub{}.efi", loader.esp, loader.short);
    let kernel = linux.default_kernel().filter(|kernel| kernel.exists).map(|kernel| kernel.image.clone());
    for path in std::iter::once(grub).chain(kernel) {
        if let Ok(pe) = read_pe(linux, &path)
            && issuers(&pe, &path).is_empty()
        {
            report("it is not signed, so that Secure Boot refuses it".into(), &path);
        }
    }
}

/// Microsoft's revocations of 2024 and later demand at least this generation of shim.
const MIN_SHIM_GENERATION: u32 = 4;

/// The generation of the component `shim` in the section `.sbat`: only shim has it.
fn shim_generation(linux: &Linux<'_>, pe: &Pe, path: &str) -> Option<u32> {
    let text = pe.sbat(&mut *linux.root.open(path).ok()?).ok()??;
    text.lines().find_map(|line| line.strip_prefix("shim,")?.split(',').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bios_loaders_are_recognised() {
        let mut sector = vec![0; 512];
        assert!(!has_bios_loader(&sector));
        sector[446] = 0x80;
        assert!(!has_bios_loader(&sector), "an active partition without code");
        sector[0] = 0xeb;
        assert!(has_bios_loader(&sector));
        let mut grub = vec![0; 512];
        grub[384..388].copy_from_slice(b"GRUB");
        assert!(has_bios_loader(&grub));
    }
}
