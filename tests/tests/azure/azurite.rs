//! The storage adapters against Microsoft's emulator.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::Query;
use axum::response::AppendHeaders;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use goldfleet_azure::{AzureJobTable, AzureQueue};
use goldfleet_azure_settings::{Checksum, Endpoint};
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::{BlobStore as _, CopyState};
use goldfleet_ports::conformance::job_table::DamageRows;
use goldfleet_ports::conformance::{self, clock::RealTime};
use goldfleet_ports::job_table::JobTable as _;
use goldfleet_ports::listing::RowName;
use goldfleet_tests::azure::azurite::Azurite;
use goldfleet_tests::azure::certificates::Certificates;
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::azure::proxy::{CopyEnd, Effect, Operation, Proxy, Rule, client};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

fn of_account(endpoint: &str, account: &str) -> String {
    endpoint.parse::<Endpoint>().unwrap().for_account(&account.parse().unwrap())
}

#[tokio::test]
async fn queue_conforms() {
    let azurite = Azurite::start(&["goldsource"]);
    let endpoint = of_account(&azurite.queues(), "goldsource");
    let queue = AzureQueue::new(&azurite.connection(), &endpoint, &"fleet".parse().unwrap()).unwrap();
    conformance::queue::all(&queue, &RealTime).await;
}

#[tokio::test]
async fn job_table_conforms() {
    let azurite = Azurite::start(&["goldsource"]);
    let endpoint = of_account(&azurite.tables(), "goldsource");
    let table = AzureJobTable::new(&azurite.connection(), &endpoint, &"fleet".parse().unwrap()).unwrap();
    let root = reqwest::Certificate::from_pem(&std::fs::read(&azurite.certificates().root).unwrap()).unwrap();
    let other = OtherProgram { client: client(root).unwrap(), endpoint };
    conformance::job_table::all(&table, &other).await;
}

/// Another program that writes to the tables.
struct OtherProgram {
    client: reqwest::Client,
    endpoint: String,
}

impl OtherProgram {
    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({
            "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/t/", "iat": now, "nbf": now - 300,
            "exp": now + 3600,
        });
        let part = |json: String| URL_SAFE_NO_PAD.encode(json);
        let token = format!("{}.{}.unsigned", part(json!({ "alg": "none" }).to_string()), part(claims.to_string()));
        let request = self.client.request(method, format!("{}/{path}", self.endpoint)).bearer_auth(token);
        request.header("x-ms-version", "2019-02-02").header("accept", "application/json;odata=minimalmetadata")
    }
}

#[async_trait]
impl DamageRows for OtherProgram {
    async fn replace_body(&self, row: &RowName, body: &str) {
        let (table, key) = match row {
            RowName::Job(id) => ("fleetjobs", format!("j.{id}")),
            RowName::Upload(id) => ("fleetjobs", format!("u.{id}")),
            RowName::Operation(_, id) => ("fleetoperations", format!("o.{id}")),
        };
        let query = format!("{table}()?$filter=RowKey%20eq%20'{key}'");
        let found = self.request(reqwest::Method::GET, &query).send().await.unwrap();
        let found: Value = serde_json::from_slice(&found.bytes().await.unwrap()).unwrap();
        let name = row.to_string();
        let mut partitions = found["value"].as_array().unwrap().iter().map(|row| row["PartitionKey"].as_str().unwrap());
        let partition =
            partitions.find(|one| !matches!(row, RowName::Operation(job, _) if !one.starts_with(job.as_str())));
        let partition = partition.unwrap();
        let mut change = json!({ "Body": body, "BodyParts": 1 });
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        if let Some(state) = parsed["state"].as_str() {
            change["State"] = state.into();
        }
        let path = format!("{table}(PartitionKey='{partition}',RowKey='{key}')");
        let request = self.request(reqwest::Method::from_bytes(b"MERGE").unwrap(), &path).header("if-match", "*");
        let merged = request.header("content-type", "application/json").body(change.to_string()).send().await.unwrap();
        assert!(merged.status().is_success(), "{}: {}", name, merged.text().await.unwrap());
    }
}

#[tokio::test]
async fn records_conform() {
    let azurite = Azurite::start(&["goldsource"]);
    let endpoint = of_account(&azurite.tables(), "goldsource");
    let open = || AzureJobTable::new(&azurite.connection(), &endpoint, &"fleet".parse().unwrap()).unwrap();
    let table = open();
    conformance::records::all(&table, &table).await;
    assert_eq!(open().fleet().await.unwrap(), table.fleet().await.unwrap());
}

/// A page without rows does not end a query. The emulator cannot show this; a service returns such a page when it has
/// searched for the maximum time of one request.
#[tokio::test]
async fn empty_pages_do_not_end_query() {
    let folder = TempDir::new().unwrap();
    let certificates = Certificates::make(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let answer = async move |Query(query): Query<BTreeMap<String, String>>| {
        let page = query.get("NextRowKey").map_or(1, |row| row.parse().unwrap());
        heard.lock().unwrap().push(query);
        let next = [("x-ms-continuation-nextpartitionkey", "job".to_owned()), continued(page + 1)];
        let rows = if page == 3 { json!([row("20261121-041502-7f3a")]) } else { json!([]) };
        (AppendHeaders(next.into_iter().filter(|_| page < 4).collect::<Vec<_>>()), Json(json!({ "value": rows })))
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    // TLS is required, because tokens are not sent without it.
    let root = reqwest::Certificate::from_pem(&std::fs::read(&certificates.root).unwrap()).unwrap();
    let proxy = Proxy::start(&service, certificates.server_config(), client(root).unwrap()).await.unwrap();
    let table = AzureJobTable::new(&certificates.connection(), &proxy.endpoint(), &"fleet".parse().unwrap()).unwrap();

    let open = table.open_jobs().await.unwrap();
    assert_eq!(open.iter().map(|job| job.value.id.as_str()).collect::<Vec<_>>(), ["20261121-041502-7f3a"]);
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|query| {
        query["$filter"].ends_with("State ne 'succeeded' and State ne 'failed' and State ne 'cancelled'")
    }));
}

