//! Entries of FAT folders.

use super::boot::text;
use crate::bytes::{le16, le32};
use crate::fs::MAX_ENTRIES;
use crate::text::utf16;

const ENTRY: usize = 32;
/// First byte of an entry that ends the folder.
const END: u8 = 0;
/// First byte of a deleted entry.
const DELETED: u8 = 0xe5;
const LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
/// Attributes of a part of a long name.
const LONG_NAME: u8 = 0x0f;
/// The most parts of a long name: 255 characters, 13 in each.
const MAX_PARTS: u8 = 20;

/// A file, folder or label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The long name if there is one, otherwise the short one.
    pub(super) name: String,
    pub(super) short_name: String,
    pub(super) is_folder: bool,
    pub(super) is_label: bool,
    pub(super) cluster: u32,
    pub(super) size: u32,
}

/// Whether these entries contain the mark that ends a folder.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    bytes.chunks_exact(ENTRY).any(|entry| entry[0] == END)
}

/// A long name that is being collected. Its parts are stored last part first, before the entry that they name.
#[derive(Default)]
struct LongName {
    units: Vec<u8>,
    checksum: u8,
    /// The number of the part that must come next; 0 when the name is complete.
    next: u8,
}

impl LongName {
    fn add(&mut self, entry: &[u8]) {
        let number = entry[0] & 0x3f;
        if entry[0] & 0x40 != 0 && (1..=MAX_PARTS).contains(&number) {
            *self = Self { units: Vec::new(), checksum: entry[13], next: number };
        } else if number != self.next || entry[13] != self.checksum {
            *self = Self::default();
        }
        if self.next > 0 {
            let part = [&entry[1..11], &entry[14..26], &entry[28..32]].concat();
            self.units.splice(0..0, part);
            self.next -= 1;
        }
    }

    /// The name, if it is complete and belongs to this short name.
    fn take(&mut self, short: &[u8]) -> Option<String> {
        let name = std::mem::take(self);
        let complete = name.next == 0 && !name.units.is_empty() && name.checksum == checksum(short);
        complete.then(|| utf16(&name.units).split('\0').next().unwrap_or_default().to_owned())
    }
}

/// The checksum of a short name, which its long name repeats.
fn checksum(short: &[u8]) -> u8 {
    short.iter().fold(0, |sum: u8, &byte| sum.rotate_right(1).wrapping_add(byte))
}

/// All entries before the end of a folder.
pub(super) fn parse(bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut long = LongName::default();
    for raw in bytes.chunks_exact(ENTRY).take_while(|raw| raw[0] != END).take(MAX_ENTRIES) {
        if raw[0] == DELETED {
            long = LongName::default();
        } else if raw[11] & 0x3f == LONG_NAME {
            long.add(raw);
        } else {
            let name = long.take(&raw[..11]);
            entries.push(entry(raw, name));
        }
    }
    entries
}

fn entry(raw: &[u8], long: Option<String>) -> Entry {
    let is_label = raw[11] & LABEL != 0;
    let short_name = if is_label { text(&raw[..11]) } else { short_name(raw) };
    let high = u32::from(le16(raw, 20));
    let low = u32::from(le16(raw, 26));
    Entry {
        name: long.filter(|_| !is_label).unwrap_or_else(|| short_name.clone()),
        short_name,
        is_folder: raw[11] & FOLDER != 0,
        is_label,
        cluster: high << 16 | low,
        size: le32(raw, 28),
    }
}

/// A short name: eight characters and an extension of three, each of which can be marked as lower case.
fn short_name(raw: &[u8]) -> String {
    let mut stem = raw[..8].to_vec();
    // A first byte of 0xE5 would mark a deleted entry, and is stored as 5.
    if stem[0] == 5 {
        stem[0] = DELETED;
    }
    let case = |bytes: &[u8], flag: u8| {
        let text = text(bytes);
        if raw[12] & flag != 0 { text.to_ascii_lowercase() } else { text }
    };
    let (stem, extension) = (case(&stem, 0x08), case(&raw[8..11], 0x10));
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}
