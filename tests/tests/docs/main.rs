//! README and docs/ are correct: their commands are run, their calls of goldfleet are parsed by its parser, their
//! configurations are read by its configuration reader, and the targets of their links exist.
//!
//! Each block of a document must be in one of these classes:
//!
//! - `sh` and `console` blocks are run, in order, in one shell per document, in a directory with the files that
//!   [`prepared`] creates. The output in a `console` block is compared with the actual output. A block after
//!   `<!-- not run: WHY -->` is not run, but its calls of goldfleet are parsed.
//! - `toml` blocks are `goldfleet.toml`, or the file that `<!-- file: NAME -->` names, or a part of it. Keys in
//!   comments are tried too.
//! - In blocks in other languages, only calls of goldfleet are parsed.
//!
//! `docs/quick-start.md` is followed from a fresh clone by `tests/quick_start.sh`.
#![expect(clippy::unwrap_used, reason = "tests")]

mod command_lines;
mod document;
mod session;

use std::path::{Path, PathBuf};

use command_lines::{Strict, calls, fault};
use document::{Block, Document, Mark};
use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::check::check_acceptable;
use goldfleet_model::manifest::Generation;
use goldfleet_rates::Rates;
use goldfleet_tests::process_fixture::{self, SOURCE};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// The document that is followed from a fresh clone.
const QUICK_START: &str = "quick-start.md";

/// Languages whose blocks are run.
const SHELLS: [&str; 2] = ["sh", "console"];

/// Languages whose blocks may call goldfleet.
const WITH_CALLS: [&str; 5] = ["sh", "console", "yaml", "hcl", "powershell"];

