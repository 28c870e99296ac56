//! Drivers: those that Azure needs, and those of other hypervisors.

use goldfleet_disk::Severity;

use super::{SYSTEM, Windows, general};
use crate::codes::windows as codes;
use crate::finding::Findings;
use crate::hive::HiveError;

/// Drivers that must start at boot for Windows to find its disk.
const BOOT: [&str; 7] = ["vmbus", "storvsc", "disk", "partmgr", "volmgr", "volsnap", "mountmgr"];
/// Drivers that a disk on NVMe needs besides; pci and vpci only must not be replaced by StartOverride.
const NVME: &str = "stornvme";
const NVME_BUSES: [&str; 2] = ["vpci", "pci"];

/// Drivers of other hypervisors and clouds, and whose they are.
const LEFTOVERS: [(&str, &str); 28] = [
    ("pvscsi", "VMware"),
    ("vmxnet3ndis6", "VMware"),
    ("vmci", "VMware"),
    ("vsock", "VMware"),
    ("vmhgfs", "VMware"),
    ("vm3dmp", "VMware"),
    ("vmmouse", "VMware"),
    ("vmmemctl", "VMware"),
    ("VBoxGuest", "VirtualBox"),
    ("VBoxSF", "VirtualBox"),
    ("VBoxMouse", "VirtualBox"),
    ("VBoxWddm", "VirtualBox"),
    ("viostor", "KVM"),
    ("vioscsi", "KVM"),
    ("netkvm", "KVM"),
    ("balloon", "KVM"),
    ("vioser", "KVM"),
    ("VirtioSerial", "KVM"),
    ("viorng", "KVM"),
    ("viogpudo", "KVM"),
    ("xenbus", "Xen"),
    ("xenvbd", "Xen"),
    ("xenvif", "Xen"),
    ("xennet", "Xen"),
    ("xenfilt", "Xen"),
    ("awsnvme", "AWS"),
    ("ena", "AWS"),
    ("gvnic", "Google Cloud"),
];

/// `boot-driver`.
pub(super) fn boot_drivers(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    for name in BOOT {
        let service = windows.registry.service(name)?;
        let fault = match &service {
            None => Some(("it is not registered".to_owned(), RESTORE.to_owned())),
            Some(service) => {
                let start = service.not_at_boot().map(|reason| (reason, remedy(name, &service.start_override)));
                start.or_else(|| {
                    missing_file(windows, name, service.image.as_deref()).map(|reason| (reason, RESTORE.to_owned()))
                })
            }
        };
        if let Some((reason, remedy)) = fault {
            findings
                .add(&codes::BOOT_DRIVER, format!("the driver {name} does not start at boot: {reason}"))
                .at(SYSTEM)
                .remedy(remedy);
        }
    }
    Ok(())
}

/// What brings back a driver of Windows itself.
const RESTORE: &str = "dism /online /cleanup-image /restorehealth && sfc /scannow";

fn remedy(name: &str, replaced: &Option<u32>) -> String {
    let key = format!("HKLM\\SYSTEM\\CurrentControlSet\\Services\\{name}");
    match replaced {
        Some(1..) => format!("reg delete {key}\\StartOverride /f && reg add {key} /v Start /t REG_DWORD /d 0 /f"),
        _ => format!("reg add {key} /v Start /t REG_DWORD /d 0 /f"),
    }
}

/// The loader reads the files of boot drivers before Windows runs.
fn missing_file(windows: &Windows<'_>, name: &str, image: Option<&str>) -> Option<String> {
    let path = driver_path(name, image)?;
    (!windows.exists(&path)).then(|| format!("its file {path} is missing"))
}

/// The path of a driver in the image. `None` if it is not below the folder Windows.
fn driver_path(name: &str, image: Option<&str>) -> Option<String> {
    let Some(image) = image else { return Some(format!("/Windows/System32/drivers/{name}.sys")) };
    let image = image.trim().replace('\\', "/");
    let lower = image.to_ascii_lowercase();
    for prefix in ["/systemroot/", "%systemroot%/", "/??/c:/windows/", "c:/windows/"] {
        if lower.starts_with(prefix) {
            return Some(format!("/Windows/{}", &image[prefix.len()..]));
        }
    }
    lower.starts_with("system32/").then(|| format!("/Windows/{image}"))
}

/// `no-nvme`.
pub(super) fn nvme(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    let mut reasons = Vec::new();
    let mut commands = Vec::new();
    match windows.registry.service(NVME)? {
        None => reasons.push(format!("{NVME} is not registered")),
        Some(service) => {
            if let Some(reason) = service.not_at_boot() {
                reasons.push(format!("{NVME}: {reason}"));
                commands.push(remedy(NVME, &service.start_override));
            }
        }
    }
    for name in NVME_BUSES {
        let replaced = windows.registry.service(name)?.and_then(|service| service.start_override);
        if let Some(number @ 1..) = replaced {
            reasons.push(format!("{name}: StartOverride\\0 is {number}, not 0"));
            commands.push(remedy(name, &replaced));
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let severity = if windows.machine.options.requirements.nvme { Severity::Error } else { Severity::Note };
    let commands =
        if commands.is_empty() { "Install Windows Server 2016 or newer.".into() } else { commands.join("; ") };
    let message = format!("Windows does not find an NVMe disk at boot: {}", reasons.join(", "));
    findings.add(&general::NO_NVME, message).at(SYSTEM).severity(severity).remedy(commands);
    Ok(())
}

/// `leftover-driver`: one finding for drivers that start at boot, one for others.
pub(super) fn leftovers(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    let (mut at_boot, mut others) = (Vec::new(), Vec::new());
    for (name, owner) in LEFTOVERS {
        match windows.registry.service(name)? {
            Some(service) if service.not_at_boot().is_none() => at_boot.push(format!("{name} ({owner})")),
            Some(service) if !service.is_disabled() => others.push(format!("{name} ({owner})")),
            _ => {}
        }
    }
    if !at_boot.is_empty() {
        let message = format!("drivers of another hypervisor start at boot: {}", at_boot.join(", "));
        findings.add(&codes::LEFTOVER_DRIVER, message).at(SYSTEM).severity(Severity::Warning);
    }
    if !others.is_empty() {
        let message = format!("drivers of another hypervisor are installed: {}", others.join(", "));
        findings.add(&codes::LEFTOVER_DRIVER, message).at(SYSTEM);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_drivers_lead_into_the_folder_windows() {
        let path = |image| driver_path("vmbus", image);
        assert_eq!(path(None).as_deref(), Some("/Windows/System32/drivers/vmbus.sys"));
        for image in [
            "System32\\drivers\\a.sys",
            "\\SystemRoot\\System32\\drivers\\a.sys",
            "\\??\\C:\\Windows\\System32\\drivers\\a.sys",
        ] {
            assert_eq!(path(Some(image)).as_deref(), Some("/Windows/System32/drivers/a.sys"), "{image}");
        }
        assert_eq!(path(Some("D:\\x.sys")), None);
        assert_eq!(path(Some("é")), None);
    }
}
