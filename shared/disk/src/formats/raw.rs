//! Raw disks: no header and no footer, so that only their content can prove where they end.

use crate::partitions::{GptCopy, SECTOR};
use crate::{DiskError, DiskReader};

/// Whether the last sector holds the backup of a GPT that names this sector as its place and the first copy as the
/// other one. This proves that the file is a raw disk, and complete.
pub(crate) fn has_proven_end(disk: &dyn DiskReader) -> Result<bool, DiskError> {
    if disk.size() < 4 * SECTOR || !disk.size().is_multiple_of(SECTOR) {
        return Ok(false);
    }
    for sector_size in [SECTOR, 4096] {
        if disk.size().is_multiple_of(sector_size)
            && let Some(backup) = GptCopy::read(disk, disk.size() / sector_size - 1, sector_size)?
            && backup.other == 1
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the first sectors look like those of a partitioned disk.
pub(crate) fn looks_partitioned(head: &[u8]) -> bool {
    head.get(510..512) == Some(&[0x55, 0xaa]) || head.get(512..520) == Some(b"EFI PART")
}
