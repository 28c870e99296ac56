//! Findings about network configurations.

use super::Linux;
use super::release::variable;
use crate::codes::linux as codes;
use crate::finding::Findings;

/// Adds the findings about the network.
pub(super) fn check(linux: &Linux<'_>, findings: &mut Findings) {
    let mut found: Vec<(String, String)> = Vec::new();
    let files = |folder: &str, suffix: &str| linux.root.read_folder(folder, suffix);
    let mut interfaces = files("/etc/network/interfaces.d", "");
    interfaces
        .extend(linux.root.text("/etc/network/interfaces").map(|text| ("/etc/network/interfaces".to_owned(), text)));
    for (path, text) in interfaces {
        found.extend(interfaces_file(&text).map(|what| (path, what)));
    }
    for folder in ["/etc/sysconfig/network-scripts", "/etc/sysconfig/network"] {
        for (path, text) in files(folder, "") {
            if path.rsplit('/').next().is_some_and(|name| name.starts_with("ifcfg-") && name != "ifcfg-lo") {
                found.extend(ifcfg(&text).map(|what| (path, what)));
            }
        }
    }
    for (path, text) in files("/etc/NetworkManager/system-connections", "") {
        found.extend(keyfile(&text).map(|what| (path, what)));
    }
    // cloud-init writes this file again on each new virtual machine.
    let generated = |path: &String| path.ends_with("/50-cloud-init.yaml");
    for (path, text) in files("/etc/netplan", ".yaml").into_iter().filter(|(path, _)| !generated(path)) {
        found.extend(netplan(&text).map(|what| (path, what)));
    }
    for suffix in [".network", ".link"] {
        for (path, text) in files("/etc/systemd/network", suffix) {
            found.extend(networkd(&text).map(|what| (path, what)));
        }
    }
    for (path, what) in found {
        findings.add(&codes::STATIC_ADDRESS, what).at(path);
    }
    udev(linux, findings);
}

fn udev(linux: &Linux<'_>, findings: &mut Findings) {
    for name in ["70-persistent-net.rules", "75-persistent-net-generator.rules"] {
        for folder in ["/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"] {
            let path = format!("{folder}/{name}");
            let effective = linux.root.text(&path).is_some_and(|text| text.lines().any(|l| is_rule(l.trim())));
            if effective {
                findings.add(&codes::UDEV_NET, format!("{name} names network interfaces by MAC address")).at(path);
                break;
            }
        }
    }
}

fn is_rule(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

/// Debian's `/etc/network/interfaces`.
fn interfaces_file(text: &str) -> Option<String> {
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["iface", name, "inet" | "inet6", "static", ..] if *name != "lo" => {
                return Some(format!("{name} has a fixed address"));
            }
            ["hwaddress", ..] => return Some("the MAC address is fixed".into()),
            _ => {}
        }
    }
    None
}

/// Red Hat's and SUSE's `ifcfg-NAME`.
fn ifcfg(text: &str) -> Option<String> {
    let value = |name: &str| variable(text, name).filter(|value| !value.is_empty());
    if let Some(mac) = value("HWADDR") {
        return Some(format!("the interface is bound to the MAC address {mac}"));
    }
    let address = ["IPADDR", "IPADDR0", "IPADDR_0", "IPADDR1"].iter().find_map(|name| value(name))?;
    let dhcp = value("BOOTPROTO").is_some_and(|protocol| protocol.to_lowercase().contains("dhcp"));
    (!dhcp && !address.starts_with("127.")).then(|| format!("the interface has the fixed address {address}"))
}

/// Values by section of a file in the form of `.ini`.
fn ini(text: &str) -> impl Iterator<Item = (String, String, String)> + '_ {
    let mut section = String::new();
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_lowercase();
            return None;
        }
        let (key, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';']))?;
        Some((section.clone(), key.trim().to_lowercase(), value.trim().to_owned()))
    })
}

/// NetworkManager's connections.
fn keyfile(text: &str) -> Option<String> {
    ini(text).find_map(|(section, key, value)| match (section.as_str(), key.as_str()) {
        ("ipv4", "method") if value == "manual" => Some("the connection has a fixed address".into()),
        ("ethernet" | "802-3-ethernet", "mac-address") if !value.is_empty() => {
            Some(format!("the connection is bound to the MAC address {value}"))
        }
        _ => None,
    })
}

