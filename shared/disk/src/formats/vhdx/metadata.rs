//! The metadata region: properties of the virtual disk.

use super::header::Region;
use crate::bytes::{guid_at, guid_text, index, le16, le32, le64};
use crate::reader::read_part;
use crate::{DiskError, DiskReader};

const TABLE_SIZE: usize = 64 << 10;
const MAX_ITEMS: u16 = 2047;
const MAX_ITEM: u32 = 1 << 20;

/// The maximum size of a disk in bytes: 64 TiB, by the specification.
const MAX_DISK: u64 = 64 << 40;

/// CAA16737-FA36-4D43-B3B6-33F0AA44E76B, as on disk.
const FILE_PARAMETERS: [u8; 16] =
    [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
/// 2FA54224-CD1B-4876-B211-5DBED83BF4B8, as on disk.
const DISK_SIZE: [u8; 16] =
    [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8];
/// BECA12AB-B2E6-4523-93EF-C309E000C746, as on disk.
const DISK_ID: [u8; 16] =
    [0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46];
/// 8141BF1D-A96F-4709-BA47-F233A8FAAB5F, as on disk.
const LOGICAL_SECTOR: [u8; 16] =
    [0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f];
/// CDA348C7-445D-4471-9CC9-E9885251C556, as on disk.
const PHYSICAL_SECTOR: [u8; 16] =
    [0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56];
/// A8D35F2D-B30B-454D-ABF7-D3D84834AB0C, as on disk.
const PARENT_LOCATOR: [u8; 16] =
    [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];

/// The properties of the virtual disk.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    /// Bytes of a payload block: a power of two from 1 MiB to 256 MiB.
    pub(super) block_size: u64,
    /// The disk's size in bytes.
    pub(super) size: u64,
    /// 512 or 4,096.
    pub(super) logical_sector: u64,
    /// The parent's data write GUIDs, as text without braces, if the disk is a differencing disk.
    pub(super) parent: Option<Vec<String>>,
}

impl Metadata {
    pub(super) fn read(source: &dyn DiskReader, region: Region) -> Result<Self, DiskError> {
        let items =
            Items { source, region, table: read_part(source, region.offset, TABLE_SIZE, "the metadata table")? };
        items.check()?;
        let parameters = items.required(FILE_PARAMETERS, 8, "file parameters")?;
        let (block_size, flags) = (u64::from(le32(&parameters, 0)), le32(&parameters, 4));
        if !block_size.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block_size) {
            return Err(DiskError::damaged(format!(
                "the VHDX has blocks of {block_size} bytes, which is not a power of two from 1 MiB to 256 MiB"
            )));
        }
        let logical_sector = u64::from(le32(&items.required(LOGICAL_SECTOR, 4, "logical sector size")?, 0));
        if logical_sector != 512 && logical_sector != 4096 {
            return Err(DiskError::damaged(format!("the VHDX has logical sectors of {logical_sector} bytes")));
        }
        let size = le64(&items.required(DISK_SIZE, 8, "virtual disk size")?, 0);
        if size == 0 || size > MAX_DISK || !size.is_multiple_of(logical_sector) {
            return Err(DiskError::damaged(format!("the VHDX gives a disk size of {size} bytes")));
        }
        let parent = if flags & 2 != 0 { Some(items.parent()?) } else { None };
        Ok(Self { block_size, size, logical_sector, parent })
    }
}

struct Items<'a> {
    source: &'a dyn DiskReader,
    region: Region,
    table: Vec<u8>,
}

impl Items<'_> {
    /// Checks the table's header, and that all required items are known.
    fn check(&self) -> Result<(), DiskError> {
        if !self.table.starts_with(b"metadata") {
            return Err(DiskError::damaged("the VHDX metadata table has no signature"));
        }
        if self.count() > usize::from(MAX_ITEMS) {
            return Err(DiskError::damaged(format!("the VHDX metadata table has {} entries", self.count())));
        }
        let known = [FILE_PARAMETERS, DISK_SIZE, DISK_ID, LOGICAL_SECTOR, PHYSICAL_SECTOR, PARENT_LOCATOR];
        for n in 0..self.count() {
            let (guid, flags) = (guid_at(&self.table, 32 + 32 * n), le32(&self.table, 32 + 32 * n + 24));
            if flags & 4 != 0 && !known.contains(&guid) {
                return Err(DiskError::Unsupported(format!(
                    "the VHDX needs support for a metadata item of type {}",
                    guid_text(&guid)
                )));
            }
        }
        Ok(())
    }

    fn count(&self) -> usize {
        le16(&self.table, 10).into()
    }

    /// The system item of a type.
    fn item(&self, guid: [u8; 16], name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        for n in 0..self.count() {
            let at = 32 + 32 * n;
            let (offset, length, flags) =
                (le32(&self.table, at + 16), le32(&self.table, at + 20), le32(&self.table, at + 24));
            if guid_at(&self.table, at) != guid || flags & 1 != 0 {
                continue;
            }
            let end = u64::from(offset) + u64::from(length);
            if (offset as usize) < TABLE_SIZE || length > MAX_ITEM || end > self.region.length {
                return Err(DiskError::damaged(format!("the VHDX metadata item '{name}' is outside its region")));
            }
            let at = self.region.offset + u64::from(offset);
            return Ok(Some(read_part(self.source, at, index(length.into()), "a metadata item")?));
        }
        Ok(None)
    }

    fn required(&self, guid: [u8; 16], size: usize, name: &str) -> Result<Vec<u8>, DiskError> {
        match self.item(guid, name)? {
            Some(bytes) if bytes.len() >= size => Ok(bytes),
            Some(_) => Err(DiskError::damaged(format!("the VHDX metadata item '{name}' is too short"))),
            None => Err(DiskError::damaged(format!("the VHDX metadata item '{name}' is missing"))),
        }
    }

    /// The GUIDs by which the parent locator names the parent.
    fn parent(&self) -> Result<Vec<String>, DiskError> {
        let bytes = self.required(PARENT_LOCATOR, 20, "parent locator")?;
        let mut linkages = Vec::new();
        for n in 0..usize::from(le16(&bytes, 18)) {
            let at = 20 + 12 * n;
            if at + 12 > bytes.len() {
                return Err(DiskError::damaged("the VHDX parent locator is cut short"));
            }
            let key = utf16(&bytes, le32(&bytes, at), le16(&bytes, at + 8));
            let value = utf16(&bytes, le32(&bytes, at + 4), le16(&bytes, at + 10));
            if let (Some(key), Some(value)) = (key, value)
                && (key == "parent_linkage" || key == "parent_linkage2")
            {
                linkages.push(value.trim_matches(['{', '}']).to_lowercase());
            }
        }
        // The second linkage is zero unless the parent was changed by a merge that was interrupted.
        linkages.retain(|linkage| linkage.chars().any(|c| c != '0' && c != '-'));
        if linkages.is_empty() {
            return Err(DiskError::damaged("the VHDX parent locator does not name its parent"));
        }
        Ok(linkages)
    }
}

fn utf16(bytes: &[u8], offset: u32, length: u16) -> Option<String> {
    let start = offset as usize;
    let part = bytes.get(start..start.checked_add(length.into())?)?;
    let units: Vec<u16> = part.chunks_exact(2).map(|pair| le16(pair, 0)).collect();
    String::from_utf16(&units).ok()
}
