//! Values that are read from text.

/// Why a value was refused: what it is, what was given, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no {what}: {rule}")]
pub struct InvalidValue {
    /// The kind of value, as an operator would call it.
    pub what: &'static str,
    /// The text that was refused.
    pub given: String,
    /// The rule, in words.
    pub rule: &'static str,
}
