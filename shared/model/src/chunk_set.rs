//! Progress as a set of chunks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

/// A set of chunk indices below a fixed length: the chunks of a manifest that an operation has finished.
///
/// Rows store the result of [`ChunkSet::encode`]: run lengths if they are shorter, otherwise a plain bitmap. The
/// largest disk (4 TiB, 1,048,576 chunks) needs at most [`ChunkSet::MAX_ENCODED`] bytes for any pattern.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChunkSet {
    words: Vec<u64>,
    len: u32,
}

/// A stored chunk set that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chunk set is damaged: {0}")]
pub struct InvalidChunkSet(&'static str);

const RUNS: u8 = b'r';
const BITMAP: u8 = b'b';

impl ChunkSet {
    /// The largest number of chunks of a disk: 4 TiB in windows of 4 MiB.
    pub const MAX_LEN: u32 = 1 << 20;

    /// The largest number of bytes that [`ChunkSet::encode`] returns: a tag, a length of up to three bytes, and one bit
    /// per chunk.
    pub const MAX_ENCODED: usize = 1 + 3 + (Self::MAX_LEN as usize) / 8;

    /// Creates an empty set for a disk of `len` chunks.
    #[must_use]
    pub fn empty(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len }
    }

    /// Creates a set that contains all `len` chunks.
    #[must_use]
    pub fn full(len: u32) -> Self {
        let mut set = Self::empty(len);
        set.insert_range(0, len);
        set
    }

    /// The number of chunks of the disk, whether they are in the set or not.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the disk has no chunks, so the set can contain none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of chunks in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether chunk `index` is in the set. False if `index` is out of range.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        index < self.len && self.words[(index / 64) as usize] >> (index % 64) & 1 == 1
    }

    /// Adds chunk `index` and returns whether it was absent. An index out of range is ignored.
    pub fn insert(&mut self, index: u32) -> bool {
        if index >= self.len || self.contains(index) {
            return false;
        }
        self.words[(index / 64) as usize] |= 1 << (index % 64);
        true
    }

    fn insert_range(&mut self, from: u32, to: u32) {
        for index in from..to.min(self.len) {
            self.insert(index);
        }
    }

    /// The chunks in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len).filter(|&index| self.contains(index))
    }

    /// The chunks that are not in the set, in order.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len).filter(|&index| !self.contains(index))
    }

    /// Encodes the set in at most [`ChunkSet::MAX_ENCODED`] bytes: a tag, the length, then either alternating run
    /// lengths (absent first) or the bitmap, the shorter of the two.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let limit = (self.len.div_ceil(8)) as usize;
        let mut bytes = vec![RUNS];
        push_varint(&mut bytes, self.len);
        let header = bytes.len();
        let (mut at, mut present) = (0, false);
        while at < self.len && bytes.len() - header < limit {
            let end = self.run_end(at, present);
            push_varint(&mut bytes, end - at);
            (at, present) = (end, !present);
        }
        if at == self.len {
            return bytes;
        }
        bytes.truncate(header);
        bytes[0] = BITMAP;
        bytes.extend(self.words.iter().flat_map(|word| word.to_le_bytes()).take(limit));
        bytes
    }

    /// The end of the run of present (or absent) chunks that begins at `at`.
    fn run_end(&self, at: u32, present: bool) -> u32 {
        let mut end = at;
        while end < self.len {
            let word = self.words[(end / 64) as usize] >> (end % 64);
            let same = if present { word.trailing_ones() } else { word.trailing_zeros() };
            let room = 64 - end % 64;
            end += same.min(room);
            if same < room {
                break;
            }
        }
        end.min(self.len)
    }

    /// Decodes the result of [`ChunkSet::encode`]. Empty input is the set of a disk without chunks.
    ///
    /// # Errors
    /// [`InvalidChunkSet`] if the bytes do not encode a set.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidChunkSet> {
        let Some((&tag, mut rest)) = bytes.split_first() else {
            return Ok(Self::default());
        };
        let len = take_varint(&mut rest)?;
        if len > Self::MAX_LEN {
            return Err(InvalidChunkSet("more chunks than the largest disk has"));
        }
        let mut set = Self::empty(len);
        match tag {
            RUNS => {
                let (mut at, mut present) = (0_u32, false);
                while at < len {
                    let run = take_varint(&mut rest)?;
                    let end = at.checked_add(run).filter(|&end| end <= len).ok_or(InvalidChunkSet("a run too long"))?;
                    if present {
                        set.insert_range(at, end);
                    }
                    (at, present) = (end, !present);
                }
                if !rest.is_empty() {
                    return Err(InvalidChunkSet("bytes after the last run"));
                }
            }
            BITMAP => {
                if rest.len() != len.div_ceil(8) as usize {
                    return Err(InvalidChunkSet("a bitmap of the wrong length"));
                }
                for index in 0..len {
                    if rest[(index / 8) as usize] >> (index % 8) & 1 == 1 {
                        set.insert(index);
                    }
                }
            }
            _ => return Err(InvalidChunkSet("an unknown encoding")),
        }
        Ok(set)
    }
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u32, InvalidChunkSet> {
    let mut value = 0_u32;
    for shift in (0..32).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(InvalidChunkSet("cut short"))?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(InvalidChunkSet("a number too long"))
}

impl std::fmt::Debug for ChunkSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} chunks", self.count(), self.len)
    }
}

impl Serialize for ChunkSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.encode()))
    }
}

impl<'de> Deserialize<'de> for ChunkSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text).map_err(D::Error::custom)?;
        Self::decode(&bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn largest_disk_fits_for_every_pattern() {
        let mut worst = ChunkSet::empty(ChunkSet::MAX_LEN);
        for index in (0..ChunkSet::MAX_LEN).step_by(2) {
            worst.insert(index);
        }
        let bytes = worst.encode();
        assert!(bytes.len() <= ChunkSet::MAX_ENCODED, "{}", bytes.len());
        assert_eq!(ChunkSet::decode(&bytes).unwrap(), worst);
    }

    #[test]
    fn sequential_progress_encodes_small() {
        let mut set = ChunkSet::empty(ChunkSet::MAX_LEN);
        set.insert_range(0, 500_000);
        assert!(set.encode().len() < 12);
    }

    proptest! {
        #[test]
        fn chunk_set_round_trips(len in 0_u32..3000, picks in prop::collection::vec(0_u32..3000, 0..400), dense in any::<bool>()) {
            let mut set = if dense { ChunkSet::full(len) } else { ChunkSet::empty(len) };
            if dense {
                let mut holes = ChunkSet::empty(len);
                for pick in picks { holes.insert(pick); }
                set = ChunkSet::empty(len);
                for index in holes.missing() { set.insert(index); }
            } else {
                for pick in picks { set.insert(pick); }
            }
            let bytes = set.encode();
            prop_assert!(bytes.len() <= 4 + len.div_ceil(8) as usize);
            prop_assert_eq!(ChunkSet::decode(&bytes).unwrap(), set);
        }

        #[test]
        fn decoding_corrupt_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = ChunkSet::decode(&bytes);
        }
    }
}
