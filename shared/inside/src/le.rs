//! Little-endian numbers and UTF-16 text in byte slices.
//!
//! All functions return `None` if the slice is too short: offsets come from disk structures and may be anything.

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The 16-bit number at `at`.
pub(crate) fn u16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The 32-bit number at `at`.
pub(crate) fn u32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The 64-bit number at `at`.
pub(crate) fn u64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The 32-bit number at `at`, as a length or an offset in memory.
pub(crate) fn u32_usize(bytes: &[u8], at: usize) -> Option<usize> {
    u32(bytes, at).and_then(|n| usize::try_from(n).ok())
}

/// The 16-bit number at `at`, as a length or an offset in memory.
pub(crate) fn u16_usize(bytes: &[u8], at: usize) -> Option<usize> {
    u16(bytes, at).map(usize::from)
}

/// The UTF-16 text in `bytes`. Unpaired surrogates become U+FFFD; an odd last byte is ignored.
pub(crate) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// The Latin-1 text in `bytes`.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

/// Whether two names are equal as Windows compares them: character by character in upper case, without multi-character
/// mappings.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a.chars().map(upper).eq(b.chars().map(upper))
}

/// A name in the form in which Windows compares names.
pub(crate) fn fold(name: &str) -> String {
    name.chars().map(upper).collect()
}

fn upper(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => single,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_the_end_are_none() {
        assert_eq!(u16(&[1, 2, 3], 1), Some(0x0302));
        assert_eq!(u16(&[1, 2, 3], 2), None);
        assert_eq!(u32(&[1, 2, 3, 4], usize::MAX), None);
        assert_eq!(u64(&[1; 8], 0), Some(0x0101_0101_0101_0101));
    }

    #[test]
    fn text_is_converted_lossily() {
        assert_eq!(utf16(&[b'a', 0, 0x3d, 0xd8, b'b', 0, 9]), "a\u{fffd}b");
        assert_eq!(latin1(&[0xe4]), "ä");
    }

    #[test]
    fn names_are_compared_without_case() {
        assert!(same_name("ControlSet001", "CONTROLSET001"));
        assert!(same_name("Änderung", "änderung"));
        assert!(!same_name("straße", "STRASSE"));
    }
}
