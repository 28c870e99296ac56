//! Uploads that end while chunks with flipped bits are on their way or not yet proven, at a service that checks
//! nothing: no later upload relies on such a chunk.

use std::time::Duration;

use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::artifacts::load_version;
use goldfleet_dispatcher::control::check::ImageChecks;
use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::images::images;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::upload::{UploadError, UploadRequest, UploadResult, upload};
use goldfleet_model::ids::ImageName;
use goldfleet_model::manifest::OsType;
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_sources::DiskFile;
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::azure::proxy::{Effect, Operation, Rule};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use hyper::Method;
use tokio_util::sync::CancellationToken;

use crate::engine::flips::{NOTHING_CHECKED, assert_chunks, behave};

const CHUNKS: &str = "*/chunks*";
const MANIFESTS: &str = "*/manifests*";
const RECORDS: &str = "*/artifacts*";

/// Longer than any upload here lives.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How an upload ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its process is killed: nothing more is done, and its row says that it runs.
    Killed,
    /// It is interrupted: its row says that it failed.
    Interrupted,
}

/// When an upload ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before its chunks arrive.
    InFlight,
    /// Before it has read back the chunks that arrived.
    BeforeProof,
}

async fn upload_until(
    fleet: &InProcessFleet,
    version: &str,
    stop: &CancellationToken,
) -> Result<UploadResult, UploadError> {
    let request = UploadRequest {
        source: DiskFile::shared(fleet.golden()),
        image: "golden".parse().unwrap(),
        version: version.parse().unwrap(),
        os: OsType::Linux,
        check: ImageChecks::default(),
        limit: None,
    };
    upload(&fleet.control_with_own_ports(), &request, &|_| {}, stop).await
}

/// Returns when a condition holds.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many chunks the service has written.
fn chunks_written(azure: &AzureFixture) -> usize {
    let writes = azure.proxy.counters().now().writes;
    writes.iter().filter(|write| write.path.contains("/chunks") && write.status == 201).count()
}

/// Runs an upload whose chunks all arrive with a flipped bit, and which ends before it has proven any of them. Returns
/// when at least one of them is in the store.
async fn upload_with_flips(azure: &AzureFixture, fleet: &InProcessFleet, version: &str, end: End, moment: Moment) {
    behave(azure, NOTHING_CHECKED);
    azure.proxy.counters().reset();
    let rules = azure.proxy.rules();
    let flips = rules.add(Rule::new(Effect::FlipBodyBit).operation(Operation::PutBlob).path(CHUNKS));
    rules.add(Rule::new(Effect::Delay(HOUR)).method(Method::GET).path(CHUNKS));
    if moment == Moment::InFlight {
        let delay = Effect::Delay(Duration::from_millis(200));
        rules.add(Rule::new(delay).operation(Operation::PutBlob).path(CHUNKS));
    }
    let reached = || match moment {
        Moment::InFlight => rules.hits(flips) > 0,
        Moment::BeforeProof => chunks_written(azure) > 0,
    };
    let stop = CancellationToken::new();
    let uploading = upload_until(fleet, version, &stop);
    match end {
        End::Killed => tokio::select! {
            ended = uploading => panic!("the upload ended: {ended:?}"),
            () = until(reached) => {}
        },
        End::Interrupted => {
            let interrupt = async {
                until(reached).await;
                stop.cancel();
            };
            let (ended, ()) = tokio::join!(uploading, interrupt);
            assert!(matches!(ended, Err(UploadError::Interrupted)), "{ended:?}");
        }
    }
    until(|| chunks_written(azure) > 0).await;
    behave(azure, NOTHING_CHECKED);
}

/// Uploads a version to its end. The store has its chunks, each with the bytes that its name stands for.
async fn assert_uploads_whole(azure: &AzureFixture, fleet: &InProcessFleet, version: &str, name: &str) {
    upload_until(fleet, version, &CancellationToken::new()).await.unwrap();
    let container = Container { account: "goldsource".parse().unwrap(), container: "golden".parse().unwrap() };
    let (image, version) = ("golden".parse().unwrap(), version.parse().unwrap());
    let loaded =
        load_version(&fleet.control_with_own_ports().ports, &fleet.control_with_own_ports().config, &image, &version)
            .await
            .unwrap();
    assert_chunks(azure, &container, &loaded.manifests[0], name).await;
}

/// Uploads a version until its blob under `path` has arrived with a flipped bit, and kills the upload before it has
/// read the blob back.
async fn kill_unproven(azure: &AzureFixture, fleet: &InProcessFleet, version: &str, path: &'static str) {
    behave(azure, NOTHING_CHECKED);
    let rules = azure.proxy.rules();
    rules.add(Rule::new(Effect::FlipBodyBit).operation(Operation::PutBlob).path(path));
    // The first read finds out that the version does not exist.
    let skipped = u64::from(path == RECORDS);
    rules.add(Rule::new(Effect::Delay(HOUR)).method(Method::GET).path(path).skip(skipped));
    azure.proxy.counters().reset();
    let folder = path.trim_matches('*');
    let arrived = || azure.proxy.counters().now().writes.iter().any(|write| write.path.contains(folder));
    let stop = CancellationToken::new();
    tokio::select! {
        ended = upload_until(fleet, version, &stop) => panic!("the upload ended: {ended:?}"),
        () = until(arrived) => {}
    }
    behave(azure, NOTHING_CHECKED);
}

