//! Remote Desktop and the network.

use super::registry::{dword, string, strings};
use super::{SOFTWARE, SYSTEM, Windows, general};
use crate::codes::windows as codes;
use crate::finding::Findings;
use crate::hive::HiveError;

const TERMINAL_SERVER: &str = "Control\\Terminal Server";
const LISTENER: &str = "Control\\Terminal Server\\WinStations\\RDP-Tcp";
const POLICY: &str = "Policies\\Microsoft\\Windows NT\\Terminal Services";
const FIREWALL_RULES: &str = "Services\\SharedAccess\\Parameters\\FirewallPolicy\\FirewallRules";
const RDP_RULE: &str = "RemoteDesktop-UserMode-In-TCP";
const INTERFACES: &str = "Services\\Tcpip\\Parameters\\Interfaces";
const ROUTES: &str = "Services\\Tcpip\\Parameters\\PersistentRoutes";
const RDP_PORT: u32 = 3389;

/// `rdp-off` and `rdp-port`, from the settings of Remote Desktop.
pub(super) fn remote_desktop(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    // Windows denies connections unless the value is 0.
    if windows.registry.current_dword(TERMINAL_SERVER, "fDenyTSConnections")? != Some(0) {
        findings.add(&codes::RDP_OFF, "Remote Desktop denies connections (fDenyTSConnections is not 0)").at(SYSTEM);
    }
    if let Some(port) = windows.registry.current_dword(LISTENER, "PortNumber")?.filter(|port| *port != RDP_PORT) {
        findings.add(&codes::RDP_PORT, format!("Remote Desktop listens on port {port}, not {RDP_PORT}")).at(SYSTEM);
    }
    Ok(())
}

/// `rdp-off`, from a group policy, which wins over the settings.
pub(super) fn policy(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    let Some(key) = windows.registry.software(POLICY)? else { return Ok(()) };
    if dword(&key, "fDenyTSConnections")? == Some(1) {
        findings
            .add(&codes::RDP_OFF, "a group policy denies connections by Remote Desktop")
            .at(SOFTWARE)
            .remedy(format!("reg delete \"HKLM\\SOFTWARE\\{POLICY}\" /v fDenyTSConnections /f"));
    }
    Ok(())
}

/// `rdp-off`, from the firewall's own rule for Remote Desktop.
pub(super) fn firewall(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    let Some(key) = windows.registry.current(FIREWALL_RULES)? else { return Ok(()) };
    // A rule is a list such as "v2.30|Action=Allow|Active=FALSE|Dir=In|Protocol=6|LPort=3389".
    let rule = string(&key, RDP_RULE)?.unwrap_or_default();
    if rule.split('|').any(|part| part.eq_ignore_ascii_case("Active=FALSE")) {
        findings
            .add(&codes::RDP_OFF, format!("the firewall's rule {RDP_RULE} is not active"))
            .at(SYSTEM)
            .remedy("PowerShell: Enable-NetFirewallRule -DisplayGroup 'Remote Desktop'");
    }
    Ok(())
}

/// `static-address`: fixed addresses and routes.
pub(super) fn addresses(windows: &Windows<'_>, findings: &mut Findings) -> Result<(), HiveError> {
    if let Some(key) = windows.registry.current(INTERFACES)? {
        for interface in key.subkeys()? {
            let interface = interface?;
            let addresses = strings(&interface, "IPAddress")?;
            // Interfaces without DHCP and without an address are those of loopback and of tunnels.
            let address = addresses.into_iter().find(|address| address != "0.0.0.0" && !address.starts_with("127."));
            if let (Some(0), Some(address)) = (dword(&interface, "EnableDHCP")?, address) {
                let message = format!("the interface {} has the fixed address {address}", interface.name());
                findings
                    .add(&general::STATIC_ADDRESS, message)
                    .at(SYSTEM)
                    .remedy("PowerShell: Get-NetIPInterface | Set-NetIPInterface -Dhcp Enabled");
            }
        }
    }
    if let Some(key) = windows.registry.current(ROUTES)?
        && let Some(route) = key.values()?.next().transpose()?
    {
        findings
            .add(&general::STATIC_ADDRESS, format!("there are persistent routes, such as {}", route.name()))
            .at(SYSTEM)
            .remedy("route print, then route delete for each persistent route");
    }
    Ok(())
}
