//! Writes of bytes that the client sends, or that the service reads from a URL.

use std::ops::RangeInclusive;

use bytes::Bytes;
use futures::TryStreamExt as _;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};

use super::answer::{Answer, Refusal, Refused, put};
use super::checksum::{Running, check_body, check_source, crc64_of, md5_of};
use super::request::{Operation, ProxyRequest};
use super::rules::Plan;
use super::source::Source;
use super::upload::RequestBody;
use super::upstream::end_to_end;
use super::{Core, lock};

/// The maximum size of one page write in bytes. Source: Azure, Put Page and Put Page From URL.
pub(super) const MAX_PAGE_WRITE: u64 = 4 << 20;

/// The maximum size in bytes of other writes that are buffered. Azure's limit is higher, but no test needs more.
const MAX_WHOLE: usize = 256 << 20;

/// Source: Azure, Put Blob From URL, 5,000 MiB.
const MAX_BLOB_FROM_URL: u64 = 5000 << 20;

const PAGE: u64 = 512;

/// The properties of the source that a blob from a URL gets, unless the request sets them.
pub(super) const PROPERTIES: [(&str, &str); 5] = [
    ("content-type", "x-ms-blob-content-type"),
    ("content-encoding", "x-ms-blob-content-encoding"),
    ("content-language", "x-ms-blob-content-language"),
    ("content-disposition", "x-ms-blob-content-disposition"),
    ("cache-control", "x-ms-blob-cache-control"),
];

/// Put Blob, Put Block and Put Page with bytes from the client.
pub(super) async fn from_client(
    core: &Core,
    asked: &ProxyRequest,
    upload: &mut RequestBody,
    plan: &Plan,
) -> Refused<Answer> {
    let mut headers = end_to_end(&asked.head.headers);
    let page = asked.operation == Operation::PutPage;
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if page && length > MAX_PAGE_WRITE {
        return Err(Refusal::too_large());
    }
    if plan.ignored.body {
        headers.remove("content-md5");
    }
    if !page && headers.remove("x-ms-content-crc64").is_none() {
        let sum = Running::new();
        let body = upload.stream(Some(sum.clone()));
        let answer = core.upstream.pass(asked, headers, body).await?;
        return Ok(written(core, asked, length, answer, plan, &Told::Crc64(sum.header())));
    }
    if page {
        check_inside(core, asked).await?;
    }
    // Check before the emulator writes anything.
    let bytes = upload.collect(if page { 4 << 20 } else { MAX_WHOLE }).await?;
    check_body(&asked.head.headers, plan.ignored, &bytes)?;
    headers.remove("x-ms-content-crc64");
    whole(core, asked, headers, bytes, plan).await
}

/// Put Blob From URL.
pub(super) async fn blob_from_url(core: &Core, asked: &ProxyRequest, plan: &Plan) -> Refused<Answer> {
    // Azure documents neither header for this operation. A client that relies on one would copy too much, or without a
    // check.
    for name in ["x-ms-source-range", "x-ms-source-content-crc64"] {
        if asked.header(name).is_some() {
            let message = format!("One of the HTTP headers specified in the request is not supported: {name}.");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "UnsupportedHeader", message));
        }
    }
    let source = Source::of(asked, plan.flip)?.over(plan.line.clone());
    let response = source.open(core, None).await?;
    let length = response.content_length();
    if length.is_some_and(|length| length > MAX_BLOB_FROM_URL) {
        return Err(Refusal::too_large());
    }
    let mut headers = without_source(&asked.head.headers);
    if asked.header("x-ms-copy-source-blob-properties") != Some("false") {
        copy_properties(response.headers(), &mut headers);
    }
    let Some(length) = length.filter(|_| asked.header("x-ms-source-content-md5").is_none()) else {
        let bytes = source.collect(core, response).await?;
        check_source(&asked.head.headers, plan.ignored, &bytes)?;
        return whole(core, asked, headers, bytes, plan).await;
    };
    let sum = Running::new();
    let passing = sum.clone();
    let stream = source.stream(core, response).inspect_ok(move |part| passing.update(part));
    set_length(&mut headers, length);
    let answer = core.upstream.pass(asked, headers, Some(reqwest::Body::wrap_stream(stream))).await?;
    Ok(written(core, asked, length, answer, plan, &Told::Crc64(sum.header())))
}

