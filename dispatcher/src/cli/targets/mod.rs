//! `goldfleet targets`: the content of the targets file, and changes to it.

mod arguments;
mod names;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use goldfleet_config::Config;
use goldfleet_config::targets::{
    Format, Generate, Located, MergeResult, OnDuplicate, TargetsDocument, TargetsFile, TargetsFileError, import,
};
use goldfleet_model::ids::{InvalidName, Region, SubscriptionId};
use goldfleet_model::selector::Selector;
use goldfleet_model::sink::InvalidSinks;
use goldfleet_model::target::{Target, TargetKey};

pub use arguments::{AddArguments, GenerateArguments, ImportArguments, RemoveArguments, Selection, TargetsCommand};

use super::output::Console;
use crate::control::sample_regions::similar_region;

/// Why a command on targets failed.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    /// The targets file, or a change to it, is not valid.
    #[error(transparent)]
    File(#[from] TargetsFileError),
    /// A target to be added already exists with other settings.
    #[error("target {key} already exists with other settings: edit it in {}", path.display())]
    Exists {
        /// The target.
        key: TargetKey,
        /// The targets file.
        path: PathBuf,
    },
    /// A file with targets or subscriptions cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file contains no text, or text that is not UTF-8.
    #[error("{} is not UTF-8 text: save it as UTF-8 (in a spreadsheet: 'CSV UTF-8')", .0.display())]
    NoText(PathBuf),
    /// The format of a file cannot be derived from its name.
    #[error("unknown format of {}: use --format csv or --format json", .0.display())]
    UnknownFormat(PathBuf),
    /// A list of subscriptions contains something that is not a subscription.
    #[error("{place}: {source}")]
    Subscription {
        /// The file and line, or the option.
        place: String,
        /// What is wrong.
        source: InvalidName,
    },
    /// A region name is most likely misspelt.
    #[error("unknown region '{region}': did you mean '{similar}'? ('goldfleet targets add' accepts any region)")]
    Region {
        /// The region.
        region: Region,
        /// The known region with a similar name.
        similar: &'static str,
    },
    /// The sinks of a target are not valid.
    #[error("--sink: {0}")]
    Sinks(#[from] InvalidSinks),
    /// A generated name is not valid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[from] io::Error),
}

impl TargetsError {
    /// The exit code: 2 if the request or the files that it names must be changed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_) => 1,
            _ => 2,
        }
    }
}

/// Runs a command on the targets file that the configuration names. The result goes to the console's `out`, notes for
/// people to its `notes`.
///
/// # Errors
/// [`TargetsError`]. The targets file is then unchanged.
pub fn run(command: TargetsCommand, config: &Config, console: &mut Console<'_>) -> Result<(), TargetsError> {
    let path = &config.targets.file;
    match command {
        TargetsCommand::List { selectors } => {
            let file = TargetsFile::load(path)?;
            let targets: Vec<&Target> = file.targets.iter().filter(|one| Selector::any(&selectors, one)).collect();
            Ok(report::list(&targets, file.targets.len(), console)?)
        }
        TargetsCommand::Add(arguments) => add(path, arguments, console),
        TargetsCommand::Enable(selection) => set_enabled(path, &selection, true, console),
        TargetsCommand::Disable(selection) => set_enabled(path, &selection, false, console),
        TargetsCommand::Remove(arguments) => remove(path, &arguments, console),
        TargetsCommand::Import(arguments) => {
            let incoming = imported(&arguments)?;
            merge(path, incoming, arguments.on_duplicate(), console)
        }
        TargetsCommand::Generate(arguments) => {
            let merged = generated(config, arguments, console)?;
            Ok(report::merged(&merged, console)?)
        }
    }
}

fn add(path: &Path, arguments: AddArguments, console: &mut Console<'_>) -> Result<(), TargetsError> {
    let incoming = vec![Located::given("command line", arguments.into_target()?)];
    let merged = TargetsDocument::edit(path, |document| {
        let merged = document.merge(incoming, OnDuplicate::Keep)?;
        match merged.kept.first() {
            Some(key) => Err(TargetsError::Exists { key: key.clone(), path: path.to_owned() }),
            None => Ok(merged),
        }
    })?;
    Ok(report::merged(&merged, console)?)
}

