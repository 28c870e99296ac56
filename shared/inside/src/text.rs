//! Text in disk structures, and names as Windows compares them.

/// The UTF-8 text up to the first zero byte, converted lossily.
pub(crate) fn until_zero(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
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
    fn text_is_converted_lossily() {
        assert_eq!(utf16(&[b'a', 0, 0x3d, 0xd8, b'b', 0, 9]), "a\u{fffd}b");
        assert_eq!(latin1(&[0xe4]), "ä");
        assert_eq!((until_zero(b"a\xffb\0c"), until_zero(b"ab")), ("a\u{fffd}b".to_owned(), "ab".to_owned()));
    }

    #[test]
    fn names_are_compared_without_case() {
        assert!(same_name("ControlSet001", "CONTROLSET001"));
        assert!(same_name("Änderung", "änderung"));
        assert!(!same_name("straße", "STRASSE"));
        assert_eq!(fold("straße"), "STRAßE");
    }
}
