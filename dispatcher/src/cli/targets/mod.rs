//! `goldfleet targets`: what is in the targets file, and changes to it.

mod arguments;
mod report;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use goldfleet_config::Config;
use goldfleet_config::targets::{
    Format, Generate, OnDuplicate, Placed, TargetsDocument, TargetsFile, TargetsFileError, import,
};
use goldfleet_model::ids::{InvalidName, SubscriptionId};
use goldfleet_model::selector::Selector;
use goldfleet_model::target::{Target, TargetKey};

pub use arguments::{AddArguments, GenerateArguments, ImportArguments, Selection, TargetsCommand};

use super::output::Console;

/// Why a command on targets failed.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    /// The targets file, or what was to go into it.
    #[error(transparent)]
    File(#[from] TargetsFileError),
    /// A target to be added is there already, and otherwise.
    #[error("the target {key} is there already, with other settings: edit it in {}", path.display())]
    Exists {
        /// The target.
        key: TargetKey,
        /// The targets file.
        path: PathBuf,
    },
    /// A file with targets or subscriptions can't be read.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds no text, or text of an older encoding.
    #[error("{} is no UTF-8 text: save it as such, in a spreadsheet as 'CSV UTF-8'", .0.display())]
    NoText(PathBuf),
    /// A file's name does not tell its format.
    #[error("{}: what format is this? Say --format csv or --format json", .0.display())]
    UnknownFormat(PathBuf),
    /// A list of subscriptions holds something else.
    #[error("{place}: {source}")]
    Subscription {
        /// The file and line, or the option.
        place: String,
        /// What is wrong.
        source: InvalidName,
    },
    /// A name that was generated is no name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The result can't be written.
    #[error("the result can't be written")]
    Output(#[from] io::Error),
}

impl TargetsError {
    /// What the program is to exit with: 2 where what was asked for, or the files it names, have to change.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_) => 1,
            _ => 2,
        }
    }
}

/// Runs a command on the targets file that the configuration names. The result goes to the console's
/// `out`, remarks for people to its `notes`.
///
/// # Errors
/// [`TargetsError`]; the targets file is then as it was.
pub fn run(command: TargetsCommand, config: &Config, console: &mut Console<'_>) -> Result<(), TargetsError> {
    let path = &config.targets.file;
    match command {
        TargetsCommand::List { selectors } => {
            let file = TargetsFile::load(path)?;
            let targets: Vec<&Target> = file.targets.iter().filter(|one| Selector::any(&selectors, one)).collect();
            Ok(report::list(&targets, file.targets.len(), console)?)
        }
        TargetsCommand::Add(arguments) => add(path, arguments, console),
        TargetsCommand::Enable(selection) => switch(path, &selection, true, console),
        TargetsCommand::Disable(selection) => switch(path, &selection, false, console),
        TargetsCommand::Import(arguments) => {
            let incoming = imported(&arguments)?;
            merge(path, incoming, arguments.on_duplicate(), console)
        }
        TargetsCommand::Generate(arguments) => {
            let generate = generate(arguments)?;
            let merged = TargetsDocument::edit(path, |document| {
                let incoming = generate.targets(&document.file())?;
                Ok::<_, TargetsError>(document.merge(incoming, OnDuplicate::Keep)?)
            })?;
            Ok(report::merged(&merged, console)?)
        }
    }
}

fn add(path: &Path, arguments: AddArguments, console: &mut Console<'_>) -> Result<(), TargetsError> {
    let incoming = vec![Placed::given("command line", arguments.into_target())];
    let merged = TargetsDocument::edit(path, |document| {
        let merged = document.merge(incoming, OnDuplicate::Keep)?;
        match merged.kept.first() {
            Some(key) => Err(TargetsError::Exists { key: key.clone(), path: path.to_owned() }),
            None => Ok(merged),
        }
    })?;
    Ok(report::merged(&merged, console)?)
}

fn switch(path: &Path, selection: &Selection, enabled: bool, console: &mut Console<'_>) -> Result<(), TargetsError> {
    // A change to a file that is not there is a mistake in the path, where additions make the file.
    TargetsFile::load(path)?;
    let switched = TargetsDocument::edit(path, |document| document.switch(&selection.selectors, enabled))?;
    Ok(report::switched(&switched, enabled, console)?)
}

fn merge(
    path: &Path,
    incoming: Vec<Placed<Target>>,
    on: OnDuplicate,
    console: &mut Console<'_>,
) -> Result<(), TargetsError> {
    let merged = TargetsDocument::edit(path, |document| document.merge(incoming, on))?;
    Ok(report::merged(&merged, console)?)
}

fn imported(arguments: &ImportArguments) -> Result<Vec<Placed<Target>>, TargetsError> {
    let file = &arguments.file;
    let format = match arguments.format {
        Some(format) => format.into(),
        None => Format::of(file).ok_or_else(|| TargetsError::UnknownFormat(file.clone()))?,
    };
    Ok(import(file, &read(file)?, format)?)
}

fn generate(arguments: GenerateArguments) -> Result<Generate, TargetsError> {
    Ok(Generate {
        subscriptions: subscriptions(&arguments.subscriptions)?,
        regions: arguments.regions,
        prefix: arguments.prefix,
        resource_group: arguments.resource_group,
        container: arguments.container,
        ring: arguments.ring,
    })
}

/// Subscriptions from a list with commas or, where there is a file of that name, from its lines; `#` begins a comment.
fn subscriptions(given: &str) -> Result<Vec<SubscriptionId>, TargetsError> {
    let file = Path::new(given);
    if !file.is_file() {
        return ids(given, "--subscriptions, which names no file that is there");
    }
    let text = read(file)?;
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default();
        all.extend(ids(content, &format!("{}:{}", file.display(), index + 1))?);
    }
    Ok(all)
}

fn ids(list: &str, place: &str) -> Result<Vec<SubscriptionId>, TargetsError> {
    list.split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .map(|id| id.parse().map_err(|source| TargetsError::Subscription { place: place.to_owned(), source }))
        .collect()
}

fn read(file: &Path) -> Result<String, TargetsError> {
    fs::read_to_string(file).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => TargetsError::NoText(file.to_owned()),
        _ => TargetsError::Unreadable { path: file.to_owned(), source },
    })
}
