//! Stand-in until the manifest's own file lands.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::ids::InvalidName;

/// OS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OsType {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}
/// Hyper-V generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// BIOS.
    V1,
    /// UEFI.
    V2,
}
/// Digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", hex::encode(self.0))
    }
}
impl FromStr for Digest {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut out = [0; 32];
        text.strip_prefix("b3:").and_then(|text| hex::decode_to_slice(text, &mut out).ok()).ok_or(InvalidName {
            what: "digest",
            given: text.to_owned(),
            rule: "b3:hex",
        })?;
        Ok(Self(out))
    }
}
impl TryFrom<String> for Digest {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}
impl From<Digest> for String {
    fn from(d: Digest) -> Self {
        d.to_string()
    }
}
