//! The content of a modelled blob: extents with known bytes or with a known checksum.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use goldfleet_model::checksum::{CRC64_EMPTY, combine_crc64, crc64};

/// Zeros for checksums and copies.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The content of an extent.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// These bytes. The value is boxed because a fleet has millions of pieces and almost all of them have only a
    /// checksum.
    Bytes(Box<Bytes>),
    /// Bytes with this CRC-64/NVME. The bytes are not stored.
    Checksum(u64),
    /// A part of a piece that has only a checksum. Its content is unknown.
    Unknown,
}

impl Piece {
    pub(super) fn of(bytes: Bytes) -> Self {
        Self::Bytes(Box::new(bytes))
    }

    /// Returns a part of a piece of `length` bytes.
    fn part(&self, length: u64, range: Range<u64>) -> Self {
        match self {
            _ if range == (0..length) => self.clone(),
            Self::Bytes(bytes) => Self::of(bytes.slice(as_usize(range.start)..as_usize(range.end))),
            Self::Checksum(_) | Self::Unknown => Self::Unknown,
        }
    }

    fn crc64(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(crc64(bytes)),
            Self::Checksum(crc) => Some(*crc),
            Self::Unknown => None,
        }
    }
}

/// An extent of a blob: its offset, its length, and its content.
pub(super) type Extent = (u64, u64, Piece);

/// The content of a blob. Everything outside of the pieces is zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Extents {
    /// The length and content of each piece by its offset.
    pieces: BTreeMap<u64, (u64, Piece)>,
}

impl Extents {
    /// Writes a piece of `length` bytes at offset `at`. Overwrites existing pieces.
    pub(super) fn insert(&mut self, at: u64, length: u64, piece: Piece) {
        if length == 0 {
            return;
        }
        self.clear(at..at + length);
        self.pieces.insert(at, (length, piece));
    }

    /// Sets a range to zero.
    pub(super) fn clear(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let before = self.pieces.range(..range.start).next_back().map(|(at, _)| *at);
        if let Some(at) = before {
            self.trim_at(at, &range);
        }
        while let Some(at) = self.pieces.range(range.clone()).next().map(|(at, _)| *at) {
            self.trim_at(at, &range);
        }
    }

    /// Removes the part of the piece at `at` that is inside the range.
    fn trim_at(&mut self, at: u64, range: &Range<u64>) {
        let Some((length, _)) = self.pieces.get(&at).filter(|(length, _)| at + length > range.start) else { return };
        let length = *length;
        let Some((_, piece)) = self.pieces.remove(&at) else { return };
        if at < range.start {
            let left = range.start - at;
            self.pieces.insert(at, (left, piece.part(length, 0..left)));
        }
        if at + length > range.end {
            let right = range.end - at;
            self.pieces.insert(range.end, (length - right, piece.part(length, right..length)));
        }
    }

    /// The extents in a range, clipped to it, in order. Offsets are relative to the start of the range.
    pub(super) fn within(&self, range: &Range<u64>) -> Vec<Extent> {
        if let Some((length, piece)) = self.pieces.get(&range.start)
            && range.start + length == range.end
        {
            return vec![(0, *length, piece.clone())];
        }
        let behind = |(at, (length, _)): &(&u64, &(u64, Piece))| **at + length > range.start;
        let mut found: Vec<Extent> = self
            .pieces
            .range(..range.end)
            .rev()
            .take_while(behind)
            .map(|(at, (length, piece))| {
                let (start, end) = (range.start.max(*at), range.end.min(at + length));
                (start - range.start, end - start, piece.part(*length, start - at..end - at))
            })
            .collect();
        found.reverse();
        found
    }

    /// The CRC-64/NVME of a range. None if it is unknown.
    pub(super) fn crc64(&self, range: &Range<u64>) -> Option<u64> {
        // In almost all cases a piece is read as it was written.
        if let Some((length, piece)) = self.pieces.get(&range.start)
            && range.start + length == range.end
        {
            return piece.crc64();
        }
        let mut crc = CRC64_EMPTY;
        let mut to = 0;
        for (at, length, piece) in self.within(range) {
            crc = with_zeros(crc, at - to);
            crc = if at == 0 { piece.crc64()? } else { combine_crc64(crc, piece.crc64()?, length) };
            to = at + length;
        }
        Some(with_zeros(crc, range.end - range.start - to))
    }

