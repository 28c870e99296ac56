//! As much of the storage emulator as the proxy's tests need, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response};
use axum::response::IntoResponse as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The stand-in. It stops when it is dropped.
pub(crate) struct EmulatorStub {
    pub(crate) endpoint: String,
    store: Arc<Store>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Store {
    blobs: Mutex<BTreeMap<String, Blob>>,
    seen: Mutex<Vec<Parts>>,
    peers: Mutex<BTreeSet<SocketAddr>>,
}

#[derive(Clone, Default)]
struct Blob {
    bytes: Vec<u8>,
    kind: String,
    version: u64,
    sequence: u64,
    headers: Vec<(String, String)>,
}

impl Drop for EmulatorStub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl EmulatorStub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let store = Arc::new(Store::default());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&store));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { endpoint, store, task }
    }

    /// How many connections requests came on.
    pub(crate) fn connections(&self) -> usize {
        self.store.peers.lock().unwrap().len()
    }

    /// The requests that came, in order.
    pub(crate) fn seen(&self) -> Vec<Parts> {
        self.store.seen.lock().unwrap().clone()
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

fn error(status: u16, code: &str) -> Response<Body> {
    Response::builder().status(status).header("x-ms-error-code", code).body(Body::from(code.to_owned())).unwrap()
}

fn written(status: u16, blob: &Blob) -> Response<Body> {
    Response::builder().status(status).header("etag", blob.etag()).body(Body::empty()).unwrap()
}

async fn answer(
    State(store): State<Arc<Store>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    store.peers.lock().unwrap().insert(peer);
    let (head, body) = request.into_parts();
    store.seen.lock().unwrap().push(head.clone());
    if head.uri.path().ends_with("/echo") {
        return body.into_response();
    }
    let bearer = header(&head.headers, "authorization").is_some_and(|value| !value.ends_with("bad"));
    if !bearer && !head.uri.query().is_some_and(|query| query.contains("sig=good")) {
        return error(403, "AuthenticationFailed");
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let query = head.uri.query().unwrap_or_default();
    let comp = query.split('&').find_map(|pair| pair.strip_prefix("comp=")).unwrap_or_default();
    let mut blobs = store.blobs.lock().unwrap();
    if head.method == Method::PUT && (query == "restype=container" || comp == "block") {
        return Response::builder().status(201).body(Body::empty()).unwrap();
    }
    let existing = blobs.get(head.uri.path()).cloned();
    if let Some(refusal) = refused(&head.headers, existing.as_ref()) {
        return refusal;
    }
    let path = head.uri.path().to_owned();
    match (&head.method, comp, existing) {
        (&Method::PUT, "", existing) => put(&mut blobs, &head, &body, existing.map_or(0, |blob| blob.version)),
        (_, _, None) => error(404, "BlobNotFound"),
        (&Method::PUT, "page", Some(blob)) => {
            let (start, end) = range(&head.headers, blob.bytes.len());
            let blob = blobs.get_mut(&path).unwrap();
            blob.bytes[start..end].copy_from_slice(&body);
            blob.version += 1;
            written(201, blob)
        }
        (&Method::PUT, "properties", Some(_)) => {
            let blob = blobs.get_mut(&path).unwrap();
            blob.bytes.resize(header(&head.headers, "x-ms-blob-content-length").unwrap().parse().unwrap(), 0);
            written(200, blob)
        }
        (&Method::DELETE, _, Some(blob)) => {
            blobs.remove(&path);
            written(202, &blob)
        }
        (_, "pagelist", Some(blob)) => Body::from(blob.page_list()).into_response(),
        (_, _, Some(blob)) => blob.read(&head),
    }
}

/// The conditions that tests use.
fn refused(headers: &HeaderMap, blob: Option<&Blob>) -> Option<Response<Body>> {
    if header(headers, "if-none-match") == Some("*") && blob.is_some() {
        return Some(error(409, "BlobAlreadyExists"));
    }
    if header(headers, "if-match").is_some_and(|etag| blob.is_none_or(|blob| blob.etag() != etag)) {
        return Some(error(412, "ConditionNotMet"));
    }
    let number: Option<u64> = header(headers, "x-ms-if-sequence-number-le").map(|number| number.parse().unwrap());
    let fenced = number.is_some_and(|number| blob.is_some_and(|blob| blob.sequence > number));
    fenced.then(|| error(412, "SequenceNumberConditionNotMet"))
}

fn put(blobs: &mut BTreeMap<String, Blob>, head: &Parts, body: &[u8], version: u64) -> Response<Body> {
    let path = head.uri.path().to_owned();
    if let Some(source) = header(&head.headers, "x-ms-copy-source") {
        let authority = format!("http://{}", header(&head.headers, "host").unwrap());
        let Some(path_of_source) = source.strip_prefix(&authority) else {
            return error(404, "CannotVerifyCopySource");
        };
        let copy = blobs[path_of_source.split('?').next().unwrap()].clone();
        blobs.insert(path, copy);
        let answer = Response::builder().status(202).header("x-ms-copy-status", "success");
        return answer.header("x-ms-copy-source", source).body(Body::empty()).unwrap();
    }
    let kind = header(&head.headers, "x-ms-blob-type").unwrap().to_owned();
    let length = header(&head.headers, "x-ms-blob-content-length").map_or(0, |length| length.parse().unwrap());
    let kept = |name: &str| name.starts_with("x-ms-meta-") || name == "content-type";
    let mut headers: Vec<_> =
        head.headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
    headers.retain(|(name, _)| kept(name.strip_prefix("x-ms-blob-").unwrap_or(name)));
    let headers = headers.into_iter().map(|(name, value)| (name.replace("x-ms-blob-", ""), value)).collect();
    let bytes = if kind == "PageBlob" { vec![0; length] } else { body.to_vec() };
    let sequence = header(&head.headers, "x-ms-blob-sequence-number").map_or(0, |number| number.parse().unwrap());
    let blob = Blob { bytes, kind, version: version + 1, sequence, headers };
    let answer = written(201, &blob);
    blobs.insert(path, blob);
    answer
}

/// The range that a request names, else all.
fn range(headers: &HeaderMap, length: usize) -> (usize, usize) {
    let Some(range) = header(headers, "x-ms-range").or(header(headers, "range")) else { return (0, length) };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    (first.parse().unwrap(), (last.parse::<usize>().unwrap() + 1).min(length))
}

impl Blob {
    fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    fn read(&self, head: &Parts) -> Response<Body> {
        let (start, end) = range(&head.headers, self.bytes.len());
        let partial = (start, end) != (0, self.bytes.len());
        let mut answer = written(if partial { 206 } else { 200 }, self);
        let headers = answer.headers_mut();
        headers.insert("x-ms-blob-type", self.kind.parse().unwrap());
        headers.insert("content-length", (end - start).into());
        for (name, value) in &self.headers {
            headers.insert(axum::http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        if head.method == Method::GET {
            *answer.body_mut() = Body::from(self.bytes[start..end].to_vec());
        }
        answer
    }

    fn page_list(&self) -> String {
        let (mut ranges, zero) = (Vec::<(usize, usize)>::new(), [0; 512]);
        for (n, page) in self.bytes.chunks(512).enumerate().filter(|(_, page)| **page != zero) {
            match ranges.last_mut().filter(|(_, end)| *end == n * 512) {
                Some((_, end)) => *end += page.len(),
                None => ranges.push((n * 512, n * 512 + page.len())),
            }
        }
        let entry = |(start, end)| format!("<PageRange><Start>{start}</Start><End>{}</End></PageRange>", end - 1);
        format!("<PageList>{}</PageList>", ranges.into_iter().map(entry).collect::<String>())
    }
}
