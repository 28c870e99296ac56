//! The boot sector of a FAT volume.

use crate::bytes::{le16, le32};
use crate::fs::FsError;

/// The number of clusters that 28-bit entries of FAT32's table can name.
const MAX_CLUSTERS: u32 = 0x0fff_fff5;

/// Bits per entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

impl Width {
    /// The first value that ends a chain.
    pub(super) fn end_of_chain(self) -> u32 {
        match self {
            Self::Fat12 => 0xff8,
            Self::Fat16 => 0xfff8,
            Self::Fat32 => 0x0fff_fff8,
        }
    }
}

/// Where everything is. Offsets are in bytes from the volume's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) width: Width,
    pub(super) cluster_size: u32,
    /// Number of clusters that hold data.
    pub(super) clusters: u32,
    /// Offset of the first table.
    pub(super) table: u64,
    /// Offset of the root folder, if it has a fixed place (FAT12 and FAT16).
    pub(super) root: u64,
    pub(super) root_entries: u16,
    /// First cluster of the root folder (FAT32).
    pub(super) root_cluster: u32,
    /// Offset of the first cluster.
    pub(super) data: u64,
    /// Linux sets this flag while the volume is mounted.
    pub(super) dirty: bool,
    pub(super) serial: String,
    pub(super) label: String,
}

fn damaged(text: &str) -> FsError {
    FsError::Damaged(format!("the boot sector is not one of FAT: {text}"))
}

impl Geometry {
    /// Reads the first 512 bytes of a volume.
    pub(super) fn parse(sector: &[u8; 512]) -> Result<Self, FsError> {
        let byte = |at: usize| u32::from(sector[at]);
        let half = |at| u32::from(le16(sector, at));
        let word = |at| le32(sector, at);
        if !matches!(sector[0], 0xe9 | 0xeb) {
            return Err(damaged("no jump instruction"));
        }
        let (sector_size, per_cluster, reserved, tables) = (half(11), byte(13), half(14), byte(16));
        if ![512, 1024, 2048, 4096].contains(&sector_size) {
            return Err(damaged("the sector size is invalid"));
        }
        if !per_cluster.is_power_of_two() || reserved == 0 || !(1..=2).contains(&tables) {
            return Err(damaged("the cluster size, the reserved sectors or the number of tables is invalid"));
        }
        let either = |short: u32, long: u32| if short == 0 { long } else { short };
        let (root_entries, total) = (half(17), either(half(19), word(32)));
        let table_sectors = either(half(22), word(36));
        let root_sectors = (root_entries * 32).div_ceil(sector_size);
        let before_root = u64::from(reserved) + u64::from(tables) * u64::from(table_sectors);
        let before_data = before_root + u64::from(root_sectors);
        let clusters = u64::from(total).checked_sub(before_data).map(|sectors| sectors / u64::from(per_cluster));
        let clusters = clusters.filter(|_| table_sectors > 0);
        let Some(clusters) = clusters.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..MAX_CLUSTERS).contains(n))
        else {
            return Err(damaged("the number of sectors is invalid"));
        };
        // The number of clusters alone decides, as the format's description states.
        let width = match clusters {
            0..4085 => Width::Fat12,
            4085..65_525 => Width::Fat16,
            _ => Width::Fat32,
        };
        // Where the fields after the common part begin.
        let extended = if width == Width::Fat32 { 64 } else { 36 };
        let has_names = matches!(sector[extended + 2], 0x28 | 0x29);
        let serial = if has_names { word(extended + 3) } else { 0 };
        let label =
            if sector[extended + 2] == 0x29 { text(&sector[extended + 7..extended + 18]) } else { String::new() };
        let bytes = |sectors: u64| sectors * u64::from(sector_size);
        Ok(Self {
            width,
            cluster_size: per_cluster * sector_size,
            clusters,
            table: bytes(u64::from(reserved)),
            root: bytes(before_root),
            root_entries: le16(sector, 17),
            root_cluster: word(44),
            data: bytes(before_data),
            dirty: sector[extended + 1] & 1 != 0,
            serial: format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff),
            label: if label == "NO NAME" { String::new() } else { label },
        })
    }
}

/// Text of the boot sector or a label: ASCII, padded with spaces.
pub(super) fn text(bytes: &[u8]) -> String {
    let text: String =
        bytes.iter().map(|&b| if b.is_ascii() { char::from(b) } else { char::REPLACEMENT_CHARACTER }).collect();
    text.trim_end_matches([' ', '\0']).to_owned()
}
