//! Errors of the configuration.

use std::path::{Path, PathBuf};

use goldfleet_diagnostics::FieldError;
use goldfleet_diagnostics::{Diagnostic, join_lines};

use super::PREFIX;

/// Why a configuration was rejected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The given file does not exist.
    #[error("configuration file {} not found: check the path in --config or GOLDFLEET_CONFIG", .0.display())]
    NoSuchFile(PathBuf),
    /// No file was named, there is no default file, and no variable replaces it.
    #[error(
        "no {0} found in this directory or a parent directory: create one, or name it with --config or GOLDFLEET_CONFIG"
    )]
    NoDefaultFile(&'static str),
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The content is invalid.
    #[error("{}", join_lines(.0))]
    Invalid(Vec<Diagnostic>),
}

impl ConfigError {
    pub(super) fn invalid(file: &Path, faults: &[FieldError]) -> Self {
        Self::Invalid(faults.iter().map(|fault| Diagnostic::new(file, fault, hint)).collect())
    }
}

fn is_item(key: &str) -> bool {
    key.starts_with('[')
}

/// How the operator can set a missing key.
fn hint(keys: &[String]) -> String {
    let variable = format!("{PREFIX}{}", keys.join("__").to_uppercase());
    match keys {
        // Only the file has lists of tables.
        [list, item, key] if is_item(item) => format!("add {key} to this [[{list}]]"),
        [list, item, tables @ .., key] if is_item(item) => {
            let table = tables.join(".").replace(".[", "[");
            format!("add {key} to {table} of this [[{list}]]")
        }
        [section] => format!("add the section [{section}], or set its keys as {variable}__KEY"),
        [tables @ .., key] => format!("add {key} to [{}], or set {variable}", tables.join(".")),
        [] => String::new(),
    }
}
