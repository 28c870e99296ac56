//! Command lines of goldfleet's programs in shell text, read by the programs' own parsers.

use std::collections::HashSet;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _};
use goldfleet_dispatcher::cli::arguments::Arguments;
use goldfleet_worker::arguments::Arguments as WorkerArguments;

/// How far a command line must be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strict {
    /// It could be run as it stands.
    Whole,
    /// It may leave arguments out, or have JOB, FILE or … in their place.
    Part,
}

/// The calls of goldfleet's programs in a shell's text: each as its words, the program's name first. (Not those inside
/// quotes, as in `"$(…)"`.)
pub(crate) fn calls(shell: &str) -> Vec<Vec<String>> {
    let words = shlex::split(&commands_apart(shell)).unwrap_or_else(|| panic!("an open quote in: {shell}"));
    words.split(|word| word == ";").filter_map(call).collect()
}

/// The text without comments, and with `;` as a word of its own wherever a command begins or ends, `>` wherever a file
/// follows.
fn commands_apart(shell: &str) -> String {
    let (mut apart, mut quote, mut comment) = (String::new(), None, false);
    for c in shell.replace("\\\n", " ").chars() {
        comment = c != '\n' && (comment || (c == '#' && quote.is_none() && apart.ends_with([' ', '\n'])));
        match (quote, c) {
            _ if comment => {}
            (Some(open), _) => {
                quote = (c != open).then_some(open);
                apart.push(c);
            }
            (None, '\n' | ';' | '|' | '&' | '(' | ')') => apart.push_str(" ; "),
            (None, '<' | '>') => {
                // 2> too.
                apart.truncate(apart.strip_suffix(" 2").map_or(apart.len(), str::len));
                apart.push_str(" > ");
            }
            (None, _) => {
                quote = matches!(c, '\'' | '"').then_some(c);
                apart.push(c);
            }
        }
    }
    apart
}

/// One command's words, if it calls one of the programs.
fn call(words: &[String]) -> Option<Vec<String>> {
    let is_variable = |word: &&String| word.contains('=') && !word.starts_with('-');
    let words: Vec<String> = words.iter().skip_while(is_variable).take_while(|word| *word != ">").cloned().collect();
    match words.first()?.as_str() {
        "goldfleet" | "goldfleet-worker" => Some(words),
        "cargo" if words.iter().any(|word| word == "goldfleet") => {
            let mut after = words.into_iter().skip_while(|word| word != "--");
            after.next()?;
            Some(std::iter::once("goldfleet".to_owned()).chain(after).collect())
        }
        _ => None,
    }
}

fn command_of(program: &str) -> Command {
    if program == "goldfleet" { Arguments::command() } else { WorkerArguments::command() }
}

/// What the program's parser has against a call.
pub(crate) fn fault(call: &[String], strict: Strict) -> Option<String> {
    let mut error = command_of(&call[0]).try_get_matches_from(call).err()?;
    if error.kind() == ErrorKind::ValueValidation && call.iter().any(|word| word.starts_with('$')) {
        // A shell variable stands for a value, such as a job's id.
        let value =
            |word: &String| if word.starts_with('$') { "20261121-041502-7f3a".to_owned() } else { word.clone() };
        error = command_of(&call[0]).try_get_matches_from(call.iter().map(value)).err()?;
    }
    let may_be_left_out = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::ValueValidation
    );
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let is_fine = is_help || (strict == Strict::Part && may_be_left_out);
    (!is_fine).then(|| format!("{}: {error}", call.join(" ")))
}

/// Every `--option` that either program has somewhere.
pub(crate) fn options() -> HashSet<String> {
    fn visit(command: &Command, all: &mut HashSet<String>) {
        all.extend(command.get_arguments().filter_map(|argument| Some(format!("--{}", argument.get_long()?))));
        command.get_subcommands().for_each(|command| visit(command, all));
    }
    let mut all = HashSet::new();
    for mut command in [Arguments::command(), WorkerArguments::command()] {
        command.build();
        visit(&command, &mut all);
    }
    all
}

#[test]
fn finds_calls_in_all_shell_positions() {
    let found = |shell: &str| calls(shell).into_iter().map(|call| call.join(" ")).collect::<Vec<_>>();
    assert_eq!(found("A=1 goldfleet status 2> file # how far\n"), ["goldfleet status"]);
    assert_eq!(
        found("x | goldfleet-worker && goldfleet jobs \\\n  --output json"),
        ["goldfleet-worker", "goldfleet jobs --output json"]
    );
    assert_eq!(found("cargo run --release --bin goldfleet -- demo --disk 64"), ["goldfleet demo --disk 64"]);
    assert_eq!(found("echo \"$(goldfleet jobs)\"; cat goldfleet.toml; echo 'a; goldfleet b'"), [] as [&str; 0]);
}

#[test]
fn unknown_call_is_reported() {
    let fault = |call: &str, strict| fault(&shlex::split(call).unwrap(), strict).is_some();
    assert!(fault("goldfleet status --sideways", Strict::Part));
    assert!(fault("goldfleet stat", Strict::Part));
    assert!(fault("goldfleet logs JOB", Strict::Whole));
    assert!(!fault("goldfleet logs JOB", Strict::Part));
    assert!(!fault("goldfleet upload --wait", Strict::Part));
    assert!(!fault("goldfleet status", Strict::Whole));
    assert!(!fault("goldfleet retry '$job'", Strict::Whole));
    assert!(fault("goldfleet upload '$file' --os beos", Strict::Whole));
}
