//! The command line as an operator meets it first: help, and what is said of bad usage. Kept as snapshots, so that a change
//! is seen.
#![expect(clippy::unwrap_used, clippy::format_push_string, reason = "tests")]

use clap::CommandFactory as _;
use goldfleet_dispatcher::cli::arguments::Arguments;
use goldfleet_dispatcher::cli::output::{Console, Output};
use goldfleet_dispatcher::cli::run::run;

/// The help of every command that is shown.
#[test]
fn help_is_this() {
    let mut command = Arguments::command().term_width(110);
    command.build();
    let mut text = command.render_help().to_string();
    let names: Vec<String> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let sub = command.find_subcommand_mut(&name).unwrap();
        text += &format!("\n===== {name}\n{}", sub.render_help());
    }
    insta::assert_snapshot!(text);
}

/// What a command writes to standard output and says of itself as its error, and the exit code.
fn told(folder: &std::path::Path, arguments: &[&str]) -> String {
    use clap::Parser as _;
    let config = folder.join("goldfleet.toml").display().to_string();
    let line = [&["goldfleet", "--config", &config], arguments].concat();
    let parsed = match Arguments::try_parse_from(line) {
        Ok(parsed) => parsed,
        Err(error) => return format!("$ {}\nexit {}\n{error}", arguments.join(" "), error.exit_code()),
    };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut console = Console { output: Output::Table, out: &mut out, notes: &mut notes, width: None };
    let (code, error) = match run(parsed, &mut console) {
        Ok(code) => (code, String::new()),
        Err(error) => (error.exit_code(), format!("{error}\n")),
    };
    let out = String::from_utf8(out).unwrap();
    let text = format!("$ {}\nexit {code}\n{out}{error}", arguments.join(" "));
    text.replace(&folder.display().to_string(), "FOLDER")
}

#[test]
fn bad_usage_is_answered_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let source = "[source]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"westeurope\"\n\
                  account = \"goldsource\"\ncontainer = \"golden\"\n";
    let mut all = told(folder.path(), &["status"]);
    std::fs::write(at("goldfleet.toml"), format!("{source}[worker]\nleese = \"1m\"\n")).unwrap();
    all += &told(folder.path(), &["status"]);
    std::fs::write(at("goldfleet.toml"), format!("{source}[cloud]\nbackend = \"azure\"\n")).unwrap();
    all += &told(folder.path(), &["status"]);
    std::fs::write(at("goldfleet.toml"), source).unwrap();
    let gone = at("gone.vhd").display().to_string();
    for arguments in [
        &["status"][..],
        &["status", "20261121-041502-7f3a"],
        &["cancel"],
        &["status", "No Job"],
        &["dispatch", "--image", "ubuntu", "--version", "1"],
        &["upload", &gone, "--image", "ubuntu", "--version", "1", "--os", "beos"],
        &["upload", &gone, "--image", "u/b", "--version", "1", "--os", "linux"],
        &["upload", &gone, "--image", "ubuntu", "--version", "1", "--os", "linux"],
        &["retry", "--phase", "coffee"],
        &["retry", "--target", "zone=1"],
        &["cleanup", "--image", "ubuntu"],
        &["targets", "list"],
        &["check", &gone],
    ] {
        all += &format!("\n{}", told(folder.path(), arguments));
    }
    insta::assert_snapshot!(all.replace(&folder.path().display().to_string(), "FOLDER"));
}
