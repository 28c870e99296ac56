//! A fleet that is never left alone: `cargo bench -p goldfleet-tests --bench soak -- --minutes 15`.
//!
//! A dispatcher and four workers, processes of their own, make version after version of an image at 18 targets, while
//! older versions, their staged VHDs and their chunks are cleaned up. Between jobs it looks at each process's memory
//! and open handles, at the SQLite file and at the cloud's folder, and in the end says what grew. Exit code 1 where
//! anything grew beyond its bound, or an operation failed.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures; it reports by panicking")]

mod growth;
mod sample;

use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser as _;
use goldfleet_disk::{Footer, GoldenSpec};
use goldfleet_model::manifest::Generation;
use goldfleet_tests::bench::{is_short, size};
use goldfleet_tests::process_fixture::{Process, ProcessFixture, SOURCE, targets};
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

use sample::Sample;

const MIB: u64 = 1 << 20;

/// The golden disk: its size, its data, and in how many pieces that lies.
const DISK: u64 = 64 * MIB;
const DATA: u64 = 4 * MIB;
const PIECES: u64 = 16;

/// How many versions are kept: the newest, and the one that the next is made from.
const KEPT: u64 = 2;

/// The dispatcher's name among the processes.
const DISPATCHER: &str = "dispatcher";

/// The time between two looks at a job that runs.
const LOOK: Duration = Duration::from_millis(100);

/// How long a job may take before something must be wrong.
const TOO_LONG: Duration = Duration::from_secs(120);

/// Chunks need not lie for long before they are collected, as nothing is uploaded meanwhile.
const CONFIG: &str = r#"
[dispatch]
sweep = "500ms"
[worker]
poll = "500ms"
[cleanup]
chunk_grace = "1s"
"#;

#[derive(clap::Parser)]
struct SoakOptions {
    /// How long.
    #[arg(long, default_value_t = size(15.0, 0.1))]
    minutes: f64,
    /// Seconds between the beginnings of two jobs, where they are done by then.
    #[arg(long, default_value_t = 2.0)]
    every: f64,
    /// Said by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let asked = SoakOptions::parse();
    let golden = GoldenSpec::spread(DISK, Generation::V1, DATA, PIECES, 1);
    let fixture =
        ProcessFixture::new(&format!("{SOURCE}{CONFIG}"), &targets(6, &["westeurope", "eastus", "japaneast"]), &golden);
    let fleet = Fleet::start(&fixture);
    let (begun, minutes) = (Instant::now(), Duration::from_secs_f64(asked.minutes * 60.0));
    let (mut samples, mut operations, mut version) = (Vec::new(), 0, 0);
    // A line for every sixtieth of the time.
    let mut lines = 0;
    println!("{}", sample::heading());
    while begun.elapsed() < minutes {
        let next = Instant::now() + Duration::from_secs_f64(asked.every);
        version += 1;
        operations += make(&fixture, &golden, version);
        clean(&fixture, version);
        samples.push(Sample::take(&fixture, &fleet.processes, begun.elapsed(), version, operations));
        if begun.elapsed() >= minutes.mul_f64(f64::from(lines) / 60.0) {
            lines += 1;
            println!("{}", samples[samples.len() - 1]);
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    println!("{version} jobs, {operations} operations, all succeeded");
    let grew = growth::report(&samples);
    // A few seconds show no growth: memory finds its size in them.
    if grew && !is_short() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The dispatcher and the workers.
struct Fleet {
    processes: Vec<(&'static str, Process)>,
}

impl Fleet {
    fn start(fixture: &ProcessFixture) -> Self {
        let workers = ["worker 1", "worker 2", "worker 3", "worker 4"];
        let mut processes = vec![(DISPATCHER, fixture.start("goldfleet", &["dispatcher"]))];
        processes.extend(workers.map(|name| (name, fixture.start("goldfleet-worker", &[]))));
        Self { processes }
    }
}

/// Makes a version of which one piece is new, and has it made an image everywhere. Returns how many operations that
/// took.
fn make(fixture: &ProcessFixture, golden: &GoldenSpec, version: u64) -> u64 {
    let file = std::fs::OpenOptions::new().write(true).open(fixture.path("golden.vhd")).unwrap();
    let (offset, length) = golden.extents[usize::try_from(version % PIECES).unwrap()];
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    StdRng::seed_from_u64(version).fill_bytes(&mut bytes);
    file.write_all_at(&bytes, offset).unwrap();
    // An id of its own, as every tool gives it, so that copies begin with the version before.
    file.write_all_at(&Footer::fixed_for(DISK, version.into()).to_bytes(), DISK).unwrap();
    drop(file);
    let version = version.to_string();
    fixture.succeed(&["upload", "golden.vhd", "--image", "golden", "--version", &version, "--os", "linux"]);
    let begun = Instant::now();
    loop {
        let status = fixture.json(&["status"]);
        match status["state"].as_str().unwrap() {
            "succeeded" => {
                let phases =
                    ["seed", "copy", "image"].map(|phase| status["phases"][phase]["succeeded"].as_u64().unwrap());
                return phases.iter().sum();
            }
            "running" => assert!(begun.elapsed() < TOO_LONG, "it takes too long: {status:#}"),
            _ => panic!("{status:#}"),
        }
        std::thread::sleep(LOOK);
    }
}

/// Gives up what is older than the versions that are kept.
fn clean(fixture: &ProcessFixture, version: u64) {
    if version <= KEPT {
        return;
    }
    let old = (version - KEPT).to_string();
    let jobs = fixture.json(&["jobs"]);
    let job = jobs.as_array().unwrap().iter().find(|job| job["version"] == old.as_str()).unwrap();
    fixture.succeed(&["cleanup", job["job"].as_str().unwrap()]);
    fixture.succeed(&["cleanup", "--image", "golden", "--version", &old]);
    fixture.succeed(&["cleanup", "--chunks"]);
}