/// Put Block From URL.
pub(super) async fn block_from_url(core: &Core, asked: &ProxyRequest, plan: &Plan) -> Refused<Answer> {
    let source = Source::of(asked, plan.flip)?.over(plan.line.clone());
    let range = asked.header("x-ms-source-range").map(|text| range("x-ms-source-range", text)).transpose()?;
    let bytes = match &range {
        Some(range) if range.end() - range.start() >= MAX_WHOLE as u64 => return Err(Refusal::too_large()),
        Some(range) => source.read(core, range).await?,
        None => source.collect(core, source.open(core, None).await?).await?,
    };
    check_source(&asked.head.headers, plan.ignored, &bytes)?;
    whole(core, asked, without_source(&asked.head.headers), bytes, plan).await
}

/// Put Page From URL.
pub(super) async fn page_from_url(core: &Core, asked: &ProxyRequest, plan: &Plan) -> Refused<Answer> {
    if !asked.header("x-ms-page-write").is_some_and(|write| write.eq_ignore_ascii_case("update")) {
        return Err(Refusal::invalid_header("x-ms-page-write"));
    }
    let from = asked.header("x-ms-source-range").ok_or_else(|| Refusal::missing_header("x-ms-source-range"))?;
    let to = asked.header("x-ms-range").or_else(|| asked.header("range"));
    let from = range("x-ms-source-range", from)?;
    let to = range("x-ms-range", to.ok_or_else(|| Refusal::missing_header("x-ms-range"))?)?;
    let length = |range: &RangeInclusive<u64>| range.end() - range.start() + 1;
    let aligned =
        |range: &RangeInclusive<u64>| range.start().is_multiple_of(PAGE) && length(range).is_multiple_of(PAGE);
    if !aligned(&from) || !aligned(&to) || length(&from) != length(&to) {
        let message = "The page range specified is invalid.";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "InvalidPageRange", message));
    }
    if length(&from) > MAX_PAGE_WRITE {
        return Err(Refusal::too_large());
    }
    check_inside(core, asked).await?;
    let bytes = Source::of(asked, plan.flip)?.over(plan.line.clone()).read(core, &from).await?;
    check_source(&asked.head.headers, plan.ignored, &bytes)?;
    whole(core, asked, without_source(&asked.head.headers), bytes, plan).await
}

/// Put Page with `clear`.
pub(super) async fn clear(core: &Core, asked: &ProxyRequest) -> Refused<Answer> {
    check_inside(core, asked).await?;
    core.upstream.pass(asked, end_to_end(&asked.head.headers), None).await
}

