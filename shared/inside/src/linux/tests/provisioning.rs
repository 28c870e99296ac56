//! Provisioning, and what is left over from the machine that the image was made on.

use super::*;

#[test]
fn no_provisioning() {
    let none = |tree: TreeFs| tree.without("/usr/bin/cloud-init").without("/usr/sbin/waagent");
    case().root(none).has("no-provisioning", Severity::Error, "");
    let specialized = |options: &mut Options| options.destination = Destination::GallerySpecialized;
    case().root(none).options(specialized).has("no-provisioning", Severity::Note, "");
    let disabled = |tree: TreeFs| tree.file("/etc/cloud/cloud-init.disabled", "").without("/usr/sbin/waagent");
    let found = case().root(disabled).has("no-provisioning", Severity::Error, "/etc/cloud/cloud-init.disabled");
    assert_eq!(found.remedy, "rm /etc/cloud/cloud-init.disabled");
    // waagent provisions if cloud-init does not.
    case().root(|tree| tree.file("/etc/cloud/cloud-init.disabled", "")).has_not("no-provisioning");
    let neither = |tree: TreeFs| {
        tree.file("/etc/cloud/cloud-init.disabled", "").file("/etc/waagent.conf", "Provisioning.Agent=cloud-init\n")
    };
    case().root(neither).has("no-provisioning", Severity::Error, "/etc/cloud/cloud-init.disabled");
    let azure_init = |tree: TreeFs| {
        none(tree)
            .file("/usr/bin/azure-init", "")
            .symlink("/etc/systemd/system/multi-user.target.wants/azure-init.service", "x")
    };
    case().root(azure_init).has_not("no-provisioning");
    let masked =
        |tree: TreeFs| tree.without("/usr/sbin/waagent").symlink("/etc/systemd/system/cloud-init.service", "/dev/null");
    let found = case().root(masked).has("no-provisioning", Severity::Error, "/etc/systemd/system/cloud-init.service");
    assert_eq!(found.remedy, "systemctl unmask cloud-init");
}

#[test]
fn cloud_init_datasource() {
    let path = "/etc/cloud/cloud.cfg.d/90_dpkg.cfg";
    let list = |text: &'static str| move |tree: TreeFs| tree.file(path, text);
    case().root(list("datasource_list: [ NoCloud, ConfigDrive ]\n")).has(
        "cloud-init-datasource",
        Severity::Error,
        path,
    );
    case().root(list("datasource_list: [ NoCloud, Azure ]\n")).has_not("cloud-init-datasource");
    let later = |tree: TreeFs| tree.file("/etc/cloud/cloud.cfg.d/91.cfg", "datasource_list:\n  - Azure\n");
    case().root(list("datasource_list: [ Ec2 ]\n")).root(later).has_not("cloud-init-datasource");
    // The remedy's file must not be read before the file that replaces its list.
    let (last, text) = ("/etc/cloud/cloud.cfg.d/99_local.cfg", "datasource_list: [ Ec2 ]\n");
    let found = case().root(|t| t.file(last, text)).has("cloud-init-datasource", Severity::Error, last);
    assert_eq!(found.remedy, format!("Remove datasource_list from {last}, or add Azure to it."));
    let identify = "/etc/cloud/ds-identify.cfg";
    case().root(|t| t.file(identify, "policy: disabled\n")).has("cloud-init-datasource", Severity::Error, identify);
    case().root(|t| t.file(identify, "datasource: Azure\n")).has_not("cloud-init-datasource");
    let forced = |t: TreeFs| t.file("/boot/grub/grub.cfg", grub(&format!("root=UUID={UUID} console=ttyS0 ds=nocloud")));
    case().root(forced).has("cloud-init-datasource", Severity::Error, "/boot/grub/grub.cfg");
}

#[test]
fn dvd_off() {
    let folder = format!("/usr/lib/modules/{KERNEL}");
    let no_udf =
        |tree: TreeFs| tree.file(&format!("{folder}/modules.dep"), "kernel/sr_mod.ko:\nkernel/hv_netvsc.ko:\n");
    let old =
        |tree: TreeFs| tree.file("/usr/lib/python3/dist-packages/cloudinit/version.py", "__VERSION__ = \"20.4\"\n");
    case().root(no_udf).has_not("dvd-off");
    case().root(no_udf).root(old).has("dvd-off", Severity::Warning, &folder);
    case().root(old).has_not("dvd-off");
    case().root(no_udf).root(|t| t.without("/usr/bin/cloud-init")).has("dvd-off", Severity::Error, &folder);
}

#[test]
fn static_address_and_udev() {
    let path = "/etc/netplan/01.yaml";
    let with = |text: &'static str| move |t: TreeFs| t.file(path, text);
    let fixed = "network:\n  ethernets:\n    eth0:\n      addresses: [10.0.0.4/24]\n";
    case().root(with(fixed)).has("static-address", Severity::Warning, path);
    case().root(with("network:\n  ethernets:\n    eth0:\n      dhcp4: true\n")).has_not("static-address");
    let rules = "/etc/udev/rules.d/70-persistent-net.rules";
    case().root(|t| t.file(rules, "SUBSYSTEM==\"net\", NAME=\"eth0\"\n")).has("udev-net", Severity::Warning, rules);
    case().root(|t| t.file(rules, "# nothing\n")).has_not("udev-net");
    case().root(|t| t.symlink(rules, "/dev/null")).has_not("udev-net");
}

