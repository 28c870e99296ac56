//! Edges of the operation graph: gates between groups.
//!
//! Inside a group the rows form a chain. Between groups there are gates: rows that open a gate, and rows that wait for
//! it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidName;
use crate::operation::GroupId;
use crate::serde_as_string;

/// The name of a gate of a job, such as `ring.1`. Dots separate its parts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GateKey(String);

impl GateKey {
    /// The gate that a ring waits for: every operation at the targets of earlier rings opens it.
    #[must_use]
    pub fn ring(number: u32) -> Self {
        Self(format!("ring.{number}"))
    }

    /// The gate that the image of a target waits for: the copies of its data disks open it.
    #[must_use]
    pub fn data_disks(target: &GroupId) -> Self {
        Self(format!("disks.{target}"))
    }

    /// The ring that waits for this gate, if it is the gate of a ring.
    #[must_use]
    pub fn as_ring(&self) -> Option<u32> {
        self.0.strip_prefix("ring.")?.parse().ok()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GateKey {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if text.len() <= 120 && text.split('.').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName {
                what: "gate",
                given: text.to_owned(),
                rule: "use letters, digits and hyphens, in parts with dots between them",
            })
        }
    }
}

serde_as_string!(GateKey);

impl fmt::Display for GateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for GateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// When a gate lets waiting rows pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateCondition {
    /// Every opener has succeeded or was skipped. If all openers have ended and one failed or was cancelled, the gate
    /// is broken: the rows that wait for it are blocked.
    Opened,
    /// Every opener has ended in any way: for clean-up and restart steps.
    Ended,
}

impl GateCondition {
    /// All conditions.
    pub const ALL: [Self; 2] = [Self::Opened, Self::Ended];
}

/// A gate that a row waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// The gate.
    pub gate: GateKey,
    /// When it lets the row pass.
    pub on: GateCondition,
    /// The number of rows that open the gate. If fewer are in the table, rows are still being written, and the gate is
    /// not evaluated.
    pub count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_of_rings_name_their_ring() {
        assert_eq!(GateKey::ring(12).to_string(), "ring.12");
        assert_eq!(GateKey::ring(12).as_ring(), Some(12));
        assert_eq!("hub.westeurope".parse::<GateKey>().unwrap().as_ring(), None);
        for bad in ["", ".", "a..b", "a/b", "a b"] {
            assert!(bad.parse::<GateKey>().is_err(), "{bad:?}");
        }
    }
}
