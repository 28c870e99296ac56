//! Authenticode signatures: only who issued the signer's certificate.
//!
//! A signature is PKCS #7 signed data (RFC 2315) in DER, which is read just as far as needed.

use crate::bytes::{le16, le32};
use crate::text::utf16;

/// The type of a signature that is PKCS #7 signed data.
const PKCS_SIGNED_DATA: u16 = 2;
/// The most signatures that are read.
const MAX_SIGNATURES: usize = 16;
/// The object identifier of a common name, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// Tags of DER.
mod tag {
    pub(super) const BMP_STRING: u8 = 0x1e;
    pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    pub(super) const CONTEXT_0: u8 = 0xa0;
}

/// The issuers of the signers in a table of signatures.
pub(super) fn issuers(mut table: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while table.len() > 8 && found.len() < MAX_SIGNATURES {
        let length = usize::try_from(le32(table, 0)).unwrap_or(usize::MAX);
        let Some(data) = table.get(8..length) else { break };
        if le16(table, 6) == PKCS_SIGNED_DATA {
            found.push(issuer(data).unwrap_or_default());
        }
        // Each begins at a multiple of 8.
        table = table.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    found
}

/// A sequence of DER elements.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Four bytes are enough for any file.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |n, &digit| n << 8 | usize::from(digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<Self> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| Self(content))
    }
}

/// The common name of the issuer of the first signer's certificate.
fn issuer(signed: &[u8]) -> Option<String> {
    let mut content = Der(signed).expect(tag::SEQUENCE)?;
    content.expect(tag::OBJECT_IDENTIFIER)?;
    let mut data = content.expect(tag::CONTEXT_0)?.expect(tag::SEQUENCE)?;
    // Version, digest algorithms, and what is signed come first; certificates and revocation lists have other tags.
    data.next()?;
    data.expect(tag::SET)?;
    data.expect(tag::SEQUENCE)?;
    let signers = loop {
        match data.next()? {
            (tag::SET, signers) => break signers,
            _ => continue,
        }
    };
    let mut signer = Der(signers).expect(tag::SEQUENCE)?;
    signer.next()?;
    let name = signer.expect(tag::SEQUENCE)?.expect(tag::SEQUENCE)?;
    common_name(name)
}

/// The common name in a distinguished name; otherwise its last part, such as an organisation.
fn common_name(mut name: Der<'_>) -> Option<String> {
    let mut last = None;
    while let Some(mut set) = name.expect(tag::SET) {
        let mut attribute = set.expect(tag::SEQUENCE)?;
        let kind = attribute.expect(tag::OBJECT_IDENTIFIER)?;
        let (tag, text) = attribute.next()?;
        let text = match tag {
            tag::BMP_STRING => {
                let swapped: Vec<u8> = text.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect();
                utf16(&swapped)
            }
            _ => String::from_utf8_lossy(text).into_owned(),
        };
        if kind.0 == COMMON_NAME {
            return Some(text);
        }
        last = Some(text);
    }
    last
}
