use super::*;
use crate::budget::{Budget, Limits};
use crate::fs::FsKind;
use crate::fs::tree::TreeFs;
use crate::root::Held;

const DEBIAN: &str = r#"
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   set boot_once=true
else
   set default="0"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
  fi
}
search --no-floppy --fs-uuid --set=root 11111111-2222-3333-4444-555555555555
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-x' {
	insmod gzio
	linux	/boot/vmlinuz-6.1.0-13-amd64 root=UUID=aaaa ro  quiet console=ttyS0
	initrd	/boot/initrd.img-6.1.0-13-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-x' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-13-amd64' $menuentry_id_option 'gnulinux-13' {
		linux	/boot/vmlinuz-6.1.0-13-amd64 root=UUID=aaaa ro
		initrd	/boot/initrd.img-6.1.0-13-amd64
	}
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-9-amd64' $menuentry_id_option 'gnulinux-9' {
		linux	/boot/vmlinuz-6.1.0-9-amd64 root=UUID=aaaa ro
		initrd	/boot/early.img /boot/initrd.img-6.1.0-9-amd64
	}
}
menuentry 'UEFI Firmware Settings' { fwsetup }
"#;

fn boot(tree: &TreeFs) -> Boot {
    let budget = Budget::new(Limits::default());
    Boot::read(&Root::new(Held::Borrowed(tree), &budget), Some("/boot/efi"))
}

fn debian(config: &str) -> TreeFs {
    let versions = ["6.1.0-13-amd64", "6.1.0-9-amd64"];
    versions.iter().fold(TreeFs::new(FsKind::Ext, "x").file("/boot/grub/grub.cfg", config), |tree, version| {
        tree.file(&format!("/boot/vmlinuz-{version}"), "").file(&format!("/boot/initrd.img-{version}"), "")
    })
}

#[test]
fn a_generated_configuration_is_read() {
    let boot = boot(&debian(DEBIAN));
    assert_eq!(boot.entries.len(), 3);
    assert_eq!(boot.default, Some(0));
    let first = &boot.entries[0];
    assert_eq!(first.kernel, "/boot/vmlinuz-6.1.0-13-amd64");
    assert_eq!(first.argument("root"), Some("UUID=aaaa"));
    assert_eq!(first.arguments("console").collect::<Vec<_>>(), ["ttyS0"]);
    assert_eq!(boot.entries[2].position, [1, 1]);
    assert_eq!(boot.entries[2].initrds, ["/boot/early.img", "/boot/initrd.img-6.1.0-9-amd64"]);
    assert_eq!(boot.searches, [("11111111-2222-3333-4444-555555555555".to_owned(), "/boot/grub/grub.cfg".to_owned())]);
}

#[test]
fn the_default_can_be_saved_or_in_a_submenu() {
    for (value, index) in [("1>1", 2), ("gnulinux-advanced-x>gnulinux-9", 2), ("gnulinux-13", 1), ("1", 1)] {
        let text = DEBIAN.replace("set default=\"0\"", &format!("set default=\"{value}\""));
        assert_eq!(boot(&debian(&text)).default, Some(index), "{value}");
    }
    let saved = DEBIAN.replace("set default=\"0\"", "set default=\"${saved_entry}\"");
    let tree = debian(&saved).file("/boot/grub/grubenv", "# GRUB Environment Block\nsaved_entry=gnulinux-9\n####");
    assert_eq!(boot(&tree).default, Some(2));
    assert_eq!(boot(&debian(&saved)).default, Some(0), "no saved entry");
    let unknown = DEBIAN.replace("set default=\"0\"", "set default=\"gone\"");
    assert_eq!(boot(&debian(&unknown)).default, None);
}

#[test]
fn a_separate_boot_partition_and_a_subvolume_are_located() {
    let separate = DEBIAN.replace("/boot/vmlinuz", "/vmlinuz").replace("/boot/initrd", "/initrd");
    assert_eq!(boot(&debian(&separate)).entries[0].kernel, "/boot/vmlinuz-6.1.0-13-amd64");
    let subvolume = DEBIAN.replace("/boot/vmlinuz", "($root)/@/boot/vmlinuz");
    assert_eq!(boot(&debian(&subvolume)).entries[0].kernel, "/boot/vmlinuz-6.1.0-13-amd64");
}

#[test]
fn red_hat_entries_are_read_newest_first() {
    let entry = |version: &str| {
        format!(
            "title Red Hat ({version})\nversion {version}\nlinux /vmlinuz-{version}\ninitrd /initramfs-{version}.img \
             $tuned_initrd\noptions $kernelopts $tuned_params console=ttyS0\n"
        )
    };
    let tree = TreeFs::new(FsKind::Xfs, "x")
        .file("/boot/grub2/grub.cfg", "set default=\"${saved_entry}\"\ninsmod blscfg\nblscfg\n")
        .file("/boot/grub2/grubenv", "saved_entry=\nkernelopts=root=/dev/mapper/rhel-root ro\n")
        .file("/boot/loader/entries/m-4.18.0-80.conf", entry("4.18.0-80"))
        .file("/boot/loader/entries/m-4.18.0-305.conf", entry("4.18.0-305"))
        .file("/boot/vmlinuz-4.18.0-305", "");
    let boot = boot(&tree);
    assert_eq!(boot.entries[0].id, "m-4.18.0-305");
    assert_eq!(boot.default, Some(0));
    assert_eq!(boot.entries[0].kernel, "/boot/vmlinuz-4.18.0-305");
    assert_eq!(boot.entries[0].initrds, ["/initramfs-4.18.0-305.img"]);
    assert_eq!(
        boot.entries[0].options.split_whitespace().collect::<Vec<_>>(),
        ["root=/dev/mapper/rhel-root", "ro", "console=ttyS0"]
    );
}

#[test]
fn systemd_boot_uses_the_pattern_of_its_configuration() {
    let entry = "title x\nlinux /m/6.1/linux\ninitrd /m/6.1/initrd\noptions root=UUID=a\noptions quiet\n";
    let tree = TreeFs::new(FsKind::Ext, "x")
        .file("/boot/efi/loader/loader.conf", "timeout 3\ndefault m-6.1*\n")
        .file("/boot/efi/loader/entries/m-6.1.conf", entry)
        .file("/boot/efi/loader/entries/m-6.9.conf", entry)
        .file("/boot/efi/m/6.1/linux", "");
    let boot = boot(&tree);
    assert_eq!(boot.default_entry().unwrap().id, "m-6.1");
    assert_eq!(boot.entries[0].id, "m-6.9");
    assert_eq!(boot.entries[0].kernel, "/boot/efi/m/6.1/linux");
    assert_eq!(boot.entries[0].options, "root=UUID=a quiet");
}

#[test]
fn patterns_match_as_globs() {
    for (pattern, id, expected) in [
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c", "abc", true),
        ("abc.conf", "abc", true),
        ("b*", "abc", false),
        ("", "abc", false),
        ("a*d", "abc", false),
    ] {
        assert_eq!(loader_spec::matches(pattern, id), expected, "{pattern}");
    }
}
