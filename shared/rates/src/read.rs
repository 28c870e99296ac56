//! Reads rates: the built-in ones, overlaid by a file of the operator.

use std::io;
use std::path::{Path, PathBuf};

use goldfleet_diagnostics::{Diagnostic, FieldError, Node, Value, join_lines, read_text};
use serde::Deserialize as _;

use super::Rates;
use super::check::check;

/// The built-in rates.
const BUILT_IN: &str = include_str!("rates.toml");

/// The name of the built-in rates in errors.
const BUILT_IN_NAME: &str = "built-in rates.toml";

/// The keys that each section of an operator's file must contain.
const PROVENANCE_KEYS: [&str; 2] = ["date", "source"];

/// Why rates were rejected.
#[derive(Debug, thiserror::Error)]
pub enum RatesError {
    /// The file does not exist.
    #[error("there is no rates file {}: check what [plan] rates or --rates says", .0.display())]
    NoSuchFile(PathBuf),
    /// The file cannot be read.
    #[error("the rates file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The content is invalid.
    #[error("{}", join_lines(.0))]
    Invalid(Vec<Diagnostic>),
}

impl RatesError {
    fn invalid(file: &Path, faults: &[FieldError]) -> Self {
        let remedy = |keys: &[String]| match keys {
            [tables @ .., key] if !tables.is_empty() => {
                format!("add {key} to [{}]", tables.join(".").replace(".[", "["))
            }
            _ => "add it".to_owned(),
        };
        Self::Invalid(faults.iter().map(|fault| Diagnostic::new(file, fault, remedy)).collect())
    }
}

/// The largest size of a file of rates in bytes.
const MAX_FILE: u64 = 1 << 20;

impl Rates {
    /// Reads the built-in rates, overlaid by the file at `path`.
    ///
    /// # Errors
    /// [`RatesError`], with all errors of the file.
    pub fn load(path: Option<&Path>) -> Result<Self, RatesError> {
        let Some(path) = path else { return Self::built_in() };
        match read_text(path, MAX_FILE) {
            Ok(text) => Self::over_built_in(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(RatesError::NoSuchFile(path.to_owned())),
            Err(source) => Err(RatesError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Reads the built-in rates.
    ///
    /// # Errors
    /// None, because a test reads them. The function returns an error so that it cannot panic.
    pub fn built_in() -> Result<Self, RatesError> {
        let file = Path::new(BUILT_IN_NAME);
        let node = Node::from_toml(BUILT_IN).map_err(|fault| RatesError::invalid(file, &[fault]))?;
        Self::read(file, node)
    }

    /// Reads the built-in rates, overlaid by `text`. Errors name `file`.
    ///
    /// # Errors
    /// [`RatesError::Invalid`], with all errors of the text.
    pub fn over_built_in(file: &Path, text: &str) -> Result<Self, RatesError> {
        let refuse = |faults: &[FieldError]| RatesError::invalid(file, faults);
        let over = Node::from_toml(text).map_err(|fault| refuse(&[fault]))?;
        let unmarked = without_provenance(&over);
        if !unmarked.is_empty() {
            return Err(refuse(&unmarked));
        }
        let mut node = Node::from_toml(BUILT_IN).map_err(|fault| refuse(&[fault]))?;
        // Errors must not report a line of the built-in file as a line of the operator's file.
        strip_origins(&mut node);
        merge_over(&mut node, over);
        Self::read(file, node)
    }

    fn read(file: &Path, node: Node) -> Result<Self, RatesError> {
        let rates = Self::deserialize(node.clone()).map_err(|fault| RatesError::invalid(file, &[fault]))?;
        let faults = check(&rates, &node);
        if faults.is_empty() { Ok(rates) } else { Err(RatesError::invalid(file, &faults)) }
    }
}

/// An error for each section of an operator's file that lacks the date or the source of its figures.
fn without_provenance(over: &Node) -> Vec<FieldError> {
    let Value::Table(sections) = &over.value else { return Vec::new() };
    let mut faults = Vec::new();
    for (section, node) in sections {
        let Value::Table(keys) = &node.value else { continue };
        for mark in PROVENANCE_KEYS {
            if !keys.contains_key(mark) {
                let message = "missing: say from when and from whom this section's figures are";
                faults.push(
                    FieldError::new(message)
                        .with_origin(node.origin.as_ref())
                        .with_parent_key(mark)
                        .with_parent_key(section),
                );
            }
        }
    }
    faults
}

fn strip_origins(node: &mut Node) {
    node.origin = None;
    match &mut node.value {
        Value::Table(entries) => entries.values_mut().for_each(strip_origins),
        Value::Array(items) => items.iter_mut().for_each(strip_origins),
        _ => {}
    }
}

fn merge_over(node: &mut Node, over: Node) {
    let origin = over.origin;
    match (&mut node.value, over.value) {
        (Value::Table(entries), Value::Table(over)) => {
            for (key, value) in over {
                match entries.get_mut(&key) {
                    Some(entry) => merge_over(entry, value),
                    None => drop(entries.insert(key, value)),
                }
            }
        }
        (value, over) => *value = over,
    }
    node.origin = origin;
}
