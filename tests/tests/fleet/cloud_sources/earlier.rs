//! Uploads that read only what differs from an earlier snapshot of the same disk.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::upload::UploadResult;
use goldfleet_model::manifest::{CHUNK_SIZE, Generation};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::ErrorKind;
use goldfleet_sources::SourceLocation;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::intercept::intercepted;
use goldfleet_tests::process_fixture;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::scene::{FOOTER, Faults, Scene};

const MIB: usize = 1 << 20;

/// The number of windows of the disk.
const WINDOWS: usize = 6;

/// The windows that are always read.
const EDGES: [usize; 2] = [0, WINDOWS - 1];

/// A fleet, and a disk in which most windows have data.
fn scene() -> (Scene, Vec<u8>) {
    let golden = GoldenSpec::spread((WINDOWS * 4 * MIB) as u64, Generation::V2, 2 << 20, 12, 1);
    let targets = process_fixture::targets(1, &["westeurope"]);
    let config = process_fixture::SOURCE.to_owned() + "[cleanup]\nchunk_grace = \"1h\"\n";
    let scene = Scene { fleet: InProcessFleet::with(&config, &targets, &golden) };
    let mut bytes = fs::read(scene.fleet.golden()).unwrap();
    bytes.truncate(bytes.len() - FOOTER);
    (scene, bytes)
}

/// The windows in which two disks differ, and the edges.
fn differing(one: &[u8], two: &[u8]) -> Vec<usize> {
    let window = 4 * MIB;
    let windows = one.chunks(window).zip(two.chunks(window)).enumerate();
    windows.filter(|(n, (one, two))| one != two || EDGES.contains(n)).map(|(n, _)| n).collect()
}

/// The bytes of these windows in the blocks of 4096 bytes that are not zero: the data of a sparse file.
fn data_in(bytes: &[u8], windows: &[usize]) -> u64 {
    let window = |n: &usize| bytes[n * 4 * MIB..][..4 * MIB].chunks(4096);
    let blocks = windows.iter().flat_map(window).filter(|block| block.iter().any(|byte| *byte != 0));
    blocks.map(|block| block.len() as u64).sum()
}

/// Writes, overwrites and clears pages of the disk, outside of its partition table.
fn change(bytes: &mut [u8], random: &mut StdRng) {
    for _ in 0..random.random_range(0..4) {
        let page = random.random_range(4096..(bytes.len() - 2 * MIB) / 512 - 512);
        let pages = random.random_range(1..400);
        let range = page * 512..(page + pages) * 512;
        match random.random_range(0..3) {
            0 => bytes[range].fill(0),
            1 => random.fill(&mut bytes[range]),
            // A window that is zero now.
            _ => bytes[page * 512 / (4 * MIB) * 4 * MIB..][..4 * MIB].fill(0),
        }
    }
}

fn earlier(uploaded: &UploadResult) -> Option<String> {
    Some(uploaded.counts.origin.as_ref()?.earlier.as_ref()?.version.to_string())
}

/// After any changes, the version is the one that a full read gives, and only the windows that differ are read.
#[tokio::test(flavor = "multi_thread")]
async fn result_equals_a_full_read_and_only_the_difference_is_read() {
    let (scene, mut bytes) = scene();
    let mut random = StdRng::seed_from_u64(20);
    let mut before = bytes.clone();
    let mut read = 0;
    for n in 0..6 {
        let from = scene.snapshot_of(&format!("s{n}"), &bytes, |_| {});
        let faults = Arc::new(Faults::default());
        let uploaded = scene.upload(&intercepted(&scene.fleet.ports, &faults), &from, &n.to_string()).await.unwrap();
        let reference = scene.reference_of(&bytes, &n.to_string()).await;
        assert_eq!(uploaded.image.digest, reference.image.digest, "{n}");
        let counts = &uploaded.counts;
        assert_eq!(counts.bytes_data, reference.counts.bytes_data, "{n}");
        assert_eq!(counts.bytes_read, counts.bytes_total, "{n}");
        if n == 0 {
            assert_eq!((earlier(&uploaded), faults.count("DiskContent.changes_since")), (None, 0));
        } else {
            assert_eq!(earlier(&uploaded), Some((n - 1).to_string()));
            assert_eq!(faults.count("DiskContent.changes_since"), 1);
            let windows = differing(&before, &bytes);
            // A gap of at most 256 KiB between two ranges with data is read too.
            let (data, longest) = (data_in(&bytes, &windows), (windows.len() as u64) * CHUNK_SIZE);
            assert!((data..=longest).contains(&counts.bytes_read), "{n}: {} of {data}, {windows:?}", counts.bytes_read);
            read += windows.len();
        }
        for name in [n, n.max(1) - 1].map(|n| format!("s{n}")) {
            assert_eq!(scene.state("snapshots", &name), "Unattached", "the access was ended");
        }
        before.clone_from(&bytes);
        change(&mut bytes, &mut random);
    }
    assert!(read < 5 * WINDOWS, "{read} windows were read");
}

