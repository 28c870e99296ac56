//! Bits that are flipped in transit: at every hop, whatever checks the service omits, an operation never succeeds with
//! damaged data. When the flips are over, a retry succeeds.

use std::sync::Arc;

use goldfleet_azure_settings::Checksum;
use goldfleet_dispatcher::control::artifacts::load_version;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_kinds::context::read_spec;
use goldfleet_kinds::seed::SeedSpec;
use goldfleet_model::manifest::{ChunkHash, Manifest};
use goldfleet_model::operation::{Operation as Row, OperationState};
use goldfleet_model::store::Container;
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::azure::proxy::{Effect, Operation, Rule, RuleId};
use goldfleet_tests::fleet::{InProcessFleet, staged_vhd};
use goldfleet_tests::process_fixture;

use crate::engine::fixture::EngineFixture;

/// A service that verifies no checksum and returns none.
pub(super) const NOTHING_CHECKED: &[Effect] =
    &[Effect::IgnoreSourceCrc64, Effect::IgnoreSourceMd5, Effect::IgnoreBodyChecksum, Effect::NoChecksums];

/// What a service may leave out.
const MODES: [(&str, &[Effect]); 5] = [
    ("all is checked", &[]),
    ("the source's CRC is ignored", &[Effect::IgnoreSourceCrc64]),
    ("the source's MD5 is ignored", &[Effect::IgnoreSourceMd5]),
    ("answers have no checksums", &[Effect::NoChecksums]),
    ("nothing is checked", NOTHING_CHECKED),
];

/// Where bits are flipped while a job runs, and the kind of operation whose data they are in.
const HOPS: [(Operation, Effect, &str); 3] = [
    (Operation::PutBlobFromUrl, Effect::FlipSourceBit, "seed"),
    (Operation::PutPageFromUrl, Effect::FlipSourceBit, "copy"),
    (Operation::PutPage, Effect::FlipBodyBit, "copy"),
];

/// Replaces all rules: from now on the service has these effects on every request, and no other.
pub(super) fn behave(azure: &AzureFixture, effects: &[Effect]) {
    azure.proxy.rules().clear();
    for effect in effects {
        azure.proxy.rules().add(Rule::new(effect.clone()));
    }
}

/// Flips bits at a hop.
fn flip(azure: &AzureFixture, (operation, effect, _): &(Operation, Effect, &str), times: Option<u64>) -> RuleId {
    let rule = Rule::new(effect.clone()).operation(*operation);
    azure.proxy.rules().add(times.map_or(rule.clone(), |times| rule.times(times)))
}

/// Asserts that the VHD of each succeeded copy is identical to the golden one.
async fn assert_copies_are_right(azure: &AzureFixture, fixture: &EngineFixture<'_>, name: &str) {
    let golden = std::fs::read(fixture.fleet.golden()).unwrap();
    for operation in succeeded(fixture).await {
        if operation.kind.as_str() == "copy" {
            let vhd = staged_vhd(&fixture.ports, &operation);
            assert!(azure.holds(&vhd, &golden).await.unwrap(), "{name}: {vhd} differs");
        }
    }
}

/// Asserts that the chunks in each store whose seed succeeded match their names.
async fn assert_stores_are_right(azure: &AzureFixture, fixture: &EngineFixture<'_>, name: &str) {
    for operation in succeeded(fixture).await {
        if operation.kind.as_str() == "seed" {
            let SeedSpec { store, .. } = read_spec(&operation).unwrap();
            assert_chunks(azure, &store.container(), &fixture.manifest, name).await;
        }
    }
}

async fn succeeded(fixture: &EngineFixture<'_>) -> Vec<Row> {
    let rows = fixture.ports.table.operations(&fixture.job).await.unwrap();
    rows.into_iter().map(|row| row.value).filter(|row| row.state == OperationState::Succeeded).collect()
}

/// Checks that the chunks of a manifest in a store are what their names say.
pub(super) async fn assert_chunks(azure: &AzureFixture, store: &Container, manifest: &Manifest, name: &str) {
    for entry in &manifest.chunks {
        let bytes = azure.blobs().get(&store.chunk(&entry.hash), None).await.unwrap();
        assert_eq!(ChunkHash::of(&bytes), entry.hash, "{name}: a chunk of {store} differs");
    }
}

/// If some bits are flipped at every hop of a job, each flip costs a request or an attempt, and has no other effect.
#[test]
fn a_bit_that_flips_is_noticed_at_every_hop() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    for (version, (name, effects)) in (1..).zip(MODES) {
        azure.proxy.rules().clear();
        azure.run(async {
            let fixture = EngineFixture::set(&azure, version).await;
            behave(&azure, effects);
            let flips = HOPS.map(|hop| flip(&azure, &hop, Some(2)));
            let (status, _, _) = fixture.run().await;
            fixture.assert_whole(name, &status).await;
            assert_stores_are_right(&azure, &fixture, name).await;
            assert!(flips.iter().all(|flip| azure.proxy.rules().hits(*flip) == 2), "{name}: not all flips happened");
        });
    }
}

