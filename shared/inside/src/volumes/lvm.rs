//! LVM2: the linear logical volumes of the physical volumes on one disk.
//!
//! Offsets are from LVM2's `lib/format_text/layout.h` and `lib/label/label.c`. The metadata is text; `Value::parse`
//! reads the subset that LVM writes.

use std::collections::BTreeMap;
use std::ops::Range;

use goldfleet_disk::{DiskError, DiskReader};

use super::Volume;
use crate::bytes::{le32, le64};

/// The longest metadata text that is read. LVM's default area has 1 MiB.
const MAX_TEXT: u64 = 4 << 20;
/// The most logical volumes and segments that are read.
const MAX_SEGMENTS: usize = 10_000;
const SECTOR: u64 = 512;

/// A physical volume: where it is, and its group's metadata.
#[derive(Debug)]
pub struct Physical {
    /// The volume that holds it.
    pub volume: Volume,
    uuid: String,
    metadata: Value,
}

/// A logical volume of the group, or why it cannot be read.
pub type Logical = Result<Volume, (String, String)>;

/// Reads the label and the metadata of a physical volume.
///
/// # Errors
/// [`DiskError`] if it cannot be read or contradicts itself.
pub fn physical(volume: Volume) -> Result<Physical, DiskError> {
    let mut head = vec![0; 2048];
    volume.read_at(0, &mut head)?;
    let label = (0..2048)
        .step_by(512)
        .find(|o| head[*o..].starts_with(b"LABELONE"))
        .ok_or_else(|| damaged("there is no LVM label"))?;
    let header = label + usize::try_from(le32(&head, label + 20)).unwrap_or(0);
    let uuid = String::from_utf8_lossy(head.get(header..header + 32).unwrap_or(&[])).into_owned();
    let area = metadata_area(&head, header + 40).ok_or_else(|| damaged("there is no LVM metadata area"))?;
    let text = metadata_text(&volume, area)?;
    let metadata = Value::parse(&text).ok_or_else(|| damaged("the LVM metadata is not valid"))?;
    Ok(Physical { volume, uuid, metadata })
}

fn damaged(what: &str) -> DiskError {
    DiskError::Damaged(what.to_owned())
}

/// The first metadata area: lists of data areas and of metadata areas follow, each ended by zeros.
fn metadata_area(head: &[u8], mut at: usize) -> Option<Range<u64>> {
    while le64(head, at) != 0 {
        at += 16;
    }
    at += 16;
    let (offset, size) = (le64(head, at), le64(head, at + 8));
    (offset != 0 && size >= 1024).then(|| offset..offset.saturating_add(size))
}

/// The current text. The area is a ring behind its header of one sector: the text may continue at the ring's start.
fn metadata_text(volume: &Volume, area: Range<u64>) -> Result<String, DiskError> {
    let mut header = vec![0; 512];
    volume.read_at(area.start, &mut header)?;
    if header.get(4..20) != Some(b" LVM2 x[5A%r0N*>") {
        return Err(damaged("the LVM metadata area has no header"));
    }
    let (offset, size, length) = (le64(&header, 40), le64(&header, 48), area.end - area.start);
    if size == 0 || size > MAX_TEXT || offset < SECTOR || offset >= length {
        return Err(damaged("the LVM metadata is outside of its area"));
    }
    let first = size.min(length - offset);
    let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
    let (now, wrapped) = text.split_at_mut(usize::try_from(first).unwrap_or(0));
    volume.read_at(area.start + offset, now)?;
    volume.read_at(area.start + SECTOR, wrapped)?;
    Ok(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
}

/// All logical volumes of the groups whose physical volumes are `physical`.
#[must_use]
pub fn logical(physical: &[Physical]) -> Vec<Logical> {
    let mut groups = BTreeMap::new();
    for pv in physical {
        // Every physical volume has the whole metadata; the newest is valid.
        if let Some((name, group)) = pv.metadata.sections().find(|(_, v)| v.get("physical_volumes").is_some()) {
            let seqno = group.number("seqno").unwrap_or(0);
            let newest = groups.entry(name.to_owned()).or_insert((seqno, group));
            if newest.0 < seqno {
                *newest = (seqno, group);
            }
        }
    }
    let mut out = Vec::new();
    for (group, (_, metadata)) in groups {
        let Some(volumes) = metadata.get("logical_volumes") else { continue };
        for (name, volume) in volumes.sections().take(MAX_SEGMENTS) {
            let title = format!("logical volume {group}/{name}");
            if volume.list("status").is_some_and(|status| !status.contains(&"VISIBLE")) {
                continue; // an internal volume of another one
            }
            out.push(match segments(physical, metadata, volume) {
                Ok((disk, parts)) => {
                    let mut volume = Volume::new(title, disk.disk_of(), parts);
                    volume.partition.clone_from(&disk.partition);
                    volume.lvm = Some((group.clone(), name.to_owned()));
                    Ok(volume)
                }
                Err(reason) => Err((title, reason)),
            });
        }
    }
    out
}

/// The ranges on the disk of a logical volume's segments, in order.
fn segments<'a>(
    physical: &'a [Physical],
    group: &Value,
    volume: &Value,
) -> Result<(&'a Volume, Vec<Range<u64>>), String> {
    let extent = group.number("extent_size").filter(|n| *n > 0).ok_or("the group has no extent size")?;
    let mut segments: Vec<&Value> = volume.sections().map(|(_, segment)| segment).take(MAX_SEGMENTS).collect();
    segments.sort_by_key(|segment| segment.number("start_extent"));
    let mut parts = Vec::new();
    let mut disk = None;
    for segment in segments {
        let kind = segment.text("type").unwrap_or("unknown");
        if kind != "striped" || segment.number("stripe_count") != Some(1) {
            return Err(format!("it has a segment of type {kind}; only linear volumes can be read"));
        }
        let count = segment.number("extent_count").ok_or("a segment has no length")?;
        let Some([Value::Text(pv), Value::Number(first)]) = segment.items("stripes") else {
            return Err("a segment does not state where it is".into());
        };
        let pv = group
            .get("physical_volumes")
            .and_then(|all| all.get(pv))
            .ok_or("a segment is on an unknown physical volume")?;
        let id: String = pv.text("id").unwrap_or("").chars().filter(|c| *c != '-').collect();
        let device = physical.iter().find(|p| p.uuid == id).ok_or("a part of it is on another disk")?;
        let start = pv.number("pe_start").ok_or("a physical volume has no start")?;
        let bytes = |extents: u64| extents.saturating_mul(extent).saturating_mul(SECTOR);
        let from = start.saturating_mul(SECTOR).saturating_add(bytes(*first));
        let range = from..from.saturating_add(bytes(count));
        if range.end > device.volume.size() {
            return Err("a segment ends beyond its physical volume".into());
        }
        parts.extend(device.volume.on_disk(range));
        disk = Some(&device.volume);
    }
    disk.map(|disk| (disk, parts)).ok_or_else(|| "it has no segments".into())
}

