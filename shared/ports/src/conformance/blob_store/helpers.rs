//! Helpers that the blob suites share.

use std::fmt::Debug;
use std::ops::Range;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use goldfleet_model::store::{BlobAddress, Container};
use uuid::Uuid;

use crate::ETag;
use crate::blob_store::{BlobStore, ListedBlob, SourceRange};
use crate::error::{ErrorKind, PortError, PortResult};
use goldfleet_model::hash::Md5Sum;

/// A name that no other test and no other run uses.
pub(super) fn unique(container: &Container, name: &str) -> BlobAddress {
    container.blob(format!("{name}-{}", Uuid::new_v4().simple()))
}

/// Pseudo-random bytes that depend on the seed.
pub(super) fn body(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Never zero, so that data differs from pages that were never written.
        state.to_be_bytes()[0] | 1
    };
    (0..length).map(step).collect()
}

pub(super) fn crc(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// Writes a blob of `length` bytes and returns the bytes.
pub(super) async fn put(blobs: &dyn BlobStore, blob: &BlobAddress, length: usize) -> Bytes {
    let body = body(length as u64, length);
    blobs.put_blob(blob, body.clone(), crc(&body).into()).await.expect("a blob of a new name is put");
    body
}

/// A range of a blob that holds `content`, with the right checksums.
pub(super) fn source(blob: &BlobAddress, content: &Bytes, range: Range<u64>) -> SourceRange {
    let bytes = &content[as_usize(&range)];
    SourceRange { blob: blob.clone(), crc64: crc(bytes), md5: Some(Md5Sum::of(bytes)), range }
}

/// Replaces the checksums of a range by wrong ones. To the service this is equal to a bit that flips in transit.
pub(super) fn spoil(range: &mut SourceRange) {
    range.crc64 ^= 1;
    range.md5 = Some(Md5Sum::of(b"other bytes"));
}

pub(super) fn as_usize(range: &Range<u64>) -> Range<usize> {
    let convert = |at| usize::try_from(at).expect("tests use small numbers");
    convert(range.start)..convert(range.end)
}

pub(super) async fn etag(blobs: &dyn BlobStore, blob: &BlobAddress) -> ETag {
    blobs.properties(blob).await.expect("properties").expect("a blob that is there").etag
}

/// All pages of a listing.
pub(super) async fn list(blobs: &dyn BlobStore, container: &Container, prefix: &str) -> Vec<ListedBlob> {
    let mut listed = Vec::new();
    let mut marker = None;
    loop {
        let page = blobs.list(container, prefix, marker.as_deref()).await.expect("a page of a list");
        listed.extend(page.blobs);
        match page.next {
            Some(next) => marker = Some(next),
            None => return listed,
        }
    }
}

#[track_caller]
pub(super) fn refused<T: Debug>(result: PortResult<T>, kind: ErrorKind) -> PortError {
    match result {
        Err(error) if error.kind == kind => error,
        other => panic!("expected to be refused as {kind:?}, but got {other:?}"),
    }
}

#[track_caller]
pub(super) fn refused_as<T: Debug>(result: PortResult<T>, kind: ErrorKind, code: &str) {
    let error = refused(result, kind);
    assert_eq!(error.code, code, "the code of: {error}");
}

/// The index of the only success. All other results must be `AlreadyExists`.
#[track_caller]
pub(super) fn only_winner(results: &[PortResult<()>]) -> usize {
    let winners = (0..results.len()).filter(|at| results[*at].is_ok()).collect::<Vec<_>>();
    let told =
        |result: &PortResult<()>| result.as_ref().err().is_none_or(|error| error.kind == ErrorKind::AlreadyExists);
    assert!(results.iter().all(told), "a loser was not told that the name is taken: {results:?}");
    assert_eq!(winners.len(), 1, "so many won: {results:?}");
    winners[0]
}
