//! Values with their location.

use std::fmt;
use std::path::{Path, PathBuf};

use goldfleet_diagnostics::Diagnostic;
use goldfleet_diagnostics::Node;
use goldfleet_diagnostics::location;
use goldfleet_diagnostics::{FieldError, Origin};
use serde::de::DeserializeOwned;

use super::error::hint;

/// A value with the file and line that it comes from, or its index in the file.
#[derive(Debug, Clone)]
pub struct Located<T> {
    file: PathBuf,
    origin: Option<Origin>,
    keys: Vec<String>,
    value: T,
}

impl<T> Located<T> {
    /// Creates a value that does not come from a file, but for example from the command line.
    pub fn given(by: &str, value: T) -> Self {
        Self { file: by.into(), origin: None, keys: Vec::new(), value }
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The value, without its location.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }

    pub(super) fn read(file: &Path, keys: Vec<String>, node: Node) -> Result<Self, FieldError>
    where
        T: DeserializeOwned,
    {
        let origin = node.origin.clone();
        match T::deserialize(node) {
            Ok(value) => Ok(Self { file: file.to_owned(), origin, keys, value }),
            Err(fault) => {
                Err(keys.iter().rev().fold(fault.with_origin(origin.as_ref()), |fault, key| fault.with_parent_key(key)))
            }
        }
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { file: self.file, origin: self.origin, keys: self.keys, value: change(self.value) }
    }

    /// An error in the field `field` of the value.
    pub(super) fn problem(&self, field: &str, message: String) -> Diagnostic {
        let fault = FieldError::new(message).with_origin(self.origin.as_ref()).with_parent_key(field);
        let fault = self.keys.iter().rev().fold(fault, |fault, key| fault.with_parent_key(key));
        Diagnostic::new(&self.file, &fault, hint)
    }
}

impl<T> fmt::Display for Located<T> {
    /// The location, for a message about another value that conflicts with this one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&location(&self.file, self.origin.as_ref()))?;
        // A line number is sufficient. Without one, the index is needed.
        match self.keys.last() {
            Some(index) if self.origin.is_none() => write!(f, " {index}"),
            _ => Ok(()),
        }
    }
}
