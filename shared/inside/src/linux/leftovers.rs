//! Findings about what a system left behind: state of an instance, secrets, tools of other hypervisors.

use goldfleet_disk::Severity;

use super::Linux;
use crate::codes::linux as codes;
use crate::finding::Findings;
use crate::fs::FileKind;

/// A history of at most this many bytes is what an installation leaves.
const SHORT_HISTORY: u64 = 1 << 10;
/// The most accounts whose home folders are examined.
const MAX_ACCOUNTS: usize = 200;

/// Adds the findings about leftovers.
pub(super) fn check(linux: &Linux<'_>, findings: &mut Findings) {
    state(linux, findings);
    passwords(linux, findings);
    homes(linux, findings);
    guest_tools(linux, findings);
}

fn state(linux: &Linux<'_>, findings: &mut Findings) {
    let root = &linux.root;
    let mut found: Vec<(String, String)> = Vec::new();
    if !root.list("/var/lib/cloud/instances").is_empty() {
        found.push(("/var/lib/cloud/instances".into(), "cloud-init has provisioned an instance".into()));
    }
    let agent = root.list("/var/lib/waagent").into_iter().find(|entry| {
        let secret = [".prv", ".crt", ".pem", ".p7m"].iter().any(|end| entry.name.ends_with(end));
        secret || matches!(entry.name.as_str(), "provisioned" | "ovf-env.xml")
    });
    if let Some(entry) = agent {
        found.push((format!("/var/lib/waagent/{}", entry.name), "waagent has provisioned an instance".into()));
    }
    let is_key = |name: &str| name.starts_with("ssh_host_") && name.ends_with("_key");
    if let Some(entry) = root.list("/etc/ssh").into_iter().find(|entry| is_key(&entry.name)) {
        found.push((format!("/etc/ssh/{}", entry.name), "the SSH server has host keys".into()));
    }
    if let Some(id) = root.text("/etc/machine-id") {
        let id = id.trim();
        if id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()) {
            found.push(("/etc/machine-id".into(), "the system has a machine-id".into()));
        }
    }
    let leases =
        [("/var/lib/dhcp", ".leases"), ("/var/lib/dhclient", ".leases"), ("/var/lib/NetworkManager", ".lease")];
    for (folder, suffix) in leases {
        let not_empty = |name: &str| root.stat(&format!("{folder}/{name}")).is_ok_and(|stat| stat.size > 0);
        let lease = root.list(folder).into_iter().find(|entry| entry.name.ends_with(suffix) && not_empty(&entry.name));
        found.extend(lease.map(|entry| (format!("{folder}/{}", entry.name), "a DHCP lease remains".to_owned())));
    }
    let severity = if linux.destination().is_generalized() { Severity::Warning } else { Severity::Note };
    for (path, what) in found {
        findings.add(&codes::NOT_DEPROVISIONED, what).at(path).severity(severity);
    }
}

fn passwords(linux: &Linux<'_>, findings: &mut Findings) {
    let shadow = linux.root.text("/etc/shadow").unwrap_or_default();
    for line in shadow.lines().take(10_000) {
        let mut fields = line.split(':');
        let (Some(name), Some(hash)) = (fields.next(), fields.next()) else { continue };
        let message = match hash {
            "" => format!("the account {name} has an empty password"),
            hash if hash.starts_with(['!', '*']) || hash == "x" => continue,
            _ => format!("the account {name} has a password"),
        };
        findings.add(&codes::PASSWORD, message).at("/etc/shadow").remedy(format!("passwd -l {name}"));
    }
}

fn homes(linux: &Linux<'_>, findings: &mut Findings) {
    let passwd = linux.root.text("/etc/passwd").unwrap_or_default();
    let account = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        Some(((*fields.first()?).to_owned(), (*fields.get(5)?).to_owned()))
    };
    let mut accounts: Vec<(String, String)> = passwd.lines().filter_map(account).collect();
    accounts.retain(|(_, home)| home == "/root" || home.starts_with("/home/") || home.starts_with("/var/home/"));
    for (name, home) in accounts.into_iter().take(MAX_ACCOUNTS) {
        let keys = format!("{home}/.ssh/authorized_keys");
        let has_key = |text: String| text.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
        if linux.root.text(&keys).is_some_and(has_key) {
            findings
                .add(&codes::AUTHORIZED_KEYS, format!("the account {name} has authorized SSH keys"))
                .at(&keys)
                .remedy(format!("rm {keys}"));
        }
        for entry in linux.root.list(&home).into_iter().filter(|entry| entry.kind == FileKind::File) {
            let path = format!("{home}/{}", entry.name);
            if entry.name.starts_with('.')
                && entry.name.ends_with("history")
                && let Ok(stat) = linux.root.stat(&path)
                && stat.size > SHORT_HISTORY
            {
                let message = format!("the account {name} has a history of {} bytes", stat.size);
                findings.add(&codes::HISTORY, message).at(&path).remedy(format!("rm {path}"));
            }
        }
    }
}

fn guest_tools(linux: &Linux<'_>, findings: &mut Findings) {
    const TOOLS: [(&str, &[&str], &str); 5] = [
        ("VMware Tools", &["/usr/bin/vmtoolsd", "/usr/sbin/vmtoolsd"], "open-vm-tools"),
        ("VirtualBox Guest Additions", &["/usr/sbin/VBoxService", "/usr/bin/VBoxService"], "virtualbox-guest-utils"),
        ("the QEMU guest agent", &["/usr/sbin/qemu-ga", "/usr/bin/qemu-ga"], "qemu-guest-agent"),
        ("the Xen guest agent", &["/usr/sbin/xe-daemon", "/usr/bin/xe-daemon"], "xe-guest-utilities"),
        ("Parallels Tools", &["/usr/bin/prltoolsd", "/usr/sbin/prltoolsd"], "parallels-tools"),
    ];
    for (name, paths, package) in TOOLS {
        if let Some(path) = paths.iter().find(|path| linux.root.exists(path)) {
            let remedy = linux.release.remove(package);
            findings.add(&codes::GUEST_TOOLS, format!("{name} is installed")).at(path).remedy(remedy);
        }
    }
}
