//! What the operator's program draws on a terminal, and what it writes where there is none.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use goldfleet_tests::process_fixture::{Process, ProcessFixture, SOURCE, golden, targets};
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
fn fixture() -> ProcessFixture {
    let fixture = ProcessFixture::new(
        &format!("{SOURCE}{CONFIG}"),
        &targets(2, &["westeurope", "eastus", "japaneast"]),
        &golden(),
    );
    std::fs::create_dir(fixture.path("cloud")).unwrap();
    std::fs::write(fixture.path("cloud/stage2japaneast"), "in the way").unwrap();
    fixture
}

/// `goldfleet` with nothing in its environment that speaks of colours, but for what is given.
fn goldfleet(fixture: &ProcessFixture, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = fixture.command("goldfleet", arguments);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm-256color").envs(environment.iter().copied());
    command
}

/// What is written to a terminal, or to pipes where it has no width.
fn written(fixture: &ProcessFixture, width: Option<u16>, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = goldfleet(fixture, arguments, environment);
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
fn watch_redraws_in_place() {
    let fixture = fixture();
    fixture.succeed(&fixture.upload(&[]));
    let mut terminal = Terminal::start(goldfleet(&fixture, &["status", "--watch"], &[]), 90, 40);
    let mut drawn = BTreeSet::new();
    let mut watch = |screen: &Screen| {
        assert!(boards(screen).len() <= 1, "one below the other: {}", screen.contents());
        drawn.insert(screen.contents());
    };
    terminal.wait_for_screen("a board", |screen| {
        watch(screen);
        boards(screen).len() == 1
    });
    let _fleet = [fixture.start("goldfleet", &["dispatcher"]), fixture.start("goldfleet-worker", &[])];
    terminal.wait_for_screen("a bar for each region", |screen| {
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
fn place_that_tries_again() -> ProcessFixture {
    let config = format!("{SOURCE}{CONFIG}[worker]\nretry_base = \"100ms\"\nmax_attempts = {ATTEMPTS}\n");
    let fixture = ProcessFixture::new(&config, &targets(2, &["westeurope", "eastus", "japaneast"]), &golden());
    std::fs::create_dir_all(fixture.path("cloud/stage2japaneast")).unwrap();
    // A link to itself, of which nobody knows whether it will always be one.
    symlink("vhds", fixture.path("cloud/stage2japaneast/vhds")).unwrap();
    fixture
}

#[test]
fn log_lines_are_written_whole_above_progress() {
    // On the low terminal it goes off the top while the board is drawn.
    for (columns, rows) in [(90, 60), (90, 16), (200, 30)] {
        let fixture = place_that_tries_again();
        let arguments = fixture.upload(&["--wait"]);
        let environment = [("GOLDFLEET_LOG", "warn"), ("NO_COLOR", "1")];
        let mut terminal = Terminal::start(goldfleet(&fixture, &arguments, &environment), columns, rows);
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
    let fixture = fixture();
    for columns in [60, 200] {
        // Before there is a job, the upload: as slow as it can be, so that it lasts.
        let version = columns.to_string();
        let arguments = ["upload", "golden.vhd", "--image", "other", "--version", &version, "--os", "linux"];
        let upload = [&arguments[..], &["--limit", "100KiB/s"]].concat();
        let left = interrupt(goldfleet(&fixture, &upload, &[]), columns, "uploading");
        assert!(!left.contains("uploading") && !left.contains('░'), "{left}");
        let again = fixture.run(&[&arguments[..], &["--no-dispatch"]].concat());
        assert!(again.status.success(), "{again:?}");
        fixture.succeed(&["dispatch", "--image", "other", "--version", &version]);
        let left = interrupt(goldfleet(&fixture, &["status", "--watch"], &[]), columns, "(job ");
        assert_eq!(left.matches("(job ").count(), 1, "the last board stays: {left}");
    }
}

/// Interrupts a command while the terminal shows `drawn`. Returns what is left on the terminal.
fn interrupt(command: Command, columns: u16, drawn: &str) -> String {
    let mut terminal = Terminal::start(command, columns, 20);
    terminal.wait_for_screen(drawn, |screen| screen.contents().contains(drawn));
    terminal.echo(b"\x03");
    terminal.wait_for_screen("what was typed", |screen| screen.contents().contains("^C"));
    terminal.signal(Signal::INT);
    let ended = terminal.end(|screen| {
        let places = screen.rows(0, columns).filter(|line| line.contains(drawn)).count();
        assert!(places <= 1, "one below the other: {}", screen.contents());
    });
    assert_eq!(ended.code(), Some(130), "{}", terminal.screen().contents());
    terminal.transcript()
}

#[test]
fn log_lines_reach_pipe_unchanged() {
    let fixture = place_that_tries_again();
    let output = goldfleet(&fixture, &fixture.upload(&["--wait"]), &[("GOLDFLEET_LOG", "warn")]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().filter(|line| line.contains(" WARN ")).count(), ATTEMPTS, "{error}");
    assert!(!error.contains('\u{1b}') && error.contains("seed 0/"), "lines and no board: {error}");
    let arguments = fixture.upload(&["--wait", "--output", "json"]);
    let output = goldfleet(&fixture, &arguments, &[("GOLDFLEET_LOG", "off")]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let objects: Vec<_> = error.lines().filter(|line| line.starts_with('{')).collect();
    assert!(!objects.is_empty(), "{error}");
    assert!(objects.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{error}");
}

#[test]
fn closed_pipe_does_not_stop_command() {
    let fixture = fixture();
    let mut command = goldfleet(&fixture, &fixture.upload(&["--wait"]), &[("GOLDFLEET_LOG", "debug")]);
    let mut child = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    drop((child.0.stdout.take(), child.0.stderr.take()));
    assert_eq!(child.0.wait().unwrap().code(), Some(1), "a target failed");
    assert_eq!(fixture.json(&["status"])["phases"]["image"]["succeeded"], 5);
}

#[test]
fn dumb_terminal_gets_lines() {
    let fixture = fixture();
    let text = written(&fixture, Some(80), &fixture.upload(&["--wait"]), &[("TERM", "dumb")]);
    assert!(text.contains("seed 0/") && !text.contains('░') && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn color_depends_on_terminal_and_environment() {
    let fixture = fixture();
    assert_eq!(fixture.run(&fixture.upload(&["--wait"])).status.code(), Some(1));
    let coloured = |width, arguments: &[&str], environment: &[(&str, &str)]| {
        written(&fixture, width, arguments, environment).contains("\u{1b}[38;5;")
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
    assert!(!written(&fixture, None, &["status", "--watch"], &[]).contains('\u{1b}'), "nothing is redrawn in a pipe");
}

#[test]
fn output_fits_terminal_width() {
    let fixture = fixture();
    assert_eq!(fixture.run(&fixture.upload(&["--wait"])).status.code(), Some(1));
    for width in [60, 100, 200] {
        for arguments in [&["status", "--failed"][..], &["jobs"], &["targets", "list"]] {
            let text = written(&fixture, Some(width), arguments, &[("NO_COLOR", "1")]);
            let fits = text.lines().all(|line| line.chars().count() <= usize::from(width));
            assert!(fits && text.lines().count() > 1, "{width}: {arguments:?}:\n{text}");
        }
    }
}

/// A job is cancelled only after the operator has confirmed it, where no job is named.
#[test]
fn a_change_without_a_job_is_confirmed_on_the_terminal() {
    let fixture = fixture();
    fixture.succeed(&fixture.upload(&[]));
    let job = fixture.json(&["status"])["job"].as_str().unwrap().to_owned();
    for (answer, code, state) in [("\r", 130, "requested"), ("n\r", 130, "requested"), ("y\r", 0, "cancelled")] {
        let mut terminal = Terminal::start(goldfleet(&fixture, &["cancel"], &[]), 100, 20);
        terminal.wait_for_screen("a question", |screen| screen.contents().contains("(golden 1)? [y/N]"));
        terminal.echo(answer.as_bytes());
        assert_eq!(terminal.end(|_| ()).code(), Some(code), "{}", terminal.screen().contents());
        assert!(terminal.transcript().contains(&format!("cancel job {job}")), "{}", terminal.transcript());
        assert_eq!(fixture.json(&["status"])["detail"], state, "{answer:?}");
    }
}

#[test]
fn an_interrupt_at_a_question_changes_nothing() {
    let fixture = fixture();
    fixture.succeed(&fixture.upload(&[]));
    let mut terminal = Terminal::start(goldfleet(&fixture, &["cancel"], &[]), 100, 20);
    terminal.wait_for_screen("a question", |screen| screen.contents().contains("[y/N]"));
    terminal.signal(Signal::INT);
    assert_eq!(terminal.end(|_| ()).code(), Some(130));
    assert_eq!(fixture.json(&["status"])["detail"], "requested");
}