/// All allowed languages of blocks.
const LANGUAGES: [&str; 10] =
    ["sh", "console", "yaml", "hcl", "powershell", "toml", "text", "json", "mermaid", "promql"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The pages for users and contributors: README.md, ARCHITECTURE.md, CONTRIBUTING.md, docs/*.md, docs/decisions/*.md.
fn documents() -> Vec<Document> {
    let files = |folder: &str| std::fs::read_dir(root().join(folder)).unwrap().map(|file| file.unwrap().path());
    let docs = files("docs").chain(files("docs/decisions"));
    let mut paths: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    paths.sort();
    assert!(paths.len() > 10, "where are the documents? {paths:?}");
    paths.iter().map(|path| Document::read(path)).collect()
}

/// A typical directory of an operator: a configuration, two targets, lists for generating more, a golden VHD (also as a
/// raw disk) that is already uploaded, and the scripts of infra/.
fn prepared() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("goldfleet.toml", SOURCE);
    let target = |n: u32, region: &str, tag: &str| {
        format!(
            "[[target]]\nsubscription = \"00000000-0000-0000-0000-{n:012}\"\nregion = \"{region}\"\nresource_group = \
             \"images\"\naccount = \"own{n}\"\ncontainer = \"vhds\"\ntags = {{ env = \"{tag}\" }}\n\n"
        )
    };
    write("targets.toml", &(target(11, "westeurope", "dev") + &target(12, "eastus", "prod")));
    write("subscriptions.txt", "00000000-0000-0000-0000-000000000002\n00000000-0000-0000-0000-000000000003\n");
    write(
        "fleet.csv",
        "subscription,region,resource_group,account,container,tags\n\
         00000000-0000-0000-0000-000000000021,uksouth,images,own21,vhds,env=prod\n",
    );
    let golden = folder.path().join("golden.vhd");
    let spec = GoldenSpec::spread(64 * MIB, Generation::V2, 6 * MIB, 6, 1);
    spec.write(&golden).unwrap();
    std::fs::copy(&golden, folder.path().join("golden.raw")).unwrap();
    let raw = std::fs::OpenOptions::new().write(true).open(folder.path().join("golden.raw")).unwrap();
    raw.set_len(spec.size).unwrap();
    std::os::unix::fs::symlink(root().join("infra"), folder.path().join("infra")).unwrap();
    let mut upload = std::process::Command::new(process_fixture::programs().join("goldfleet"));
    upload.args("upload golden.vhd --image ubuntu-24.04 --version 2026.11.1 --os linux --no-dispatch".split(' '));
    let uploaded = upload.current_dir(folder.path()).env_remove("GOLDFLEET_CONFIG").output().unwrap();
    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    folder
}

#[test]
fn document_commands_run_as_shown() {
    let path = format!("{}:{}", process_fixture::programs().display(), std::env::var("PATH").unwrap());
    let mut run = 0;
    for document in documents().iter().filter(|document| !document.path.ends_with(QUICK_START)) {
        if document.blocks.iter().any(session::is_run) {
            session::follow(&document.blocks, prepared().path(), &[("PATH", &path)]);
            run += 1;
        }
    }
    assert!(run >= 3, "only {run} documents have commands");
}

/// Runs in the directory that `GOLDFLEET_QUICK_START` names.
#[test]
#[ignore = "builds everything anew: tests/quick_start.sh calls it"]
fn quick_start_runs_from_fresh_clone() {
    let folder = PathBuf::from(std::env::var("GOLDFLEET_QUICK_START").unwrap());
    let quick_start = Document::read(&root().join("docs").join(QUICK_START));
    assert!(quick_start.blocks.iter().filter(|block| SHELLS.contains(&block.language.as_str())).all(session::is_run));
    session::follow(&quick_start.blocks, &folder, &[]);
}

#[test]
fn every_code_block_has_known_language() {
    for block in documents().iter().flat_map(|document| &document.blocks) {
        let Block { at, language, mark, .. } = block;
        assert!(LANGUAGES.contains(&language.as_str()), "{at}: language '{language}'");
        match mark {
            Some(Mark::NotRun(why)) => {
                assert!(
                    SHELLS.contains(&language.as_str()) && !why.is_empty(),
                    "{at}: what is not to be run, and why?"
                );
            }
            Some(Mark::File(_)) => assert_eq!(language, "toml", "{at}: only TOML is read as a file"),
            None => {}
        }
    }
}

#[test]
fn every_call_parses() {
    let (mut found, mut faults) = (0, Vec::new());
    let mut read = |at: &str, shell: &str, strict| {
        for call in calls(shell) {
            found += 1;
            faults.extend(fault(&call, strict).map(|fault| format!("{at}: {fault}")));
        }
    };
    for document in documents() {
        for block in document.blocks.iter().filter(|block| WITH_CALLS.contains(&block.language.as_str())) {
            read(&block.at, &session::commands(block), Strict::Whole);
        }
        for (at, span) in &document.spans {
            read(at, &span.replace('\\', " "), Strict::Part);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(found > 50, "only {found} calls");
}

#[test]
fn every_named_option_exists() {
    let options = command_lines::options();
    for document in documents() {
        for (at, span) in document.spans.iter().filter(|(_, span)| span.starts_with("--")) {
            let named = span.split([' ', '=']).next().unwrap();
            assert!(options.contains(named), "{at}: there is no option {named}");
        }
    }
}

#[test]
fn every_configuration_loads() {
    let mut read = 0;
    for block in documents().iter().flat_map(|document| &document.blocks).filter(|block| block.language == "toml") {
        let name = match &block.mark {
            Some(Mark::File(name)) => name.as_str(),
            _ => "goldfleet.toml",
        };
        for text in with_what_is_optional(&block.text) {
            take(name, &text).unwrap_or_else(|fault| panic!("{}: {fault}\n{text}", block.at));
            read += 1;
        }
    }
    assert!(read > 20, "only {read} configurations");
}

/// The unchanged text, and one variant for each line that sets a key in a comment, with that key set.
fn with_what_is_optional(text: &str) -> Vec<String> {
    let optional = regex::Regex::new(r"^# ([a-z_]+ = )").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut texts = vec![text.to_owned()];
    for n in (0..lines.len()).filter(|n| optional.is_match(lines[*n])) {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        // Replace placeholders for values that only the reader knows.
        lines[n] = optional.replace(&lines[n], "$1").replace('…', "00000000-0000-0000-0000-000000000001");
        texts.push(lines.join("\n"));
    }
    texts
}

/// Reads a file with the reader that the programs use.
fn take(name: &str, text: &str) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    // A part of a configuration omits the settings that every configuration needs.
    let whole = name != "goldfleet.toml" || text.contains("[source]");
    std::fs::write(&file, if whole { text.to_owned() } else { format!("{text}{SOURCE}") }).unwrap();
    let told = |error: &dyn std::fmt::Display| error.to_string();
    match name {
        "goldfleet.toml" => Config::load_and_check(Some(&file), std::iter::empty(), &check_acceptable)
            .map(drop)
            .map_err(|error| told(&error)),
        "targets.toml" => TargetsFile::load(&file).map(drop).map_err(|error| told(&error)),
        "rates.toml" => Rates::load(Some(&file)).map(drop).map_err(|error| told(&error)),
        _ => Err(format!("nothing reads {name}")),
    }
}

#[test]
fn every_link_resolves() {
    let documents = documents();
    for document in &documents {
        for (at, link) in document.links.iter().filter(|(_, link)| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = document.path.parent().unwrap().join(file);
            let there = if file.is_empty() { document.path.clone() } else { path.canonicalize().unwrap_or(path) };
            assert!(there.exists(), "{at}: there is no {}", there.display());
            if !anchor.is_empty() {
                let other = documents.iter().find(|other| other.path == there);
                let is_there = other.is_some_and(|other| other.anchors.contains(anchor));
                assert!(is_there, "{at}: {} has no heading #{anchor}", there.display());
            }
        }
    }
}
