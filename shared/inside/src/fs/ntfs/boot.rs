//! The boot sector of an NTFS volume.

use super::damaged;
use crate::bytes::{le16, le64};
use crate::fs::FsError;

/// The largest file record that is read. Windows makes records of 1 or 4 KiB.
const MAX_RECORD: u64 = 64 << 10;
/// The largest cluster: 2 MiB since Windows 10.
const MAX_CLUSTER: u64 = 2 << 20;

/// Sizes and places that the boot sector states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes per cluster.
    pub(super) cluster: u64,
    /// Number of clusters of the volume.
    pub(super) clusters: u64,
    /// First cluster of the master file table, and of the copy of its beginning.
    pub(super) tables: [u64; 2],
    /// Bytes per file record.
    pub(super) record: usize,
    /// The volume's serial number.
    pub(super) serial: u64,
}

impl Geometry {
    /// Reads the first 512 bytes of a volume.
    pub(super) fn parse(sector: &[u8; 512]) -> Result<Self, FsError> {
        if &sector[3..11] != b"NTFS    " {
            return Err(damaged("the boot sector is not one of NTFS"));
        }
        let sector_size = u64::from(le16(sector, 11));
        if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
            return Err(damaged("the sector size in the boot sector is invalid"));
        }
        let cluster = match sector[13] {
            count @ 1..=128 => u64::from(count) * sector_size,
            // Above 64 KiB the field is a negative exponent of two.
            exponent => sector_size << (256 - u32::from(exponent)).min(32),
        };
        if !cluster.is_power_of_two() || cluster > MAX_CLUSTER {
            return Err(damaged("the cluster size in the boot sector is invalid"));
        }
        let word = |at| le64(sector, at);
        let volume = word(0x28).checked_mul(sector_size).ok_or_else(|| damaged("the volume's size is invalid"))?;
        let record =
            record_size(sector[0x40], cluster).ok_or_else(|| damaged("the size of file records is invalid"))?;
        Ok(Self { cluster, clusters: volume / cluster, tables: [word(0x30), word(0x38)], record, serial: word(0x48) })
    }

    /// The offset in bytes of a cluster.
    pub(super) fn offset(&self, cluster: u64) -> Result<u64, FsError> {
        let within = Some(cluster).filter(|cluster| *cluster < self.clusters);
        within
            .and_then(|cluster| cluster.checked_mul(self.cluster))
            .ok_or_else(|| damaged("a cluster is not on the volume"))
    }
}

/// A size that is stated in clusters, or, if the byte is negative, as a power of two.
fn record_size(byte: u8, cluster: u64) -> Option<usize> {
    let size = match byte {
        0 => return None,
        1..=127 => u64::from(byte) * cluster,
        _ => 1 << (256 - u32::from(byte)).min(32),
    };
    let valid = size.is_power_of_two() && (512..=MAX_RECORD).contains(&size);
    usize::try_from(size).ok().filter(|_| valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(per_cluster: u8, record: u8) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[3..11].copy_from_slice(b"NTFS    ");
        sector[11..13].copy_from_slice(&512_u16.to_le_bytes());
        sector[13] = per_cluster;
        sector[0x28..0x30].copy_from_slice(&1_000_000_u64.to_le_bytes());
        sector[0x40] = record;
        sector
    }

    #[test]
    fn sizes_are_counts_or_powers_of_two() {
        let small = Geometry::parse(&sector(8, 0xf6)).unwrap();
        assert_eq!((small.cluster, small.record, small.clusters), (4096, 1024, 125_000));
        assert_eq!(Geometry::parse(&sector(2, 4)).unwrap().record, 4096);
        assert_eq!(Geometry::parse(&sector(0xf4, 0xf6)).unwrap().cluster, 2 << 20);
    }

    #[test]
    fn invalid_sizes_are_refused() {
        for (per_cluster, record) in [(0, 0xf6), (3, 0xf6), (0xf0, 0xf6), (8, 0), (8, 0x80), (8, 127), (8, 0xff)] {
            assert!(Geometry::parse(&sector(per_cluster, record)).is_err(), "{per_cluster} {record}");
        }
        let geometry = Geometry::parse(&sector(8, 0xf6)).unwrap();
        assert!(geometry.offset(124_999).is_ok() && geometry.offset(125_000).is_err());
    }
}
