//! Partition tables: what a disk says of the machines that can boot it.

use goldfleet_model::manifest::Generation;

use super::SECTOR;
use super::disk::Disk;
use super::error::VhdError;

/// An EFI system partition's type, C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as it lies on the disk.
pub(super) const ESP: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

/// A BIOS boot partition's type, 21686148-6449-6E6F-744E-656564454649, as it lies on the disk: GRUB's place on a GPT disk
/// that a BIOS boots. Cloud images often have it beside an EFI system partition, and boot either way.
pub(super) const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";

/// What the header of a GPT begins with.
const SIGNATURE: &[u8] = b"EFI PART";

/// The partition type of an MBR that only stands before a GPT.
const PROTECTIVE: u8 = 0xee;

/// The most entries of a GPT that are looked at; tables have 128.
const MAX_ENTRIES: u32 = 1024;

/// The partition table of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioning {
    /// None.
    None,
    /// A master boot record: BIOS.
    Mbr,
    /// A master boot record with a partition that reaches beyond the disk's end. Kernels cut it off there.
    LongerMbr {
        /// The bytes that the disk must have at least.
        needed: u64,
    },
    /// A GUID partition table.
    Gpt {
        /// Whether it has an EFI system partition: UEFI.
        esp: bool,
        /// Whether it has a BIOS boot partition: BIOS.
        bios_boot: bool,
        /// Whether its backup, which is read where the first one is damaged, is whole and says the same.
        backup: bool,
    },
    /// A GUID partition table of a longer disk than this one. Kernels refuse it.
    LongerGpt {
        /// The bytes that the disk must have at least.
        needed: u64,
    },
    /// A GUID partition table that is not whole: its checksums are wrong, or only its protective MBR or its header is there.
    DamagedGpt,
}

impl Partitioning {
    /// The generation that the table is made for, if it tells. The newer one, if it is made for both.
    #[must_use]
    pub fn generation(self) -> Option<Generation> {
        match self {
            Self::Gpt { esp: true, .. } => Some(Generation::V2),
            Self::Mbr | Self::LongerMbr { .. } | Self::Gpt { bios_boot: true, .. } => Some(Generation::V1),
            Self::None | Self::Gpt { .. } | Self::LongerGpt { .. } | Self::DamagedGpt => None,
        }
    }
}

/// Reads a disk's partition table.
///
/// # Errors
/// [`VhdError`] where the disk can't be read.
pub fn partitioning(disk: &Disk) -> Result<Partitioning, VhdError> {
    if disk.size() < 2 * SECTOR {
        return Ok(Partitioning::None);
    }
    let mut sectors = [0; 1024];
    disk.read_at(0, &mut sectors)?;
    let (mbr, gpt) = sectors.split_at(512);
    let partitions = mbr_partitions(mbr);
    let protective = partitions.iter().any(|partition| partition.kind == PROTECTIVE);
    match (protective, gpt.starts_with(SIGNATURE)) {
        (true, true) => gpt_of(disk),
        // A GPT header behind partitions of an MBR is left over from an earlier use of the disk.
        (false, _) if !partitions.is_empty() => Ok(mbr_of(disk, &partitions)),
        (false, false) => Ok(Partitioning::None),
        // Firmware and kernels heed a GPT only behind a protective MBR.
        (true, false) | (false, true) => Ok(Partitioning::DamagedGpt),
    }
}

/// A partition of a master boot record.
struct Partition {
    /// Its type, which is not 0.
    kind: u8,
    /// Where it ends, in bytes; 0 where it has no sectors.
    end: u64,
}

