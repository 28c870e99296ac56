//! What the operator's program draws on a terminal, and what it writes where there is none.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::process::Command;

use goldfleet_shared::model::manifest::Generation;
use goldfleet_shared::vhd::GoldenSpec;
use goldfleet_tests::place::{Place, SOURCE, targets};
use goldfleet_tests::terminal::Terminal;
use vt100::Screen;

const CONFIG: &str = r#"
[dispatch]
sweep = "100ms"
"#;

/// A place with six targets in three regions, one of which can't be written to.
fn place() -> Place {
    let golden = GoldenSpec::spread(24 << 20, Generation::V2, 1 << 20, 4, 1);
    let place = Place::new(&format!("{SOURCE}{CONFIG}"), &targets(2, &["westeurope", "eastus", "japaneast"]), &golden);
    std::fs::create_dir(place.path("cloud")).unwrap();
    std::fs::write(place.path("cloud/stage2japaneast"), "in the way").unwrap();
    place
}

/// `goldfleet` with nothing in its environment that speaks of colours, but for what is given.
fn goldfleet(place: &Place, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = place.command("goldfleet", arguments);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm-256color").envs(environment.iter().copied());
    command
}

/// What is written to a terminal, or to pipes where it has no width.
fn written(place: &Place, width: Option<u16>, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = goldfleet(place, arguments, environment);
    match width {
        Some(width) => {
            let mut terminal = Terminal::start(command, width, 50);
            terminal.end(|_| ());
            terminal.written()
        }
        None => {
            let output = command.output().unwrap();
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
        }
    }
}

/// Boards on the screen: each has one line that names the job so.
fn boards(screen: &Screen) -> Vec<String> {
    screen.rows(0, screen.size().1.get()).filter(|line| line.contains("(job ")).collect()
}

#[test]
fn watching_redraws_in_place() {
    let place = place();
    place.succeed(&place.upload(&[]));
    let mut terminal = Terminal::start(goldfleet(&place, &["status", "--watch"], &[]), 90, 20);
    let mut drawn = BTreeSet::new();
    let mut watch = |screen: &Screen| {
        assert!(boards(screen).len() <= 1, "one below the other: {}", screen.contents());
        drawn.insert(screen.contents());
    };
    terminal.until("a board", |screen| {
        watch(screen);
        boards(screen).len() == 1
    });
    let _fleet = [place.start("goldfleet", &["dispatcher"]), place.start("goldfleet-worker", &[])];
    terminal.until("a bar for each region", |screen| {
        watch(screen);
        ["seed", "copy", "image", "westeurope", "eastus", "japaneast"]
            .iter()
            .all(|name| screen.contents().contains(name))
    });
    let ended = terminal.end(&mut watch);
    assert_eq!(ended.code(), Some(1), "{}", terminal.screen().contents());
    assert!(drawn.len() > 2, "{drawn:#?}");
    // At the end there is the table and nothing of the boards, neither on the screen nor above it.
    let screen = terminal.screen().contents();
    assert!(screen.starts_with("job ") && screen.contains("account-unusable"), "{screen}");
    assert!(boards(terminal.screen()).is_empty(), "{screen}");
    assert!(terminal.written().contains("\u{1b}[38;5;2m█"), "bars are coloured");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let place = place();
    assert_eq!(place.run(&place.upload(&["--wait"])).status.code(), Some(1));
    let coloured = |width, arguments: &[&str], environment: &[(&str, &str)]| {
        written(&place, width, arguments, environment).contains("\u{1b}[38;5;")
    };
    for arguments in
        [&["status"][..], &["jobs"], &["targets", "list"], &["doctor"], &["setup"], &["check", "nothing.vhd"]]
    {
        assert!(coloured(Some(100), arguments, &[]), "{arguments:?} on a terminal");
        assert!(coloured(Some(100), arguments, &[("NO_COLOR", "")]), "{arguments:?}: set to nothing is not set");
        assert!(!coloured(Some(100), arguments, &[("NO_COLOR", "1")]), "{arguments:?}: NO_COLOR");
        assert!(!coloured(Some(100), arguments, &[("TERM", "dumb")]), "{arguments:?}: a terminal without colours");
        assert!(!coloured(None, arguments, &[]), "{arguments:?} into a pipe");
        assert!(coloured(None, arguments, &[("CLICOLOR_FORCE", "1")]), "{arguments:?}: CLICOLOR_FORCE");
    }
    assert!(!written(&place, None, &["status", "--watch"], &[]).contains('\u{1b}'), "nothing is redrawn in a pipe");
}

#[test]
fn what_is_written_fits_the_terminal() {
    let place = place();
    assert_eq!(place.run(&place.upload(&["--wait"])).status.code(), Some(1));
    for width in [60, 100, 200] {
        for arguments in [&["status", "--failed"][..], &["jobs"], &["targets", "list"]] {
            let text = written(&place, Some(width), arguments, &[("NO_COLOR", "1")]);
            let fits = text.lines().all(|line| line.chars().count() <= width.into());
            assert!(fits && text.lines().count() > 1, "{width}: {arguments:?}:\n{text}");
        }
    }
}
