//! The disk as Azure accepts it. The changes that Azure needs are made during reading, and reported.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::bytes::{guid_at, index};
use crate::codes;
use crate::formats::vhd::{FOOTER_SIZE, Footer};
use crate::open::{Format, OpenDisk, OpenError, OpenOptions, open};
use crate::partitions::{Backup, GptCopy, GptFault, PartitionTable, SECTOR, TableKind};
use crate::reader::check_range;
use crate::{DiskError, DiskReader, Finding};

const MIB: u64 = 1 << 20;

/// For a disk without GUID, the number of bytes at its start from which the id is computed.
const HASHED_LENGTH: u64 = 4 << 20;

/// The disk of an image as Azure accepts it, with the footer of its fixed VHD.
///
/// The changes to the disk's bytes are: zeros appended up to a whole number of MiB; the backup of a GPT at the actual
/// end; and in the GPT's first header the fields AlternateLBA, LastUsableLBA and the checksum. With `repair_gpt`, the
/// whole first copy is written from the backup. Nothing else is ever changed.
#[derive(Clone)]
pub struct AzureDisk {
    disk: Arc<dyn DiskReader>,
    size: u64,
    /// Bytes that replace those of the disk, in order of their offsets.
    patches: Vec<(u64, Vec<u8>)>,
    footer: [u8; FOOTER_SIZE],
    changes: Vec<Finding>,
}

impl fmt::Debug for AzureDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<&str> = self.changes.iter().map(|change| change.code).collect();
        f.debug_struct("AzureDisk").field("size", &self.size).field("changes", &changes).finish_non_exhaustive()
    }
}

impl AzureDisk {
    /// All changes to the bytes of a disk are at most this many bytes from its start or its end: a copy of the GPT,
    /// whose table has at most 1 MiB.
    pub const CHANGED_EDGE: u64 = 2 * MIB;

