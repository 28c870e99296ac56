//! Each finding has a system that has it, and a similar one that does not.

use std::sync::Arc;

use goldfleet_disk::{Finding, MemoryDisk, Severity};

use crate::budget::Budget;
use crate::finding::Findings;
use crate::fs::tree::TreeFs;
use crate::fs::{FileSystem, FsKind};
use crate::initramfs::tests::archive;
use crate::machine::{Machine, Mounted};
use crate::options::{Architecture, Destination, Generation, Hardware, Options, System};
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
    /// More volumes: what they hold and their UUIDs.
    more: Vec<(Content, &'static str)>,
    lvm: Option<(String, String)>,
    boot_sector: Vec<u8>,
    options: Options,
}

fn case() -> Case {
    let (options, boot_sector) = (Options::default(), vec![0; 512]);
    Case { root: root(), esp: Some(esp()), more: Vec::new(), lvm: None, boot_sector, options }
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
fn no_storage_driver() {
    for module in ["hv_vmbus", "hv_storvsc", "sd_mod", "ext4"] {
        let finding = case().root(initrd(&without(module))).has("no-storage-driver", Severity::Error, &initrd_path());
        assert!(finding.message.contains(module), "{finding:?}");
        assert!(finding.remedy.contains("update-initramfs"), "{finding:?}");
    }
    // Built in, the driver is there.
    let builtin =
        |tree: TreeFs| tree.file(&format!("/usr/lib/modules/{KERNEL}/modules.builtin"), "kernel/hv/hv_vmbus.ko\n");
    case().root(initrd(&without("hv_vmbus"))).root(builtin).has_not("no-storage-driver");
    // Modules of another kernel do not count.
    let other = archive(&[("usr/lib/modules/5.0/kernel/hv_vmbus.ko", b"")]);
    case().root(|tree| tree.file(&initrd_path(), other)).has("no-storage-driver", Severity::Error, &initrd_path());
}

#[test]
fn no_storage_driver_of_another_kernel_is_a_warning() {
    let old = "5.10.0-1-amd64";
    let with_old = |tree: TreeFs| {
        let entry = format!(
            "menuentry 'Old' {{\n linux /boot/vmlinuz-{old} root=UUID={UUID}\n initrd /boot/initrd.img-{old}\n}}\n"
        );
        tree.file("/boot/grub/grub.cfg", good_grub() + &entry)
            .file(&format!("/boot/vmlinuz-{old}"), kernel(old, 1))
            .file(&format!("/boot/initrd.img-{old}"), archive(&[("etc/x", b"")]))
            .file(&format!("/usr/lib/modules/{old}/modules.builtin"), "")
            .file(&format!("/usr/lib/modules/{old}/modules.dep"), "kernel/hv_netvsc.ko:\n")
    };
    case().root(with_old).has("no-storage-driver", Severity::Warning, &format!("/boot/initrd.img-{old}"));
}

#[test]
fn no_storage_driver_for_lvm() {
    let lvm = |case: Case| Case { lvm: Some(("vg".into(), "root".into())), ..case };
    let grub = |tree: TreeFs| tree.file("/boot/grub/grub.cfg", grub("root=/dev/mapper/vg-root console=ttyS0"));
    let finding = lvm(case()).root(grub).has("no-storage-driver", Severity::Error, &initrd_path());
    assert!(finding.message.contains("dm_mod"), "{finding:?}");
    let mut modules = NEEDED.to_vec();
    modules.push("dm-mod");
    let finding =
        lvm(case()).root(grub).root(initrd(&modules)).has("no-storage-driver", Severity::Error, &initrd_path());
    assert!(finding.message.ends_with("lacks the program lvm"), "{finding:?}");
    assert!(finding.remedy.contains("install lvm2"), "{finding:?}");
    let complete = initramfs(&modules, &[("usr/sbin/lvm", b"")]);
    lvm(case()).root(grub).root(|t| t.file(&initrd_path(), complete)).has_not("no-storage-driver");
    lvm(case()).root(grub).has("lvm", Severity::Note, "");
    case().has_not("lvm");
}

#[test]
fn drivers_of_other_hardware_are_predicted_by_the_same_rules() {
    let on = |hardware| move |options: &mut Options| options.hardware = hardware;
    case().options(on(Hardware::Nvme)).has_not("no-storage-driver");
    case().options(on(Hardware::Virtio)).has("no-storage-driver", Severity::Error, &initrd_path());
    case()
        .options(on(Hardware::Virtio))
        .root(initrd(&["virtio_pci", "virtio_blk", "ext4"]))
        .has_not("no-storage-driver");
}

#[test]
fn a_kernel_without_modules_is_judged_by_its_configuration() {
    let config = |text: &'static str| {
        move |tree: TreeFs| {
            tree.without(&format!("/usr/lib/modules/{KERNEL}"))
                .file(&format!("/boot/config-{KERNEL}"), text)
                .file("/boot/grub/grub.cfg", good_grub().replace(&format!("  initrd {}\n", initrd_path()), ""))
        }
    };
    let all = "CONFIG_HYPERV=y\nCONFIG_HYPERV_STORAGE=y\nCONFIG_HYPERV_NET=y\nCONFIG_BLK_DEV_SD=y\nCONFIG_EXT4_FS=y\n";
    case().root(config(all)).has_not("no-storage-driver");
    case().root(config(all)).has_not("not-inspected");
    let kernel = format!("/boot/vmlinuz-{KERNEL}");
    case().root(config("CONFIG_HYPERV=m\n")).has("no-storage-driver", Severity::Error, &kernel);
    let nothing = |tree: TreeFs| config("")(tree).without(&format!("/boot/config-{KERNEL}"));
    case().root(nothing).has("not-inspected", Severity::Warning, &kernel);
}

