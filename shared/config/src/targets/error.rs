//! Why a targets file, or a change to it, was refused.

use std::io;
use std::path::{Path, PathBuf};

use goldfleet_diagnostics::Diagnostic;
use goldfleet_diagnostics::FieldError;
use goldfleet_diagnostics::join_lines;
use goldfleet_model::selector::Selector;

/// Why a targets file, or a change to it, was refused.
#[derive(Debug, thiserror::Error)]
pub enum TargetsFileError {
    /// There is no targets file.
    #[error(
        "there is no targets file {}: make one with 'goldfleet targets add', 'import' or 'generate', \
         or set [targets] file",
        .0.display()
    )]
    NoSuchFile(PathBuf),
    /// The file can't be read.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can't be written; it is as it was.
    #[error("the targets file {} can't be written", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else has changed the file since it was read; it is as that left it.
    #[error("the targets file {} was changed at the same time by something else: repeat the command", .0.display())]
    Changed(PathBuf),
    /// What is written can't be used.
    #[error("{}", join_lines(.0))]
    Invalid(Vec<Diagnostic>),
    /// Selectors that select no target; nothing was changed.
    #[error("{}", nothing_matches(.0))]
    NothingMatches(Vec<Selector>),
}

impl TargetsFileError {
    pub(super) fn invalid(file: &Path, faults: &[FieldError]) -> Self {
        Self::Invalid(faults.iter().map(|fault| Diagnostic::new(file, fault, hint)).collect())
    }
}

/// How to give a key that a target or store lacks.
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
