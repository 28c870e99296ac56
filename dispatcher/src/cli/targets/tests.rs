//! The commands as operators type them, and their output.

use std::fs;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::cli::output::Output;
use goldfleet_config::Config;

#[derive(Debug, Parser)]
#[command(name = "goldfleet targets")]
struct Program {
    #[command(subcommand)]
    command: TargetsCommand,
}

/// A directory with a configuration, in which commands are run.
struct Fleet {
    folder: TempDir,
    config: Config,
}

impl Fleet {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("goldfleet.toml");
        let source = "[source]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"westeurope\"\n\
                      account = \"goldsource\"\ncontainer = \"golden\"\n";
        fs::write(&path, source).unwrap();
        let config = Config::load(Some(&path), std::iter::empty()).unwrap();
        Self { folder, config }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The complete output of a command: its result, its notes after `!`, and its error with the exit code.
    fn run(&self, output: Output, arguments: &[&str]) -> String {
        let program = match Program::try_parse_from(["targets"].iter().chain(arguments)) {
            Ok(program) => program,
            Err(error) => return format!("(usage) {error}"),
        };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console::plain(output, &mut out, &mut notes);
        let result = run(program.command, &self.config, &mut console);
        let mut said = String::from_utf8(out).unwrap();
        for line in String::from_utf8(notes).unwrap().lines() {
            said.push_str(&format!("! {line}\n"));
        }
        if let Err(error) = result {
            said.push_str(&format!("({}) {error}\n", error.exit_code()));
        }
        said.replace(&format!("{}/", self.folder.path().display()), "")
    }

    fn say(&self, line: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        format!("$ {line}\n{}", self.run(Output::Table, &arguments))
    }

    fn targets(&self) -> String {
        fs::read_to_string(self.folder.path().join("targets.toml")).unwrap_or_default()
    }
}

const ADD: &str = "add --subscription 00000000-0000-0000-0000-000000000001 --region westeurope \
                   --resource-group images --account stage0001 --container vhds";

#[test]
fn targets_commands_session() {
    let fleet = Fleet::new();
    let said: Vec<String> = [
        "list".to_owned(),
        "enable --all".to_owned(),
        format!("{ADD} --tag env=prod --tag team=x"),
        format!("{ADD} --tag env=prod --tag team=x"),
        format!("{ADD} --ring 3"),
        "generate --subscriptions 00000000-0000-0000-0000-000000000002 --regions eastus,westus --prefix stage --ring 1"
            .to_owned(),
        "list".to_owned(),
        "disable *us ring=0".to_owned(),
        "disable ring=1".to_owned(),
        "enable eastus".to_owned(),
        "enable eastus mars ring=9".to_owned(),
        "list ring=1".to_owned(),
        "list mars".to_owned(),
    ]
    .iter()
    .map(|line| fleet.say(line))
    .collect();
    insta::assert_snapshot!(said.join("\n"));
    insta::assert_snapshot!(fleet.targets());
}

#[test]
fn invalid_usage_is_rejected() {
    let fleet = Fleet::new();
    let said: Vec<String> = [
        "enable",
        "enable --all ring=0",
        "disable zone=1",
        "add --region West",
        "generate --subscriptions 1 --regions eastus --prefix Stage",
    ]
    .iter()
    .map(|line| fleet.say(line))
    .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn imports_are_atomic() {
    let fleet = Fleet::new();
    let header = "subscription,region,resource_group,account,container,ring\n";
    let one = "00000000-0000-0000-0000-000000000001,westeurope,images,stage1,vhds,0\n";
    let two = "00000000-0000-0000-0000-000000000002,westeurope,images,stage2,vhds,0\n";
    let bad = fleet.write("bad.csv", &format!("{header}{one}x,westeurope,images,stage2,vhds,0\n{one}"));
    let twice = fleet.write("twice.csv", &format!("{header}{one}{two}{one}"));
    let good = fleet.write("good.csv", &format!("{header}{one}{two}"));
    let other = fleet.write("other.txt", &format!("{header}{}", one.replace(",0\n", ",7\n")));
    let mut said = fleet.say(&format!("import {bad}")) + &fleet.say(&format!("import {twice}"));
    assert_eq!(fleet.targets(), "");
    for line in [
        format!("import {good}"),
        format!("import {other}"),
        format!("import {other} --format csv"),
        format!("import {other} --format csv --replace"),
        "import nowhere.csv".to_owned(),
    ] {
        said += &fleet.say(&line);
    }
    insta::assert_snapshot!(said.replace(&format!("{}/", fleet.folder.path().display()), ""));
    assert!(fleet.targets().contains("ring = 7"));
}

/// Separators other than commas (some spreadsheets write semicolons or tabs), an empty file, and text that is not
/// UTF-8.
#[test]
fn csv_with_wrong_separator_gives_one_error() {
    let fleet = Fleet::new();
    let header = "subscription;region;resource_group;account;container\n";
    let mut said = String::new();
    for (name, content) in [("semicolons.csv", header), ("tabs.csv", &header.replace(';', "\t")), ("empty.csv", "\n")] {
        said += &fleet.say(&format!("import {}", fleet.write(name, content)));
    }
    let latin = fleet.write("latin.csv", "");
    std::fs::write(&latin, b"subscription,region\n\xe9,westeurope\n").unwrap();
    said += &fleet.say(&format!("import {latin}"));
    insta::assert_snapshot!(said.replace(&format!("{}/", fleet.folder.path().display()), ""));
}

#[test]
fn subscription_file_is_read_by_line() {
    let fleet = Fleet::new();
    let good = fleet.write(
        "subscriptions.txt",
        "# ours\n00000000-0000-0000-0000-000000000001\n\n00000000-0000-0000-0000-000000000002 # mine\n",
    );
    let said =
        fleet.run(Output::Json, &["generate", "--subscriptions", &good, "--regions", "eastus", "--prefix", "st"]);
    insta::assert_snapshot!(said);
    let bad = fleet.write("bad.txt", "00000000-0000-0000-0000-000000000001\nmine\n");
    let said = fleet.run(Output::Json, &["generate", "--subscriptions", &bad, "--regions", "eastus", "--prefix", "st"]);
    insta::assert_snapshot!(said, @"(2) bad.txt:2: subscription \"mine\" is not valid: use the subscription's id, a UUID such as 00000000-0000-0000-0000-000000000001");
}

#[test]
fn json_results_are_structured() {
    let fleet = Fleet::new();
    fleet.run(Output::Table, &ADD.split_whitespace().collect::<Vec<_>>());
    let said = [fleet.run(Output::Json, &["disable", "--all"]), fleet.run(Output::Json, &["list"])].concat();
    insta::assert_snapshot!(said);
    let again = fleet.write("again.json", &fleet.run(Output::Json, &["list"]));
    let said = fleet.run(Output::Table, &["import", &again]);
    assert!(said.contains("unchanged"), "{said}");
}
