//! A Windows system for tests, without a fault until a test adds one.

use std::sync::Arc;

use goldfleet_disk::{Finding, MemoryDisk};
use goldfleet_model::system::System;

use super::{SOFTWARE, SYSTEM};
use crate::bcd::build as bcd;
use crate::budget::Budget;
use crate::finding::Findings;
use crate::fs::FsKind;
use crate::fs::tree::TreeFs;
use crate::hive::build::{Lists, Node, hive};
use crate::machine::{Machine, Mounted};
use crate::options::Options;
use crate::pe::build::{program, signature};
use crate::volumes::partitions::{ESP, Table};
use crate::volumes::{Partition, Volume};

pub(super) const SERVICES: &str = "ControlSet001\\Services";
pub(super) const STATE: &str = "Microsoft\\Windows\\CurrentVersion\\Setup\\State";
/// The GUID of the Windows partition, as text and as stored.
pub(super) const PARTITION: &str = "00112233-4455-6677-8899-aabbccddeeff";
const PARTITION_BYTES: [u8; 16] =
    [0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
const BASIC_DATA: &str = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7";

/// The parts of a disk with Windows.
pub(super) struct Sample {
    pub(super) system: Node,
    pub(super) software: Node,
    pub(super) bcd: Node,
    /// Files besides the hives.
    pub(super) windows: TreeFs,
    pub(super) esp: TreeFs,
    pub(super) options: Options,
    pub(super) table: Table,
    /// Whether the first partition is active.
    pub(super) active: bool,
}

impl Sample {
    /// Windows Server, generalised, for generation 2.
    pub(super) fn good() -> Self {
        let loader = program(0x8664, &signature("Microsoft Windows Production PCA 2011"));
        let mut windows = TreeFs::new(FsKind::Ntfs, "0123456789ABCDEF")
            .file("/Windows/System32/ntoskrnl.exe", program(0x8664, &[]))
            .dir("/Windows/Panther")
            .dir("/Windows/WinSxS");
        for driver in ["vmbus", "storvsc", "disk", "partmgr", "volmgr", "volsnap", "mountmgr"] {
            windows = windows.file(&format!("/Windows/System32/drivers/{driver}.sys"), "driver");
        }
        Self {
            system: system(),
            software: software(),
            bcd: bcd::store(bcd::device(6, 0, &PARTITION_BYTES, &[7; 16]), true),
            windows,
            esp: TreeFs::new(FsKind::Fat, "ABCD-1234").file("/EFI/BOOT/BOOTX64.EFI", loader),
            options: Options::default(),
            table: Table::Gpt,
            active: false,
        }
    }

    /// The same for generation 1.
    pub(super) fn bios() -> Self {
        let mut sample = Self::good();
        sample.table = Table::Mbr;
        sample.active = true;
        sample.esp = TreeFs::new(FsKind::Ntfs, "").file("/bootmgr", "");
        sample.bcd = bcd::store(bcd::device(6, 1, &0x20_0000_u64.to_le_bytes(), &0x1234_abcd_u32.to_le_bytes()), true);
        sample
    }

    pub(super) fn service(&mut self, name: &str, start: u32) -> &mut Self {
        self.system.dword(&format!("{SERVICES}\\{name}"), "Start", start);
        self
    }

    pub(super) fn file(&mut self, path: &str, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.windows = self.windows.clone().file(path, bytes);
        self
    }

    /// The file system of the Windows partition: the files, and the hives unless they are there.
    fn windows(&self) -> TreeFs {
        let mut tree = self.windows.clone();
        for (path, root) in [(SYSTEM, &self.system), (SOFTWARE, &self.software)] {
            if crate::fs::FileSystem::stat(&tree, path).is_err() {
                tree = tree.file(path, hive(root, Lists::Lh));
            }
        }
        tree
    }

    fn boot(&self) -> TreeFs {
        let path = if self.table == Table::Gpt { "/EFI/Microsoft/Boot/BCD" } else { "/Boot/BCD" };
        let empty = self.bcd.children.is_empty();
        if empty { self.esp.clone() } else { self.esp.clone().file(path, bcd::bytes(&self.bcd)) }
    }

    /// The machine with the two partitions.
    pub(super) fn machine(&self) -> Machine {
        let disk = Arc::new(MemoryDisk(vec![0; 4 << 20]));
        let volume = |number: u32, kind: &str, id: &str| {
            let start = u64::from(number) << 20;
            let mut volume = Volume::new(
                format!("partition {number}"),
                disk.clone(),
                std::iter::once(start..start + (1 << 20)).collect(),
            );
            let part_uuid = if self.table == Table::Gpt { id.to_owned() } else { format!("1234abcd-0{number}") };
            volume.partition = Some(Partition { number, kind: kind.into(), part_uuid, name: String::new() });
            volume
        };
        let (esp, windows) = (volume(1, ESP, "first"), volume(2, BASIC_DATA, PARTITION));
        let mut boot_sector = vec![0; 512];
        boot_sector[446] = if self.active { 0x80 } else { 0 };
        Machine {
            table: self.table,
            boot_sector,
            volumes: vec![esp.clone(), windows.clone()],
            signatures: Vec::new(),
            mounted: vec![
                Mounted { volume: esp, fs: Box::new(self.boot()) },
                Mounted { volume: windows, fs: Box::new(self.windows()) },
            ],
            options: self.options.clone(),
            budget: Arc::new(Budget::new(self.options.limits)),
        }
    }

    /// Checks the system.
    pub(super) fn check(&self) -> (Option<System>, Vec<Finding>) {
        let mut findings = Findings::new();
        let system = super::check(&self.machine(), &mut findings);
        (system, findings.into_list())
    }
}

fn system() -> Node {
    let mut root = Node::default();
    let control = "ControlSet001\\Control";
    root.dword("Select", "Current", 1)
        .dword(&format!("{control}\\Terminal Server"), "fDenyTSConnections", 0)
        .dword(&format!("{control}\\Terminal Server\\WinStations\\RDP-Tcp"), "PortNumber", 3389)
        .dword(&format!("{control}\\TimeZoneInformation"), "RealTimeIsUniversal", 1)
        .strings(&format!("{control}\\Session Manager\\Memory Management"), "PagingFiles", &["D:\\pagefile.sys"])
        .dword(&format!("{SERVICES}\\partmgr\\Parameters"), "SanPolicy", 1)
        .string(
            &format!("{SERVICES}\\SharedAccess\\Parameters\\FirewallPolicy\\FirewallRules"),
            "RemoteDesktop-UserMode-In-TCP",
            "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|",
        )
        .dword(&format!("{SERVICES}\\Tcpip\\Parameters\\Interfaces\\{{1}}"), "EnableDHCP", 1)
        .dword(&format!("{SERVICES}\\Tcpip\\Parameters\\Interfaces\\{{loopback}}"), "EnableDHCP", 0)
        .string(
            &format!("{SERVICES}\\WindowsAzureGuestAgent"),
            "ImagePath",
            "C:\\WindowsAzure\\GuestAgent_2.7.41491.1172_2025-01-01_101010\\WindowsAzureGuestAgent.exe",
        );
    let starts = [
        (0, "vmbus storvsc disk partmgr volmgr volsnap mountmgr stornvme pci vpci"),
        (1, "cdrom"),
        (2, "BFE Dhcp Dnscache IKEEXT iphlpsvc mpssvc nsi"),
        (3, "netvsc TermService Netlogon Netman WinHttpAutoProxySvc"),
    ];
    for (start, names) in starts {
        for name in names.split(' ') {
            root.dword(&format!("{SERVICES}\\{name}"), "Start", start);
        }
    }
    root.string(&format!("{SERVICES}\\storvsc"), "ImagePath", "\\SystemRoot\\System32\\drivers\\storvsc.sys");
    root
}

fn software() -> Node {
    let mut root = Node::default();
    let version = "Microsoft\\Windows NT\\CurrentVersion";
    root.string(STATE, "ImageState", "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE")
        .string(version, "ProductName", "Windows Server 2022 Datacenter")
        .string(version, "DisplayVersion", "21H2")
        .string(version, "CurrentBuild", "20348")
        .dword(version, "CurrentMajorVersionNumber", 10)
        .dword(version, "CurrentMinorVersionNumber", 0)
        .dword(version, "UBR", 2699)
        .strings("Microsoft\\Windows\\CurrentVersion\\Component Based Servicing", "x", &[]);
    root
}
