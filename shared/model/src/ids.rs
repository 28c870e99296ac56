//! Names and identifiers. Each is checked once, when it is parsed.
//!
//! All of them can be used unescaped in blob names, in table keys (Azure forbids `/ \ # ?` and control characters) and
//! in paths of the directory cloud.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::serde_as_string;

/// A rejected name: the kind of name, the text, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not valid: {rule}")]
pub struct InvalidName {
    /// The kind of name, as operators call it.
    pub what: &'static str,
    /// The text that was rejected.
    pub given: String,
    /// The rule, as a sentence for operators.
    pub rule: &'static str,
}

/// Defines a newtype over `String` that can only be created by passing its check.
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { what: $what, given: text.to_owned(), rule: $rule })
                }
            }
        }

        serde_as_string!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

fn all(text: &str, lengths: std::ops::RangeInclusive<usize>, allowed: fn(u8) -> bool) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(allowed)
}

fn has_edges(text: &str, allowed: fn(u8) -> bool) -> bool {
    text.bytes().next().is_some_and(allowed) && text.bytes().last().is_some_and(allowed)
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether a text can be used next to [`VHD_SEPARATOR`], so that the VHD name can be split in only one way.
fn is_part_of_a_vhd_name(text: &str, longest: usize) -> bool {
    all(text, 1..=longest, name_byte) && has_edges(text, |b| b.is_ascii_alphanumeric()) && !text.contains(VHD_SEPARATOR)
}

/// The separator between image and version in the name of a VHD.
pub(super) const VHD_SEPARATOR: &str = "__";

checked_name! {
    /// The name of a golden image, such as `ubuntu-24.04`.
    ImageName, "image name",
    "use 1 to 60 letters, digits, '.', '-' or single '_', beginning and ending with a letter or digit",
    |text| is_part_of_a_vhd_name(text, 60)
}

checked_name! {
    /// The version of a golden image, such as `2026.11.1`.
    ImageVersion, "image version",
    "use 1 to 40 letters, digits, '.', '-' or single '_', beginning and ending with a letter or digit",
    |text| is_part_of_a_vhd_name(text, 40)
}

checked_name! {
    /// An Azure region by its programmatic name, such as `westeurope`.
    Region, "region",
    "use the programmatic name: 2 to 40 lower-case letters and digits, such as 'westeurope'",
    |text| all(text, 2..=40, lower_or_digit)
}

checked_name! {
    /// The name of a storage account. Rule: Microsoft.Storage, `^[a-z0-9]{3,24}$`.
    AccountName, "storage account name",
    "use 3 to 24 lower-case letters and digits",
    |text| all(text, 3..=24, lower_or_digit)
}

checked_name! {
    /// The name of a blob container.
    ContainerName, "container name",
    "use 3 to 63 lower-case letters, digits and single hyphens, beginning and ending with a letter or digit",
    |text| {
        all(text, 3..=63, |b| lower_or_digit(b) || b == b'-')
            && has_edges(text, lower_or_digit)
            && !text.contains("--")
    }
}

checked_name! {
    /// The name of a resource group.
    ResourceGroup, "resource group",
    "use 1 to 90 letters, digits, '.', '_', '-' or parentheses, not ending with '.'",
    |text| {
        all(text, 1..=90, |b| name_byte(b) || matches!(b, b'(' | b')'))
            && !text.ends_with('.')
            && text != ".."
    }
}

checked_name! {
    /// The name of a managed image. Rule: Microsoft.Compute images, 1 to 80 characters.
    ManagedImageName, "managed image name",
    "use 1 to 80 letters, digits, '.', '_' or '-', beginning with a letter or digit and ending with a letter, digit or '_'",
    |text| {
        all(text, 1..=80, name_byte)
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
    }
}

checked_name! {
    /// The name of a resource. Rule: Microsoft.Compute, 1 to 80 characters. A type may allow fewer of them.
    ResourceName, "resource name",
    "use 1 to 80 letters, digits, '.', '_' or '-', beginning and ending with a letter, digit or '_'",
    |text| {
        let edge = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        all(text, 1..=80, name_byte) && has_edges(text, edge)
    }
}

impl ResourceName {
    /// The name of a resource below this one, as Resource Manager writes it: the names from the outermost to its own,
    /// with `/` between them. A name that is parsed never contains `/`.
    #[must_use]
    pub fn child(&self, own: &Self) -> Self {
        Self(format!("{}/{}", self.0, own.0))
    }

    /// The name of the resource that contains this one. None if none does.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The last part of the name, without the names of the resources that contain this one.
    #[must_use]
    pub fn own(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl From<ManagedImageName> for ResourceName {
    fn from(name: ManagedImageName) -> Self {
        Self(name.0)
    }
}

checked_name! {
    /// The identifier of a job: UTC time to the second and four random hexadecimal digits, so identifiers sort by age.
    JobId, "job",
    "a job looks like '20261121-041502-7f3a' (see 'goldfleet jobs')",
    |text| all(text, 1..=40, |b| lower_or_digit(b) || b == b'-')
}

impl JobId {
    /// Creates an identifier for a job that is requested at `now`. The last 16 bits of `random` are its random digits.
    #[must_use]
    pub fn new(now: jiff::Timestamp, random: u64) -> Self {
        let random = random & 0xffff;
        Self(format!("{}-{random:04x}", now.strftime("%Y%m%d-%H%M%S")))
    }

    /// The time at which the job was requested, to the second. None if the identifier does not contain it.
    #[must_use]
    pub fn requested_at(&self) -> Option<jiff::Timestamp> {
        let (time, _random) = self.0.rsplit_once('-')?;
        let time = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", time).ok()?;
        jiff::tz::TimeZone::UTC.to_timestamp(time).ok()
    }
}

/// The identifier of a subscription: a UUID in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubscriptionId(Uuid);

impl SubscriptionId {
    /// The `n`th of a series of fictitious subscriptions, for demonstrations and tests.
    #[must_use]
    pub fn nth_for_tests(n: u32) -> Self {
        Self(Uuid::from_u128(u128::from(n)))
    }
}

impl FromStr for SubscriptionId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidName {
            what: "subscription",
            given: text.to_owned(),
            rule: "use the subscription's id, a UUID such as 00000000-0000-0000-0000-000000000001",
        })
    }
}

