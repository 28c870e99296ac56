//! Patterns over the names of images.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::ids::{ImageName, InvalidName};
use crate::serde_as_string;

/// The most characters of a pattern: as many as an image name has.
const MAX_LENGTH: usize = 60;

/// The name of an image, or a pattern with `*` (any characters) and `?` (one character) that names of images match.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImagePattern {
    text: String,
    glob: GlobMatcher,
}

impl ImagePattern {
    /// Whether an image has a matching name.
    #[must_use]
    pub fn matches(&self, image: &ImageName) -> bool {
        self.glob.is_match(image.as_str())
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for ImagePattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let valid = |c: char| c.is_ascii_alphanumeric() || "._-*?".contains(c);
        let built = GlobBuilder::new(text).literal_separator(false).build();
        match built {
            Ok(glob) if (1..=MAX_LENGTH).contains(&text.len()) && text.chars().all(valid) => {
                Ok(Self { text: text.to_owned(), glob: glob.compile_matcher() })
            }
            _ => Err(InvalidName {
                what: "image pattern",
                given: text.to_owned(),
                rule: "use the name of an image, such as 'ubuntu-24.04', or a pattern with '*' or '?', such as 'ubuntu-*'",
            }),
        }
    }
}

serde_as_string!(ImagePattern);

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for ImagePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ImagePattern {}

impl PartialOrd for ImagePattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ImagePattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_only_itself_and_wildcards_match_characters() {
        let matches =
            |pattern: &str, image: &str| pattern.parse::<ImagePattern>().unwrap().matches(&image.parse().unwrap());
        assert!(matches("golden", "golden") && !matches("golden", "golden-2") && !matches("golden", "Golden"));
        assert!(matches("ubuntu-*", "ubuntu-24.04") && !matches("ubuntu-*", "debian-12"));
        assert!(matches("debian-1?", "debian-12") && !matches("debian-1?", "debian-1"));
        assert!(!matches("a.b", "axb"), "a dot is a dot");
    }

    #[test]
    fn what_no_image_name_can_match_is_rejected() {
        for bad in ["", "a/b", "[ab]", "{a,b}", "a b", "!a", "a\\b", "ü", &"x".repeat(61)] {
            let error = bad.parse::<ImagePattern>().unwrap_err();
            assert!(error.to_string().starts_with("image pattern "), "{error}");
        }
    }
}
