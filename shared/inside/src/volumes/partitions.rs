//! Partition tables: GPT and MBR with logical partitions.
//!
//! Only what names and places the partitions is read. Whether a table is complete and consistent is checked by the
//! container's checks, before the inspection.

use std::ops::Range;

use goldfleet_disk::{DiskError, DiskReader};

use super::Partition;
use crate::bytes::{guid, le32, le64};

/// Azure's disks have sectors of 512 bytes.
const SECTOR: u64 = 512;
/// The most entries of a GPT that are read. Tables have 128 entries.
const MAX_ENTRIES: u32 = 1024;
/// The most logical partitions in an MBR. The chain of a damaged table could be endless.
const MAX_LOGICAL: u32 = 64;

/// The GUID of an EFI system partition.
pub const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// The GUID of a BIOS boot partition, in which GRUB keeps its core image.
pub const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";
/// The type of the protective entry in a GPT disk's MBR.
const MBR_PROTECTIVE: u8 = 0xee;

/// Partitions with their ranges in bytes.
pub type Partitions = Vec<(Partition, Range<u64>)>;

/// The kind of partition table of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// GPT.
    Gpt,
    /// MBR.
    Mbr,
    /// No partition table: the whole disk is one volume.
    None,
}

/// The partitions of a disk, with their ranges in bytes. Empty partitions are left out.
///
/// # Errors
/// [`DiskError`] if the disk cannot be read.
pub fn read(disk: &dyn DiskReader) -> Result<(Table, Partitions), DiskError> {
    let mut mbr = [0; 512];
    if disk.size() < 2 * SECTOR {
        return Ok((Table::None, Vec::new()));
    }
    disk.read_at(0, &mut mbr)?;
    let last = disk.size() / SECTOR - 1;
    for header in [1, last] {
        if let Some(list) = gpt(disk, header)? {
            return Ok((Table::Gpt, list));
        }
    }
    if mbr[510..] != [0x55, 0xaa] || !looks_like_mbr(&mbr) {
        return Ok((Table::None, Vec::new()));
    }
    Ok((Table::Mbr, self::mbr(disk, &mbr)?))
}

fn gpt(disk: &dyn DiskReader, sector: u64) -> Result<Option<Partitions>, DiskError> {
    let mut header = [0; 512];
    disk.read_at(sector * SECTOR, &mut header)?;
    if &header[..8] != b"EFI PART" {
        return Ok(None);
    }
    let (first, count, length) = (le64(&header, 72), le32(&header, 80).min(MAX_ENTRIES), le32(&header, 84));
    if !(128..=4096).contains(&length) {
        return Err(DiskError::Damaged(format!("the GPT states entries of {length} bytes")));
    }
    let mut list = Vec::new();
    let mut entry = vec![0; 128];
    for index in 0..count {
        let offset = first.saturating_mul(SECTOR).saturating_add(u64::from(index) * u64::from(length));
        disk.read_at(offset, &mut entry)?;
        let range = le64(&entry, 32).saturating_mul(SECTOR)..le64(&entry, 40).saturating_add(1).saturating_mul(SECTOR);
        if entry[..16] == [0; 16] || range.is_empty() {
            continue;
        }
        let name: Vec<u16> = entry[56..128].chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        let end = name.iter().position(|c| *c == 0).unwrap_or(name.len());
        let partition = Partition {
            number: index + 1,
            kind: guid(&entry[..16]),
            part_uuid: guid(&entry[16..32]),
            name: String::from_utf16_lossy(&name[..end]),
        };
        list.push((partition, range));
    }
    Ok(Some(list))
}

/// Whether the four entries are those of a partition table, and not the code of a boot sector: FAT, NTFS and boot
/// loaders end their first sector with the same two bytes.
fn looks_like_mbr(mbr: &[u8; 512]) -> bool {
    let entries = mbr[446..510].chunks_exact(16);
    entries.clone().all(|e| e[0] & 0x7f == 0) && entries.clone().any(|e| e[4] != 0 && le32(e, 12) != 0)
}

