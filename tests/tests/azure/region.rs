//! Rollouts by golden snapshots with the double of Resource Manager, which checks each request as Azure's specification
//! demands, and serves the contents of disks with each behaviour that Azure does not document.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_tests::azure::arm::behaviours::{Behaviours, Checks, Renewal};
use goldfleet_tests::azure::arm::{Authorization, Fault, GalleryItem, GalleryLevel, ImageState, Matches, TenantState};
use goldfleet_tests::azure::fixture::{AzureFixture, Backend};
use goldfleet_tests::process_fixture::ProcessFixture;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// Azure with two targets in each of two regions, whose hubs are in the first subscription.
struct Scene {
    azure: AzureFixture,
    fixture: ProcessFixture,
    golden: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let azure = AzureFixture::start(2, &["westeurope", "eastus"]);
        let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 4 * MIB);
        add_hubs(&fixture.path("targets.toml"));
        let mut golden = std::fs::read(fixture.path("golden.vhd")).unwrap();
        golden.truncate(golden.len() - 512);
        let scene = Self { azure, fixture, golden };
        scene.change(|world| {
            world.roles.clear();
            world.authorization = Authorization::Open;
        });
        scene
    }

    fn change(&self, change: impl FnOnce(&mut TenantState)) {
        self.azure.manager.world().write(change);
    }

    /// Uploads the golden VHD as a version. The double gets the chunks as sources of page writes.
    fn upload(&self, version: &str) {
        self.upload_with(version, &[]);
    }

    fn upload_with(&self, version: &str, more: &[&str]) {
        let upload =
            ["upload", "golden.vhd", "--image", "golden", "--os", "linux", "--no-dispatch", "--version", version];
        self.fixture.succeed(&[&upload, more].concat());
        let (blobs, source) = (self.azure.blobs(), container("goldsource"));
        for blob in self.azure.run(blobs.list(&source, "chunks/", None)).unwrap().blobs {
            let bytes = self.azure.run(blobs.get(&source.blob(&blob.name), None)).unwrap();
            self.change(|world| drop(world.page_sources.insert(format!("/golden/{}", blob.name), bytes.to_vec())));
        }
    }

    /// Dispatches a version by the region route, and waits. Returns the status.
    fn dispatch(&self, version: &str) -> Value {
        self.fixture.json(&["dispatch", "--image", "golden", "--version", version, "--route", "region", "--wait"])
    }

    /// Asserts that each target has the image of each version, that the hubs have only golden snapshots with the bytes
    /// of the source, and that no request violated the specification, or what the content of a disk permits.
    fn assert_delivered(&self, versions: usize) {
        assert_eq!(self.azure.manager.images().len(), versions * 4);
        let names: Vec<String> =
            self.azure.manager.disks().iter().map(|disk| disk["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names.len(), versions * 2, "{names:?}");
        for name in names {
            assert!(name.starts_with("gf-golden-"), "{name}");
            let bytes = self.azure.manager.world().read(|world| world.disk_bytes(&name));
            assert!(*bytes == self.golden, "{name} differs");
        }
        self.assert_clean();
    }

    fn assert_clean(&self) {
        let (access, violations) =
            self.azure.manager.world().read(|world| (world.disk_data.access(), world.disk_data.violations.clone()));
        assert_eq!((access, violations), (0, Vec::new()));
        let log = self.azure.manager.log();
        // The list of violations has each refusal. What the content of a disk refuses depends on its behaviour.
        let violations: Vec<&String> = log.violations.iter().filter(|found| !found.starts_with("PUT /md-")).collect();
        assert_eq!(violations, Vec::<&String>::new());
        assert!(log.requests.keys().all(|request| !request.contains("listKeys")), "{:?}", log.requests);
    }
}

fn container(account: &str) -> Container {
    Container { account: account.parse().unwrap(), container: "golden".parse().unwrap() }
}

/// Makes a store of each region its hub.
fn add_hubs(targets: &Path) {
    let mut text = std::fs::read_to_string(targets).unwrap();
    for region in ["westeurope", "eastus"] {
        text += &format!(
            "[[store]]\nregion = \"{region}\"\naccount = \"stage1{region}\"\ncontainer = \"golden\"\n\
             subscription = \"00000000-0000-0000-0000-000000000001\"\nresource_group = \"images\"\n"
        );
    }
    std::fs::write(targets, text).unwrap();
}

#[test]
fn requests_of_the_route_follow_the_specification_with_each_behaviour() {
    let scene = Scene::new();
    let behaviours = [
        Behaviours::default(),
        Behaviours { page_answer_md5: false, ..Behaviours::default() },
        Behaviours { page_source_md5: Checks::Refused, page_crc64: Checks::Refused, ..Behaviours::default() },
        Behaviours { block_blob_source: false, page_answer_md5: false, ..Behaviours::default() },
        Behaviours { renewal: Renewal::EndsFirst, expiry_ends_access: true, ..Behaviours::default() },
    ];
    for (n, behaviours) in (1..).zip(behaviours) {
        scene.change(|world| world.behaviours = behaviours.clone());
        scene.upload(&n.to_string());
        let status = scene.dispatch(&n.to_string());
        assert_eq!(status["state"], "succeeded", "{behaviours:?}: {status:#}");
        scene.assert_delivered(n);
    }
}

const GALLERY: &str = r#"
[[gallery]]
subscription = "00000000-0000-0000-0000-000000000001"
resource_group = "images"
name = "corp"
region = "westeurope"
create_definition = true
regions = [{ name = "westeurope", replicas = 2, storage = "Standard_ZRS" }, { name = "eastus" }]
"#;

/// Images and gallery versions of an OS disk and a data disk, with calls that are lost or repeated.
#[test]
fn galleries_and_data_disks_of_uploaded_versions_follow_the_specification() {
    let scene = Scene::new();
    let targets = scene.fixture.path("targets.toml");
    let text = std::fs::read_to_string(&targets).unwrap();
    std::fs::write(&targets, text + GALLERY).unwrap();
    let group = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images";
    scene.change(|world| {
        world.galleries.push(GalleryItem {
            level: GalleryLevel::Gallery,
            id: format!("{group}/providers/Microsoft.Compute/galleries/corp"),
            region: "westeurope".to_owned(),
            tags: BTreeMap::new(),
            properties: json!({}),
            state: ImageState::Succeeded,
            replicas: BTreeMap::new(),
        });
    });
    let mut data = vec![0; 20 << 20];
    data[9 << 20..][..96 << 10].fill(0x17);
    std::fs::write(scene.fixture.path("data.img"), &data).unwrap();
    scene.upload_with("1.0.0", &["--data", "3=raw:data.img"]);
    let of = |method: &str, kind: &str, part: &str| Matches::of(method, kind).containing(part);
    let versions = "Microsoft.Compute/galleries/images/versions";
    for matches in [
        of("PUT", versions, "1.0.0"),
        of("GET", versions, "1.0.0"),
        of("PUT", "Microsoft.Compute/galleries/images", "golden"),
        of("DELETE", "Microsoft.Compute/snapshots", "gf-temporary"),
    ] {
        // A change whose answer is lost has its effect, and is not requested again.
        scene.azure.manager.faults().next(1, matches.clone(), Fault::Status(503, Some(0)));
        scene.azure.manager.faults().next(1, matches, Fault::ResetAfterEffect);
    }
    let status = scene.dispatch("1.0.0");
    assert_eq!((&status["state"], scene.azure.manager.faults().left()), (&"succeeded".into(), 0), "{status:#}");
    let images = scene.azure.manager.images();
    assert_eq!(images.len(), 4);
    assert!(
        images.iter().all(|image| image["properties"]["storageProfile"]["dataDisks"][0]["lun"] == 3),
        "{images:#?}"
    );
    let galleries = scene.azure.manager.galleries();
    let version = galleries.iter().find(|item| item["type"] == versions).unwrap();
    let disks = &version["properties"]["storageProfile"]["dataDiskImages"];
    assert_eq!((disks[0]["lun"].as_u64(), disks.as_array().unwrap().len()), (Some(3), 1), "{version:#}");
    let names: Vec<String> =
        scene.azure.manager.disks().iter().map(|disk| disk["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 4, "two disks in two regions: {names:?}");
    assert!(names.iter().all(|name| name.starts_with("gf-golden-")), "{names:?}");
    scene.assert_clean();
}

/// The service neither checks a source nor reports what it wrote, and a store has other bytes.
#[test]
fn bytes_that_nothing_proves_are_read_back() {
    let scene = Scene::new();
    scene.upload("1");
    scene.change(|world| {
        world.behaviours =
            Behaviours { page_source_md5: Checks::Ignored, page_answer_md5: false, ..Behaviours::default() };
        world.page_sources.values_mut().next().unwrap()[100] ^= 1;
    });
    let output = scene.fixture.run(&[
        "dispatch",
        "--image",
        "golden",
        "--version",
        "1",
        "--route",
        "region",
        "--wait",
        "--output",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes: Vec<&Value> = status["failures"].as_array().unwrap().iter().map(|failure| &failure["code"]).collect();
    assert!(codes.iter().any(|code| *code == "source-corrupt"), "{status:#}");
    assert_eq!(scene.azure.manager.images().len(), 0);
    assert_eq!(scene.azure.manager.disks(), Vec::<Value>::new(), "no snapshot of bytes that are not proven");
    scene.assert_clean();
}

/// Requests fail before and after their effect, and access expires while it is used.
#[test]
fn faults_are_survived() {
    let scene = Scene::new();
    let of = |method: &str, kind: &str, part: &str| Matches::of(method, kind).containing(part);
    let (disks, snapshots) = ("Microsoft.Compute/disks", "Microsoft.Compute/snapshots");
    let content = goldfleet_tests::azure::arm::CONTENT;
    let cases = [
        of("PUT", disks, "gf-temporary"),
        of("POST", disks, "beginGetAccess"),
        of("PUT", content, "abcd"),
        of("GET", content, "pagelist"),
        of("POST", disks, "endGetAccess"),
        of("PUT", snapshots, "gf-golden"),
        of("DELETE", disks, "gf-temporary"),
    ];
    for (n, matches) in (1..).zip(cases) {
        let version = n.to_string();
        scene.upload(&version);
        let fault = if n % 2 == 0 { Fault::StatusAfterEffect(504) } else { Fault::ResetAfterEffect };
        scene.azure.manager.faults().next(1, matches.clone(), fault);
        scene.azure.manager.faults().next(1, matches.clone(), Fault::Status(503, Some(0)));
        let status = scene.dispatch(&version);
        assert_eq!(
            (&status["state"], scene.azure.manager.faults().left()),
            (&"succeeded".into(), 0),
            "{matches:?}: {status:#}"
        );
        scene.assert_delivered(n);
    }
}
