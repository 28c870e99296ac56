//! Devices that fstab, the kernel command line and the initramfs name.

use super::*;

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
