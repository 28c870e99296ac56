//! Numbers and identifiers in binary structures.
//!
//! Offsets come from disk structures and may be anything. The functions without a prefix return 0 beyond the end of the
//! buffer, for callers that check a magic number or a length anyway. Those with the prefix `try_` return `None`.

/// `N` bytes at `at`, if all of them are in the buffer.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The little-endian 16-bit integer at `at`.
#[must_use]
pub fn try_le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The little-endian 16-bit integer at `at`, or 0.
#[must_use]
pub fn le16(bytes: &[u8], at: usize) -> u16 {
    try_le16(bytes, at).unwrap_or(0)
}

/// The little-endian 32-bit integer at `at`.
#[must_use]
pub fn try_le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The little-endian 32-bit integer at `at`, or 0.
#[must_use]
pub fn le32(bytes: &[u8], at: usize) -> u32 {
    try_le32(bytes, at).unwrap_or(0)
}

/// The little-endian 64-bit integer at `at`.
#[must_use]
pub fn try_le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The little-endian 64-bit integer at `at`, or 0.
#[must_use]
pub fn le64(bytes: &[u8], at: usize) -> u64 {
    try_le64(bytes, at).unwrap_or(0)
}

/// The big-endian 32-bit integer at `at`.
#[must_use]
pub fn try_be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// The big-endian 32-bit integer at `at`, or 0.
#[must_use]
pub fn be32(bytes: &[u8], at: usize) -> u32 {
    try_be32(bytes, at).unwrap_or(0)
}

/// The big-endian 64-bit integer at `at`.
#[must_use]
pub fn try_be64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_be_bytes)
}

/// The big-endian 64-bit integer at `at`, or 0.
#[must_use]
pub fn be64(bytes: &[u8], at: usize) -> u64 {
    try_be64(bytes, at).unwrap_or(0)
}

/// The 16 bytes of a GUID at `at`, in the byte order of the disk, or zeros.
#[must_use]
pub fn guid_at(bytes: &[u8], at: usize) -> [u8; 16] {
    array(bytes, at).unwrap_or_default()
}

/// The text form of a GUID whose first three fields are little-endian (GPT, VHDX).
#[must_use]
pub fn guid_text(guid: &[u8; 16]) -> String {
    let (a, b, c) = (le32(guid, 0), le16(guid, 4), le16(guid, 6));
    let [.., d0, d1, e0, e1, e2, e3, e4, e5] = guid;
    format!("{a:08x}-{b:04x}-{c:04x}-{d0:02x}{d1:02x}-{e0:02x}{e1:02x}{e2:02x}{e3:02x}{e4:02x}{e5:02x}")
}

/// The text form of a GUID whose fields are big-endian (VHD).
#[must_use]
pub fn guid_text_be(guid: &[u8; 16]) -> String {
    let number = u128::from_be_bytes(*guid);
    let (a, b, c) = (number >> 96, (number >> 80) & 0xffff, (number >> 64) & 0xffff);
    let (d, e) = ((number >> 48) & 0xffff, number & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

/// The CRC-32 of GPTs (that of zip and Ethernet).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    // The algorithm's result has 32 bits.
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap_or(0)
}

/// The CRC-32C of VHDX.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    // The algorithm's result has 32 bits.
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes)).unwrap_or(0)
}

/// The number as an index. Numbers that do not fit become `usize::MAX`, which is outside every structure.
pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_the_end_are_zero_or_none() {
        assert_eq!((le16(&[1, 2, 3], 1), try_le16(&[1, 2, 3], 1)), (0x0302, Some(0x0302)));
        assert_eq!((le16(&[1, 2, 3], 2), try_le16(&[1, 2, 3], 2)), (0, None));
        assert_eq!((be32(&[1, 2, 3, 4], usize::MAX), try_be32(&[1, 2, 3, 4], usize::MAX)), (0, None));
        assert_eq!(be64(&[0, 1, 2, 3, 4, 5, 6, 7, 8], 1), 0x0102_0304_0506_0708);
        assert_eq!(guid_at(&[1; 15], 0), [0; 16]);
    }

    #[test]
    fn guids_have_their_text_form() {
        let guid = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
        assert_eq!(guid_text(&guid), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(guid_text_be(&guid), "28732ac1-1ff8-d211-ba4b-00a0c93ec93b");
    }

    #[test]
    fn checksums_match_their_published_check_values() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