/// The partitions of a master boot record; none where it is no such record. A file system without a partition table has the
/// same signature, but code or text where the entries would be.
fn mbr_partitions(sector: &[u8]) -> Vec<Partition> {
    let entries = || sector[446..510].chunks(16);
    let signed = sector[510..] == [0x55, 0xaa];
    // Each begins with 0x80 where it is active, else 0.
    if !signed || entries().any(|entry| entry[0] & 0x7f != 0) {
        return Vec::new();
    }
    let partition = |entry: &[u8]| {
        let (first, count) = (u64::from(le32(entry, 8)), u64::from(le32(entry, 12)));
        Partition { kind: entry[4], end: if count > 0 { (first + count) * SECTOR } else { 0 } }
    };
    entries().map(partition).filter(|partition| partition.kind != 0).collect()
}

/// Logical partitions lie within their extended one, so that they need no look of their own.
fn mbr_of(disk: &Disk, partitions: &[Partition]) -> Partitioning {
    match partitions.iter().map(|partition| partition.end).max() {
        Some(needed) if needed > disk.size() => Partitioning::LongerMbr { needed },
        _ => Partitioning::Mbr,
    }
}

/// One of the two copies of a GUID partition table, whose checksums are right.
struct Gpt {
    /// The disk's GUID.
    disk: [u8; 16],
    /// The last sector that partitions may have.
    last_usable: u64,
    /// The sector of the other copy's header.
    other: u64,
    entries: Vec<u8>,
    entry_size: usize,
}

impl Gpt {
    /// The copy whose header is in this sector; none where it is not whole. As Linux does (`is_gpt_valid` in
    /// `block/partitions/efi.c`), a header that names another sector as its own is not taken.
    fn read(disk: &Disk, sector: u64) -> Result<Option<Self>, VhdError> {
        let at = sector.saturating_mul(SECTOR);
        if at.saturating_add(SECTOR) > disk.size() {
            return Ok(None);
        }
        let mut header = [0; 512];
        disk.read_at(at, &mut header)?;
        let header_size = le32(&header, 12) as usize;
        let (count, entry_size) = (le32(&header, 80), le32(&header, 84) as usize);
        let table = le64(&header, 72).saturating_mul(SECTOR);
        let plausible = header.starts_with(SIGNATURE)
            && le64(&header, 24) == sector
            && (92..=512).contains(&header_size)
            && (1..=MAX_ENTRIES).contains(&count)
            && (128..=4096).contains(&entry_size)
            && table.saturating_add(u64::from(count) * entry_size as u64) <= disk.size();
        if !plausible {
            return Ok(None);
        }
        let mut checked = header[..header_size].to_vec();
        checked[16..20].fill(0);
        if crc32(&checked) != le32(&header, 16) {
            return Ok(None);
        }
        let mut entries = vec![0; count as usize * entry_size];
        disk.read_at(table, &mut entries)?;
        if crc32(&entries) != le32(&header, 88) {
            return Ok(None);
        }
        let mut guid = [0; 16];
        guid.copy_from_slice(&header[56..72]);
        let (last_usable, other) = (le64(&header, 48), le64(&header, 32));
        Ok(Some(Self { disk: guid, last_usable, other, entries, entry_size }))
    }

    fn has(&self, kind: [u8; 16]) -> bool {
        self.entries.chunks(self.entry_size).any(|entry| entry[..16] == kind)
    }
}

fn gpt_of(disk: &Disk) -> Result<Partitioning, VhdError> {
    let Some(gpt) = Gpt::read(disk, 1)? else { return Ok(Partitioning::DamagedGpt) };
    let needed = gpt.last_usable.saturating_add(1).saturating_mul(SECTOR);
    if needed > disk.size() {
        return Ok(Partitioning::LongerGpt { needed });
    }
    // On a disk that has grown it is no longer at the end, but still where the first one says.
    let other = if gpt.other == 1 { None } else { Gpt::read(disk, gpt.other)? };
    let backup = other.is_some_and(|other| other.disk == gpt.disk && other.entries == gpt.entries);
    Ok(Partitioning::Gpt { esp: gpt.has(ESP), bios_boot: gpt.has(BIOS_BOOT), backup })
}

/// The CRC-32 of GPTs (that of zip and Ethernet).
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    // The algorithm's result has 32 bits.
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap_or(0)
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
