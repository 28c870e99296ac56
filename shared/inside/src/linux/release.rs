//! Which distribution a system is, and the commands that it has.

use super::entries::{BootEntry, EntryKind};
use crate::root::Root;

/// Distributions by their tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Debian, Ubuntu and relatives: apt.
    Debian,
    /// Red Hat, Fedora, Oracle, Rocky, Alma and relatives: dnf.
    RedHat,
    /// SUSE: zypper.
    Suse,
    /// Azure Linux: tdnf.
    AzureLinux,
    /// Arch: pacman.
    Arch,
    /// Another one.
    Other,
}

/// The program that builds an initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builder {
    /// dracut.
    Dracut,
    /// initramfs-tools.
    InitramfsTools,
    /// mkinitcpio.
    Mkinitcpio,
    /// None was found.
    Unknown,
}

/// The fields of `/etc/os-release`, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    /// `ID`.
    pub(super) id: String,
    /// `PRETTY_NAME`.
    pub(super) name: String,
    /// `VERSION_ID`.
    pub(super) version: String,
    /// The distribution's tools.
    pub(super) family: Family,
    /// What builds an initramfs.
    pub(super) builder: Builder,
}

/// The `ID` of the distributions in the table "Platform Image Partners" of Microsoft's page ["Endorsed Linux
/// distributions on Azure"](https://learn.microsoft.com/azure/virtual-machines/linux/endorsed-distros). The page is
/// dated 2024-11-14; it was read in commit 0fbe238d of the repository `MicrosoftDocs/azure-compute-docs`.
const ENDORSED: [&str; 9] = ["almalinux", "debian", "flatcar", "ol", "rhel", "rocky", "sles", "sles_sap", "ubuntu"];

impl Release {
    /// Reads os-release and looks for tools.
    pub(super) fn read(root: &Root<'_>) -> Self {
        let text = root.text("/etc/os-release").or_else(|| root.text("/usr/lib/os-release")).unwrap_or_default();
        let field = |name: &str| variable(&text, name).unwrap_or_default();
        let id = field("ID");
        let family = family(&id, &field("ID_LIKE"));
        let name = [field("PRETTY_NAME"), field("NAME"), id.clone()].into_iter().find(|n| !n.is_empty());
        let (version, name) = (field("VERSION_ID"), name.unwrap_or_else(|| "Linux".into()));
        Self { id, name, version, family, builder: builder(root) }
    }

    /// Whether Microsoft endorses the distribution, or makes it itself: the page does not name Azure Linux.
    pub(super) fn is_endorsed(&self) -> bool {
        self.family == Family::AzureLinux || ENDORSED.contains(&self.id.as_str())
    }

    /// The command that installs a package.
    pub(super) fn install(&self, package: &str) -> String {
        let command = match self.family {
            Family::Debian => "apt-get install",
            Family::RedHat => "dnf install",
            Family::Suse => "zypper install",
            Family::AzureLinux => "tdnf install",
            Family::Arch => "pacman -S",
            Family::Other => "install the package",
        };
        format!("{command} {package}")
    }

    /// The command that removes a package.
    pub(super) fn remove(&self, package: &str) -> String {
        let command = match self.family {
            Family::Debian => "apt-get purge",
            Family::RedHat => "dnf remove",
            Family::Suse => "zypper remove",
            Family::AzureLinux => "tdnf remove",
            Family::Arch => "pacman -R",
            Family::Other => "remove the package",
        };
        format!("{command} {package}")
    }

    /// The commands that add modules to the initramfs of all kernels.
    pub(super) fn add_to_initramfs(&self, modules: &[&str]) -> String {
        match self.builder {
            Builder::InitramfsTools => {
                format!(
                    "printf '%s\\n' {} >> /etc/initramfs-tools/modules && update-initramfs -u -k all",
                    modules.join(" ")
                )
            }
            Builder::Mkinitcpio => {
                format!("Add {} to MODULES in /etc/mkinitcpio.conf, then run: mkinitcpio -P", modules.join(" "))
            }
            Builder::Dracut | Builder::Unknown => format!(
                "echo 'add_drivers+=\" {} \"' >> /etc/dracut.conf.d/azure.conf && {}",
                modules.join(" "),
                self.build_initramfs()
            ),
        }
    }

