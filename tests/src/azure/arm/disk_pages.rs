//! Put Page and Put Page From URL to the content of a disk that awaits an upload. Source: Azure, Put Page, Put Page
//! From URL; azure-storage-azcopy, `ste/sender-pageBlob.go`. The codes of refusals that depend on [`Behaviours`] are
//! guesses.
//!
//! [`Behaviours`]: super::behaviours::Behaviours

use std::ops::Range;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use goldfleet_model::checksum::crc64;
use md5::{Digest as _, Md5};

use super::behaviours::Checks;
use super::disk_data::{refused, unique_id};
use super::response::ArmAnswer;
use super::route::Query;
use super::state::TenantState;

const PAGE: usize = 512;

fn text<'p>(parts: &'p Parts, name: &str) -> Option<&'p str> {
    parts.headers.get(name)?.to_str().ok()
}

fn range(parts: &Parts, names: &[&str]) -> Option<Range<usize>> {
    let (first, last) = names.iter().find_map(|name| text(parts, name))?.strip_prefix("bytes=")?.split_once('-')?;
    Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
}

fn invalid(code: &'static str) -> ArmAnswer {
    refused(StatusCode::BAD_REQUEST, code, "The request is not supported by this blob.")
}

/// Writes pages. The SAS was not checked yet.
pub(super) fn put(world: &mut TenantState, parts: &Parts, query: &Query, body: &[u8]) -> ArmAnswer {
    write(world, parts, query, body).unwrap_or_else(|refusal| refusal)
}

fn write(world: &mut TenantState, parts: &Parts, query: &Query, body: &[u8]) -> Result<ArmAnswer, ArmAnswer> {
    let key = world.disk_data.writable(query.get("sig").unwrap_or_default(), world.clock.now())?;
    let at = range(parts, &["x-ms-range", "range"]).ok_or_else(|| invalid("MissingRequiredHeader"))?;
    if at.start % PAGE != 0 || at.end % PAGE != 0 || text(parts, "x-ms-page-write") != Some("update") {
        return Err(invalid("InvalidPageRange"));
    }
    let source = text(parts, "x-ms-copy-source").map(str::to_owned);
    let bytes = match &source {
        Some(url) => from_url(world, parts, url)?,
        None => body.to_vec(),
    };
    if bytes.len() != at.len() {
        return Err(invalid("InvalidHeaderValue"));
    }
    if let Some(sum) = text(parts, "x-ms-content-crc64") {
        let right = BASE64.encode(crc64(&bytes).to_le_bytes());
        check(world.behaviours.page_crc64, sum == right, "Crc64Mismatch")?;
    }
    if let Some(sum) = text(parts, "x-ms-source-content-md5") {
        let right = BASE64.encode(Md5::digest(&bytes));
        check(world.behaviours.page_source_md5, sum == right, "Md5Mismatch")?;
    }
    let disk = world.disks.iter().find(|disk| disk.key() == key).ok_or_else(|| invalid("BlobNotFound"))?;
    let (id, mut content) = (unique_id(disk), (*world.content_of(disk)).clone());
    // What is behind the disk is the footer of its VHD.
    let inside = at.start.min(content.len())..at.end.min(content.len());
    let length = inside.len();
    content[inside].copy_from_slice(&bytes[..length]);
    if length < bytes.len() {
        world.disk_data.set_footer(&id, &bytes[length..]);
    }
    world.disk_data.set(&id, Arc::new(content));
    let answer = ArmAnswer::empty(StatusCode::CREATED)
        .header("etag", "\"0x8D1\"")
        .header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        .header("x-ms-blob-sequence-number", "0");
    Ok(match world.behaviours.page_answer_md5 {
        true => answer.header("content-md5", BASE64.encode(Md5::digest(&bytes))),
        false => answer,
    })
}

fn check(checks: Checks, is_right: bool, code: &'static str) -> Result<(), ArmAnswer> {
    match checks {
        Checks::Refused => Err(invalid("UnsupportedHeader")),
        Checks::Verified if !is_right => Err(invalid(code)),
        Checks::Verified | Checks::Ignored => Ok(()),
    }
}

/// The bytes of a source: the content of another disk, or a blob that the test provides.
fn from_url(world: &mut TenantState, parts: &Parts, url: &str) -> Result<Vec<u8>, ArmAnswer> {
    let from = range(parts, &["x-ms-source-range"]).ok_or_else(|| invalid("MissingRequiredHeader"))?;
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let not_found = || refused(StatusCode::NOT_FOUND, "CannotVerifyCopySource", "The specified blob does not exist.");
    if path.contains("/md-") {
        let query = Query::parse(query);
        let content = super::disk_data::content_for(world, query.get("sig").unwrap_or_default())?;
        return content.get(from).ok_or_else(not_found).map(<[u8]>::to_vec);
    }
    if !world.behaviours.block_blob_source {
        return Err(refused(StatusCode::CONFLICT, "InvalidBlobType", "The blob type is invalid for this operation."));
    }
    // Clients may encode the slashes in the name of a blob.
    let path = path.replace("%2F", "/");
    let found = world.page_sources.iter().find(|(suffix, _)| path.ends_with(suffix.as_str()));
    found.and_then(|(_, bytes)| bytes.get(from)).map(<[u8]>::to_vec).ok_or_else(not_found)
}
