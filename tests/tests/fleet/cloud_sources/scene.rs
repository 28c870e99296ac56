//! A directory cloud with sources, and faults at its calls.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_disk::{CheckOptions, OpenOptions, StatedFormat};
use goldfleet_dispatcher::control::check::ImageChecks;
use goldfleet_dispatcher::control::upload::from::{CloudUploadRequest, upload_from};
use goldfleet_dispatcher::control::upload::{UploadError, UploadRequest, UploadResult, upload};
use goldfleet_model::manifest::OsType;
use goldfleet_model::upload::Upload;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_sources::{DiskFile, SourceLocation};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::intercept::{Call, Interceptor};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub(super) const GROUP: &str =
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/source/providers/Microsoft.Compute";
pub(super) const FOOTER: usize = 512;

/// A fleet with a resource group in its directory cloud.
pub(super) struct Scene {
    pub(super) fleet: InProcessFleet,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self { fleet: InProcessFleet::new() }
    }

    pub(super) fn path(&self, kind: &str, name: &str) -> PathBuf {
        let group = GROUP.strip_prefix('/').unwrap().strip_suffix("/providers/Microsoft.Compute").unwrap();
        self.fleet.cloud().join(group).join(kind).join(name)
    }

    /// Creates a disk or snapshot with the content of the golden VHD, without or with its footer.
    pub(super) fn put(&self, kind: &str, name: &str, footer: bool, change: impl FnOnce(&mut Value)) -> SourceLocation {
        let bytes = fs::read(self.fleet.golden()).unwrap();
        let size = bytes.len() - FOOTER;
        fs::create_dir_all(self.path(kind, "")).unwrap();
        let content = fs::File::create(self.path(kind, &format!("{name}.disk"))).unwrap();
        content.set_len(if footer { bytes.len() } else { size } as u64).unwrap();
        for (n, block) in bytes[..if footer { bytes.len() } else { size }].chunks(4096).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                content.write_all_at(block, n as u64 * 4096).unwrap();
            }
        }
        let mut value = json!({
            "location": "westeurope", "tags": {}, "sku": { "name": "Standard_LRS" },
            "properties": {
                "creationData": { "createOption": "Copy" }, "uniqueId": format!("unique-{name}"),
                "diskSizeBytes": size, "provisioningState": "Succeeded", "diskState": "Unattached",
                "osType": "Linux", "hyperVGeneration": "V2",
            },
        });
        if kind == "snapshots" {
            value["properties"]["completionPercent"] = json!(100.0);
            value["properties"]["incrementalSnapshotFamilyId"] = json!("family");
        }
        change(&mut value);
        fs::write(self.path(kind, &format!("{name}.json")), value.to_string()).unwrap();
        let location = format!("{}:{GROUP}/{kind}/{name}", kind.strip_suffix('s').unwrap());
        SourceLocation::parse(&location, &ToString::to_string).unwrap()
    }

    /// Creates a snapshot of a family with these bytes.
    pub(super) fn snapshot_of(&self, name: &str, bytes: &[u8], change: impl FnOnce(&mut Value)) -> SourceLocation {
        let location = self.put("snapshots", name, false, |value| {
            value["properties"]["incremental"] = json!(true);
            value["properties"]["diskSizeBytes"] = json!(bytes.len());
            change(value);
        });
        let content = fs::File::create(self.path("snapshots", &format!("{name}.disk"))).unwrap();
        content.set_len(bytes.len() as u64).unwrap();
        for (n, block) in bytes.chunks(4096).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0)) {
            content.write_all_at(block, n as u64 * 4096).unwrap();
        }
        location
    }

    pub(super) fn attached(&self) -> SourceLocation {
        self.put("disks", "attached", true, |value| value["properties"]["diskState"] = json!("Attached"))
    }

    /// The state of a disk or snapshot.
    pub(super) fn state(&self, kind: &str, name: &str) -> String {
        let text = fs::read(self.path(kind, &format!("{name}.json"))).unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        value["properties"]["diskState"].as_str().unwrap().to_owned()
    }

    /// The names of all snapshots.
    pub(super) fn snapshots(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("snapshots", "")) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        names.sort();
        names
    }

    pub(super) async fn upload(
        &self,
        ports: &Ports,
        from: &SourceLocation,
        version: &str,
    ) -> Result<UploadResult, UploadError> {
        self.upload_until(ports, from, version, &CancellationToken::new()).await
    }

    pub(super) async fn upload_until(
        &self,
        ports: &Ports,
        from: &SourceLocation,
        version: &str,
        stop: &CancellationToken,
    ) -> Result<UploadResult, UploadError> {
        let os = matches!(from, SourceLocation::Blob(_)).then_some(OsType::Linux);
        let request = CloudUploadRequest { os, ..request(from.clone(), version) };
        upload_from(&self.fleet.control_with(ports.clone()), &request, &|_| {}, stop).await
    }

    /// The same disk from a local file in raw format.
    pub(super) async fn reference(&self) -> UploadResult {
        let bytes = fs::read(self.fleet.golden()).unwrap();
        self.reference_of(&bytes[..bytes.len() - FOOTER], "1").await
    }

    /// A version of these bytes from a local file in raw format.
    pub(super) async fn reference_of(&self, bytes: &[u8], version: &str) -> UploadResult {
        let raw = self.fleet.cloud().with_file_name("golden.raw");
        fs::write(&raw, bytes).unwrap();
        let open = OpenOptions { format: Some(StatedFormat::Raw), ..OpenOptions::default() };
        let request = UploadRequest {
            source: DiskFile::shared(raw),
            image: "reference".parse().unwrap(),
            version: version.parse().unwrap(),
            os: OsType::Linux,
            check: ImageChecks { disk: CheckOptions { open, ..CheckOptions::default() }, ..ImageChecks::default() },
            limit: None,
        };
        upload(&self.fleet.control_with_own_ports(), &request, &|_| {}, &CancellationToken::new()).await.unwrap()
    }

    pub(super) async fn rows(&self) -> Vec<Upload> {
        self.fleet.ports.table.uploads().await.unwrap()
    }
}

