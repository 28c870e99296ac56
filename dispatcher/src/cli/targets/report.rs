//! What `goldfleet targets` says.

use std::io;

use goldfleet_config::targets::{Merged, Switched};
use goldfleet_model::target::{Target, TargetKey};
use goldfleet_model::words::counted;
use serde_json::json;

use crate::cli::output::{Console, Output, write_json};
use crate::cli::table::{Cell, write_table};
use crate::terminal::paint::Tone;

const HEADER: [&str; 7] = ["subscription", "region", "ring", "enabled", "resource group", "staging", "tags"];

/// Targets, out of `total`.
pub(super) fn list(targets: &[&Target], total: usize, console: &mut Console<'_>) -> io::Result<()> {
    if console.output == Output::Json {
        return write_json(console.out, &targets);
    }
    if total == 0 {
        return writeln!(
            console.notes,
            "there are no targets yet: 'goldfleet targets add', 'import' or 'generate' makes some"
        );
    }
    if !targets.is_empty() {
        write_table(console, &HEADER, targets.iter().map(|target| row(target)))?;
    }
    let enabled = targets.iter().filter(|target| target.enabled).count();
    writeln!(console.notes, "{} of {total}, {enabled} of them enabled", counted(targets.len(), "target"))
}

fn row(target: &Target) -> [Cell; 7] {
    let tags: Vec<String> = target.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    [
        target.subscription.to_string().into(),
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
    line(console, unchanged, "there already, with the same settings")?;
    line(console, kept, "there already, with other settings, and kept so")?;
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

fn line(console: &mut Console<'_>, keys: &[TargetKey], what: &str) -> io::Result<()> {
    if keys.is_empty() { Ok(()) } else { writeln!(console.notes, "{} {what}", counted(keys.len(), "target")) }
}
