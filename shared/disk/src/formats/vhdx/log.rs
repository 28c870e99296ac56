//! The log: changes to the structures that may not have been written to their final places. They are applied in memory
//! ("[MS-VHDX]", section 2.3); the file is not changed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::header::Header;
use super::{LOG_SECTOR, MIB};
use crate::bytes::{crc32c, guid_at, index, le32, le64};
use crate::reader::{check_range, read_part};
use crate::{DiskError, DiskReader};

/// The maximum size of a log in bytes. Writers use 1 MiB.
const MAX_LOG: u32 = 64 << 20;

/// The maximum number of bytes in the entries that are checked. In a damaged log, entries may overlap.
const MAX_CHECKED: u64 = 1 << 30;

/// A VHDX file after the replay of its log.
#[derive(Debug)]
pub(super) struct Replayed {
    source: Arc<dyn DiskReader>,
    size: u64,
    /// The new content of sectors of 4 KiB, by sector number.
    sectors: BTreeMap<u64, Box<[u8]>>,
    /// Ranges that became zero: start and end in bytes. `sectors` take precedence.
    zeros: BTreeMap<u64, u64>,
}

impl Replayed {
    /// Replays the log, if there is one. Returns whether it holds changes.
    pub(super) fn new(source: Arc<dyn DiskReader>, header: &Header) -> Result<(Self, bool), DiskError> {
        let mut replayed = Self { size: source.size(), source, sectors: BTreeMap::new(), zeros: BTreeMap::new() };
        if header.log_guid == [0; 16] {
            return Ok((replayed, false));
        }
        if header.log_length > MAX_LOG {
            return Err(DiskError::Limit(format!("the VHDX log has {} bytes", header.log_length)));
        }
        if header.log_length == 0
            || !u64::from(header.log_length).is_multiple_of(MIB)
            || header.log_offset < MIB
            || !header.log_offset.is_multiple_of(MIB)
        {
            return Err(DiskError::damaged("the VHDX header gives an invalid place of the log"));
        }
        let bytes = read_part(&*replayed.source, header.log_offset, header.log_length as usize, "the log")?;
        let log = Log { bytes, guid: header.log_guid };
        let entries = log.active_sequence()?;
        let Some(head) = entries.last() else {
            return Err(DiskError::damaged("the VHDX log has no complete sequence of entries"));
        };
        if replayed.size < head.flushed_size {
            return Err(DiskError::Truncated {
                what: "the part that its log refers to".to_owned(),
                needed: head.flushed_size,
                length: replayed.size,
            });
        }
        let last_size = head.last_size;
        for entry in &entries {
            replayed.apply(&log, entry)?;
        }
        replayed.size = replayed.size.max(last_size);
        let changed = !(replayed.sectors.is_empty() && replayed.zeros.is_empty());
        Ok((replayed, changed))
    }

    fn apply(&mut self, log: &Log, entry: &Entry) -> Result<(), DiskError> {
        let bytes = log.copy(entry.at, entry.length);
        let mut data = index(entry.data_at());
        for descriptor in descriptors(&bytes, entry.descriptors) {
            let at = le64(descriptor, 16);
            if !at.is_multiple_of(LOG_SECTOR) {
                return Err(DiskError::damaged(format!("the VHDX log changes byte {at}, which begins no sector")));
            }
            if descriptor.starts_with(b"zero") {
                let length = le64(descriptor, 8);
                let end = at.checked_add(length).filter(|_| length.is_multiple_of(LOG_SECTOR));
                let end = end.ok_or_else(|| DiskError::damaged("the VHDX log zeroes an invalid range"))?;
                self.zero(at..end);
            } else {
                let mut sector = bytes[data..data + index(LOG_SECTOR)].to_vec();
                sector[..8].copy_from_slice(&descriptor[8..16]);
                sector[4092..].copy_from_slice(&descriptor[4..8]);
                self.sectors.insert(at / LOG_SECTOR, sector.into());
                self.size = self.size.max(at.saturating_add(LOG_SECTOR));
                data += index(LOG_SECTOR);
            }
        }
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) {
        let sectors = range.start / LOG_SECTOR..range.end / LOG_SECTOR;
        let covered: Vec<u64> = self.sectors.range(sectors).map(|(sector, _)| *sector).collect();
        for sector in covered {
            self.sectors.remove(&sector);
        }
        // Zeros beyond the end of the file only extend it.
        self.size = self.size.max(range.end);
        // Ranges that touch or overlap are joined.
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&first, &last)) = self.zeros.range(..=end).next_back().filter(|(_, last)| **last >= start) {
            self.zeros.remove(&first);
            (start, end) = (start.min(first), end.max(last));
        }
        self.zeros.insert(start, end);
    }

    /// Applies the changes to bytes that were read from the file.
    fn patch(&self, offset: u64, buffer: &mut [u8]) {
        let end = offset + buffer.len() as u64;
        let clip = |start: u64, stop: u64| index(start.max(offset) - offset)..index(stop.min(end) - offset);
        for (&start, &stop) in self.zeros.range(..end).rev().take_while(|(_, stop)| **stop > offset) {
            buffer[clip(start, stop)].fill(0);
        }
        for (&sector, bytes) in self.sectors.range(offset / LOG_SECTOR..end.div_ceil(LOG_SECTOR)) {
            let start = sector * LOG_SECTOR;
            let place = clip(start, start + LOG_SECTOR);
            let from = index(offset.saturating_sub(start));
            let length = place.len();
            buffer[place].copy_from_slice(&bytes[from..from + length]);
        }
    }
}

