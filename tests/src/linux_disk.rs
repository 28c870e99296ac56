//! A golden VHD with a small Linux system, for tests of the check inside the disk.
//!
//! It needs only `mke2fs` of the package e2fsprogs, which `tests/run.sh` installs.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use goldfleet_disk::GoldenSpec;
use goldfleet_model::manifest::Generation;

const MIB: u64 = 1 << 20;

/// The size of the disk.
const SIZE: u64 = 64 * MIB;

/// The offset of the only partition of a disk that [`GoldenSpec`] writes for generation v1.
const PARTITION: u64 = MIB;

/// The size of the file system.
const FILE_SYSTEM: u64 = 32 * MIB;

const UUID: &str = "11111111-2222-3333-4444-555555555555";

/// The version of the kernel.
pub const KERNEL: &str = "6.1.0-13-amd64";

/// Writes a disk of generation v1 with Debian 12: a kernel with all drivers built in, cloud-init, waagent and SSH. Its
/// only error is `cloud-init-datasource`: the datasource of Azure is not in the list.
pub fn write(path: &Path) {
    GoldenSpec { size: SIZE, generation: Generation::V1, extents: Vec::new(), seed: 1 }.write(path).unwrap();
    let root = tempfile::tempdir().unwrap();
    write_root(root.path());
    let volume = tempfile::NamedTempFile::new().unwrap();
    make_file_system(root.path(), volume.path());
    let disk = File::options().write(true).open(path).unwrap();
    disk.write_all_at(b"\xeb\x63\x90GRUB ", 0).unwrap();
    disk.write_all_at(&fs::read(volume.path()).unwrap(), PARTITION).unwrap();
}

fn make_file_system(root: &Path, volume: &Path) {
    // The program is in a folder that a user's PATH lacks. Its configuration differs between distributions, so that the
    // features are named here.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("mke2fs")
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-O",
            "none,extent,filetype,64bit,metadata_csum,has_journal",
            "-U",
            UUID,
            "-d",
        ])
        .args([root, volume])
        .arg(format!("{}k", FILE_SYSTEM >> 10))
        .env("PATH", path)
        .output()
        .unwrap_or_else(|error| {
            panic!("mke2fs of the package e2fsprogs is needed (tests/run.sh installs it): {error}")
        });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Folders are made here and not kept in the repository: Git keeps no empty folders.
fn write_root(root: &Path) {
    let modules = ["hv_vmbus", "hv_storvsc", "hv_netvsc", "sd_mod", "ext4", "nvme", "pci-hyperv", "udf", "sr_mod"];
    let modules: String = modules.iter().map(|module| format!("kernel/{module}.ko\n")).collect();
    let grub = format!(
        "set default=\"0\"\nsearch --no-floppy --fs-uuid --set=root {UUID}\nmenuentry 'Debian' {{\n  linux /boot/vmlinuz-{KERNEL} \
         root=UUID={UUID} ro console=ttyS0,115200\n}}\n"
    );
    let fstab = format!("UUID={UUID} / ext4 defaults 0 1\n");
    let python = "usr/lib/python3/dist-packages";
    let texts = [
        ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
        ("etc/shadow", "root:*:19000::::::\n"),
        ("etc/fstab", &fstab),
        ("etc/machine-id", ""),
        ("usr/lib/systemd/systemd", ""),
        ("usr/bin/cloud-init", ""),
        ("usr/lib/systemd/system-generators/cloud-init-generator", ""),
        (&format!("{python}/cloudinit/version.py"), "__VERSION__ = \"22.4.2\"\n"),
        ("etc/cloud/cloud.cfg", "datasource_list: [ Ec2, None ]\n"),
        ("usr/sbin/waagent", ""),
        ("etc/waagent.conf", "Provisioning.Agent=auto\n"),
        (&format!("{python}/azurelinuxagent/common/version.py"), "AGENT_VERSION = '2.9.1.1'\n"),
        ("usr/sbin/sshd", ""),
        ("boot/grub/grub.cfg", &grub),
        (&format!("usr/lib/modules/{KERNEL}/modules.builtin"), &modules),
        (&format!("usr/lib/modules/{KERNEL}/modules.dep"), ""),
    ];
    for (path, text) in texts {
        write_file(&root.join(path), text.as_bytes());
    }
    write_file(&root.join(format!("boot/vmlinuz-{KERNEL}")), &kernel());
    let enabled = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&enabled).unwrap();
    for service in ["walinuxagent", "ssh", "chrony"] {
        let unit = format!("/usr/lib/systemd/system/{service}.service");
        std::os::unix::fs::symlink(unit, enabled.join(format!("{service}.service"))).unwrap();
    }
}

fn write_file(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The header of a kernel for x86-64. Its fields are described in the kernel's `Documentation/arch/x86/boot.rst`.
fn kernel() -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x400_u16.to_le_bytes());
    image[0x236] = 1;
    let text = format!("{KERNEL} (build@host) #1 SMP");
    image[0x600..0x600 + text.len()].copy_from_slice(text.as_bytes());
    image
}
