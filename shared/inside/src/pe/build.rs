//! Makes programs for tests.

use super::SECTION;

/// A program with the sections `.text` (4 bytes) and `.sbat`, and `signatures` at its end.
pub(crate) fn program(machine: u16, signatures: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    let mut half = |at: usize, value: u16| bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    half(0x84, machine);
    half(0x86, 2);
    half(0x94, 240);
    half(0x98, 0x20b);
    let mut word = |at: usize, value: usize| {
        bytes[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
    };
    word(0x98 + 108, 16);
    word(0x98 + 144, 0x400);
    word(0x98 + 148, signatures.len());
    for (index, offset) in [(0, 0x300), (1, 0x200)] {
        let at = 0x98 + 240 + index * SECTION;
        for (field, value) in [(8, 4 + index * 30), (16, 0x100), (20, offset)] {
            word(at + field, value);
        }
    }
    for (index, name) in [b".text", b".sbat"].into_iter().enumerate() {
        bytes[0x98 + 240 + index * SECTION..][..5].copy_from_slice(name);
    }
    bytes[0x200..0x220].copy_from_slice(b"sbat,1,SBAT Version,sbat,1\n\0\0\0\0\0");
    bytes.extend(signatures);
    bytes
}

/// An entry of the table of signatures, whose signer's certificate was issued by this authority.
pub(crate) fn signature(issuer: &str) -> Vec<u8> {
    let der = |tag: u8, parts: &[&[u8]]| -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, &content].concat()
    };
    let attribute = |number: u8, text: &str| {
        let name = der(0x06, &[&[0x55, 4, number]]);
        der(0x31, &[&der(0x30, &[&name, &der(0x0c, &[text.as_bytes()])])])
    };
    let name = der(0x30, &[&attribute(10, "Organisation"), &attribute(3, issuer)]);
    let number = der(0x02, &[&[1]]);
    let signer = der(0x30, &[&number, &der(0x30, &[&name, &number])]);
    let certificates = der(0xa0, &[b"not examined"]);
    let signed = der(0x30, &[&number, &der(0x31, &[]), &der(0x30, &[]), &certificates, &der(0x31, &[&signer])]);
    let content = der(0x30, &[&der(0x06, &[&[0x2a]]), &der(0xa0, &[&signed])]);
    let mut entry = u32::try_from(content.len() + 8).unwrap().to_le_bytes().to_vec();
    entry.extend([0, 2, 2, 0]);
    entry.extend(content);
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry
}

/// A PE32+ file with sections and, if not empty, a table of certificates.
pub(crate) fn with_sections(machine: u16, sections: &[(&str, &[u8])], certificates: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 1024];
    out[..2].copy_from_slice(b"MZ");
    out[60] = 64;
    out[64..68].copy_from_slice(b"PE\0\0");
    out[68..70].copy_from_slice(&machine.to_le_bytes());
    out[70..72].copy_from_slice(&u16::try_from(sections.len()).unwrap().to_le_bytes());
    out[84..86].copy_from_slice(&240u16.to_le_bytes());
    out[88..90].copy_from_slice(&0x20b_u16.to_le_bytes());
    out[88 + 108..88 + 112].copy_from_slice(&16u32.to_le_bytes());
    for (index, (name, data)) in sections.iter().enumerate() {
        let entry = 328 + index * 40;
        let (start, length) = (u32::try_from(out.len()).unwrap(), u32::try_from(data.len()).unwrap());
        out[entry..entry + name.len()].copy_from_slice(name.as_bytes());
        for (offset, value) in [(8, length), (16, length.next_multiple_of(512)), (20, start)] {
            out[entry + offset..entry + offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    if !certificates.is_empty() {
        let (start, length) = (u32::try_from(out.len()).unwrap(), u32::try_from(certificates.len()).unwrap());
        out[232..236].copy_from_slice(&start.to_le_bytes());
        out[236..240].copy_from_slice(&length.to_le_bytes());
        out.extend_from_slice(certificates);
    }
    out
}