#[test]
fn no_network_driver() {
    let dep = |tree: TreeFs| {
        tree.file(&format!("/usr/lib/modules/{KERNEL}/modules.dep"), "kernel/udf.ko:\nkernel/sr_mod.ko:\n")
    };
    let folder = format!("/usr/lib/modules/{KERNEL}");
    case().root(dep).root(initrd(&without("hv_netvsc"))).has("no-network-driver", Severity::Error, &folder);
    // On the root it is enough, unless dracut configures the network before.
    case().root(initrd(&without("hv_netvsc"))).has_not("no-network-driver");
    let dracut: &[(&str, &[u8])] = &[("usr/lib/dracut/hooks/x", b""), ("usr/libexec/nm-initrd-generator", b"")];
    let bytes = initramfs(&without("hv_netvsc"), dracut);
    case().root(|t| t.file(&initrd_path(), bytes)).has("no-network-driver", Severity::Warning, &initrd_path());
    let bytes = initramfs(&NEEDED, dracut);
    case().root(|t| t.file(&initrd_path(), bytes)).has_not("no-network-driver");
}

#[test]
fn no_nvme() {
    case().root(initrd(&without("nvme"))).has("no-nvme", Severity::Note, &initrd_path());
    case().root(initrd(&without("pci-hyperv"))).options(|o| o.nvme = true).has(
        "no-nvme",
        Severity::Error,
        &initrd_path(),
    );
    case().options(|o| o.nvme = true).has_not("no-nvme");
}

#[test]
fn no_kernel() {
    let none = |tree: TreeFs| tree.without(&format!("/boot/vmlinuz-{KERNEL}"));
    case().root(none).has("no-kernel", Severity::Error, "");
    case().has_not("no-kernel");
}

#[test]
fn arm64_and_32_bit() {
    let path = format!("/boot/vmlinuz-{KERNEL}");
    let with = |bytes: Vec<u8>| {
        let path = path.clone();
        move |tree: TreeFs| tree.file(&path, bytes)
    };
    let arm = || pe(0xaa64, &[], b"");
    case().root(with(arm())).has("arm64", Severity::Error, &path);
    case().root(with(arm())).options(|o| o.arm64 = true).has("arm64", Severity::Note, &path);
    case().has_not("arm64");
    case().root(with(kernel(KERNEL, 0))).has("not-64-bit", Severity::Error, &path);
    case().has_not("not-64-bit");
}

#[test]
fn initramfs_damaged() {
    let damaged = |tree: TreeFs| tree.file(&initrd_path(), &initramfs(&NEEDED, &[])[..700]);
    case().root(damaged).has("initramfs-damaged", Severity::Error, &initrd_path());
    let missing = |tree: TreeFs| tree.without(&initrd_path());
    let finding = case().root(missing).has("initramfs-damaged", Severity::Error, &initrd_path());
    assert!(finding.message.contains("does not exist"), "{finding:?}");
    case().has_not("initramfs-damaged");
}