fn set_enabled(
    path: &Path,
    selection: &Selection,
    enabled: bool,
    console: &mut Console<'_>,
) -> Result<(), TargetsError> {
    // Loading fails if the file does not exist, because then the path of a change is probably wrong. Only additions
    // create the file.
    TargetsFile::load(path)?;
    let switched = TargetsDocument::edit(path, |document| document.set_enabled(&selection.selectors, enabled))?;
    Ok(report::switched(&switched, enabled, console)?)
}

fn remove(path: &Path, arguments: &RemoveArguments, console: &mut Console<'_>) -> Result<(), TargetsError> {
    TargetsFile::load(path)?;
    let selectors = &arguments.selection.selectors;
    let removed = if arguments.dry_run {
        TargetsDocument::open(path)?.remove(selectors)?
    } else {
        TargetsDocument::edit(path, |document| document.remove(selectors))?
    };
    Ok(report::removed(&removed, arguments.dry_run, console)?)
}

fn merge(
    path: &Path,
    incoming: Vec<Located<Target>>,
    on: OnDuplicate,
    console: &mut Console<'_>,
) -> Result<(), TargetsError> {
    let merged = TargetsDocument::edit(path, |document| document.merge(incoming, on))?;
    Ok(report::merged(&merged, console)?)
}

fn imported(arguments: &ImportArguments) -> Result<Vec<Located<Target>>, TargetsError> {
    let file = &arguments.file;
    let format = match arguments.format {
        Some(format) => format.into(),
        None => Format::of(file).ok_or_else(|| TargetsError::UnknownFormat(file.clone()))?,
    };
    Ok(import(file, &read(file)?, format)?)
}

fn generated(
    config: &Config,
    arguments: GenerateArguments,
    console: &mut Console<'_>,
) -> Result<MergeResult, TargetsError> {
    if let Some((region, similar)) =
        arguments.regions.iter().find_map(|region| Some((region.clone(), similar_region(region)?)))
    {
        return Err(TargetsError::Region { region, similar });
    }
    let path = &config.targets.file;
    let existing = TargetsDocument::open(path)?.file();
    let listed = subscriptions(&arguments.subscriptions)?;
    let mut names: BTreeMap<SubscriptionId, String> =
        existing.targets.iter().filter_map(|target| Some((target.subscription, target.name.clone()?))).collect();
    names.extend(listed.iter().filter_map(|(id, name)| Some((*id, name.clone()?))));
    let unnamed: Vec<SubscriptionId> = listed.iter().map(|(id, _)| *id).filter(|id| !names.contains_key(id)).collect();
    names.extend(names::of(config, &unnamed, console)?);
    let generate = Generate {
        subscriptions: listed.into_iter().map(|(id, _)| id).collect(),
        regions: arguments.regions,
        prefix: arguments.prefix,
        resource_group: arguments.resource_group,
        container: arguments.container,
        ring: arguments.ring,
        names,
    };
    TargetsDocument::edit(path, |document| {
        let incoming = generate.targets(&document.file())?;
        Ok::<_, TargetsError>(document.merge(incoming, OnDuplicate::Keep)?)
    })
}

/// A subscription, and its display name if the list contains one.
type Listed = (SubscriptionId, Option<String>);

/// Parses subscriptions from a comma-separated list. If a file of that name exists, its lines are parsed instead: an
/// id, optionally followed by white space and a display name, as `az account list --query '[].[id,name]' --output tsv`
/// prints them. `#` starts a comment.
fn subscriptions(given: &str) -> Result<Vec<Listed>, TargetsError> {
    let file = Path::new(given);
    if !file.is_file() {
        return ids(given, "--subscriptions (there is no such file)");
    }
    let text = read(file)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default().trim();
        let place = format!("{}:{}", file.display(), index + 1);
        match content.split_once(char::is_whitespace) {
            Some((id, name)) if !content.contains(',') => {
                let mut listed = ids(id, &place)?;
                listed.iter_mut().for_each(|(_, own)| *own = Some(name.trim().to_owned()));
                all.extend(listed);
            }
            _ => all.extend(ids(content, &place)?),
        }
    }
    Ok(all)
}

fn ids(list: &str, place: &str) -> Result<Vec<Listed>, TargetsError> {
    list.split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .map(|id| match id.parse() {
            Ok(id) => Ok((id, None)),
            Err(source) => Err(TargetsError::Subscription { place: place.to_owned(), source }),
        })
        .collect()
}

fn read(file: &Path) -> Result<String, TargetsError> {
    fs::read_to_string(file).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => TargetsError::NoText(file.to_owned()),
        _ => TargetsError::Unreadable { path: file.to_owned(), source },
    })
}
