//! What crosses the wire: `cargo bench -p goldfleet-tests --bench transfer`.
//!
//! A VHD of 1 GiB with 100 extents of 1 MiB of random data is uploaded and dispatched to 4 targets in 2 regions; then a
//! next version, of which 5 of the extents have other data. Printed are bytes, and their ratios to what would be ideal.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a program that prints figures")]

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use goldfleet_config::Config;
use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::artifacts::load_version;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::local::LocalFleet;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_dispatcher::control::upload::{UploadRequest, UploadResult, upload};
use goldfleet_dispatcher::terminal::follow::{FinishedBy, follow};
use goldfleet_dispatcher::terminal::progress::{ProgressDisplay, ProgressMode};
use goldfleet_model::ids::ImageVersion;
use goldfleet_model::manifest::{ChunkHash, Generation, Manifest, OsType};
use goldfleet_sources::DiskFile;
use goldfleet_tests::bench::size;
use goldfleet_tests::process_fixture::SOURCE;
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use tokio_util::sync::CancellationToken;

const MIB: u64 = 1 << 20;

const CONFIG: &str = r#"
[dispatch]
sweep = "100ms"
"#;

fn main() -> anyhow::Result<()> {
    let runtime = goldfleet_runtime::process::runtime()?;
    let result = runtime.block_on(run());
    runtime.shutdown_background();
    result
}

async fn run() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let control = control(folder.path())?;
    let file = folder.path().join("golden.vhd");
    let extents: u64 = size(100, 20);
    let data = extents * MIB;
    let spec = GoldenSpec::spread(size(1024, 256) * MIB, Generation::V1, data, extents, 1);
    spec.write(&file)?;
    let (first, old, job) = version(&control, &file, "1").await?;
    let ideal = data + 512;
    line("first version: bytes sent to non-zero bytes", first.counts.bytes_sent, ideal, 1.02)?;
    line("first version: WAN bytes to data, one remote region", wan(&job), old.data_bytes(), 1.0)?;

    change(&file, &spec.extents[..5])?;
    let (next, new, job) = version(&control, &file, "2").await?;
    let known: HashSet<ChunkHash> = old.chunks.iter().map(|chunk| chunk.hash).collect();
    let changed: u64 =
        new.chunks.iter().filter(|chunk| !known.contains(&chunk.hash)).map(|chunk| u64::from(chunk.length)).sum();
    println!("next version: {changed} bytes of chunks changed, of {}", new.data_bytes());
    line("next version: bytes sent to changed chunks", next.counts.bytes_sent, changed, 1.1)?;
    line("next version: WAN bytes to changed chunks", wan(&job), changed, 1.1)
}

fn line(what: &str, bytes: u64, of: u64, at_most: f64) -> anyhow::Result<()> {
    let ratio = bytes as f64 / of as f64;
    println!("{what}: {bytes} / {of} = {ratio:.4} (at most {at_most})");
    ensure!(ratio <= at_most, "{what} is over its bound");
    Ok(())
}

fn wan(status: &Status) -> u64 {
    status.wan_bytes.values().sum()
}

fn control(folder: &Path) -> anyhow::Result<ControlContext> {
    let config = folder.join("goldfleet.toml");
    std::fs::write(&config, format!("{SOURCE}{CONFIG}"))?;
    let target = |n: u32, region: &str| {
        format!(
            "[[target]]\nsubscription = \"00000000-0000-0000-0000-{n:012}\"\nregion = \"{region}\"\n\
             resource_group = \"images\"\naccount = \"stage{n}{region}\"\ncontainer = \"vhds\"\n"
        )
    };
    let targets: String = (1..=2).flat_map(|n| ["westeurope", "eastus"].map(|region| target(n, region))).collect();
    std::fs::write(folder.join("targets.toml"), targets)?;
    let config = Arc::new(Config::load(Some(&config), std::iter::empty())?);
    Ok(ControlContext::new(goldfleet_connect::open(&config)?, config, "bench"))
}

/// Uploads a version and takes it to all targets.
async fn version(
    control: &ControlContext,
    file: &Path,
    version: &str,
) -> anyhow::Result<(UploadResult, Manifest, Status)> {
    let version: ImageVersion = version.parse()?;
    let asked = UploadRequest {
        source: DiskFile::shared(file),
        image: "golden".parse()?,
        version: version.clone(),
        os: OsType::Linux,
        check: goldfleet_dispatcher::control::check::ImageChecks::default(),
        limit: None,
    };
    let (stop, progress) = (CancellationToken::new(), ProgressDisplay::new(ProgressMode::Silent));
    let begun = Instant::now();
    let uploaded = upload(control, &asked, &|_| {}, &stop).await?;
    println!("version {version}: uploaded in {:.2} s", begun.elapsed().as_secs_f64());
    let job = request_job(control, &asked.image, &version, &[], false).await?.job.id;
    let begun = Instant::now();
    let local = LocalFleet::start(control);
    let status =
        follow(control, &job, FinishedBy::ThisProcess, &progress, &stop).await?.context("followed to its end")?;
    local.drain().await;
    println!("version {version}: at 4 targets in {:.2} s", begun.elapsed().as_secs_f64());
    ensure!(status.state == ReportedState::Succeeded, "the job has {:?}", status.failures);
    let mut loaded = load_version(&control.ports, &control.config, &asked.image, &version).await?;
    Ok((uploaded, loaded.manifests.swap_remove(0), status))
}

/// Gives some extents other data.
fn change(file: &Path, extents: &[(u64, u64)]) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    let mut random = StdRng::seed_from_u64(2);
    for &(offset, length) in extents {
        let mut bytes = vec![0; usize::try_from(length)?];
        random.fill_bytes(&mut bytes);
        file.write_all_at(&bytes, offset)?;
    }
    Ok(())
}
