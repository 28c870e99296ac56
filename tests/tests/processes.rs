//! Real processes: killed, paused, asked to stop.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use goldfleet_shared::model::manifest::Generation;
use goldfleet_shared::vhd::{Disk, GoldenSpec, same_disk};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// Where the programs are, built once.
fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--quiet", "-p", "goldfleet-dispatcher", "-p", "goldfleet-worker"]);
        // This test's binary is target/PROFILE/deps/NAME.
        let folder = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        if folder.ends_with("release") {
            command.arg("--release");
        }
        assert!(command.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        folder
    })
}

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A folder with a configuration, targets and a golden VHD.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(subscriptions: u32, data: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let toml = r#"
            [source]
            subscription = "00000000-0000-0000-0000-000000000000"
            region = "westeurope"
            account = "goldsource"
            container = "golden"
            [worker]
            lease = "3s"
            retry_base = "20ms"
            concurrency = 8
            [dispatch]
            sweep = "200ms"
            patience = "2s"
        "#;
        std::fs::write(folder.path().join("goldfleet.toml"), toml).unwrap();
        let target = |n: u32, region: &str| {
            format!(
                "[[target]]\nsubscription = \"00000000-0000-0000-0000-{n:012}\"\nregion = \"{region}\"\n\
                 resource_group = \"images\"\naccount = \"stage{n}{region}\"\ncontainer = \"vhds\"\n"
            )
        };
        let regions = ["westeurope", "eastus", "japaneast"];
        let targets: String = (1..=subscriptions).flat_map(|n| regions.map(|region| target(n, region))).collect();
        std::fs::write(folder.path().join("targets.toml"), targets).unwrap();
        GoldenSpec::spread(256 * MIB, Generation::V1, data, 32, 7).write(&folder.path().join("golden.vhd")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs().join(program));
        command.args(arguments).current_dir(self.folder.path()).env_remove("GOLDFLEET_CONFIG");
        command.env("GOLDFLEET_LOG", "error").stdin(Stdio::null());
        command
    }

    fn start(&self, program: &str, arguments: &[&str]) -> Process {
        let mut command = self.command(program, arguments);
        Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command("goldfleet", arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {error}"))
    }

    fn upload<'a>(&self, more: &[&'a str]) -> Vec<&'a str> {
        [&["upload", "golden.vhd", "--image", "golden", "--version", "1", "--os", "linux"], more].concat()
    }

    /// Waits until something holds.
    fn until(&self, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.json(&["status"]);
            if holds(&status) {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "{what} did not come about: {status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn until_ended(&self) -> Value {
        self.until("an end", |status| status["state"] != "running")
    }

    /// Everything succeeded, once, and every VHD is whole.
    fn assert_all_done(&self, targets: usize) {
        let status = self.json(&["status"]);
        assert_eq!(status["state"], "succeeded", "{status:#}");
        for phase in ["copy", "image"] {
            assert_eq!(status["phases"][phase]["succeeded"], targets, "{status:#}");
        }
        let events = self.json(&["logs"]);
        let mut done: Vec<&str> = events
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["what"] == "succeed")
            .filter_map(|event| event["operation"].as_str())
            .collect();
        let all = done.len();
        done.sort_unstable();
        done.dedup();
        assert_eq!(done.len(), all, "an operation was done twice");
        let golden = Disk::open(&self.path("golden.vhd")).unwrap();
        let (mut vhds, mut images) = (0, 0);
        for account in std::fs::read_dir(self.path("cloud")).unwrap() {
            let vhd = account.unwrap().path().join("vhds/golden/1.vhd");
            if vhd.exists() {
                assert_eq!(same_disk(&golden, &vhd).unwrap(), None, "{}", vhd.display());
                vhds += 1;
            }
        }
        for subscription in std::fs::read_dir(self.path("cloud/subscriptions")).unwrap() {
            let folder = subscription.unwrap().path().join("resourceGroups/images/images");
            images += std::fs::read_dir(folder).unwrap().count();
        }
        assert_eq!((vhds, images), (targets, targets));
    }
}

/// Workers and the dispatcher are killed at random moments while a few hundred operations run.
#[test]
fn killed_workers_and_dispatchers_lose_nothing() {
    let place = Place::new(40, 16 * MIB);
    assert!(place.run(&place.upload(&[])).status.success());
    let mut dispatcher = place.start("goldfleet", &["dispatcher"]);
    let mut workers: Vec<Process> = (0..3).map(|_| place.start("goldfleet-worker", &[])).collect();
    let mut random = StdRng::seed_from_u64(20_261_121);
    for round in 0..12 {
        std::thread::sleep(Duration::from_millis(random.random_range(30..400)));
        let victim = random.random_range(0..workers.len());
        workers[victim].kill();
        workers[victim] = place.start("goldfleet-worker", &[]);
        if round % 3 == 0 {
            dispatcher.kill();
            dispatcher = place.start("goldfleet", &["dispatcher"]);
        }
    }
    let status = place.until_ended();
    place.assert_all_done(120);
    let copy = &status["phases"]["copy"];
    println!("bytes moved {} of {}, as recorded", copy["bytes_moved"], copy["bytes_total"]);
    assert!(copy["bytes_done"] == copy["bytes_total"], "{copy}");
}