    /// The command that builds the initramfs of all kernels again.
    pub(super) fn build_initramfs(&self) -> &'static str {
        match self.builder {
            Builder::InitramfsTools => "update-initramfs -u -k all",
            Builder::Mkinitcpio => "mkinitcpio -P",
            Builder::Dracut | Builder::Unknown => "dracut -f --regenerate-all",
        }
    }

    /// What follows the instruction to change the kernel command line, so that the change reaches this entry.
    pub(super) fn after_change(&self, entry: &BootEntry) -> String {
        match entry.kind() {
            EntryKind::Grub => format!(", then: {}", self.update_grub()),
            EntryKind::LoaderSpec => format!(" (in {})", entry.source),
            EntryKind::Unified => ", then build the unified kernel image again".into(),
        }
    }

    /// How to add arguments to the kernel command line: of this entry, or of all if one command changes all.
    pub(super) fn change_command_line(&self, entry: &BootEntry, arguments: &str) -> String {
        match self.family {
            Family::RedHat if entry.kind() != EntryKind::Unified => {}
            _ if entry.kind() == EntryKind::Grub => {}
            _ => return format!("Add {arguments} to the kernel command line{}", self.after_change(entry)),
        }
        match self.family {
            Family::RedHat => format!("grubby --update-kernel=ALL --args='{arguments}'"),
            Family::Suse | Family::AzureLinux => {
                format!("Set GRUB_CMDLINE_LINUX='{arguments}' in /etc/default/grub && {}", self.update_grub())
            }
            Family::Debian | Family::Arch | Family::Other => {
                format!("Add {arguments} to GRUB_CMDLINE_LINUX in /etc/default/grub && {}", self.update_grub())
            }
        }
    }

    /// The command that writes the boot loader's configuration again.
    pub(super) fn update_grub(&self) -> &'static str {
        match self.family {
            Family::Debian => "update-grub",
            Family::Arch => "grub-mkconfig -o /boot/grub/grub.cfg",
            _ => "grub2-mkconfig -o /boot/grub2/grub.cfg",
        }
    }

    /// The command that installs the loader at the fallback path, for Arm64 or x86-64.
    pub(super) fn install_fallback_loader(&self, arm: bool) -> String {
        let (target, debian, short) = if arm { ("arm64-efi", "arm64", "aa64") } else { ("x86_64-efi", "amd64", "x64") };
        match self.family {
            Family::Debian => format!(
                "apt-get install shim-signed grub-efi-{debian}-signed && grub-install --target={target} \
                 --force-extra-removable --no-nvram"
            ),
            Family::RedHat => format!("dnf reinstall shim-{short} grub2-efi-{short}"),
            Family::Suse => "shim-install --removable".into(),
            Family::AzureLinux => "tdnf reinstall shim grub2-efi-binary".into(),
            _ => format!("grub-install --target={target} --removable --no-nvram"),
        }
    }

    /// The command that installs a kernel with the drivers of Hyper-V.
    pub(super) fn install_kernel(&self, arm: bool) -> String {
        let package = match self.family {
            Family::Debian if self.is_ubuntu() => "linux-azure",
            Family::Debian if arm => "linux-image-cloud-arm64",
            Family::Debian => "linux-image-cloud-amd64",
            Family::Suse => "kernel-default",
            Family::Arch => "linux",
            Family::RedHat | Family::AzureLinux | Family::Other => "kernel",
        };
        self.install(package)
    }

    /// The command that installs the Azure Linux agent.
    pub(super) fn install_agent(&self) -> String {
        let package = match self.family {
            Family::Debian if self.is_ubuntu() => "walinuxagent",
            Family::Debian => "waagent",
            Family::Suse => "python-azure-agent",
            _ => "WALinuxAgent",
        };
        self.install(package)
    }

    /// The command that installs the server of OpenSSH.
    pub(super) fn install_ssh_server(&self) -> String {
        self.install(if matches!(self.family, Family::Suse | Family::Arch) { "openssh" } else { "openssh-server" })
    }

    fn is_ubuntu(&self) -> bool {
        self.id == "ubuntu"
    }
}