/// An upload is killed after its manifest arrived with a flipped bit, and before it has read the manifest back. The
/// version does not exist, and the next upload writes the manifest again.
#[test]
fn an_unproven_manifest_is_written_again() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let fleet = fleet(&azure, 300);
    let image: ImageName = "golden".parse().unwrap();
    for case in 300..304 {
        let version = case.to_string();
        azure.run(async {
            kill_unproven(&azure, &fleet, &version, MANIFESTS).await;
            let control = fleet.control_with_own_ports();
            let requested = request_job(&control, &image, &version.parse().unwrap(), &[], false).await;
            assert!(matches!(requested, Err(ControlError::NoSuchImage { .. })), "{requested:?}");
            assert_uploads_whole(&azure, &fleet, &version, &version).await;
            fleet.request(&version).await;
        });
    }
}

/// An upload is killed after its artifact record arrived with a flipped bit, and before it has read the record back:
/// the version looks complete. No job is created for it, whichever bit it is, and no later upload relies on it. The
/// remedy in the message works: after the version is deleted, it can be uploaded.
#[test]
fn no_job_relies_on_unproven_record() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let fleet = fleet(&azure, 200);
    let image: ImageName = "golden".parse().unwrap();
    for case in 200..208 {
        let version = case.to_string();
        azure.run(async {
            kill_unproven(&azure, &fleet, &version, RECORDS).await;
            let control = fleet.control_with_own_ports();
            let requested = request_job(&control, &image, &version.parse().unwrap(), &[], false).await;
            let refusal = requested.expect_err("a job relies on a damaged record").to_string();
            let remedy = format!("remove this version with 'goldfleet cleanup --image golden --version {version}'");
            assert!(refusal.contains("damaged") && refusal.contains(&remedy), "{refusal}");
            let again = upload_until(&fleet, &version, &CancellationToken::new()).await.unwrap_err().to_string();
            assert!(again.contains(&remedy) && !again.contains("under a new version"), "{again}");
            let (listed, _) = images(&control, None).await.unwrap();
            let fault = listed.iter().find(|line| line.version.as_str() == version).unwrap().fault.clone().unwrap();
            assert!(fault.code == "artifact-damaged" && fault.message.contains(&remedy), "{fault:?}");
            // The row of the killed upload says that it runs.
            assert!(fleet.delete_version(&version).await);
            assert_uploads_whole(&azure, &fleet, &version, &version).await;
            fleet.request(&version).await;
        });
    }
}

/// A golden VHD with chunks that no other case has.
fn fleet(azure: &AzureFixture, case: u64) -> InProcessFleet {
    azure.fleet(&GoldenSpec { seed: 1000 + case, ..process_fixture::golden() })
}

/// The version is uploaded again, or its content is uploaded as another version, as from another host while the first
/// upload seems to run.
#[test]
fn later_uploads_do_not_rely_on_unproven_chunks() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let ends = [End::Killed, End::Interrupted];
    let moments = [Moment::InFlight, Moment::BeforeProof];
    let cases = ends.iter().flat_map(|end| moments.map(|moment| (*end, moment)));
    let cases = cases.flat_map(|(end, moment)| [false, true].map(|other| (end, moment, other)));
    for (case, (end, moment, other)) in (1..).zip(cases) {
        let name = format!("{end:?}, {moment:?}, then another version: {other}");
        let (fleet, version) = (fleet(&azure, case), case.to_string());
        azure.run(async {
            upload_with_flips(&azure, &fleet, &version, end, moment).await;
            let next = if other { format!("{version}-other") } else { version };
            assert_uploads_whole(&azure, &fleet, &next, &name).await;
        });
    }
}

/// A version is complete and lost its chunks. The upload that sends them again ends early, and the next one completes
/// the repair.
#[test]
fn repairs_do_not_rely_on_unproven_chunks() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    for (case, end) in (100..).zip([End::Killed, End::Interrupted]) {
        let (fleet, version) = (fleet(&azure, case), case.to_string());
        azure.run(async {
            behave(&azure, &[]);
            fleet.upload(&fleet.ports, &version).await.unwrap();
            let store = fleet.config.source.store().container();
            let listed = azure.blobs().list(&store, "chunks/", None).await.unwrap().blobs;
            for chunk in listed {
                azure.blobs().delete(&store.blob(chunk.name), None).await.unwrap();
            }
            upload_with_flips(&azure, &fleet, &version, end, Moment::BeforeProof).await;
            assert_uploads_whole(&azure, &fleet, &version, &format!("repair, {end:?}")).await;
        });
    }
}
