//! Partition tables. They show whether a disk is complete, and which generation of machines boots it.

mod gpt;
mod mbr;

use crate::{DiskError, DiskReader};

pub(crate) use gpt::GptCopy;
use gpt::SIGNATURE;
pub use gpt::{PartitionType, types};
pub(crate) use mbr::is_extended;

/// The sector size of disks in Azure in bytes.
pub(crate) const SECTOR: u64 = 512;

/// The length of the boot code in the first sector. A disk signature and the partition entries follow.
const BOOT_CODE: usize = 440;

/// The kind of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// The disk has no partition table.
    None,
    /// A master boot record.
    Mbr,
    /// A GUID partition table for sectors of 512 bytes, with valid checksums.
    Gpt {
        /// The backup of the table.
        backup: Backup,
    },
    /// A GUID partition table for sectors of 4,096 bytes.
    Gpt4096,
    /// A GUID partition table that systems do not accept.
    DamagedGpt {
        /// What is wrong.
        fault: GptFault,
        /// Whether the last sector holds a valid backup.
        backup_is_valid: bool,
    },
}

/// The backup of a GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backup {
    /// It is valid and at the end of the disk.
    AtEnd,
    /// It is valid and at the place that the first copy names, but not at the end of the disk.
    BeforeEnd,
    /// It is missing, damaged, or different from the first copy.
    Invalid,
}

/// What is wrong with a GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GptFault {
    /// No master boot record protects it.
    NoProtectiveMbr,
    /// The protective entry does not begin at sector 1.
    ProtectiveMbrElsewhere,
    /// There is a protective master boot record, but no header in sector 1.
    NoHeader,
    /// The checksum of header or entries is wrong, or the header names another sector as its place.
    Checksum,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number as operating systems count: entries of a GPT from 1, primary partitions of an MBR 1 to 4, logical
    /// ones from 5.
    pub number: u32,
    /// Its name. Only partitions of a GPT have one.
    pub name: String,
    /// Its type.
    pub kind: PartitionType,
    /// Its first sector.
    pub first: u64,
    /// Its last sector. It is less than `first` if the range is empty.
    pub last: u64,
    /// Whether it is marked as bootable by BIOS: the active flag of an MBR, attribute bit 2 of a GPT.
    pub bootable: bool,
}

impl Partition {
    /// The name of the partition in messages.
    #[must_use]
    pub fn label(&self) -> String {
        match self.name.as_str() {
            "" => format!("partition {}", self.number),
            name => format!("partition {} ('{}')", self.number, name.escape_debug()),
        }
    }
}

/// The partition table of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// The kind of the table.
    pub kind: TableKind,
    /// The used entries of the table, including those with invalid ranges.
    pub partitions: Vec<Partition>,
    /// Whether the first sector holds boot code.
    pub boot_code: bool,
    /// LastUsableLBA of a GPT: the last sector that partitions may use.
    pub last_usable: Option<u64>,
    /// The sector at which a record of the chain of logical partitions is missing.
    pub broken_chain: Option<u64>,
}

impl PartitionTable {
    /// Reads the partition table of a disk with sectors of 512 bytes.
    ///
    /// # Errors
    /// [`DiskError`] if the disk cannot be read. A damaged table is not an error.
    pub fn read(disk: &dyn DiskReader) -> Result<Self, DiskError> {
        let mut table = Self {
            kind: TableKind::None,
            partitions: Vec::new(),
            boot_code: false,
            last_usable: None,
            broken_chain: None,
        };
        if disk.size() < 2 * SECTOR {
            return Ok(table);
        }
        let mut sectors = [0; 1024];
        disk.read_at(0, &mut sectors)?;
        let (first, second) = sectors.split_at(512);
        table.boot_code = !crate::chunk::is_zero(&first[..BOOT_CODE]);
        let entries = mbr::entries(first);
        let protective: Vec<_> = entries.iter().filter(|entry| entry.kind == mbr::PROTECTIVE).collect();
        let header = second.starts_with(SIGNATURE);
        if !header && gpt::is_for_4096(disk)? {
            table.kind = TableKind::Gpt4096;
        } else if !protective.is_empty() && header {
            let at_sector_1 = protective.iter().any(|entry| entry.first == 1);
            table.read_gpt(disk, at_sector_1)?;
        } else if protective.is_empty() && !entries.is_empty() {
            // A GPT header behind an MBR with other partitions is a remainder of an earlier use of the disk.
            table.kind = TableKind::Mbr;
            let (partitions, broken_chain) = mbr::partitions(disk, &entries)?;
            (table.partitions, table.broken_chain) = (partitions, broken_chain);
        } else if !protective.is_empty() || header {
            // Firmware and kernels use a GPT only behind a protective MBR.
            let fault = if header { GptFault::NoProtectiveMbr } else { GptFault::NoHeader };
            table.damaged(disk, fault)?;
        }
        Ok(table)
    }

    fn read_gpt(&mut self, disk: &dyn DiskReader, at_sector_1: bool) -> Result<(), DiskError> {
        let Some(gpt) = GptCopy::read(disk, 1, SECTOR)? else { return self.damaged(disk, GptFault::Checksum) };
        if !at_sector_1 {
            return self.damaged(disk, GptFault::ProtectiveMbrElsewhere);
        }
        self.kind = TableKind::Gpt { backup: gpt.backup(disk)? };
        self.last_usable = Some(gpt.last_usable);
        self.partitions = gpt.partitions();
        Ok(())
    }

    fn damaged(&mut self, disk: &dyn DiskReader, fault: GptFault) -> Result<(), DiskError> {
        let last = (disk.size() / SECTOR).saturating_sub(1);
        let backup = if last > 1 { GptCopy::read(disk, last, SECTOR)? } else { None };
        self.kind = TableKind::DamagedGpt { fault, backup_is_valid: backup.is_some_and(|backup| backup.other == 1) };
        Ok(())
    }

    /// Whether a partition has this type.
    #[must_use]
    pub fn has(&self, kind: PartitionType) -> bool {
        self.partitions.iter().any(|partition| partition.kind == kind)
    }
}
