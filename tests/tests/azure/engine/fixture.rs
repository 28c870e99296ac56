//! The fixture of the engine tests: an uploaded and requested version, a store and two targets, and the complete log.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::artifacts::load_version;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::event::Event;
use goldfleet_model::manifest::{Generation, Manifest, chunk_name};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_ports::clock::SystemClock;
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_ports::retry::retry_transient;
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::azure::proxy::{Counts, Effect, Operation};
use goldfleet_tests::fleet::InProcessFleet;

pub(crate) const MIB: u64 = 1 << 20;

/// The requests that move chunks: to a region's store, and to a VHD.
pub(crate) const MOVES: [(Operation, &str); 2] =
    [(Operation::PutBlobFromUrl, "PUT from-url"), (Operation::PutPageFromUrl, "PUT comp=page from-url")];

/// The number of requests in flight of one operation.
pub(crate) const IN_FLIGHT: u64 = 16;

pub(crate) const KEYS: &str = "POST comp=userdelegationkey";

/// Texts that reveal credentials: a signature, or the beginning of a token.
const SECRETS: [&str; 3] = ["sig=", "eyJ", "Bearer "];

/// The log of everything, at the most detailed level.
static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let log = Arc::<Mutex<Vec<u8>>>::default();
    let into = Arc::clone(&log);
    let writer = move || Log(Arc::clone(&into));
    let filter = tracing_subscriber::EnvFilter::new("warn,goldfleet=trace,azure_core=debug");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer).init();
    log
});

struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A version that was uploaded and requested, for a store and two targets that have no data of it.
pub(crate) struct EngineFixture<'a> {
    azure: &'a AzureFixture,
    pub(crate) fleet: InProcessFleet,
    pub(crate) ports: Ports,
    pub(crate) manifest: Manifest,
    pub(crate) job: goldfleet_model::ids::JobId,
    version: u64,
    logged: usize,
}

impl<'a> EngineFixture<'a> {
    pub(crate) async fn set(azure: &'a AzureFixture, version: u64) -> Self {
        let fleet = azure.fleet(&GoldenSpec::spread(64 * MIB, Generation::V2, 4 * MIB, 16, version));
        let text = version.to_string();
        let job = fleet.request_after_upload(&text).await;
        let control = fleet.control_with_own_ports();
        let loaded = load_version(&control.ports, &control.config, &"golden".parse().unwrap(), &text.parse().unwrap())
            .await
            .unwrap();
        let manifest = loaded.manifests[0].clone();
        // A VHD of the previous case would be used as a base version.
        for region in ["westeurope", "eastus"] {
            let vhd = azure.vhd(1, region).container.blob(format!("golden__{}.vhd", version - 1));
            azure.blobs().delete(&vhd, None).await.unwrap();
        }
        azure.proxy.counters().reset();
        let logged = LOG.lock().unwrap().len();
        Self { azure, ports: fleet.ports.clone(), fleet, manifest, job, version, logged }
    }

    pub(crate) fn chunk(&self, n: usize) -> String {
        chunk_name(&self.manifest.chunks[n].hash)
    }

    /// The events of the job's operations.
    pub(crate) async fn events(&self) -> Vec<Event> {
        self.ports.table.events(&self.job, None).await.unwrap()
    }

    /// Runs the job to the end, and asserts that the log contains no credentials.
    pub(crate) async fn run(&self) -> (Status, Counts, String) {
        let status = self.fleet.run(&self.ports, 1, &self.job).await;
        let counts = self.azure.proxy.counters().now();
        let log = String::from_utf8_lossy(&LOG.lock().unwrap()[self.logged..]).into_owned();
        let events = self.events().await;
        let said = format!("{log}\n{status:#?}\n{events:#?}");
        for secret in SECRETS {
            assert!(!said.contains(secret), "{secret:?} is said: {said}");
        }
        (status, counts, log)
    }

    /// Asserts that both targets have the golden VHD. Requests that a client abandoned may still write the same bytes,
    /// so a read that such a write interrupts is repeated.
    pub(crate) async fn assert_whole(&self, name: &str, status: &Status) {
        assert_eq!(status.state, ReportedState::Succeeded, "{name}: {status:#?}");
        let golden = std::fs::read(self.fleet.golden()).unwrap();
        for region in ["westeurope", "eastus"] {
            let container = self.azure.vhd(1, region).container;
            let vhd = container.blob(format!("golden__{}.vhd", status.version.as_deref().unwrap()));
            let interrupted = |error: &PortError| error.kind == ErrorKind::Conflict;
            let read = || async { self.azure.holds(&vhd, &golden).await };
            let holds = retry_transient(&SystemClock, interrupted, read).await.unwrap();
            assert!(holds, "{name}: {vhd} differs");
        }
    }

    /// The minimum number of requests that move chunks: those to the store, and those for the runs of two VHDs.
    pub(crate) fn least(&self) -> [u64; 2] {
        let runs = self.manifest.chunks.iter().map(|chunk| chunk.runs.len()).sum::<usize>() as u64;
        // The last chunk of the disk is the same in every version, because it contains only the partition table.
        let there = u64::from(self.version > 1);
        [self.manifest.chunks.len() as u64 - there, 2 * runs]
    }
}

/// Matches reads of an account by the service.
pub(crate) fn reads_of(account: &'static str) -> impl Fn(&hyper::http::request::Parts) -> bool + Send + Sync + 'static {
    let part = format!("/{account}/");
    move |head| {
        head.headers.get("x-ms-copy-source").is_some_and(|url| url.to_str().is_ok_and(|url| url.contains(&part)))
    }
}

pub(crate) fn answer(status: u16, code: &'static str, seconds: Option<u64>) -> Effect {
    Effect::Answer { status, code, retry_after: seconds.map(Duration::from_secs) }
}