/// A dispatcher that is killed while it fans out leaves rows or messages missing; the next one adds just those.
#[test]
fn a_dispatcher_killed_in_fan_out_is_made_good() {
    let place = Place::new(60, MIB);
    assert!(place.run(&place.upload(&[])).status.success());
    for wait in [0, 5, 10, 20, 40] {
        let mut dispatcher = place.start("goldfleet", &["dispatcher"]);
        std::thread::sleep(Duration::from_millis(wait));
        dispatcher.kill();
    }
    let _dispatcher = place.start("goldfleet", &["dispatcher"]);
    // The killed ones' message is invisible for up to two minutes; the sweeper does not wait for it.
    let _workers: Vec<Process> = (0..2).map(|_| place.start("goldfleet-worker", &[])).collect();
    place.until_ended();
    place.assert_all_done(180);
}

/// A killed upload has no manifest, and the next sends only what is missing.
#[test]
fn a_killed_upload_goes_on() {
    let place = Place::new(1, 128 * MIB);
    let chunks = place.path("cloud/goldsource/golden/chunks");
    let present = || std::fs::read_dir(&chunks).map_or(0, Iterator::count);
    let mut upload = place.start("goldfleet", &place.upload(&["--no-dispatch"]));
    while present() < 5 {
        assert!(upload.0.try_wait().unwrap().is_none(), "the upload was too fast to be killed");
    }
    upload.kill();
    assert!(!place.path("cloud/goldsource/golden/manifests").exists(), "an upload that was killed looks complete");
    let before: u64 = std::fs::read_dir(&chunks).unwrap().map(|chunk| chunk.unwrap().metadata().unwrap().len()).sum();
    let again = place.json(&place.upload(&["--no-dispatch"]));
    let (data, sent) = (again["bytes_data"].as_u64().unwrap(), again["bytes_sent"].as_u64().unwrap());
    assert_eq!(sent + before, data, "{again}");
    assert!(before > 0 && sent > 0, "{again}");
}

/// A worker that is paused past its lease, and wakes when its successor is done, changes nothing.
#[test]
fn a_paused_worker_does_not_write_over_its_successor() {
    let place = Place::new(8, 64 * MIB);
    assert!(place.run(&place.upload(&[])).status.success());
    let _dispatcher = place.start("goldfleet", &["dispatcher"]);
    let paused = place.start("goldfleet-worker", &[]);
    place.until("a running copy", |status| status["phases"]["copy"]["running"].as_u64() > Some(0));
    paused.signal(Signal::STOP);
    let held = place.json(&["status"])["phases"]["copy"]["running"].as_u64().unwrap();
    let _successor = place.start("goldfleet-worker", &[]);
    place.until_ended();
    place.assert_all_done(24);
    let events = place.json(&["logs"]).as_array().unwrap().len();
    paused.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(1500));
    place.assert_all_done(24);
    assert_eq!(place.json(&["logs"]).as_array().unwrap().len(), events, "the paused worker still wrote ({held} held)");
}

/// SIGTERM: leases are given back, so that nobody has to wait for them to end.
#[test]
fn a_worker_that_is_asked_to_stop_gives_its_leases_back() {
    let place = Place::new(8, 64 * MIB);
    assert!(place.run(&place.upload(&[])).status.success());
    let _dispatcher = place.start("goldfleet", &["dispatcher"]);
    let mut worker = place.start("goldfleet-worker", &[]);
    place.until("a running copy", |status| status["phases"]["copy"]["running"].as_u64() > Some(0));
    worker.signal(Signal::TERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(0));
    let status = place.json(&["status"]);
    assert_eq!(status["phases"]["copy"]["running"], 0, "{status:#}");
    let _next = place.start("goldfleet-worker", &[]);
    place.until_ended();
    place.assert_all_done(24);
    let events = place.json(&["logs"]);
    assert!(events.as_array().unwrap().iter().all(|event| event["what"] != "expire"), "a lease was left behind");
}

/// One command does all, says the truth with its exit code, and goes on after an interruption.
#[test]
fn one_command_does_all_and_its_exit_code_tells() {
    let place = Place::new(4, 32 * MIB);
    std::fs::create_dir_all(place.path("cloud")).unwrap();
    let broken = place.path("cloud/stage2japaneast");
    std::fs::write(&broken, "in the way").unwrap();
    let mut interrupted = place.start("goldfleet", &place.upload(&["--wait"]));
    while !place.path("cloud/goldsource/golden/manifests").exists() {
        assert!(interrupted.0.try_wait().unwrap().is_none(), "the upload ended early");
    }
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.0.wait().unwrap().code(), Some(130));
    let dispatch = place.run(&["dispatch", "--image", "golden", "--version", "1", "--wait"]);
    assert_eq!(dispatch.status.code(), Some(1), "{}", String::from_utf8_lossy(&dispatch.stderr));
    let status = place.json(&["status"]);
    assert_eq!(status["failures"][0]["code"], "account-unusable", "{status:#}");
    assert_eq!(status["phases"]["image"]["succeeded"], 11);
    std::fs::remove_file(&broken).unwrap();
    assert_eq!(place.run(&["retry", "--wait"]).status.code(), Some(0));
    place.assert_all_done(12);
    assert_eq!(
        place.run(&["upload", "targets.toml", "--image", "x", "--version", "1", "--os", "linux"]).status.code(),
        Some(2)
    );
    assert_eq!(place.run(&["status", "20000101-000000-0000"]).status.code(), Some(2));
    assert_eq!(place.run(&["status", "--sideways"]).status.code(), Some(2));
}

/// What the demonstration promises, on a small stage.
#[test]
fn the_demonstration_keeps_its_promises() {
    let place = Place::new(1, MIB);
    let arguments =
        ["demo", "--subscriptions", "3", "--regions", "3", "--images", "2", "--workers", "2", "--folder", "d"];
    let demo = place.json(&arguments);
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
