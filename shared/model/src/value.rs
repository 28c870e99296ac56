//! Values that are parsed from text.

/// A rejected value: the kind of value, the text, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no {what}: {rule}")]
pub struct InvalidValue {
    /// The kind of value, as operators call it.
    pub what: &'static str,
    /// The text that was rejected.
    pub given: String,
    /// The rule, as a sentence for operators.
    pub rule: &'static str,
}
