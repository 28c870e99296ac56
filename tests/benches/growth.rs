//! What an operation costs in small and in large jobs: `cargo bench -p goldfleet-tests --bench growth`.
//!
//! For each size, a separate process rolls out a small disk to so many targets that the job has that number of copies
//! and images. The process is a dispatcher and a worker with default settings, on SQLite and a directory cloud. It
//! prints its CPU time and its peak memory. Exit code 1 if an operation of a larger job costs more than 1.2 times as
//! much as one of the smallest job. `-- --sizes 600,10000` measures other sizes.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures; it reports by panicking")]
#![expect(clippy::cast_precision_loss, reason = "shown with a few digits")]

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser as _;
use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::service::{RunUntil, run};
use goldfleet_model::job::JobState;
use goldfleet_model::manifest::Generation;
use goldfleet_tests::bench::size;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture::{SOURCE, targets};
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::program;
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

/// How much more an operation of a large job may cost than one of the smallest job.
const BOUND: f64 = 1.2;

/// Rounds of the smallest size, of which the best is taken: what disturbs them only adds.
const ROUNDS: usize = 3;

const REGIONS: [&str; 3] = ["westeurope", "eastus", "japaneast"];

#[derive(clap::Parser)]
struct GrowthOptions {
    /// The numbers of operations, smallest first.
    #[arg(long, value_delimiter = ',', default_values_t = size(vec![600, 10_000, 100_000], vec![12, 24]))]
    sizes: Vec<u32>,
    /// Measures one size in this process.
    #[arg(long, hide = true)]
    one: Option<u32>,
    /// Said by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one size took.
#[derive(serde::Serialize, serde::Deserialize)]
struct Cost {
    /// CPU seconds of the process, from the request to the end of the job.
    cpu: f64,
    /// Seconds.
    time: f64,
    /// Peak resident memory in MiB.
    memory: f64,
}

fn main() -> ExitCode {
    let options = GrowthOptions::parse();
    if let Some(operations) = options.one {
        let runtime = goldfleet_runtime::process::runtime().unwrap();
        println!("{}", serde_json::to_string(&runtime.block_on(measure(operations))).unwrap());
        return ExitCode::SUCCESS;
    }
    println!("{:>10} {:>12} {:>8} {:>10} {:>12}", "operations", "CPU each, ms", "ratio", "seconds", "memory, MiB");
    let mut smallest = None;
    let mut grows = false;
    for (index, operations) in options.sizes.iter().enumerate() {
        let rounds = if index == 0 { ROUNDS } else { 1 };
        let costs = (0..rounds).map(|_| measured_elsewhere(*operations));
        let cost = costs.min_by(|one, other| one.cpu.total_cmp(&other.cpu)).unwrap();
        let each = cost.cpu / f64::from(*operations);
        let ratio = each / *smallest.get_or_insert(each);
        println!("{operations:>10} {:>12.3} {ratio:>8.2} {:>10.1} {:>12.1}", each * 1e3, cost.time, cost.memory);
        grows |= ratio > BOUND;
    }
    if grows && options.bench { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measured_elsewhere(operations: u32) -> Cost {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--one", &operations.to_string()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{operations} operations: {text}"))
}

async fn measure(operations: u32) -> Cost {
    let regions = u32::try_from(REGIONS.len()).unwrap();
    let subscriptions = (operations / 2).div_ceil(regions);
    let golden = GoldenSpec::spread(24 << 20, Generation::V2, 64 << 10, 1, 1);
    let fleet = InProcessFleet::with(SOURCE, &targets(subscriptions, &REGIONS), &golden);
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let (began, before) = (Instant::now(), cpu_seconds());
    let job = fleet.request("1").await;
    let stop = CancellationToken::new();
    let (control, serving) = (fleet.control_with_own_ports(), stop.clone());
    let dispatcher = tokio::spawn(async move { run(&control, RunUntil::Stopped, &serving).await });
    let settings = program::settings(&fleet.config);
    let consumer = Consumer::new(WorkerContext::new(fleet.ports.clone(), settings), stop.clone());
    let worker = tokio::spawn(async move { consumer.run().await });
    let ended = loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let state = fleet.ports.table.job(&job).await.unwrap().unwrap().value.state;
        if state.is_terminal() {
            break state;
        }
    };
    let (cpu, time) = (cpu_seconds() - before, began.elapsed().as_secs_f64());
    assert_eq!(ended, JobState::Succeeded);
    stop.cancel();
    dispatcher.await.unwrap();
    worker.await.unwrap();
    Cost { cpu, time, memory: peak_memory() }
}

/// The CPU time of this process so far.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The peak resident memory of this process in MiB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
