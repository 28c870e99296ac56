//! The output of `goldfleet targets`.

use std::io;

use goldfleet_config::targets::{MergeResult, ToggleResult};
use goldfleet_model::target::{Target, TargetKey};
use goldfleet_model::text::pluralize;
use serde_json::json;

use crate::cli::output::{Console, Output, write_json};
use crate::cli::table::{Cell, write_table};
use crate::terminal::color::Tone;

/// The columns of a list. A column in which all targets have the same value is printed as one line above the table.
const COLUMNS: [&str; 9] =
    ["subscription", "name", "region", "ring", "enabled", "resource group", "staging", "tags", "sinks"];

/// The column of the display names of subscriptions.
const NAME: usize = 1;

/// The columns that are always shown.
const SHOWN: [&str; 3] = ["subscription", "region", "staging"];

/// Lists targets, out of `total`.
pub(super) fn list(targets: &[&Target], total: usize, console: &mut Console<'_>) -> io::Result<()> {
    if console.output == Output::Json {
        return write_json(console.out, &targets);
    }
    if total == 0 {
        return writeln!(
            console.notes,
            "there are no targets yet: add some with 'goldfleet targets add', 'import' or 'generate'"
        );
    }
    if !targets.is_empty() {
        write_list(targets, console)?;
    }
    let enabled = targets.iter().filter(|target| target.enabled).count();
    writeln!(console.notes, "{} of {total}, {enabled} of them enabled", pluralize(targets.len(), "target"))
}

fn write_list(targets: &[&Target], console: &mut Console<'_>) -> io::Result<()> {
    let mut rows: Vec<[String; 9]> = targets.iter().map(|target| texts(target)).collect();
    if targets.iter().all(|target| target.sinks.is_default()) {
        rows.iter_mut().for_each(|[.., sinks]| sinks.clear());
    }
    let differs = |column: usize| rows.iter().any(|row| row[column] != rows[0][column]);
    let is_shown = |column: &usize| rows.len() == 1 || SHOWN.contains(&COLUMNS[*column]) || differs(*column);
    let (shown, alike): (Vec<usize>, Vec<usize>) = (0..COLUMNS.len()).partition(is_shown);
    let filled =
        |columns: Vec<usize>| columns.into_iter().filter(|&column| rows.iter().any(|row| !row[column].is_empty()));
    let alike: Vec<String> = filled(alike)
        .map(|column| match (COLUMNS[column], rows[0][column].as_str()) {
            ("enabled", "yes") => format!("enabled {}", console.word(Tone::Success, "yes")),
            (name, text) => format!("{name} {text}"),
        })
        .collect();
    if !alike.is_empty() {
        writeln!(console.out, "all targets: {}", alike.join(", "))?;
    }
    let mut shown: Vec<usize> = filled(shown).collect();
    // People recognise the name. The sort is stable.
    if rows.iter().all(|row| !row[NAME].is_empty()) {
        shown.sort_by_key(|column| *column != NAME);
    }
    let header: Vec<&str> = shown.iter().map(|&column| COLUMNS[column]).collect();
    let cell = |row: &[String; 9], column: usize| match (COLUMNS[column], row[column].as_str()) {
        ("enabled", "yes") => Cell::toned(Tone::Success, "yes"),
        ("enabled", other) => Cell::toned(Tone::Muted, other),
        (_, text) => text.to_owned().into(),
    };
    write_table(
        console,
        &header,
        rows.iter().map(|row| shown.iter().map(|&column| cell(row, column)).collect::<Vec<_>>()),
    )
}

/// The texts of a target's row, in the order of [`COLUMNS`].
fn texts(target: &Target) -> [String; 9] {
    let tags: Vec<String> = target.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    [
        target.subscription.to_string(),
        target.name.clone().unwrap_or_default(),
        target.region.to_string(),
        target.ring.to_string(),
        if target.enabled { "yes".to_owned() } else { "no".to_owned() },
        target.resource_group.to_string(),
        target.staging().to_string(),
        tags.join(" "),
        target.sinks.to_string(),
    ]
}

/// Reports a merge.
pub(super) fn merged(merged: &MergeResult, console: &mut Console<'_>) -> io::Result<()> {
    let MergeResult { added, unchanged, replaced, kept } = merged;
    if console.output == Output::Json {
        let value = json!({ "added": added, "unchanged": unchanged, "replaced": replaced, "kept": kept });
        return write_json(console.out, &value);
    }
    writeln!(console.notes, "{} added", pluralize(added.len(), "target"))?;
    line(console, replaced, "replaced")?;
    line(console, unchanged, "unchanged")?;
    line(console, kept, "kept with other settings (use --replace to overwrite them)")?;
    for key in kept {
        writeln!(console.notes, "  {key}")?;
    }
    Ok(())
}

/// Reports that targets were enabled or disabled.
pub(super) fn switched(switched: &ToggleResult, enabled: bool, console: &mut Console<'_>) -> io::Result<()> {
    let ToggleResult { changed, unchanged } = switched;
    if console.output == Output::Json {
        return write_json(console.out, &json!({ "enabled": enabled, "changed": changed, "unchanged": unchanged }));
    }
    let word = if enabled { "enabled" } else { "disabled" };
    writeln!(console.notes, "{} {word}", pluralize(changed.len(), "target"))?;
    line(console, unchanged, &format!("{word} already"))
}

/// Reports a removal, or a dry run of one.
pub(super) fn removed(removed: &[TargetKey], dry_run: bool, console: &mut Console<'_>) -> io::Result<()> {
    if console.output == Output::Json {
        return write_json(console.out, &json!({ "removed": removed, "dry_run": dry_run }));
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    writeln!(console.notes, "{} {verb}", pluralize(removed.len(), "target"))?;
    for key in removed {
        writeln!(console.out, "{key}")?;
    }
    if !dry_run && !removed.is_empty() {
        writeln!(
            console.notes,
            "images and staged VHDs at these targets stay: 'goldfleet cleanup JOB' deletes staged VHDs"
        )?;
    }
    Ok(())
}

fn line(console: &mut Console<'_>, keys: &[TargetKey], what: &str) -> io::Result<()> {
    if keys.is_empty() { Ok(()) } else { writeln!(console.notes, "{} {what}", pluralize(keys.len(), "target")) }
}
