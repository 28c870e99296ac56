//! Real processes of a fleet, in a temporary directory with a configuration, targets and a golden VHD.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use goldfleet_disk::GoldenSpec;
use goldfleet_model::manifest::Generation;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The time limit for a job of a small fleet. A longer run means that something is wrong.
const TEST_TIMEOUT: Duration = Duration::from_secs(150);

/// The part that every configuration needs.
pub const SOURCE: &str = r#"
[source]
subscription = "00000000-0000-0000-0000-000000000000"
region = "westeurope"
account = "goldsource"
container = "golden"
"#;

/// A small golden VHD: 24 MiB with a few chunks.
#[must_use]
pub fn golden() -> GoldenSpec {
    GoldenSpec::spread(24 << 20, Generation::V2, 1 << 20, 4, 1)
}

/// The variable that names the directory of already built programs. Under `cargo nextest` every test is a process, and
/// each would otherwise run cargo to build them.
const PROGRAMS: &str = "GOLDFLEET_PROGRAMS";

/// The directory of the programs: the one that `GOLDFLEET_PROGRAMS` names. Otherwise they are built once in this
/// process.
#[must_use]
pub fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os(PROGRAMS) {
            return std::path::absolute(folder).unwrap();
        }
        let mut command = Command::new(env!("CARGO"));
        clear_cargo_env(&mut command);
        command.args(["build", "--quiet", "-p", "goldfleet-dispatcher", "-p", "goldfleet-worker"]);
        // The test's binary is target/PROFILE/deps/NAME.
        let folder = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        if folder.ends_with("release") {
            command.arg("--release");
        }
        assert!(command.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        folder
    })
}

/// Removes the variables that cargo sets for the package of the test. They would cause some dependencies to be rebuilt.
pub fn clear_cargo_env(command: &mut Command) {
    let kept = ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_", "CARGO_PROFILE_"];
    let ours = |name: &str| name.starts_with("CARGO_") && !kept.iter().any(|kept| name.starts_with(kept));
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
}

/// A process that is killed at the end of its test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A directory with a configuration, targets and a golden VHD.
pub struct ProcessFixture {
    folder: TempDir,
}

impl ProcessFixture {
    /// Creates a directory with these files.
    #[must_use]
    pub fn new(config: &str, targets: &str, golden: &GoldenSpec) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("goldfleet.toml"), config).unwrap();
        std::fs::write(folder.path().join("targets.toml"), targets).unwrap();
        golden.write(&folder.path().join("golden.vhd")).unwrap();
        Self { folder }
    }

    /// The path of a file in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that runs a program in the directory.
    #[must_use]
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs().join(program));
        command.args(arguments).current_dir(self.folder.path()).env_remove("GOLDFLEET_CONFIG");
        command.env("GOLDFLEET_LOG", "error").stdin(Stdio::null());
        command
    }

    /// Starts a program in the directory.
    #[must_use]
    pub fn start(&self, program: &str, arguments: &[&str]) -> Process {
        let mut command = self.command(program, arguments);
        Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Runs `goldfleet` and waits for its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command("goldfleet", arguments).output().unwrap()
    }

    /// Runs `goldfleet` and asserts exit code 0.
    pub fn succeed(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs `goldfleet`, and returns its JSON output.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {error}"))
    }

    /// The arguments that upload the golden VHD, followed by `more`.
    #[must_use]
    pub fn upload<'a>(&self, more: &[&'a str]) -> Vec<&'a str> {
        [&["upload", "golden.vhd", "--image", "golden", "--version", "1", "--os", "linux"], more].concat()
    }

    /// Waits until a condition on the status holds.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.json(&["status"]);
            if holds(&status) {
                return status;
            }
            assert!(begun.elapsed() < TEST_TIMEOUT, "{what} did not come about: {status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the job has ended.
    pub fn wait_for_job(&self) -> Value {
        self.wait_until("an end", |status| status["state"] != "running" && status["state"] != "requested")
    }

    /// Asserts that all operations of the job succeeded, each once.
    pub fn assert_succeeded_once(&self, targets: usize) {
        self.assert_succeeded_once_each(&[("copy", targets), ("image", targets)]);
    }

    /// Asserts that the numbers of operations in these phases and all others of the job succeeded, each once.
    pub fn assert_succeeded_once_each(&self, phases: &[(&str, usize)]) {
        let status = self.json(&["status"]);
        assert_eq!(status["state"], "succeeded", "{status:#}");
        for (phase, count) in phases {
            assert_eq!(status["phases"][phase]["succeeded"], *count, "{status:#}");
        }
        let events = self.json(&["logs"]);
        let succeeded = events.as_array().unwrap().iter().filter(|event| event["what"] == "succeed");
        let mut done: Vec<&str> = succeeded.filter_map(|event| event["operation"].as_str()).collect();
        let all = done.len();
        done.sort_unstable();
        done.dedup();
        assert_eq!(done.len(), all, "an operation was done twice");
        assert_ended_by_last_claimer(&events);
    }
}

/// Asserts that the worker that claimed an operation last has ended it: a worker that lost its lease records nothing.
fn assert_ended_by_last_claimer(events: &Value) {
    let mut claims = BTreeMap::<&str, &str>::new();
    for event in events.as_array().unwrap() {
        let (Some(operation), Some(who)) = (event["operation"].as_str(), event["who"].as_str()) else { continue };
        match event["what"].as_str() {
            Some("claim") => drop(claims.insert(operation, who)),
            Some("succeed" | "retry" | "defer" | "drain") => assert_eq!(claims.get(operation), Some(&who), "{event:#}"),
            _ => {}
        }
    }
}

/// The content of a targets file for the first `subscriptions` subscriptions in each of the regions.
#[must_use]
pub fn targets(subscriptions: u32, regions: &[&str]) -> String {
    let target = |n: u32, region: &str| {
        format!(
            "[[target]]\nsubscription = \"00000000-0000-0000-0000-{n:012}\"\nregion = \"{region}\"\n\
             resource_group = \"images\"\naccount = \"stage{n}{region}\"\ncontainer = \"vhds\"\n"
        )
    };
    (1..=subscriptions).flat_map(|n| regions.iter().map(move |region| target(n, region))).collect()
}