#[test]
fn no_provisioning() {
    let none = |tree: TreeFs| tree.without("/usr/bin/cloud-init").without("/usr/sbin/waagent");
    case().root(none).has("no-provisioning", Severity::Error, "");
    let specialized = |options: &mut Options| options.destination = Destination::GallerySpecialized;
    case().root(none).options(specialized).has("no-provisioning", Severity::Note, "");
    let disabled = |tree: TreeFs| tree.file("/etc/cloud/cloud-init.disabled", "").without("/usr/sbin/waagent");
    case().root(disabled).has("no-provisioning", Severity::Error, "/etc/cloud/cloud-init.disabled");
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
    case().root(masked).has("no-provisioning", Severity::Error, "/etc/systemd/system/cloud-init.service");
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
fn no_fallback_loader() {
    let path = "/boot/efi/EFI/BOOT/BOOTX64.EFI";
    let none = |esp: TreeFs| esp.without("/EFI/BOOT/BOOTX64.EFI").file("/EFI/debian/grubx64.efi", pe(0x8664, &[], b""));
    case().esp(none).has("no-fallback-loader", Severity::Error, path);
    case().has_not("no-fallback-loader");
    let generation = |generation| move |options: &mut Options| options.generation = Some(generation);
    case().esp(none).options(generation(Generation::V1)).has_not("no-fallback-loader");
    let bios = |mut case: Case| {
        case.boot_sector[100..104].copy_from_slice(b"GRUB");
        case
    };
    bios(case()).esp(none).has("no-fallback-loader", Severity::Note, path);
    bios(case()).esp(none).options(generation(Generation::V2)).has("no-fallback-loader", Severity::Error, path);
    case().options(generation(Generation::V1)).has("no-bios-loader", Severity::Error, "");
    bios(case()).options(generation(Generation::V1)).has_not("no-bios-loader");
    let without_esp = Case { esp: None, ..case() };
    without_esp.has("no-fallback-loader", Severity::Error, "EFI system partition");
}

#[test]
fn shim_needs_its_second_stage() {
    let shim = |esp: TreeFs| {
        let sections: &[(&str, &[u8])] = &[(".sbat", b"sbat,1,SBAT Version\nshim,4,UEFI shim\n")];
        esp.file("/EFI/BOOT/BOOTX64.EFI", pe(0x8664, sections, &microsoft()))
    };
    let grub = |esp: TreeFs| {
        esp.file("/EFI/BOOT/grubx64.efi", pe(0x8664, &[], &microsoft())).file("/EFI/debian/grub.cfg", "configfile x\n")
    };
    case().esp(shim).has("no-fallback-loader", Severity::Error, "/boot/efi/EFI/BOOT");
    case().esp(shim).esp(grub).has_not("no-fallback-loader");
    case().esp(shim).esp(grub).esp(|e| e.without("/EFI/debian")).has(
        "no-fallback-loader",
        Severity::Warning,
        "/boot/efi/EFI",
    );
    let fallback = |esp: TreeFs| esp.file("/EFI/BOOT/fbx64.efi", pe(0x8664, &[], b""));
    case().esp(shim).esp(fallback).has("no-fallback-loader", Severity::Error, "/boot/efi/EFI");
    case().esp(shim).esp(fallback).esp(|e| e.file("/EFI/debian/BOOTX64.CSV", "x")).has_not("no-fallback-loader");
}

#[test]
fn secure_boot() {
    let path = "/boot/efi/EFI/BOOT/BOOTX64.EFI";
    let unsigned = |esp: TreeFs| esp.file("/EFI/BOOT/BOOTX64.EFI", pe(0x8664, &[], b""));
    case().esp(unsigned).has("secure-boot", Severity::Note, path);
    case().esp(unsigned).options(|o| o.secure_boot = true).has("secure-boot", Severity::Error, path);
    case().options(|o| o.secure_boot = true).has_not("secure-boot");
}

#[test]
fn esp_damaged() {
    let damaged = |esp: TreeFs| esp.file("/EFI/BOOT/BOOTX64.EFI", "not a program");
    case().esp(damaged).has("esp-damaged", Severity::Error, "");
    case().has_not("esp-damaged");
}

#[test]
fn device_names_in_fstab() {
    let line = |line: &'static str| {
        move |t: TreeFs| t.file("/etc/fstab", format!("UUID={UUID} / ext4 defaults 0 1\n{line}\n"))
    };
    case().root(line("/dev/sdb1 /data ext4 defaults 0 2")).has("device-name", Severity::Error, "/etc/fstab");
    case().root(line("/dev/vdb1 /data ext4 nofail 0 2")).has("device-name", Severity::Warning, "/etc/fstab");
    case().root(line("/dev/mapper/vg-data /data ext4 defaults 0 2")).has("device-name", Severity::Error, "/etc/fstab");
    case().root(line("tmpfs /tmp tmpfs defaults 0 0")).has_not("device-name");
    let root = |t: TreeFs| t.file("/etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n");
    let finding = case().root(root).has("device-name", Severity::Warning, "/etc/fstab");
    assert!(finding.remedy.contains(UUID), "{finding:?}");
}

