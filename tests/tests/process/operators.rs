//! What an operator relies on: faults are named for what they are, interrupted work can be resumed, and two operators
//! at once are no fault.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;

use goldfleet_tests::process_fixture::{Process, ProcessFixture, SOURCE, golden, targets};
use rustix::process::Signal;

const CONFIG: &str = "[dispatch]\nsweep = \"100ms\"\n";

fn fixture() -> ProcessFixture {
    ProcessFixture::new(&format!("{SOURCE}{CONFIG}"), &targets(2, &["westeurope", "eastus"]), &golden())
}

/// The exit code of a command, and everything that it wrote.
fn said(fixture: &ProcessFixture, arguments: &[&str]) -> (Option<i32>, String) {
    let output = fixture.run(arguments);
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// The message of the doctor's finding about a subject.
fn found(fixture: &ProcessFixture, subject: &str) -> String {
    let findings = fixture.json(&["doctor"])["findings"].as_array().unwrap().clone();
    let finding = findings.iter().find(|finding| finding["subject"].as_str().unwrap().starts_with(subject)).unwrap();
    assert_eq!(finding["level"], "ok", "{finding:#}");
    finding["message"].as_str().unwrap().to_owned()
}

/// Without the program of the credential, no service is asked, so it is not one that cannot be reached.
#[test]
fn a_missing_program_of_the_credential_is_a_fault_of_the_set_up() {
    let azure = "[cloud]\nbackend = \"azure\"\ncredential = \"azure-cli\"\n";
    let fixture = ProcessFixture::new(&format!("{SOURCE}{azure}"), &targets(1, &["westeurope"]), &golden());
    let without_az = |arguments: &[&str]| {
        let output = fixture.command("goldfleet", arguments).env("PATH", fixture.path("empty")).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    for arguments in [&["images"][..], &fixture.upload(&[]), &["dispatch", "--image", "golden", "--version", "1"]] {
        let (code, text) = without_az(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(text.contains("az is not on PATH: install it, and sign in with 'az login'"), "{text}");
        assert!(!text.contains("reached"), "{text}");
    }
    let (code, text) = without_az(&["doctor"]);
    assert!(code == Some(1) && text.contains("credential [credential-not-set-up]"), "{text}");
}

#[test]
fn an_ambiguous_prefix_lists_the_jobs_with_their_states() {
    let fixture = fixture();
    fixture.succeed(&fixture.upload(&["--no-dispatch"]));
    for region in ["westeurope", "eastus"] {
        fixture.succeed(&["dispatch", "--image", "golden", "--version", "1", "--target", region]);
    }
    let newest = fixture.json(&["status"])["job"].as_str().unwrap().to_owned();
    fixture.succeed(&["cancel", &newest]);
    let (code, text) = said(&fixture, &["cancel", &newest[..4]]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("is ambiguous: 2 jobs match:"), "{text}");
    assert!(text.contains(&format!("\n  {newest} (golden 1, cancelled)")), "{text}");
    assert!(text.contains(" (golden 1, requested)"), "{text}");
}

/// The commands of two operators, and the dispatcher, change the same rows at the same time. Nobody is alarmed.
#[test]
fn commands_at_the_same_time_raise_no_alarm() {
    let fixture = fixture();
    fixture.succeed(&fixture.upload(&[]));
    let job = fixture.json(&["status"])["job"].as_str().unwrap().to_owned();
    let start = |arguments: &[&str]| {
        let mut command = fixture.command("goldfleet", arguments);
        command.env("GOLDFLEET_LOG", "warn").stdout(Stdio::null()).stderr(Stdio::piped());
        Process(command.spawn().unwrap())
    };
    let mut dispatchers = [start(&["dispatcher"]), start(&["dispatcher"])];
    fixture.wait_until("a plan", |status| status["phases"]["copy"]["total"] == 4);
    for command in ["cancel", "retry", "cancel"] {
        let started = [0; 4].map(|_| start(&[command, &job]));
        let mut succeeded = 0;
        for mut process in started {
            let mut text = String::new();
            std::io::Read::read_to_string(process.0.stderr.as_mut().unwrap(), &mut text).unwrap();
            let code = process.0.wait().unwrap().code();
            // A command that comes later finds a job that was cancelled already, or nothing to retry.
            assert!(matches!(code, Some(0 | 2)), "{command}: {code:?} {text}");
            succeeded += usize::from(code == Some(0));
            assert!(!text.contains("WARN") && !text.contains("ERROR"), "{command}: {text}");
        }
        assert!(succeeded >= 1, "{command}");
        if command == "cancel" {
            fixture.wait_until("an end", |status| status["detail"] == "cancelled");
        }
    }
    for (left, dispatcher) in (0..dispatchers.len()).rev().zip(&mut dispatchers) {
        dispatcher.signal(Signal::TERM);
        // The other dispatcher has noticed the end when it has removed the lock file.
        while left > 0 && lock_files(&fixture) > left {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let mut text = String::new();
        std::io::Read::read_to_string(dispatcher.0.stderr.as_mut().unwrap(), &mut text).unwrap();
        assert!(!text.contains("WARN") && !text.contains("ERROR"), "dispatcher: {text}");
    }
}

/// The number of processes that receive messages and whose end nobody has noticed.
fn lock_files(fixture: &ProcessFixture) -> usize {
    let files = std::fs::read_dir(fixture.path("")).unwrap();
    files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".process")).count()
}

/// After a retry that succeeded, nothing looks as if it still had failed.
#[test]
fn the_doctor_counts_dead_letters_of_operations_that_are_failed() {
    let fixture = fixture();
    assert!(found(&fixture, "source store").ends_with("yet: the first upload creates it"));
    std::fs::create_dir(fixture.path("cloud")).unwrap();
    let broken = fixture.path("cloud/stage2eastus");
    std::fs::write(&broken, "in the way").unwrap();
    // The name of the last target, which is the broken one. It is shown before the id.
    let targets = std::fs::read_to_string(fixture.path("targets.toml")).unwrap();
    std::fs::write(fixture.path("targets.toml"), targets + "name = \"Payments prod\"\n").unwrap();
    let named = "Payments prod (00000000-0000-0000-0000-000000000002/eastus)";
    let (code, text) = said(&fixture, &fixture.upload(&["--wait"]));
    assert!(code == Some(1) && text.contains(&format!("copy failed [account-unusable]: {named}")), "{text}");
    assert!(said(&fixture, &["doctor"]).1.contains(&format!("target {named} [account-unusable]")));
    let job = fixture.json(&["status"])["job"].as_str().unwrap().to_owned();
    let expected = format!("messages of 1 operation that failed; to repeat: goldfleet retry {job}");
    for _ in 0..2 {
        let findings = fixture.json(&["doctor"])["findings"].to_string();
        assert!(findings.contains(&expected), "{findings}");
    }
    std::fs::remove_file(&broken).unwrap();
    fixture.succeed(&["retry", &job, "--wait"]);
    assert_eq!(found(&fixture, "queue poison"), "0 messages");
    assert_eq!(found(&fixture, "source store"), "the container can be read");
}

/// `images` says that an upload was begun, and how to resume it. The command is the one that was interrupted.
#[test]
fn an_interrupted_upload_is_listed_with_the_command_that_resumes_it() {
    let fixture = fixture();
    let slow = fixture.upload(&["--limit", "50KiB/s", "--no-dispatch"]);
    let mut upload = fixture.start("goldfleet", &slow);
    while fixture.json(&["images"])["uploads"].as_array().unwrap().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    upload.signal(Signal::INT);
    assert_eq!(upload.0.wait().unwrap().code(), Some(130));
    let line = &fixture.json(&["images"])["uploads"][0];
    assert_eq!((&line["ended"], &line["chunks_kept"]), (&true.into(), &true.into()), "{line:#}");
    let resume = "goldfleet upload golden.vhd --image golden --version 1 --os linux --limit 50KiB/s --no-dispatch";
    assert_eq!(line["resume"], resume);
    let text = said(&fixture, &["images"]).1;
    assert!(text.contains("golden 1: begun by ") && text.contains(&format!("\n  to resume: {resume}\n")), "{text}");
    fixture.succeed(&fixture.upload(&["--no-dispatch"]));
    assert_eq!(fixture.json(&["images"])["uploads"], serde_json::json!([]));
}
