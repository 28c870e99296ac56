//! Reparse points: links, and files whose content is stored by a filter driver.

use crate::bytes::{le32, try_len16};
use crate::text::utf16;

/// What a reparse point is to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// A symbolic link or a junction.
    Link,
    /// A device, socket or pipe of the Windows Subsystem for Linux.
    Special,
    /// The data is not in the data attribute, for the reason given.
    Elsewhere(&'static str),
}

const MOUNT_POINT: u32 = 0xa000_0003;
const SYMLINK: u32 = 0xa000_000c;
const LX_SYMLINK: u32 = 0xa000_001d;

/// The meaning of a tag. The numbers are in `ntifs.h` and in \[MS-FSCC\] 2.1.2.1.
pub(super) fn tag(number: u32) -> Tag {
    match number {
        MOUNT_POINT | SYMLINK | LX_SYMLINK => Tag::Link,
        0x8000_0023..=0x8000_0026 => Tag::Special,
        0x8000_0017 => Tag::Elsewhere("the file is compressed (CompactOS)"),
        0x8000_0013 => Tag::Elsewhere("the file is deduplicated"),
        _ => Tag::Elsewhere("the file's content is stored by a filter driver"),
    }
}

/// The tag of a reparse point's data.
pub(super) fn number(data: &[u8]) -> u32 {
    le32(data, 0)
}

/// The target of a link, as it is stored: the name to print, or the internal name if there is none.
pub(super) fn target(data: &[u8]) -> Option<String> {
    let names = match number(data) {
        LX_SYMLINK => return data.get(12..).map(|text| String::from_utf8_lossy(text).into_owned()),
        MOUNT_POINT => 16,
        SYMLINK => 20,
        _ => return None,
    };
    let name = |at: usize| {
        let start = names + try_len16(data, at)?;
        let text = utf16(data.get(start..start + try_len16(data, at + 2)?)?);
        (!text.is_empty()).then_some(text)
    };
    name(12).or_else(|| name(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_the_name_to_print() {
        let text: Vec<u8> = "\\??\\C:\\xC:\\x".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut data = MOUNT_POINT.to_le_bytes().to_vec();
        data.extend([0; 4]);
        for number in [0_u16, 16, 16, 8] {
            data.extend(number.to_le_bytes());
        }
        data.extend(&text);
        assert_eq!(target(&data).as_deref(), Some("C:\\x"));
        data[14..16].fill(0);
        assert_eq!(target(&data).as_deref(), Some("\\??\\C:\\x"), "without one, the internal name");
        data[10] = 200;
        assert_eq!(target(&data), None, "longer than the data");
    }
}
