//! Two galleries in two regions on the directory cloud, which receive versions beside four targets.

use std::fs;

use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::galleries::promote::{PromoteError, PromoteRequest, Promotion, promote};
use goldfleet_dispatcher::control::galleries::watch::watch;
use goldfleet_dispatcher::control::request::Terms;
use goldfleet_dispatcher::control::status::Status;
use goldfleet_dispatcher::control::verify::record::record_result;
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyReport, VerifyScope, verify};
use goldfleet_galleries::converge;
use goldfleet_galleries::publication::Publication;
use goldfleet_kinds::publish::record;
use goldfleet_model::ids::JobId;
use goldfleet_model::resource::{
    GalleryProperties, GalleryVersionProperties, Properties, ResourceBody, ResourceId, ResourceType, VersionNumber,
};
use goldfleet_ports::resources::{PutMode, PutRequest};
use goldfleet_tests::process_fixture;
use serde_json::{Value, json};

use crate::platform::scene::{Scene as Platform, id};

/// The regions of the first gallery.
pub(crate) const REGIONS: [&str; 3] = ["westeurope", "eastus", "japaneast"];

/// The galleries of the targets file: one in the region of the source, and one elsewhere.
const GALLERIES: &str = r#"
[[gallery]]
subscription = "00000000-0000-0000-0000-000000000001"
resource_group = "images"
name = "corp"
region = "westeurope"
create_definition = true
security_type = "trusted-launch"
regions = [{ name = "eastus", replicas = 2 }, { name = "japaneast" }]

[[gallery]]
subscription = "00000000-0000-0000-0000-000000000002"
resource_group = "images"
name = "corp_us"
region = "eastus"
create_definition = true
"#;

pub(crate) struct Scene {
    pub(crate) platform: Platform,
    pub(crate) source: ResourceId,
}

impl Scene {
    /// Galleries besides targets.
    pub(crate) async fn new() -> Self {
        Self::with(&(process_fixture::targets(2, &["westeurope", "eastus"]) + GALLERIES)).await
    }

    /// Galleries without targets.
    pub(crate) async fn without_targets() -> Self {
        Self::with(GALLERIES).await
    }

    pub(crate) async fn with(targets: &str) -> Self {
        let platform = Platform::with_targets(targets).await;
        for (subscription, name, region) in [(1, "corp", "westeurope"), (2, "corp_us", "eastus")] {
            let id = id(subscription, "images", ResourceType::Gallery, name);
            let properties = Properties::Gallery(GalleryProperties::default());
            platform.put(&id, ResourceBody::new(region.parse().unwrap(), properties)).await;
        }
        let source = platform.snapshot("golden", true).await;
        Self { platform, source }
    }

