//! Hashes that identify content.

use std::fmt;
use std::str::FromStr;

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::ids::InvalidName;
use crate::serde_as_string;

const HASH_RULE: &str = "it is 64 lower-case hexadecimal digits";

fn from_hex<const N: usize>(what: &'static str, text: &str, rule: &'static str) -> Result<[u8; N], InvalidName> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) if lower => Ok(bytes),
        _ => Err(InvalidName { what, given: text.to_owned(), rule }),
    }
}

/// The BLAKE3 hash of a chunk's bytes: its name in every store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChunkHash([u8; 32]);

impl ChunkHash {
    /// Returns the hash of a chunk's bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// Whether the last line of a text is JSON with the BLAKE3 hash of all lines above as `b3`. Manifests and artifact
/// records will end like this in every later format version too, so a text that states a later version and does not end
/// like this is damaged.
#[must_use]
pub(crate) fn ends_with_own_hash(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Last {
        #[serde(with = "hex")]
        b3: [u8; 32],
    }
    let lines = text.strip_suffix(b"\n").unwrap_or(text);
    let start = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let (above, last) = text.split_at(start);
    serde_json::from_slice(last).is_ok_and(|last: Last| *blake3::hash(above).as_bytes() == last.b3)
}

/// Computes a [`ChunkHash`] of bytes that arrive in pieces. It is fastest if the length of each piece in KiB is a power
/// of two.
#[derive(Debug, Default)]
pub struct ChunkHasher(blake3::Hasher);

impl ChunkHasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the hash of all bytes that were added.
    #[must_use]
    pub fn finish(&self) -> ChunkHash {
        ChunkHash(*self.0.finalize().as_bytes())
    }
}

impl fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ChunkHash {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        from_hex("chunk hash", text, HASH_RULE).map(Self)
    }
}

serde_as_string!(ChunkHash);

/// The MD5 of a run's bytes. Azure's Put Page From URL verifies its source with it. Written as 32 lower-case
/// hexadecimal digits.
///
/// It detects damage in transit. It does not protect against deliberate changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5Sum([u8; 16]);

impl Md5Sum {
    /// Returns the MD5 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Md5::digest(bytes).into())
    }

    /// The 16 bytes. Azure's headers contain them in Base64.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for Md5Sum {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Md5Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Md5Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Md5Sum {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        from_hex("MD5", text, "it is 32 lower-case hexadecimal digits").map(Self)
    }
}

/// The BLAKE3 hash of an encoded manifest, or of the content in an artifact record: the identity of a disk or of an
/// image version. Written `b3:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        from_hex("digest", text.strip_prefix("b3:").unwrap_or(""), HASH_RULE).map(Self)
    }
}

serde_as_string!(Digest);

/// Returns the digest of an encoded manifest, or of the content of an encoded artifact record.
#[must_use]
pub fn digest_of(encoded: &[u8]) -> Digest {
    Digest(*blake3::hash(encoded).as_bytes())
}
