//! Loaders and boot entries.

use super::*;

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
    case().esp(unsigned).options(|o| o.requirements.secure_boot = true).has("secure-boot", Severity::Error, path);
    case().options(|o| o.requirements.secure_boot = true).has_not("secure-boot");
}

#[test]
fn esp_damaged() {
    let damaged = |esp: TreeFs| esp.file("/EFI/BOOT/BOOTX64.EFI", "not a program");
    case().esp(damaged).has("esp-damaged", Severity::Error, "");
    case().has_not("esp-damaged");
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
    let found = case().root(no_grub).esp(with(wrong)).has("root-missing", Severity::Error, path);
    assert!(found.remedy.ends_with("then build the unified kernel image again"), "{found:?}");
    let silent = image(format!("root=UUID={UUID}").as_bytes(), &NEEDED);
    let found = case().root(no_grub).esp(with(silent)).has("no-serial-console", Severity::Warning, path);
    assert!(!found.remedy.contains("grub"), "{found:?}");
}

#[test]
fn remedies_are_for_the_loader_that_states_the_entry() {
    let entry =
        format!("linux /vmlinuz-{KERNEL}\ninitrd /initrd.img-{KERNEL}\noptions root=UUID={UUID} resume=/dev/vda3\n");
    let path = "/boot/loader/entries/debian.conf";
    let spec = |tree: TreeFs| tree.without("/boot/grub").file(path, &entry);
    let found = case().root(spec).has("device-name", Severity::Warning, path);
    assert_eq!(found.remedy, format!("Remove resume= from the kernel command line (in {path})"));
    let found = case().root(spec).has("no-serial-console", Severity::Warning, path);
    assert!(found.remedy.ends_with(&format!("(in {path})")), "{found:?}");
    // grubby changes such entries too.
    let red_hat = |tree: TreeFs| tree.file("/etc/os-release", "ID=rhel\nPRETTY_NAME=RHEL\n");
    let found = case().root(spec).root(red_hat).has("no-serial-console", Severity::Warning, path);
    assert!(found.remedy.starts_with("grubby --update-kernel=ALL"), "{found:?}");
}
