//! Services: those that Azure and provisioning need, agents, and guest tools.

use goldfleet_disk::Severity;

use super::{SYSTEM, Windows, general};
use crate::codes::windows as codes;
use crate::finding::Findings;
use crate::hive::HiveError;

/// Services without which there is no network or no Remote Desktop.
const ESSENTIAL: [&str; 6] = ["BFE", "Dhcp", "Dnscache", "mpssvc", "nsi", "TermService"];
/// Other services that Microsoft's preparation of Windows images sets to start.
const USUAL: [&str; 5] = ["IKEEXT", "iphlpsvc", "Netlogon", "Netman", "WinHttpAutoProxySvc"];
/// The agent of Azure.
const AGENT: &str = "WindowsAzureGuestAgent";

/// Services of guest tools, and whose they are.
const TOOLS: [(&str, &str); 10] = [
    ("VMTools", "VMware Tools"),
    ("VGAuthService", "VMware Tools"),
    ("VBoxService", "VirtualBox Guest Additions"),
    ("QEMU-GA", "the QEMU guest agent"),
    ("xenagent", "XenServer VM Tools"),
    ("xensvc", "XenServer VM Tools"),
    ("Ec2Config", "the agent of AWS"),
    ("Amazon EC2Launch", "the agent of AWS"),
    ("AmazonSSMAgent", "the agent of AWS"),
    ("GCEAgent", "the agent of Google Cloud"),
];

/// `dvd-off` and `no-network-driver`: what provisioning reads from, and what it reports through.
pub(super) fn provisioning(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    if windows.is_generalized() {
        let cdrom = windows.registry.service("cdrom")?;
        if cdrom.is_none_or(|service| service.is_disabled()) {
            findings
                .add(
                    &general::DVD_OFF,
                    "the service cdrom is disabled or missing: Windows cannot read the provisioning data",
                )
                .at(SYSTEM)
                .severity(Severity::Error)
                .remedy("reg add HKLM\\SYSTEM\\CurrentControlSet\\Services\\cdrom /v Start /t REG_DWORD /d 1 /f");
        }
    }
    let netvsc = windows.registry.service("netvsc")?;
    if netvsc.is_none_or(|service| service.is_disabled()) {
        findings
            .add(&general::NO_NETWORK_DRIVER, "the driver netvsc of Hyper-V's network adapter is disabled or missing")
            .at(SYSTEM)
            .remedy("reg add HKLM\\SYSTEM\\CurrentControlSet\\Services\\netvsc /v Start /t REG_DWORD /d 3 /f");
    }
    Ok(())
}

/// `service-off`.
pub(super) fn services(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    for name in ESSENTIAL.into_iter().chain(USUAL) {
        let message = match windows.registry.service(name)? {
            Some(service) if service.is_disabled() => format!("the service {name} is disabled"),
            None if ESSENTIAL.contains(&name) => format!("the service {name} is missing"),
            _ => continue,
        };
        let start = if matches!(name, "TermService" | "Netlogon" | "Netman" | "WinHttpAutoProxySvc") {
            "demand"
        } else {
            "auto"
        };
        findings.add(&codes::SERVICE_OFF, message).at(SYSTEM).remedy(format!("sc.exe config {name} start= {start}"));
    }
    Ok(())
}

/// `guest-tools`.
pub(super) fn guest_tools(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    let mut found: Vec<&str> = Vec::new();
    for (name, owner) in TOOLS {
        if windows.registry.service(name)?.is_some_and(|service| !service.is_disabled()) && !found.contains(&owner) {
            found.push(owner);
        }
    }
    if !found.is_empty() {
        let message = format!("guest tools that are of no use on Azure are installed: {}", found.join(", "));
        findings.add(&general::GUEST_TOOLS, message).at(SYSTEM).remedy("Uninstall them in the settings of Windows.");
    }
    Ok(())
}

/// `no-agent`.
pub(super) fn agent(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    if windows.registry.service(AGENT)?.is_none() {
        findings
            .add(
                &general::NO_AGENT,
                "the Azure VM agent is not installed: Azure installs it only while a machine is provisioned",
            )
            .at(SYSTEM)
            .remedy("Install WindowsAzureVmAgent.msi from https://github.com/Azure/WindowsVMAgent/releases");
    }
    Ok(())
}

/// The agent and, as the folder of its program names it, its version.
pub(super) fn agent_name(windows: &Windows<'_>) -> Result<Option<String>, HiveError> {
    let Some(service) = windows.registry.service(AGENT)? else { return Ok(None) };
    let version = service
        .image
        .as_deref()
        .and_then(|image| image.split_once("GuestAgent_"))
        .map(|(_, rest)| rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect::<String>());
    Ok(Some(version.filter(|version| !version.is_empty()).map_or(AGENT.into(), |version| format!("{AGENT} {version}"))))
}
