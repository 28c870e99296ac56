//! The header section: two headers, of which the newer one is valid, and two copies of the region table.

use super::MIB;
use crate::bytes::{crc32c, guid_at, guid_text, le16, le32, le64};
use crate::{DiskError, DiskReader};

const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const HEADER_SIZE: usize = 4096;
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const REGION_TABLE_SIZE: usize = 64 << 10;
const MAX_REGIONS: u32 = 2047;

/// 2DC27766-F623-4200-9D64-115E9BFD4A08, as on disk.
const BAT: [u8; 16] = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08];

/// 8B7CA206-4790-4B9A-B8FE-575F050F886E, as on disk.
const METADATA: [u8; 16] =
    [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];

/// The current header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    sequence: u64,
    /// Changes with the disk's content. Differencing disks name their parent by it.
    pub(super) data_write_guid: [u8; 16],
    /// Zero if the log is empty.
    pub(super) log_guid: [u8; 16],
    pub(super) log_length: u32,
    pub(super) log_offset: u64,
}

impl Header {
    /// The valid header with the greater sequence number.
    pub(super) fn read(source: &dyn DiskReader) -> Result<Self, DiskError> {
        let mut newest: Option<Self> = None;
        for at in HEADERS {
            if let Some(header) = Self::read_one(source, at)?
                && newest.is_none_or(|newest| header.sequence > newest.sequence)
            {
                newest = Some(header);
            }
        }
        newest.ok_or_else(|| DiskError::damaged("neither of the two VHDX headers is valid"))
    }

    fn read_one(source: &dyn DiskReader, at: u64) -> Result<Option<Self>, DiskError> {
        let Some(bytes) = checked(source, at, HEADER_SIZE, b"head")? else { return Ok(None) };
        let (log_version, version) = (le16(&bytes, 64), le16(&bytes, 66));
        if (log_version, version) != (0, 1) {
            return Err(DiskError::Unsupported(format!(
                "the VHDX has version {version} and log version {log_version}; only versions 1 and 0 are known"
            )));
        }
        Ok(Some(Self {
            sequence: le64(&bytes, 8),
            data_write_guid: guid_at(&bytes, 32),
            log_guid: guid_at(&bytes, 48),
            log_length: le32(&bytes, 68),
            log_offset: le64(&bytes, 72),
        }))
    }
}

/// A part of the file with one kind of structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The two regions that every VHDX has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Regions {
    pub(super) bat: Region,
    pub(super) metadata: Region,
}

impl Regions {
    /// The regions in the first valid copy of the table.
    pub(super) fn read(source: &dyn DiskReader) -> Result<Self, DiskError> {
        for at in REGION_TABLES {
            if let Some(bytes) = checked(source, at, REGION_TABLE_SIZE, b"regi")? {
                return Self::parse(&bytes);
            }
        }
        Err(DiskError::damaged("neither of the two VHDX region tables is valid"))
    }

    fn parse(bytes: &[u8]) -> Result<Self, DiskError> {
        let count = le32(bytes, 8);
        if count > MAX_REGIONS {
            return Err(DiskError::damaged(format!("the VHDX region table has {count} entries")));
        }
        let (mut bat, mut metadata) = (None, None);
        for n in 0..count as usize {
            let at = 16 + 32 * n;
            let guid = guid_at(bytes, at);
            let region = Region { offset: le64(bytes, at + 16), length: le32(bytes, at + 24).into() };
            let slot = match guid {
                BAT => &mut bat,
                METADATA => &mut metadata,
                _ if le32(bytes, at + 28) & 1 == 0 => continue,
                _ => {
                    return Err(DiskError::Unsupported(format!(
                        "the VHDX needs support for a region of type {}",
                        guid_text(&guid)
                    )));
                }
            };
            if region.offset < MIB || !region.offset.is_multiple_of(MIB) || slot.replace(region).is_some() {
                return Err(DiskError::damaged("the VHDX region table has invalid or duplicate entries"));
            }
        }
        match (bat, metadata) {
            (Some(bat), Some(metadata)) => Ok(Self { bat, metadata }),
            _ => Err(DiskError::damaged("the VHDX region table lacks the block table or the metadata")),
        }
    }
}

/// A structure with a signature and a CRC-32C. `None` if one of them is wrong or the file is too short.
fn checked(source: &dyn DiskReader, at: u64, size: usize, signature: &[u8; 4]) -> Result<Option<Vec<u8>>, DiskError> {
    if source.size() < at + size as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    source.read_at(at, &mut bytes)?;
    let found = le32(&bytes, 4);
    let mut sealed = bytes.clone();
    sealed[4..8].fill(0);
    Ok((bytes.starts_with(signature) && crc32c(&sealed) == found).then_some(bytes))
}