/// If bits are flipped in every request at one hop, the operation never succeeds. When the flips are over, a retry
/// succeeds.
#[test]
fn an_operation_never_succeeds_with_a_flipped_bit() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let cases = MODES.iter().flat_map(|mode| HOPS.map(|hop| (mode, hop)));
    for (version, ((mode, effects), hop)) in (1..).zip(cases) {
        let name = format!("{mode}, bits flip in {:?}", hop.0);
        azure.proxy.rules().clear();
        azure.run(async {
            let fixture = EngineFixture::set(&azure, version).await;
            behave(&azure, effects);
            let flips = flip(&azure, &hop, None);
            let (status, _, _) = fixture.run().await;
            assert_eq!(status.state, ReportedState::Failed, "{name}: {status:#?}");
            for row in succeeded(&fixture).await {
                assert_ne!(row.kind.as_str(), hop.2, "{name}: {row:#?}");
            }
            assert_copies_are_right(&azure, &fixture, &name).await;
            assert_stores_are_right(&azure, &fixture, &name).await;

            azure.proxy.rules().remove(flips);
            fixture.fleet.retry(&fixture.job).await;
            let (status, _, _) = fixture.run().await;
            fixture.assert_whole(&name, &status).await;
            assert_stores_are_right(&azure, &fixture, &name).await;
        });
    }
}

/// The ports of a fleet whose uploads are verified with this checksum.
fn uploading(azure: &AzureFixture, fleet: &InProcessFleet, checksum: Checksum) -> Ports {
    Ports { blobs: Arc::new(azure.blobs_checked_by(checksum)), ..fleet.ports.clone() }
}

/// If some bits are flipped in the chunks and the manifest of an upload, the upload succeeds. If too many are flipped,
/// it fails, and running the command again completes it.
#[test]
fn an_upload_never_ends_with_a_flipped_bit() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let container = Container { account: "goldsource".parse().unwrap(), container: "golden".parse().unwrap() };
    let mut version = 0;
    for (mode, effects) in MODES {
        for (checksum, what) in [
            (Checksum::Crc64, "*/chunks*"),
            (Checksum::Md5, "*/chunks*"),
            (Checksum::Crc64, "*/manifests*"),
            (Checksum::Md5, "*/artifacts*"),
        ] {
            version += 1;
            let name = format!("{mode}, {checksum:?}, bits flip in {what}");
            let fleet = azure.fleet(&goldfleet_disk::GoldenSpec { seed: version, ..process_fixture::golden() });
            let (version, ports) = (version.to_string(), uploading(&azure, &fleet, checksum));
            azure.run(async {
                for times in [None, Some(2)] {
                    behave(&azure, effects);
                    let rule = Rule::new(Effect::FlipBodyBit).operation(Operation::PutBlob).path(what);
                    let flips = azure.proxy.rules().add(times.map_or(rule.clone(), |times| rule.times(times)));
                    let uploaded = fleet.upload(&ports, &version).await;
                    assert!(azure.proxy.rules().hits(flips) > 0, "{name}: nothing flipped");
                    let (image, number) = ("golden".parse().unwrap(), version.parse().unwrap());
                    let blob = container.artifact(&image, &number);
                    let Ok(uploaded) = uploaded else {
                        assert_eq!(times, None, "{name}: {uploaded:?}");
                        assert_eq!(azure.blobs().properties(&blob).await.unwrap(), None, "{name}: it looks complete");
                        continue;
                    };
                    assert!(times.is_some(), "{name}: it ended well though every bit flipped");
                    let control = fleet.control_with(ports.clone());
                    let loaded = load_version(&control.ports, &control.config, &image, &number).await.unwrap();
                    assert_eq!(loaded.image, uploaded.image, "{name}");
                    assert_chunks(&azure, &container, &loaded.manifests[0], &name).await;
                }
            });
        }
    }
}

/// The service makes a damaged copy of a base version inside the staging account, and no checksum reports it. The
/// ranges that differ are written again.
#[test]
fn a_copy_of_an_earlier_version_is_read_back() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    azure.run(async {
        let fleet = azure.fleet(&process_fixture::golden());
        fleet.roll_out(&fleet.ports, "1", 1).await;
        fleet.rebuild_golden();
        let rules = azure.proxy.rules();
        rules.add(Rule::new(Effect::pending(0)).operation(Operation::CopyBlob));
        let flips = rules.add(Rule::new(Effect::FlipSourceBit).operation(Operation::CopyBlob));
        let (_, status) = fleet.roll_out(&fleet.ports, "2", 1).await;
        assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
        assert_eq!(rules.hits(flips), 1, "the copy began with the earlier version");
        let vhd = azure.vhd(1, "westeurope").container.blob("golden__2.vhd");
        let golden = std::fs::read(fleet.golden()).unwrap();
        assert!(azure.holds(&vhd, &golden).await.unwrap(), "{vhd} differs");
    });
}