#[test]
fn device_names_on_the_command_line() {
    let path = "/boot/grub/grub.cfg";
    let with = |options: &str| {
        let text = grub(&format!("{options} console=ttyS0"));
        move |tree: TreeFs| tree.file(path, text)
    };
    case().root(with("root=/dev/vda1")).has("device-name", Severity::Error, path);
    case().root(with("root=/dev/sda1")).has("device-name", Severity::Warning, path);
    case().root(with(&format!("root=UUID={UUID} resume=/dev/sda5"))).has("device-name", Severity::Warning, path);
    case().root(with("root=PARTUUID=aaaaaaaa-0000-0000-0000-000000000001")).has_not("device-name");
    case().root(with("root=LABEL=root")).has_not("device-name");
    let crypttab = |t: TreeFs| t.file("/etc/crypttab", "data UUID=cccc none luks\n");
    case().root(crypttab).has("device-name", Severity::Warning, "/etc/crypttab");
}

#[test]
fn device_names_in_the_initramfs() {
    let with = |text: &'static [u8]| {
        let bytes = initramfs(&NEEDED, &[("etc/cmdline.d/90crypt.conf", text)]);
        move |tree: TreeFs| tree.file(&initrd_path(), bytes)
    };
    case().root(with(b"resume=UUID=cccc\n")).has("device-name", Severity::Warning, "etc/cmdline.d/90crypt.conf");
    case().root(with(b"rd.luks=0 root=LABEL=root\n")).has_not("device-name");
}

#[test]
fn fstab_missing() {
    let line = |line: &'static str| {
        move |t: TreeFs| t.file("/etc/fstab", format!("UUID={UUID} / ext4 defaults 0 1\n{line}\n"))
    };
    case().root(line("UUID=cccc-dddd /data ext4 defaults 0 2")).has("fstab-missing", Severity::Error, "/etc/fstab");
    case().root(line("UUID=cccc-dddd /data ext4 defaults,nofail 0 2")).has_not("fstab-missing");
    case().root(line("LABEL=ESP /boot/efi vfat defaults 0 2")).has_not("fstab-missing");
    case().root(line("PARTUUID=aaaaaaaa-0000-0000-0000-000000000015 /efi vfat defaults 0 2")).has(
        "fstab-missing",
        Severity::Error,
        "/etc/fstab",
    );
    let swap = |case: Case| Case { more: vec![(Content::Swap { hibernated: false }, "cccc-dddd")], ..case };
    swap(case()).root(line("UUID=cccc-dddd none swap sw 0 0")).has_not("fstab-missing");
}

#[test]
fn root_missing() {
    let path = "/boot/grub/grub.cfg";
    let with = |options: &'static str| move |t: TreeFs| t.file(path, grub(&format!("{options} console=ttyS0")));
    let finding = case().root(with("root=UUID=99999999-0000")).has("root-missing", Severity::Error, path);
    assert!(finding.remedy.contains(UUID) && finding.remedy.contains("update-grub"), "{finding:?}");
    case().root(with("root=LABEL=other")).has("root-missing", Severity::Error, path);
    case().has_not("root-missing");
    case().root(with("root=LABEL=root rd.lvm.lv=vg/root")).has("root-missing", Severity::Warning, path);
    let search = |esp: TreeFs| esp.file("/EFI/debian/grub.cfg", "search.fs_uuid 99999999-8888-7777 root\n");
    case().esp(search).has("root-missing", Severity::Error, "/boot/efi/EFI/debian/grub.cfg");
    let right = |esp: TreeFs| esp.file("/EFI/debian/grub.cfg", format!("search.fs_uuid {UUID} root\n"));
    case().esp(right).has_not("root-missing");
}

