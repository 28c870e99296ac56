//! What a request costs: `cargo bench -p goldfleet-tests --bench requests`.
//!
//! A worker's consumer copies 4 GiB to 8 targets: Put Page From URL, 4 MiB each, through the real adapter to a sink
//! that answers 201 at once and moves nothing. The sink is a process of its own, so that its time is not counted.
//! Beside it a bare loop sends the same requests with the same HTTP client. Both speak TLS, as with Azure.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use goldfleet_config::Config;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::fan_out::fan_out;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::simulate::rehearse;
use goldfleet_model::artifact::{ArtifactRecord, Provenance};
use goldfleet_model::image::VhdNames;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::OperationState;
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::{
    ChangeStatus, MachineAction, Pending, Provisioning, PutRequest, Resource, ResourcePage, ResourceQuery,
    ResourceService,
};
use goldfleet_tests::azure::certificates::Certificates;
use goldfleet_tests::bench::size;
use goldfleet_tests::process_fixture::{self, Process};
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::settings::WorkerSettings;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const IN_FLIGHT: usize = 64;

/// The files from which the sink answers.
const MANIFEST: &str = "manifest.jsonl";
const RECORD: &str = "artifact.jsonl";

/// Bytes of data of the disk.
fn data() -> u64 {
    size(4 << 30, 64 << 20)
}

/// How many targets are copied to.
fn targets() -> u32 {
    size(8, 2)
}

