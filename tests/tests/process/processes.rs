//! Real processes that are killed, paused, or asked to stop.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::BufRead as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use goldfleet_disk::{AzureDisk, GoldenSpec, same_disk};
use goldfleet_model::manifest::Generation;
use goldfleet_tests::process_fixture::{self, Process, ProcessFixture};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

const MIB: u64 = 1 << 20;

const CONFIG: &str = r#"
    [worker]
    lease = "3s"
    retry_base = "20ms"
    concurrency = 8
    [dispatch]
    sweep = "200ms"
"#;

fn fixture(subscriptions: u32, data: u64) -> ProcessFixture {
    let targets = process_fixture::targets(subscriptions, &["westeurope", "eastus", "japaneast"]);
    ProcessFixture::new(
        &format!("{}{CONFIG}", process_fixture::SOURCE),
        &targets,
        &GoldenSpec::spread(256 * MIB, Generation::V1, data, 32, 7),
    )
}

/// Asserts that everything succeeded once, and that every VHD is correct.
fn assert_all_done(fixture: &ProcessFixture, targets: usize) {
    fixture.assert_succeeded_once(targets);
    let golden = AzureDisk::open(&fixture.path("golden.vhd")).unwrap();
    let (mut vhds, mut images) = (0, 0);
    for account in std::fs::read_dir(fixture.path("cloud")).unwrap() {
        let vhd = account.unwrap().path().join("vhds/golden/1.vhd");
        if vhd.exists() {
            assert_eq!(same_disk(&golden, &vhd).unwrap(), None, "{}", vhd.display());
            vhds += 1;
        }
    }
    for subscription in std::fs::read_dir(fixture.path("cloud/subscriptions")).unwrap() {
        let folder = subscription.unwrap().path().join("resourceGroups/images/images");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        // A worker that was killed while it wrote leaves a file with another name.
        images += files.filter(|file| file.extension().is_some_and(|end| end == "json")).count();
    }
    assert_eq!((vhds, images), (targets, targets));
}

/// Workers and the dispatcher are killed at random times while a few hundred operations run. All operations succeed.
#[test]
fn killed_workers_and_dispatchers_recover() {
    let fixture = fixture(40, 16 * MIB);
    assert!(fixture.run(&fixture.upload(&[])).status.success());
    let mut dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let mut workers: Vec<Process> = (0..3).map(|_| fixture.start("goldfleet-worker", &[])).collect();
    let mut random = StdRng::seed_from_u64(20_261_121);
    for round in 0..12 {
        std::thread::sleep(Duration::from_millis(random.random_range(30..400)));
        let victim = random.random_range(0..workers.len());
        workers[victim].kill();
        workers[victim] = fixture.start("goldfleet-worker", &[]);
        if round % 3 == 0 {
            dispatcher.kill();
            dispatcher = fixture.start("goldfleet", &["dispatcher"]);
        }
    }
    let status = fixture.wait_for_job();
    assert_all_done(&fixture, 120);
    let copy = &status["phases"]["copy"];
    println!("bytes moved {} of {}, as recorded", copy["bytes_moved"], copy["bytes_total"]);
    assert!(copy["bytes_done"] == copy["bytes_total"], "{copy}");
}

