//! The table of codes in the documentation is that of the code.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;

use goldfleet_disk::{Severity, codes};

const BEGIN: &str = "<!-- codes: a test writes this table from shared/disk/src/codes.rs -->\n";
const END: &str = "<!-- end of codes -->\n";

/// `GOLDFLEET_UPDATE_DOCS=1` writes the table.
#[test]
fn documentation_lists_all_codes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let expected = expected();
    if std::env::var_os("GOLDFLEET_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(table == expected, "docs/formats.md is out of date: run this test with GOLDFLEET_UPDATE_DOCS=1");
}

fn expected() -> String {
    let mut table =
        "\n| code | severity | `--accept` | what it means | what to do |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for code in codes::ALL {
        let accept = if code.deduced && code.severity == Severity::Error { "yes" } else { "" };
        let _ =
            writeln!(table, "| `{}` | {} | {accept} | {} | {} |", code.name, code.severity, code.meaning, code.remedy);
    }
    table + "\n"
}
