//! Uploads of disks, snapshots and blobs with the double of Resource Manager, which also serves the content behind a
//! SAS.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;

use goldfleet_disk::Footer;
use goldfleet_model::resource::{ResourceBody, ResourceId};
use goldfleet_ports::resources::{Provisioning, PutMode, PutRequest, ResourceService as _};
use goldfleet_tests::azure::arm::{
    Authorization, CONTENT, DiskKind, Fault, LongRunning, Matches, Role, RoleAssignment, TenantState,
};
use goldfleet_tests::azure::fixture::{AzureFixture, Backend, PRINCIPAL};
use goldfleet_tests::process_fixture::ProcessFixture;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
const GROUP: &str =
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images/providers/Microsoft.Compute";

/// Azure with a snapshot and an attached disk that have the content of the golden VHD.
struct Scene {
    azure: AzureFixture,
    fixture: ProcessFixture,
}

impl Scene {
    fn new() -> Self {
        let azure = AzureFixture::start(1, &["westeurope"]);
        let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 4 * MIB);
        let scene = Self { azure, fixture };
        let golden = std::fs::read(scene.fixture.path("golden.vhd")).unwrap();
        let size = golden.len() - 512;
        scene.change(|world| {
            world.roles.clear();
            world.authorization = Authorization::Open;
        });
        for (kind, name, state) in [("snapshots", "s", "Unattached"), ("disks", "attached", "Attached")] {
            scene.put(kind, name, state, size as u64);
            scene.change(|world| world.write_disk(&format!("{GROUP}/{kind}/{name}"), 0, &golden[..size]));
        }
        scene
    }

    fn change(&self, change: impl FnOnce(&mut TenantState)) {
        self.azure.manager.world().write(change);
    }

    /// Creates a disk or snapshot, as somebody else did before.
    fn put(&self, kind: &str, name: &str, state: &str, size: u64) {
        let properties = json!({
            "creationData": { "createOption": "Empty" }, "diskSizeBytes": size, "diskState": state,
            "uniqueId": format!("unique-{name}"), "osType": "Linux", "hyperVGeneration": "V2", "incremental": true,
            "networkAccessPolicy": "AllowAll", "publicNetworkAccess": "Enabled",
        });
        let which = if kind == "disks" { DiskKind::Disk } else { DiskKind::Snapshot };
        self.change(|world| world.add_disk(which, &format!("{GROUP}/{kind}/{name}"), "westeurope", properties));
    }

    /// Uploads a source as a version. Returns the exit code, standard output as JSON, and standard error.
    fn upload(&self, from: &str, version: &str, more: &[&str]) -> (i32, Value, String) {
        let arguments =
            ["upload", "--from", from, "--image", "golden", "--version", version, "--inside", "no", "--no-dispatch"];
        let arguments: Vec<&str> = arguments.iter().chain(["--output", "json"].iter()).chain(more).copied().collect();
        let mut command = self.fixture.command("goldfleet", &arguments);
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!errors.contains("sig="), "{errors}");
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_default(), errors)
    }

    /// Asserts that no access and no temporary is left, and that no request to a content was wrong.
    fn assert_clean(&self) {
        let states: Vec<(String, String)> = self
            .azure
            .manager
            .disks()
            .iter()
            .map(|disk| (disk["name"].to_string(), disk["properties"]["diskState"].to_string()))
            .collect();
        let expected = [("\"s\"", "\"Unattached\""), ("\"attached\"", "\"Attached\"")];
        assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
        let (access, violations) =
            self.azure.manager.world().read(|world| (world.disk_data.access(), world.disk_data.violations.clone()));
        assert_eq!((access, violations), (0, Vec::new()));
    }
}

