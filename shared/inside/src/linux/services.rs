//! Findings about services: SSH, the clock, the serial console.

use super::Linux;
use crate::codes::linux as codes;
use crate::finding::Findings;
use crate::options::Architecture;
use crate::root::Root;

/// Adds the findings about services.
pub(super) fn check(linux: &Linux<'_>, findings: &mut Findings) {
    ssh(linux, findings);
    clock(linux, findings);
    console(linux, findings);
}

/// Whether the system starts a unit of one of these names (without `.service` or `.socket`).
pub(super) fn is_enabled(root: &Root<'_>, names: &[&str]) -> bool {
    let mut folders = Vec::new();
    for base in ["/etc/systemd/system", "/usr/lib/systemd/system"] {
        let listed = root.list(base).into_iter().map(|entry| entry.name);
        let wants = listed.filter(|name| name.ends_with(".wants") || name.ends_with(".requires"));
        folders.extend(wants.map(|name| format!("{base}/{name}")));
    }
    let systemd = names.iter().any(|name| {
        let units = [format!("{name}.service"), format!("{name}.socket")];
        !is_masked(root, name) && units.iter().any(|unit| folders.iter().any(|f| root.has_name(&format!("{f}/{unit}"))))
    });
    systemd || other_init(root, names)
}

/// Whether a service is masked.
pub(super) fn is_masked(root: &Root<'_>, name: &str) -> bool {
    root.link(&format!("/etc/systemd/system/{name}.service")).is_some_and(|target| target == "/dev/null")
}

/// OpenRC has a folder per run level, SysV scripts begin with `S` and two digits.
fn other_init(root: &Root<'_>, names: &[&str]) -> bool {
    if root.exists("/usr/lib/systemd/systemd") {
        return false;
    }
    let openrc = root.list("/etc/runlevels").into_iter().map(|entry| format!("/etc/runlevels/{}", entry.name));
    if openrc.into_iter().any(|folder| names.iter().any(|name| root.has_name(&format!("{folder}/{name}")))) {
        return true;
    }
    let starts = |entry: String| {
        let rest = entry.strip_prefix('S').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned());
        rest.is_some_and(|rest| names.contains(&rest.as_str()))
    };
    ["/etc/rc2.d", "/etc/rc3.d", "/etc/rc.d/rc3.d"].iter().any(|f| root.list(f).into_iter().any(|e| starts(e.name)))
}

fn ssh(linux: &Linux<'_>, findings: &mut Findings) {
    let root = &linux.root;
    let programs = ["/usr/sbin/sshd", "/usr/sbin/dropbear", "/usr/bin/sshd"];
    if !programs.iter().any(|path| root.exists(path)) {
        let remedy = linux.release.install("openssh-server");
        findings.add(&codes::NO_SSHD, "no SSH server is installed").remedy(remedy);
    } else if !is_enabled(root, &["ssh", "sshd", "dropbear"]) {
        let unit = if root.exists("/usr/lib/systemd/system/ssh.service") { "ssh" } else { "sshd" };
        findings
            .add(&codes::NO_SSHD, "the SSH server is installed, but its service is not enabled")
            .at(format!("/usr/lib/systemd/system/{unit}.service"))
            .remedy(format!("systemctl enable {unit}"));
    }
}

fn clock(linux: &Linux<'_>, findings: &mut Findings) {
    let services = ["chrony", "chronyd", "systemd-timesyncd", "ntp", "ntpd", "ntpsec", "openntpd"];
    if !is_enabled(&linux.root, &services) {
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
        let remedy = linux.release.change_command_line(&format!("console=tty1 console={port},115200n8"));
        let message = format!("console={port} is not on the kernel command line of the default entry");
        findings.add(&codes::NO_SERIAL_CONSOLE, message).at(&entry.source).remedy(remedy);
    }
}