/// With default timings, the work of a killed worker is claimed again long before its lease expires, because the
/// dispatcher detects the end of the process.
#[test]
fn work_of_killed_worker_resumes_before_its_lease_expires() {
    let targets = process_fixture::targets(1, &["eastus"]);
    let golden = GoldenSpec::spread(64 * MIB, Generation::V1, MIB, 1, 7);
    let fixture = ProcessFixture::new(process_fixture::SOURCE, &targets, &golden);
    fixture.succeed(&fixture.upload(&[]));
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    fixture.wait_until("a plan", |status| status["planned"] == true);
    let images = fixture.path("cloud/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images/images");
    std::fs::create_dir_all(&images).unwrap();
    let image = images.join("golden-1-eastus.json");
    // Opening a pipe waits for its other end, here forever, so the operation holds its lease.
    mknodat(CWD, &image, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut worker = fixture.start("goldfleet-worker", &[]);
    let claims = || {
        let events = fixture.json(&["logs"]);
        let claims = events.as_array().unwrap().iter().filter(|event| event["what"] == "claim");
        claims.filter(|event| event["operation"].as_str().is_some_and(|id| id.ends_with(".image"))).count()
    };
    fixture.wait_until("a running image", |status| status["phases"]["image"]["running"] == 1);
    let _successor = fixture.start("goldfleet-worker", &[]);
    let killed = Instant::now();
    worker.kill();
    fixture.wait_until("a second claim", |_| claims() > 1);
    // The lease lasts 20 s. The bound on an idle machine, 5 s, is measured by the benchmark `storm`.
    assert!(killed.elapsed() < Duration::from_secs(12), "{:?}", killed.elapsed());
    std::fs::remove_file(&image).unwrap();
}

/// A dispatcher that is killed during a fan-out leaves rows or messages missing. The next one adds only these.
#[test]
fn fan_out_resumes_after_kill() {
    let fixture = fixture(60, MIB);
    assert!(fixture.run(&fixture.upload(&[])).status.success());
    for wait in [0, 5, 10, 20, 40] {
        let mut dispatcher = fixture.start("goldfleet", &["dispatcher"]);
        std::thread::sleep(Duration::from_millis(wait));
        dispatcher.kill();
    }
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    // The message of the killed dispatcher is invisible for up to two minutes. The reconciler does not wait for it.
    let _workers: Vec<Process> = (0..2).map(|_| fixture.start("goldfleet-worker", &[])).collect();
    fixture.wait_for_job();
    assert_all_done(&fixture, 180);
}

/// A killed upload has no manifest, and the next one sends only what is missing.
#[test]
fn upload_resumes_after_kill() {
    let fixture = fixture(1, 128 * MIB);
    let chunks = fixture.path("cloud/goldsource/golden/chunks");
    let present = || std::fs::read_dir(&chunks).map_or(0, Iterator::count);
    let mut upload = fixture.start("goldfleet", &fixture.upload(&["--no-dispatch"]));
    while present() < 5 {
        assert!(upload.0.try_wait().unwrap().is_none(), "the upload was too fast to be killed");
    }
    upload.kill();
    assert!(!fixture.path("cloud/goldsource/golden/artifacts").exists(), "an upload that was killed looks complete");
    let before: u64 = std::fs::read_dir(&chunks).unwrap().map(|chunk| chunk.unwrap().metadata().unwrap().len()).sum();
    let again = fixture.json(&fixture.upload(&["--no-dispatch"]));
    let (data, sent) = (again["bytes_data"].as_u64().unwrap(), again["bytes_sent"].as_u64().unwrap());
    assert_eq!(sent + before, data, "{again}");
    assert!(before > 0 && sent > 0, "{again}");
}

/// A worker that is paused until its lease expires, and wakes after its successor has taken over, changes nothing. (A
/// worker that is paused during a write to the directory cloud holds the lock of that blob until it wakes.)
#[test]
fn paused_worker_is_fenced_by_successor() {
    let fixture = fixture(8, 64 * MIB);
    assert!(fixture.run(&fixture.upload(&[])).status.success());
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let paused = fixture.start("goldfleet-worker", &[]);
    fixture.wait_until("a running copy", |status| status["phases"]["copy"]["running"].as_u64() > Some(0));
    paused.signal(Signal::STOP);
    let held = fixture.json(&["status"])["phases"]["copy"]["running"].as_u64().unwrap();
    let _successor = fixture.start("goldfleet-worker", &[]);
    // Four lease times: a worker that is stopped during a transaction keeps the lock of the table, and nobody can take
    // over until it wakes.
    let deadline = Instant::now() + Duration::from_secs(12);
    fixture.wait_until("a takeover", |_| {
        let events = fixture.json(&["logs"]);
        let expired = events.as_array().unwrap().iter().filter(|event| event["what"] == "expire").count();
        expired as u64 >= held || Instant::now() > deadline
    });
    paused.signal(Signal::CONT);
    fixture.wait_for_job();
    assert_all_done(&fixture, 24);
}

/// On SIGTERM, leases are released, so that nobody has to wait until they expire.
#[test]
fn sigterm_releases_leases() {
    let fixture = fixture(8, 64 * MIB);
    assert!(fixture.run(&fixture.upload(&[])).status.success());
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let mut worker = fixture.start("goldfleet-worker", &[]);
    fixture.wait_until("a running copy", |status| status["phases"]["copy"]["running"].as_u64() > Some(0));
    worker.signal(Signal::TERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(0));
    let status = fixture.json(&["status"]);
    assert_eq!(status["phases"]["copy"]["running"], 0, "{status:#}");
    let _next = fixture.start("goldfleet-worker", &[]);
    fixture.wait_for_job();
    assert_all_done(&fixture, 24);
    let events = fixture.json(&["logs"]);
    assert!(events.as_array().unwrap().iter().all(|event| event["what"] != "expire"), "a lease was left behind");
}

/// A second signal, one second or more after the first, stops a worker immediately. Its leases must expire, and nothing
/// is lost. An earlier second signal is treated as the first, because some senders signal a process and then its
/// process group.
#[test]
fn second_signal_stops_worker_immediately() {
    let config = format!("{}{CONFIG}", process_fixture::SOURCE);
    let targets = process_fixture::targets(1, &["eastus"]);
    let fixture = ProcessFixture::new(&config, &targets, &GoldenSpec::spread(64 * MIB, Generation::V1, MIB, 1, 7));
    assert!(fixture.run(&fixture.upload(&[])).status.success());
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    fixture.wait_until("a plan", |status| status["planned"] == true);
    let images = fixture.path("cloud/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images/images");
    std::fs::create_dir_all(&images).unwrap();
    let image = images.join("golden-1-eastus.json");
    // Opening a pipe waits for its other end, here forever, so no checkpoint is reached.
    mknodat(CWD, &image, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut worker = fixture.start("goldfleet-worker", &[]);
    fixture.wait_until("a running image", |status| status["phases"]["image"]["running"] == 1);
    worker.signal(Signal::INT);
    worker.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(worker.0.try_wait().unwrap(), None, "two signals within a second are one: it waits for a checkpoint");
    worker.signal(Signal::TERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(130));
    assert_eq!(fixture.json(&["status"])["phases"]["image"]["running"], 1, "its lease has to run out");
    std::fs::remove_file(&image).unwrap();
    let _next = fixture.start("goldfleet-worker", &[]);
    fixture.wait_for_job();
    assert_all_done(&fixture, 1);
}

/// One command does everything, reports the result in its exit code, and continues after an interruption.
#[test]
fn upload_wait_reports_result_in_exit_code() {
    let fixture = fixture(4, 32 * MIB);
    std::fs::create_dir_all(fixture.path("cloud")).unwrap();
    let broken = fixture.path("cloud/stage2japaneast");
    std::fs::write(&broken, "in the way").unwrap();
    let mut interrupted = fixture.start("goldfleet", &fixture.upload(&["--wait"]));
    while !fixture.path("cloud/goldsource/golden/artifacts").exists() {
        assert!(interrupted.0.try_wait().unwrap().is_none(), "the upload ended early");
    }
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.0.wait().unwrap().code(), Some(130));
    let dispatch = fixture.run(&["dispatch", "--image", "golden", "--version", "1", "--wait"]);
    assert_eq!(dispatch.status.code(), Some(1), "{}", String::from_utf8_lossy(&dispatch.stderr));
    let status = fixture.json(&["status"]);
    assert_eq!(status["failures"][0]["code"], "account-unusable", "{status:#}");
    assert_eq!(status["phases"]["image"]["succeeded"], 11);
    std::fs::remove_file(&broken).unwrap();
    assert_eq!(fixture.run(&["retry", status["job"].as_str().unwrap(), "--wait"]).status.code(), Some(0));
    assert_all_done(&fixture, 12);
    assert_eq!(
        fixture.run(&["upload", "targets.toml", "--image", "x", "--version", "1", "--os", "linux"]).status.code(),
        Some(2)
    );
    assert_eq!(fixture.run(&["status", "20000101-000000-0000"]).status.code(), Some(2));
    assert_eq!(fixture.run(&["status", "--sideways"]).status.code(), Some(2));
}

/// The demonstration succeeds at a small size.
#[test]
fn demo_succeeds() {
    let fixture = fixture(1, MIB);
    let arguments =
        ["demo", "--subscriptions", "3", "--regions", "3", "--images", "2", "--workers", "2", "--folder", "d"];
    let demo = fixture.json(&arguments);
    assert_eq!(
        (&demo["operations"], &demo["succeeded"], &demo["failed"]),
        (&36.into(), &36.into(), &0.into()),
        "{demo:#}"
    );
    assert_eq!((&demo["copies"], &demo["images"], &demo["seeds"]), (&18.into(), &18.into(), &4.into()));
    let data = demo["data_bytes"].as_u64().unwrap();
    assert_eq!(demo["wan_bytes"].as_u64(), Some(2 * data), "once to each remote region");
    assert_eq!(demo["bytes_copied"].as_u64(), Some(9 * data));
    assert_eq!(demo["verified"], true);
    assert!(demo["seconds"].as_f64().unwrap() > 0.0);
}

/// An empty variable counts as not set, because many pipelines cannot unset one.
#[test]
fn goldfleet_config_selects_file() {
    let fixture = fixture(1, MIB);
    let says = |program: &str, arguments: &[&str], named: &str| {
        fixture.command(program, arguments).env("GOLDFLEET_CONFIG", named).output().unwrap().status.code()
    };
    let elsewhere = fixture.path("elsewhere.toml");
    std::fs::write(&elsewhere, "[worker]\nleese = \"1m\"\n").unwrap();
    for (named, code) in [("", 0), (elsewhere.to_str().unwrap(), 2), ("nowhere.toml", 2)] {
        assert_eq!(says("goldfleet", &["jobs"], named), Some(code), "{named:?}");
        assert_eq!(says("goldfleet-worker", &["--exit-when-idle"], named), Some(code), "{named:?}");
    }
    assert_eq!(says("goldfleet", &["--config", "goldfleet.toml", "jobs"], "nowhere.toml"), Some(0));
}

/// The configuration file is found in a parent directory, as with cargo and git.
#[test]
fn the_configuration_file_is_found_in_a_parent_directory() {
    let fixture = fixture(1, MIB);
    let below = fixture.path("a/b");
    std::fs::create_dir_all(&below).unwrap();
    let output = fixture.command("goldfleet", &["doctor", "--output", "json"]).current_dir(&below).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = fixture.path("goldfleet.toml").canonicalize().unwrap();
    assert_eq!(found["findings"][0]["message"], file.to_str().unwrap(), "{found:#}");
    // The nearest file is used, and paths in it are relative to its directory.
    let said = |command: &mut std::process::Command| String::from_utf8(command.output().unwrap().stderr).unwrap();
    let mut verbose = fixture.command("goldfleet", &["--verbose", "jobs"]);
    assert!(said(verbose.env_remove("GOLDFLEET_LOG").current_dir(&below)).contains(file.to_str().unwrap()));
    assert!(!below.join("goldfleet.db").exists() && fixture.path("goldfleet.db").exists());
    std::fs::write(fixture.path("a/goldfleet.toml"), "[worker]\nleese = \"1m\"\n").unwrap();
    assert!(said(fixture.command("goldfleet", &["jobs"]).current_dir(&below)).contains("worker.leese"));
}

#[test]
fn logs_are_followed_to_the_end_of_the_job() {
    let fixture = fixture(2, MIB);
    fixture.succeed(&fixture.upload(&["--note", "CHG-1"]));
    let status = fixture.json(&["status"]);
    assert_eq!((&status["note"], &status["state"]), (&"CHG-1".into(), &"running".into()));
    assert!(status["requested_by"].as_str().unwrap().contains('@'), "{status:#}");
    let following =
        fixture.command("goldfleet", &["logs", "--follow", "--output", "json"]).stdout(Stdio::piped()).spawn();
    let following = Process(following.unwrap());
    fixture.succeed(&["dispatch", "--image", "golden", "--version", "1", "--wait"]);
    let mut following = following;
    let stdout = following.0.stdout.take().unwrap();
    let lines: Vec<serde_json::Value> =
        std::io::BufReader::new(stdout).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(following.0.wait().unwrap().code(), Some(0));
    let all = fixture.json(&["logs"]);
    assert_eq!(lines.len(), all.as_array().unwrap().len(), "each event once: {all:#}");
    assert!(lines.iter().any(|line| line["operation"].is_null() && line["to"] == "succeeded"), "{lines:#?}");
    assert_eq!(fixture.json(&["logs", "--failed"]), serde_json::json!([]));
    // Operators are recorded by login and host.
    let operator = status["requested_by"].as_str().unwrap();
    let planned = all.as_array().unwrap().iter().find(|event| event["what"] == "planned").unwrap();
    assert_eq!(planned["who"], operator);
}

/// An artifact record is damaged in the store. The list names it, and the only remedy that an upload of the version
/// prints works.
#[test]
fn images_names_damaged_record() {
    let fixture = fixture(1, MIB);
    fixture.succeed(&fixture.upload(&["--no-dispatch"]));
    let record = fixture.path("cloud/goldsource/golden/artifacts/golden/1.jsonl");
    let whole = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, whole.replacen("\"os\":\"linux\"", "\"os\":\"windows\"", 1)).unwrap();

    let command = "goldfleet cleanup --image golden --version 1";
    let remedy = format!("remove this version with '{command}', and upload it again");
    let fault = fixture.json(&["images"])["images"][0]["fault"].clone();
    assert_eq!(fault["code"], "artifact-damaged");
    assert!(fault["message"].as_str().unwrap().ends_with(&remedy), "{fault}");
    let table = fixture.run(&["images"]);
    let table = (table.status.code(), String::from_utf8(table.stdout).unwrap());
    assert!(table.0 == Some(0) && table.1.contains("no; artifact-damaged") && table.1.contains(&remedy), "{table:?}");

    let again = fixture.run(&fixture.upload(&["--no-dispatch"]));
    let message = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.code() == Some(2) && message.contains(&remedy), "{message}");
    assert!(!message.contains("under a new version"), "{message}");
    fixture.succeed(&command.split(' ').skip(1).collect::<Vec<_>>());
    fixture.succeed(&fixture.upload(&["--no-dispatch"]));
    assert_eq!(fixture.json(&["images"])["images"][0]["fault"], serde_json::Value::Null);
}