    /// Sets how the cloud replicates versions from now on.
    pub(crate) fn settings(&self, settings: &Value) {
        let folder = self.platform.fleet.cloud().join("subscriptions");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("settings.json"), settings.to_string()).unwrap();
    }

    pub(crate) fn control(&self) -> ControlContext {
        self.platform.fleet.control_with_own_ports()
    }

    pub(crate) async fn request(&self, version: &str) -> JobId {
        self.platform.try_request_version(&self.source, version, Terms::default()).await.unwrap()
    }

    /// Dispatches a version.
    pub(crate) async fn dispatch(&self, version: &str) -> (JobId, Status) {
        let job = self.request(version).await;
        let status = self.platform.fleet.run(self.platform.ports(), 2, &job).await;
        (job, status)
    }

    pub(crate) fn gallery(subscription: u32, name: &str) -> ResourceId {
        id(subscription, "images", ResourceType::Gallery, name)
    }

    /// The version of the first gallery.
    pub(crate) fn version(version: &str) -> ResourceId {
        Self::version_in(1, "corp", version)
    }

    pub(crate) fn version_in(subscription: u32, gallery: &str, version: &str) -> ResourceId {
        let definition =
            Self::gallery(subscription, gallery).child(ResourceType::Definition, &"golden".parse().unwrap());
        definition.child(ResourceType::GalleryVersion, &version.parse().unwrap())
    }

    pub(crate) async fn read(&self, id: &ResourceId) -> GalleryVersionProperties {
        self.platform.get(id).await.unwrap().body.properties.gallery_version().unwrap().clone()
    }

    /// The programmatic names of the regions of a version.
    pub(crate) async fn regions(&self, id: &ResourceId) -> Vec<String> {
        self.read(id).await.regions().iter().map(|region| region.name.clone()).collect()
    }

    pub(crate) async fn publication(&self, id: &ResourceId) -> Publication {
        record::read(self.platform.ports(), id).await.unwrap().unwrap()
    }

    /// Changes a version, as another tool does.
    pub(crate) async fn change(&self, id: &ResourceId, change: impl FnOnce(&mut GalleryVersionProperties)) {
        let mut body = self.platform.get(id).await.unwrap().body;
        change(body.properties.gallery_version_mut().unwrap());
        let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::CreateOrUpdate, body };
        self.platform.ports().resources.put(&request).await.unwrap();
    }

    /// Removes a region from a version, as another tool does.
    pub(crate) async fn remove_region(&self, id: &ResourceId, region: &str) {
        let keep = |found: &goldfleet_model::resource::TargetRegion| found.name != region;
        self.change(id, |version| version.publishing_profile.as_mut().unwrap().target_regions.retain(keep)).await;
    }

    /// The file with the content of a version.
    pub(crate) fn bytes(&self, id: &ResourceId) -> blake3::Hash {
        let group = format!("subscriptions/{}/resourceGroups/{}", id.subscription, id.resource_group);
        let path =
            self.platform.fleet.cloud().join(group).join(id.path()).with_file_name(format!("{}.disk", id.name.own()));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        blake3::hash(&bytes[..20 << 20])
    }

    /// Asserts that both galleries have a version with the bytes of the source, ready in all regions, and no temporary.
    pub(crate) async fn assert_published(&self, version: &str) {
        let expected = self.platform.bytes(&self.source);
        for id in [Self::version(version), Self::version_in(2, "corp_us", version)] {
            assert_eq!(self.bytes(&id), expected, "{id}");
            let publication = self.publication(&id).await;
            assert_eq!(publication.not_ready(), Vec::<String>::new(), "{id}");
        }
        self.platform.assert_no_temporaries().await;
    }

    /// Verifies a job, and records the result, as the command does.
    pub(crate) async fn verify(&self, job: &JobId) -> VerifyReport {
        let control = self.control();
        let row = control.jobs.job(job).await.unwrap().value;
        let places = VerifyScope::scope_of_job(&control, &row).await.unwrap();
        let how = VerifyOptions::default();
        let report = verify(&control, row.image(), &places, how, &|_| ()).await.unwrap();
        record_result(&control.jobs, &row, row.image().unwrap(), &report, how).await.unwrap();
        report
    }

    pub(crate) async fn promote(&self, version: &str, backwards: bool) -> Result<Promotion, PromoteError> {
        let request = PromoteRequest { image: "golden".parse().unwrap(), version: version.parse().unwrap(), backwards };
        promote(&self.control(), &request).await
    }

    /// One pass of the reconciler over the versions.
    pub(crate) async fn sweep(&self) {
        watch(&self.control()).await.unwrap();
    }

    /// The latest version of the first gallery in a region.
    pub(crate) async fn latest(&self, versions: &[&str], region: &str) -> Option<String> {
        let mut all = Vec::new();
        for version in versions {
            all.push((version.parse::<VersionNumber>().unwrap(), self.read(&Self::version(version)).await));
        }
        converge::latest(all.iter().map(|(number, version)| (*number, version)), region).map(|found| found.to_string())
    }
}

/// No delays and no failures.
pub(crate) fn at_once() -> Value {
    json!({})
}
