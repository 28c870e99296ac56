//! Integers and identifiers at offsets of a buffer.
//!
//! Offsets come from disk structures and may be anything. The functions without a prefix return 0 beyond the end of the
//! buffer, for callers that check a magic number or a length anyway. Those with the prefix `try_` return `None`.

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The little-endian 16-bit integer at `at`.
pub(crate) fn try_le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The little-endian 32-bit integer at `at`.
pub(crate) fn try_le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The little-endian 64-bit integer at `at`.
pub(crate) fn try_le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The little-endian 16-bit integer at `at`, as a length or an offset in memory.
pub(crate) fn try_len16(bytes: &[u8], at: usize) -> Option<usize> {
    try_le16(bytes, at).map(usize::from)
}

/// The little-endian 32-bit integer at `at`, as a length or an offset in memory.
pub(crate) fn try_len32(bytes: &[u8], at: usize) -> Option<usize> {
    try_le32(bytes, at).and_then(|n| usize::try_from(n).ok())
}

/// The little-endian 16-bit integer at `at`, or 0.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    try_le16(bytes, at).unwrap_or(0)
}

/// The little-endian 32-bit integer at `at`, or 0.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    try_le32(bytes, at).unwrap_or(0)
}

/// The little-endian 64-bit integer at `at`, or 0.
pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    try_le64(bytes, at).unwrap_or(0)
}

/// The big-endian 32-bit integer at `at`, or 0.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    array(bytes, at).map_or(0, u32::from_be_bytes)
}

/// The big-endian 64-bit integer at `at`, or 0.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    array(bytes, at).map_or(0, u64::from_be_bytes)
}

/// 16 bytes as a UUID in lower case.
pub(crate) fn uuid(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in bytes.iter().take(16).enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// 16 bytes as a GUID in lower case: the first three fields are little-endian.
pub(crate) fn guid(bytes: &[u8]) -> String {
    let mut swapped: [u8; 16] = array(bytes, 0).unwrap_or_default();
    swapped[..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    uuid(&swapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_beyond_the_end_are_none_or_zero() {
        assert_eq!((try_le16(&[1, 2, 3], 1), le16(&[1, 2, 3], 1)), (Some(0x0302), 0x0302));
        assert_eq!((try_le16(&[1, 2, 3], 2), le16(&[1, 2, 3], 2)), (None, 0));
        assert_eq!((try_le32(&[1, 2, 3, 4], usize::MAX), le32(&[1, 2, 3, 4], usize::MAX)), (None, 0));
        assert_eq!(try_le64(&[1; 8], 0), Some(0x0101_0101_0101_0101));
        assert_eq!((be32(&[1, 2, 3, 4], 0), be32(&[1, 2, 3, 4], 1)), (0x0102_0304, 0));
        assert_eq!((be64(&[0, 0, 0, 0, 0, 0, 1, 2], 0), be64(&[], 0)), (0x0102, 0));
    }

    #[test]
    fn the_first_fields_of_a_guid_are_little_endian() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(guid(&bytes), "03020100-0504-0706-0809-0a0b0c0d0e0f");
        assert_eq!(guid(&bytes[..15]), "00000000-0000-0000-0000-000000000000");
    }
}