#[test]
fn driver_forbidden() {
    let path = "/etc/modprobe.d/x.conf";
    let with = |text: &'static str| move |t: TreeFs| t.file(path, text);
    case().root(with("blacklist hv_storvsc\n")).has("driver-forbidden", Severity::Error, path);
    case().root(with("install hv-netvsc /bin/true\n")).has("driver-forbidden", Severity::Error, path);
    case().root(with("install udf /bin/false\n")).has("driver-forbidden", Severity::Warning, path);
    case()
        .root(with("install hv_netvsc /sbin/modprobe --ignore-install hv_netvsc\n#blacklist udf\nblacklist floppy\n"))
        .has_not("driver-forbidden");
    // A driver that is built in cannot be forbidden this way.
    case().root(with("blacklist vfat\n")).has_not("driver-forbidden");
    let inside = initramfs(&NEEDED, &[("etc/modprobe.d/y.conf", b"blacklist hv_vmbus\n")]);
    case().root(|t| t.file(&initrd_path(), inside)).has(
        "driver-forbidden",
        Severity::Error,
        "initramfs:/etc/modprobe.d/y.conf",
    );
    let line = grub(&format!("root=UUID={UUID} console=ttyS0 module_blacklist=floppy,hv_netvsc"));
    case().root(|t| t.file("/boot/grub/grub.cfg", line)).has(
        "driver-forbidden",
        Severity::Error,
        "/boot/grub/grub.cfg",
    );
}

#[test]
fn dracut_omits() {
    let path = "/etc/dracut.conf.d/x.conf";
    let with = |text: &'static str| {
        move |t: TreeFs| t.without("/usr/sbin/update-initramfs").file("/usr/bin/dracut", "").file(path, text)
    };
    case().root(with("omit_drivers+=\" hv_netvsc \"\n")).has("dracut-omits", Severity::Warning, path);
    case().root(with("add_drivers+=\"hv_vmbus hv_netvsc\"\n")).has("dracut-omits", Severity::Warning, path);
    case().root(with("add_drivers+=\" hv_vmbus hv_netvsc \"\nomit_drivers+=\" floppy \"\n")).has_not("dracut-omits");
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
fn swap_and_guest_tools() {
    let swap = |case: Case| Case { more: vec![(Content::Swap { hibernated: false }, "cccc")], ..case };
    swap(case()).has("swap-on-os-disk", Severity::Warning, "");
    let file = |t: TreeFs| t.file("/swapfile", "x").file("/etc/fstab", "/swapfile none swap sw 0 0\n");
    case().root(file).has("swap-on-os-disk", Severity::Warning, "/etc/fstab");
    case().has_not("swap-on-os-disk");
    let finding =
        case().root(|t| t.file("/usr/bin/vmtoolsd", "")).has("guest-tools", Severity::Note, "/usr/bin/vmtoolsd");
    assert_eq!(finding.remedy, "apt-get purge open-vm-tools");
    case().has_not("guest-tools");
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
    case().root(|t| t.file("/etc/os-release", "ID=void\n")).has("not-endorsed", Severity::Note, "");
    case().has_not("not-endorsed");
}

#[test]
fn a_unified_kernel_image_is_a_boot_entry() {
    let image = |options: &[u8], modules: &[&str]| {
        let (linux, initrd) = (kernel(KERNEL, 1), initramfs(modules, &[]));
        pe(
            0x8664,
            &[(".linux", &linux), (".initrd", &initrd), (".cmdline", options), (".uname", KERNEL.as_bytes())],
            &microsoft(),
        )
    };
    let with = |bytes: Vec<u8>| move |esp: TreeFs| esp.file("/EFI/Linux/debian.efi", bytes);
    let no_grub = |tree: TreeFs| tree.without("/boot");
    let options = format!("root=UUID={UUID} console=ttyS0\0");
    let (system, findings) = case().root(no_grub).esp(with(image(options.as_bytes(), &NEEDED))).run();
    assert_eq!(findings, []);
    assert_eq!(system.unwrap().kernels, [KERNEL]);
    let path = "/boot/efi/EFI/Linux/debian.efi";
    let missing = image(options.as_bytes(), &without("hv_storvsc"));
    case().root(no_grub).esp(with(missing)).has("no-storage-driver", Severity::Error, path);
    let wrong = image(b"root=UUID=9999-0000 console=ttyS0", &NEEDED);
    case().root(no_grub).esp(with(wrong)).has("root-missing", Severity::Error, path);
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
