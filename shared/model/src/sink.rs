//! Sinks: what a target receives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::InvalidName;

/// What a target receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sink {
    /// A managed image.
    Image,
    /// A snapshot.
    Snapshot,
    /// A managed disk.
    Disk,
}

impl Sink {
    /// All sinks, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Image, Self::Snapshot, Self::Disk];

    /// The name in the targets file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Snapshot => "snapshot",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Sink {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName { what: "sink", given: text.to_owned(), rule: "use image, snapshot or disk" };
        Self::ALL.into_iter().find(|sink| sink.as_str() == text).ok_or_else(invalid)
    }
}

/// The sinks of a target: at least one, each once. It has only three bytes and no allocation, because a targets file
/// may have thousands of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<Sink>")]
pub struct Sinks([Option<Sink>; 3]);

impl Sinks {
    /// These sinks.
    ///
    /// # Errors
    /// [`InvalidSinks`] if there is none, or one twice.
    pub fn new(sinks: &[Sink]) -> Result<Self, InvalidSinks> {
        let count = |wanted: Sink| sinks.iter().filter(|sink| **sink == wanted).count();
        match Sink::ALL.into_iter().find(|sink| count(*sink) > 1) {
            _ if sinks.is_empty() => Err(InvalidSinks::None),
            Some(twice) => Err(InvalidSinks::Twice(twice)),
            None => Ok(Self(Sink::ALL.map(|sink| (count(sink) == 1).then_some(sink)))),
        }
    }

    /// Whether the target receives this.
    #[must_use]
    pub fn has(self, sink: Sink) -> bool {
        self.iter().any(|own| own == sink)
    }

    /// The sinks, in the order of [`Sink::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Sink> {
        self.0.into_iter().flatten()
    }

    /// Whether the target receives only a managed image, as it does if its entry names no sinks.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Sinks {
    fn default() -> Self {
        Self([Some(Sink::Image), None, None])
    }
}

impl fmt::Display for Sinks {
    /// The names, with spaces between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.iter().map(Sink::as_str).collect::<Vec<_>>().join(" "))
    }
}

impl TryFrom<Vec<String>> for Sinks {
    type Error = InvalidSinks;

    fn try_from(names: Vec<String>) -> Result<Self, InvalidSinks> {
        Self::new(&names.iter().map(|name| name.parse()).collect::<Result<Vec<_>, _>>()?)
    }
}

impl From<Sinks> for Vec<Sink> {
    fn from(sinks: Sinks) -> Self {
        sinks.iter().collect()
    }
}

/// Sinks that are not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSinks {
    /// The list is empty.
    #[error("it is empty: name at least one of image, snapshot and disk, or set enabled = false")]
    None,
    /// A sink is named twice.
    #[error("it names {0} twice: remove one")]
    Twice(Sink),
    /// An unknown name.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sinks(names: &[&str]) -> Result<Sinks, String> {
        Sinks::try_from(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sinks_are_a_set_with_at_least_one() {
        let both = sinks(&["disk", "image"]).unwrap();
        assert_eq!(both.to_string(), "image disk");
        assert_eq!(serde_json::to_string(&both).unwrap(), r#"["image","disk"]"#);
        assert!(both.has(Sink::Disk) && !both.has(Sink::Snapshot) && !both.is_default());
        assert!(sinks(&["image"]).unwrap().is_default());
        for (names, reason) in [
            (&[][..], "it is empty"),
            (&["disk", "disk"], "it names disk twice"),
            (&["vhd"], "use image, snapshot or disk"),
        ] {
            let error = sinks(names).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
