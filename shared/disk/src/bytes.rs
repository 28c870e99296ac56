//! Numbers and identifiers in binary structures.

/// `N` bytes at `at`; zeros if they are not all inside. Callers pass structures whose length they have checked.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let part = at.checked_add(N).and_then(|end| bytes.get(at..end));
    debug_assert!(part.is_some(), "{N} bytes at {at} of {}", bytes.len());
    part.and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// A GUID in the byte order of the disk.
pub(crate) fn guid_at(bytes: &[u8], at: usize) -> [u8; 16] {
    array(bytes, at)
}

/// The text form of a GUID whose first three fields are little-endian (GPT, VHDX).
pub(crate) fn guid_text(guid: &[u8; 16]) -> String {
    let (a, b, c) = (le32(guid, 0), le16(guid, 4), le16(guid, 6));
    let [.., d0, d1, e0, e1, e2, e3, e4, e5] = guid;
    format!("{a:08x}-{b:04x}-{c:04x}-{d0:02x}{d1:02x}-{e0:02x}{e1:02x}{e2:02x}{e3:02x}{e4:02x}{e5:02x}")
}

/// The text form of a GUID whose fields are big-endian (VHD).
pub(crate) fn guid_text_be(guid: &[u8; 16]) -> String {
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

/// The number as an index. Numbers that do not fit become the largest index, which is outside every structure.
pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
