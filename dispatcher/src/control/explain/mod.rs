//! The meaning of failure codes, and what to do about them. `goldfleet explain`, `goldfleet status` and
//! `docs/failures.md` show these tables.

mod clones;
mod cloud;
mod doctor;
mod galleries;
mod jobs;
mod machine;
mod platform;
mod snapshots;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use goldfleet_disk::codes as disk;

use crate::control::suggest;

/// The meaning of one or several codes. Codes share an entry if they have the same cause and remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The codes, in kebab case.
    pub codes: &'static [&'static str],
    /// What happened.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// The codes of one area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The heading in the documentation.
    pub title: &'static str,
    /// The codes, in the order in which the documentation lists them.
    pub codes: Vec<Code>,
}

/// All tables. A crate that has codes adds one line here.
pub static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    vec![
        Table { title: "Jobs and images", codes: jobs::CODES.to_vec() },
        Table { title: "Storage accounts, permissions and the platform", codes: cloud::CODES.to_vec() },
        Table { title: "Copies and syncs of snapshots", codes: snapshots::CODES.to_vec() },
        Table { title: "Clones of machines", codes: clones::CODES.to_vec() },
        Table { title: "Dispatches by snapshots", codes: platform::CODES.to_vec() },
        Table { title: "Galleries", codes: galleries::CODES.to_vec() },
        Table { title: "Coordination and this machine", codes: machine::CODES.to_vec() },
        Table {
            title: "Sources in the cloud",
            codes: goldfleet_sources::codes::ALL.iter().copied().map(of_source).collect(),
        },
        Table {
            title: "Checks of a disk image before the upload",
            codes: disk::ALL.iter().copied().map(of_disk).collect(),
        },
        Table {
            title: "Checks of the operating system inside a disk",
            codes: goldfleet_inside::codes::all().map(of_system).collect(),
        },
        Table { title: "Findings of 'goldfleet doctor'", codes: doctor::CODES.to_vec() },
    ]
});

/// A code of the crate with the sources.
fn of_source(code: &'static goldfleet_sources::codes::Code) -> Code {
    Code { codes: std::slice::from_ref(&code.name), cause: code.cause, remedy: code.remedy }
}

/// A code of the crate that checks disk images.
fn of_disk(code: &'static disk::Code) -> Code {
    let remedy = if code.remedy.is_empty() { "Nothing needs to be done." } else { code.remedy };
    Code { codes: std::slice::from_ref(&code.name), cause: code.meaning, remedy }
}

/// A code of the crate that checks operating systems.
fn of_system(code: &'static goldfleet_inside::codes::Code) -> Code {
    let remedy = if code.remedy.is_empty() { "Nothing needs to be done." } else { code.remedy };
    Code { codes: std::slice::from_ref(&code.code), cause: code.explanation, remedy }
}

/// All entries.
pub fn all() -> impl Iterator<Item = &'static Code> {
    TABLES.iter().flat_map(|table| &table.codes)
}

/// The meanings of a code, one for each area that uses it. Empty for the codes of a service, which goldfleet passes on
/// in kebab case: `quota-exceeded` is Azure's `QuotaExceeded`.
pub fn explain(code: &str) -> impl Iterator<Item = (&'static Table, &'static Code)> {
    let entries = TABLES.iter().flat_map(|table| table.codes.iter().map(move |entry| (table, entry)));
    entries.filter(move |(_, entry)| entry.codes.contains(&code))
}

/// What to do about an operation that failed with this code. None if that is not known.
#[must_use]
pub fn remedy(code: &str) -> Option<&'static str> {
    explain(code).next().map(|(_, entry)| entry.remedy)
}

/// The known code that is most similar to an unknown one. None if no code is similar.
#[must_use]
pub fn similar(code: &str) -> Option<&'static str> {
    suggest::similar(code, all().flat_map(|entry| entry.codes).copied())
}

/// The tables as Markdown, as `docs/failures.md` contains them.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    for table in TABLES.iter() {
        text += &format!("\n## {}\n\n| code | cause | remedy |\n| --- | --- | --- |\n", table.title);
        for Code { codes, cause, remedy } in &table.codes {
            let codes: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
            text += &format!("| {} | {cause} | {remedy} |\n", codes.join(", "));
        }
    }
    text
}
