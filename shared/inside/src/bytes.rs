//! Integers at offsets of a buffer. Beyond its end they read as zero: callers check magic numbers and lengths, not each field.

fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    offset.checked_add(N).and_then(|end| bytes.get(offset..end)).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

/// A little-endian 16-bit integer.
pub(crate) fn le16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array(bytes, offset))
}

/// A little-endian 32-bit integer.
pub(crate) fn le32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array(bytes, offset))
}

/// A little-endian 64-bit integer.
pub(crate) fn le64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array(bytes, offset))
}

/// A big-endian 32-bit integer.
pub(crate) fn be32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(array(bytes, offset))
}

/// A big-endian 64-bit integer.
pub(crate) fn be64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(array(bytes, offset))
}

/// The text up to the first zero byte, converted lossily.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
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
    let mut swapped: [u8; 16] = array(bytes, 0);
    swapped[..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    uuid(&swapped)
}
