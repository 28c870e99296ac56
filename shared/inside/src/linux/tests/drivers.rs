//! Drivers, kernels and initramfs.

use super::*;

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
fn no_storage_driver_for_usr() {
    let other = "99999999-0000-0000-0000-000000000000";
    let usr = |lvm: Option<(String, String)>| {
        let tree = |tree: TreeFs| {
            tree.file("/etc/fstab", format!("UUID={UUID} / ext4 defaults 0 1\nUUID={other} /usr xfs defaults 0 2\n"))
        };
        let fs = TreeFs::new(FsKind::Xfs, other).below(&root(), "/usr");
        Case { mounted: vec![(fs, lvm)], ..case().root(tree) }
    };
    let finding = usr(None).has("no-storage-driver", Severity::Error, &initrd_path());
    assert!(finding.message.ends_with("lacks xfs"), "{finding:?}");
    let mut modules = NEEDED.to_vec();
    modules.push("xfs");
    usr(None).root(initrd(&modules)).has_not("no-storage-driver");
    let finding = usr(Some(("vg".into(), "usr".into()))).root(initrd(&modules)).has(
        "no-storage-driver",
        Severity::Error,
        &initrd_path(),
    );
    assert!(finding.message.contains("dm_mod, the program lvm"), "{finding:?}");
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
    case().root(initrd(&without("pci-hyperv"))).options(|o| o.requirements.nvme = true).has(
        "no-nvme",
        Severity::Error,
        &initrd_path(),
    );
    case().options(|o| o.requirements.nvme = true).has_not("no-nvme");
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
    // A managed image does not state an architecture, so that of the virtual machines does not matter.
    case().root(with(arm())).options(|o| o.requirements.arm64 = true).has("arm64", Severity::Error, &path);
    let gallery = |o: &mut Options| {
        o.destination = Destination::GalleryGeneralized;
        o.requirements.arm64 = true;
    };
    case().root(with(arm())).options(gallery).has("arm64", Severity::Note, &path);
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