pub(super) fn request(from: SourceLocation, version: &str) -> CloudUploadRequest {
    CloudUploadRequest {
        from,
        image: "golden".parse().unwrap(),
        version: version.parse().unwrap(),
        os: None,
        check: ImageChecks::default(),
        limit: None,
    }
}

/// Fails calls, and counts them.
#[derive(Default)]
pub(super) struct Faults {
    /// The call, how many of it are left before the fault, how often it fails, and how.
    pub(super) rules: Mutex<Vec<(&'static str, usize, usize, ErrorKind)>>,
    /// Whether a failing call takes effect.
    pub(super) after_effect: bool,
    pub(super) calls: Mutex<Vec<&'static str>>,
    /// Is cancelled at this call.
    pub(super) stop: Mutex<Option<(&'static str, usize, CancellationToken)>>,
}

impl Faults {
    pub(super) fn of(call: &'static str, nth: usize, times: usize, kind: ErrorKind, after_effect: bool) -> Arc<Self> {
        Arc::new(Self { rules: Mutex::new(vec![(call, nth, times, kind)]), after_effect, ..Self::default() })
    }

    pub(super) fn count(&self, call: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|made| **made == call).count()
    }

    pub(super) fn take(&self, name: &'static str) -> Option<PortError> {
        self.calls.lock().unwrap().push(name);
        if let Some((call, left, stop)) = &mut *self.stop.lock().unwrap()
            && *call == name
        {
            if *left == 0 {
                stop.cancel();
            }
            *left = left.saturating_sub(1);
        }
        let mut rules = self.rules.lock().unwrap();
        let (_, left, times, kind) = rules.iter_mut().find(|(call, ..)| *call == name)?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        *times = times.checked_sub(1)?;
        let wait = Duration::from_millis(1);
        Some(PortError::new(*kind, format!("{name} fails")).with_code("injected").with_retry_after(wait))
    }
}

impl Interceptor for Faults {
    async fn call<T: Send + 'static>(&self, call: Call<'_, T>) -> PortResult<T> {
        match self.take(call.name) {
            None => call.make.await,
            Some(error) if self.after_effect => call.make.await.and(Err(error)),
            Some(error) => Err(error),
        }
    }
}