/// Pages of a table that follow each other in a circle end a query with an error.
#[tokio::test]
async fn pages_in_a_circle_end_query() {
    let folder = TempDir::new().unwrap();
    let certificates = Certificates::make(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = format!("http://{}", listener.local_addr().unwrap());
    let answer = async move |Query(query): Query<BTreeMap<String, String>>| {
        let page: u32 = query.get("NextRowKey").map_or(1, |row| row.parse().unwrap());
        let next = [("x-ms-continuation-nextpartitionkey", "job".to_owned()), continued(3 - page)];
        (AppendHeaders(next), Json(json!({ "value": [] })))
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    let root = reqwest::Certificate::from_pem(&std::fs::read(&certificates.root).unwrap()).unwrap();
    let proxy = Proxy::start(&service, certificates.server_config(), client(root).unwrap()).await.unwrap();
    let table = AzureJobTable::new(&certificates.connection(), &proxy.endpoint(), &"fleet".parse().unwrap()).unwrap();
    let error = tokio::time::timeout(Duration::from_secs(20), table.jobs()).await.unwrap().unwrap_err();
    assert_eq!(error.code, "list-endless", "{error}");
}

fn continued(page: u32) -> (&'static str, String) {
    ("x-ms-continuation-nextrowkey", page.to_string())
}

/// A job's row as the Table service returns it.
fn row(id: &str) -> Value {
    let body = json!({
        "id": id,
        "image": { "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "payload": { "os": "linux", "generation": "v2", "size": 1, "data_bytes": 1 },
        "selection": [],
        "state": "running",
        "created": "2026-11-21T04:15:02Z",
        "updated": "2026-11-21T04:15:02Z",
    });
    json!({ "odata.etag": "1", "State": "running", "BodyParts": 1, "Body": body.to_string() })
}

#[test]
fn blob_store_conforms() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    for (checksum, name) in [(Checksum::Crc64, "by-crc64"), (Checksum::Md5, "by-md5")] {
        let container = Container { account: "goldsource".parse().unwrap(), container: name.parse().unwrap() };
        azure.run(conformance::blob_store::all(&azure.blobs_checked_by(checksum), &container));
    }
}

/// The checksums that the adapter reports are correct, even if the service does not check or return some of them.
#[test]
fn the_blob_store_proves_what_it_wrote_whatever_the_service_does() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let all = [Effect::IgnoreSourceCrc64, Effect::IgnoreSourceMd5, Effect::IgnoreBodyChecksum, Effect::NoChecksums];
    let container = Container { account: "goldsource".parse().unwrap(), container: "golden".parse().unwrap() };
    azure.run(azure.blobs().ensure_container(&container)).unwrap();
    for effects in [&all[..0], &all[..1], &all[1..2], &all[2..3], &all[3..], &all[..3], &all] {
        azure.proxy.rules().clear();
        for effect in effects {
            azure.proxy.rules().add(Rule::new(effect.clone()));
        }
        for checksum in [Checksum::Crc64, Checksum::Md5] {
            println!("{effects:?}, {checksum:?}");
            azure.run(conformance::blob_store::proof::all(&azure.blobs_checked_by(checksum), &container));
        }
    }
}

/// Copies that take long, are aborted, or fail are handled. The emulator cannot show them.
#[test]
fn asynchronous_copies_are_polled_and_aborted() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let blobs = azure.blobs();
    let vhds = azure.vhd(1, "westeurope").container;
    let source = vhds.blob("golden__1.vhd");
    azure.run(async {
        blobs.ensure_container(&vhds).await.unwrap();
        conformance::resources::put_smallest_vhd(&blobs, &source).await;
    });
    let rules = azure.proxy.rules();
    let start = |name: &str| azure.run(blobs.start_copy(&vhds.blob(name), &source, &BTreeMap::new())).unwrap();
    let state = |name: &str| azure.run(blobs.copy_status(&vhds.blob(name))).unwrap().unwrap().state;

    rules.add(Rule::new(Effect::pending(2)).operation(Operation::CopyBlob).times(1));
    assert!(matches!(start("slow.vhd").state, CopyState::Pending { .. }));
    assert!(matches!(state("slow.vhd"), CopyState::Pending { .. }));
    let begun = std::time::Instant::now();
    while state("slow.vhd") != CopyState::Done {
        assert!(begun.elapsed().as_secs() < 20, "the copy never ends");
    }
    let (copy, whole) =
        azure.run(async { (blobs.get(&vhds.blob("slow.vhd"), None).await, blobs.get(&source, None).await) });
    assert!(copy.unwrap() == whole.unwrap());

    rules.add(Rule::new(Effect::pending(100)).operation(Operation::CopyBlob).times(1));
    let begun = start("stopped.vhd");
    azure.run(blobs.abort_copy(&vhds.blob("stopped.vhd"), &begun.id)).unwrap();
    assert_eq!(state("stopped.vhd"), CopyState::Aborted);
    azure.run(blobs.abort_copy(&vhds.blob("stopped.vhd"), &begun.id)).unwrap();

    rules.add(Rule::new(Effect::Pending { polls: 1, end: CopyEnd::Failed }).operation(Operation::CopyBlob).times(1));
    start("failed.vhd");
    state("failed.vhd");
    assert!(matches!(state("failed.vhd"), CopyState::Failed(reason) if !reason.is_empty()));
}
