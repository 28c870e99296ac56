//! The footer: 512 bytes that make a file a VHD.

/// A footer's length in bytes.
pub const FOOTER_SIZE: usize = 512;

const COOKIE: &[u8; 8] = b"conectix";
const DATA_OFFSET: std::ops::Range<usize> = 16..24;
const CURRENT_SIZE: std::ops::Range<usize> = 48..56;
const GEOMETRY: std::ops::Range<usize> = 56..60;
const DISK_TYPE: std::ops::Range<usize> = 60..64;
const CHECKSUM: std::ops::Range<usize> = 64..68;

/// What kind of VHD a footer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskType {
    /// The disk as it is, and the footer.
    Fixed,
    /// Blocks as they came to be written.
    Dynamic,
    /// Blocks that differ from a parent's.
    Differencing,
}

/// Why 512 bytes are no footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FooterError {
    /// They do not begin as one.
    #[error("there is no VHD footer: it does not begin with 'conectix'")]
    Cookie,
    /// They were changed or damaged.
    #[error("the VHD footer is damaged: its checksum is {found:#010x} and should be {expected:#010x}")]
    Checksum {
        /// In the footer.
        found: u32,
        /// As computed.
        expected: u32,
    },
    /// A type that is not used, or no longer.
    #[error("the VHD footer names disk type {0}, which is neither fixed (2), dynamic (3) nor differencing (4)")]
    Type(u32),
}

/// A footer whose cookie, checksum and type are right.
#[derive(Clone, PartialEq, Eq)]
pub struct Footer {
    bytes: [u8; FOOTER_SIZE],
    disk_type: DiskType,
}

impl Footer {
    /// Reads a footer.
    ///
    /// # Errors
    /// [`FooterError`] where the bytes are none.
    pub fn parse(bytes: &[u8; FOOTER_SIZE]) -> Result<Self, FooterError> {
        if bytes[..8] != *COOKIE {
            return Err(FooterError::Cookie);
        }
        let (found, expected) = (be32(bytes, CHECKSUM), checksum(bytes));
        if found != expected {
            return Err(FooterError::Checksum { found, expected });
        }
        let disk_type = match be32(bytes, DISK_TYPE) {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => DiskType::Differencing,
            other => return Err(FooterError::Type(other)),
        };
        Ok(Self { bytes: *bytes, disk_type })
    }

    /// The footer of a new fixed VHD of `size` bytes, identified by `id`.
    #[must_use]
    pub fn fixed_for(size: u64, id: u128) -> Self {
        let mut bytes = [0; FOOTER_SIZE];
        bytes[..8].copy_from_slice(COOKIE);
        bytes[8..12].copy_from_slice(&2_u32.to_be_bytes()); // features: only the bit that is always set
        bytes[12..16].copy_from_slice(&0x0001_0000_u32.to_be_bytes()); // version 1.0 of the format
        bytes[28..32].copy_from_slice(b"gold");
        bytes[32..36].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
        bytes[36..40].copy_from_slice(b"Wi2k");
        bytes[40..48].copy_from_slice(&size.to_be_bytes());
        bytes[CURRENT_SIZE].copy_from_slice(&size.to_be_bytes());
        bytes[GEOMETRY].copy_from_slice(&geometry(size));
        bytes[68..84].copy_from_slice(&id.to_be_bytes());
        Self { bytes, disk_type: DiskType::Fixed }.as_fixed()
    }

    /// The footer of the fixed VHD that this one's disk stands for: everything else is kept.
    #[must_use]
    pub fn as_fixed(&self) -> Self {
        let mut bytes = self.bytes;
        bytes[DATA_OFFSET].copy_from_slice(&u64::MAX.to_be_bytes());
        bytes[DISK_TYPE].copy_from_slice(&2_u32.to_be_bytes());
        let sum = checksum(&bytes);
        bytes[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        Self { bytes, disk_type: DiskType::Fixed }
    }

    /// The bytes.
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
        be64(&self.bytes, CURRENT_SIZE)
    }

    /// Where a dynamic disk's header begins, in bytes.
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        be64(&self.bytes, DATA_OFFSET)
    }
}

impl std::fmt::Debug for Footer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Footer").field("type", &self.disk_type).field("size", &self.size()).finish_non_exhaustive()
    }
}

/// The ones' complement of the sum of all bytes but the checksum's.
pub(super) fn checksum_without(bytes: &[u8], field: std::ops::Range<usize>) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(byte.into()));
    !sum(&bytes[..field.start]).wrapping_add(sum(&bytes[field.end..]))
}

fn checksum(bytes: &[u8; FOOTER_SIZE]) -> u32 {
    checksum_without(bytes, CHECKSUM)
}

/// The big-endian number at `at`; the range is 4 bytes long and inside.
pub(super) fn be32(bytes: &[u8], at: std::ops::Range<usize>) -> u32 {
    bytes[at].iter().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// The big-endian number at `at`; the range is 8 bytes long and inside.
pub(super) fn be64(bytes: &[u8], at: std::ops::Range<usize>) -> u64 {
    bytes[at].iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Cylinders, heads and sectors of a disk, by the appendix of the specification.
fn geometry(size: u64) -> [u8; 4] {
    let sectors = (size / super::SECTOR).min(65535 * 16 * 255);
    let (per_track, heads, tracks) = if sectors >= 65535 * 16 * 63 {
        (255, 16, sectors / 255)
    } else {
        let heads = (sectors / 17).div_ceil(1024).max(4);
        if heads <= 16 && sectors / 17 < heads * 1024 {
            (17, heads, sectors / 17)
        } else if sectors / 31 < 16 * 1024 {
            (31, 16, sectors / 31)
        } else {
            (63, 16, sectors / 63)
        }
    };
    // By the bounds above each fits its field.
    let cylinders = u16::try_from(tracks / heads).unwrap_or(u16::MAX).to_be_bytes();
    [cylinders[0], cylinders[1], u8::try_from(heads).unwrap_or(16), u8::try_from(per_track).unwrap_or(255)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_footer_is_read_back() {
        let footer = Footer::fixed_for(1 << 30, 7);
        let read = Footer::parse(&footer.to_bytes()).unwrap();
        assert_eq!((read.size(), read.disk_type(), read.data_offset()), (1 << 30, DiskType::Fixed, u64::MAX));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_told(at in 0..FOOTER_SIZE, bit in 0..8) {
            let mut bytes = Footer::fixed_for(64 << 20, 7).to_bytes();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(Footer::parse(&bytes).is_err());
        }
    }
}
