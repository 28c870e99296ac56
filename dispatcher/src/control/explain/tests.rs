//! Tests that the tables are complete, and that the documentation contains them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

/// The heading in `docs/failures.md` that separates the text written by hand from the generated tables below it.
const GENERATED: &str = "\n## Jobs and images\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// `docs/failures.md` contains the tables. With `GOLDFLEET_UPDATE_DOCS=1`, the test writes them into the page.
#[test]
fn the_documentation_shows_the_tables() {
    let path = root().join("docs/failures.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let by_hand = page.split_once(GENERATED).map_or(page.as_str(), |(by_hand, _)| by_hand);
    let expected = format!("{}\n{}", by_hand.trim_end(), markdown());
    if std::env::var_os("GOLDFLEET_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert_eq!(page, expected, "run this test again with GOLDFLEET_UPDATE_DOCS=1");
    }
}

#[test]
fn codes_are_in_kebab_case_and_unique_in_their_table() {
    for table in TABLES.iter() {
        let mut seen = BTreeSet::new();
        for code in table.codes.iter().flat_map(|entry| entry.codes) {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{code}");
            assert!(seen.insert(code), "{code} is in '{}' twice", table.title);
        }
        assert!(table.codes.iter().all(|entry| entry.cause.ends_with('.') && !entry.remedy.is_empty()));
    }
}

/// Every code that the sources use in an error, failure or finding has an entry.
#[test]
fn every_code_of_the_sources_is_explained() {
    let patterns = [
        r#"with_code\("([a-z0-9-]+)"\)"#,
        r#"\bcode: "([a-z0-9-]+)""#,
        r#"Finding::(?:bad|warning)\(\s*[^,]+,\s*"([a-z0-9-]+)","#,
        r#"self\.bad\(\s*"([a-z0-9-]+)","#,
        // The steps of operations.
        r#"\bfatal\(\s*"([a-z0-9-]+)""#,
        r#"\bconst [A-Z_]+: &str = "((?:temporary|source)-[a-z0-9-]+)""#,
        // The emulation of Resource Manager, and the checks of VHDs.
        r#"\brefused\(\s*ErrorKind::\w+,\s*"([a-z0-9-]+)""#,
        r#"\brefused\(\s*"([a-z0-9-]+)""#,
        // The checks and the plans of snapshots.
        r#"\b(?:refuse|failure|doubt|note)\(\s*"([a-z0-9-]+)""#,
        r#"\("([a-z0-9-]+)", Severity::"#,
        r#"Err\(\("([a-z0-9-]+)", "#,
        // The refusals and the notes of clones.
        r#"\badd\(\s*"([a-z0-9-]+)""#,
    ];
    let patterns = patterns.map(|pattern| regex::Regex::new(pattern).unwrap());
    let mut found = BTreeSet::new();
    for file in ["shared", "worker", "dispatcher"].iter().flat_map(|folder| sources(&root().join(folder))) {
        let text = std::fs::read_to_string(&file).unwrap();
        // Tests use codes that are not part of the tables.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for captures in patterns.iter().flat_map(|pattern| pattern.captures_iter(text)) {
            found.insert(captures[1].to_owned());
        }
    }
    for known in [
        "temporary-missing",
        "source-gone",
        "copy-source-busy",
        "snapshot-order",
        "upload-size-invalid",
        "vhd-in-other-region",
        "sector-4096",
        "placement-not-copied",
    ] {
        assert!(found.contains(known), "the patterns do not find {known}");
    }
    assert!(found.len() > 30, "only {found:?}");
    let missing: Vec<_> = found.iter().filter(|code| explain(code).next().is_none()).collect();
    assert!(missing.is_empty(), "not explained: {missing:?}");
}

/// The source files in a directory, without tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() && !matches!(name.as_str(), "tests" | "conformance" | "target") {
            files.extend(sources(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_mistyped_code_is_recognised() {
    assert_eq!(similar("ring-stoped"), Some("ring-stopped"));
    assert_eq!(similar("quota-exceeded"), None);
    assert_eq!(remedy("queue-not-found"), Some("Run `goldfleet setup`."));
}
