//! Selection of targets by glob patterns.

use std::fmt;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::target::Target;
use crate::serde_as_string;

/// The property of a target that a term matches.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    /// `subscription/region`, the subscription alone, its display name, or the region alone.
    Any,
    Subscription,
    Name,
    Region,
    Ring,
    Tag(String),
}

/// One condition: a field and a glob pattern.
#[derive(Debug, Clone)]
struct Term {
    field: Field,
    glob: GlobMatcher,
}

/// A selection of targets: terms joined by commas, all of which must match. A term is `FIELD=GLOB` with the fields
/// `subscription`, `name`, `region`, `ring` and `tag.NAME`; or a bare `GLOB`, matched against `subscription/region`,
/// the subscription, its display name and the region.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    text: String,
    terms: Vec<Term>,
}

/// Why a selector was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// A term between commas is empty.
    #[error("target selector {0:?} has an empty term: write a glob such as 'west*' or a term such as 'ring=0'")]
    Empty(String),
    /// A field that targets do not have.
    #[error("target selector {selector:?}: no field {field:?}; use subscription, name, region, ring or tag.NAME")]
    Field {
        /// The whole selector.
        selector: String,
        /// The unknown field.
        field: String,
    },
    /// A glob that cannot be parsed.
    #[error("target selector {selector:?}: {reason}")]
    Glob {
        /// The whole selector.
        selector: String,
        /// What is wrong with the glob.
        reason: String,
    },
}

impl Selector {
    /// Whether the target is selected.
    #[must_use]
    pub fn matches(&self, target: &Target) -> bool {
        self.terms.iter().all(|term| term.matches(target))
    }

    /// Whether any of the selectors selects the target. An empty list selects every target.
    #[must_use]
    pub fn any(selectors: &[Self], target: &Target) -> bool {
        selectors.is_empty() || selectors.iter().any(|selector| selector.matches(target))
    }
}

impl Term {
    fn matches(&self, target: &Target) -> bool {
        let subscription = target.subscription.to_string();
        match &self.field {
            Field::Any => {
                let key = target.key().to_string();
                let name = target.name.as_deref().into_iter();
                let mut texts = [key.as_str(), &subscription, target.region.as_str()].into_iter().chain(name);
                texts.any(|text| self.glob.is_match(text))
            }
            Field::Subscription => self.glob.is_match(subscription),
            Field::Name => target.name.as_deref().is_some_and(|name| self.glob.is_match(name)),
            Field::Region => self.glob.is_match(target.region.as_str()),
            Field::Ring => self.glob.is_match(target.ring.to_string()),
            Field::Tag(name) => target.tags.get(name).is_some_and(|value| self.glob.is_match(value)),
        }
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let terms = text.split(',').map(|term| parse_term(text, term.trim())).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), terms })
    }
}

fn parse_term(selector: &str, term: &str) -> Result<Term, InvalidSelector> {
    let (field, glob) = match term.split_once('=') {
        None => (Field::Any, term),
        Some(("subscription", glob)) => (Field::Subscription, glob),
        Some(("name", glob)) => (Field::Name, glob),
        Some(("region", glob)) => (Field::Region, glob),
        Some(("ring", glob)) => (Field::Ring, glob),
        Some((field, glob)) => match field.strip_prefix("tag.") {
            Some(name) if !name.is_empty() => (Field::Tag(name.to_owned()), glob),
            _ => return Err(InvalidSelector::Field { selector: selector.to_owned(), field: field.to_owned() }),
        },
    };
    if glob.is_empty() {
        return Err(InvalidSelector::Empty(selector.to_owned()));
    }
    let glob = Glob::new(glob)
        .map_err(|error| InvalidSelector::Glob { selector: selector.to_owned(), reason: error.to_string() })?
        .compile_matcher();
    Ok(Term { field, glob })
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Selector {}

serde_as_string!(Selector);

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        serde_json::from_value(serde_json::json!({
            "subscription": "00000000-0000-0000-0000-000000000007", "region": "westeurope", "resource_group": "images",
            "account": "stage0007", "container": "vhds", "name": "Payments Prod", "ring": 1, "tags": { "env": "prod" },
        }))
        .unwrap()
    }

    #[test]
    fn selector_matches_every_field() {
        for yes in [
            "*",
            "westeurope",
            "west*",
            "*-000000000007",
            "*7/west*",
            "region=west*",
            "ring=1",
            "tag.env=pr*",
            "ring=1,region=west*",
            "subscription=*7, tag.env=prod",
            "Payments*",
            "name=*Prod,region=west*",
        ] {
            assert!(yes.parse::<Selector>().unwrap().matches(&target()), "{yes}");
        }
        for no in ["eastus", "ring=0", "ring=1,eastus", "tag.env=dev", "tag.owner=*", "subscription=*8", "name=*Test"] {
            assert!(!no.parse::<Selector>().unwrap().matches(&target()), "{no}");
        }
    }

    #[test]
    fn selector_errors_state_syntax() {
        let messages: Vec<String> = ["", "west*,", "zone=1", "tag.=x", "[", "ring="]
            .map(|bad| bad.parse::<Selector>().unwrap_err().to_string())
            .into();
        insta::assert_snapshot!(messages.join("\n"));
    }
}
