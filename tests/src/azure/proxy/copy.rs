//! Copies that stay pending: Copy Blob and Abort Copy Blob, implemented by the proxy.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use uuid::Uuid;

use super::Core;
use super::answer::{Answer, Refusal, Refused, nothing, put, stamp};
use super::copies::{Copy, PollResult, Status};
use super::request::{Operation, ProxyRequest, parameter};
use super::rules::CopyEnd;
use super::source::{Source, with_comp};
use super::write::{MAX_PAGE_WRITE, copy_properties, set_length, without_source};

/// How long a poll of a destination waits for the bytes while they are copied, so that a small copy is complete at the
/// poll after the last one that must find it pending.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);

/// Copy Blob for a rule. As on Azure, the destination exists at once: a page blob with its full length and zeros, or an
/// empty block blob.
pub(super) async fn hold(
    core: &Core,
    asked: &ProxyRequest,
    flip: Option<u64>,
    rule: (u32, CopyEnd),
) -> Refused<Answer> {
    let source = Source::of(asked, flip)?;
    let extent = source.extent(core).await?;
    let mut creation = without_source(&asked.head.headers);
    set_length(&mut creation, 0);
    copy_properties(&extent.headers, &mut creation);
    if extent.is_page_blob {
        put(&mut creation, "x-ms-blob-type", "PageBlob");
        put(&mut creation, "x-ms-blob-content-length", &extent.length.to_string());
        if let Some(number) = extent.headers.get("x-ms-blob-sequence-number") {
            creation.insert("x-ms-blob-sequence-number", number.clone());
        }
    } else {
        put(&mut creation, "x-ms-blob-type", "BlockBlob");
    }
    if !creation.keys().any(is_metadata) {
        let metadata = extent.headers.iter().filter(|(name, _)| is_metadata(name));
        creation.extend(metadata.map(|(name, value)| (name.clone(), value.clone())));
    }
    let response = core.upstream.send(Method::PUT, asked.target(), creation.clone(), None).await?;
    if !response.status().is_success() {
        return Ok(core.upstream.relay(asked, response));
    }
    let copy = Copy::new(source, extent, asked.target().to_owned(), creation, rule, core.stop.child_token());
    let mut answer = accepted(asked, StatusCode::ACCEPTED);
    for name in ["etag", "last-modified"] {
        if let Some(value) = response.headers().get(name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    put(answer.headers_mut(), "x-ms-copy-id", &copy.id);
    put(answer.headers_mut(), "x-ms-copy-status", "pending");
    core.copies.add(asked.head.uri.path(), Arc::new(copy));
    Ok(answer)
}

/// Copy Blob without a rule: the emulator copies synchronously. It accepts only sources with its own authority. A
/// signature with the account's key covers the header, so both must be unchanged in that case.
pub(super) async fn pass(core: &Core, asked: &ProxyRequest) -> Refused<Answer> {
    let mut headers = super::upstream::end_to_end(&asked.head.headers);
    let source = Source::of(asked, None)?;
    if !asked.header("authorization").is_some_and(|value| value.starts_with("SharedKey")) {
        let inward = core.upstream.inward(&source.url);
        let authority = core.upstream.base.split_once("://").map_or("", |(_, authority)| authority);
        for (name, value) in [("x-ms-copy-source", inward.as_str()), ("host", authority)] {
            headers.insert(name, HeaderValue::from_str(value).map_err(|error| Refusal::proxy(&error))?);
        }
    }
    let answer = core.upstream.pass(asked, headers, None).await?;
    // The emulator does not report how many bytes it copied.
    if answer.status().is_success()
        && let Ok(extent) = source.extent(core).await
    {
        core.counters.sourced(&source.accounts.0, &source.accounts.1, extent.bytes());
    }
    Ok(answer)
}

/// Abort Copy Blob. None if no rule keeps the copy pending.
pub(super) async fn abort(core: &Core, asked: &ProxyRequest) -> Option<Refused<Answer>> {
    let copy = core.copies.of(asked.head.uri.path())?;
    Some(abort_held(core, asked, &copy).await)
}

async fn abort_held(core: &Core, asked: &ProxyRequest, copy: &Copy) -> Refused<Answer> {
    if asked.header("x-ms-copy-action") != Some("abort") {
        return Err(Refusal::missing_header("x-ms-copy-action"));
    }
    let id = asked.head.uri.query().and_then(|query| parameter(query, "copyid"));
    if id != Some(copy.id.as_str()) {
        let message = "The specified copy ID did not match the copy ID for the pending copy operation.";
        return Err(Refusal::new(StatusCode::CONFLICT, "CopyIdMismatch", message));
    }
    copy.abort().await?;
    let mut headers = copy.creation.clone();
    for name in ["authorization", "x-ms-lease-id"] {
        if let Some(value) = asked.head.headers.get(name) {
            headers.insert(name, value.clone());
        }
    }
    let target = if copy.extent.is_page_blob { with_comp(&copy.target, "properties") } else { copy.target.clone() };
    if copy.extent.is_page_blob {
        headers.insert("x-ms-blob-content-length", HeaderValue::from(0));
        headers.remove("x-ms-blob-sequence-number");
    }
    unconditional(&mut headers);
    let response = core.upstream.send(Method::PUT, &target, headers, None).await?;
    if response.status().is_success() {
        return Ok(accepted(asked, StatusCode::NO_CONTENT));
    }
    Ok(core.upstream.relay(asked, response))
}

/// Handles a request for the properties or the content of a destination. Returns the copy whose state the response must
/// show.
pub(super) async fn poll_destination(core: &Arc<Core>, asked: &ProxyRequest) -> Option<Arc<Copy>> {
    let reads = matches!(asked.head.method, Method::GET | Method::HEAD) && asked.comp().is_none();
    let copy = core.copies.of(asked.head.uri.path()).filter(|_| reads)?;
    if asked.head.method == Method::HEAD {
        let look = copy.poll();
        if look == PollResult::Move {
            tokio::spawn(run(Arc::clone(core), Arc::clone(&copy)));
        }
        if look != PollResult::Nothing {
            let _ = tokio::time::timeout(POLL_TIMEOUT, copy.ended.cancelled()).await;
        }
    }
    Some(copy)
}

/// Rejects requests that would change the destination of a pending copy.
pub(super) fn guard(core: &Core, asked: &ProxyRequest) -> Refused<()> {
    let changes = match asked.head.method {
        Method::PUT => !matches!(asked.comp(), Some("copy" | "lease" | "tags")),
        Method::DELETE => true,
        _ => false,
    };
    if changes && core.copies.of(asked.head.uri.path()).is_some_and(|copy| copy.is_pending()) {
        let message = "There is currently a pending copy operation.";
        return Err(Refusal::new(StatusCode::CONFLICT, "PendingCopyOperation", message));
    }
    Ok(())
}

/// Forgets an ended copy when its destination is written again.
pub(super) fn forget_finished(core: &Core, asked: &ProxyRequest, answer: &Answer) {
    let anew = match asked.head.method {
        Method::PUT => matches!(asked.comp(), None | Some("blocklist" | "properties")),
        Method::DELETE => true,
        _ => false,
    };
    let held = asked.operation == Operation::CopyBlob
        && core.copies.of(asked.head.uri.path()).is_some_and(|copy| copy.is_pending());
    if anew && !held && answer.status().is_success() {
        core.copies.forget(asked.head.uri.path());
    }
}

async fn run(core: Arc<Core>, copy: Arc<Copy>) {
    let moving = async {
        if copy.end == CopyEnd::Failed {
            return Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "A rule of the test's proxy.",
            ));
        }
        if copy.extent.is_page_blob { pages(&core, &copy).await } else { block(&core, &copy).await }
    };
    let result = tokio::select! {
        () = copy.stop.cancelled() => None,
        result = moving.boxed() => Some(result),
    };
    match result {
        Some(Ok(())) => copy.finish(Status::Success),
        Some(Err(refusal)) => {
            copy.finish(Status::Failed(format!("{} {} {:?}", refusal.status.as_u16(), refusal.code, refusal.message)))
        }
        None => false,
    };
    copy.ended.cancel();
}

