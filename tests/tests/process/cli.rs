//! The command line: help, and errors for invalid usage. Snapshots make changes visible.
#![expect(clippy::unwrap_used, clippy::format_push_string, reason = "tests")]

use std::path::Path;

use clap::CommandFactory as _;
use goldfleet_dispatcher::cli::arguments::Arguments;
use goldfleet_dispatcher::cli::output::Console;
use goldfleet_dispatcher::cli::run::run;
use goldfleet_tests::process_fixture::{self, SOURCE, targets};

/// The help of every visible command.
#[test]
fn help_snapshot() {
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

/// The standard output and the error message of a command, and its exit code.
fn told(folder: &Path, arguments: &[&str]) -> String {
    told_on(None, folder, arguments)
}

/// The same on a terminal with this width, including notes.
fn told_on(width: Option<u16>, folder: &Path, arguments: &[&str]) -> String {
    use clap::Parser as _;
    let config = folder.join("goldfleet.toml").display().to_string();
    let line = [&["goldfleet", "--config", &config], arguments].concat();
    let parsed = match Arguments::try_parse_from(line) {
        Ok(parsed) => parsed,
        Err(error) => return format!("$ {}\nexit {}\n{error}", arguments.join(" "), error.exit_code()),
    };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut console = Console { width, ..Console::plain(parsed.output, &mut out, &mut notes) };
    let (code, error) = match run(parsed, &mut console) {
        Ok(code) => (code, String::new()),
        Err(error) => {
            let hint = error.hint().map_or_else(String::new, |hint| format!("hint: {hint}\n"));
            (error.exit_code(), format!("{error}\n{hint}"))
        }
    };
    let [out, notes] = [out, notes].map(|said| String::from_utf8(said).unwrap());
    let text = format!("$ {}\nexit {code}\n{out}{notes}{error}", arguments.join(" "));
    text.replace(&folder.display().to_string(), "FOLDER")
}

/// The id of the newest job.
fn newest(folder: &Path) -> String {
    let id = regex::Regex::new(r"\d{8}-\d{6}-[0-9a-f]{4}").unwrap();
    id.find(&told(folder, &["jobs", "--limit", "1"])).unwrap().as_str().to_owned()
}

#[test]
fn usage_errors_have_hints() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut all = told(folder.path(), &["status"]);
    std::fs::write(at("goldfleet.toml"), format!("{SOURCE}[worker]\nleese = \"1m\"\n")).unwrap();
    all += &told(folder.path(), &["status"]);
    std::fs::write(at("goldfleet.toml"), format!("{SOURCE}[cloud]\nbackend = \"azure\"\n")).unwrap();
    all += &told(folder.path(), &["status"]);
    std::fs::write(at("goldfleet.toml"), SOURCE).unwrap();
    let gone = at("gone.vhd").display().to_string();
    for arguments in [
        &["status"][..],
        &["status", "20261121-041502-7f3a"],
        &["status", "2026"],
        &["cancel"],
        &["cancel", ""],
        &["cleanup"],
        &["jobs"],
        &["jobs", "--state", "done"],
        &["explain", "ring-stoped"],
        &["explain", "quota-exceeded"],
        &["help", "coffee"],
        &["status", "No Job"],
        &["dispatch", "--image", "ubuntu", "--version", "1"],
        &["upload", &gone, "--image", "ubuntu", "--version", "1", "--os", "beos"],
        &["upload", &gone, "--image", "u/b", "--version", "1", "--os", "linux"],
        &["upload", &gone, "--image", "ubuntu", "--version", "1", "--os", "linux"],
        &["upload", &gone, "--image", "ubuntu", "--version", "1", "--os", "linux", "--no-dispatch"],
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

/// The hints for a coordination file that is not a database, is damaged, is from another release, or cannot exist.
#[test]
fn database_errors_have_hints() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("goldfleet.toml"), SOURCE).unwrap();
    let database = at("goldfleet.db");
    let begin = |content: &[u8]| {
        for name in ["goldfleet.db-wal", "goldfleet.db-shm"] {
            let _ = std::fs::remove_file(at(name));
        }
        std::fs::write(&database, content).unwrap();
    };
    let jobs = || format!("{}\n", told(folder.path(), &["jobs"]));
    jobs();
    let good = std::fs::read(&database).unwrap();

    begin(b"this is no database, but a note of what is to be bought: milk, bread, 24 eggs");
    let mut all = jobs();
    begin(&good[..3000]);
    all += &jobs();
    // The version of the schema, a big-endian number in the header.
    begin(&[&good[..60], &99_u32.to_be_bytes(), &good[64..]].concat());
    all += &jobs();
    std::fs::remove_file(&database).unwrap();
    std::fs::create_dir(&database).unwrap();
    all += &jobs();
    insta::assert_snapshot!(all);
}

