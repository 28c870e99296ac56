//! What the operator's program draws on a terminal, and what it writes where there is none.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use goldfleet_tests::place::{Place, Process, SOURCE, golden, targets};
use goldfleet_tests::terminal::Terminal;
use rustix::process::Signal;
use vt100::Screen;

const CONFIG: &str = r#"
[dispatch]
sweep = "100ms"
"#;

/// How often an operation is tried where that is not left to the default.
const ATTEMPTS: usize = 4;

/// A place with six targets in three regions, one of which can't be written to.
fn place() -> Place {
    let place =
        Place::new(&format!("{SOURCE}{CONFIG}"), &targets(2, &["westeurope", "eastus", "japaneast"]), &golden());
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
    let mut terminal = Terminal::start(goldfleet(&place, &["status", "--watch"], &[]), 90, 40);
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

/// A place with six targets in three regions, at one of which every attempt fails and is made again.
fn place_that_tries_again() -> Place {
    let config = format!("{SOURCE}{CONFIG}[worker]\nretry_base = \"100ms\"\nmax_attempts = {ATTEMPTS}\n");
    let place = Place::new(&config, &targets(2, &["westeurope", "eastus", "japaneast"]), &golden());
    std::fs::create_dir_all(place.path("cloud/stage2japaneast")).unwrap();
    // A link to itself, of which nobody knows whether it will always be one.
    symlink("vhds", place.path("cloud/stage2japaneast/vhds")).unwrap();
    place
}

#[test]
fn what_is_logged_comes_whole_above_the_board() {
    // On the low terminal it goes off the top while the board is drawn.
    for (columns, rows) in [(90, 60), (90, 16), (200, 30)] {
        let place = place_that_tries_again();
        let arguments = place.upload(&["--wait"]);
        let environment = [("GOLDFLEET_LOG", "warn"), ("NO_COLOR", "1")];
        let mut terminal = Terminal::start(goldfleet(&place, &arguments, &environment), columns, rows);
        let mut below = false;
        let ended = terminal.end(|screen| {
            assert!(boards(screen).len() <= 1, "one below the other: {}", screen.contents());
            let lines: Vec<_> = screen.contents().lines().map(str::to_owned).collect();
            for line in lines.iter().filter(|line| line.contains("WARN")) {
                assert!(line.starts_with("20") && !line.contains('░'), "garbled: {}", screen.contents());
            }
            let first = |what| lines.iter().position(|line| line.contains(what));
            below |= matches!((first("WARN"), first("(job ")), (Some(logged), Some(board)) if logged < board);
        });
        assert_eq!(ended.code(), Some(1), "{}", terminal.screen().contents());
        assert!(below, "a board is drawn below what was logged");
        let all = terminal.transcript();
        let logged: Vec<_> = all.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(logged.len(), ATTEMPTS, "{all}");
        for line in logged {
            assert!(line.starts_with("20") && line.ends_with("retryable=true"), "{line}");
        }
        assert!(!all.contains("(job ") && !all.contains('░'), "nothing of a board is left: {all}");
    }
}

#[test]
fn an_interrupt_removes_the_bar_of_an_upload_and_keeps_the_board_of_a_job() {
    let place = place();
    for columns in [60, 200] {
        // Before there is a job, the upload: as slow as it can be, so that it lasts.
        let version = columns.to_string();
        let arguments = ["upload", "golden.vhd", "--image", "other", "--version", &version, "--os", "linux"];
        let upload = [&arguments[..], &["--limit", "100KiB/s"]].concat();
        let left = interrupt(goldfleet(&place, &upload, &[]), columns, "uploading");
        assert!(!left.contains("uploading") && !left.contains('░'), "{left}");
        let again = place.run(&[&arguments[..], &["--no-dispatch"]].concat());
        assert!(again.status.success(), "{again:?}");
        place.succeed(&["dispatch", "--image", "other", "--version", &version]);
        let left = interrupt(goldfleet(&place, &["status", "--watch"], &[]), columns, "(job ");
        assert_eq!(left.matches("(job ").count(), 1, "the last board stays: {left}");
    }
}

/// Interrupts a command while the terminal shows `drawn`. Returns what is left on the terminal.
fn interrupt(command: Command, columns: u16, drawn: &str) -> String {
    let mut terminal = Terminal::start(command, columns, 20);
    terminal.until(drawn, |screen| screen.contents().contains(drawn));
    terminal.echo(b"\x03");
    terminal.until("what was typed", |screen| screen.contents().contains("^C"));
    terminal.signal(Signal::INT);
    let ended = terminal.end(|screen| {
        let places = screen.rows(0, columns).filter(|line| line.contains(drawn)).count();
        assert!(places <= 1, "one below the other: {}", screen.contents());
    });
    assert_eq!(ended.code(), Some(130), "{}", terminal.screen().contents());
    terminal.transcript()
}

#[test]
fn what_is_logged_gets_into_a_pipe_as_it_is() {
    let place = place_that_tries_again();
    let output = goldfleet(&place, &place.upload(&["--wait"]), &[("GOLDFLEET_LOG", "warn")]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().filter(|line| line.contains(" WARN ")).count(), ATTEMPTS, "{error}");
    assert!(!error.contains('\u{1b}') && error.contains("seed 0/"), "lines and no board: {error}");
    let arguments = place.upload(&["--wait", "--output", "json"]);
    let output = goldfleet(&place, &arguments, &[("GOLDFLEET_LOG", "off")]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let objects: Vec<_> = error.lines().filter(|line| line.starts_with('{')).collect();
    assert!(!objects.is_empty(), "{error}");
    assert!(objects.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{error}");
}

#[test]
fn a_command_does_its_work_though_nobody_reads_what_it_says() {
    let place = place();
    let mut command = goldfleet(&place, &place.upload(&["--wait"]), &[("GOLDFLEET_LOG", "debug")]);
    let mut child = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    drop((child.0.stdout.take(), child.0.stderr.take()));
    assert_eq!(child.0.wait().unwrap().code(), Some(1), "a target failed");
    assert_eq!(place.json(&["status"])["phases"]["image"]["succeeded"], 5);
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_gets_lines() {
    let place = place();
    let text = written(&place, Some(80), &place.upload(&["--wait"]), &[("TERM", "dumb")]);
    assert!(text.contains("seed 0/") && !text.contains('░') && !text.contains('\u{1b}'), "{text}");
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
            let fits = text.lines().all(|line| line.chars().count() <= usize::from(width));
            assert!(fits && text.lines().count() > 1, "{width}: {arguments:?}:\n{text}");
        }
    }
}

/// A job is cancelled only after the operator has confirmed it, where no job is named.
#[test]
fn a_change_without_a_job_is_confirmed_on_the_terminal() {
    let place = place();
    place.succeed(&place.upload(&[]));
    let job = place.json(&["status"])["job"].as_str().unwrap().to_owned();
    for (answer, code, state) in [("\r", 130, "requested"), ("n\r", 130, "requested"), ("y\r", 0, "cancelled")] {
        let mut terminal = Terminal::start(goldfleet(&place, &["cancel"], &[]), 100, 20);
        terminal.until("a question", |screen| screen.contents().contains("(golden 1)? [y/N]"));
        terminal.echo(answer.as_bytes());
        assert_eq!(terminal.end(|_| ()).code(), Some(code), "{}", terminal.screen().contents());
        assert!(terminal.transcript().contains(&format!("cancel job {job}")), "{}", terminal.transcript());
        assert_eq!(place.json(&["status"])["detail"], state, "{answer:?}");
    }
}

#[test]
fn an_interrupt_at_a_question_changes_nothing() {
    let place = place();
    place.succeed(&place.upload(&[]));
    let mut terminal = Terminal::start(goldfleet(&place, &["cancel"], &[]), 100, 20);
    terminal.until("a question", |screen| screen.contents().contains("[y/N]"));
    terminal.signal(Signal::INT);
    assert_eq!(terminal.end(|_| ()).code(), Some(130));
    assert_eq!(place.json(&["status"])["detail"], "requested");
}