/// Copies the ranges that have data, with writes of the maximum size.
async fn pages(core: &Core, copy: &Copy) -> Refused<()> {
    let target = with_comp(&copy.target, "page");
    for data in &copy.extent.data {
        let mut at = data.start;
        while at < data.end {
            let range = at..=(at + MAX_PAGE_WRITE).min(data.end) - 1;
            let bytes = copy.source.read(core, &range).await?;
            at += bytes.len() as u64;
            let mut headers = writing(&copy.creation);
            put(&mut headers, "x-ms-page-write", "update");
            put(&mut headers, "x-ms-range", &format!("bytes={}-{}", range.start(), range.end()));
            set_length(&mut headers, bytes.len() as u64);
            written(core.upstream.send(Method::PUT, &target, headers, Some(bytes.into())).await?)?;
            copy.done.store(at, Ordering::Relaxed);
        }
    }
    Ok(())
}

async fn block(core: &Core, copy: &Copy) -> Refused<()> {
    let response = copy.source.open(core, None).await?;
    let mut headers = copy.creation.clone();
    unconditional(&mut headers);
    set_length(&mut headers, copy.extent.length);
    let body = reqwest::Body::wrap_stream(copy.source.stream(core, response));
    written(core.upstream.send(Method::PUT, &copy.target, headers, Some(body)).await?)
}

fn written(response: reqwest::Response) -> Refused<()> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let code = response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok()).unwrap_or("InternalError");
    Err(Refusal::new(status, code, "Writing the destination failed."))
}

/// The headers of the creation that a write to the destination needs.
fn writing(creation: &HeaderMap) -> HeaderMap {
    let names = ["authorization", "x-ms-version", "x-ms-lease-id", "host"];
    let kept = names.iter().filter_map(|name| Some((HeaderName::from_static(name), creation.get(*name)?.clone())));
    kept.collect()
}

/// Removes the conditions: the destination has changed since they were checked.
fn unconditional(headers: &mut HeaderMap) {
    for name in ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "x-ms-if-tags"] {
        headers.remove(name);
    }
}

fn is_metadata(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-ms-meta-")
}

fn accepted(asked: &ProxyRequest, status: StatusCode) -> Answer {
    let mut answer = Response::new(nothing());
    *answer.status_mut() = status;
    put(answer.headers_mut(), "x-ms-request-id", &Uuid::new_v4().to_string());
    stamp(answer.headers_mut(), asked);
    answer
}