/// The store that a target reads from failed too. Without it, the target would fail again.
#[test]
fn a_retry_of_a_target_retries_the_store_that_it_reads_from() {
    let fixture = fixture(2, MIB);
    std::fs::create_dir(fixture.path("cloud")).unwrap();
    let broken = fixture.path("cloud/stage1japaneast");
    std::fs::write(&broken, "in the way").unwrap();
    assert_eq!(fixture.run(&fixture.upload(&["--wait"])).status.code(), Some(1));
    let status = fixture.json(&["status"]);
    assert_eq!(status["phases"]["seed"]["failed"], 1, "{status:#}");
    std::fs::remove_file(&broken).unwrap();
    let job = status["job"].as_str().unwrap();
    let retried = fixture.run(&["retry", job, "--target", "*1/japaneast", "--wait"]);
    assert_eq!(retried.status.code(), Some(0), "{}", String::from_utf8_lossy(&retried.stdout));
    assert_eq!(fixture.json(&["status"])["phases"]["seed"]["succeeded"], status["phases"]["seed"]["total"]);
}

#[test]
fn images_tells_what_is_uploaded_and_what_uses_it() {
    let fixture = fixture(1, MIB);
    assert_eq!(fixture.json(&["images"]), serde_json::json!({ "images": [], "uploads": [] }));
    fixture.succeed(&fixture.upload(&["--no-dispatch"]));
    let one = |listed: &serde_json::Value| listed["images"][0].clone();
    let image = one(&fixture.json(&["images"]));
    let file = std::path::absolute(fixture.path("golden.vhd")).unwrap();
    assert_eq!(image["file"], file.to_str().unwrap());
    assert_eq!(
        (&image["jobs"], &image["last_job"], &image["used_by"]),
        (&0.into(), &().into(), &serde_json::json!([]))
    );
    assert!(image["by"].as_str().unwrap().contains('@') && image["size"].as_u64() > Some(0), "{image:#}");
    fixture.succeed(&["dispatch", "--image", "golden", "--version", "1"]);
    let job = fixture.json(&["status"])["job"].clone();
    let image = one(&fixture.json(&["images", "--image", "golden"]));
    assert_eq!(image["used_by"], serde_json::json!([{ "kind": "open-job", "job": job }]));
    fixture.succeed(&["dispatch", "--image", "golden", "--version", "1", "--wait"]);
    let image = one(&fixture.json(&["images"]));
    assert_eq!(image["used_by"], serde_json::json!([{ "kind": "staged-vhds", "job": job }]));
    fixture.succeed(&["cleanup", job.as_str().unwrap()]);
    assert_eq!(one(&fixture.json(&["images"]))["used_by"], serde_json::json!([]));
    assert_eq!(fixture.json(&["images", "--image", "other"])["images"], serde_json::json!([]));
}

