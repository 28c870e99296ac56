//! Values that know where they were written.
//!
//! A configuration is a file overlaid by the environment, and a list of targets may come as TOML, JSON or CSV. All of
//! them become a [`Node`] first, so that the types they are read into need not know which it was, and so that every
//! error can name the line or the variable.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::field_error::{FieldError, Origin};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it was written; `None` if nobody wrote it.
    pub origin: Option<Origin>,
    /// The value.
    pub value: Value,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// Text from a place without types, such as the environment or a CSV cell: it is what the reader wants it to be.
    Untyped(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A list.
    Array(Vec<Node>),
    /// Keys and their values.
    Table(BTreeMap<String, Node>),
    /// JSON's word for nothing.
    Null,
}

impl Node {
    /// A value that was written at `origin`.
    #[must_use]
    pub fn new(origin: Origin, value: Value) -> Self {
        Self { origin: Some(origin), value }
    }

    /// A table that nothing was written into yet.
    #[must_use]
    pub fn empty() -> Self {
        Self { origin: None, value: Value::Table(BTreeMap::new()) }
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// A fault with its line where the text is no TOML.
    pub fn from_toml(text: &str) -> Result<Self, FieldError> {
        // Some editors write a byte order mark at the start of UTF-8 text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = Lines::of(text);
        let table = DeTable::parse(text).map_err(|error| {
            let origin = error.span().map(|span| lines.at(span.start));
            FieldError::new(format!("this is no valid TOML: {}", error.message())).with_origin(origin.as_ref())
        })?;
        Ok(Self { origin: None, value: lines.table(table.into_inner()) })
    }

    /// Puts `leaf` under the keys of `path`, over whatever was there, and makes the tables on the way.
    pub fn set(&mut self, path: &[String], leaf: Self) {
        let [key, rest @ ..] = path else {
            *self = leaf;
            return;
        };
        // A scalar in the way stays, so that the error is about the file that wrote it there.
        if let Value::Table(entries) = &mut self.value {
            let child = match entries.entry(key.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Self { origin: leaf.origin.clone(), ..Self::empty() }),
            };
            child.set(rest, leaf);
        }
    }

    /// Takes away what is under the keys of `path`, if anything is.
    pub fn remove(&mut self, path: &[String]) {
        let ([key, rest @ ..], Value::Table(entries)) = (path, &mut self.value) else { return };
        match entries.get_mut(key) {
            Some(child) if !rest.is_empty() => child.remove(rest),
            _ => drop(entries.remove(key)),
        }
    }

    /// Where the value under the keys of `path` was written, if it was.
    #[must_use]
    pub fn origin_of(&self, path: &[&str]) -> Option<&Origin> {
        let [key, rest @ ..] = path else { return self.origin.as_ref() };
        match &self.value {
            Value::Table(entries) => entries.get(*key)?.origin_of(rest),
            _ => None,
        }
    }
}

/// Where the lines of a text begin. Thousands of targets have tens of thousands of keys: no counting for each.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect())
    }

    fn at(&self, offset: usize) -> Origin {
        Origin::Line(self.0.partition_point(|&start| start <= offset))
    }

    fn table(&self, table: DeTable<'_>) -> Value {
        let entry = |(key, value): (Spanned<Cow<'_, str>>, _)| {
            // Where a table is put together from several places, the line of its key is the better one to show.
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
