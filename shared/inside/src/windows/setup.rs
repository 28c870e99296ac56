//! The state of the installation: generalisation, updates, leftovers of setup, settings, edition.

use goldfleet_disk::Severity;
use goldfleet_model::system::{Architecture, System};

use super::registry::{dword, string, strings};
use super::services::agent_name;
use super::{SOFTWARE, SYSTEM, Windows, general};
use crate::codes::windows as codes;
use crate::finding::Findings;
use crate::fs::FileKind;
use crate::hive::HiveError;

const STATE: &str = "Microsoft\\Windows\\CurrentVersion\\Setup\\State";
const GENERALISED: &str = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE";
const VERSION: &str = "Microsoft\\Windows NT\\CurrentVersion";
/// Keys of SOFTWARE that exist while Windows has to restart.
const PENDING_KEYS: [&str; 2] = [
    "Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending",
    "Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update\\RebootRequired",
];
const PENDING_FILE: &str = "/Windows/WinSxS/pending.xml";
const PANTHER: &str = "/Windows/Panther";
/// The first build of Windows 11, whose product name is still that of Windows 10.
const WINDOWS_11: u32 = 22_000;

/// `not-generalised`.
pub(super) fn image_state(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    if !windows.is_generalized() || !windows.registry.has_software() {
        return Ok(());
    }
    let key = windows.registry.software(STATE)?;
    let state = key.map(|key| string(&key, "ImageState")).transpose()?.flatten();
    if state.as_deref() != Some(GENERALISED) {
        let state = state.map_or("there is no ImageState".into(), |state| format!("the state of the image is {state}"));
        findings.add(&codes::NOT_GENERALISED, format!("{state}, not {GENERALISED}")).at(SOFTWARE);
    }
    Ok(())
}

/// `pending-restart`, from the registry.
pub(super) fn pending_restart(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    for path in PENDING_KEYS {
        if windows.registry.software(path)?.is_some() {
            findings
                .add(&codes::PENDING_RESTART, format!("an installation is not complete: the key {path} exists"))
                .at(SOFTWARE);
        }
    }
    Ok(())
}

/// `pending-restart` and `not-deprovisioned`, from files.
pub(super) fn files(windows: &Windows<'_>, findings: &mut Findings) {
    if windows.fs().stat(PENDING_FILE).is_ok() {
        findings.add(&codes::PENDING_RESTART, "an installation of updates is not complete").at(PENDING_FILE);
    }
    let entries = windows.fs().list(PANTHER).unwrap_or_default();
    if let Some(entry) = entries.iter().find(|entry| entry.kind == FileKind::File) {
        let severity = if windows.is_generalized() { Severity::Warning } else { Severity::Note };
        let message = format!(
            "the logs and answer files of setup remain, such as {}: they can replace Azure's settings",
            entry.name
        );
        findings
            .add(&general::NOT_DEPROVISIONED, message)
            .at(PANTHER)
            .severity(severity)
            .remedy("rmdir /s /q C:\\Windows\\Panther, before Sysprep");
    }
}

/// `san-policy`.
pub(super) fn disks(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    let policy = windows.registry.current_dword("Services\\partmgr\\Parameters", "SanPolicy")?;
    if policy != Some(1) {
        let policy = policy.map_or("not set".into(), |policy| policy.to_string());
        findings.add(&codes::SAN_POLICY, format!("SanPolicy is {policy}, not 1 (OnlineAll)")).at(SYSTEM);
    }
    Ok(())
}

/// `clock`.
pub(super) fn clock(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    const ZONE: &str = "Control\\TimeZoneInformation";
    if windows.registry.current_dword(ZONE, "RealTimeIsUniversal")? != Some(1) {
        findings
            .add(&general::CLOCK, "Windows takes the hardware clock for local time; Azure sets it to UTC")
            .at(SYSTEM)
            .remedy(format!(
                "reg add HKLM\\SYSTEM\\CurrentControlSet\\{ZONE} /v RealTimeIsUniversal /t REG_DWORD /d 1 /f"
            ));
    }
    Ok(())
}

/// `swap-on-os-disk`.
pub(super) fn page_files(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    let Some(key) = windows.registry.current("Control\\Session Manager\\Memory Management")? else { return Ok(()) };
    for file in strings(&key, "PagingFiles")? {
        // "C:\pagefile.sys 0 0"; "?:" lets Windows choose, which is the system drive.
        if !file.to_ascii_lowercase().starts_with("d:") {
            findings
                .add(&general::SWAP, format!("the page file {file} is not on the temporary disk D:"))
                .at(SYSTEM)
                .severity(Severity::Note)
                .remedy("If the sizes that you use have a temporary disk, move the page file to D:\\pagefile.sys");
        }
    }
    Ok(())
}

/// Name, build, agent and, if no program was readable, the architecture.
pub(super) fn describe(windows: &Windows<'_>, system: &mut System) -> Result<(), HiveError> {
    const ENVIRONMENT: &str = "Control\\Session Manager\\Environment";
    system.agents.extend(agent_name(windows)?);
    if system.architecture.is_none()
        && let Some(key) = windows.registry.current(ENVIRONMENT)?
    {
        system.architecture = string(&key, "PROCESSOR_ARCHITECTURE")?.and_then(|name| architecture(&name));
    }
    let Some(key) = windows.registry.software(VERSION)? else { return Ok(()) };
    let build = string(&key, "CurrentBuild")?.unwrap_or_default();
    let mut name = string(&key, "ProductName")?.unwrap_or("Windows".into());
    if build.parse().is_ok_and(|build: u32| build >= WINDOWS_11) && name.starts_with("Windows 10") {
        name = name.replacen("Windows 10", "Windows 11", 1);
    }
    let release = string(&key, "DisplayVersion")?.or(string(&key, "ReleaseId")?);
    system.name = release.map_or(name.clone(), |release| format!("{name} {release}"));
    let numbers = ["CurrentMajorVersionNumber", "CurrentMinorVersionNumber"].map(|name| dword(&key, name));
    let mut parts = match numbers {
        [Ok(Some(major)), Ok(Some(minor))] => vec![major.to_string(), minor.to_string()],
        // Before Windows 10 there is only a text such as 6.3.
        _ => string(&key, "CurrentVersion")?.into_iter().collect(),
    };
    parts.push(build);
    parts.extend(dword(&key, "UBR")?.map(|revision| revision.to_string()));
    parts.retain(|part| !part.is_empty());
    system.version = parts.join(".");
    Ok(())
}

fn architecture(name: &str) -> Option<Architecture> {
    match name.to_ascii_uppercase().as_str() {
        "AMD64" => Some(Architecture::X64),
        "ARM64" => Some(Architecture::Arm64),
        "X86" => Some(Architecture::X86),
        _ => None,
    }
}