#[test]
fn several_files_are_checked() {
    let fixture = fixture(1, MIB);
    let usable = fixture.json(&["check", "golden.vhd"]);
    assert_eq!(usable["format"], "fixed-vhd");
    let both = fixture.run(&["check", "golden.vhd", "targets.toml", "--output", "json"]);
    assert_eq!(both.status.code(), Some(2));
    let reports: serde_json::Value = serde_json::from_slice(&both.stdout).unwrap();
    assert_eq!((&reports[0], &reports[1]["file"]), (&usable, &"targets.toml".into()));
}

#[test]
fn an_upload_is_dispatched_to_selected_targets() {
    let fixture = fixture(2, MIB);
    let wrong = fixture.run(&fixture.upload(&["--target", "mars"]));
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(fixture.json(&["images"])["images"], serde_json::json!([]), "nothing is uploaded in vain");
    fixture.succeed(&fixture.upload(&["--target", "japaneast", "--ring", "0", "--wait"]));
    let status = fixture.json(&["status"]);
    assert_eq!(status["selection"], serde_json::json!(["japaneast,ring=0"]));
    assert_eq!((&status["phases"]["image"]["total"], &status["rings"][0]["targets"]), (&2.into(), &2.into()));
}

const SYNC: &str = r#"
    [[sync]]
    name = "citrix"
    from = { subscription = "00000000-0000-0000-0000-000000000001", resource_group = "snaps" }
    names = ["*"]
    to = [{ subscription = "00000000-0000-0000-0000-000000000002", region = "eastus", resource_group = "replicas" }]
