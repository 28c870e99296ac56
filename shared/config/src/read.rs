//! Reads a configuration beyond its first error, so that all errors are reported together.
//!
//! Serde stops at the first error. So the faulty key is removed or replaced by a placeholder, and the rest is read
//! again.

use goldfleet_diagnostics::TAG;
use goldfleet_diagnostics::{FieldError, Origin};
use goldfleet_diagnostics::{Node, Value};
use serde::Deserialize as _;

use super::Config;
use super::accept::CodeCheck;
use super::check::check;

/// The placeholders for keys without a default that are missing or invalid.
const PLACEHOLDERS: (&str, [(&str, &str); 4]) = (
    "source",
    [
        ("subscription", "00000000-0000-0000-0000-000000000000"),
        ("region", "region"),
        ("account", "account"),
        ("container", "container"),
    ],
);

/// The key of the list of syncs.
pub(super) const SYNC: &str = "sync";

/// Reads a configuration.
///
/// # Errors
/// All errors that can be found: first those of the file in the order of its lines, then those of variables, then those
/// of missing keys. The keys of a section that cannot be read are not checked.
pub(super) fn read(written: &Node, check_code: CodeCheck<'_>) -> Result<Config, Vec<FieldError>> {
    let mut faults: Vec<FieldError> = Vec::new();
    let mut rest = written.clone();
    let read = loop {
        let fault = match Config::deserialize(rest.clone()) {
            Ok(config) => break Some(config),
            Err(fault) => fault,
        };
        // The faulty key could not be removed, so the rest cannot be read.
        if faults.iter().any(|known| known.keys() == fault.keys()) {
            break None;
        }
        remove_faulty_key(&mut rest, &fault);
        faults.push(explain_removed_key(fault));
    };
    if let Some(config) = &read {
        faults.extend(check(config, written, &faults));
        faults.extend(config.upload.accept.check(written, check_code));
    }
    match read {
        Some(config) if faults.is_empty() => Ok(config),
        _ => {
            faults.sort_by_key(|fault| sort_key(fault.origin()));
            Err(faults)
        }
    }
}

/// The keys that earlier releases had, and what replaces them.
const REMOVED: [(&str, &str, &str); 1] = [(
    "dispatch",
    "patience",
    "this key was removed, because lost messages and dead processes are detected without a waiting time: delete it",
)];

/// Replaces the message about an unknown key by a hint if an earlier release had the key.
fn explain_removed_key(fault: FieldError) -> FieldError {
    let hint = REMOVED.iter().find(|(section, key, _)| fault.keys().iter().eq([section, key]));
    match hint {
        Some((section, key, hint)) if fault.is_unknown() => {
            FieldError::new(*hint).with_origin(fault.origin()).with_parent_key(key).with_parent_key(section)
        }
        _ => fault,
    }
}

fn remove_faulty_key(rest: &mut Node, fault: &FieldError) {
    let is_item = |key: &String| key.starts_with('[');
    let keys = match fault.keys() {
        // The backend determines the valid keys of the section. If it is invalid, none of them can be checked.
        [section, key] if key == TAG && !fault.is_unknown() => std::slice::from_ref(section),
        // An item cannot be removed from its list, so the list is removed. The items of a sync are tables, whose keys
        // can.
        [list @ .., item] if list.first().is_some_and(|first| first == SYNC) && is_item(item) => list,
        keys if keys.first().is_some_and(|first| first == SYNC) => keys,
        keys => keys.iter().position(is_item).map_or(keys, |item| &keys[..item]),
    };
    match insert_placeholder(keys) {
        Some(stand_in) => rest.set(keys, stand_in),
        None => rest.remove(keys),
    }
}

fn insert_placeholder(keys: &[String]) -> Option<Node> {
    let (section, required) = PLACEHOLDERS;
    let node = |value| Node { origin: None, value };
    let text = |text: &str| node(Value::Text(text.to_owned()));
    match keys {
        [list, _, keys @ ..] if list == SYNC => sync_placeholder(keys),
        [only] if only == section => {
            let entries = required.iter().map(|(key, value)| ((*key).to_owned(), text(value)));
            Some(node(Value::Table(entries.collect())))
        }
        [first, key] if first == section => {
            required.iter().find(|(required, _)| required == key).map(|(_, value)| text(value))
        }
        _ => None,
    }
}

/// The placeholder for a key of a sync that has no default.
fn sync_placeholder(keys: &[String]) -> Option<Node> {
    let node = |value| Node { origin: None, value };
    let text = |text: &str| node(Value::Text(text.to_owned()));
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    match keys[..] {
        ["name"] => Some(text("")),
        ["from"] => {
            let group = [("subscription", text(PLACEHOLDERS.1[0].1)), ("resource_group", text("group"))];
            Some(node(Value::Table(group.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())))
        }
        ["to"] => Some(node(Value::Array(Vec::new()))),
        ["from" | "scratch", key] | ["to", _, key] => match key {
            "subscription" => Some(text(PLACEHOLDERS.1[0].1)),
            "region" => Some(text("region")),
            "resource_group" => Some(text("group")),
            _ => None,
        },
        _ => None,
    }
}

/// The sort key of an error.
fn sort_key(origin: Option<&Origin>) -> (u8, usize) {
    match origin {
        Some(Origin::Line(line)) => (0, *line),
        Some(Origin::Variable(_)) => (1, 0),
        None => (2, 0),
    }
}