    /// Opens an image with the default options.
    ///
    /// # Errors
    /// [`OpenError`] if the image cannot be opened.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let open = open(path, &OpenOptions::default())?;
        Self::new(&open, false).map_err(|error| OpenError::disk(open.format, &error))
    }

    /// The disk of an open image. With `repair_gpt`, a damaged first copy of the GPT is replaced by one made from the
    /// backup.
    ///
    /// # Errors
    /// [`DiskError`] if the disk cannot be read.
    pub fn new(open: &OpenDisk, repair_gpt: bool) -> Result<Self, DiskError> {
        let size = open.disk.size().div_ceil(MIB).saturating_mul(MIB);
        let mut azure = Self {
            disk: Arc::clone(&open.disk),
            size,
            patches: Vec::new(),
            footer: [0; FOOTER_SIZE],
            changes: Vec::new(),
        };
        azure.report_format(open);
        let appended = size - open.disk.size();
        if appended > 0 {
            let message = format!(
                "{appended} zero bytes are appended, so that the disk has {} MiB in place of {} bytes",
                size / MIB,
                open.disk.size()
            );
            azure.changes.push(Finding::new(&codes::ROUNDED, message));
        }
        let guid = azure.plan_gpt(repair_gpt)?;
        azure.footer = azure.make_footer(open, guid)?.to_bytes();
        azure.patches.sort_by_key(|(at, _)| *at);
        debug_assert!(azure.patches.iter().all(|(at, bytes)| {
            at + bytes.len() as u64 <= Self::CHANGED_EDGE || *at >= size.saturating_sub(Self::CHANGED_EDGE)
        }));
        Ok(azure)
    }

    /// The footer of the fixed VHD with this disk. The footer of a fixed VHD is unchanged if the size does not change.
    #[must_use]
    pub fn footer(&self) -> [u8; FOOTER_SIZE] {
        self.footer
    }

    /// The changes to the image, as notes.
    #[must_use]
    pub fn changes(&self) -> &[Finding] {
        &self.changes
    }

    fn report_format(&mut self, open: &OpenDisk) {
        let mut what = open.format.to_string();
        if let Some(compression) = open.compression {
            what = format!("{what} compressed with {compression}");
        }
        if open.format != Format::FixedVhd || open.compression.is_some() {
            let message = format!("its format is {what}: the fixed VHD with the same disk is used");
            self.changes.push(Finding::new(&codes::CONVERTED, message));
        }
        if open.log_replayed {
            let message = "the VHDX was not closed properly: the changes in its log are applied in memory";
            self.changes.push(Finding::new(&codes::LOG_REPLAYED, message));
        }
    }

    /// Plans the changes of the partition table. Returns the disk's GUID.
    fn plan_gpt(&mut self, repair: bool) -> Result<Option<[u8; 16]>, DiskError> {
        let disk = Arc::clone(&self.disk);
        let table = PartitionTable::read(&*disk)?;
        match table.kind {
            TableKind::Gpt { backup } => {
                let Some(gpt) = GptCopy::read(&*disk, 1, SECTOR)? else { return Ok(None) };
                if self.size != disk.size() || backup == Backup::Invalid {
                    self.move_backup(&gpt, backup);
                }
                Ok(Some(gpt.disk))
            }
            TableKind::DamagedGpt { fault: GptFault::Checksum | GptFault::NoHeader, backup_is_valid: true }
                if repair =>
            {
                let last = disk.size() / SECTOR - 1;
                let Some(backup) = GptCopy::read(&*disk, last, SECTOR)? else { return Ok(None) };
                Ok(self.repair_first_copy(backup, last).then_some(()).and(self.guid_of_patch()))
            }
            _ => Ok(None),
        }
    }

    /// Moves the backup of a GPT to the end of the disk, unless a partition uses these sectors.
    fn move_backup(&mut self, gpt: &GptCopy, backup: Backup) {
        let last = self.size / SECTOR - 1;
        let Some(table_at) = last.checked_sub(gpt.table_sectors()) else { return };
        let last_usable = table_at.saturating_sub(1);
        let sectors = self.disk.size() / SECTOR;
        // A table for a larger disk is not adapted: it is reported as an error.
        let cut_short = gpt.last_usable >= sectors;
        let in_use = gpt.partitions().iter().any(|partition| partition.first >= table_at || partition.last >= table_at);
        if cut_short || in_use || last_usable < gpt.first_usable {
            return;
        }
        let first = gpt.header_with(1, last, gpt.table_at, last_usable);
        if first != gpt.header {
            self.patches.push((SECTOR, first));
        }
        self.patches.push((table_at * SECTOR, gpt.entries.clone()));
        self.patches.push((last * SECTOR, gpt.header_with(last, 1, table_at, last_usable)));
        let state = match backup {
            Backup::Invalid => "is missing, damaged or different, and is written again to",
            Backup::AtEnd | Backup::BeforeEnd => "is moved to",
        };
        let message = format!(
            "the backup of the partition table (GPT) {state} the end of the disk, sectors {table_at} to {last}; in the first \
             copy, AlternateLBA becomes {last} and LastUsableLBA {last_usable}"
        );
        self.changes.push(Finding::new(&codes::GPT_BACKUP_MOVED, message));
    }

    /// Replaces the first copy of a GPT by one made from the backup in sector `last`. Returns false if there is no room
    /// for it.
    fn repair_first_copy(&mut self, backup: GptCopy, last: u64) -> bool {
        const TABLE_AT: u64 = 2;
        if backup.first_usable < TABLE_AT + backup.table_sectors() || backup.last_usable > last {
            return false;
        }
        let header = backup.header_with(1, last, TABLE_AT, backup.last_usable);
        self.patches.push((SECTOR, header.clone()));
        self.patches.push((TABLE_AT * SECTOR, backup.entries.clone()));
        let message = "the first copy of the partition table (GPT) is written again from the backup";
        self.changes.push(Finding::new(&codes::GPT_REPAIRED, message));
        if self.size != self.disk.size() {
            let first = GptCopy { header, other: last, table_at: TABLE_AT, ..backup };
            self.move_backup(&first, Backup::AtEnd);
            // The header that refers to the moved backup replaces the one that does not.
            if let Some(at) = self.patches.iter().rposition(|(at, _)| *at == SECTOR) {
                let newest = self.patches.remove(at);
                self.patches.retain(|(at, _)| *at != SECTOR);
                self.patches.push(newest);
            }
        }
        true
    }

    /// The disk's GUID in the header that was planned.
    fn guid_of_patch(&self) -> Option<[u8; 16]> {
        self.patches.iter().find(|(at, _)| *at == SECTOR).map(|(_, header)| guid_at(header, 56))
    }

    /// The footer of the fixed VHD.
    fn make_footer(&mut self, open: &OpenDisk, guid: Option<[u8; 16]>) -> Result<Footer, DiskError> {
        if let Some(footer) = &open.footer {
            let resized = self.size != open.disk.size();
            let footer = if footer.disk_type() == crate::DiskType::Fixed { footer.clone() } else { footer.as_fixed() };
            return Ok(if resized { footer.resized(self.size) } else { footer });
        }
        let id = match guid {
            Some(guid) if guid != [0; 16] => u128::from_be_bytes(guid),
            _ => {
                let mut first = vec![0; index(self.size.min(HASHED_LENGTH))];
                self.read_at(0, &mut first)?;
                let mut hasher = blake3::Hasher::new();
                hasher.update(&self.size.to_le_bytes());
                hasher.update(&first);
                u128::from_be_bytes(guid_at(hasher.finalize().as_bytes(), 0))
            }
        };
        let message = "a VHD footer is generated: the same disk always gets the same one";
        self.changes.push(Finding::new(&codes::NEW_FOOTER, message));
        Ok(Footer::fixed_for(self.size, id))
    }
}

impl DiskReader for AzureDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, buffer.len())?;
        crate::blocks::read_parent(Some(&*self.disk), offset, buffer)?;
        let end = offset + buffer.len() as u64;
        for (at, bytes) in &self.patches {
            let (from, to) = ((*at).max(offset), (at + bytes.len() as u64).min(end));
            if from < to {
                let patch = &bytes[index(from - at)..index(to - at)];
                buffer[index(from - offset)..index(to - offset)].copy_from_slice(patch);
            }
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        let data = self.disk.next_data(offset)?;
        let patches = self.patches.iter().map(|(at, bytes)| *at..at + bytes.len() as u64);
        let patch = patches.filter(|range| range.end > offset).map(|range| range.start.max(offset)..range.end).next();
        Ok(match (data, patch) {
            (Some(data), Some(patch)) => Some(if patch.start < data.start { patch } else { data }),
            (data, patch) => data.or(patch),
        })
    }

    fn verify(&self, check_limits: &dyn Fn() -> Result<(), DiskError>) -> Result<(), DiskError> {
        self.disk.verify(check_limits)
    }
}