/// A snapshot, an attached disk, and a blob give the version that the file with these bytes gives.
#[test]
fn sources_equal_the_file_and_are_rolled_out() {
    let scene = Scene::new();
    scene.change(|world| world.disk_data.ranges = 2);
    let (snapshot, attached) = (format!("snapshot:{GROUP}/snapshots/s"), format!("disk:{GROUP}/disks/attached"));
    let (code, uploaded, errors) = scene.upload(&snapshot, "1", &[]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(uploaded["origin"]["unique_id"], "unique-s", "{uploaded:#}");
    scene.assert_clean();
    let (code, from_disk, errors) = scene.upload(&attached, "2", &[]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!((&from_disk["digest"], &from_disk["bytes_sent"]), (&uploaded["digest"], &json!(0)), "{from_disk:#}");
    assert!(from_disk["origin"]["temporary"].as_str().unwrap().contains("/snapshots/gf-temporary-"), "{from_disk:#}");
    scene.assert_clean();
    // The content is read in pages of two ranges, and only where it has data.
    assert!(from_disk["bytes_total"].as_u64().unwrap() < 20 * MIB, "{from_disk:#}");
    let tagged = scene.azure.manager.log().accepted.into_iter().find(|put| put.id.contains("gf-temporary")).unwrap();
    assert_eq!(tagged.body["tags"]["goldfleet-role"], "temporary", "{tagged:?}");
    assert_eq!(tagged.body["properties"]["incremental"], true);
    // The version is rolled out, and each VHD has the bytes.
    scene.fixture.succeed(&["dispatch", "--image", "golden", "--version", "1", "--wait"]);
    let vhd = scene.azure.run(goldfleet_ports::blob_store::BlobStore::get(
        &scene.azure.blobs(),
        &scene.azure.vhd(1, "westeurope"),
        None,
    ));
    let (vhd, golden) = (vhd.unwrap(), std::fs::read(scene.fixture.path("golden.vhd")).unwrap());
    assert!(vhd[..golden.len() - 512] == golden[..golden.len() - 512], "the disk differs");
    assert!(Footer::parse(vhd[golden.len() - 512..].try_into().unwrap()).is_ok());
    // The VHD at the target as a blob: a page blob, named by its URL.
    let url = format!("blob:{}/stage1westeurope/vhds/golden__1.vhd", scene.azure.proxy.endpoint());
    let (code, from_blob, errors) = scene.upload(&url, "3", &["--os", "linux"]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(from_blob["digest"], uploaded["digest"], "{from_blob:#}");
    // A block blob, and a blob that does not exist.
    let (code, _, errors) = scene.upload("blob:goldsource/golden/manifests/none", "4", &["--os", "linux"]);
    assert_eq!((code, errors.contains("source-not-found")), (2, true), "{errors}");
}

/// A later snapshot of the same disk is read only where it differs, in lists of two ranges. A difference that the
/// service refuses leads to a full read.
#[test]
fn later_snapshot_is_read_where_it_differs() {
    let scene = Scene::new();
    scene.change(|world| {
        world.long_running = LongRunning { at_once: true, ..LongRunning::default() };
        world.disks[0].properties["incrementalSnapshotFamilyId"] = json!("family");
    });
    let (code, first, errors) = scene.upload(&format!("snapshot:{GROUP}/snapshots/s"), "1", &[]);
    assert_eq!(code, 0, "{errors}");
    let mut golden = std::fs::read(scene.fixture.path("golden.vhd")).unwrap();
    golden.truncate(golden.len() - 512);
    let later = |name: &str, bytes: &[u8], family: &str| {
        scene.put("snapshots", name, "Unattached", bytes.len() as u64);
        scene.change(|world| {
            world.write_disk(&format!("{GROUP}/snapshots/{name}"), 0, bytes);
            world.disks.last_mut().unwrap().properties["incrementalSnapshotFamilyId"] = json!(family);
            (world.disk_data.bytes_read, world.disk_data.differences) = (0, 0);
        });
        let (code, uploaded, errors) = scene.upload(&format!("snapshot:{GROUP}/snapshots/{name}"), name, &[]);
        assert_eq!(code, 0, "{errors}");
        let (access, read, asked) = scene.azure.manager.world().read(|world| {
            assert_eq!(world.disk_data.violations, Vec::<String>::new());
            (world.disk_data.access(), world.disk_data.bytes_read, world.disk_data.differences)
        });
        assert_eq!(access, 0, "the access to both snapshots has ended");
        (uploaded, read, asked, errors)
    };
    let window = 4 << 20;
    for page in [0, 3, 4, 9] {
        golden[3 * window + page * 512..][..512].fill(u8::from(page != 4) * 7);
    }
    scene.change(|world| world.disk_data.ranges = 2);
    let (uploaded, read, asked, errors) = later("s2", &golden, "family");
    scene.change(|world| world.disk_data.ranges = 10_000);
    assert_eq!(uploaded["origin"]["earlier"]["version"], "1", "{uploaded:#} {errors}");
    assert!(asked > 1, "the list has several pages");
    let full = first["bytes_total"].as_u64().unwrap();
    assert!(uploaded["bytes_total"].as_u64().unwrap() < full / 2, "{uploaded:#}");
    assert!(read < full, "{read} of {full}: the check of the partition table is included");
    // The same bytes from a snapshot of another disk, which are read in full.
    let (other, _, asked, _) = later("o", &golden, "another");
    assert_eq!((&other["digest"], asked), (&uploaded["digest"], 0), "{other:#}");
    assert_eq!(other["origin"]["earlier"], Value::Null);
    // The service refuses the difference: its properties do not say what it checks.
    scene.change(|world| {
        for disk in &mut world.disks {
            disk.properties["incremental"] = json!(disk.name == "s3");
        }
    });
    golden[4 * window..][..512].fill(9);
    let (full, _, asked, _) = later("s3", &golden, "family");
    assert_eq!((&full["origin"]["earlier"], asked), (&Value::Null, 0), "{full:#}");
}

/// The managed image of a target gives the version from which it was created, also without the snapshot of that, and so
/// does a version of a gallery that others share.
#[test]
fn images_and_shared_versions_equal_the_file() {
    let scene = Scene::new();
    // Other tests wait for long operations, copies and replications.
    scene.change(|world| {
        world.long_running = LongRunning { at_once: true, ..LongRunning::default() };
        (world.copy_reads, world.replication.reads, world.replication.refused_uses) = (0, 0, 0);
    });
    let snapshot = format!("snapshot:{GROUP}/snapshots/s");
    let (code, uploaded, errors) = scene.upload(&snapshot, "1", &[]);
    assert_eq!(code, 0, "{errors}");
    scene.fixture.succeed(&["dispatch", "--from", &snapshot, "--image", "copied", "--version", "1", "--wait"]);
    let (code, from_image, errors) = scene.upload(&format!("image:{GROUP}/images/copied-1-westeurope"), "2", &[]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!((&from_image["digest"], &from_image["bytes_sent"]), (&uploaded["digest"], &json!(0)), "{from_image:#}");
    scene.assert_clean();
    assert!(scene.azure.manager.world().read(|world| world.galleries.is_empty()));

    let region = json!({ "location": "westeurope" });
    let body = |properties: Value| json!({ "location": region["location"], "properties": properties });
    let definition = json!({
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2",
        "identifier": { "publisher": "p", "offer": "o", "sku": "s" },
    });
    let version = json!({
        "publishingProfile": { "targetRegions": [{ "name": "westeurope" }] },
        "storageProfile": { "osDiskImage": { "source": { "id": format!("{GROUP}/snapshots/s") } } },
    });
    let gallery = format!("{GROUP}/galleries/theirs");
    let put = |id: &str, properties: Value| {
        let id: ResourceId = id.parse().unwrap();
        let body = ResourceBody::from_json(id.resource_type, body(properties)).unwrap();
        let request = PutRequest { id, tenant: None, mode: PutMode::Create, body };
        let resources = scene.azure.resources();
        scene.azure.run(async {
            drop(resources.put(&request).await.unwrap());
            // A version is complete after its state was read several times.
            while resources.get(&request.id, None).await.unwrap().unwrap().provisioning != Provisioning::Succeeded {}
        });
    };
    put(&gallery, json!({}));
    put(&format!("{gallery}/images/ubuntu"), definition);
    put(&format!("{gallery}/images/ubuntu/versions/1.0.0"), version);
    scene.change(|world| {
        drop(world.shared_galleries.insert("/sharedgalleries/1-theirs".to_owned(), gallery.to_ascii_lowercase()));
    });
    let version = format!("{gallery}/images/ubuntu/versions/1.0.0");
    // The artifact ids of Packer's builders: azure-arm prints ids as they are, azure-chroot in lower case with commas
    // between them.
    let chroot = format!("{GROUP}/images/copied-1-westeurope,{GROUP}/snapshots/s").to_ascii_lowercase();
    let manifest = |id: &str| json!({ "builds": [{ "builder_type": "azure", "artifact_id": id }] });
    let first = |manifest: Value| {
        let id = manifest["builds"][0]["artifact_id"].as_str().unwrap().to_owned();
        id.split(',').next().unwrap().to_owned()
    };
    let shared = "/SharedGalleries/1-THEIRS/Images/ubuntu/Versions/1.0.0".to_owned();
    let sources = [first(manifest(&version)), first(manifest(&chroot)), format!("gallery:{shared}")];
    for (n, from) in sources.iter().enumerate() {
        let (code, from_version, errors) = scene.upload(from, &format!("{}", n + 3), &[]);
        assert_eq!(code, 0, "{from}: {errors}");
        assert_eq!(from_version["digest"], uploaded["digest"], "{from}: {from_version:#}");
        scene.assert_clean();
    }
}

/// Requests fail before and after their effect, at every call, and access expires while it is used.
#[test]
fn faults_are_survived_and_leave_nothing() {
    let scene = Scene::new();
    let attached = format!("disk:{GROUP}/disks/attached");
    let of = |method: &str, kind: &str, part: &str| Matches::of(method, kind).containing(part);
    let snapshots = "Microsoft.Compute/snapshots";
    for (n, matches) in [
        of("POST", snapshots, "beginGetAccess"),
        of("POST", snapshots, "endGetAccess"),
        of("PUT", snapshots, "gf-temporary"),
        of("DELETE", snapshots, "gf-temporary"),
        of("GET", "Microsoft.Compute/disks", "attached"),
        of("GET", CONTENT, "pagelist"),
        of("GET", CONTENT, "abcd"),
        Matches::of("GET", "Microsoft.Compute/locations/DiskOperations"),
    ]
    .into_iter()
    .enumerate()
    {
        for fault in [Fault::Status(503, Some(0)), Fault::StatusAfterEffect(504), Fault::ResetAfterEffect] {
            scene.azure.manager.faults().next(1, matches.clone(), fault.clone());
            let (code, _, errors) = scene.upload(&attached, &format!("{n}-{}", format!("{fault:?}").len()), &[]);
            assert_eq!((code, scene.azure.manager.faults().left()), (0, 0), "{matches:?} {fault:?}: {errors}");
            scene.assert_clean();
        }
    }
}

/// The identity may not create snapshots, may not read the content, or the export is not permitted.
#[test]
fn refusals_have_codes_and_leave_nothing() {
    let scene = Scene::new();
    let (snapshot, attached) = (format!("snapshot:{GROUP}/snapshots/s"), format!("disk:{GROUP}/disks/attached"));
    scene.change(|world| {
        *world = world.clone().role(RoleAssignment::new(
            PRINCIPAL,
            "/",
            Role::custom("66666666-0000-0000-0000-000000000000", &["*/read"], &[]),
        ));
    });
    let (code, _, errors) = scene.upload(&attached, "1", &[]);
    assert_eq!((code, errors.contains("snapshot-denied")), (2, true), "{errors}");
    let (code, _, errors) = scene.upload(&snapshot, "1", &[]);
    assert_eq!((code, errors.contains("beginGetAccess")), (3, true), "{errors}");
    scene.assert_clean();
    scene.change(|world| {
        world.roles.clear();
        world.authorization = Authorization::Open;
        world.disks[0].properties["publicNetworkAccess"] = json!("Disabled");
    });
    let (code, _, errors) = scene.upload(&snapshot, "1", &[]);
    assert_eq!((code, errors.contains("export-denied")), (2, true), "{errors}");
    scene.assert_clean();
}

/// The rights that the roles of infra/bicep give for reading are sufficient, in all ways of following operations.
#[test]
fn documented_rights_are_sufficient() {
    let scene = Scene::new();
    let rights = [
        "Microsoft.Compute/disks/read",
        "Microsoft.Compute/snapshots/read",
        "Microsoft.Compute/snapshots/write",
        "Microsoft.Compute/snapshots/delete",
        "Microsoft.Compute/snapshots/beginGetAccess/action",
        "Microsoft.Compute/snapshots/endGetAccess/action",
        "Microsoft.Compute/locations/DiskOperations/read",
        "Microsoft.Authorization/locks/read",
    ];
    let data = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*"];
    let role = Role::custom("77777777-0000-0000-0000-000000000000", &rights, &data);
    scene.change(|world| *world = world.clone().role(RoleAssignment::new(PRINCIPAL, "/", role)));
    for (n, at_once) in [false, true].into_iter().enumerate() {
        scene.change(|world| world.long_running = LongRunning { at_once, ..LongRunning::default() });
        let (code, _, errors) = scene.upload(&format!("disk:{GROUP}/disks/attached"), &n.to_string(), &[]);
        assert_eq!(code, 0, "{errors}");
        scene.assert_clean();
    }
}

/// Logs at the most detailed level, rows and errors contain no signature, also when requests fail.
#[test]
fn signatures_are_not_logged() {
    let scene = Scene::new();
    let faults = scene.azure.manager.faults();
    for fault in [Fault::Status(500, None), Fault::ResetAfterEffect, Fault::Status(403, None)] {
        faults.next(1, Matches::of("GET", CONTENT).containing("abcd"), fault);
    }
    let from = format!("disk:{GROUP}/disks/attached");
    let arguments =
        ["upload", "--from", &from, "--image", "golden", "--version", "1", "--inside", "no", "--no-dispatch"];
    let mut command = scene.fixture.command("goldfleet", &arguments);
    command.env("GOLDFLEET_LOG", "trace").env("RUST_BACKTRACE", "1");
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.len() > 10_000, "{text}");
    assert_eq!(scene.azure.manager.faults().left(), 0);
    let signatures = text.match_indices("sig=").map(|(at, _)| text.get(at..at + 40).unwrap_or_default());
    let shown: Vec<&str> = signatures.filter(|text| !text.starts_with("sig=REDACTED")).collect();
    assert_eq!(shown, Vec::<&str>::new());
    for file in ["goldfleet.db", "goldfleet.db-wal"] {
        let bytes = std::fs::read(scene.fixture.path(file)).unwrap_or_default();
        assert!(!bytes.windows(4).any(|part| part == b"sig="), "{file}");
    }
    scene.assert_clean();
}
