//! A small fleet in this process: two subscriptions in two regions, and a golden VHD of a few chunks.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_disk::{AzureDisk, Footer, GoldenSpec, same_disk};
use goldfleet_dispatcher::control::cleanup::delete_version;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::fan_out::fan_out;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::service::{RunUntil, run};
use goldfleet_dispatcher::control::status::{ReportedState, Status, status};
use goldfleet_dispatcher::control::upload::{UploadError, UploadRequest, UploadResult, upload};
use goldfleet_kinds::context::StepSettings;
use goldfleet_kinds::registry::Registry;
use goldfleet_model::ids::JobId;
use goldfleet_model::manifest::OsType;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::store::BlobAddress;
use goldfleet_model::upload::Upload;
use goldfleet_ports::Ports;
use goldfleet_sources::DiskFile;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::settings::WorkerSettings;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::files::visit;
use crate::process_fixture;

const MIB: u64 = 1 << 20;

/// The time limit for a job of the small fleet. A longer run means that something is wrong.
const TOO_LONG: Duration = Duration::from_secs(60);

/// A fleet in a temporary directory.
pub struct InProcessFleet {
    folder: TempDir,
    /// The configuration.
    pub config: Arc<Config>,
    /// The ports, without injected faults.
    pub ports: Ports,
}

impl InProcessFleet {
    /// A new fleet with a golden VHD and no uploads.
    #[must_use]
    pub fn new() -> Self {
        let toml = process_fixture::SOURCE.to_owned()
            + r#"
            [dispatch]
            sweep = "50ms"
            [cleanup]
            chunk_grace = "1s"
        "#;
        Self::with(&toml, &process_fixture::targets(2, &["westeurope", "eastus"]), &process_fixture::golden())
    }

