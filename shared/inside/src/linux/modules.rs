//! Findings about drivers that are forbidden, and about dracut's configuration.

use goldfleet_disk::Severity;

use super::Linux;
use super::release::{Builder, unquote};
use crate::codes::linux as codes;
use crate::finding::Findings;

/// Without these the system does not boot or has no network.
const NEEDED: [&str; 3] = ["hv_vmbus", "hv_storvsc", "hv_netvsc"];
/// Without these provisioning or some sizes fail.
const USEFUL: [&str; 4] = ["udf", "vfat", "pci_hyperv", "nvme"];

/// Adds the findings about forbidden drivers.
pub(super) fn check(linux: &Linux<'_>, findings: &mut Findings) {
    let folders = ["/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d"];
    for (path, text) in linux.root.read_folders(&folders, ".conf") {
        modprobe(linux, &path, &text, linux.release.build_initramfs(), findings);
    }
    if let Some(initramfs) = linux.default_kernel().and_then(|kernel| kernel.initramfs.as_ref()) {
        for folder in ["etc/modprobe.d", "lib/modprobe.d", "usr/lib/modprobe.d"] {
            for (path, text) in initramfs.files(folder, ".conf") {
                let path = format!("initramfs:/{path}");
                modprobe(linux, &path, text, linux.release.build_initramfs(), findings);
            }
        }
    }
    for entry in linux.boot.default_entry().into_iter().chain(&linux.boot.entries) {
        if entry.is_rescue() {
            continue;
        }
        for argument in ["module_blacklist", "modprobe.blacklist", "rd.driver.blacklist"] {
            for module in entry.arguments(argument).flat_map(|value| value.split(',')) {
                let message = format!("{argument}= on the kernel command line forbids {module}");
                forbid(linux, module, &message, &entry.source, &linux.release.after_change(entry), findings);
            }
        }
    }
    if linux.release.builder == Builder::Dracut {
        dracut(linux, findings);
    }
}

fn modprobe(linux: &Linux<'_>, path: &str, text: &str, rebuild: &str, findings: &mut Findings) {
    for line in text.replace("\\\n", " ").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let module = match words.as_slice() {
            ["blacklist", module, ..] => module,
            ["install", module, command, ..] if is_nothing(command) => module,
            ["alias", module, "off", ..] => module,
            _ => continue,
        };
        forbid(
            linux,
            module,
            &format!("'{}' forbids {module}", line.trim()),
            path,
            &format!(", then: {rebuild}"),
            findings,
        );
    }
}

fn is_nothing(command: &str) -> bool {
    matches!(command.rsplit('/').next(), Some("true" | "false" | ":"))
}

fn forbid(linux: &Linux<'_>, module: &str, message: &str, path: &str, after: &str, findings: &mut Findings) {
    let module = module.replace('-', "_");
    let severity = match () {
        () if NEEDED.contains(&module.as_str()) => Severity::Error,
        () if USEFUL.contains(&module.as_str()) => Severity::Warning,
        () => return,
    };
    // A driver in the kernel is not loaded, so that modprobe's configuration has no effect.
    if linux.default_kernel().is_some_and(|kernel| kernel.is_builtin(&module) == Some(true)) {
        return;
    }
    let remedy = format!("Remove it{after}");
    findings.add(&codes::DRIVER_FORBIDDEN, message).at(path).severity(severity).remedy(remedy);
}

fn dracut(linux: &Linux<'_>, findings: &mut Findings) {
    let mut files = linux.root.read_folders(&["/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d"], ".conf");
    files.extend(linux.root.text("/etc/dracut.conf").map(|text| ("/etc/dracut.conf".to_owned(), text)));
    for (path, text) in files {
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.split_once('=') else { continue };
            let (name, appends) = match name.strip_suffix('+') {
                Some(name) => (name.trim(), true),
                None => (name.trim(), false),
            };
            let value = unquote(value);
            match name {
                "omit_drivers" if value.split_whitespace().any(|driver| driver.starts_with("hv_")) => {
                    let message = format!("'{line}' omits Hyper-V drivers");
                    findings.add(&codes::DRACUT_OMITS, message).at(&path);
                }
                "add_drivers" | "force_drivers"
                    if appends && value.contains("hv_") && !(value.starts_with(' ') && value.ends_with(' ')) =>
                {
                    let message = format!("'{line}' has no spaces inside its quotes");
                    findings.add(&codes::DRACUT_OMITS, message).at(&path);
                }
                _ => {}
            }
        }
    }
}
