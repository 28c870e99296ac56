//! Runs the commands of a document in one shell, and compares their output with the document.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use goldfleet_tests::process_fixture::clear_cargo_env;
use regex::Regex;

use crate::document::{Block, Mark};

/// The maximum time for the commands of a document, in seconds. A longer run means that something is wrong.
const TOO_LONG: &str = "3600";

/// The beginning of the line that reports how a step ended.
const ENDED: &str = "@@ended";

/// Commands that are run together.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    at: String,
    command: String,
    /// The expected output, if the document shows it.
    shown: Option<String>,
}

/// Runs the blocks in a directory, and asserts that they behave as the document says. `environment` is added to the
/// environment of this process.
pub(crate) fn follow(blocks: &[Block], folder: &Path, environment: &[(&str, &str)]) {
    let steps: Vec<Step> = blocks.iter().filter(|block| is_run(block)).flat_map(steps).collect();
    if steps.is_empty() {
        return;
    }
    let mut command = Command::new("timeout");
    command.args([TOO_LONG, "bash", "-c", &script(&steps)]).current_dir(folder).stdin(Stdio::null());
    clear_cargo_env(&mut command);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GOLDFLEET_")) {
        command.env_remove(name);
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut rest = text.as_str();
    for (n, step) in steps.iter().enumerate() {
        let Some((printed, (code, after))) = rest
            .split_once(&format!("\n{ENDED} {n} "))
            .and_then(|(printed, after)| Some((printed, after.split_once('\n')?)))
        else {
            panic!("{}: this failed:\n{}\n--- it printed:\n{rest}", step.at, step.command);
        };
        // A document that shows a failure shows the exit code too.
        let is_asked = steps.get(n + 1).is_some_and(|next| next.command == "echo $?");
        assert!(
            code == "0" || is_asked,
            "{}: exit code {code}:\n{}\n--- it printed:\n{printed}",
            step.at,
            step.command
        );
        if let Some(shown) = &step.shown {
            let (shown, printed) = (lines(shown), lines(printed));
            let same = matches(&shown, &printed);
            assert!(same, "{}: {}\n--- shown:\n{shown:#?}\n--- printed:\n{printed:#?}", step.at, step.command);
        }
        rest = after;
    }
}

/// Whether a block's commands are run.
pub(crate) fn is_run(block: &Block) -> bool {
    matches!(block.language.as_str(), "sh" | "console") && !matches!(block.mark, Some(Mark::NotRun(_)))
}

/// The commands of a block, without their output.
pub(crate) fn commands(block: &Block) -> String {
    steps(block).into_iter().map(|step| step.command + "\n").collect()
}

/// A block is one step. Each command of a `console` block is a separate step.
fn steps(block: &Block) -> Vec<Step> {
    if block.language != "console" {
        return vec![Step { at: block.at.clone(), command: block.text.clone(), shown: None }];
    }
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    for line in block.text.lines() {
        let begins = line.strip_prefix("$ ").filter(|_| !goes_on);
        goes_on = (begins.is_some() || goes_on) && line.ends_with('\\');
        match (begins, steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { at: block.at.clone(), command: command.to_owned(), shown: Some(String::new()) });
            }
            (None, Some(Step { command, .. })) if command.ends_with('\\') => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some(Step { shown: Some(shown), .. })) => {
                shown.push_str(line);
                shown.push('\n');
            }
            (None, _) => panic!("{}: a console block begins with '$ '", block.at),
        }
    }
    steps
}

/// One script for all steps, so that variables and the working directory are kept.
fn script(steps: &[Step]) -> String {
    let mut script = format!(
        "exec 2>&1\nended() {{ local code=$?; printf '\\n{ENDED} %s %s\\n' \"$1\" \"$code\"; return \"$code\"; }}\n"
    );
    for (n, step) in steps.iter().enumerate() {
        let _ = match step.shown {
            None => writeln!(script, "set -e\n{}\nset +e\nended {n}", step.command),
            Some(_) => writeln!(script, "{}\nended {n}", step.command),
        };
    }
    script
}

/// Texts that differ between runs, and their replacements.
static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\b\d{8}-\d{6}-[0-9a-f]{4}\b", "JOB"),
        (r"\d{4}-\d{2}-\d{2}[T ][\d:.]+Z", "TIME"),
        // A job that takes less than a second has no rate.
        (r", [\d.]+ ?[KMGT]?i?B/s", ""),
        (r"\b[\d.]+ ?[KMGT]?i?B/s", "RATE"),
        (r"\bunder a second\b|\b\d+ (?:d \d+ h|h \d+ min|min \d+ s)\b|\b[\d.]+ (?:s|seconds?|minutes?)\b", "DURATION"),
        (r"\b[\w.-]+@[\w.-]+", "OPERATOR"),
        (r"\b[A-Za-z][\w.-]*/\d+\b", "PROCESS"),
        ("─+", "─"),
        (r"\s+", " "),
    ]
    .map(|(pattern, mask)| (Regex::new(pattern).unwrap(), mask))
    .into()
});

/// A progress line, which a terminal would have cleared.
static PASSING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(upload: .* read, .* sent, |\d{8}-\d{6}-[0-9a-f]{4}: (seed \d+/|requested$))").unwrap()
});

/// The lines of a text, without what differs between runs.
fn lines(text: &str) -> Vec<String> {
    let lasting = text.lines().filter(|line| !line.trim().is_empty() && !PASSING.is_match(line));
    lasting
        .map(|line| {
            let mask = |line: String, (pattern, mask): &(Regex, &str)| pattern.replace_all(&line, *mask).into_owned();
            MASKS.iter().fold(line.to_owned(), mask).trim().to_owned()
        })
        .collect()
}

/// Whether the actual output matches the expected output. A line `…` matches any lines, `…` in a line any text.
fn matches(shown: &[String], printed: &[String]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((line, rest)), _) if line == "…" => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        (Some((line, shown)), Some((other, printed))) => is_like(line, other) && matches(shown, printed),
        _ => false,
    }
}

fn is_like(shown: &str, printed: &str) -> bool {
    let pattern = shown.split('…').map(regex::escape).collect::<Vec<_>>().join(".*");
    Regex::new(&format!("^{pattern}$")).unwrap().is_match(printed)
}

#[test]
fn comparison_masks_variable_output() {
    let same = |shown: &str, printed: &str| matches(&lines(shown), &lines(printed));
    assert!(same("job 20261121-041502-7f3a took 3 s\n", "job 20261122-000000-0000  took 0.2 s"));
    assert!(same("one\n…\nfour …\n", "one\ntwo\nthree\nfour five\n"));
    assert!(same("…\n", ""));
    assert!(!same("1 failed\n", "2 failed\n"));
    assert!(!same("one\n", "one\ntwo\n"));
    assert!(!same("one\n…\ntwo\n", "one\n"));
}

#[test]
fn console_block_splits_into_commands() {
    let text = "$ one \\\n    --more\nsaid\nand said\n$ two\n".to_owned();
    let block = Block { at: "a:1".into(), language: "console".into(), mark: None, text };
    let step =
        |command: &str, shown: &str| Step { at: "a:1".into(), command: command.into(), shown: Some(shown.into()) };
    assert_eq!(steps(&block), [step("one \\\n    --more", "said\nand said\n"), step("two", "")]);
}