/// A job with one failed target, as tables and sentences, and the errors for commands that are not possible on it.
#[test]
fn job_output_snapshot() {
    // The length of the directory's name affects line breaks too.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("goldfleet.toml"), SOURCE).unwrap();
    std::fs::write(at("targets.toml"), targets(2, &["westeurope", "eastus"])).unwrap();
    process_fixture::golden().write(&at("golden.vhd")).unwrap();
    // The path of the account's directory.
    std::fs::create_dir(at("cloud")).unwrap();
    std::fs::write(at("cloud/stage2eastus"), "in the way").unwrap();

    let golden = at("golden.vhd").display().to_string();
    let upload = ["upload", &golden, "--image", "ubuntu", "--version", "1", "--os", "linux", "--wait"];
    let mut all = told(folder.path(), &upload);
    for width in [60, 80, 200] {
        all += &format!("\n===== on {width} columns\n");
        for arguments in [&["status"][..], &["jobs"], &["targets", "list"]] {
            all += &told_on(Some(width), folder.path(), arguments);
        }
    }
    all += "\n===== refusals and remarks\n";
    let job = &newest(folder.path());
    for arguments in [
        &["status", "--failed"][..],
        &["cancel", job],
        &["cancel"],
        &["retry", job, "--phase", "seed"],
        &["retry", job, "--phase", "image"],
        &["retry"],
        &["logs", "--operation", "coffee"],
        &["plan", "--image", "ubuntu", "--version", "1", "--within", "1s"],
        &["setup"],
        &["doctor"],
        &["explain", "account-unusable"],
        &["retry", job],
        &["cleanup", job],
        &["cancel"],
        &["cancel", "--yes"],
        &["retry", &job[..18]],
        &["images"],
    ] {
        all += &told(folder.path(), arguments);
    }
    all += "\n===== a job that nobody has planned\n";
    let upload = ["upload", &golden, "--image", "ubuntu", "--version", "2", "--os", "linux"];
    all += &told(folder.path(), &[&upload[..], &["--no-dispatch"]].concat());
    all += &told(folder.path(), &[&upload[..], &["--target", "west*", "--ring", "0", "--note", "CHG-1"]].concat());
    let job = &newest(folder.path());
    for arguments in [
        &["status"][..],
        &["jobs"],
        &["cancel"],
        &["logs"],
        &["verify"],
        &["cancel", job],
        &["cancel", job],
        &["status"],
        &["jobs"],
        &["jobs", "--limit", "1"],
        &["jobs", "--state", "cancelled,failed"],
        &["jobs", "--image", "debian"],
        &["images"],
    ] {
        all += &told(folder.path(), arguments);
    }
    // The limit holds for JSON too, and nothing but JSON is printed.
    let listed = told(folder.path(), &["jobs", "--limit", "1", "--output", "json"]);
    let json = &listed[listed.find("\n[").expect("a list")..];
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(json).map(|jobs| jobs.len()).ok(), Some(1), "{listed}");
    // Replacements have the same length, so that the width of tables is unchanged.
    insta::with_settings!({ filters => [
        (r"\d{8}-\d{6}-[0-9a-f]{4}", "20261121-041502-7f3a"),
        (r"\d{4}-\d\d-\d\d(\s+)\d\d:\d\d:\d\dZ", "2026-11-21${1}04:15:02Z"),
        (r"\d{8}-\d{6}-[0-9a-f]{2}\b", "20261121-041502-7f"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\dZ", "2026-11-21 04:15Z"),
        (r"\S+@[\w.-]+", "alice@build7"),
        // A job that takes less than a second has no rate.
        (r"(over the WAN to \d+ regions?)(, [\d.]+ [KMG]iB/s)?, .*", "${1}, TIME"),
        (r"─+", "─"),
    ] }, { insta::assert_snapshot!(all) });
}

/// Forty commands change the targets file at the same time. Every command that reports success has added its target.
#[test]
fn targets_that_are_added_at_the_same_time_are_all_there() {
    let fixture = process_fixture::ProcessFixture::new(SOURCE, "# The fleet.\n", &process_fixture::golden());
    let subscription = |n: u32| format!("00000000-0000-0000-0000-{n:012}");
    let adding: Vec<_> = (1..=40)
        .map(|n| {
            let (subscription, account) = (subscription(n), format!("stage{n}"));
            let arguments = ["targets", "add", "--subscription", &subscription, "--region", "westeurope"];
            let more = ["--resource-group", "images", "--account", &account, "--container", "vhds"];
            fixture.start("goldfleet", &[&arguments[..], &more].concat())
        })
        .collect();
    for mut process in adding {
        assert!(process.0.wait().unwrap().success());
    }
    let listed = fixture.json(&["targets", "list"]);
    let mut found: Vec<&str> =
        listed.as_array().unwrap().iter().map(|target| target["subscription"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (1..=40).map(subscription).collect::<Vec<_>>());
    assert!(std::fs::read_to_string(fixture.path("targets.toml")).unwrap().starts_with("# The fleet.\n"));
}