/// A disk that a machine has is compared with a snapshot of it, and the same snapshot has no difference.
#[tokio::test(flavor = "multi_thread")]
async fn same_snapshot_and_chunks_that_the_store_lost() {
    let (scene, bytes) = scene();
    let from = scene.snapshot_of("s", &bytes, |_| {});
    let first = scene.upload(&scene.fleet.ports, &from, "1").await.unwrap();
    let again = scene.upload(&scene.fleet.ports, &from, "2").await.unwrap();
    assert_eq!((again.image.digest, earlier(&again)), (first.image.digest, Some("1".to_owned())));
    assert!(again.counts.bytes_read < first.counts.bytes_read / 3, "{:?}", again.counts);
    // Chunks that the store has lost are read and sent again, also those of windows without a difference.
    let chunks = scene.fleet.cloud().join("goldsource/golden/chunks");
    let lost: Vec<_> = fs::read_dir(&chunks).unwrap().map(|entry| entry.unwrap().path()).collect();
    for chunk in lost.iter().step_by(2) {
        fs::remove_file(chunk).unwrap();
    }
    let repaired = scene.upload(&scene.fleet.ports, &from, "3").await.unwrap();
    assert_eq!((repaired.image.digest, earlier(&repaired)), (first.image.digest, Some("2".to_owned())));
    assert!(lost.iter().all(|chunk| chunk.exists()));
    assert_eq!(repaired.counts.bytes_data, first.counts.bytes_data);
    assert_eq!(repaired.counts.bytes_read, repaired.counts.bytes_total);
}

/// A version of the snapshot `s0`, and another snapshot of the disk.
struct Case {
    scene: Scene,
    from: SourceLocation,
    reference: UploadResult,
}

impl Case {
    async fn new() -> Self {
        let (scene, mut bytes) = scene();
        scene.upload(&scene.fleet.ports, &scene.snapshot_of("s0", &bytes, |_| {}), "0").await.unwrap();
        bytes[13 * MIB..14 * MIB].fill(7);
        let from = scene.snapshot_of("s1", &bytes, |_| {});
        let reference = scene.reference_of(&bytes, "1").await;
        Self { scene, from, reference }
    }

    fn store(&self, name: &str) -> PathBuf {
        self.scene.fleet.cloud().join("goldsource/golden").join(name)
    }

    /// Uploads the other snapshot. Returns the result, and how often a difference was requested.
    async fn upload(&self, version: &str, faults: &Arc<Faults>) -> (UploadResult, usize) {
        let uploaded = self.scene.upload(&intercepted(&self.scene.fleet.ports, faults), &self.from, version).await;
        let uploaded = uploaded.unwrap_or_else(|error| panic!("{version}: {error:?}"));
        assert_eq!(uploaded.image.digest, self.reference.image.digest, "{version}");
        // The next upload of the same snapshot would have no difference to this one.
        let row = Upload { digest: None, ..uploaded.counts.clone() };
        self.scene.fleet.ports.table.put_upload(&row).await.unwrap();
        (uploaded, faults.count("DiskContent.changes_since"))
    }

    /// Changes the properties of the earlier snapshot.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let path = self.scene.path("snapshots", "s0.json");
        let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut value["properties"]);
        fs::write(path, value.to_string()).unwrap();
    }
}