serde_as_string!(SubscriptionId);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.hyphenated().to_string())
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_validated() {
        for good in ["a", "ubuntu-24.04", "Win_2025"] {
            assert!(good.parse::<ImageName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "a#", "a?", "-a", "a-", "a b", "a\n", &"x".repeat(61)] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
        assert!("stage0001".parse::<AccountName>().is_ok());
        assert!("Stage".parse::<AccountName>().is_err());
        assert!("a--b".parse::<ContainerName>().is_err());
        assert!("img-1.0-eastus.".parse::<ManagedImageName>().is_err());
    }

    #[test]
    fn job_ids_sort_by_creation_time() {
        let early = JobId::new("2026-11-21T04:15:02Z".parse().unwrap(), u64::MAX);
        let late = JobId::new("2026-11-21T04:15:03Z".parse().unwrap(), 0x1_7f3a);
        assert!(early < late);
        assert_eq!(early.as_str(), "20261121-041502-ffff");
        assert_eq!(late.as_str(), "20261121-041503-7f3a");
        assert_eq!(early.as_str().parse::<JobId>().unwrap(), early);
        assert_eq!(early.requested_at(), Some("2026-11-21T04:15:02Z".parse().unwrap()));
        assert_eq!("a-7f3a".parse::<JobId>().unwrap().requested_at(), None);
    }

    #[test]
    fn name_error_states_rule() {
        let error = "West Europe".parse::<Region>().unwrap_err();
        insta::assert_snapshot!(error, @r#"region "West Europe" is not valid: use the programmatic name: 2 to 40 lower-case letters and digits, such as 'westeurope'"#);
    }
}
