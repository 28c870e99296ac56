//! Each finding has a system that has it, and a similar one that does not.

mod boot;
mod drivers;
mod mounts;
mod provisioning;

use std::sync::Arc;

use goldfleet_disk::{Finding, MemoryDisk, Severity};
use goldfleet_model::manifest::Generation;
use goldfleet_model::system::{Architecture, System};

use crate::budget::Budget;
use crate::finding::Findings;
use crate::fs::tree::TreeFs;
use crate::fs::{FileSystem, FsKind};
use crate::initramfs::tests::archive;
use crate::machine::{Machine, Mounted};
use crate::options::{Destination, Hardware, Options};
use crate::volumes::partitions::{ESP, Table};
use crate::volumes::signature::{Content, Signature};
use crate::volumes::{Partition, Volume};

const UUID: &str = "11111111-2222-3333-4444-555555555555";
const KERNEL: &str = "6.1.0-13-amd64";

/// Modules of a kernel, by the names of their files.
fn initramfs(modules: &[&str], files: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<String> = modules.iter().map(|m| format!("usr/lib/modules/{KERNEL}/kernel/{m}.ko")).collect();
    let mut all: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    all.extend(files);
    archive(&all)
}

const NEEDED: [&str; 7] = ["hv_vmbus", "hv_storvsc", "sd_mod", "ext4", "nvme", "pci-hyperv", "hv_netvsc"];

/// A kernel for x86-64 with the version in its header.
fn kernel(version: &str, flags: u8) -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x400_u16.to_le_bytes());
    image[0x236] = flags;
    let text = format!("{version} (build@host) #1 SMP");
    image[0x600..0x600 + text.len()].copy_from_slice(text.as_bytes());
    image
}

fn grub(options: &str) -> String {
    format!(
        "set default=\"0\"\nsearch --no-floppy --fs-uuid --set=root {UUID}\nmenuentry 'Debian' {{\n  linux /boot/vmlinuz-{KERNEL} \
         {options}\n  initrd /boot/initrd.img-{KERNEL}\n}}\n"
    )
}

fn good_grub() -> String {
    grub(&format!("root=UUID={UUID} ro console=ttyS0,115200"))
}

/// The root of a system that has no findings but `system`.
fn root() -> TreeFs {
    let dep: String = NEEDED.iter().chain(&["udf", "sr_mod"]).map(|m| format!("kernel/{m}.ko:\n")).collect();
    TreeFs::new(FsKind::Ext, UUID)
        .label("root")
        .file("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n")
        .file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\n")
        .file("/etc/shadow", "root:*:19000::::::\nuser:!:19000::::::\n")
        .file("/etc/fstab", format!("UUID={UUID} / ext4 defaults 0 1\nLABEL=ESP /boot/efi vfat nofail 0 2\n"))
        .file("/etc/machine-id", "")
        .file("/usr/sbin/update-initramfs", "")
        .file("/usr/lib/systemd/systemd", "")
        .file("/usr/bin/cloud-init", "")
        .file("/usr/lib/systemd/system-generators/cloud-init-generator", "")
        .file("/usr/lib/python3/dist-packages/cloudinit/version.py", "__VERSION__ = \"22.4.2\"\n")
        .file("/etc/cloud/cloud.cfg", "datasource_list: [ Azure, None ]\n")
        .file("/usr/sbin/waagent", "")
        .file("/etc/waagent.conf", "Provisioning.Agent=auto\n")
        .file("/usr/lib/python3/dist-packages/azurelinuxagent/common/version.py", "AGENT_VERSION = '2.9.1.1'\n")
        .symlink("/etc/systemd/system/multi-user.target.wants/walinuxagent.service", "/usr/lib/systemd/system/x")
        .file("/usr/sbin/sshd", "")
        .symlink("/etc/systemd/system/multi-user.target.wants/ssh.service", "/usr/lib/systemd/system/ssh.service")
        .symlink("/etc/systemd/system/multi-user.target.wants/chrony.service", "/usr/lib/systemd/system/x")
        .file("/boot/grub/grub.cfg", good_grub())
        .file(&format!("/boot/vmlinuz-{KERNEL}"), kernel(KERNEL, 1))
        .file(&format!("/boot/initrd.img-{KERNEL}"), initramfs(&NEEDED, &[]))
        .file(&format!("/usr/lib/modules/{KERNEL}/modules.builtin"), "kernel/fs/vfat.ko\n")
        .file(&format!("/usr/lib/modules/{KERNEL}/modules.dep"), dep)
}

/// An EFI system partition with a loader that Microsoft signed.
fn esp() -> TreeFs {
    TreeFs::new(FsKind::Fat, "ABCD-1234").label("ESP").file("/EFI/BOOT/BOOTX64.EFI", pe(0x8664, &[], &microsoft()))
}

fn pe(machine: u16, sections: &[(&str, &[u8])], certificates: &[u8]) -> Vec<u8> {
    crate::pe::build::with_sections(machine, sections, certificates)
}

fn microsoft() -> Vec<u8> {
    crate::pe::build::signature("Microsoft Corporation UEFI CA 2011")
}

