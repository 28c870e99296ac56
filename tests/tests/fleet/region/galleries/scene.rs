//! Hubs in three regions, and galleries that receive uploaded versions, with and without data disks.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use goldfleet_dispatcher::control::check::ImageChecks;
use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::galleries::promote::{PromoteError, PromoteRequest, Promotion, promote};
use goldfleet_dispatcher::control::request::{RequestResult, Terms, request_on};
use goldfleet_dispatcher::control::status::Status;
use goldfleet_dispatcher::control::upload::{UploadRequest, upload};
use goldfleet_dispatcher::control::verify::record::record_result;
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyReport, VerifyScope, verify};
use goldfleet_kinds::publish::record;
use goldfleet_model::ids::{JobId, SubscriptionId};
use goldfleet_model::manifest::OsType;
use goldfleet_model::resource::{
    GalleryProperties, GalleryVersionProperties, Properties, ResourceBody, ResourceId, ResourceType,
};
use goldfleet_model::selector::Selector;
use goldfleet_ports::Ports;
use goldfleet_ports::resources::{PutMode, PutRequest};
use goldfleet_sources::{DataFile, DiskFile};
use goldfleet_tests::process_fixture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::region::scene::{Scene as Region, stores};

/// The LUN of the data disk, and its size.
pub(crate) const LUN: u8 = 3;
const DATA_SIZE: usize = 20 << 20;
const OS_SIZE: usize = 24 << 20;

/// A gallery in the region of one hub, with a further region.
pub(crate) const ONE: &str = r#"
[[gallery]]
subscription = "00000000-0000-0000-0000-000000000001"
resource_group = "images"
name = "corp"
region = "westeurope"
create_definition = true
regions = [{ name = "japaneast", replicas = 2 }]
"#;

/// A gallery in another region, of a later ring.
const OTHER: &str = r#"
[[gallery]]
subscription = "00000000-0000-0000-0000-000000000002"
resource_group = "images"
name = "corp_us"
region = "eastus"
create_definition = true
ring = 1
"#;

pub(crate) struct Scene {
    pub(crate) region: Region,
}

impl Scene {
    /// Two galleries beside four targets in two regions.
    pub(crate) async fn new() -> Self {
        Self::with(&(process_fixture::targets(2, &["westeurope", "eastus"]) + ONE + OTHER)).await
    }

    /// A gallery without targets.
    pub(crate) async fn without_targets() -> Self {
        Self::with(ONE).await
    }

    pub(crate) async fn with(targets: &str) -> Self {
        let region = Region::with_targets(&(targets.to_owned() + &stores()));
        for (subscription, name, place) in [(1, "corp", "westeurope"), (2, "corp_us", "eastus")] {
            let properties = Properties::Gallery(GalleryProperties::default());
            let body = ResourceBody::new(place.parse().unwrap(), properties);
            let id = gallery(subscription, name);
            let request = PutRequest { id, tenant: None, mode: PutMode::Create, body };
            region.ports().resources.put(&request).await.unwrap();
        }
        Self { region }
    }

    pub(crate) fn ports(&self) -> &Ports {
        self.region.ports()
    }

    fn data_file(&self) -> PathBuf {
        self.region.fleet.golden().with_file_name("data.img")
    }

    /// Uploads the golden VHD as a version, with a data disk if `has_data`.
    pub(crate) async fn upload(&self, version: &str, has_data: bool) {
        let mut source = DiskFile::new(self.region.fleet.golden());
        if has_data {
            let mut bytes = vec![0; DATA_SIZE];
            bytes[9 << 20..][..96 << 10].fill(0x17);
            fs::write(self.data_file(), bytes).unwrap();
            let format = Some("raw".parse().unwrap());
            source = source.with_data(vec![DataFile { lun: LUN, format, path: self.data_file() }]);
        }
        let request = UploadRequest {
            source: Arc::new(source),
            image: "golden".parse().unwrap(),
            version: version.parse().unwrap(),
            os: OsType::Linux,
            check: ImageChecks::default(),
            limit: None,
        };
        let control = self.region.fleet.control_with_own_ports();
        upload(&control, &request, &|_| {}, &CancellationToken::new()).await.unwrap();
    }

