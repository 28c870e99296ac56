//! Errors of targets files and of changes to them.

use std::io;
use std::path::{Path, PathBuf};

use goldfleet_diagnostics::Diagnostic;
use goldfleet_diagnostics::FieldError;
use goldfleet_diagnostics::join_lines;
use goldfleet_model::selector::Selector;

/// Why a targets file, or a change to it, was rejected.
#[derive(Debug, thiserror::Error)]
pub enum TargetsFileError {
    /// The targets file does not exist.
    #[error(
        "there is no targets file {}: make one with 'goldfleet targets add', 'import' or 'generate', \
         or set [targets] file",
        .0.display()
    )]
    NoSuchFile(PathBuf),
    /// The file cannot be read.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file cannot be written; it is unchanged.
    #[error("the targets file {} can't be written", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another program has changed the file since it was read. The file keeps that change.
    #[error("the targets file {} was changed at the same time by something else: repeat the command", .0.display())]
    Changed(PathBuf),
    /// The content is invalid.
    #[error("{}", join_lines(.0))]
    Invalid(Vec<Diagnostic>),
    /// Some selectors select no target; nothing was changed.
    #[error("{}", nothing_matches(.0))]
    NothingMatches(Vec<Selector>),
}

impl TargetsFileError {
    pub(super) fn invalid(file: &Path, faults: &[FieldError]) -> Self {
        Self::Invalid(faults.iter().map(|fault| Diagnostic::new(file, fault, hint)).collect())
    }
}

/// How the operator can set a key that a target or store lacks.
pub(super) fn hint(keys: &[String]) -> String {
    match keys {
        [table, .., key] if table == "target" || table == "store" => format!("add {key} to this [[{table}]]"),
        _ => "every target needs one".to_owned(),
    }
}

fn nothing_matches(selectors: &[Selector]) -> String {
    let line = |selector: &Selector| {
        format!("no target matches {:?}: 'goldfleet targets list' shows what there is", selector.to_string())
    };
    selectors.iter().map(line).collect::<Vec<_>>().join("\n")
}