/// Rejects pages after the end of the blob. The emulator would write them.
async fn check_inside(core: &Core, asked: &ProxyRequest) -> Refused<()> {
    let Some(text) = asked.header("x-ms-range").or_else(|| asked.header("range")) else { return Ok(()) };
    let range = range("x-ms-range", text)?;
    match page_blob_length(core, asked).await? {
        Some(length) if *range.end() >= length => {
            let message = "The page range specified is invalid.";
            Err(Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidPageRange", message))
        }
        _ => Ok(()),
    }
}

/// The length of the page blob to which a request writes: as it was created, or as the emulator reports it. None if it
/// does not exist.
async fn page_blob_length(core: &Core, asked: &ProxyRequest) -> Refused<Option<u64>> {
    let path = asked.head.uri.path();
    if let Some(length) = lock(&core.lengths).get(path) {
        return Ok(Some(*length));
    }
    let mut headers = HeaderMap::new();
    for name in ["authorization", "x-ms-version", "x-ms-date"] {
        if let Some(value) = asked.head.headers.get(name) {
            headers.insert(name, value.clone());
        }
    }
    let found = core.upstream.send(Method::HEAD, path, headers, None).await?;
    let length = found.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    Ok(length.filter(|_| found.status().is_success()))
}

/// Records the length of a page blob that was just created.
pub(super) fn remember_length(core: &Core, asked: &ProxyRequest, answer: &Answer) {
    let length = asked.header("x-ms-blob-content-length").and_then(|length| length.parse().ok());
    if let Some(length) = length.filter(|_| answer.status().is_success()) {
        lock(&core.lengths).insert(asked.head.uri.path().to_owned(), length);
    }
}

/// Forwards the request with this body.
async fn whole(
    core: &Core,
    asked: &ProxyRequest,
    mut headers: HeaderMap,
    bytes: Bytes,
    plan: &Plan,
) -> Refused<Answer> {
    let (told, length) = (Told::of(asked, &bytes), bytes.len() as u64);
    set_length(&mut headers, length);
    let answer = core.upstream.pass(asked, headers, Some(bytes.into())).await?;
    Ok(written(core, asked, length, answer, plan, &told))
}

/// The checksum of the written bytes in the response.
enum Told {
    Crc64(String),
    Md5(String),
}

impl Told {
    /// Source: Put Page From URL as recorded by azure-sdk-for-js (`uploadPagesFromURL`); the others as recorded by
    /// azure-sdk-for-net.
    fn of(asked: &ProxyRequest, bytes: &[u8]) -> Self {
        match asked.operation {
            Operation::PutPageFromUrl => Self::Md5(md5_of(bytes)),
            _ => Self::Crc64(crc64_of(bytes)),
        }
    }
}

/// Counts a write, and adds the checksum of the bytes to a successful response.
fn written(core: &Core, asked: &ProxyRequest, bytes: u64, mut answer: Answer, plan: &Plan, told: &Told) -> Answer {
    core.counters.wrote(asked.head.uri.path(), bytes, answer.status().as_u16());
    let headers = answer.headers_mut();
    if plan.no_checksums {
        headers.remove("x-ms-content-crc64");
        headers.remove("content-md5");
    } else if answer.status().is_success() {
        match told {
            Told::Crc64(crc64) => put(answer.headers_mut(), "x-ms-content-crc64", crc64),
            Told::Md5(md5) => put(answer.headers_mut(), "content-md5", md5),
        }
    }
    answer
}

pub(super) fn set_length(headers: &mut HeaderMap, length: u64) {
    headers.insert("content-length", HeaderValue::from(length));
}

/// The headers for the emulator, without those of the source.
pub(super) fn without_source(headers: &HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(headers);
    let names: Vec<_> = headers.keys().cloned().collect();
    for name in names {
        if name.as_str().starts_with("x-ms-copy-source") || name.as_str().starts_with("x-ms-source-") {
            headers.remove(name);
        }
    }
    headers
}

/// Copies the source's properties that the request does not set.
pub(super) fn copy_properties(source: &HeaderMap, headers: &mut HeaderMap) {
    for (theirs, ours) in PROPERTIES {
        let said = headers.contains_key(ours) || theirs == "content-type" && headers.contains_key(theirs);
        if let Some(value) = source.get(theirs).filter(|_| !said) {
            headers.insert(ours, value.clone());
        }
    }
}

/// Parses a range of bytes in the header `name`.
fn range(name: &str, text: &str) -> Refused<RangeInclusive<u64>> {
    let range = text.strip_prefix("bytes=").and_then(|range| {
        let (first, last) = range.split_once('-')?;
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    let sane = |range: &RangeInclusive<u64>| !range.is_empty() && *range.end() < 1 << 62;
    range.filter(sane).ok_or_else(|| Refusal::invalid_header(name))
}
