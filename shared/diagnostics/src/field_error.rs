//! What is wrong with one value, and where it was written, before it is known which file it came from.

use std::fmt::Display;

use serde::de::{Error, Expected, Unexpected};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// Something wrong with a value: the keys that lead to it, where it was written, and why it can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct FieldError {
    keys: Vec<String>,
    origin: Option<Origin>,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    /// A key that must be there is not.
    Missing,
    /// A key that nobody reads; `context` tells which of several lists of keys it is missing from.
    Unknown {
        expected: &'static [&'static str],
        context: String,
    },
    Other(String),
}

impl FieldError {
    /// A fault whose place is not known yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { keys: Vec::new(), origin: None, reason: Reason::Other(message.into()) }
    }

    /// The same, written at `origin`, unless a place nearer to it is known.
    #[must_use]
    pub fn with_origin(mut self, origin: Option<&Origin>) -> Self {
        // A missing key is not the fault of the variable that happened to create its table.
        let blameless = self.reason == Reason::Missing && matches!(origin, Some(Origin::Variable(_)));
        if self.origin.is_none() && !blameless {
            self.origin = origin.cloned();
        }
        self
    }

    /// The same, seen from the table that holds `key`.
    #[must_use]
    pub fn with_parent_key(mut self, key: &str) -> Self {
        self.keys.insert(0, key.to_owned());
        self
    }

    /// The same, in a table whose keys depend on what its key `tag` says.
    #[must_use]
    pub fn in_variant(mut self, tag: &str, variant: &str) -> Self {
        if let Reason::Unknown { context, .. } = &mut self.reason
            && self.keys.len() == 1
        {
            *context = format!(" where {tag} = {variant:?}");
        }
        self
    }

    /// Where the value was written, if anywhere.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The keys that lead to the value.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Whether a key is missing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.reason == Reason::Missing
    }

    /// Whether nobody reads the key.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.reason, Reason::Unknown { .. })
    }

    /// The keys with dots between them, such as `worker.lease`.
    #[must_use]
    pub fn key(&self) -> String {
        self.keys.join(".").replace(".[", "[")
    }

    /// What is wrong, without the key.
    #[must_use]
    pub fn message(&self) -> String {
        match &self.reason {
            Reason::Missing => "missing".to_owned(),
            Reason::Unknown { expected: [], context } => format!("there is no such key{context}"),
            Reason::Unknown { expected, context } => {
                format!("there is no such key{context}; the keys are {}", expected.join(", "))
            }
            Reason::Other(message) => message.clone(),
        }
    }
}

impl Error for FieldError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::new(format!("{}, where {} is expected", describe_found(found), describe_expected(wanted)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("{variant:?} is none of the words that can stand here: {}", expected.join(", ")))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self { keys: Vec::new(), origin: None, reason: Reason::Unknown { expected, context: String::new() } }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { keys: vec![field.to_owned()], origin: None, reason: Reason::Missing }
    }
}

fn describe_found(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("{text:?} is text"),
        Unexpected::Signed(number) => format!("{number} is a number"),
        Unexpected::Float(number) => format!("{number} is a number with a fraction"),
        Unexpected::Bool(truth) => format!("{truth} is a truth value"),
        Unexpected::Unit => "this is null".to_owned(),
        Unexpected::Seq => "this is a list".to_owned(),
        Unexpected::Map => "this is a table".to_owned(),
        other => format!("this is {other}"),
    }
}

/// Serde speaks of Rust's types here, which an operator need not know.
fn describe_expected(wanted: &dyn Expected) -> String {
    match wanted.to_string().as_str() {
        "usize" | "u32" | "u64" => "a whole number from 0".to_owned(),
        "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "variant identifier" => "text in quotes".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other if other.starts_with("enum ") => "a word".to_owned(),
        other => other.to_owned(),
    }
}
