//! The units of a file that are in use.

use std::ops::Range;

use crate::DiskError;
use crate::bytes::index;

/// The maximum number of units in a set, which takes 64 MiB of memory.
const MAX_UNITS: u64 = 1 << 29;

/// A set of the units (clusters, mebibytes) of a file that are in use. It takes one bit for each unit of the file.
#[derive(Debug)]
pub(crate) struct UnitSet {
    unit: u64,
    words: Vec<u64>,
}

impl UnitSet {
    /// An empty set for a file of `length` bytes.
    pub(crate) fn new(length: u64, unit: u64) -> Result<Self, DiskError> {
        let units = length.div_ceil(unit);
        if units > MAX_UNITS {
            return Err(DiskError::Limit(format!("the file has {length} bytes, too many for units of {unit} bytes")));
        }
        Ok(Self { unit, words: vec![0; index(units.div_ceil(64))] })
    }

    /// Marks the units of a range of bytes as used. Fails if one of them is in use or beyond the file's end.
    pub(crate) fn mark(&mut self, bytes: Range<u64>, what: &str) -> Result<(), DiskError> {
        for unit in bytes.start / self.unit..bytes.end.div_ceil(self.unit) {
            let (word, bit) = (index(unit / 64), 1_u64 << (unit % 64));
            match self.words.get_mut(word) {
                Some(word) if *word & bit == 0 => *word |= bit,
                Some(_) => {
                    let at = unit * self.unit;
                    return Err(DiskError::damaged(format!("{what} at byte {at} overlaps another part")));
                }
                None => {
                    let at = bytes.start;
                    return Err(DiskError::damaged(format!("{what} at byte {at} is beyond the end of the file")));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_can_be_used_once() {
        let mut set = UnitSet::new(1000, 10).unwrap();
        set.mark(0..25, "a block").unwrap();
        set.mark(30..40, "a block").unwrap();
        assert!(set.mark(29..30, "a block").is_err());
        assert!(set.mark(990..1300, "a block").is_err());
        assert!(UnitSet::new(u64::MAX, 512).is_err());
    }
}
