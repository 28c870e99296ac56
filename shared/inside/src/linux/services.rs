//! Findings about services: SSH, the clock, the serial console.

use std::collections::HashSet;

use goldfleet_model::system::Architecture;

use super::Linux;
use crate::codes::linux as codes;
use crate::finding::Findings;
use crate::root::Root;

/// Adds the findings about services.
pub(super) fn check(linux: &Linux<'_>, findings: &mut Findings) {
    ssh(linux, findings);
    clock(linux, findings);
    console(linux, findings);
}

/// The services that the system starts.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// Names of systemd's units with their suffix, or names of the services of another init system.
    enabled: HashSet<String>,
    /// Services of systemd that are linked to `/dev/null`, without `.service`.
    masked: HashSet<String>,
}

impl Services {
    /// Reads the folders of the init system. Each folder is listed once, because a lookup of each name in each folder
    /// takes much longer.
    pub(super) fn read(root: &Root<'_>) -> Self {
        let mut services = Self::default();
        services.read_systemd(root);
        if !root.exists("/usr/lib/systemd/systemd") {
            services.read_other_init(root);
        }
        services
    }

    fn read_systemd(&mut self, root: &Root<'_>) {
        for base in ["/etc/systemd/system", "/usr/lib/systemd/system"] {
            for entry in root.list(base) {
                let path = format!("{base}/{}", entry.name);
                if entry.name.ends_with(".wants") || entry.name.ends_with(".requires") {
                    self.enabled.extend(root.list(&path).into_iter().map(|unit| unit.name));
                } else if let Some(name) = entry.name.strip_suffix(".service")
                    && base.starts_with("/etc")
                    && root.link(&path).is_some_and(|target| target == "/dev/null")
                {
                    self.masked.insert(name.to_owned());
                }
            }
        }
    }

    /// OpenRC has a folder per run level, SysV scripts begin with `S` and two digits.
    fn read_other_init(&mut self, root: &Root<'_>) {
        for level in root.list("/etc/runlevels") {
            let services = root.list(&format!("/etc/runlevels/{}", level.name));
            self.enabled.extend(services.into_iter().map(|service| service.name));
        }
        for folder in ["/etc/rc2.d", "/etc/rc3.d", "/etc/rc.d/rc3.d"] {
            for script in root.list(folder) {
                if let Some(rest) = script.name.strip_prefix('S') {
                    self.enabled.insert(rest.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned());
                }
            }
        }
    }

    /// Whether the system starts a service of one of these names, which have no `.service` or `.socket`.
    pub(super) fn is_enabled(&self, names: &[&str]) -> bool {
        let enabled = |name: &str, suffix: &str| self.enabled.contains(&format!("{name}{suffix}"));
        names
            .iter()
            .any(|name| !self.is_masked(name) && ["", ".service", ".socket"].iter().any(|suffix| enabled(name, suffix)))
    }

    /// Whether a service is masked.
    pub(super) fn is_masked(&self, name: &str) -> bool {
        self.masked.contains(name)
    }
}

fn ssh(linux: &Linux<'_>, findings: &mut Findings) {
    let root = &linux.root;
    let programs = ["/usr/sbin/sshd", "/usr/sbin/dropbear", "/usr/bin/sshd"];
    if !programs.iter().any(|path| root.exists(path)) {
        let remedy = linux.release.install_ssh_server();
        findings.add(&codes::NO_SSHD, "no SSH server is installed").remedy(remedy);
    } else if !linux.services.is_enabled(&["ssh", "sshd", "dropbear"]) {
        let unit = if root.exists("/usr/lib/systemd/system/ssh.service") { "ssh" } else { "sshd" };
        findings
            .add(&codes::NO_SSHD, "the SSH server is installed, but its service is not enabled")
            .at(format!("/usr/lib/systemd/system/{unit}.service"))
            .remedy(format!("systemctl enable {unit}"));
    }
}

fn clock(linux: &Linux<'_>, findings: &mut Findings) {
    let services = ["chrony", "chronyd", "systemd-timesyncd", "ntp", "ntpd", "ntpsec", "openntpd"];
    if !linux.services.is_enabled(&services) {
        let remedy = linux.release.install("chrony");
        findings.add(&codes::CLOCK, "no service that sets the clock is enabled").remedy(remedy);
    }
    let adjtime = linux.root.text("/etc/adjtime").unwrap_or_default();
    if adjtime.lines().nth(2).is_some_and(|line| line.trim() == "LOCAL") {
        findings
            .add(&codes::CLOCK, "the hardware clock is taken for local time; on Azure it is UTC")
            .at("/etc/adjtime")
            .remedy("timedatectl set-local-rtc 0");
    }
}

fn console(linux: &Linux<'_>, findings: &mut Findings) {
    let Some(entry) = linux.boot.default_entry() else { return };
    let arm = super::kernels::architecture(linux) == Some(Architecture::Arm64);
    let port = if arm { "ttyAMA0" } else { "ttyS0" };
    let used = entry.arguments("console").any(|console| console.split(',').next() == Some(port));
    if !used {
        let remedy = linux.release.change_command_line(entry, &format!("console=tty1 console={port},115200n8"));
        let message = format!("console={port} is not on the kernel command line of the default entry");
        findings.add(&codes::NO_SERIAL_CONSOLE, message).at(&entry.source).remedy(remedy);
    }
}
