//! The operating system that the check finds on a disk, and the findings that are accepted for an image.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Output, Stdio};

use goldfleet_tests::linux_disk::{self, KERNEL};
use goldfleet_tests::process_fixture::{self, Process, ProcessFixture};
use serde_json::{Value, json};

/// The only error of the disk.
const ERROR: &str = "cloud-init-datasource";

/// The line that shows the system of the disk.
const LINE: &str =
    "Debian GNU/Linux 12 (bookworm), kernel 6.1.0-13-amd64, cloud-init 22.4.2, waagent 2.9.1.1, x64, generation v1";

/// One target, a Linux disk as `linux.vhd`, and these lines behind `[source]`.
fn fixture(config: &str) -> ProcessFixture {
    let config = format!("{}{config}", process_fixture::SOURCE);
    let targets = process_fixture::targets(1, &["westeurope"]);
    let fixture = ProcessFixture::new(&config, &targets, &process_fixture::golden());
    linux_disk::write(&fixture.path("linux.vhd"));
    fixture
}

fn upload<'a>(image: &'a str, version: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["upload", "linux.vhd", "--image", image, "--version", version, "--os", "linux", "--no-dispatch"];
    [&fixed[..], more].concat()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Standard output of a command that succeeds.
fn shown(fixture: &ProcessFixture, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = fixture.run(arguments);
    assert!(status.success(), "{arguments:?}: {}", text(&stderr));
    text(&stdout)
}

fn system() -> Value {
    json!({
        "family": "linux", "id": "debian", "name": "Debian GNU/Linux 12 (bookworm)", "version": "12",
        "kernels": [KERNEL], "agents": ["cloud-init 22.4.2", "waagent 2.9.1.1"],
        "generations": ["v1"], "architecture": "x64",
    })
}

/// Asks a dashboard for a path.
fn ask_dashboard(fixture: &ProcessFixture, path: &str) -> Value {
    let mut command = fixture.command("goldfleet", &["dashboard", "--listen", "127.0.0.1:0"]);
    let mut dashboard = Process(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(dashboard.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("dashboard: http://").unwrap().trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{head}");
    serde_json::from_str(body).unwrap()
}

#[test]
fn the_system_is_stored_with_the_version_and_shown() {
    let fixture = fixture("");
    let uploaded = fixture.json(&upload("golden", "1", &["--accept", ERROR]));
    assert_eq!(uploaded["system"], system(), "{uploaded:#}");
    // The same content again, without a look inside: what is known of it is not lost.
    let again = fixture.json(&upload("golden", "1", &["--inside", "no"]));
    assert_eq!((&again["already_there"], &again["system"]), (&json!(true), &system()));

    let images = fixture.json(&["images"]);
    assert_eq!(images["images"][0]["system"], system(), "{images:#}");
    let listed = shown(&fixture, &["images"]);
    assert!(listed.contains(&format!("golden 1: {LINE}\n")), "{listed}");

    fixture.succeed(&["dispatch", "--image", "golden", "--version", "1", "--wait"]);
    let status = fixture.json(&["status"]);
    assert_eq!((&status["state"], &status["system"]), (&json!("succeeded"), &system()), "{status:#}");
    let printed = shown(&fixture, &["status"]);
    assert!(printed.contains(&format!("  system      {LINE}\n")), "{printed}");

    let job = status["job"].as_str().unwrap();
    let page = ask_dashboard(&fixture, &format!("/api/jobs/{job}"));
    assert_eq!(page["status"]["system"], system(), "{page:#}");
}

#[test]
fn replaced_version_has_system_of_new_content() {
    let fixture = fixture("");
    fixture.succeed(&upload("golden", "1", &["--accept", ERROR]));
    fixture.succeed(&["cleanup", "--image", "golden", "--version", "1"]);
    // The other disk holds no system, and nothing looks for one.
    fixture.succeed(&fixture.upload(&["--no-dispatch", "--inside", "no"]));
    let images = fixture.json(&["images"]);
    assert_eq!(images["images"][0]["system"], Value::Null, "{images:#}");
    fixture.succeed(&["dispatch", "--image", "golden", "--version", "1", "--wait"]);
    assert_eq!(fixture.json(&["status"])["system"], Value::Null);
}

#[test]
fn accepted_codes_of_the_configuration_are_of_one_image() {
    let fixture =
        fixture(&format!("[upload.accept]\ngolden = [\"no-kernel\", \"{ERROR}\"]\n\"web-*\" = [\"{ERROR}\"]\n"));
    let refused = fixture.run(&upload("other", "1", &[]));
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains(&format!("error [{ERROR}]")), "{}", text(&refused.stderr));
    for image in ["golden", "web-1"] {
        let findings = fixture.json(&upload(image, "1", &[]))["findings"].take();
        let accepted = findings.as_array().unwrap().iter().find(|finding| finding["code"] == ERROR).unwrap();
        assert_eq!(accepted["severity"], "warning", "{accepted}");
        assert!(accepted["message"].as_str().unwrap().ends_with("(an error that was accepted)"), "{accepted}");
    }
    // The command line adds to what the configuration accepts.
    fixture.succeed(&upload("other", "1", &["--accept", ERROR]));

    // `check` reads the configuration only if it is asked about an image.
    let check = |more: &[&str]| fixture.run(&[&["check", "linux.vhd"], more].concat()).status.code();
    assert_eq!(check(&[]), Some(2));
    assert_eq!(check(&["--image", "other"]), Some(2));
    assert_eq!(check(&["--image", "golden"]), Some(0));
    assert_eq!(check(&["--accept", ERROR]), Some(0));
}

#[test]
fn an_unknown_accepted_code_names_its_key() {
    let fixture = fixture("[upload.accept]\ngolden = [\n  \"clock\",\n  \"no-agnet\",\n  \"too-small\",\n]\n");
    let refused = fixture.run(&["images"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = text(&refused.stderr);
    let first = "goldfleet.toml:10: upload.accept.golden: there is no code 'no-agnet'; did you mean 'no-agent'?";
    assert!(message.contains(first), "{message}");
    let second = "goldfleet.toml:11: upload.accept.golden: 'too-small' cannot be accepted: it is a fact about the disk, not a deduction from its content";
    assert!(message.contains(second), "{message}");
    let argument = fixture.run(&upload("golden", "1", &["--accept", "no-agnet"]));
    assert_eq!(argument.status.code(), Some(2));
    assert!(text(&argument.stderr).contains("did you mean 'no-agent'?"), "{}", text(&argument.stderr));
}

#[test]
fn a_system_that_is_not_the_stated_one_is_refused() {
    let fixture = fixture("");
    let windows = |more: &[&'static str]| {
        let fixed = ["upload", "linux.vhd", "--image", "golden", "--version", "1", "--os", "windows", "--no-dispatch"];
        fixture.run(&[&fixed[..], &["--accept", ERROR], more].concat())
    };
    let refused = windows(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let shown = text(&refused.stderr);
    assert!(shown.contains("error [os-mismatch]: the operating system is stated to be windows, but Debian"), "{shown}");
    assert!(windows(&["--accept", "os-mismatch"]).status.success());
}