/// systemd-networkd's `.network` and `.link` files.
fn networkd(text: &str) -> Option<String> {
    let loopback = ini(text).any(|(section, key, value)| section == "match" && key == "name" && value == "lo");
    if loopback {
        return None;
    }
    ini(text).find_map(|(section, key, value)| match (section.as_str(), key.as_str()) {
        ("network" | "address", "address") => Some(format!("the interface has the fixed address {value}")),
        ("match", "macaddress" | "permanentmacaddress") => {
            Some(format!("the interface is bound to the MAC address {value}"))
        }
        _ => None,
    })
}

/// netplan's YAML, read by its indentation: keys of the interfaces below `ethernets`.
fn netplan(text: &str) -> Option<String> {
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut found: Option<(String, String)> = None;
    let mut dhcp: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let indent = line.len() - content.len();
        let item = content.starts_with('-');
        // A list may have the indentation of its key.
        while path.last().is_some_and(|(known, _)| *known > indent || *known == indent && !item) {
            path.pop();
        }
        let keys: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
        let interface = match keys.as_slice() {
            ["network", "ethernets", name, ..] | ["ethernets", name, ..] => Some((*name).to_owned()),
            _ => None,
        };
        let (key, value) = content.split_once(':').map_or((content, ""), |(key, value)| (key, value.trim()));
        let key = key.trim_matches(['"', '\'']);
        if let Some(interface) = interface {
            let fixed = match key {
                "addresses" if value.starts_with('[') && value != "[]" && !keys.contains(&"nameservers") => {
                    Some("fixed address")
                }
                _ if item && keys.last() == Some(&"addresses") && !keys.contains(&"nameservers") => {
                    Some("fixed address")
                }
                "macaddress" if !value.is_empty() => Some("MAC address"),
                "dhcp4" if matches!(value, "true" | "yes" | "on") => {
                    dhcp.push(interface.clone());
                    None
                }
                _ => None,
            };
            if let Some(what) = fixed {
                found.get_or_insert((interface, what.to_owned()));
            }
        }
        if !item {
            path.push((indent, key.to_owned()));
        }
        if path.len() > 32 {
            return None;
        }
    }
    let (interface, what) = found?;
    // A further address beside DHCP does not keep the virtual machine from its network.
    let harmless = what == "fixed address" && dhcp.contains(&interface);
    (!harmless).then(|| format!("{interface} has a {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netplan_files() {
        let fixed = "network:\n  version: 2\n  ethernets:\n    eth0:\n      addresses:\n      - 10.0.0.5/24\n";
        assert_eq!(netplan(fixed).as_deref(), Some("eth0 has a fixed address"));
        let inline = "network:\n  ethernets:\n    eth0:\n      dhcp4: no\n      addresses: [10.0.0.5/24]\n";
        assert_eq!(netplan(inline).as_deref(), Some("eth0 has a fixed address"));
        let mac = "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n      match:\n        macaddress: '00:0d:3a:00:00:01'\n";
        assert_eq!(netplan(mac).as_deref(), Some("eth0 has a MAC address"));
        let dhcp =
            "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n      nameservers:\n        addresses: [1.1.1.1]\n";
        assert_eq!(netplan(dhcp), None);
        let servers = "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n      nameservers:\n        addresses:\n          - 1.1.1.1\n";
        assert_eq!(netplan(servers), None);
        assert_eq!(netplan("network:\n  bridges:\n    br0:\n      addresses: [10.0.0.1/24]\n"), None);
    }

    #[test]
    fn other_configurations() {
        assert!(interfaces_file("auto eth0\niface eth0 inet static\n  address 10.0.0.1\n").is_some());
        assert!(interfaces_file("iface eth0 inet dhcp\n  hwaddress ether 00:11\n").is_some());
        assert_eq!(interfaces_file("iface lo inet static\niface eth0 inet dhcp\n"), None);
        assert!(ifcfg("BOOTPROTO=none\nIPADDR=10.0.0.1\n").is_some());
        assert!(ifcfg("BOOTPROTO=dhcp\nHWADDR=\"00:11:22\"\n").is_some());
        assert_eq!(ifcfg("BOOTPROTO=dhcp\nIPADDR=\nONBOOT=yes\n"), None);
        assert!(keyfile("[ipv4]\nmethod=manual\naddress1=10.0.0.1/24\n").is_some());
        assert!(keyfile("[ethernet]\nmac-address=00:11:22:33:44:55\n[ipv4]\nmethod=auto\n").is_some());
        assert_eq!(keyfile("[ethernet]\nmac-address-blacklist=\n[ipv4]\nmethod=auto\n"), None);
        assert!(networkd("[Match]\nName=eth0\n[Network]\nAddress=10.0.0.1/24\n").is_some());
        assert_eq!(networkd("[Match]\nName=en*\n[Network]\nDHCP=yes\n"), None);
    }
}
