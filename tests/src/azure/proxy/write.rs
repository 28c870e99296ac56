//! Writes whose bytes the client sends, or has the service read from a URL.

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

/// The most bytes that one page write takes. Source: Azure, Put Page and Put Page From URL.
pub(super) const MAX_PAGE_WRITE: u64 = 4 << 20;

/// The most bytes of any other write that is read as a whole. Azure's limit is higher; no test needs more.
const MAX_WHOLE: usize = 256 << 20;

/// Source: Azure, Put Blob From URL, 5,000 MiB.
const MAX_BLOB_FROM_URL: u64 = 5000 << 20;

const PAGE: u64 = 512;

/// The source's properties that a blob from a URL gets, unless the request names others.
pub(super) const PROPERTIES: [(&str, &str); 5] = [
    ("content-type", "x-ms-blob-content-type"),
    ("content-encoding", "x-ms-blob-content-encoding"),
    ("content-language", "x-ms-blob-content-language"),
    ("content-disposition", "x-ms-blob-content-disposition"),
    ("cache-control", "x-ms-blob-cache-control"),
];

/// Put Blob, Put Block, Put Page with the client's bytes.
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
    // The emulator must not have written what turns out wrong.
    let bytes = upload.collect(if page { 4 << 20 } else { MAX_WHOLE }).await?;
    check_body(&asked.head.headers, plan.ignored, &bytes)?;
    headers.remove("x-ms-content-crc64");
    whole(core, asked, headers, bytes, plan).await
}

/// Put Blob From URL.
pub(super) async fn blob_from_url(core: &Core, asked: &ProxyRequest, plan: &Plan) -> Refused<Answer> {
    // Azure documents neither for this operation: who relies on one would copy too much, or unchecked.
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

/// Put Page that clears.
pub(super) async fn clear(core: &Core, asked: &ProxyRequest) -> Refused<Answer> {
    check_inside(core, asked).await?;
    core.upstream.pass(asked, end_to_end(&asked.head.headers), None).await
}

/// Refuses pages beyond the blob's end, which the emulator would write.
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

/// How long the page blob is that a request writes to: as it was made, or as the emulator says; none where there is none.
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

/// Remembers how long a page blob is that was just made.
pub(super) fn remember_length(core: &Core, asked: &ProxyRequest, answer: &Answer) {
    let length = asked.header("x-ms-blob-content-length").and_then(|length| length.parse().ok());
    if let Some(length) = length.filter(|_| answer.status().is_success()) {
        lock(&core.lengths).insert(asked.head.uri.path().to_owned(), length);
    }
}

/// The request with this as its body.
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

/// What the answer to a write says of the bytes that were written.
enum Told {
    Crc64(String),
    Md5(String),
}

impl Told {
    /// Source: Put Page From URL as azure-sdk-for-js recorded it (`uploadPagesFromURL`); the others as azure-sdk-for-net did.
    fn of(asked: &ProxyRequest, bytes: &[u8]) -> Self {
        match asked.operation {
            Operation::PutPageFromUrl => Self::Md5(md5_of(bytes)),
            _ => Self::Crc64(crc64_of(bytes)),
        }
    }
}

/// The answer to a write, counted, with the checksum of the bytes where they were taken.
fn written(core: &Core, asked: &ProxyRequest, bytes: u64, mut answer: Answer, plan: &Plan, told: &Told) -> Answer {
    core.counters.wrote(asked, bytes, answer.status().as_u16());
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

/// Headers for the emulator, which shall not know that there is a source.
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

/// Takes over what the request does not say of the blob's properties.
pub(super) fn copy_properties(source: &HeaderMap, headers: &mut HeaderMap) {
    for (theirs, ours) in PROPERTIES {
        let said = headers.contains_key(ours) || theirs == "content-type" && headers.contains_key(theirs);
        if let Some(value) = source.get(theirs).filter(|_| !said) {
            headers.insert(ours, value.clone());
        }
    }
}

/// A range of bytes, as the header `name` has it.
fn range(name: &str, text: &str) -> Refused<RangeInclusive<u64>> {
    let range = text.strip_prefix("bytes=").and_then(|range| {
        let (first, last) = range.split_once('-')?;
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    let sane = |range: &RangeInclusive<u64>| !range.is_empty() && *range.end() < 1 << 62;
    range.filter(sane).ok_or_else(|| Refusal::invalid_header(name))
}
