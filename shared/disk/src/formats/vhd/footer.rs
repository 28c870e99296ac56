//! The footer: 512 bytes that make a file a VHD.

use std::fmt;
use std::ops::Range;

use crate::bytes::{be32, be64, guid_at};

/// A footer's length in bytes.
pub const FOOTER_SIZE: usize = 512;

pub(crate) const COOKIE: &[u8; 8] = b"conectix";
const DATA_OFFSET: Range<usize> = 16..24;
const CURRENT_SIZE: Range<usize> = 48..56;
const GEOMETRY: Range<usize> = 56..60;
const DISK_TYPE: Range<usize> = 60..64;
const CHECKSUM: Range<usize> = 64..68;
const UNIQUE_ID: usize = 68;

/// The maximum geometry: 65,535 cylinders, 16 heads, 255 sectors. Programs that compute the disk's size from the
/// geometry (QEMU does so for some creators) use the size field if the geometry is this one.
const MAX_GEOMETRY: [u8; 4] = [0xff, 0xff, 16, 255];

/// The kind of VHD that a footer describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskType {
    /// The whole disk, and the footer.
    Fixed,
    /// Blocks that are allocated when they are first written.
    Dynamic,
    /// Sectors that differ from a parent's.
    Differencing,
}

/// Why 512 bytes are not a footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FooterError {
    /// They do not begin with the cookie.
    #[error("there is no VHD footer: it does not begin with 'conectix'")]
    Cookie,
    /// They were changed or damaged.
    #[error("the VHD footer is damaged: its checksum is {found:#010x} and should be {expected:#010x}")]
    Checksum {
        /// The checksum in the footer.
        found: u32,
        /// The checksum of the footer's bytes.
        expected: u32,
    },
    /// The type is unknown or obsolete.
    #[error("the VHD footer names disk type {0}, which is neither fixed (2), dynamic (3) nor differencing (4)")]
    Type(u32),
}

/// A footer whose cookie, checksum and type are valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Footer {
    bytes: [u8; FOOTER_SIZE],
    disk_type: DiskType,
}

impl Footer {
    /// Reads a footer.
    ///
    /// # Errors
    /// [`FooterError`] if the bytes are not a footer.
    pub fn parse(bytes: &[u8; FOOTER_SIZE]) -> Result<Self, FooterError> {
        if bytes[..8] != *COOKIE {
            return Err(FooterError::Cookie);
        }
        let (found, expected) = (be32(bytes, CHECKSUM.start), checksum_without(bytes, CHECKSUM));
        if found != expected {
            return Err(FooterError::Checksum { found, expected });
        }
        let disk_type = match be32(bytes, DISK_TYPE.start) {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => DiskType::Differencing,
            other => return Err(FooterError::Type(other)),
        };
        Ok(Self { bytes: *bytes, disk_type })
    }

    /// The footer of a new fixed VHD of `size` bytes with the unique id `id`. The same arguments give the same bytes:
    /// the time stamp is 0.
    #[must_use]
    pub fn fixed_for(size: u64, id: u128) -> Self {
        let mut bytes = [0; FOOTER_SIZE];
        bytes[..8].copy_from_slice(COOKIE);
        bytes[8..12].copy_from_slice(&2_u32.to_be_bytes()); // features: only the bit that is always set
        bytes[12..16].copy_from_slice(&0x0001_0000_u32.to_be_bytes()); // version 1.0 of the format
        bytes[28..32].copy_from_slice(b"gold"); // creator application
        bytes[32..36].copy_from_slice(&0x0001_0000_u32.to_be_bytes()); // creator version
        bytes[36..40].copy_from_slice(b"Wi2k"); // creator host operating system
        bytes[40..48].copy_from_slice(&size.to_be_bytes()); // original size
        bytes[UNIQUE_ID..UNIQUE_ID + 16].copy_from_slice(&id.to_be_bytes());
        Self { bytes, disk_type: DiskType::Fixed }.resized(size).as_fixed()
    }

    /// The footer of a fixed VHD with the same disk. Everything but the type, the data offset and the checksum is kept.
    #[must_use]
    pub fn as_fixed(&self) -> Self {
        let mut bytes = self.bytes;
        bytes[DATA_OFFSET].copy_from_slice(&u64::MAX.to_be_bytes());
        bytes[DISK_TYPE].copy_from_slice(&2_u32.to_be_bytes());
        seal(&mut bytes);
        Self { bytes, disk_type: DiskType::Fixed }
    }

    /// The footer with another disk size. It gets the maximum geometry, so that no program computes a smaller size from
    /// it.
    #[must_use]
    pub fn resized(&self, size: u64) -> Self {
        let mut bytes = self.bytes;
        bytes[CURRENT_SIZE].copy_from_slice(&size.to_be_bytes());
        bytes[GEOMETRY].copy_from_slice(&MAX_GEOMETRY);
        seal(&mut bytes);
        Self { bytes, disk_type: self.disk_type }
    }

    /// The bytes of the footer.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; FOOTER_SIZE] {
        self.bytes
    }

    /// The kind of VHD.
    #[must_use]
    pub fn disk_type(&self) -> DiskType {
        self.disk_type
    }

    /// The disk's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        be64(&self.bytes, CURRENT_SIZE.start)
    }

    /// The offset of a dynamic disk's header in bytes.
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        be64(&self.bytes, DATA_OFFSET.start)
    }

    /// The disk's unique id, by which differencing disks name their parent.
    #[must_use]
    pub fn unique_id(&self) -> [u8; 16] {
        guid_at(&self.bytes, UNIQUE_ID)
    }
}

impl fmt::Debug for Footer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Footer").field("type", &self.disk_type).field("size", &self.size()).finish_non_exhaustive()
    }
}

/// Writes the checksum.
fn seal(bytes: &mut [u8; FOOTER_SIZE]) {
    let sum = checksum_without(bytes, CHECKSUM);
    bytes[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}

/// The ones' complement of the sum of all bytes except those of the checksum itself.
pub(super) fn checksum_without(bytes: &[u8], field: Range<usize>) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(byte.into()));
    !sum(&bytes[..field.start]).wrapping_add(sum(&bytes[field.end..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn new_footer_round_trips() {
        let footer = Footer::fixed_for(1 << 30, 7);
        let read = Footer::parse(&footer.to_bytes()).unwrap();
        assert_eq!((read.size(), read.disk_type(), read.data_offset()), (1 << 30, DiskType::Fixed, u64::MAX));
        assert_eq!(u128::from_be_bytes(read.unique_id()), 7);
    }

    #[test]
    fn a_new_footer_has_no_time_and_the_largest_geometry() {
        let bytes = Footer::fixed_for(20 << 20, 7).to_bytes();
        assert_eq!(bytes[24..28], [0; 4]);
        assert_eq!(bytes[56..60], MAX_GEOMETRY);
    }

    #[test]
    fn a_resized_footer_keeps_everything_else() {
        let footer = Footer::fixed_for(20 << 20, 7);
        let resized = footer.resized(21 << 20);
        assert_eq!(Footer::parse(&resized.to_bytes()).unwrap().size(), 21 << 20);
        assert_eq!(footer.to_bytes()[..48], resized.to_bytes()[..48]);
        assert_eq!(footer.to_bytes()[68..], resized.to_bytes()[68..]);
    }

    proptest! {
        #[test]
        fn flipped_bit_is_detected(at in 0..FOOTER_SIZE, bit in 0..8) {
            let mut bytes = Footer::fixed_for(64 << 20, 7).to_bytes();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(Footer::parse(&bytes).is_err());
        }
    }
}