fn mbr(disk: &dyn DiskReader, mbr: &[u8; 512]) -> Result<Partitions, DiskError> {
    let signature = le32(mbr, 440);
    let partition = |number: u32, kind: u8| Partition {
        number,
        kind: format!("{kind:02x}"),
        part_uuid: format!("{signature:08x}-{number:02x}"),
        name: String::new(),
    };
    let mut list = Vec::new();
    for (number, entry) in (1..).zip(mbr[446..510].chunks_exact(16)) {
        let (kind, start, length) = (entry[4], u64::from(le32(entry, 8)), u64::from(le32(entry, 12)));
        match kind {
            0 | MBR_PROTECTIVE => {}
            0x05 | 0x0f | 0x85 => logical(disk, start, |number, kind, range| {
                list.push((partition(number, kind), range));
            })?,
            _ if length > 0 => list.push((partition(number, kind), start * SECTOR..(start + length) * SECTOR)),
            _ => {}
        }
    }
    list.sort_by_key(|(partition, _)| partition.number);
    Ok(list)
}

/// Follows the chain of extended boot records. Each names one logical partition, numbered from 5.
fn logical(disk: &dyn DiskReader, extended: u64, mut found: impl FnMut(u32, u8, Range<u64>)) -> Result<(), DiskError> {
    let mut record = extended;
    for number in 5..5 + MAX_LOGICAL {
        let mut sector = [0; 512];
        disk.read_at(record * SECTOR, &mut sector)?;
        if sector[510..] != [0x55, 0xaa] {
            return Ok(());
        }
        let (start, length) = (u64::from(le32(&sector, 454)), u64::from(le32(&sector, 458)));
        if sector[450] != 0 && length > 0 {
            let start = record + start;
            found(number, sector[450], start * SECTOR..(start + length) * SECTOR);
        }
        let next = u64::from(le32(&sector, 470));
        if sector[466] == 0 || next == 0 {
            return Ok(());
        }
        record = extended + next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use goldfleet_disk::MemoryDisk;

    use super::*;

    fn entry(kind: u8, start: u32, length: u32) -> [u8; 16] {
        let mut entry = [0; 16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&length.to_le_bytes());
        entry
    }

    fn boot_record(disk: &mut [u8], sector: usize, entries: &[[u8; 16]]) {
        for (i, entry) in entries.iter().enumerate() {
            let at = sector * 512 + 446 + i * 16;
            disk[at..at + 16].copy_from_slice(entry);
        }
        disk[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xaa]);
    }

    #[test]
    fn an_mbr_with_logical_partitions() {
        let mut disk = vec![0; 512 * 1000];
        disk[440..444].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
        boot_record(&mut disk, 0, &[entry(0x83, 10, 20), entry(0x05, 100, 500)]);
        boot_record(&mut disk, 100, &[entry(0x83, 2, 30), entry(0x05, 50, 40)]);
        boot_record(&mut disk, 150, &[entry(0x82, 3, 20)]);
        let (table, list) = read(&MemoryDisk(disk)).unwrap();
        assert_eq!(table, Table::Mbr);
        let seen: Vec<_> =
            list.iter().map(|(p, r)| (p.number, p.part_uuid.as_str(), r.start / 512, r.end / 512)).collect();
        assert_eq!(seen, [(1, "a1b2c3d4-01", 10, 30), (5, "a1b2c3d4-05", 102, 132), (6, "a1b2c3d4-06", 153, 173)]);
    }

    #[test]
    fn a_chain_of_logical_partitions_without_end_is_cut() {
        let mut disk = vec![0; 512 * 200];
        boot_record(&mut disk, 0, &[entry(0x05, 100, 50)]);
        boot_record(&mut disk, 100, &[entry(0x83, 2, 3), entry(0x05, 1, 9)]);
        boot_record(&mut disk, 101, &[entry(0x83, 2, 3), entry(0x05, 1, 9)]);
        let (_, list) = read(&MemoryDisk(disk)).unwrap();
        assert_eq!(list.len(), 64);
    }

    #[test]
    fn a_disk_without_a_table_is_one_volume() {
        let mut disk = vec![0; 4096];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[446] = 0x33; // code, not a partition's status
        assert_eq!(read(&MemoryDisk(disk)).unwrap(), (Table::None, vec![]));
    }
}
