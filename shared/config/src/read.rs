//! Reading a configuration past its first fault, so that all of them are told at once.
//!
//! Serde stops at the first fault. What it complains of is therefore put out of the way, and the rest is read again.

use goldfleet_diagnostics::TAG;
use goldfleet_diagnostics::{FieldError, Origin};
use goldfleet_diagnostics::{Node, Value};
use serde::Deserialize as _;

use super::Config;
use super::check::check;

/// What stands in for the keys that have no default, where they are missing or can't be used.
const PLACEHOLDERS: (&str, [(&str, &str); 4]) = (
    "source",
    [
        ("subscription", "00000000-0000-0000-0000-000000000000"),
        ("region", "region"),
        ("account", "account"),
        ("container", "container"),
    ],
);

/// Reads a configuration.
///
/// # Errors
/// All faults that can be seen: first those of the file in the order of its lines, then those of variables, then those of
/// what is written nowhere. A key whose section can't be read is not looked at.
pub(super) fn read(written: &Node) -> Result<Config, Vec<FieldError>> {
    let mut faults: Vec<FieldError> = Vec::new();
    let mut rest = written.clone();
    let read = loop {
        let fault = match Config::deserialize(rest.clone()) {
            Ok(config) => break Some(config),
            Err(fault) => fault,
        };
        // What can't be put out of the way hides the rest.
        if faults.iter().any(|known| known.keys() == fault.keys()) {
            break None;
        }
        remove_faulty_key(&mut rest, &fault);
        faults.push(fault);
    };
    if let Some(config) = &read {
        faults.extend(check(config, written, &faults));
    }
    match read {
        Some(config) if faults.is_empty() => Ok(config),
        _ => {
            faults.sort_by_key(|fault| sort_key(fault.origin()));
            Err(faults)
        }
    }
}

fn remove_faulty_key(rest: &mut Node, fault: &FieldError) {
    let keys = match fault.keys() {
        // Without knowing which backend it is, no key beside it can be judged.
        [section, key] if key == TAG && !fault.is_unknown() => std::slice::from_ref(section),
        keys => keys,
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

/// What faults are sorted by.
fn sort_key(origin: Option<&Origin>) -> (u8, usize) {
    match origin {
        Some(Origin::Line(line)) => (0, *line),
        Some(Origin::Variable(_)) => (1, 0),
        None => (2, 0),
    }
}