impl DiskReader for Replayed {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, buffer.len())?;
        crate::blocks::read_parent(Some(&*self.source), offset, buffer)?;
        if !(self.zeros.is_empty() && self.sectors.is_empty()) {
            self.patch(offset, buffer);
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        Ok((offset < self.size).then_some(offset..self.size))
    }
}

struct Log {
    bytes: Vec<u8>,
    guid: [u8; 16],
}

/// A valid entry of the log.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    length: u64,
    tail: u64,
    sequence: u64,
    descriptors: u64,
    flushed_size: u64,
    last_size: u64,
}

impl Entry {
    /// The offset of the data sectors in the entry. They follow a header of 64 bytes and descriptors of 32 bytes.
    fn data_at(&self) -> u64 {
        (64 + 32 * self.descriptors).next_multiple_of(LOG_SECTOR)
    }
}

fn descriptors(entry: &[u8], count: u64) -> impl Iterator<Item = &[u8]> {
    entry[64..].chunks_exact(32).take(index(count))
}

impl Log {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// A part of the log. A part that reaches the end of the log continues at its beginning.
    fn copy(&self, at: u64, length: u64) -> Vec<u8> {
        let (start, length) = (index(at), index(length));
        let first = &self.bytes[start..(start + length).min(self.bytes.len())];
        [first, &self.bytes[..length - first.len()]].concat()
    }

    /// The newest complete sequence of valid entries, the oldest entry first.
    fn active_sequence(&self) -> Result<Vec<Entry>, DiskError> {
        let mut checked = 0;
        let mut active: Vec<Entry> = Vec::new();
        let mut tail = 0;
        while tail < self.length() {
            let sequence = self.sequence_from(tail, &mut checked)?;
            let (Some(first), Some(head)) = (sequence.first(), sequence.last()) else {
                tail += LOG_SECTOR;
                continue;
            };
            // A sequence is complete if the tail that its last entry names is one of its entries. Replay begins there.
            let begin = sequence.iter().position(|entry| entry.at == head.tail);
            // A sequence that continued at the beginning of the log has been read completely.
            let next = head.at + head.length;
            let wrapped = next >= self.length() || head.at < first.at;
            match begin {
                Some(begin) => {
                    if active.last().is_none_or(|newest| head.sequence > newest.sequence) {
                        active = sequence[begin..].to_vec();
                    }
                    tail = if wrapped { self.length() } else { next };
                }
                None => tail += LOG_SECTOR,
            }
        }
        Ok(active)
    }

    /// The valid entries from `tail` on, as long as each sequence number is the successor of the one before.
    fn sequence_from(&self, tail: u64, checked: &mut u64) -> Result<Vec<Entry>, DiskError> {
        let (mut at, mut total) = (tail, 0);
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(entry) = self.entry(at, checked)? {
            total += entry.length;
            if entries.last().is_some_and(|last| last.sequence.checked_add(1) != Some(entry.sequence))
                || total > self.length()
            {
                break;
            }
            entries.push(entry);
            at = (at + entry.length) % self.length();
        }
        Ok(entries)
    }

    /// The entry at an offset, if it is valid.
    fn entry(&self, at: u64, checked: &mut u64) -> Result<Option<Entry>, DiskError> {
        let header = self.copy(at, LOG_SECTOR);
        let length = u64::from(le32(&header, 8));
        let entry = Entry {
            at,
            length,
            tail: le32(&header, 12).into(),
            sequence: le64(&header, 16),
            descriptors: le32(&header, 24).into(),
            flushed_size: le64(&header, 48),
            last_size: le64(&header, 56),
        };
        let plausible = header.starts_with(b"loge")
            && guid_at(&header, 32) == self.guid
            && (LOG_SECTOR..=self.length()).contains(&length)
            && length.is_multiple_of(LOG_SECTOR)
            && entry.tail.is_multiple_of(LOG_SECTOR)
            && entry.tail < self.length()
            && entry.sequence > 0
            && entry.data_at() <= length;
        if !plausible {
            return Ok(None);
        }
        *checked += length;
        if *checked > MAX_CHECKED {
            return Err(DiskError::Limit("the VHDX log has too many overlapping entries".to_owned()));
        }
        let mut bytes = self.copy(at, length);
        let crc = le32(&bytes, 4);
        bytes[4..8].fill(0);
        Ok((crc32c(&bytes) == crc && Self::parts_are_valid(&bytes, &entry)).then_some(entry))
    }

    /// Whether all descriptors and data sectors belong to the entry.
    fn parts_are_valid(bytes: &[u8], entry: &Entry) -> bool {
        let mut data = index(entry.data_at());
        descriptors(bytes, entry.descriptors).all(|descriptor| {
            if le64(descriptor, 24) != entry.sequence {
                return false;
            }
            if descriptor.starts_with(b"zero") {
                return true;
            }
            let Some(sector) = bytes.get(data..data + index(LOG_SECTOR)) else { return false };
            data += index(LOG_SECTOR);
            let sequence = u64::from(le32(sector, 4)) << 32 | u64::from(le32(sector, 4092));
            descriptor.starts_with(b"desc") && sector.starts_with(b"data") && sequence == entry.sequence
        })
    }
}
