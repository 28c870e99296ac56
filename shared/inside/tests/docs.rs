//! The codes in `docs/inside.md` are those of the table.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;

use goldfleet_inside::codes;

/// The last heading that is written by hand: what follows is made from the table.
const BEGIN: &str = "\n## Codes\n";
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/inside.md");

fn codes_as_markdown() -> String {
    let mut out = String::new();
    for code in codes::all() {
        writeln!(out, "### {}\n\n**{}**: {}.\n\n{}", code.code, code.severity, code.title, code.explanation).unwrap();
        if !code.remedy.is_empty() {
            writeln!(out, "\nWhat to do: {}", code.remedy).unwrap();
        }
        writeln!(out).unwrap();
    }
    out
}

/// Run with `UPDATE_DOCS=1` to write the file.
#[test]
fn every_code_is_explained_as_in_the_table() {
    let text = fs::read_to_string(PATH).unwrap();
    let (before, _) = text.split_once(BEGIN).unwrap();
    let expected = format!("{before}{BEGIN}\n{}\n", codes_as_markdown().trim_end());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PATH, &expected).unwrap();
    }
    assert!(
        text == expected,
        "docs/inside.md is out of date: run UPDATE_DOCS=1 cargo test -p goldfleet-inside --test docs"
    );
}
