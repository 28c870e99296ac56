//! Data in the format of a kind of operation.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A versioned JSON document: the specification or the output of an operation. Only the operation's kind reads and
/// writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Document {
    /// The version of the kind's format.
    pub v: u16,
    /// The data. It holds no secrets.
    pub data: Value,
}

/// A document that this program cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// A newer program wrote it.
    #[error("it has version {found}, and this program reads version {known}")]
    Version {
        /// Its version.
        found: u16,
        /// The version that this program reads.
        known: u16,
    },
    /// It does not have the expected form.
    #[error("it cannot be read: {0}")]
    Syntax(String),
}

impl Document {
    /// The maximum length of an operation's output, in bytes of JSON.
    pub const MAX_OUTPUT: usize = 4096;

    /// Creates a document of version `v`.
    ///
    /// # Errors
    /// [`DocumentError::Syntax`] if the value cannot be written as JSON.
    pub fn new(v: u16, value: &impl Serialize) -> Result<Self, DocumentError> {
        let data = serde_json::to_value(value).map_err(|error| DocumentError::Syntax(error.to_string()))?;
        Ok(Self { v, data })
    }

    /// Reads the data of a document whose version is `known`.
    ///
    /// # Errors
    /// [`DocumentError`] if it has another version or form.
    pub fn read<T: DeserializeOwned>(&self, known: u16) -> Result<T, DocumentError> {
        if self.v != known {
            return Err(DocumentError::Version { found: self.v, known });
        }
        T::deserialize(&self.data).map_err(|error| DocumentError::Syntax(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_another_version_is_refused() {
        let document = Document::new(2, &vec![1, 2]).unwrap();
        assert_eq!(document.read::<Vec<u8>>(2).unwrap(), [1, 2]);
        assert_eq!(document.read::<Vec<u8>>(1), Err(DocumentError::Version { found: 2, known: 1 }));
        assert!(matches!(document.read::<String>(2), Err(DocumentError::Syntax(_))));
    }
}
