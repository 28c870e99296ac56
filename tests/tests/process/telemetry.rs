//! The telemetry of processes: health, metrics, log lines, traces.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use goldfleet_disk::GoldenSpec;
use goldfleet_model::manifest::Generation;
use goldfleet_tests::files::{truncate, visit};
use goldfleet_tests::process_fixture::{self, Process, ProcessFixture};
use rustix::process::Signal;
use serde_json::Value;

const MIB: u64 = 1 << 20;

const CONFIG: &str = r#"
    [worker]
    lease = "3s"
    [dispatch]
    sweep = "100ms"
"#;

/// A directory with a requested job, and one target whose account is unusable.
fn asked(subscriptions: u32, data: u64) -> ProcessFixture {
    let targets = process_fixture::targets(subscriptions, &["westeurope", "eastus"]);
    let fixture = ProcessFixture::new(
        &format!("{}{CONFIG}", process_fixture::SOURCE),
        &targets,
        &GoldenSpec::spread(256 * MIB, Generation::V1, data, 32, 7),
    );
    std::fs::create_dir_all(fixture.path("cloud")).unwrap();
    std::fs::write(fixture.path("cloud/stage2eastus"), "in the way").unwrap();
    fixture.succeed(&fixture.upload(&[]));
    fixture
}

/// An address on which nothing listens, most likely until the test does.
fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A dispatcher that has fanned out the job.
fn planned(fixture: &ProcessFixture) -> Process {
    let dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    fixture.wait_until("a plan", |status| status["phases"]["copy"]["total"].as_u64() > Some(0));
    dispatcher
}

fn start(mut command: Command) -> Process {
    Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// The status and the body of a response. None if nothing listens.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn workers_and_dispatchers_report_health() {
    let fixture = asked(8, 64 * MIB);
    let (of_worker, of_dispatcher) = (free(), free());
    let with = |program: &str, arguments: &[&str], name: &str, address: SocketAddr| {
        let mut command = fixture.command(program, arguments);
        command.env(name, address.to_string());
        command
    };
    let worker = |arguments: &[&str]| with("goldfleet-worker", arguments, "GOLDFLEET_WORKER__LISTEN", of_worker);
    let dispatcher = |arguments: &[&str]| with("goldfleet", arguments, "GOLDFLEET_DISPATCH__LISTEN", of_dispatcher);
    let code = |mut command: Command| command.output().unwrap().status.code();
    assert_eq!((code(worker(&["health"])), code(dispatcher(&["health"]))), (Some(1), Some(1)), "nobody is there");
    assert_eq!(code(fixture.command("goldfleet-worker", &["health"])), Some(2), "nobody was to be");

    let _dispatcher = start(dispatcher(&["dispatcher"]));
    let mut works = start(worker(&[]));
    until("readiness", || get(of_worker, "/ready").is_some_and(|(status, _)| status == 200));
    until("readiness", || get(of_dispatcher, "/ready").is_some_and(|(status, _)| status == 200));
    assert_eq!((code(worker(&["health"])), code(dispatcher(&["health"]))), (Some(0), Some(0)));
    fixture.wait_for_job();
    let metric = |address, line: &str| get(address, "/metrics").is_some_and(|(_, text)| text.contains(line));
    for line in [
        "goldfleet_attempts_total{kind=\"copy\",outcome=\"succeeded\"} 15",
        "goldfleet_attempts_total{kind=\"image\",outcome=\"succeeded\"} 15",
        "goldfleet_failures_total{kind=\"copy\",code=\"account-unusable\"} 1",
        "goldfleet_operations_in_flight{kind=\"copy\"} 0",
        "goldfleet_attempt_seconds_count{kind=\"seed\"} 1",
    ] {
        assert!(metric(of_worker, line), "{line}: {:#?}", get(of_worker, "/metrics"));
    }
    for line in [
        "goldfleet_jobs_ended_total{state=\"failed\"} 1",
        "goldfleet_jobs_ended_total{state=\"succeeded\"} 0",
        "goldfleet_jobs{state=\"running\"} 0",
    ] {
        until(line, || metric(of_dispatcher, line));
    }
    assert!(!metric(of_dispatcher, "goldfleet_jobs{state=\"failed\"}"), "a gauge of what has not ended");
    until("a count", || metric(of_dispatcher, "goldfleet_queue_messages{queue=\"poison\"} 1"));

    works.signal(Signal::TERM);
    assert_eq!(works.0.wait().unwrap().code(), Some(0));
}

#[test]
fn step_log_lines_name_job_operation_and_target() {
    let fixture = asked(2, MIB);
    let _dispatcher = planned(&fixture);
    let run = |format: &str| {
        let mut command = fixture.command("goldfleet-worker", &["--exit-when-idle"]);
        command.env("GOLDFLEET_LOG", "goldfleet_worker=debug").env("GOLDFLEET_LOG__FORMAT", format);
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let lines = run("json");
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let about: Vec<Value> = lines.filter(|line| line["target"] == "goldfleet_worker::consumer").collect();
    assert!(about.len() >= 12, "{about:#?}");
    for line in &about {
        let span = &line["span"];
        let all = [&span["job"], &span["operation"], &span["target"]];
        assert!(all.iter().all(|value| value.is_string()), "{line}");
    }
    assert!(about.iter().any(|line| line["code"] == "account-unusable" && line["level"] == "WARN"), "{about:#?}");
    let job = fixture.json(&["status"])["job"].as_str().unwrap().to_owned();
    fixture.succeed(&["retry", &job]);
    let text = run("text");
    let line = text.lines().find(|line| line.contains("account-unusable")).unwrap();
    assert!(
        line.contains(".copy ") && line.contains("operation=") && line.contains("target=") && line.contains("job="),
        "{line}"
    );
    assert!(!line.contains('\u{1b}'), "colours are for terminals: {line}");
}

#[test]
fn otlp_collector_receives_one_span_per_attempt() {
    let fixture = asked(2, MIB);
    let _dispatcher = planned(&fixture);
    let collector = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let collected = std::thread::spawn(move || {
        let (mut stream, _) = collector.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut request = Vec::new();
        let mut part = [0; 4096];
        while !String::from_utf8_lossy(&request).contains(".copy") {
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "{}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&part[..length]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request).into_owned()
    });
    let mut command = fixture.command("goldfleet-worker", &["--exit-when-idle"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("GOLDFLEET_LOG", "warn");
    assert!(command.output().unwrap().status.success());
    let request = collected.join().unwrap();
    assert!(request.starts_with("POST /v1/traces"), "{request}");
    for part in ["goldfleet-worker", "operation", "00000000-0000-0000-0000-000000000001/westeurope", "service.version"]
    {
        assert!(request.contains(part), "{part}: {request}");
    }
}

/// `upload` logs warnings of its module, although it logs only errors of other modules.
#[test]
fn upload_warns_of_a_corrupt_chunk_by_default() {
    let fixture = ProcessFixture::new(
        process_fixture::SOURCE,
        &process_fixture::targets(1, &["westeurope"]),
        &process_fixture::golden(),
    );
    let upload = fixture.upload(&["--no-dispatch"]);
    fixture.succeed(&upload);
    let mut chunks = Vec::new();
    visit(&fixture.path("cloud"), &mut |file| {
        if file.parent().is_some_and(|folder| folder.ends_with("chunks")) {
            chunks.push(file.to_owned());
        }
    });
    truncate(&chunks[0], 512);
    let output = fixture.command("goldfleet", &upload).env_remove("GOLDFLEET_LOG").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.contains("a chunk in the store has a wrong length"), "{stderr}");
}
