//! The dashboard for programs: its JSON, its events, and its access control. The page itself is tested in a browser,
//! see `tests/browser`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::dashboard::access::{AccessError, AccessGuard};
use goldfleet_dispatcher::dashboard::stream::MAX_STREAMS;
use goldfleet_dispatcher::dashboard::{Options, serve};
use goldfleet_model::ids::JobId;
use goldfleet_ports::error::PortResult;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::intercept::{Call, Interceptor, intercepted};
use reqwest::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

const TOKEN: &str = "a-token-of-enough-letters";

struct Served {
    address: SocketAddr,
    client: Client,
    _stop: DropGuard,
}

/// Serves the dashboard of a fleet.
async fn dashboard(fleet: &InProcessFleet, listen: &str, with_token: bool) -> Served {
    dashboard_of(fleet, fleet.control_with_own_ports(), listen, with_token).await
}

async fn dashboard_of(fleet: &InProcessFleet, control: ControlContext, listen: &str, with_token: bool) -> Served {
    // The client needs a provider even without encryption. Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let token_file = fleet.golden().with_file_name("token");
    std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&token_file, Permissions::from_mode(0o600)).unwrap();
    let token_file = with_token.then_some(token_file);
    let options = Options { listen: listen.parse().unwrap(), token_file, hosts: vec!["Fleet.Example".to_owned()] };
    let stop = CancellationToken::new();
    let serving = stop.clone();
    let (tell, told) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        serve(control, &options, &serving, |address| tell.send(address).unwrap()).await.unwrap();
    });
    let port = told.await.unwrap().port();
    let address = SocketAddr::new([127, 0, 0, 1].into(), port);
    Served { address, client: Client::new(), _stop: stop.drop_guard() }
}

impl Served {
    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("http://{}{path}", self.address))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("http://{}{path}", self.address))
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        json(answer).await
    }
}

async fn json(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// A fleet with an uploaded version, a requested job, and one target whose account is unusable.
async fn asked() -> (InProcessFleet, JobId) {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    fleet.block_path("stage2eastus");
    let job = fleet.request("1").await;
    (fleet, job)
}

#[tokio::test(flavor = "multi_thread")]
async fn job_events_stream_to_end() {
    let (fleet, job) = asked().await;
    let served = dashboard(&fleet, "127.0.0.1:0", false).await;
    let answer = served.get(&format!("/api/jobs/{job}/events")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let run = async {
        fleet.run(&fleet.ports, 1, &job).await;
    };
    let (events, ()) = tokio::join!(until_ended(answer), run);

    let (name, whole) = &events[0];
    assert_eq!(
        (name.as_str(), &whole["operations"], &whole["status"]["state"]),
        ("whole", &json!([]), &json!("running"))
    );
    let mut states = std::collections::BTreeMap::new();
    for (name, change) in &events[1..] {
        assert_eq!(name, "change");
        for line in change["operations"].as_array().into_iter().flatten() {
            states.insert(line["id"].as_str().unwrap().to_owned(), line.clone());
        }
    }
    assert_eq!(states.len(), 9, "a seed, four copies, four images: {states:#?}");
    let is_copy = |id: &&String| id.starts_with("eastus-2-") && id.ends_with(".copy");
    let failed = &states[states.keys().find(is_copy).unwrap()];
    assert_eq!((&failed["state"], &failed["failure"]["code"]), (&json!("failed"), &json!("account-unusable")));
    let (_, last) = events.last().unwrap();
    assert!(last["status"].get("failures").is_none(), "the operations have them");

    let same = served.json(&format!("/api/jobs/{job}")).await;
    let lines = same["operations"].as_array().unwrap();
    assert!(lines.iter().all(|line| states[line["id"].as_str().unwrap()] == *line), "the changes add up to the whole");
    let tree = same["tree"].as_array().unwrap();
    assert_eq!((tree.len(), &tree[0]["state"], &tree[1]["parent"]), (2, &Value::Null, &json!(0)));
    assert_eq!((&tree[1]["targets"], &tree[1]["images"], &tree[1]["failed"]), (&json!(2), &json!(1), &json!(1)));
    let rates = same["throughput"]["bytes_per_second"].as_array().unwrap();
    assert!(rates.iter().any(|rate| rate.as_u64() > Some(0)));
}

/// Reads events until the job has ended.
async fn until_ended(answer: reqwest::Response) -> Vec<(String, Value)> {
    let mut bytes = answer.bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    while let Ok(Some(part)) = tokio::time::timeout(Duration::from_secs(60), bytes.next()).await {
        text += std::str::from_utf8(&part.unwrap()).unwrap();
        while let Some((event, rest)) = text.split_once("\n\n").map(|(event, rest)| (event.to_owned(), rest.to_owned()))
        {
            text = rest;
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let (Some(name), Some(data)) = (field("event: "), field("data: ")) else { continue };
            events.push((name, serde_json::from_str::<Value>(&data).unwrap()));
            let (_, last) = events.last().unwrap();
            if last["status"]["detail"] == "failed" {
                return events;
            }
        }
    }
    panic!("the job did not end: {events:#?}");
}

/// The largest number of reads of a job's rows at the same time. Each one takes some time.
#[derive(Default)]
struct ReadsAtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Interceptor for ReadsAtOnce {
    async fn call<T: Send + 'static>(&self, Call { name, make, .. }: Call<'_, T>) -> PortResult<T> {
        if name != "JobTable.list_operations" {
            return make.await;
        }
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let answer = make.await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

/// Many pages that open at once do not each read the job at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_open_at_once_share_reads() {
    let (fleet, job) = asked().await;
    let reads = Arc::new(ReadsAtOnce::default());
    let ports = intercepted(&fleet.ports, &reads);
    let served = dashboard_of(&fleet, fleet.control_with(ports), "127.0.0.1:0", false).await;
    for path in [format!("/api/jobs/{job}/events"), format!("/api/jobs/{job}")] {
        let answers = futures::future::join_all((0..40).map(|_| served.get(&path).send())).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap().status() == StatusCode::OK));
    }
    let most = reads.most.load(Ordering::SeqCst);
    // The feed reads the job too.
    assert!((1..=3).contains(&most), "{most} reads at once");
}

