//! GUID partition tables (UEFI specification, chapter 5).

use super::{Backup, Partition, SECTOR};
use crate::bytes::{crc32, guid_at, guid_text, index, le16, le32, le64};
use crate::{DiskError, DiskReader};

/// The first bytes of the header.
pub(crate) const SIGNATURE: &[u8] = b"EFI PART";

/// The length of the header's fields. The rest of its sector is reserved.
pub(crate) const HEADER_FIELDS: usize = 92;

/// The maximum size of a table of entries in bytes. Usual tables have 128 entries of 128 bytes.
const MAX_TABLE: u64 = 1 << 20;

/// The type of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionType {
    /// The GUID of an entry of a GPT, in the byte order of the disk.
    Gpt([u8; 16]),
    /// The type byte of an entry of an MBR.
    Mbr(u8),
}

impl std::fmt::Display for PartitionType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gpt(guid) => f.pad(&guid_text(guid)),
            Self::Mbr(kind) => write!(f, "{kind:#04x}"),
        }
    }
}

/// Types of partitions that matter for booting.
pub mod types {
    use super::PartitionType;

    /// EFI system partition, C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
    pub const ESP: PartitionType = PartitionType::Gpt([
        0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
    ]);
    /// BIOS boot partition, 21686148-6449-6E6F-744E-656564454649: GRUB's loader on a GPT disk that boots from BIOS.
    /// Cloud images often have it beside an EFI system partition, and boot both ways.
    pub const BIOS_BOOT: PartitionType = PartitionType::Gpt(*b"Hah!IdontNeedEFI");
    /// FreeBSD's boot partition, 83BD6B9D-7F41-11DC-BE0B-001560B84F0F.
    pub const FREEBSD_BOOT: PartitionType = PartitionType::Gpt([
        0x9d, 0x6b, 0xbd, 0x83, 0x41, 0x7f, 0xdc, 0x11, 0xbe, 0x0b, 0x00, 0x15, 0x60, 0xb8, 0x4f, 0x0f,
    ]);
    /// The boot partition of illumos and Solaris, 6A82CB45-1DD2-11B2-99A6-080020736631.
    pub const SOLARIS_BOOT: PartitionType = PartitionType::Gpt([
        0x45, 0xcb, 0x82, 0x6a, 0xd2, 0x1d, 0xb2, 0x11, 0x99, 0xa6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31,
    ]);
    /// Microsoft's reserved partition, E3C9E316-0B5C-4DB8-817D-F92DF00215AE, which every GPT disk of Windows has.
    pub const MICROSOFT_RESERVED: PartitionType = PartitionType::Gpt([
        0x16, 0xe3, 0xc9, 0xe3, 0x5c, 0x0b, 0xb8, 0x4d, 0x81, 0x7d, 0xf9, 0x2d, 0xf0, 0x02, 0x15, 0xae,
    ]);
    /// Linux files, 0FC63DAF-8483-4772-8E79-3D69D8477DE4.
    pub const LINUX: PartitionType = PartitionType::Gpt([
        0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
    ]);
    /// An EFI system partition in a master boot record.
    pub const MBR_ESP: PartitionType = PartitionType::Mbr(0xef);
}

/// One of the two copies of a GPT, with valid checksums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GptCopy {
    /// The first sector of the header, unchanged.
    pub(crate) header: Vec<u8>,
    /// The disk's GUID.
    pub(crate) disk: [u8; 16],
    /// The sector of the other copy's header.
    pub(crate) other: u64,
    /// The first sector that partitions may use.
    pub(crate) first_usable: u64,
    /// The last sector that partitions may use.
    pub(crate) last_usable: u64,
    /// The sector in which the table of entries begins.
    pub(crate) table_at: u64,
    pub(crate) entries: Vec<u8>,
    pub(crate) entry_size: usize,
}

