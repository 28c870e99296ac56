//! What `goldfleet targets` says.

use std::io;

use goldfleet_shared::model::target::{Target, TargetKey};
use goldfleet_shared::targets::{Merged, Switched};
use goldfleet_shared::words::counted;
use serde_json::json;

use crate::cli::output::{Console, Output, write_json};
use crate::cli::table::{Cell, write_table};
use crate::paint::Tone;

const HEADER: [&str; 7] = ["subscription", "region", "ring", "enabled", "resource group", "staging", "tags"];

/// The column of display names, which is left out where no target has one.
const NAME: &str = "name";

/// Targets, out of `total`.
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
        let named = targets.iter().any(|target| target.name.is_some());
        let header: Vec<&str> = HEADER[..1].iter().chain(named.then_some(&NAME)).chain(&HEADER[1..]).copied().collect();
        write_table(console, &header, targets.iter().map(|target| row(target, named)))?;
    }
    let enabled = targets.iter().filter(|target| target.enabled).count();
    writeln!(console.notes, "{} of {total}, {enabled} of them enabled", counted(targets.len(), "target"))
}

fn row(target: &Target, named: bool) -> Vec<Cell> {
    let name = named.then(|| Cell::from(target.name.clone().unwrap_or_default()));
    let mut cells = vec![Cell::from(target.subscription.to_string())];
    cells.extend(name);
    cells.extend(settings(target));
    cells
}

fn settings(target: &Target) -> [Cell; 6] {
    let tags: Vec<String> = target.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    [
        target.region.to_string().into(),
        target.ring.to_string().into(),
        if target.enabled { Cell::toned(Tone::Good, "yes") } else { Cell::toned(Tone::Quiet, "no") },
        target.resource_group.to_string().into(),
        target.staging().to_string().into(),
        tags.join(" ").into(),
    ]
}

/// What a merge did.
pub(super) fn merged(merged: &Merged, console: &mut Console<'_>) -> io::Result<()> {
    let Merged { added, unchanged, replaced, kept } = merged;
    if console.output == Output::Json {
        let value = json!({ "added": added, "unchanged": unchanged, "replaced": replaced, "kept": kept });
        return write_json(console.out, &value);
    }
    writeln!(console.notes, "{} added", counted(added.len(), "target"))?;
    line(console, replaced, "replaced")?;
    line(console, unchanged, "unchanged")?;
    line(console, kept, "kept with other settings (use --replace to overwrite them)")?;
    for key in kept {
        writeln!(console.notes, "  {key}")?;
    }
    Ok(())
}

/// What enabling or disabling did.
pub(super) fn switched(switched: &Switched, enabled: bool, console: &mut Console<'_>) -> io::Result<()> {
    let Switched { changed, unchanged } = switched;
    if console.output == Output::Json {
        return write_json(console.out, &json!({ "enabled": enabled, "changed": changed, "unchanged": unchanged }));
    }
    let word = if enabled { "enabled" } else { "disabled" };
    writeln!(console.notes, "{} {word}", counted(changed.len(), "target"))?;
    line(console, unchanged, &format!("{word} already"))
}

/// What a removal did, or would do.
pub(super) fn removed(removed: &[TargetKey], dry_run: bool, console: &mut Console<'_>) -> io::Result<()> {
    if console.output == Output::Json {
        return write_json(console.out, &json!({ "removed": removed, "dry_run": dry_run }));
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    writeln!(console.notes, "{} {verb}", counted(removed.len(), "target"))?;
    for key in removed {
        writeln!(console.out, "{key}")?;
    }
    if !dry_run && !removed.is_empty() {
        writeln!(console.notes, "images and staged VHDs at these targets stay: 'goldfleet cleanup JOB' deletes staged VHDs")?;
    }
    Ok(())
}

fn line(console: &mut Console<'_>, keys: &[TargetKey], what: &str) -> io::Result<()> {
    if keys.is_empty() { Ok(()) } else { writeln!(console.notes, "{} {what}", counted(keys.len(), "target")) }
}