/// A disk in the middle of its changes.
struct Case {
    root: TreeFs,
    esp: Option<TreeFs>,
    /// More volumes with file systems.
    mounted: Vec<(TreeFs, Option<(String, String)>)>,
    /// More volumes: what they hold and their UUIDs.
    more: Vec<(Content, &'static str)>,
    lvm: Option<(String, String)>,
    boot_sector: Vec<u8>,
    options: Options,
}

fn case() -> Case {
    let (options, boot_sector) = (Options::default(), vec![0; 512]);
    Case { root: root(), esp: Some(esp()), mounted: Vec::new(), more: Vec::new(), lvm: None, boot_sector, options }
}

impl Case {
    fn root(mut self, change: impl FnOnce(TreeFs) -> TreeFs) -> Self {
        self.root = change(self.root);
        self
    }

    fn esp(mut self, change: impl FnOnce(TreeFs) -> TreeFs) -> Self {
        self.esp = self.esp.map(change);
        self
    }

    fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    fn run(self) -> (Option<System>, Vec<Finding>) {
        let volume = |number: u32, kind: &str| {
            let start = u64::from(number) * 1000;
            let mut volume = Volume::new(
                format!("partition {number}"),
                Arc::new(MemoryDisk(Vec::new())),
                std::iter::once(start..start + 1000).collect(),
            );
            let part_uuid = format!("aaaaaaaa-0000-0000-0000-00000000000{number}");
            volume.partition = Some(Partition { number, kind: kind.into(), part_uuid, name: String::new() });
            volume
        };
        let signature = |content, uuid: &str| Signature { content, uuid: uuid.into(), label: String::new() };
        let mut machine = Machine {
            table: Table::Gpt,
            boot_sector: self.boot_sector,
            volumes: Vec::new(),
            signatures: Vec::new(),
            mounted: Vec::new(),
            budget: Arc::new(Budget::new(self.options.limits)),
            options: self.options,
        };
        let mut add = |mut volume: Volume, lvm: Option<(String, String)>, fs: Box<dyn FileSystem>| {
            volume.lvm = lvm;
            machine.volumes.push(volume.clone());
            machine.signatures.push(signature(Content::Fs(fs.info().kind), ""));
            machine.mounted.push(Mounted { volume, fs });
        };
        add(volume(1, "0fc63daf-8483-4772-8e79-3d69d8477de4"), self.lvm, Box::new(self.root));
        if let Some(esp) = self.esp {
            add(volume(15, ESP), None, Box::new(esp));
        }
        for (number, (fs, lvm)) in (20..).zip(self.mounted) {
            add(volume(number, "0fc63daf-8483-4772-8e79-3d69d8477de4"), lvm, Box::new(fs));
        }
        for (number, (content, uuid)) in (2..).zip(self.more) {
            machine.volumes.push(volume(number, "x"));
            machine.signatures.push(signature(content, uuid));
        }
        let mut findings = Findings::new();
        let system = super::check(&machine, &mut findings);
        (system, findings.into_list())
    }

    fn findings(self) -> Vec<Finding> {
        self.run().1
    }

    /// The finding of a code, which must be there once.
    #[track_caller]
    fn has(self, code: &str, severity: Severity, path: &str) -> Finding {
        let findings = self.findings();
        let found: Vec<&Finding> = findings.iter().filter(|finding| finding.code == code).collect();
        let [finding] = found.as_slice() else { panic!("not one {code}: {findings:#?}") };
        assert_eq!(finding.severity, severity, "{finding:?}");
        assert_eq!(finding.path.as_deref().unwrap_or(""), path, "{finding:?}");
        (*finding).clone()
    }

    #[track_caller]
    fn has_not(self, code: &str) {
        let findings = self.findings();
        assert!(findings.iter().all(|finding| finding.code != code), "{findings:#?}");
    }
}

fn initrd(modules: &[&str]) -> impl FnOnce(TreeFs) -> TreeFs {
    let bytes = initramfs(modules, &[]);
    move |tree| tree.file(&format!("/boot/initrd.img-{KERNEL}"), bytes)
}

fn without<'a>(missing: &str) -> Vec<&'a str> {
    NEEDED.into_iter().filter(|module| *module != missing).collect()
}

fn initrd_path() -> String {
    format!("/boot/initrd.img-{KERNEL}")
}

#[test]
fn a_good_system_has_no_findings() {
    let (system, findings) = case().run();
    assert_eq!(findings, []);
    let system = system.unwrap();
    assert_eq!((system.family.as_str(), system.id.as_str(), system.version.as_str()), ("linux", "debian", "12"));
    assert_eq!(system.name, "Debian GNU/Linux 12");
    assert_eq!(system.kernels, [KERNEL]);
    assert_eq!(system.agents, ["cloud-init 22.4.2", "waagent 2.9.1.1"]);
    assert_eq!(system.generations, [Generation::V2]);
    assert_eq!(system.architecture, Some(Architecture::X64));
}

#[test]
fn a_disk_without_linux_has_no_findings() {
    let (system, findings) = case().root(|_| TreeFs::new(FsKind::Ext, UUID).file("/data/x", "")).run();
    assert_eq!((system, findings), (None, vec![]));
}

#[test]
fn text_of_the_image_is_escaped() {
    let evil = |t: TreeFs| t.file("/etc/shadow", "us\x1b[31mer::1::::::\n");
    let finding = case().root(evil).has("password", Severity::Warning, "/etc/shadow");
    assert!(finding.message.contains("us\\u{1b}[31mer"), "{finding:?}");
    assert!(!finding.remedy.contains('\x1b'), "{finding:?}");
}