impl GptCopy {
    /// The copy whose header is in a sector; `None` if it is not valid. A header that names another sector as its own
    /// is not valid (Linux: `is_gpt_valid` in `block/partitions/efi.c`).
    pub(crate) fn read(disk: &dyn DiskReader, sector: u64, sector_size: u64) -> Result<Option<Self>, DiskError> {
        let at = sector.saturating_mul(sector_size);
        if at.saturating_add(sector_size) > disk.size() {
            return Ok(None);
        }
        let mut header = vec![0; 512];
        disk.read_at(at, &mut header)?;
        let header_size = le32(&header, 12) as usize;
        let (count, entry_size) = (u64::from(le32(&header, 80)), u64::from(le32(&header, 84)));
        let (table_at, length) = (le64(&header, 72), count * entry_size);
        let plausible = header.starts_with(SIGNATURE)
            && le64(&header, 24) == sector
            && (HEADER_FIELDS..=512).contains(&header_size)
            && (128..=4096).contains(&entry_size)
            && (1..=MAX_TABLE).contains(&length)
            && table_at.saturating_mul(sector_size).saturating_add(length) <= disk.size();
        if !plausible || checksum(&header, header_size) != le32(&header, 16) {
            return Ok(None);
        }
        let mut entries = vec![0; index(length)];
        disk.read_at(table_at * sector_size, &mut entries)?;
        if crc32(&entries) != le32(&header, 88) {
            return Ok(None);
        }
        Ok(Some(Self {
            disk: guid_at(&header, 56),
            other: le64(&header, 32),
            first_usable: le64(&header, 40),
            last_usable: le64(&header, 48),
            table_at,
            entries,
            entry_size: index(entry_size),
            header,
        }))
    }

    /// The state of the backup at the place that this first copy names.
    pub(super) fn backup(&self, disk: &dyn DiskReader) -> Result<Backup, DiskError> {
        let other = if self.other == 1 { None } else { Self::read(disk, self.other, SECTOR)? };
        let same = other.is_some_and(|other| other.disk == self.disk && other.entries == self.entries);
        Ok(match same {
            false => Backup::Invalid,
            true if self.other == (disk.size() / SECTOR).saturating_sub(1) => Backup::AtEnd,
            true => Backup::BeforeEnd,
        })
    }

    /// The size of the table of entries in sectors of 512 bytes.
    pub(crate) fn table_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(SECTOR)
    }

    /// The header with new values of MyLBA, AlternateLBA, PartitionEntryLBA and LastUsableLBA, and a new checksum.
    pub(crate) fn header_with(&self, own: u64, other: u64, table_at: u64, last_usable: u64) -> Vec<u8> {
        let mut header = self.header.clone();
        header[24..32].copy_from_slice(&own.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[48..56].copy_from_slice(&last_usable.to_le_bytes());
        header[72..80].copy_from_slice(&table_at.to_le_bytes());
        let size = le32(&header, 12) as usize;
        let crc = checksum(&header, size);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    }

    pub(crate) fn partitions(&self) -> Vec<Partition> {
        let used =
            (1..).zip(self.entries.chunks_exact(self.entry_size)).filter(|(_, entry)| guid_at(entry, 0) != [0; 16]);
        used.map(|(number, entry)| Partition {
            number,
            name: name(&entry[56..128]),
            kind: PartitionType::Gpt(guid_at(entry, 0)),
            first: le64(entry, 32),
            last: le64(entry, 40),
            // "Legacy BIOS bootable"; syslinux boots from such partitions.
            bootable: le64(entry, 48) & 4 != 0,
        })
        .collect()
    }
}

/// Whether the disk has a GPT that was written for sectors of 4,096 bytes.
pub(super) fn is_for_4096(disk: &dyn DiskReader) -> Result<bool, DiskError> {
    if disk.size() < 2 * 4096 {
        return Ok(false);
    }
    let mut header = [0; 92];
    disk.read_at(4096, &mut header)?;
    // A valid checksum of the header is enough, also if the entries are damaged: a sector of 512 bytes has no header.
    let checked = checksum(&header, HEADER_FIELDS) == le32(&header, 16) || GptCopy::read(disk, 1, 4096)?.is_some();
    Ok(header.starts_with(SIGNATURE) && le64(&header, 24) == 1 && checked)
}

/// The checksum of a header, which is computed with its own field zero.
fn checksum(header: &[u8], size: usize) -> u32 {
    let mut checked = header[..size].to_vec();
    checked[16..20].fill(0);
    crc32(&checked)
}

fn name(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| le16(pair, 0)).take_while(|&unit| unit != 0);
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