    /// A new fleet with this configuration, targets and golden VHD.
    #[must_use]
    pub fn with(config: &str, targets: &str, golden: &GoldenSpec) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("goldfleet.toml"), config).unwrap();
        std::fs::write(folder.path().join("targets.toml"), targets).unwrap();
        golden.write(&folder.path().join("golden.vhd")).unwrap();
        let config = Config::load(Some(&folder.path().join("goldfleet.toml")), std::iter::empty()).unwrap();
        let ports = goldfleet_connect::open(&config).unwrap();
        Self { folder, config: Arc::new(config), ports }
    }

    /// The path of the golden VHD.
    #[must_use]
    pub fn golden(&self) -> PathBuf {
        self.folder.path().join("golden.vhd")
    }

    /// The path of the directory cloud.
    #[must_use]
    pub fn cloud(&self) -> PathBuf {
        self.folder.path().join("cloud")
    }

    /// Changes the data of one chunk of the golden VHD.
    pub fn change_golden(&self) {
        let file = OpenOptions::new().write(true).open(self.golden()).unwrap();
        file.write_all_at(&[0x5a; 4096], 7 * MIB).unwrap();
    }

    /// Moves the targets in eastus to ring 1.
    pub fn put_eastus_in_ring_1(&self) {
        let path = self.folder.path().join("targets.toml");
        let targets = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, targets.replace("region = \"eastus\"", "region = \"eastus\"\nring = 1")).unwrap();
    }

    /// Deletes all managed images.
    pub fn delete_all_images(&self) {
        std::fs::remove_dir_all(self.cloud().join("subscriptions")).unwrap();
    }

    /// Deletes the managed images in eastus.
    pub fn delete_eastus_images(&self) {
        for file in self.images().into_keys().filter(|file| file.to_string_lossy().contains("eastus")) {
            std::fs::remove_file(file).unwrap();
        }
    }

    /// Rebuilds the golden VHD as an image tool would: with a new unique id, other data in one chunk, half of the data
    /// of another removed, all data of a third removed, data where there was none, and one chunk unchanged.
    pub fn rebuild_golden(&self) {
        let file = OpenOptions::new().write(true).open(self.golden()).unwrap();
        file.write_all_at(&[0x5a; 4096], 7 * MIB).unwrap();
        file.write_all_at(&[0; 256 << 10], 12 * MIB).unwrap();
        file.write_all_at(&[0; 128 << 10], 17 * MIB + (128 << 10)).unwrap();
        file.write_all_at(&[0xa5; 64 << 10], 20 * MIB + (512 << 10)).unwrap();
        file.write_all_at(&Footer::fixed_for(24 * MIB, 0xface).to_bytes(), 24 * MIB).unwrap();
    }

    /// A control context with the fleet's ports.
    #[must_use]
    pub fn control_with_own_ports(&self) -> ControlContext {
        self.control_with(self.ports.clone())
    }

    /// A control context with these ports.
    #[must_use]
    pub fn control_with(&self, ports: Ports) -> ControlContext {
        ControlContext::new(ports, Arc::clone(&self.config), "test")
    }

    /// Settings of a worker with short waits.
    #[must_use]
    pub fn settings(&self) -> WorkerSettings {
        WorkerSettings {
            concurrency: 8,
            lease: Duration::from_secs(2),
            visibility: Duration::from_secs(2),
            clock_skew: Duration::from_millis(200),
            retry_base: Duration::from_millis(5),
            retry_cap: Duration::from_millis(50),
            poll: Duration::from_millis(20),
            steps: StepSettings {
                heartbeat: Duration::from_millis(100),
                // Off by default. Here, copies of later versions must use it.
                clone_and_patch: true,
                ..StepSettings::default()
            },
            ..WorkerSettings::default()
        }
    }

    /// Uploads the golden VHD.
    ///
    /// # Errors
    /// Those of the upload.
    pub async fn upload(&self, ports: &Ports, version: &str) -> Result<UploadResult, UploadError> {
        self.upload_as(ports, "golden", version, &|_| {}).await
    }

    /// Uploads the golden VHD as a version of this image, and reports progress.
    ///
    /// # Errors
    /// Those of the upload.
    pub async fn upload_as(
        &self,
        ports: &Ports,
        image: &str,
        version: &str,
        watch: &(dyn Fn(&Upload) + Sync),
    ) -> Result<UploadResult, UploadError> {
        let asked = UploadRequest {
            source: DiskFile::shared(self.golden()),
            image: image.parse().unwrap(),
            version: version.parse().unwrap(),
            os: OsType::Linux,
            check: goldfleet_dispatcher::control::check::ImageChecks::default(),
            limit: None,
        };
        upload(&self.control_with(ports.clone()), &asked, watch, &CancellationToken::new()).await
    }

    /// Uploads the golden VHD as a version of the golden image to the source store of this control context.
    pub async fn upload_with(&self, control: &ControlContext, version: &str) -> UploadResult {
        let asked = UploadRequest {
            source: DiskFile::shared(self.golden()),
            image: "golden".parse().unwrap(),
            version: version.parse().unwrap(),
            os: OsType::Linux,
            check: goldfleet_dispatcher::control::check::ImageChecks::default(),
            limit: None,
        };
        upload(control, &asked, &|_| {}, &CancellationToken::new()).await.unwrap()
    }

    /// Deletes a version of the golden image. Returns whether it existed.
    pub async fn delete_version(&self, version: &str) -> bool {
        delete_version(&self.control_with_own_ports(), &"golden".parse().unwrap(), &version.parse().unwrap())
            .await
            .unwrap()
    }

    /// Requests a version at all targets.
    pub async fn request(&self, version: &str) -> JobId {
        self.request_with(version, false).await
    }

    /// Requests a version at all targets, with approval of every ring after the first.
    pub async fn request_with_approval(&self, version: &str) -> JobId {
        self.request_with(version, true).await
    }

    async fn request_with(&self, version: &str, approve: bool) -> JobId {
        request_job(&self.control_with_own_ports(), &"golden".parse().unwrap(), &version.parse().unwrap(), &[], approve)
            .await
            .unwrap()
            .job
            .id
    }

    /// Uploads the golden VHD as a version, and requests it at all targets.
    pub async fn request_after_upload(&self, version: &str) -> JobId {
        self.upload(&self.ports, version).await.unwrap();
        self.request(version).await
    }

    /// As [`Self::request_after_upload`], and also fans out the job.
    pub async fn plan_job(&self, version: &str) -> JobId {
        let job = self.request_after_upload(version).await;
        fan_out(&self.control_with_own_ports(), &job).await.unwrap();
        job
    }

    /// Requests an uploaded version, and runs its job on these ports to the end.
    pub async fn request_and_run(&self, ports: &Ports, version: &str, workers: usize) -> (JobId, Status) {
        let job = self.request(version).await;
        let status = self.run(ports, workers, &job).await;
        (job, status)
    }

    /// Uploads the golden VHD as a version, requests it, and runs its job to the end. Everything except the request
    /// uses these ports.
    pub async fn roll_out(&self, ports: &Ports, version: &str, workers: usize) -> (JobId, Status) {
        self.upload(ports, version).await.unwrap();
        self.request_and_run(ports, version, workers).await
    }

    /// Rolls out version 1 while the account of one target is unusable. Afterwards the account is usable, and the dead
    /// letter is deleted.
    pub async fn roll_out_with_one_failure(&self) -> (JobId, Status) {
        self.upload(&self.ports, "1").await.unwrap();
        self.block_path("stage2westeurope");
        let ended = self.request_and_run(&self.ports, "1", 1).await;
        self.unblock_path("stage2westeurope");
        assert_eq!(self.drain_dead_letters().await, 1);
        ended
    }

    /// Creates an obstacle at a path of the cloud, such as an account, so that it is unusable.
    pub fn block_path(&self, name: &str) {
        std::fs::write(self.cloud().join(name), "in the way").unwrap();
    }

    /// Removes the obstacle.
    pub fn unblock_path(&self, name: &str) {
        std::fs::remove_file(self.cloud().join(name)).unwrap();
    }

    /// Deletes the dead letters. Returns how many there were.
    pub async fn drain_dead_letters(&self) -> usize {
        let mut count = 0;
        loop {
            let messages = self.ports.queue.receive(QueueName::DeadLetter, 9, TOO_LONG).await.unwrap();
            if messages.is_empty() {
                return count;
            }
            for message in messages {
                self.ports.queue.delete(QueueName::DeadLetter, &message.receipt).await.unwrap();
                count += 1;
            }
        }
    }

    /// Retries what failed or was cancelled in a job. Returns the number of operations.
    pub async fn retry(&self, job: &JobId) -> usize {
        retry(&self.control_with_own_ports(), job, &RetryFilter::default()).await.unwrap()
    }

    /// Retries a job, runs it to the end, and asserts that everything is done.
    pub async fn retry_and_run(&self, job: &JobId) -> usize {
        let count = self.retry(job).await;
        self.run(&self.ports, 1, job).await;
        self.assert_all_done(job).await;
        count
    }

    /// Runs a dispatcher and `workers` workers on these ports until the job has ended.
    pub async fn run(&self, ports: &Ports, workers: usize, job: &JobId) -> Status {
        let stop = CancellationToken::new();
        let control = self.control_with(ports.clone());
        let mut tasks = Vec::new();
        let (serving, serving_stop) = (control.clone(), stop.clone());
        tasks.push(tokio::spawn(async move { run(&serving, RunUntil::Stopped, &serving_stop).await }));
        for n in 0..workers {
            let settings = WorkerSettings { name: format!("worker-{n}"), ..self.settings() };
            let pump = Consumer::new(WorkerContext::new(ports.clone(), settings), stop.clone());
            tasks.push(tokio::spawn(async move { pump.run().await }));
        }
        let ended = tokio::time::timeout(TOO_LONG, self.ended(job)).await;
        stop.cancel();
        for task in tasks {
            task.await.unwrap();
        }
        match ended {
            Ok(status) => status,
            Err(_) => panic!("the job did not end: {:#?}", self.status(job).await),
        }
    }

    async fn ended(&self, job: &JobId) -> Status {
        loop {
            // Read the job's row once, so that its state and the status are consistent.
            let row = self.ports.table.job(job).await.unwrap().unwrap().value;
            let status = status(&self.control_with_own_ports().jobs, &row).await.unwrap();
            if status.state != ReportedState::Running && row.state.is_terminal() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The status of a job.
    pub async fn status(&self, job: &JobId) -> Status {
        status(&self.control_with_own_ports().jobs, &self.ports.table.job(job).await.unwrap().unwrap().value)
            .await
            .unwrap()
    }

    /// The managed images: file and content.
    #[must_use]
    pub fn images(&self) -> BTreeMap<PathBuf, serde_json::Value> {
        let mut images = BTreeMap::new();
        visit(&self.cloud().join("subscriptions"), &mut |file| {
            let text = std::fs::read_to_string(file).unwrap();
            images.insert(file.to_owned(), serde_json::from_str(&text).unwrap());
        });
        images
    }

    /// The chunks in a store, by name and length.
    #[must_use]
    pub fn chunks(&self, account: &str, container: &str) -> BTreeMap<PathBuf, u64> {
        let mut chunks = BTreeMap::new();
        visit(&self.cloud().join(account).join(container).join("chunks"), &mut |file| {
            chunks.insert(file.to_owned(), std::fs::metadata(file).unwrap().len());
        });
        chunks
    }

    /// Asserts that a job succeeded completely: all operations succeeded, there is one image per target, every VHD is
    /// correct, every operation ran once, and no message is left.
    pub async fn assert_all_done(&self, job: &JobId) {
        let status = self.status(job).await;
        assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
        for (kind, phase) in status.phases.named() {
            assert_eq!(phase.succeeded, phase.total, "{kind}: {status:#?}");
        }
        let golden = AzureDisk::open(&self.golden()).unwrap();
        let mut targets = 0;
        for row in self.ports.table.operations(job).await.unwrap() {
            if row.value.kind.as_str() == "copy" {
                let vhd = staged_vhd(&self.ports, &row.value);
                let file = self.cloud().join(vhd.to_string());
                assert_eq!(same_disk(&golden, &file).unwrap(), None, "{} differs", file.display());
                targets += 1;
            }
        }
        let images = self.images();
        let ours =
            images.values().filter(|image| image["tags"]["goldfleet-digest"].as_str() == status.digest.as_deref());
        assert_eq!(ours.count(), targets, "{images:#?}");
        self.assert_done_once(job).await;
        self.assert_no_messages().await;
    }

    async fn assert_done_once(&self, job: &JobId) {
        let mut done = BTreeMap::<String, usize>::new();
        for event in self.ports.table.events(job, None).await.unwrap() {
            if let (Some(operation), "succeed") = (event.operation, event.what.as_str()) {
                *done.entry(operation.to_string()).or_default() += 1;
            }
        }
        assert!(done.values().all(|count| *count == 1), "done more than once: {done:#?}");
    }

    /// Messages that were sent twice may arrive after the end of the job. Workers delete them.
    async fn assert_no_messages(&self) {
        assert_eq!(self.ports.queue.depth(QueueName::DeadLetter).await.unwrap(), 0, "a message was given up");
    }
}

impl Default for InProcessFleet {
    fn default() -> Self {
        Self::new()
    }
}

/// The address of the VHD that a copy stages.
#[must_use]
pub fn staged_vhd(ports: &Ports, copy: &Operation) -> BlobAddress {
    Registry::default().temporary_blob(ports, copy).unwrap().blob
}