/// Rounds of which the best is taken: what disturbs them only adds.
fn rounds() -> u32 {
    size(3, 1)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("sink") {
        let folder = arguments.next().unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(sink(Path::new(&folder)));
        return;
    }
    let runtime = goldfleet_runtime::process::runtime().unwrap();
    let (mut engine, mut bare) = (f64::MAX, f64::MAX);
    for _ in 0..rounds() {
        let scene = Scene::new();
        let (requests, seconds) = runtime.block_on(scene.copy());
        engine = engine.min(seconds / requests);
        bare = bare.min(runtime.block_on(scene.bare(requests)) / requests);
    }
    println!("Put Page From URL requests a CPU second: {:.0}; a bare loop's {:.0}", 1.0 / engine, 1.0 / bare);
    println!("CPU a request: {:.1} us; a bare loop's {:.1} us", engine * 1e6, bare * 1e6);
    println!("ratio of CPU a request, copy engine to bare loop: {:.2}", engine / bare);
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// A sink, and a configuration that leads there.
struct Scene {
    folder: TempDir,
    certificates: Certificates,
    endpoint: String,
    _sink: Process,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let certificates = Certificates::make(folder.path());
        let version = rehearse::version(data(), 1, 100).unwrap();
        std::fs::write(folder.path().join(MANIFEST), version.manifests[0].encode()).unwrap();
        let (uploaded, by) = (jiff::Timestamp::UNIX_EPOCH, "bench".to_owned());
        let upload = goldfleet_model::ids::JobId::new(uploaded, 1);
        let provenance = Provenance { uploaded, upload, by, source: None, system: None };
        let record = ArtifactRecord { artifact: version.artifact, provenance };
        std::fs::write(folder.path().join(RECORD), record.encode()).unwrap();
        let mut sink = Command::new(std::env::current_exe().unwrap());
        sink.arg("sink").arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut sink = Process(sink.spawn().unwrap());
        let mut endpoint = String::new();
        BufReader::new(sink.0.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
        Self { folder, certificates, endpoint: endpoint.trim().to_owned(), _sink: sink }
    }

    fn config(&self) -> Config {
        let text = format!(
            "[source]\nsubscription = \"00000000-0000-0000-0000-000000000000\"\nregion = \"westeurope\"\n\
             account = \"goldsource\"\ncontainer = \"golden\"\n[cloud]\nbackend = \"azure\"\ncredential = \"emulator\"\n\
             blob_endpoint = \"{0}/{{account}}\"\nresource_manager_endpoint = \"{0}\"\nca_certificate = {1:?}\n",
            self.endpoint, self.certificates.root
        );
        let file = self.folder.path().join("goldfleet.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(self.folder.path().join("targets.toml"), process_fixture::targets(targets(), &["westeurope"]))
            .unwrap();
        Config::load(Some(&file), std::iter::empty()).unwrap()
    }

    /// Copies to all targets. Returns how many requests that took, and the CPU seconds.
    async fn copy(&self) -> (f64, f64) {
        let config = self.config();
        let ports = Ports { resources: Arc::new(AtOnce::default()), ..goldfleet_connect::open(&config).unwrap() };
        ports.queue.ensure().await.unwrap();
        ports.table.ensure().await.unwrap();
        let control = ControlContext::new(ports.clone(), Arc::new(config), "bench".to_owned());
        let version = rehearse::version(data(), 1, 100).unwrap();
        let job = request_job(&control, &version.image.name, &version.image.version, &[], false).await.unwrap().job.id;
        fan_out(&control, &job).await.unwrap();
        for message in ports.queue.receive(QueueName::Dispatch, 1, Duration::from_secs(60)).await.unwrap() {
            ports.queue.delete(QueueName::Dispatch, &message.receipt).await.unwrap();
        }
        let settings = WorkerSettings { exit_when_idle: true, ..WorkerSettings::default() };
        let begun = cpu();
        Consumer::new(WorkerContext::new(ports.clone(), settings), CancellationToken::new()).run().await;
        let spent = cpu() - begun;
        let operations = ports.table.operations(&job).await.unwrap();
        assert!(operations.iter().all(|row| row.value.state == OperationState::Succeeded), "{operations:#?}");
        ((version.chunks().count() * targets() as usize) as f64, spent)
    }

    /// Sends as many of the same requests, and takes nothing but the status. Returns the CPU seconds.
    async fn bare(&self, requests: f64) -> f64 {
        let client = self.certificates.client();
        let url: reqwest::Url =
            format!("{}/stage1westeurope/vhds/rehearsal%2F1.vhd?comp=page", self.endpoint).parse().unwrap();
        let headers = page_headers(&self.endpoint);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
        let numbers = 0..requests as u64;
        let begun = cpu();
        stream::iter(numbers)
            .for_each_concurrent(IN_FLIGHT, async |n| {
                let mut headers = headers.clone();
                let range = format!("bytes={}-{}", n << 22, ((n + 1) << 22) - 1);
                headers.insert("x-ms-range", HeaderValue::from_str(&range).unwrap());
                let answer = client.put(url.clone()).headers(headers).send().await.unwrap();
                assert_eq!(answer.status(), 201);
                answer.bytes().await.unwrap();
            })
            .await;
        cpu() - begun
    }
}

/// The headers of a Put Page From URL as the adapter sends it, of the same length.
fn page_headers(endpoint: &str) -> HeaderMap {
    let source = format!("{endpoint}/goldsource/golden/chunks%2F{}?{}", "0".repeat(64), "s".repeat(420));
    let token = format!("Bearer {}", "t".repeat(400));
    let headers = [
        ("accept", "application/xml"),
        ("authorization", &token),
        ("content-length", "0"),
        ("content-type", "application/xml"),
        ("if-sequence-number-le", "1"),
        ("user-agent", "azsdk-rust-storage_blob/1.1.0 (1.90.0; linux; x86_64)"),
        ("x-ms-client-request-id", "00000000-0000-0000-0000-000000000000"),
        ("x-ms-copy-source", &source),
        ("x-ms-page-write", "update"),
        ("x-ms-source-content-crc64", "AAAAAAAAAAA="),
        ("x-ms-source-range", "bytes=0-4194303"),
        ("x-ms-version", "2026-04-06"),
    ];
    headers.into_iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

/// Resources that exist as soon as they are asked for.
#[derive(Default)]
struct AtOnce(Mutex<Vec<Resource>>);

#[async_trait]
impl ResourceService for AtOnce {
    fn vhd_names(&self) -> VhdNames {
        VhdNames::Flat
    }

    fn blob_url(&self, blob: &BlobAddress) -> String {
        blob.to_string()
    }

    async fn get(&self, id: &ResourceId, _: Option<&str>) -> PortResult<Option<Resource>> {
        Ok(self.0.lock().unwrap().iter().find(|image| image.id == *id).cloned())
    }

    async fn list(&self, _: &ResourceQuery, _: Option<&str>) -> PortResult<ResourcePage> {
        Ok(ResourcePage { resources: self.0.lock().unwrap().clone(), ..ResourcePage::default() })
    }

    async fn put(&self, request: &PutRequest) -> PortResult<ChangeStatus> {
        let PutRequest { id, body, .. } = request.clone();
        self.0.lock().unwrap().push(Resource { id, provisioning: Provisioning::Succeeded, body });
        Ok(ChangeStatus::Done)
    }

    async fn delete(&self, _: &ResourceId, _: Option<&str>) -> PortResult<ChangeStatus> {
        Ok(ChangeStatus::Done)
    }

    async fn act(&self, _: &ResourceId, _: MachineAction, _: Option<&str>) -> PortResult<ChangeStatus> {
        Ok(ChangeStatus::Done)
    }

    async fn poll(&self, _: &Pending) -> PortResult<ChangeStatus> {
        Ok(ChangeStatus::Done)
    }
}

/// The page blobs that were made: what a look at each is answered with, by path.
type Made = Arc<Mutex<HashMap<String, HeaderMap>>>;

/// Answers as a Blob service that has a version and takes everything. Says where it is, and goes on until it is killed.
async fn sink(folder: &Path) {
    let certificates = Certificates {
        root: folder.join("root.pem"),
        server: folder.join("server.pem"),
        key: folder.join("server.key"),
    };
    let acceptor = TlsAcceptor::from(certificates.server_config());
    let manifest = Bytes::from(std::fs::read(folder.join(MANIFEST)).unwrap());
    let version = (manifest, Bytes::from(std::fs::read(folder.join(RECORD)).unwrap()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    println!("https://{}", listener.local_addr().unwrap());
    let made = Made::default();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(connection(stream, acceptor.clone(), version.clone(), Arc::clone(&made)));
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, version: (Bytes, Bytes), made: Made) {
    stream.set_nodelay(true).unwrap();
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, &version, &made))));
    // Clients end connections as they like.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Pages were written: the answer has the checksum that they were sent with, as if it were computed from them.
fn written(request: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = respond(201, Bytes::new());
    for (sent, returned) in [("x-ms-source-content-md5", "content-md5"), ("x-ms-content-crc64", "x-ms-content-crc64")] {
        if let Some(checksum) = request.get(sent) {
            response.headers_mut().insert(returned, checksum.clone());
        }
    }
    response
}

fn answer(request: &Request<Incoming>, (manifest, record): &(Bytes, Bytes), made: &Made) -> Response<Full<Bytes>> {
    let headers = request.headers();
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let (status, body) = match *request.method() {
        Method::PUT if query.contains("comp=properties") => (200, Bytes::new()),
        Method::PUT if query.contains("comp=page") => return written(headers),
        Method::PUT => {
            if headers.get("x-ms-blob-type").is_some_and(|kind| kind == "PageBlob") {
                made.lock().unwrap().insert(path.to_owned(), properties(headers));
            }
            (201, Bytes::new())
        }
        Method::HEAD => {
            let Some(properties) = made.lock().unwrap().get(path).cloned() else { return respond(404, Bytes::new()) };
            let mut response = respond(200, Bytes::new());
            response.headers_mut().extend(properties);
            return response;
        }
        Method::POST => (200, Bytes::from_static(KEY)),
        Method::GET if path.contains("artifacts") && !query.contains("comp=") => return ranged(request, record),
        Method::GET if path.contains("manifests") && !query.contains("comp=") => return ranged(request, manifest),
        _ => (404, Bytes::new()),
    };
    respond(status, body)
}

/// What a page blob that is made with these headers says of itself.
fn properties(made: &HeaderMap) -> HeaderMap {
    let metadata = made.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-meta-"));
    let mut properties: HeaderMap = metadata.map(|(name, value)| (name.clone(), value.clone())).collect();
    properties.insert(CONTENT_LENGTH, made["x-ms-blob-content-length"].clone());
    properties.insert("x-ms-blob-type", HeaderValue::from_static("PageBlob"));
    properties
}

/// A user delegation key.
const KEY: &[u8] = b"<?xml version=\"1.0\" encoding=\"utf-8\"?><UserDelegationKey>\
    <SignedOid>00000000-0000-0000-0000-00000000f1ee</SignedOid><SignedTid>00000000-0000-0000-0000-000000000000</SignedTid>\
    <SignedStart>2026-01-01T00:00:00Z</SignedStart><SignedExpiry>2026-01-01T01:00:00Z</SignedExpiry>\
    <SignedService>b</SignedService><SignedVersion>2025-05-05</SignedVersion>\
    <Value>AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=</Value></UserDelegationKey>";

fn ranged(request: &Request<Incoming>, all: &Bytes) -> Response<Full<Bytes>> {
    let headers = request.headers();
    let Some(range) = headers.get("x-ms-range").or_else(|| headers.get("range")) else {
        return respond(200, all.clone());
    };
    let bounds = range.to_str().unwrap().trim_start_matches("bytes=").split_once('-').unwrap();
    let first: usize = bounds.0.parse().unwrap();
    let end = bounds.1.parse().map_or(all.len(), |last: usize| all.len().min(last + 1));
    let mut response = respond(206, all.slice(first..end));
    let range = format!("bytes {first}-{}/{}", end - 1, all.len());
    response.headers_mut().insert("content-range", HeaderValue::from_str(&range).unwrap());
    response
}

fn respond(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .status(status)
        .header("etag", "\"0x8DCC0FFEE000000\"")
        .header("last-modified", "Sat, 21 Nov 2026 10:00:00 GMT")
        .header("x-ms-blob-sequence-number", "1")
        .header("x-ms-request-id", "00000000-0000-0000-0000-000000000000")
        .header("x-ms-version", "2026-04-06")
        .header("date", "Sat, 21 Nov 2026 10:00:00 GMT");
    let response = if body.is_empty() { response } else { response.header("content-type", "application/xml") };
    response.body(Full::new(body)).unwrap()
}