fn family(id: &str, like: &str) -> Family {
    let all = std::iter::once(id).chain(like.split_whitespace());
    for name in all {
        match name {
            "debian" | "ubuntu" => return Family::Debian,
            "azurelinux" | "mariner" => return Family::AzureLinux,
            "rhel" | "fedora" | "centos" | "rocky" | "almalinux" | "ol" | "amzn" => return Family::RedHat,
            "suse" | "sles" | "sles_sap" | "opensuse" => return Family::Suse,
            "arch" => return Family::Arch,
            name if name.starts_with("opensuse") => return Family::Suse,
            _ => {}
        }
    }
    Family::Other
}

fn builder(root: &Root<'_>) -> Builder {
    let any = |paths: &[&str]| paths.iter().any(|path| root.exists(path));
    if any(&["/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut"]) {
        Builder::Dracut
    } else if any(&["/usr/sbin/update-initramfs"]) {
        Builder::InitramfsTools
    } else if any(&["/usr/bin/mkinitcpio"]) {
        Builder::Mkinitcpio
    } else {
        Builder::Unknown
    }
}

/// The value of the last assignment to a variable in a file of shell assignments, without quotes.
pub(super) fn variable(text: &str, name: &str) -> Option<String> {
    let assigned = |line: &str| {
        let (key, value) = line.trim().trim_start_matches("export ").split_once('=')?;
        (key.trim() == name).then(|| unquote(value))
    };
    text.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(assigned).next_back()
}

/// A value without its quotes, and without a comment behind it.
pub(super) fn unquote(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split_once(quote).map_or(rest, |(inside, _)| inside).to_owned();
        }
    }
    value.split_once(" #").map_or(value, |(before, _)| before.trim_end()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_follow_the_id_and_then_what_it_is_like() {
        assert_eq!(family("debian", ""), Family::Debian);
        assert_eq!(family("pop", "ubuntu debian"), Family::Debian);
        assert_eq!(family("rocky", "rhel centos fedora"), Family::RedHat);
        assert_eq!(family("opensuse-tumbleweed", "opensuse suse"), Family::Suse);
        assert_eq!(family("azurelinux", "fedora"), Family::AzureLinux);
        assert_eq!(family("void", ""), Family::Other);
    }

    #[test]
    fn commands_are_those_of_the_distribution() {
        let of = |id: &str| Release {
            id: id.into(),
            name: String::new(),
            version: String::new(),
            family: family(id, ""),
            builder: Builder::Unknown,
        };
        assert_eq!(of("debian").install_agent(), "apt-get install waagent");
        assert_eq!(of("ubuntu").install_agent(), "apt-get install walinuxagent");
        assert_eq!(of("sles").install_agent(), "zypper install python-azure-agent");
        assert_eq!(of("ubuntu").install_kernel(true), "apt-get install linux-azure");
        assert_eq!(of("debian").install_kernel(true), "apt-get install linux-image-cloud-arm64");
        assert_eq!(of("sles").install_ssh_server(), "zypper install openssh");
        assert_eq!(of("rhel").install_fallback_loader(true), "dnf reinstall shim-aa64 grub2-efi-aa64");
        // A second command must not replace what a first one wrote.
        assert!(of("rhel").add_to_initramfs(&["nvme"]).contains(">> /etc/dracut.conf.d/azure.conf"));
    }

    #[test]
    fn variables_are_read_without_quotes() {
        let text = "# A=0\nA=1\nexport A=\"two words\"\nB='x' # y\nC=z # comment\n";
        assert_eq!(variable(text, "A").as_deref(), Some("two words"));
        assert_eq!(variable(text, "B").as_deref(), Some("x"));
        assert_eq!(variable(text, "C").as_deref(), Some("z"));
        assert_eq!(variable(text, "D"), None);
    }
}
