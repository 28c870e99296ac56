//! Which snapshots of a source group a sync copies.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::snapshot::{Snapshot, tag};

/// A pattern that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern {pattern:?} is not valid: {reason}")]
pub struct InvalidPattern {
    /// The pattern.
    pub pattern: String,
    /// Why it is not valid.
    pub reason: String,
}

/// A glob: `*` is any text, `?` one character, `[ab]` one of some characters, `{a,b}` one of some texts. It matches the
/// whole text.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    glob: GlobMatcher,
}

impl Pattern {
    /// A pattern for names, which are compared without regard to case, as Resource Manager does.
    ///
    /// # Errors
    /// [`InvalidPattern`] if it is empty or has a syntax error.
    pub fn of_name(text: &str) -> Result<Self, InvalidPattern> {
        Self::new(text, true)
    }

    /// A pattern for values of tags, which are compared with regard to case, as Resource Manager does.
    ///
    /// # Errors
    /// [`InvalidPattern`] if it has a syntax error.
    pub fn of_value(text: &str) -> Result<Self, InvalidPattern> {
        Self::new(text, false)
    }

    fn new(text: &str, is_name: bool) -> Result<Self, InvalidPattern> {
        let invalid = |reason: String| InvalidPattern { pattern: text.to_owned(), reason };
        if is_name && text.is_empty() {
            return Err(invalid("it is empty, so no name matches it".to_owned()));
        }
        let glob = GlobBuilder::new(text).case_insensitive(is_name).literal_separator(false).build();
        let glob = glob.map_err(|error| invalid(error.kind().to_string()))?.compile_matcher();
        Ok(Self { text: text.to_owned(), glob })
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.glob.is_match(text)
    }

    /// The text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The filters of a sync. A snapshot is selected if it passes all of them.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The tags that a snapshot must have, by name, with a pattern for the value. All must match. If an operator
    /// removes or changes one of them, the replicas of the snapshot count as without source.
    pub tags: BTreeMap<String, Pattern>,
    /// Tags that a snapshot must not have. A snapshot with one of them is not copied. Its replicas are kept.
    pub exclude_tags: BTreeMap<String, Pattern>,
    /// If there are any, a name must match one of these.
    pub names: Vec<Pattern>,
    /// A name must match none of these.
    pub exclude_names: Vec<Pattern>,
    /// If there are any, the family id or the id of the copied disk must match one of these.
    pub families: Vec<Pattern>,
    /// A snapshot must be at least this old. A snapshot whose creation time is later than the clock has the age 0.
    pub min_age: Option<SignedDuration>,
    /// A snapshot must be at most this old. The replicas of an older snapshot are kept.
    pub max_age: Option<SignedDuration>,
}

/// The tags that select a snapshot, in the form in which a row holds them: the pattern of the value by the name of the
/// tag. So the row alone decides whether a snapshot is still selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagPatterns(BTreeMap<String, String>);

impl TagPatterns {
    /// Whether tags match all patterns.
    ///
    /// # Errors
    /// [`InvalidPattern`] if a pattern cannot be read. Then nothing is known about the selection.
    pub fn matches(&self, tags: &BTreeMap<String, String>) -> Result<bool, InvalidPattern> {
        for (name, pattern) in &self.0 {
            let pattern = Pattern::of_value(pattern)?;
            if !tag(tags, name).is_some_and(|found| pattern.matches(found)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The result of the filters for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// It is copied.
    Yes,
    /// It does not have one of the tags. Its replicas count as without source.
    Untagged,
    /// Another filter excludes it. Its replicas are kept.
    Excluded,
}

impl Selection {
    /// Applies the filters to a snapshot at the time `now`.
    #[must_use]
    pub fn apply(&self, snapshot: &Snapshot, now: Timestamp) -> Selected {
        if !self.has_tags(&snapshot.tags) {
            return Selected::Untagged;
        }
        let has = |(name, value): (&String, &Pattern)| snapshot.tag(name).is_some_and(|found| value.matches(found));
        let age = now.duration_since(snapshot.created).max(SignedDuration::ZERO);
        let passes = !self.exclude_tags.iter().any(has)
            && !self.excludes_name(&snapshot.id.name)
            && (self.families.is_empty() || self.families.iter().any(|pattern| is_of_family(snapshot, pattern)))
            && self.min_age.is_none_or(|min| age >= min)
            && self.max_age.is_none_or(|max| age <= max);
        if passes { Selected::Yes } else { Selected::Excluded }
    }

    /// Whether the filters by name exclude a snapshot, of which nothing else may be known.
    #[must_use]
    pub fn excludes_name(&self, name: &str) -> bool {
        (!self.names.is_empty() && !self.names.iter().any(|pattern| pattern.matches(name)))
            || self.exclude_names.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether these tags pass the filter by tags.
    #[must_use]
    pub fn has_tags(&self, tags: &BTreeMap<String, String>) -> bool {
        self.tags.iter().all(|(name, value)| tag(tags, name).is_some_and(|found| value.matches(found)))
    }

    /// The filter by tags, for a row.
    #[must_use]
    pub fn tag_patterns(&self) -> TagPatterns {
        TagPatterns(self.tags.iter().map(|(name, pattern)| (name.clone(), pattern.text.clone())).collect())
    }

    /// Whether a tag is one of those that select a snapshot. A replica does not get them. Otherwise a group of replicas
    /// would be a source.
    #[must_use]
    pub fn is_trigger(&self, name: &str) -> bool {
        self.tags.keys().any(|trigger| trigger.eq_ignore_ascii_case(name))
    }

    /// A text that differs for filters that differ.
    pub(crate) fn fingerprint(&self) -> String {
        let tags = |tags: &BTreeMap<String, Pattern>| {
            tags.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.text.clone())).collect::<Vec<_>>()
        };
        let texts = |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.text.clone()).collect::<Vec<_>>();
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            tags(&self.tags),
            tags(&self.exclude_tags),
            texts(&self.names),
            texts(&self.exclude_names),
            texts(&self.families),
            self.min_age,
            self.max_age,
        )
    }
}

fn is_of_family(snapshot: &Snapshot, pattern: &Pattern) -> bool {
    let ids = [&snapshot.family_id, &snapshot.origin.source_unique_id, &snapshot.origin.source_id];
    ids.into_iter().flatten().any(|id| pattern.matches(id))
}
