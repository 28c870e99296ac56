//! The checksums in requests and responses.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crc_fast::{CrcAlgorithm, Digest};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use md5::{Digest as _, Md5};

use super::answer::{Refusal, Refused};
use super::lock;
use super::request::text;
use super::rules::Ignored;

/// A CRC-64/NVME in the format of `x-ms-content-crc64`: eight bytes, little-endian, in Base64.
#[must_use]
pub fn crc64_header(crc64: u64) -> String {
    BASE64_STANDARD.encode(crc64.to_le_bytes())
}

/// The checksum of bytes, in the header's format.
pub(super) fn crc64_of(bytes: &[u8]) -> String {
    crc64_header(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes))
}

/// The MD5 of bytes, in the format of `Content-MD5`.
pub(super) fn md5_of(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Md5::digest(bytes))
}

/// A checksum that is updated while bytes pass through.
#[derive(Clone)]
pub(super) struct Running(Arc<Mutex<Digest>>);

impl Running {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Digest::new(CrcAlgorithm::Crc64Nvme))))
    }

    pub(super) fn update(&self, bytes: &[u8]) {
        lock(&self.0).update(bytes);
    }

    /// The checksum so far, in the header's format.
    pub(super) fn header(&self) -> String {
        crc64_header(lock(&self.0).finalize())
    }
}

/// Rejects a body that does not match the checksum in the request.
pub(super) fn check_body(headers: &HeaderMap, ignored: Ignored, body: &[u8]) -> Refused<()> {
    check(headers, ("x-ms-content-crc64", ignored.body), ("content-md5", ignored.body), body)
}

/// Rejects bytes of a source that do not match the checksum in the request.
pub(super) fn check_source(headers: &HeaderMap, ignored: Ignored, bytes: &[u8]) -> Refused<()> {
    let crc64 = ("x-ms-source-content-crc64", ignored.source_crc64);
    check(headers, crc64, ("x-ms-source-content-md5", ignored.source_md5), bytes)
}

/// Rejects bytes that do not match the checksums in two headers, given by their names and whether they are ignored.
fn check(headers: &HeaderMap, crc64: (&str, bool), md5: (&str, bool), bytes: &[u8]) -> Refused<()> {
    let (wanted_crc64, wanted_md5) = (decoded(headers, crc64.0, 8)?, decoded(headers, md5.0, 16)?);
    let bad = |code, message| Err(Refusal::new(StatusCode::BAD_REQUEST, code, message));
    if wanted_crc64.is_some() && wanted_md5.is_some() {
        let message = "Both x-ms-content-crc64 header and Content-MD5 header are present.";
        return bad("BothCrc64AndMd5HeaderPresent", message);
    }
    let (wanted_crc64, wanted_md5) = (wanted_crc64.filter(|_| !crc64.1), wanted_md5.filter(|_| !md5.1));
    if wanted_crc64.is_some_and(|wanted| BASE64_STANDARD.encode(wanted) != crc64_of(bytes)) {
        let message =
            "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.";
        return bad("Crc64Mismatch", message);
    }
    if wanted_md5.is_some_and(|wanted| wanted != Md5::digest(bytes).as_slice()) {
        let message =
            "The MD5 value specified in the request did not match with the MD5 value calculated by the server.";
        return bad("Md5Mismatch", message);
    }
    Ok(())
}

/// The bytes of a checksum in a header. None if the header is missing.
fn decoded(headers: &HeaderMap, name: &str, length: usize) -> Refused<Option<Vec<u8>>> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let bytes = text(headers, name).and_then(|text| BASE64_STANDARD.decode(text).ok());
    bytes.filter(|bytes| bytes.len() == length).map(Some).ok_or_else(|| Refusal::invalid_header(name))
}
