//! Real bytes to many targets: `cargo bench -p goldfleet-tests --bench fill`.
//!
//! 16 targets of the directory cloud are filled together from one store; beside them, `cp --sparse=always` makes as
//! many copies of the same file one after the other. goldfleet's time is from the request to the end of the job:
//! planning, every chunk's checksum, 16 footers, 16 images. Nothing is synced to disk by either.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a program that prints figures")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use goldfleet_config::Config;
use goldfleet_disk::{AzureDisk, GoldenSpec, same_disk};
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::local::LocalFleet;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_dispatcher::control::upload::{UploadRequest, upload};
use goldfleet_dispatcher::terminal::follow::{FinishedBy, follow};
use goldfleet_dispatcher::terminal::progress::{ProgressDisplay, ProgressMode};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_sources::DiskFile;
use goldfleet_tests::bench::size;
use goldfleet_tests::process_fixture::{self, SOURCE};
use tokio_util::sync::CancellationToken;

const MIB: u64 = 1 << 20;

/// Bytes of data of the disk.
fn data() -> u64 {
    size(256, 16) * MIB
}

/// How many targets are filled together.
fn targets() -> u32 {
    size(16, 2)
}

/// How often it is measured.
fn rounds() -> usize {
    size(5, 1)
}

const CONFIG: &str = r#"
[dispatch]
sweep = "100ms"
"#;

fn main() -> anyhow::Result<()> {
    let runtime = goldfleet_runtime::process::runtime()?;
    let mut ratios = Vec::new();
    for round in 1..=rounds() {
        let folder = tempfile::tempdir()?;
        let golden = folder.path().join("golden.vhd");
        GoldenSpec::spread(4 * data(), Generation::V1, data(), 64, 1).write(&golden)?;
        let copied = copies(&golden, folder.path())?;
        let filled = runtime.block_on(fill(&golden, folder.path()))?;
        let rate = |seconds: f64| (data() * u64::from(targets())) as f64 / MIB as f64 / seconds;
        println!("round {round}: goldfleet {:.0} MiB/s, cp {:.0} MiB/s", rate(filled), rate(copied));
        ratios.push(copied / filled);
    }
    ratios.sort_by(f64::total_cmp);
    let (least, median, most) = (ratios[0], ratios[rounds() / 2], ratios[rounds() - 1]);
    println!(
        "bytes a second, {} targets together to cp one after the other: {median:.2} ({least:.2} to {most:.2})",
        targets()
    );
    runtime.shutdown_background();
    Ok(())
}

/// Makes the copies. Returns the seconds it took.
fn copies(golden: &Path, folder: &Path) -> anyhow::Result<f64> {
    let folder = folder.join("copies");
    std::fs::create_dir(&folder)?;
    let begun = Instant::now();
    for n in 0..targets() {
        let status = Command::new("cp").arg("--sparse=always").arg(golden).arg(folder.join(n.to_string())).status()?;
        ensure!(status.success(), "cp failed");
    }
    let seconds = begun.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&folder)?;
    Ok(seconds)
}

/// Uploads, and takes it to all targets. Returns the seconds that the latter took.
async fn fill(golden: &Path, folder: &Path) -> anyhow::Result<f64> {
    let file = folder.join("goldfleet.toml");
    std::fs::write(&file, format!("{SOURCE}{CONFIG}"))?;
    std::fs::write(folder.join("targets.toml"), process_fixture::targets(targets(), &["westeurope"]))?;
    let config = Arc::new(Config::load(Some(&file), std::iter::empty())?);
    let control = ControlContext::new(goldfleet_connect::open(&config)?, config, "bench");
    let asked = UploadRequest {
        source: DiskFile::shared(golden),
        image: "golden".parse()?,
        version: "1".parse()?,
        os: OsType::Linux,
        check: goldfleet_dispatcher::control::check::ImageChecks::default(),
        limit: None,
    };
    let (stop, progress) = (CancellationToken::new(), ProgressDisplay::new(ProgressMode::Silent));
    upload(&control, &asked, &|_| {}, &stop).await?;
    let begun = Instant::now();
    let job = request_job(&control, &asked.image, &asked.version, &[], false).await?.job.id;
    let local = LocalFleet::start(&control);
    let status =
        follow(&control, &job, FinishedBy::ThisProcess, &progress, &stop).await?.context("followed to its end")?;
    let seconds = begun.elapsed().as_secs_f64();
    local.drain().await;
    ensure!(status.state == ReportedState::Succeeded, "the job has {:?}", status.failures);
    let last = folder.join(format!("cloud/stage{}westeurope/vhds/golden/1.vhd", targets()));
    ensure!(same_disk(&AzureDisk::open(golden)?, &last)?.is_none(), "{} is not the golden VHD", last.display());
    Ok(seconds)
}
