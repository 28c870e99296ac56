//! Checks of the partition table: whether the disk is complete, and which generation boots it.

use std::cmp::Reverse;

use super::{Check, MAX_SIZE, MAX_SIZE_V1};
use crate::azure::AzureDisk;
use crate::codes;
use crate::open::OpenDisk;
use crate::partitions::{Backup, GptFault, Partition, PartitionTable, SECTOR, TableKind, is_extended, types};
use crate::{DiskError, DiskReader, Finding, Generation, Severity};

impl Check<'_> {
    pub(super) fn table(&mut self, image: &OpenDisk, azure: &AzureDisk) -> Result<(), DiskError> {
        // The table has to fit the original disk, without the appended zeros.
        let original = PartitionTable::read(&*image.disk)?;
        let sectors = image.disk.size() / SECTOR;
        let repaired = azure.changes().iter().any(|change| change.code == codes::GPT_REPAIRED.name);
        let table = if repaired { PartitionTable::read(azure)? } else { original };
        let has_table = !matches!(table.kind, TableKind::None);
        if image.sector_size != SECTOR && has_table && table.kind != TableKind::Gpt4096 {
            let message =
                format!("the disk has sectors of {} bytes, and its partition table counts in them", image.sector_size);
            self.push(&codes::SECTOR_SIZE, message);
        } else {
            self.completeness(&table, sectors, azure);
        }
        self.generation(&table);
        self.size_for_generation(&table, azure.size());
        Ok(())
    }

    /// Checks whether the disk holds all partitions of its table.
    fn completeness(&mut self, table: &PartitionTable, sectors: u64, azure: &AzureDisk) {
        match table.kind {
            TableKind::None => {
                self.push(
                    &codes::NO_PARTITION_TABLE,
                    "its disk has no partition table: most machines do not boot from it",
                );
            }
            TableKind::Gpt4096 => {
                self.push(&codes::SECTOR_SIZE, "its partition table (GPT) is made for sectors of 4,096 bytes");
            }
            TableKind::DamagedGpt { fault, backup_is_valid } => self.damaged_gpt(fault, backup_is_valid),
            TableKind::Gpt { backup } => {
                let moved = azure.changes().iter().any(|change| change.code == codes::GPT_BACKUP_MOVED.name);
                let needed = table.last_usable.unwrap_or(0).saturating_add(1);
                // A repaired header is made for the disk with the appended zeros.
                let repaired = azure.changes().iter().any(|change| change.code == codes::GPT_REPAIRED.name);
                let available = if repaired { azure.size() / SECTOR } else { sectors };
                if needed > available {
                    self.cut_short("partition table (GPT)", needed, available);
                    return;
                }
                if backup == Backup::Invalid && !moved {
                    let message = "the backup of its partition table (GPT) is missing, damaged or different from the first copy, \
                         and partitions use the sectors in which it belongs";
                    self.push(&codes::GPT_BACKUP_DAMAGED, message);
                }
                self.ranges(table, sectors);
            }
            TableKind::Mbr => {
                if let Some(sector) = table.broken_chain {
                    let message = format!("its chain of logical partitions is broken at sector {sector}");
                    self.push(&codes::LOGICAL_PARTITIONS_DAMAGED, message);
                }
                let needed = table.partitions.iter().map(|partition| partition.last + 1).max().unwrap_or(0);
                if needed > sectors {
                    self.cut_short("master boot record", needed, sectors);
                }
                self.overlaps(table);
            }
        }
    }

    fn cut_short(&mut self, table: &str, needed: u64, sectors: u64) {
        let message = format!(
            "its {table} is that of a disk of at least {} bytes, and it has {}: its end is missing",
            needed.saturating_mul(SECTOR),
            sectors * SECTOR
        );
        self.push(&codes::PARTITIONS_CUT_SHORT, message);
    }

    fn damaged_gpt(&mut self, fault: GptFault, backup_is_valid: bool) {
        let what = match fault {
            GptFault::NoProtectiveMbr => "is not protected by a master boot record, so that systems ignore it",
            GptFault::ProtectiveMbrElsewhere => {
                "is ignored by systems, because the protective entry in the master boot record does not begin at sector 1"
            }
            GptFault::NoHeader => "has no header, only its protective master boot record",
            GptFault::Checksum => "is damaged: a checksum or the sector that its header names as its place is wrong",
        };
        let message = format!("its partition table (GPT) {what}");
        match fault {
            GptFault::Checksum | GptFault::NoHeader if backup_is_valid => {
                self.push(&codes::GPT_REPAIRABLE, message + "; the backup at the end of the disk is valid");
            }
            _ => self.push(&codes::GPT_DAMAGED, message),
        }
    }

    /// Checks whether each range of a GPT is inside the disk.
    fn ranges(&mut self, table: &PartitionTable, sectors: u64) {
        for partition in &table.partitions {
            let (label, first, last) = (partition.label(), partition.first, partition.last);
            if last < first {
                let message = format!("{label} has an empty range: from sector {first} to {last}");
                self.push(&codes::PARTITION_EMPTY, message);
            } else if last >= sectors {
                let message = format!("{label} extends to sector {last}, and the disk ends at sector {}", sectors - 1);
                self.push(&codes::PARTITION_BEYOND_END, message);
            }
        }
        self.overlaps(table);
    }

    fn overlaps(&mut self, table: &PartitionTable) {
        let mut partitions: Vec<&Partition> = table
            .partitions
            .iter()
            .filter(|partition| partition.first <= partition.last && !is_extended(partition.kind))
            .collect();
        partitions.sort_by_key(|partition| (partition.first, Reverse(partition.last)));
        if let Some([a, b]) = partitions.windows(2).find(|pair| pair[1].first <= pair[0].last) {
            let message = format!("{} and {} overlap at sector {}", a.label(), b.label(), b.first);
            self.push(&codes::PARTITIONS_OVERLAP, message);
        }
    }

    /// Deduces the generation that boots the disk, and compares it with the stated one.
    fn generation(&mut self, table: &PartitionTable) {
        let stated = self.options.generation;
        let deduced = match table.kind {
            TableKind::Mbr => self.generation_of_mbr(table, stated),
            TableKind::Gpt { .. } => self.generation_of_gpt(table, stated),
            TableKind::None | TableKind::Gpt4096 | TableKind::DamagedGpt { .. } => None,
        };
        self.report.generation = stated.or(deduced);
        if self.report.generation.is_none() && self.report.is_usable() {
            let message = "its generation cannot be deduced from its partition table";
            self.push(&codes::GENERATION_UNKNOWN, message);
        }
    }

    fn generation_of_mbr(&mut self, table: &PartitionTable, stated: Option<Generation>) -> Option<Generation> {
        if stated == Some(Generation::V2) {
            if table.has(types::MBR_ESP) {
                let message = "it has an EFI system partition in a master boot record; whether generation v2 boots from it is not \
                     documented";
                self.push(&codes::MBR_EFI, message);
            } else {
                let message = "it has a master boot record, which generation v2 does not boot from";
                let remedy = "use --generation v1, or convert the disk to GPT with an EFI system partition";
                self.push_finding(Finding::new(&codes::GENERATION_MISMATCH, message).with_remedy(remedy));
            }
        }
        Some(Generation::V1)
    }

    fn generation_of_gpt(&mut self, table: &PartitionTable, stated: Option<Generation>) -> Option<Generation> {
        let esp = table.has(types::ESP);
        let known = [types::BIOS_BOOT, types::FREEBSD_BOOT, types::SOLARIS_BOOT];
        // Without a boot partition of a known type, a boot loader in the first sector looks for a partition marked as
        // bootable.
        let marked = table.boot_code && table.partitions.iter().any(|partition| partition.bootable);
        let bios = marked || known.iter().any(|&kind| table.has(kind));
        // Windows writes boot code to GPT disks, too, but boots from them only by UEFI.
        let maybe_bios = table.boot_code && !table.has(types::MICROSOFT_RESERVED);
        match (esp, bios, stated) {
            (true, true, None) => {
                let message = "it can be booted by UEFI and by BIOS: it is taken as generation v2";
                self.push(&codes::EITHER_GENERATION, message);
            }
            (true, false, Some(Generation::V1)) if !maybe_bios => {
                let message = "it has an EFI system partition and neither a BIOS boot partition nor boot code: it is made for \
                     generation v2";
                let remedy = "use --generation v2, or leave --generation out";
                self.push_finding(Finding::new(&codes::GENERATION_MISMATCH, message).with_remedy(remedy));
            }
            (true, false, Some(Generation::V1)) | (false, false, None | Some(Generation::V1)) if maybe_bios => {
                let message = "its partition table (GPT) has no partition for a BIOS boot loader, but its first sector holds boot \
                     code: it is taken as generation v1";
                self.push(&codes::NO_BIOS_BOOT, message);
                return Some(Generation::V1);
            }
            (false, _, Some(Generation::V2)) => {
                let message = "its partition table (GPT) has no EFI system partition, which generation v2 boots from";
                self.push_finding(Finding::new(&codes::NO_ESP, message).with_severity(Severity::Error));
            }
            (false, false, None) => {
                let message =
                    "its partition table (GPT) has neither an EFI system partition nor one for a BIOS boot loader";
                let remedy = "state the generation (--generation v1 if the disk boots from BIOS)";
                self.push_finding(Finding::new(&codes::NO_ESP, message).with_remedy(remedy));
            }
            _ => {}
        }
        match (esp, bios) {
            (true, _) => Some(Generation::V2),
            (false, true) => Some(Generation::V1),
            (false, false) => None,
        }
    }

    fn size_for_generation(&mut self, table: &PartitionTable, size: u64) {
        let v1 = self.report.generation == Some(Generation::V1);
        if !v1 || size <= MAX_SIZE_V1 || size > MAX_SIZE {
            return;
        }
        let why = if table.kind == TableKind::Mbr { ", and so does a master boot record" } else { "" };
        let message =
            format!("its disk has {size} bytes; a disk of generation v1 has at most {MAX_SIZE_V1} (2 TiB){why}");
        self.push(&codes::TOO_LARGE_FOR_V1, message);
    }
}