"#;

/// Requests completions of the last word as bash does.
#[test]
fn values_are_completed() {
    let fixture = fixture(1, MIB);
    let complete = |words: &[&str]| {
        let mut command = fixture.command("goldfleet", &[&["--", "goldfleet"], words].concat());
        command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(!complete(&["cancel", ""]).contains("20"));
    assert!(!fixture.path("goldfleet.db").exists(), "nothing is created while somebody types");
    fixture.succeed(&fixture.upload(&[]));
    let job = fixture.json(&["status"])["job"].as_str().unwrap().to_owned();
    assert!(complete(&["cancel", ""]).lines().any(|line| line == job), "{}", complete(&["cancel", ""]));
    assert_eq!(complete(&["status", &job[..4]]).trim(), job);
    assert_eq!(complete(&["dispatch", "--image", ""]).trim(), "golden");
    assert_eq!(complete(&["upload", "--os", "l"]).trim(), "linux");
    assert_eq!(complete(&["retry", "--phase", "i"]).trim(), "image");
    assert_eq!(complete(&["cleanup", "--image", ""]).trim(), "golden");
    assert_eq!(complete(&["cleanup", "--image", "golden", "--version", ""]).trim(), "1");
    assert_eq!(complete(&["upload", "--target", "ea"]).trim(), "eastus");
    assert_eq!(complete(&["upload", "--target", "ring=0,ea"]).trim(), "ring=0,eastus");
    assert_eq!(complete(&["upload", "--target", "0000"]).trim(), "00000000-0000-0000-0000-000000000001");
    let targets = std::fs::read_to_string(fixture.path("targets.toml")).unwrap();
    let named = "name = \"Payments prod\"\ntags = { env = \"prod\" }\n";
    std::fs::write(fixture.path("targets.toml"), targets + named).unwrap();
    assert_eq!(complete(&["upload", "--target", "tag"]).trim(), "tag.env=prod");
    assert_eq!(complete(&["upload", "--target", "name="]).trim(), "name=Payments prod");
    assert_eq!(complete(&["targets", "disable", "ea"]).trim(), "eastus");
    assert_eq!(complete(&["explain", "ring-s"]).trim(), "ring-stopped");
    assert_eq!(complete(&["help", "snapshots-"]).trim(), "snapshots-page");
    let config = std::fs::read_to_string(fixture.path("goldfleet.toml")).unwrap();
    std::fs::write(fixture.path("goldfleet.toml"), config + SYNC).unwrap();
    assert_eq!(complete(&["snapshots", "sync", "ci"]).trim(), "citrix");
    assert_eq!(complete(&["rehearse", "--sync", ""]).trim(), "citrix");
    // Bash splits words at '=', and needs blanks to be escaped.
    std::fs::write(fixture.path("complete.bash"), fixture.run(&["completions", "bash"]).stdout).unwrap();
    let in_bash = |line: &str, words: &str| {
        let script = format!(
            "source ./complete.bash; COMP_LINE={line:?} COMP_POINT={}; COMP_WORDS=({words}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _goldfleet goldfleet; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            line.len()
        );
        let path = format!("{}:{}", process_fixture::programs().display(), std::env::var("PATH").unwrap());
        let mut bash = std::process::Command::new("bash");
        let output = bash.args(["--norc", "-c", &script]).env("PATH", path).current_dir(fixture.path(".")).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let upload = "goldfleet upload --target";
    assert_eq!(in_bash(&format!("{upload} name=Pay"), &format!("{upload} name = Pay")), "Payments\\ prod\n");
    assert_eq!(in_bash(&format!("{upload} tag.env="), &format!("{upload} tag.env =")), "prod\n");
    assert_eq!(in_bash(&format!("{upload} ring=0,ea"), &format!("{upload} ring = 0,ea")), "0,eastus\n");
    assert_eq!(in_bash(&format!("{upload} ea"), &format!("{upload} ea")), "eastus\n");
    assert_eq!(in_bash("goldfleet upload --os l", "goldfleet upload --os l"), "linux\n");
}

/// One unusable account neither hides the results of the others nor stops their clean-up.
#[test]
fn a_cleanup_has_a_result_for_each_target() {
    let fixture = fixture(2, MIB);
    fixture.succeed(&fixture.upload(&["--wait"]));
    let job = &fixture.json(&["status"])["job"].as_str().unwrap().to_owned();
    let dry = &fixture.json(&["cleanup", job, "--dry-run"])["removed"];
    assert_eq!((&dry["dry_run"], &dry["vhds"], &dry["failed"]), (&true.into(), &6.into(), &0.into()), "{dry:#}");
    assert!(fixture.path("cloud/stage2eastus/vhds/golden/1.vhd").exists(), "nothing is deleted");

    std::fs::rename(fixture.path("cloud/stage2eastus"), fixture.path("aside")).unwrap();
    std::fs::write(fixture.path("cloud/stage2eastus"), "in the way").unwrap();
    let output = fixture.run(&["cleanup", job, "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let done = &serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["removed"];
    assert_eq!((&done["vhds"], &done["failed"]), (&5.into(), &1.into()), "{done:#}");
    let results = done["targets"].as_array().unwrap();
    let failed: Vec<_> = results.iter().filter(|target| target["result"] == "failed").collect();
    assert_eq!((results.len(), failed.len()), (6, 1), "{done:#}");
    assert_eq!(failed[0]["target"], "00000000-0000-0000-0000-000000000002/eastus");
    assert_eq!(failed[0]["code"], "account-unusable");
    assert_eq!(fixture.json(&["status"])["staged_removed"], false);

    std::fs::remove_file(fixture.path("cloud/stage2eastus")).unwrap();
    std::fs::rename(fixture.path("aside"), fixture.path("cloud/stage2eastus")).unwrap();
    let output = fixture.run(&["cleanup", job]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), text), (Some(0), format!("job {job}: 1 staged VHD deleted\n")));
    assert_eq!(fixture.json(&["status"])["staged_removed"], true);
}

#[test]
fn a_dry_run_of_a_deletion_deletes_nothing() {
    let fixture = fixture(1, MIB);
    fixture.succeed(&fixture.upload(&["--wait"]));
    let version = ["cleanup", "--image", "golden", "--version", "1"];
    let dry = fixture.json(&[&version[..], &["--dry-run"]].concat());
    assert_eq!((&dry["removed"], &dry["dry_run"]), (&false.into(), &true.into()));
    assert_eq!(fixture.json(&["images"])["images"].as_array().unwrap().len(), 1);
    let history = fixture.json(&["cleanup", "--history", "1", "--dry-run"]);
    assert_eq!((&history["removed"], &history["dry_run"]), (&serde_json::json!([]), &true.into()));
    let targets = std::fs::read_to_string(fixture.path("targets.toml")).unwrap();
    let dry = fixture.json(&["targets", "remove", "eastus", "--dry-run"]);
    assert_eq!(dry["removed"].as_array().unwrap().len(), 1);
    assert_eq!(std::fs::read_to_string(fixture.path("targets.toml")).unwrap(), targets);
    assert_eq!(fixture.json(&["targets", "remove", "eastus"])["dry_run"], false);
    assert_eq!(fixture.json(&["targets", "list"]).as_array().unwrap().len(), 2);
    assert_eq!(fixture.json(&version)["removed"], true);
}
