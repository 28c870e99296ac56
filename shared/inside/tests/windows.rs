//! A disk with Windows, made of its parts by the tools that others use: GPT, EFI system partition, NTFS, hives.
//!
//! There is no Windows in it: it tests what is read, not whether Windows boots.
#![allow(clippy::unwrap_used)]

mod tools;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use goldfleet_disk::{DiskReader, Severity};
use goldfleet_inside::budget::Limits;
use goldfleet_inside::{Options, inspect};
use goldfleet_model::manifest::Generation;
use goldfleet_model::system::Architecture;
use proptest::prelude::*;
use tools::ntfs::Volume;
use tools::{Damaged, RawFile, damaged_config, empty_hive, run, text};

/// The GUID of the Windows partition, as text and as a boot configuration stores it.
const PARTITION: &str = "00112233-4455-6677-8899-AABBCCDDEEFF";
const PARTITION_BYTES: [u8; 16] =
    [0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
const ENTRY: &str = "{11111111-2222-3333-4444-555555555555}";
const MEBIBYTE: u64 = 1 << 20;
const ESP_MEBIBYTES: u64 = 40;
const NTFS_MEBIBYTES: u64 = 40;

/// A program that is not signed, from the package systemd-boot-efi.
const PROGRAM: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// A text for hivexregedit, which does not make the keys above a key.
#[derive(Default)]
struct Registry {
    text: String,
    known: Vec<String>,
}

impl Registry {
    fn set(&mut self, key: &str, value: &str) -> &mut Self {
        let parts: Vec<&str> = key.split('\\').collect();
        for length in 1..parts.len() {
            let parent = parts[..length].join("\\");
            if !self.known.contains(&parent) {
                write!(self.text, "[\\{parent}]\n\n").unwrap();
                self.known.push(parent);
            }
        }
        self.known.push(key.to_owned());
        write!(self.text, "[\\{key}]\n{value}\n\n").unwrap();
        self
    }

    fn write(&self, path: &Path) {
        fs::write(path, empty_hive()).unwrap();
        let merged = path.with_extension("reg");
        fs::write(&merged, format!("Windows Registry Editor Version 5.00\n\n{}", self.text)).unwrap();
        run("libwin-hivex-perl", "hivexregedit", &["--merge", text(path), text(&merged)]);
    }
}

fn system() -> Registry {
    let mut registry = Registry::default();
    registry.set("Select", "\"Current\"=dword:00000001");
    let services = "ControlSet001\\Services";
    let starts = [
        (0, "vmbus storvsc disk partmgr volmgr volsnap mountmgr stornvme"),
        (1, "cdrom"),
        (2, "BFE Dhcp Dnscache mpssvc nsi WindowsAzureGuestAgent"),
        (3, "netvsc TermService"),
    ];
    for (start, names) in starts {
        for name in names.split(' ') {
            registry.set(&format!("{services}\\{name}"), &format!("\"Start\"=dword:{start:08x}"));
        }
    }
    registry
        .set(&format!("{services}\\partmgr\\Parameters"), "\"SanPolicy\"=dword:00000001")
        .set("ControlSet001\\Control\\Terminal Server", "\"fDenyTSConnections\"=dword:00000000")
        .set("ControlSet001\\Control\\TimeZoneInformation", "\"RealTimeIsUniversal\"=dword:00000001");
    registry
}

fn software() -> Registry {
    let mut registry = Registry::default();
    registry
        .set(
            "Microsoft\\Windows NT\\CurrentVersion",
            "\"ProductName\"=\"Windows Server 2022 Datacenter\"\n\"CurrentBuild\"=\"20348\"\n\"UBR\"=dword:00000a8b",
        )
        .set(
            "Microsoft\\Windows\\CurrentVersion\\Setup\\State",
            "\"ImageState\"=\"IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE\"",
        );
    registry
}

fn boot_configuration() -> Registry {
    let mut device = vec![0; 0x58];
    device[16] = 6;
    device[24] = 0x48;
    device[0x20..0x30].copy_from_slice(&PARTITION_BYTES);
    let bytes = |data: &[u8]| data.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(",");
    let mut registry = Registry::default();
    let manager = "Objects\\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\\Elements\\23000003";
    registry.set(manager, &format!("\"Element\"=\"{ENTRY}\""));
    for number in ["11000001", "21000001"] {
        registry.set(&format!("Objects\\{ENTRY}\\Elements\\{number}"), &format!("\"Element\"=hex:{}", bytes(&device)));
    }
    registry.set(&format!("Objects\\{ENTRY}\\Elements\\260000b0"), "\"Element\"=hex:01");
    registry
}

/// Makes the disk. `change` may change the registry and the files before.
fn disk(folder: &Path, change: impl FnOnce(&mut Registry, &mut Registry, &Path)) -> PathBuf {
    assert!(fs::exists(PROGRAM).unwrap(), "the package systemd-boot-efi is needed (tests/run.sh installs it)");
    let (mut system, mut software) = (system(), software());
    let mut ntfs = Volume::new(NTFS_MEBIBYTES, &[]);
    let windows = ntfs.path("Windows/System32");
    for folder in ["config", "drivers"] {
        fs::create_dir_all(windows.join(folder)).unwrap();
    }
    for name in ["vmbus", "storvsc", "disk", "partmgr", "volmgr", "volsnap", "mountmgr"] {
        fs::copy(PROGRAM, windows.join(format!("drivers/{name}.sys"))).unwrap();
    }
    fs::copy(PROGRAM, windows.join("ntoskrnl.exe")).unwrap();
    change(&mut system, &mut software, &ntfs.path(""));
    for (name, registry) in [("SYSTEM", &system), ("SOFTWARE", &software)] {
        let hive = folder.join(name);
        registry.write(&hive);
        fs::copy(&hive, windows.join("config").join(name)).unwrap();
    }
    ntfs.unmount();
    let esp = folder.join("esp");
    File::create(&esp).unwrap().set_len(ESP_MEBIBYTES * MEBIBYTE).unwrap();
    run("dosfstools", "mkfs.vfat", &["-F", "32", "-n", "SYSTEM", text(&esp)]);
    let folders = ["::/EFI", "::/EFI/BOOT", "::/EFI/Microsoft", "::/EFI/Microsoft/Boot"];
    run("mtools", "mmd", &[&["-i", text(&esp)], &folders[..]].concat());
    let bcd = folder.join("BCD");
    boot_configuration().write(&bcd);
    run("mtools", "mcopy", &["-i", text(&esp), PROGRAM, "::/EFI/BOOT/BOOTX64.EFI"]);
    run("mtools", "mcopy", &["-i", text(&esp), text(&bcd), "::/EFI/Microsoft/Boot/BCD"]);
    assemble(folder, &esp, &ntfs.image)
}

/// Writes both volumes into a disk with a GPT.
fn assemble(folder: &Path, esp: &Path, ntfs: &Path) -> PathBuf {
    let path = folder.join("disk");
    let disk = File::create(&path).unwrap();
    disk.set_len((ESP_MEBIBYTES + NTFS_MEBIBYTES + 2) * MEBIBYTE).unwrap();
    let (first, second) = (format!("1:2048:+{ESP_MEBIBYTES}M"), format!("2:0:+{NTFS_MEBIBYTES}M"));
    let partition = format!("2:{PARTITION}");
    let arguments = ["-n", &first, "-t", "1:ef00", "-n", &second, "-t", "2:0700", "-u", &partition, text(&path)];
    run("gdisk", "sgdisk", &arguments);
    for (volume, start) in [(esp, MEBIBYTE), (ntfs, (1 + ESP_MEBIBYTES) * MEBIBYTE)] {
        disk.write_all_at(&fs::read(volume).unwrap(), start).unwrap();
    }
    path
}

#[test]
fn a_prepared_disk_is_recognised_with_nothing_but_notes() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk(folder.path(), |_, _, _| {});
    let inspection = inspect(Arc::new(RawFile::open(&path)), &Options::default());
    let system = inspection.system.unwrap();
    assert_eq!(system.name, "Windows Server 2022 Datacenter");
    assert_eq!(system.version, "20348.2699");
    assert_eq!((system.architecture, system.generations), (Some(Architecture::X64), vec![Generation::V2]));
    let codes: Vec<(&str, Severity)> =
        inspection.findings.iter().map(|finding| (finding.code, finding.severity)).collect();
    // The loader on this disk is systemd's, which Microsoft did not sign.
    assert_eq!(codes, [("secure-boot", Severity::Note), ("system", Severity::Note)]);
    println!("{:?}", inspection.usage);
    assert!(inspection.usage.bytes_read < 64 << 20, "{:?}", inspection.usage);
}