/// A value of LVM's metadata text.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Number(u64),
    List(Vec<Value>),
    Section(Vec<(String, Value)>),
}

impl Value {
    fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Section(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        let entries = match self {
            Self::Section(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().filter(|(_, v)| matches!(v, Self::Section(_))).map(|(k, v)| (k.as_str(), v))
    }

    fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Self::Number(n)) => Some(*n),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Self::Text(t)) => Some(t),
            _ => None,
        }
    }

    fn items(&self, name: &str) -> Option<&[Self]> {
        match self.get(name) {
            Some(Self::List(items)) => Some(items),
            _ => None,
        }
    }

    fn list(&self, name: &str) -> Option<Vec<&str>> {
        self.items(name).map(|items| {
            items.iter().filter_map(|item| if let Self::Text(t) = item { Some(t.as_str()) } else { None }).collect()
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut tokens = Tokens { rest: text, left: 1_000_000 };
        let entries = tokens.entries(0)?;
        tokens.next().is_none().then_some(Self::Section(entries))
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

struct Tokens<'a> {
    rest: &'a str,
    /// Tokens that may still be read.
    left: u32,
}

impl Tokens<'_> {
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, after)| after);
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.skip();
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<Token> {
        let first = self.peek()?;
        self.left = self.left.checked_sub(1)?;
        if first == '"' {
            return self.quoted();
        }
        if "{}[]=,".contains(first) {
            self.rest = &self.rest[1..];
            return Some(Token::Mark(first));
        }
        let end = self.rest.find(|c: char| c.is_whitespace() || "{}[]=,\"#".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| Token::Word(word.to_owned()))
    }

    fn quoted(&mut self) -> Option<Token> {
        let mut text = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 2..];
                    return Some(Token::Text(text));
                }
                '\\' => text.push(chars.next()?.1),
                _ => text.push(c),
            }
        }
        None
    }

    /// Entries up to a closing brace, which is not consumed, or to the end.
    fn entries(&mut self, depth: u32) -> Option<Vec<(String, Value)>> {
        let mut out = Vec::new();
        while !matches!(self.peek(), None | Some('}')) {
            let Token::Word(name) = self.next()? else { return None };
            let value = match self.next()? {
                Token::Mark('{') if depth < 8 => {
                    let entries = self.entries(depth + 1)?;
                    (self.next()? == Token::Mark('}')).then_some(Value::Section(entries))?
                }
                Token::Mark('=') => self.value()?,
                _ => return None,
            };
            out.push((name, value));
        }
        Some(out)
    }

    fn value(&mut self) -> Option<Value> {
        match self.next()? {
            Token::Text(text) => Some(Value::Text(text)),
            Token::Word(word) => Some(word.parse().map_or(Value::Text(word), Value::Number)),
            Token::Mark('[') => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Token::Mark(']') => return Some(Value::List(items)),
                        Token::Mark(',') => {}
                        Token::Text(text) => items.push(Value::Text(text)),
                        Token::Word(word) => items.push(word.parse().map_or(Value::Text(word), Value::Number)),
                        Token::Mark(_) => return None,
                    }
                }
            }
            Token::Mark(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::sync::Arc;

    use goldfleet_disk::MemoryDisk;

    use super::*;

    const ID: &str = "abcdef-0123-4567-89ab-cdef-0123-456789";
    const AREA: usize = 4096;
    const AREA_SIZE: usize = 4096;
    /// Extents of 8 sectors begin behind the metadata.
    const DATA: usize = 16 * 512;

    fn text(volumes: &str) -> String {
        format!(
            "# comment\nvg {{\nid = \"x\"\nseqno = 3\nextent_size = 8\nphysical_volumes {{\npv0 {{\nid = \"{ID}\"\npe_start = 16\n}}\n}}\n\
             logical_volumes {{\n{volumes}}}\n}}\ncontents = \"Text Format Volume Group\"\nversion = 1\n"
        )
    }

    fn segment(number: u32, start: u32, count: u32, kind: &str, at: u32) -> String {
        format!(
            "segment{number} {{\nstart_extent = {start}\nextent_count = {count}\ntype = \"{kind}\"\nstripe_count = 1\n\
             stripes = [\n\"pv0\", {at}\n]\n}}\n"
        )
    }

    fn volume(name: &str, segments: &[String]) -> String {
        format!("{name} {{\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\n{}}}\n", segments.concat())
    }

    /// A physical volume with this text, which begins at `offset` of the metadata area.
    fn disk(text: &str, offset: usize) -> Vec<u8> {
        let mut bytes = vec![0; DATA + 10 * 4096];
        bytes[512..520].copy_from_slice(b"LABELONE");
        bytes[532] = 32;
        bytes[536..544].copy_from_slice(b"LVM2 001");
        let id: String = ID.chars().filter(|c| *c != '-').collect();
        bytes[544..576].copy_from_slice(id.as_bytes());
        let mut word = |at: usize, value: usize| bytes[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
        word(584, DATA);
        word(616, AREA);
        word(624, AREA_SIZE);
        word(AREA + 40, offset);
        word(AREA + 48, text.len());
        bytes[AREA + 4..AREA + 20].copy_from_slice(b" LVM2 x[5A%r0N*>");
        // The area is a ring behind its header.
        for (index, byte) in text.bytes().enumerate() {
            let at = offset + index;
            let at = if at < AREA_SIZE { at } else { 512 + at - AREA_SIZE };
            bytes[AREA + at] = byte;
        }
        for extent in 0..10 {
            bytes[DATA + extent * 4096..][..4096].fill(u8::try_from(extent).unwrap());
        }
        bytes
    }

    fn read(text: &str, offset: usize) -> Vec<Logical> {
        let bytes = disk(text, offset);
        let size = bytes.len() as u64;
        let volume = Volume::new("partition 1".into(), Arc::new(MemoryDisk(bytes)), iter::once(0..size).collect());
        logical(&[physical(volume).unwrap()])
    }

    #[test]
    fn a_volume_of_two_segments_is_read_in_order() {
        let segments = [segment(2, 2, 1, "striped", 0), segment(1, 0, 2, "striped", 5)];
        let all = text(&volume("root", &segments));
        for offset in [512, AREA_SIZE - 100] {
            let found = read(&all, offset);
            let [Ok(root)] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(root.lvm, Some(("vg".into(), "root".into())));
            let mut bytes = vec![0; 3 * 4096];
            root.read_at(0, &mut bytes).unwrap();
            assert!(bytes.chunks(4096).zip([5, 6, 0]).all(|(extent, value)| extent.iter().all(|byte| *byte == value)));
        }
    }

    #[test]
    fn other_volumes_are_named_with_the_reason() {
        let other_disk = segment(1, 0, 1, "striped", 0).replace("pv0", "pv1");
        let cases = [
            (volume("thin", &[segment(1, 0, 1, "thin", 0)]), "type thin"),
            (volume("far", &[segment(1, 0, 9, "striped", 5)]), "beyond its physical volume"),
            (volume("other", &[other_disk]), "unknown physical volume"),
            (volume("empty", &[]), "no segments"),
        ];
        for (volume, reason) in cases {
            let found = read(&text(&volume), 512);
            let [Err((_, message))] = found.as_slice() else { panic!("{found:?}") };
            assert!(message.contains(reason), "{message}");
        }
        let hidden = volume("pool_tmeta", &[segment(1, 0, 1, "striped", 0)]).replace(", \"VISIBLE\"", "");
        assert!(read(&text(&hidden), 512).is_empty());
    }

    #[test]
    fn damaged_metadata_is_an_error() {
        let good = text(&volume("root", &[segment(1, 0, 1, "striped", 0)]));
        for bad in [good.replace('}', ""), "x = [".to_owned(), "{".repeat(2000), "a = \"".to_owned()] {
            let bytes = disk(&bad, 512);
            let size = bytes.len() as u64;
            let volume = Volume::new("v".into(), Arc::new(MemoryDisk(bytes)), iter::once(0..size).collect());
            assert!(physical(volume).is_err(), "{bad:.20}");
        }
    }
}
