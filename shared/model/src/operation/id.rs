//! Identifiers of operations: the group, and the step in it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidName;
use crate::serde_as_string;

const GROUP_RULE: &str = "use at most 100 lower-case letters, digits and hyphens";
/// The largest number of characters in a step.
const MAX_STEP: usize = 40;

const ID_RULE: &str = "it is written GROUP.STEP";

/// The rows that one commit may change together. All rows of a group are in one partition of the table.
///
/// Written as a readable prefix, a hyphen, and 12 hexadecimal digits of the hash of what the group acts on. So two
/// places in one region never share a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupId(String);

impl GroupId {
    /// The largest number of rows in a group. A batch of the Table service has at most 100 entities, and a row with its
    /// event needs two.
    pub const MAX_ROWS: usize = 32;

    /// The largest number of entities that one commit to a group writes: for each row the row and an event, for each
    /// gate that it opens at most two index entries, and one for each gate that it waits for. Source: Table service,
    /// entity group transactions.
    pub const MAX_ENTITIES: usize = 100;

    /// Creates the group for the place that `parts` identify, in order. Characters that are not allowed in ids are
    /// removed from `prefix`; the hash alone distinguishes two places.
    #[must_use]
    pub fn of(prefix: &str, parts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            // The length separates the parts: ["a", "bc"] and ["ab", "c"] are different places.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let hash = hasher.finalize().to_hex();
        let readable: String = prefix.chars().filter(|c| allowed(*c)).take(80).collect();
        Self(format!("{readable}-{}", &hash[..12]))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn allowed(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

fn is_name(text: &str, length: usize) -> bool {
    !text.is_empty() && text.len() <= length && text.chars().all(allowed)
}

impl FromStr for GroupId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_name(text, 100) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName { what: "group", given: text.to_owned(), rule: GROUP_RULE })
        }
    }
}

serde_as_string!(GroupId);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The identifier of an operation in its job. Written `GROUP.STEP`; the step is unique in the group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationId {
    group: GroupId,
    step: String,
}

impl OperationId {
    /// Creates the id of `step` in a group. Characters that are not allowed in ids are removed from `step`.
    #[must_use]
    pub fn new(group: GroupId, step: &str) -> Self {
        Self { group, step: step.chars().filter(|c| allowed(*c)).take(MAX_STEP).collect() }
    }

    /// The operation's group.
    #[must_use]
    pub fn group(&self) -> &GroupId {
        &self.group
    }

    /// The operation's name in its group.
    #[must_use]
    pub fn step(&self) -> &str {
        &self.step
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.group, self.step)
    }
}

impl FromStr for OperationId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName { what: "operation", given: text.to_owned(), rule: ID_RULE };
        let (group, step) = text.split_once('.').ok_or_else(invalid)?;
        let group = group.parse().map_err(|_| invalid())?;
        if is_name(step, MAX_STEP) { Ok(Self { group, step: step.to_owned() }) } else { Err(invalid()) }
    }
}

serde_as_string!(OperationId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_with_the_same_prefix_have_different_groups() {
        let one = GroupId::of("westeurope", &["sub", "a", "bc"]);
        let other = GroupId::of("westeurope", &["sub", "ab", "c"]);
        assert_ne!(one, other);
        assert_eq!(one, GroupId::of("westeurope", &["sub", "a", "bc"]));
        assert!(one.as_str().starts_with("westeurope-"));
        assert_eq!(GroupId::of("a.b/C_d", &["x"]).as_str().split_once('-').unwrap().0, "abd");
    }

    #[test]
    fn ids_are_a_group_and_a_step() {
        let id: OperationId = "westeurope-0123456789ab.copy".parse().unwrap();
        assert_eq!((id.group().as_str(), id.step()), ("westeurope-0123456789ab", "copy"));
        assert_eq!(id.to_string(), "westeurope-0123456789ab.copy");
        for bad in ["", "a", ".a", "a.", "a.b.c", "a/b.c", "A.b"] {
            assert!(bad.parse::<OperationId>().is_err(), "{bad:?}");
        }
    }
}