/// Each precondition that does not hold leads to a full read, before the difference is requested.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_precondition_everything_is_read() {
    let case = Case::new().await;
    let (used, _) = case.upload("used", &Arc::default()).await;
    assert_eq!(earlier(&used).as_deref(), Some("0"));
    let properties = fs::read(case.scene.path("snapshots", "s0.json")).unwrap();
    let moved = |name: &str| {
        let (from, to) = (case.store(name), case.store("moved"));
        if to.exists() { fs::rename(to, from).unwrap() } else { fs::rename(from, to).unwrap() }
    };
    let set = |name: &str, value: Value| case.edit(|snapshot| snapshot[name] = value);
    let changes: [(&str, &dyn Fn()); 9] = [
        ("removed", &|| fs::remove_file(case.scene.path("snapshots", "s0.json")).unwrap()),
        ("recreated", &|| set("uniqueId", json!("another"))),
        ("family", &|| set("incrementalSnapshotFamilyId", json!("other"))),
        ("resized", &|| set("diskSizeBytes", json!(20 * MIB))),
        ("export", &|| set("networkAccessPolicy", json!("DenyAll"))),
        ("in-use", &|| set("diskState", json!("ActiveSAS"))),
        ("version", &|| moved("artifacts/golden/0.jsonl")),
        ("manifests", &|| moved("manifests/golden/0")),
        ("full", &|| set("incremental", json!(false))),
    ];
    for (name, change) in changes {
        change();
        let (uploaded, asked) = case.upload(name, &Arc::default()).await;
        assert_eq!(earlier(&uploaded), None, "{name}");
        assert_eq!(asked, usize::from(name == "full"), "{name}: the service refuses that");
        assert!(uploaded.counts.bytes_read > used.counts.bytes_read, "{name}: {:?}", uploaded.counts);
        if case.store("moved").exists() {
            change();
        }
        fs::write(case.scene.path("snapshots", "s0.json"), &properties).unwrap();
    }
}

/// The version was uploaded again from another disk, so the row of the snapshot names other content.
#[tokio::test(flavor = "multi_thread")]
async fn version_with_other_content_is_not_used() {
    let case = Case::new().await;
    fs::remove_file(case.store("artifacts/golden/0.jsonl")).unwrap();
    fs::remove_dir_all(case.store("manifests/golden/0")).unwrap();
    let other = case.scene.put("snapshots", "o", false, |value| {
        value["properties"]["incrementalSnapshotFamilyId"] = json!("of another disk");
        value["properties"]["hyperVGeneration"] = Value::Null;
    });
    let content = fs::OpenOptions::new().write(true).open(case.scene.path("snapshots", "o.disk")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&content, &[9; 4096], 9 << 20).unwrap();
    case.scene.upload(&case.scene.fleet.ports, &other, "0").await.unwrap();
    let (uploaded, asked) = case.upload("1", &Arc::default()).await;
    assert_eq!((earlier(&uploaded), asked), (None, 0));
}

/// The earlier snapshot is replaced by one of the same name while its difference is listed.
#[tokio::test(flavor = "multi_thread")]
async fn snapshot_that_is_replaced_meanwhile_is_not_used() {
    let (scene, mut bytes) = scene();
    let first = scene.snapshot_of("s0", &bytes, |_| {});
    scene.upload(&scene.fleet.ports, &first, "0").await.unwrap();
    bytes[13 * MIB..14 * MIB].fill(7);
    let from = scene.snapshot_of("s1", &bytes, |_| {});
    let faults = Arc::new(Faults::default());
    let listed = tokio_util::sync::CancellationToken::new();
    *faults.stop.lock().unwrap() = Some(("DiskContent.changes_since", 0, listed.clone()));
    let ports = intercepted(&scene.fleet.ports, &faults);
    // The content of the new one is that of the snapshot that is uploaded: they have no difference.
    let replace = async {
        listed.cancelled().await;
        scene.snapshot_of("s0", &bytes, |value| {
            value["properties"]["uniqueId"] = json!("another");
            value["properties"]["diskState"] = json!("ActiveSAS");
        })
    };
    let (uploaded, _) = tokio::join!(scene.upload(&ports, &from, "1"), replace);
    let uploaded = uploaded.unwrap();
    assert_eq!(uploaded.image.digest, scene.reference_of(&bytes, "1").await.image.digest);
}

/// Every call fails for a time, or for good. The upload succeeds with the same content, and no access is left.
#[tokio::test(flavor = "multi_thread")]
async fn faults_lead_to_the_same_content() {
    let case = Case::new().await;
    let cases = [
        ("DiskContent.changes_since", 0, ErrorKind::Unavailable, true),
        ("DiskContent.changes_since", 0, ErrorKind::Denied, false),
        ("DiskAccess.begin", 1, ErrorKind::Denied, false),
        ("JobTable.list_uploads", 0, ErrorKind::Denied, false),
        ("ResourceService.get", 1, ErrorKind::Denied, false),
        ("ResourceService.get", 2, ErrorKind::Denied, false),
    ];
    for (n, (call, nth, kind, used)) in cases.into_iter().enumerate() {
        let (uploaded, _) = case.upload(&format!("f{n}"), &Faults::of(call, nth, 1, kind, false)).await;
        assert_eq!(earlier(&uploaded).is_some(), used, "{call}, {kind:?}");
        for name in ["s0", "s1"] {
            assert_eq!(case.scene.state("snapshots", name), "Unattached", "{call}, {kind:?}");
        }
    }
}