    /// The bytes of a range. None if they are not stored.
    pub(super) fn bytes(&self, range: &Range<u64>) -> Option<Bytes> {
        let length = range.end - range.start;
        let stretches = self.within(range);
        if let [(0, whole, Piece::Bytes(bytes))] = &stretches[..]
            && *whole == length
        {
            return Some(bytes.as_ref().clone());
        }
        let mut copied = vec![0; as_usize(length)];
        for (at, length, piece) in stretches {
            let Piece::Bytes(bytes) = piece else { return None };
            copied[as_usize(at)..as_usize(at + length)].copy_from_slice(&bytes);
        }
        Some(copied.into())
    }

    /// The ranges that contain pieces. Adjacent pieces are merged.
    pub(super) fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (at, (length, _)) in &self.pieces {
            match ranges.last_mut() {
                Some(last) if last.end == *at => last.end = at + length,
                _ => ranges.push(*at..at + length),
            }
        }
        ranges
    }

    /// The ranges in which another content may differ, in order. Pieces whose content is not known differ.
    pub(super) fn differences(&self, other: &Self) -> Vec<Range<u64>> {
        let bounds = |extents: &Self| -> Vec<u64> {
            extents.pieces.iter().flat_map(|(at, (length, _))| [*at, at + length]).collect()
        };
        let mut bounds = [bounds(self), bounds(other)].concat();
        bounds.sort_unstable();
        bounds.dedup();
        let mut found: Vec<Range<u64>> = Vec::new();
        for pair in bounds.windows(2) {
            let range = pair[0]..pair[1];
            let (one, two) = (self.crc64(&range), other.crc64(&range));
            if one.is_some() && one == two {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => found.push(range),
            }
        }
        found
    }
}

fn with_zeros(mut crc: u64, mut count: u64) -> u64 {
    while count > 0 {
        let piece = count.min(ZEROS.len() as u64);
        crc = combine_crc64(crc, crc64(&ZEROS[..as_usize(piece)]), piece);
        count -= piece;
    }
    crc
}

/// Blobs with stored bytes are far smaller than the address space.
fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(seed: u8, length: u64) -> Piece {
        Piece::of((0..length).map(|n| u8::try_from(n % 251).unwrap() ^ seed | 1).collect())
    }

    #[test]
    fn splitting_checksum_extent_loses_only_split_part() {
        let mut extents = Extents::default();
        extents.insert(0, 100, Piece::Checksum(7));
        extents.insert(100, 100, Piece::Checksum(8));
        assert_eq!(extents.crc64(&(0..200)), Some(combine_crc64(7, 8, 100)));
        assert_eq!(extents.ranges(), std::slice::from_ref(&(0..200)));
        extents.clear(150..160);
        assert_eq!(extents.crc64(&(0..100)), Some(7));
        assert_eq!((extents.crc64(&(100..200)), extents.bytes(&(0..10))), (None, None));
        assert_eq!(extents.ranges(), [0..150, 160..200]);
        assert_eq!(extents.crc64(&(150..160)), Some(crc64(&[0; 10])));
    }

    proptest! {
        #[test]
        fn extents_match_plain_bytes(
            steps in prop::collection::vec((0_u64..300, 0_u64..120, any::<Option<u8>>()), 0..40),
            start in 0_u64..300, length in 0_u64..200,
        ) {
            let (mut extents, mut plain) = (Extents::default(), vec![0_u8; 600]);
            for (at, length, seed) in steps {
                let range = as_usize(at)..as_usize(at + length);
                match seed {
                    Some(seed) => {
                        let Piece::Bytes(bytes) = piece(seed, length) else { unreachable!() };
                        plain[range].copy_from_slice(&bytes);
                        extents.insert(at, length, Piece::Bytes(bytes));
                    }
                    None => {
                        plain[range].fill(0);
                        extents.clear(at..at + length);
                    }
                }
            }
            let expected = &plain[as_usize(start)..as_usize(start + length)];
            prop_assert_eq!(extents.bytes(&(start..start + length)).unwrap(), expected);
            prop_assert_eq!(extents.crc64(&(start..start + length)), Some(crc64(expected)));
            let ranges = extents.ranges();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!((0..600).all(|at| plain[at] == 0 || ranges.iter().any(|range| range.contains(&(at as u64)))));
        }
    }
}
