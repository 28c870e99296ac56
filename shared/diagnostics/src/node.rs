//! Values with their locations.
//!
//! A configuration is a file overlaid by the environment, and a list of targets can be TOML, JSON or CSV. All of them
//! become a [`Node`] first. So the types that are read from a node do not depend on the format, and every error can
//! name the line or the variable.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::field_error::{FieldError, Origin};

/// A value and its location.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The location; `None` if the value was not written.
    pub origin: Option<Origin>,
    /// The value.
    pub value: Value,
}

/// The value of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// Text from a source without types, such as the environment or a CSV cell. The reader determines the type.
    Untyped(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// A list.
    Array(Vec<Node>),
    /// A table of keys and values.
    Table(BTreeMap<String, Node>),
    /// A JSON null.
    Null,
}

impl Node {
    /// Creates a value that was written at `origin`.
    #[must_use]
    pub fn new(origin: Origin, value: Value) -> Self {
        Self { origin: Some(origin), value }
    }

    /// Creates an empty table without a location.
    #[must_use]
    pub fn empty() -> Self {
        Self { origin: None, value: Value::Table(BTreeMap::new()) }
    }

    /// Parses TOML.
    ///
    /// # Errors
    /// An error with its line if the text is not valid TOML.
    pub fn from_toml(text: &str) -> Result<Self, FieldError> {
        Self::from_toml_after(0, text)
    }

    /// Parses a part of a TOML file that has `lines` lines before it.
    ///
    /// # Errors
    /// An error with its line in the file if the text is not valid TOML.
    pub fn from_toml_after(lines: usize, text: &str) -> Result<Self, FieldError> {
        // Some editors write a byte order mark at the start of UTF-8 text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = Lines::of(text, lines);
        let table = DeTable::parse(text).map_err(|error| {
            let origin = error.span().map(|span| lines.at(span.start));
            FieldError::new(format!("this is not valid TOML: {}", error.message())).with_origin(origin.as_ref())
        })?;
        Ok(Self { origin: None, value: lines.table(table.into_inner()) })
    }

    /// Sets the value under the keys of `path` to `leaf`, and creates missing tables on the path. The key of the first
    /// item of a list is `[1]`.
    pub fn set(&mut self, path: &[String], leaf: Self) {
        let [key, rest @ ..] = path else {
            *self = leaf;
            return;
        };
        match &mut self.value {
            Value::Table(entries) => {
                let child = match entries.entry(key.clone()) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry.insert(Self { origin: leaf.origin.clone(), ..Self::empty() }),
                };
                child.set(rest, leaf);
            }
            Value::Array(items) => match item_number(key).and_then(|number| items.get_mut(number)) {
                Some(item) => item.set(rest, leaf),
                // A list has no keys. The reader then expects a list, and the error names the origin of the key.
                None => *self = leaf,
            },
            // If a scalar is on the path, it is kept, so that the error names the line that wrote it.
            _ => {}
        }
    }

    /// Removes the value under the keys of `path`, if it exists.
    pub fn remove(&mut self, path: &[String]) {
        match (path, &mut self.value) {
            ([key, rest @ ..], Value::Table(entries)) => match entries.get_mut(key) {
                Some(child) if !rest.is_empty() => child.remove(rest),
                _ => drop(entries.remove(key)),
            },
            // An item is not removed, because the numbers of the items after it would change.
            ([key, rest @ ..], Value::Array(items)) if !rest.is_empty() => {
                if let Some(item) = item_number(key).and_then(|number| items.get_mut(number)) {
                    item.remove(rest);
                }
            }
            _ => {}
        }
    }

    /// The location of the value under the keys of `path`, in which `[2]` is the second item of a list. None if it was
    /// not written.
    #[must_use]
    pub fn origin_of(&self, path: &[&str]) -> Option<&Origin> {
        let [key, rest @ ..] = path else { return self.origin.as_ref() };
        match &self.value {
            Value::Table(entries) => entries.get(*key)?.origin_of(rest),
            Value::Array(items) => items.get(item_number(key)?)?.origin_of(rest),
            _ => None,
        }
    }
}

/// The index of the item that a key such as `[1]` names. Keys count from 1, as errors do.
fn item_number(key: &str) -> Option<usize> {
    key.strip_prefix('[')?.strip_suffix(']')?.parse::<usize>().ok()?.checked_sub(1)
}

/// The offsets at which the lines of a text begin. They avoid counting lines for each of tens of thousands of keys in
/// large targets files.
struct Lines {
    starts: Vec<usize>,
    /// The number of lines before the text.
    before: usize,
}

impl Lines {
    fn of(text: &str, before: usize) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
        Self { starts, before }
    }

    fn at(&self, offset: usize) -> Origin {
        Origin::Line(self.before + self.starts.partition_point(|&start| start <= offset))
    }

    fn table(&self, table: DeTable<'_>) -> Value {
        let entry = |(key, value): (Spanned<Cow<'_, str>>, _)| {
            // For a table that is composed of several places, the line of its key is the more helpful one.
            let origin = self.at(key.span().start);
            (key.into_inner().into_owned(), self.node(origin, value))
        };
        Value::Table(table.into_iter().map(entry).collect())
    }

    fn node(&self, origin: Origin, value: Spanned<DeValue<'_>>) -> Node {
        let item = |item: Spanned<DeValue<'_>>| self.node(self.at(item.span().start), item);
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Text(number.to_string()), Value::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| Value::Text(number.to_string()), Value::Float)
            }
            DeValue::Boolean(truth) => Value::Boolean(truth),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(items) => Value::Array(items.into_iter().map(item).collect()),
            DeValue::Table(table) => self.table(table),
        };
        Node::new(origin, value)
    }
}
