//! An error in one value with its location, before the file is known.

use std::fmt::Display;

use serde::de::{Error, Expected, Unexpected};

/// The location of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// An error in a value: the keys that lead to it, its location, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct FieldError {
    keys: Vec<String>,
    origin: Option<Origin>,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    /// A required key is missing.
    Missing,
    /// The key is unknown. `context` names the variant if the valid keys depend on it.
    Unknown {
        expected: &'static [&'static str],
        context: String,
    },
    Other(String),
}

impl FieldError {
    /// Creates an error without a location.
    pub fn new(message: impl Into<String>) -> Self {
        Self { keys: Vec::new(), origin: None, reason: Reason::Other(message.into()) }
    }

    /// Sets the location, unless a more precise one is known.
    #[must_use]
    pub fn with_origin(mut self, origin: Option<&Origin>) -> Self {
        // A variable that creates a table is not the cause of a missing key in it.
        let blameless = self.reason == Reason::Missing && matches!(origin, Some(Origin::Variable(_)));
        if self.origin.is_none() && !blameless {
            self.origin = origin.cloned();
        }
        self
    }

    /// Prepends the key of the table that contains the value.
    #[must_use]
    pub fn with_parent_key(mut self, key: &str) -> Self {
        self.keys.insert(0, key.to_owned());
        self
    }

    /// Adds the context of a table whose valid keys depend on the value of its key `tag`.
    #[must_use]
    pub fn in_variant(mut self, tag: &str, variant: &str) -> Self {
        if let Reason::Unknown { context, .. } = &mut self.reason
            && self.keys.len() == 1
        {
            *context = format!(" where {tag} = {variant:?}");
        }
        self
    }

    /// The location of the value. None if it was not written.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The keys that lead to the value.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Whether the error is a missing key.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.reason == Reason::Missing
    }

    /// Whether the error is an unknown key.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.reason, Reason::Unknown { .. })
    }

    /// The keys joined by dots, such as `worker.lease`.
    #[must_use]
    pub fn key(&self) -> String {
        self.keys.join(".").replace(".[", "[")
    }

    /// The problem, without the key.
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
        Self::new(format!("{variant:?} is not one of {}", expected.join(", ")))
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

/// Serde describes Rust types here, which operators need not know.
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
