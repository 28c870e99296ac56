//! `[upload.accept]`: the findings that are accepted, by the name of the image.

use std::collections::BTreeMap;
use std::fmt;

use goldfleet_diagnostics::{FieldError, Node};
use goldfleet_model::ids::ImageName;
use goldfleet_model::image_pattern::ImagePattern;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Checks the code of a finding that is to be accepted. The error is a message for the operator.
///
/// This crate does not know the codes: workers read the configuration too, and do not check disks.
pub type CodeCheck<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// The codes of accepted findings, by the name of the image or a pattern that it matches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AcceptedFindings(BTreeMap<ImagePattern, Codes>);

impl AcceptedFindings {
    /// Whether nothing is accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The codes that are accepted for an image: those of all patterns that match.
    pub fn of(&self, image: &ImageName) -> impl Iterator<Item = &str> {
        let matching = self.0.iter().filter(|(pattern, _)| pattern.matches(image));
        matching.flat_map(|(_, codes)| codes.0.iter().map(String::as_str))
    }

    /// An error for each code that the check rejects, with its key and line.
    pub(super) fn check(&self, written: &Node, check: CodeCheck<'_>) -> Vec<FieldError> {
        let mut faults = Vec::new();
        for (pattern, codes) in &self.0 {
            for (index, code) in codes.0.iter().enumerate() {
                let Err(message) = check(code) else { continue };
                let list = ["upload", "accept", pattern.as_str()];
                let item = format!("[{}]", index + 1);
                let origin = written.origin_of(&[&list[..], &[&item]].concat()).or_else(|| written.origin_of(&list));
                let fault = FieldError::new(message).with_origin(origin);
                faults.push(list.iter().rev().fold(fault, |fault, key| fault.with_parent_key(key)));
            }
        }
        faults
    }
}

/// A list of codes. A variable separates them by commas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Codes(Vec<String>);

impl<'de> Deserialize<'de> for Codes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodesVisitor)
    }
}

struct CodesVisitor;

impl<'de> Visitor<'de> for CodesVisitor {
    type Value = Codes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of codes, such as [\"no-provisioning\"],")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Codes, E> {
        Ok(Codes(text.split(',').map(|code| code.trim().to_owned()).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Codes, A::Error> {
        let mut codes = Vec::new();
        while let Some(code) = items.next_element()? {
            codes.push(code);
        }
        Ok(Codes(codes))
    }

    /// TOML reads a name with a dot as a table in a table.
    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Codes, A::Error> {
        Err(A::Error::custom("this is a table: write a name that contains a dot in quotes, such as \"ubuntu-24.04\""))
    }
}