#[test]
fn not_deprovisioned() {
    let code = "not-deprovisioned";
    for (path, text) in [
        ("/etc/ssh/ssh_host_rsa_key", "key"),
        ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("/var/lib/waagent/A.prv", "key"),
        ("/var/lib/dhcp/dhclient.eth0.leases", "lease {}"),
    ] {
        case().root(|t| t.file(path, text)).has(code, Severity::Warning, path);
    }
    case().root(|t| t.dir("/var/lib/cloud/instances/i-1")).has(code, Severity::Warning, "/var/lib/cloud/instances");
    case().root(|t| t.file("/etc/machine-id", "uninitialized\n").dir("/var/lib/cloud/instances")).has_not(code);
    let specialized = |options: &mut Options| options.destination = Destination::GallerySpecialized;
    case().root(|t| t.file("/etc/ssh/ssh_host_rsa_key", "")).options(specialized).has(
        code,
        Severity::Note,
        "/etc/ssh/ssh_host_rsa_key",
    );
}

#[test]
fn secrets() {
    let shadow = |text: &'static str| move |t: TreeFs| t.file("/etc/shadow", text);
    let finding = case().root(shadow("user:$6$salt$hash:1::::::\n")).has("password", Severity::Warning, "/etc/shadow");
    assert!(!finding.message.contains("hash"), "{finding:?}");
    case().root(shadow("root::1::::::\n")).has("password", Severity::Warning, "/etc/shadow");
    case().root(shadow("root:!$6$x:1::::::\nuser:*:1:\n")).has_not("password");
    let keys = "/home/user/.ssh/authorized_keys";
    case().root(|t| t.file(keys, "ssh-ed25519 AAAA x\n")).has("authorized-keys", Severity::Warning, keys);
    case().root(|t| t.file(keys, "# none\n\n")).has_not("authorized-keys");
    let history = "/root/.bash_history";
    case().root(|t| t.file(history, vec![b'x'; 2000])).has("history", Severity::Warning, history);
    case().root(|t| t.file(history, "exit\n")).has_not("history");
}

#[test]
fn services() {
    let path = "/boot/grub/grub.cfg";
    let silent = |t: TreeFs| t.file(path, grub(&format!("root=UUID={UUID} quiet console=tty0")));
    case().root(silent).has("no-serial-console", Severity::Warning, path);
    case().has_not("no-serial-console");
    case().root(|t| t.without("/usr/sbin/sshd")).has("no-sshd", Severity::Warning, "");
    let disabled = |t: TreeFs| t.without("/etc/systemd/system/multi-user.target.wants/ssh.service");
    case().root(disabled).has("no-sshd", Severity::Warning, "/usr/lib/systemd/system/sshd.service");
    case().has_not("no-sshd");
    let no_clock = |t: TreeFs| t.without("/etc/systemd/system/multi-user.target.wants/chrony.service");
    case().root(no_clock).has("clock", Severity::Note, "");
    case().root(|t| t.file("/etc/adjtime", "0.0 0 0.0\n0\nLOCAL\n")).has("clock", Severity::Note, "/etc/adjtime");
    case().root(|t| t.file("/etc/adjtime", "0.0 0 0.0\n0\nUTC\n")).has_not("clock");
    case().root(|t| t.without("/usr/sbin/waagent")).has("no-agent", Severity::Note, "");
    case().has_not("no-agent");
}

#[test]
fn services_of_other_init_systems() {
    let openrc = |t: TreeFs| {
        t.without("/usr/lib/systemd").without("/etc/systemd").symlink("/etc/runlevels/default/sshd", "/etc/init.d/sshd")
    };
    case().root(openrc).has_not("no-sshd");
    case().root(openrc).has("clock", Severity::Note, "");
    let scripts = |t: TreeFs| {
        t.without("/usr/lib/systemd").without("/etc/systemd").symlink("/etc/rc3.d/S10ntpd", "../init.d/ntpd")
    };
    case().root(scripts).has_not("clock");
    case().root(scripts).has("no-sshd", Severity::Warning, "/usr/lib/systemd/system/sshd.service");
    // Without systemd's program, the folders of its units still count, but with it the other folders do not.
    let both = |t: TreeFs| openrc(t).file("/usr/lib/systemd/systemd", "");
    case().root(both).has("no-sshd", Severity::Warning, "/usr/lib/systemd/system/sshd.service");
}

#[test]
fn a_masked_service_is_not_started() {
    let masked = |t: TreeFs| t.symlink("/etc/systemd/system/ssh.service", "/dev/null");
    case().root(masked).has("no-sshd", Severity::Warning, "/usr/lib/systemd/system/sshd.service");
    let replaced = |t: TreeFs| t.symlink("/etc/systemd/system/ssh.service", "/usr/lib/systemd/system/ssh.service");
    case().root(replaced).has_not("no-sshd");
}

#[test]
fn not_endorsed() {
    let id = |id: &'static str| move |t: TreeFs| t.file("/etc/os-release", format!("ID={id}\n"));
    for other in ["void", "centos", "opensuse-leap"] {
        case().root(id(other)).has("not-endorsed", Severity::Note, "");
    }
    for endorsed in ["rocky", "sles", "azurelinux", "mariner"] {
        case().root(id(endorsed)).has_not("not-endorsed");
    }
}
