//! The kinds of operations, as an open set of names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidName;
use crate::serde_as_string;

/// The id of a kind of operation, such as `seed`, `copy` or `image`.
///
/// The set is open: a row can name a kind that this program does not know, because a newer program wrote it. This
/// program keeps and shows such a row, and never claims it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KindId(String);

impl KindId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KindId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if begins && text.len() <= 40 && text.bytes().all(is_letter) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName {
                what: "kind",
                given: text.to_owned(),
                rule: "use at most 40 lower-case letters, digits and hyphens, beginning with a letter",
            })
        }
    }
}

serde_as_string!(KindId);

impl fmt::Display for KindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for KindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_short_lower_case_names() {
        for good in ["seed", "gallery-version", "disk2"] {
            assert!(good.parse::<KindId>().is_ok(), "{good}");
        }
        for bad in ["", "Seed", "2disk", "a.b", "a b", &"x".repeat(41)] {
            assert!(bad.parse::<KindId>().is_err(), "{bad:?}");
        }
    }
}