/// Streams have a limit, and each one that ends makes room.
#[tokio::test(flavor = "multi_thread")]
async fn event_streams_are_bounded() {
    let (fleet, job) = asked().await;
    let served = dashboard(&fleet, "127.0.0.1:0", false).await;
    let open = async || served.get(&format!("/api/jobs/{job}/events")).send().await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..MAX_STREAMS {
        streams.push(open().await);
    }
    assert!(streams.iter().all(|stream| stream.status() == StatusCode::OK));
    assert_eq!(open().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(served.get("/api/jobs").send().await.unwrap().status(), StatusCode::OK);
    streams.truncate(MAX_STREAMS - 1);
    let begun = std::time::Instant::now();
    while open().await.status() != StatusCode::OK {
        assert!(begun.elapsed() < Duration::from_secs(10), "a stream that ended keeps its slot");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_allows_actions() {
    let (fleet, job) = asked().await;
    let served = dashboard(&fleet, "127.0.0.1:0", true).await;
    fleet.run(&fleet.ports, 1, &job).await;
    let jobs = served.json("/api/jobs").await;
    let listed = &jobs["jobs"][0];
    assert_eq!((&listed["job"], &listed["state"]), (&json!(job), &json!("failed")));
    assert_eq!((&listed["images"], &listed["targets"], &listed["failed"]), (&json!(3), &json!(4), &json!(1)));
    assert_eq!(jobs["may_act"], true);

    let path = format!("/api/jobs/{job}/retry");
    let asking = |what: Value| served.post(&path).header(CONTENT_TYPE, "application/json").body(what.to_string());
    let again = || asking(json!({ "targets": ["*/eastus"] }));
    assert_eq!(again().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let wrong = again().bearer_auth("another").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(wrong.headers().get(WWW_AUTHENTICATE).is_none(), "the page asks, not the browser");
    let password = again().basic_auth("x", Some(TOKEN)).send().await.unwrap();
    assert_eq!(password.status(), StatusCode::UNAUTHORIZED, "a browser sends a password by itself, whoever asks");
    let elsewhere = again().bearer_auth(TOKEN).header(ORIGIN, "http://elsewhere.example").send().await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN);
    let odd = asking(json!({ "target": [] })).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(odd.status(), StatusCode::BAD_REQUEST);

    std::fs::remove_file(fleet.cloud().join("stage2eastus")).unwrap();
    let good = again().bearer_auth(TOKEN).header(ORIGIN, format!("http://{}", served.address)).send().await.unwrap();
    assert_eq!(good.status(), StatusCode::OK);
    assert_eq!(json(good).await["operations"], 2);
    let cancelled = served.post(&format!("/api/jobs/{job}/cancel")).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(json(cancelled).await["operations"]["cancelled"], 2);
    assert_eq!(served.json(&format!("/api/jobs/{job}")).await["status"]["state"], "cancelled");
    assert_eq!(again().bearer_auth(TOKEN).send().await.unwrap().status(), StatusCode::OK);
    fleet.run(&fleet.ports, 1, &job).await;
    assert_eq!(served.json(&format!("/api/jobs/{job}")).await["status"]["state"], "succeeded");
    assert_eq!(
        again().bearer_auth(TOKEN).send().await.unwrap().status(),
        StatusCode::CONFLICT,
        "nothing is left to do"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn approve_names_ring() {
    let fleet = InProcessFleet::new();
    fleet.put_eastus_in_ring_1();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let job = fleet.request_with_approval("1").await;
    let served = dashboard(&fleet, "127.0.0.1:0", true).await;
    let approve = async |ring: u32| {
        let body = json!({ "ring": ring }).to_string();
        let path = format!("/api/jobs/{job}/approve");
        let asked = served.post(&path).header(CONTENT_TYPE, "application/json").body(body).bearer_auth(TOKEN);
        asked.send().await.unwrap()
    };
    let operator = async {
        let view = loop {
            let view = served.json(&format!("/api/jobs/{job}")).await;
            if view["status"]["approvals"]["waits"].is_u64() {
                break view;
            }
        };
        assert_eq!(view["status"]["approvals"], json!({ "waits": 1, "given": [] }));
        assert_eq!(approve(0).await.status(), StatusCode::CONFLICT);
        let given = json(approve(1).await).await;
        assert_eq!((&given["approval"]["by"], &given["new"]), (&json!("test"), &json!(true)));
        assert_eq!(json(approve(1).await).await["new"], false);
    };
    tokio::join!(fleet.run(&fleet.ports, 1, &job), operator);
    fleet.assert_all_done(&job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_token_read_only_on_loopback() {
    let (fleet, job) = asked().await;
    let served = dashboard(&fleet, "127.0.0.1:0", false).await;
    let refused = served.post(&format!("/api/jobs/{job}/cancel")).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    for host in ["elsewhere.example", "elsewhere.example:8090", "10.1.2.3", "127.0.0.1.elsewhere.example"] {
        let rebound = served.get("/api/jobs").header(HOST, host).send().await.unwrap();
        assert_eq!(rebound.status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    for host in ["localhost:8090", "[::1]:8090", "fleet.example"] {
        assert_eq!(served.get("/").header(HOST, host).send().await.unwrap().status(), StatusCode::OK, "{host}");
    }
    for (path, status) in [("/", 200), ("/app.js", 200), ("/api/jobs/20000101-000000-0000", 404), ("/etc/passwd", 404)]
    {
        let answer = served.get(path).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn non_loopback_address_requires_token() {
    let fleet = InProcessFleet::new();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(AccessGuard::new(everywhere, &[], None), Err(AccessError::NeedsToken(_))));
    let weak = fleet.golden().with_file_name("weak");
    std::fs::write(&weak, "short").unwrap();
    std::fs::set_permissions(&weak, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(AccessGuard::new(everywhere, &[], Some(&weak)), Err(AccessError::Weak(_))));
    std::fs::set_permissions(&weak, Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(AccessGuard::new(everywhere, &[], Some(&weak)), Err(AccessError::Exposed(_))));

    let served = dashboard(&fleet, "0.0.0.0:0", true).await;
    for path in ["/", "/app.js", "/api/jobs"] {
        let refused = served.get(path).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(refused.headers().get(WWW_AUTHENTICATE).is_some(), "{path}");
        let wrong = served.get(path).header(AUTHORIZATION, "Basic bm9uc2Vuc2U=").send().await.unwrap();
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED, "{path}");
        let asked = served.get(path).basic_auth("anyone", Some(TOKEN)).send().await.unwrap();
        assert_eq!(asked.status(), StatusCode::OK, "{path}");
        assert_eq!(served.get(path).bearer_auth(TOKEN).send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    let name = served.get("/").bearer_auth(TOKEN).header(HOST, "elsewhere.example").send().await.unwrap();
    assert_eq!(name.status(), StatusCode::MISDIRECTED_REQUEST);
}