#[test]
fn faults_are_found_on_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk(folder.path(), |system, software, root| {
        system.set("ControlSet001\\Services\\storvsc\\StartOverride", "\"0\"=dword:00000003");
        system.set("ControlSet001\\Services\\viostor", "\"Start\"=dword:00000000");
        software.set("Microsoft\\Windows\\CurrentVersion\\Setup\\State", "\"ImageState\"=\"IMAGE_STATE_COMPLETE\"");
        fs::write(root.join("hiberfil.sys"), "HIBR").unwrap();
        fs::create_dir_all(root.join("Windows/Panther")).unwrap();
        fs::write(root.join("Windows/Panther/setupact.log"), "").unwrap();
    });
    let inspection = inspect(Arc::new(RawFile::open(&path)), &Options::default());
    let mut codes: Vec<&str> = inspection.findings.iter().map(|finding| finding.code).collect();
    codes.sort_unstable();
    let expected = [
        "boot-driver",
        "hibernated",
        "leftover-driver",
        "not-deprovisioned",
        "not-generalised",
        "secure-boot",
        "system",
    ];
    assert_eq!(codes, expected);
}

#[test]
fn a_damaged_disk_is_inspected_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk(folder.path(), |_, _, _| {});
    let disk: Arc<dyn DiskReader> = Arc::new(RawFile::open(&path));
    // Sectors that hold something.
    let mut sector = [0; 512];
    let mut used = Vec::new();
    for offset in (0..disk.size()).step_by(512) {
        disk.read_at(offset, &mut sector).unwrap();
        if sector.iter().any(|byte| *byte != 0) {
            used.push(offset);
        }
    }
    let place = (0..used.len(), 0_u64..512).prop_map(move |(sector, byte)| used[sector] + byte);
    proptest!(damaged_config(), |(changes in prop::collection::vec((place, any::<u8>()), 1..200))| {
        let damaged = Arc::new(Damaged { disk: Arc::clone(&disk), changes });
        let inspection = inspect(damaged, &Options::default());
        let stopped = inspection.findings.iter().find(|finding| finding.message.starts_with("the inspection"));
        prop_assert!(stopped.is_none(), "{stopped:?}");
        prop_assert!(inspection.usage.memory <= Limits::default().memory, "{:?}", inspection.usage);
    });
}