    /// A requested version without data disks.
    pub(crate) async fn requested(self, version: &str) -> (Self, JobId) {
        self.upload(version, false).await;
        let job = self.region.fleet.request(version).await;
        (self, job)
    }

    pub(crate) async fn run(&self, job: &JobId) -> Status {
        self.region.fleet.run(self.ports(), 2, job).await
    }

    /// Requests a version at the targets of a subscription.
    pub(crate) async fn request_at(&self, version: &str, selector: &str) -> Result<RequestResult, ControlError> {
        let control = self.region.fleet.control_with_own_ports();
        let selection: Vec<Selector> = vec![selector.parse().unwrap()];
        let (image, version) = ("golden".parse().unwrap(), version.parse().unwrap());
        request_on(&control, &image, &version, &selection, Terms::default()).await
    }

    pub(crate) async fn read(&self, id: &ResourceId) -> GalleryVersionProperties {
        self.region.get(id).await.unwrap().body.properties.gallery_version().unwrap().clone()
    }

    /// Sets how the cloud replicates versions from now on.
    pub(crate) fn settings(&self, settings: &Value) {
        let folder = self.region.fleet.cloud().join("subscriptions");
        fs::write(folder.join("settings.json"), settings.to_string()).unwrap();
    }

    fn content(&self, id: &ResourceId, extension: &str) -> PathBuf {
        let group = format!("subscriptions/{}/resourceGroups/{}", id.subscription, id.resource_group);
        let name = format!("{}.{extension}", id.name.own());
        self.region.fleet.cloud().join(group).join(id.path()).with_file_name(name)
    }

    /// Asserts that an image or version has the bytes of the source, with the data disk if `has_data`.
    pub(crate) fn assert_content(&self, id: &ResourceId, has_data: bool) {
        let source = fs::read(self.region.fleet.golden()).unwrap();
        assert!(fs::read(self.content(id, "disk")).unwrap()[..OS_SIZE] == source[..OS_SIZE], "{id}");
        let data = self.content(id, &format!("disk-{LUN}"));
        assert_eq!(data.exists(), has_data, "{}", data.display());
        if has_data {
            assert!(fs::read(&data).unwrap()[..DATA_SIZE] == fs::read(self.data_file()).unwrap(), "{id}");
        }
    }

    /// Asserts that the first gallery has a version with the bytes of the source, ready in all regions, and that no
    /// temporary exists.
    pub(crate) async fn assert_published(&self, id: &ResourceId, has_data: bool) {
        self.assert_content(id, has_data);
        let publication = record::read(self.ports(), id).await.unwrap().unwrap();
        assert_eq!(publication.not_ready(), Vec::<String>::new(), "{id}");
        self.region.assert_no_temporaries().await;
    }

    /// Verifies a job, and records the result, as the command does.
    pub(crate) async fn verify(&self, job: &JobId) -> VerifyReport {
        let control = self.region.fleet.control_with_own_ports();
        let row = control.jobs.job(job).await.unwrap().value;
        let places = VerifyScope::scope_of_job(&control, &row).await.unwrap();
        let how = VerifyOptions::default();
        let report = verify(&control, row.image(), &places, how, &|_| ()).await.unwrap();
        record_result(&control.jobs, &row, row.image().unwrap(), &report, how).await.unwrap();
        report
    }

    pub(crate) async fn promote(&self, version: &str) -> Result<Promotion, PromoteError> {
        let (image, version) = ("golden".parse().unwrap(), version.parse().unwrap());
        let request = PromoteRequest { image, version, backwards: false };
        promote(&self.region.fleet.control_with_own_ports(), &request).await
    }
}

fn gallery(subscription: u32, name: &str) -> ResourceId {
    ResourceId {
        subscription: SubscriptionId::nth_for_tests(subscription),
        resource_group: "images".parse().unwrap(),
        resource_type: ResourceType::Gallery,
        name: name.parse().unwrap(),
    }
}

/// A version of the first gallery.
pub(crate) fn version(version: &str) -> ResourceId {
    version_in(1, "corp", version)
}

/// A version of a gallery.
pub(crate) fn version_in(subscription: u32, name: &str, version: &str) -> ResourceId {
    let definition = gallery(subscription, name).child(ResourceType::Definition, &"golden".parse().unwrap());
    definition.child(ResourceType::GalleryVersion, &version.parse().unwrap())
}
