//! Uploading beside AzCopy: `cargo bench -p goldfleet-tests --bench upload` (needs npm and libsecret-1-0; see
//! [`azcopy`]).
//!
//! The programs themselves upload the same VHD over TLS on loopback, taking turns: goldfleet with its defaults, as
//! chunks with a bearer token; AzCopy with its defaults, as a page blob with a SAS. Bytes are counted once, in bodies
//! of requests that pass the tests' proxy. All else is measured against the emulator itself, whose one thread holds
//! both programs up: the wall time is mostly its. It checks goldfleet's blobs by MD5, the default at an emulator, and
//! by the CRC-64 that is the default at Azure, which it computes in JavaScript; of AzCopy's pages it computes one
//! whether or not it is asked to.
#![expect(clippy::print_stdout, reason = "a benchmark")]

mod azcopy;
mod measure;

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use goldfleet_disk::GoldenSpec;
use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::Generation;
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_tests::azure::arm::token::token;
use goldfleet_tests::azure::fixture::{AzureFixture, Backend, PRINCIPAL, TENANT};
use goldfleet_tests::azure::sas;
use goldfleet_tests::process_fixture::{self, ProcessFixture};

use azcopy::AzCopy;
use measure::{Cost, run};

const MIB: u64 = 1 << 20;

const ACCOUNT: &str = "goldsource";

/// How often both programs upload; the median of each figure is shown.
const ROUNDS: usize = 5;

/// What goldfleet's share of AzCopy's CPU seconds, memory and wall time may be.
const BOUNDS: [f64; 3] = [0.35, 0.15, 0.6];

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let azcopy = AzCopy::install(folder.path())?;
    println!("goldfleet / AzCopy, medians of {ROUNDS} rounds");
    println!("a VHD of 1 GiB with 100 extents of 1 MiB of random data");
    compare(&azcopy, &GoldenSpec::spread(1024 * MIB, Generation::V1, 100 * MIB, 100, 1), 0.25)?;
    println!("a VHD of 512 MiB full of random data");
    compare(&azcopy, &GoldenSpec::spread(512 * MIB, Generation::V1, 508 * MIB, 1, 2), 1.01)
}

/// Uploads one VHD with both programs. `most` is the share of AzCopy's bytes that goldfleet may send.
fn compare(azcopy: &AzCopy, golden: &GoldenSpec, most: f64) -> anyhow::Result<()> {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let config = azure.config(Backend::Local, Backend::Azure);
    let fixture = ProcessFixture::new(&config, &process_fixture::targets(1, &["westeurope"]), golden);
    let scene = Scene { azcopy, fixture: &fixture, azure: &azure };

    // It warms the emulator up, too.
    let proxy = azure.proxy.endpoint();
    scene.goldfleet(&proxy, "counted", None)?;
    let ours = sent(&azure);
    scene.azcopy(&proxy, "counted")?;
    let theirs = sent(&azure);
    line("bytes sent", [ours, theirs], "B", Some(most));
    ensure!(ours / theirs <= most, "goldfleet sent too many bytes");
    scene.costs(&azure.azurite.blob_authority())
}

/// The bytes of bodies that went through the proxy since this was last asked.
fn sent(azure: &AzureFixture) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "less than 2^53")]
    let bytes = azure.proxy.counters().reset().received.values().sum::<u64>() as f64;
    bytes
}

struct Scene<'a> {
    azcopy: &'a AzCopy,
    fixture: &'a ProcessFixture,
    azure: &'a AzureFixture,
}

impl Scene<'_> {
    /// What uploads to the emulator cost.
    fn costs(&self, endpoint: &str) -> anyhow::Result<()> {
        let rounds: Vec<[Cost; 3]> = (0..ROUNDS)
            .map(|round| {
                let store = format!("round{round}");
                let by_crc64 = self.goldfleet(endpoint, &format!("{store}-crc64"), Some("crc64"))?;
                Ok([self.goldfleet(endpoint, &store, None)?, self.azcopy(endpoint, &store)?, by_crc64])
            })
            .collect::<anyhow::Result<_>>()?;
        let median = |figure: fn(&Cost) -> f64, of: usize| median(rounds.iter().map(|round| figure(&round[of])));
        let medians = |figure| [median(figure, 0), median(figure, 1)];
        let [cpu, memory, wall] = BOUNDS.map(Some);
        line("CPU", medians(|cost| cost.cpu), "s", cpu);
        line("peak memory", medians(|cost| cost.memory), "B", memory);
        line("wall", medians(|cost| cost.wall), "s", wall);
        line("wall, checked by CRC-64", [median(|cost| cost.wall, 2), median(|cost| cost.wall, 1)], "s", None);
        line("CPU, checked by CRC-64", [median(|cost| cost.cpu, 2), median(|cost| cost.cpu, 1)], "s", None);
        Ok(())
    }

    /// Uploads with goldfleet to a store, into which nobody has uploaded before.
    fn goldfleet(&self, endpoint: &str, store: &str, checksum: Option<&str>) -> anyhow::Result<Cost> {
        let table = self.fixture.path("uploads.db");
        let mut command = self.fixture.command("goldfleet", &self.fixture.upload(&["--no-dispatch"]));
        command.env("GOLDFLEET_SOURCE__CONTAINER", format!("goldfleet-{store}"));
        command.env("GOLDFLEET_COORDINATION__PATH", table);
        command.env("GOLDFLEET_CLOUD__BLOB_ENDPOINT", format!("{endpoint}/{{account}}"));
        command.env("GOLDFLEET_CLOUD__CHECKSUM", checksum.unwrap_or_default());
        run(&mut command, &self.fixture.path("goldfleet.log"))
    }

    /// Uploads with AzCopy to a container, which is made here.
    fn azcopy(&self, endpoint: &str, store: &str) -> anyhow::Result<Cost> {
        let name = format!("azcopy-{store}");
        let container = Container { account: ACCOUNT.parse::<AccountName>()?, container: name.parse()? };
        self.azure.run(self.azure.blobs().ensure_container(&container))?;
        let url = format!("{endpoint}/{ACCOUNT}/{name}/golden.vhd?{}", self.sas(&name));
        let root: &Path = &self.azure.azurite.certificates().root;
        let mut command = self.azcopy.upload(&self.fixture.path("golden.vhd"), &url, root);
        run(&mut command, &self.fixture.path("azcopy.log"))
    }

    /// The right to write a container.
    fn sas(&self, container: &str) -> String {
        let azurite = &self.azure.azurite;
        let service = format!("{}/{ACCOUNT}", azurite.blob_authority());
        let bearer = token(TENANT, PRINCIPAL, "https://storage.azure.com", Duration::from_secs(3600));
        self.azure.run(sas::signed(&service, ACCOUNT, &bearer, azurite.certificates().client(), |builder| {
            builder.container(container).read().create().write().list().build()
        }))
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn line(what: &str, [ours, theirs]: [f64; 2], unit: &str, bound: Option<f64>) {
    let ratio = ours / theirs;
    let judged = match bound {
        None => String::new(),
        Some(bound) if ratio <= bound => format!(" (bound {bound})"),
        Some(bound) => format!(" (OVER its bound {bound})"),
    };
    let digits = if unit == "s" { 2 } else { 0 };
    println!("  {what}: {ours:.digits$} {unit} / {theirs:.digits$} {unit} = {ratio:.3}{judged}");
}
