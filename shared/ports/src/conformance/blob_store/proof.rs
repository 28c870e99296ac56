//! The tests of verification: a write that an adapter reports as successful has the given checksums, even if the
//! service does not check them.
//!
//! Unlike the rest of the suite, these tests do not check the destination after a rejected write. So they also hold for
//! services that ignore checksums.

use std::collections::BTreeMap;

use super::helpers::{as_usize, body, crc, put, refused, source, spoil, unique};
use crate::blob_store::{BlobStore, Fence, PAGE, SourceRange};
use crate::error::ErrorKind;
use goldfleet_model::store::{BlobAddress, Container};

/// Runs these tests in `container`, which must exist.
pub async fn all(blobs: &dyn BlobStore, container: &Container) {
    stored_bytes_are_compared_with_a_checksum(blobs, container).await;
    a_damaged_body_is_never_reported_as_written(blobs, container).await;
    a_damaged_blob_from_a_source_is_never_reported_as_written(blobs, container).await;
    damaged_pages_are_never_reported_as_written(blobs, container).await;
    damaged_pages_from_a_source_are_never_reported_as_written(blobs, container).await;
}

/// `holds` compares the stored bytes of a range with its checksum. A missing blob or a range outside it is an error.
pub async fn stored_bytes_are_compared_with_a_checksum(blobs: &dyn BlobStore, container: &Container) {
    let block = unique(container, "compared");
    let content = put(blobs, &block, 10_000).await;
    let (pages, fence) = page_blob(blobs, container).await;
    let page = body(1, as_usize(&(0..2 * PAGE)).end);
    blobs.put_pages(&pages, fence, 0, page.clone(), crc(&page)).await.expect("pages");
    for range in [
        source(&block, &content, 0..10_000),
        source(&block, &content, 17..4_099),
        source(&pages, &page, PAGE..2 * PAGE),
    ] {
        assert!(blobs.holds(&range).await.expect("a comparison"), "{range:?} has its checksum");
        let mut other = range.clone();
        spoil(&mut other);
        assert!(!blobs.holds(&other).await.expect("a comparison"), "{other:?} has another checksum");
        let elsewhere = SourceRange { range: range.range.start + 1..range.range.end, ..range };
        assert!(!blobs.holds(&elsewhere).await.expect("a comparison"), "{elsewhere:?} is another range");
    }
    let missing = SourceRange { blob: unique(container, "missing"), ..source(&block, &content, 0..512) };
    refused(blobs.holds(&missing).await, ErrorKind::NotFound);
    let outside = SourceRange { range: 9_999..10_001, ..source(&block, &content, 0..512) };
    refused(blobs.holds(&outside).await, ErrorKind::Invalid);
}

/// A body with a wrong checksum.
pub async fn a_damaged_body_is_never_reported_as_written(blobs: &dyn BlobStore, container: &Container) {
    let (blob, sent) = (unique(container, "damaged-body"), body(1, 5_000));
    refused(blobs.put_blob(&blob, sent.clone(), (crc(&sent) ^ 1).into()).await, ErrorKind::Corrupt);
    blobs.put_blob(&blob, sent.clone(), crc(&sent).into()).await.expect("the name is free, and the body is whole");
    assert_eq!(blobs.get(&blob, None).await.expect("the blob"), sent);
}

/// A whole source blob that does not arrive with its checksum. The name is free afterwards.
pub async fn a_damaged_blob_from_a_source_is_never_reported_as_written(blobs: &dyn BlobStore, container: &Container) {
    let (from, to) = (unique(container, "from"), unique(container, "damaged-blob"));
    let content = put(blobs, &from, 5_000).await;
    let right = source(&from, &content, 0..5_000);
    for damaged in damaged(&right) {
        refused(blobs.put_blob_from(&to, &damaged).await, ErrorKind::Corrupt);
    }
    blobs.put_blob_from(&to, &right).await.expect("the name is free, and the source is whole");
    assert!(blobs.holds(&SourceRange { blob: to, ..right }).await.expect("a comparison"), "not what was written");
}

/// Pages with a wrong checksum.
pub async fn damaged_pages_are_never_reported_as_written(blobs: &dyn BlobStore, container: &Container) {
    let (blob, fence) = page_blob(blobs, container).await;
    let page = body(1, as_usize(&(0..PAGE)).end);
    refused(blobs.put_pages(&blob, fence, 0, page.clone(), crc(&page) ^ 1).await, ErrorKind::Corrupt);
    blobs.put_pages(&blob, fence, 0, page.clone(), crc(&page)).await.expect("pages");
    assert_eq!(blobs.get(&blob, Some(0..PAGE)).await.expect("the page"), page);
}

/// A source range that does not arrive with its checksums, as pages: with and without an MD5.
pub async fn damaged_pages_from_a_source_are_never_reported_as_written(blobs: &dyn BlobStore, container: &Container) {
    let (blob, fence) = page_blob(blobs, container).await;
    let from = unique(container, "from");
    let content = put(blobs, &from, as_usize(&(0..4 * PAGE)).end).await;
    let right = source(&from, &content, PAGE..3 * PAGE);
    for damaged in damaged(&right) {
        refused(blobs.put_pages_from(&blob, fence, PAGE, &damaged).await, ErrorKind::Corrupt);
    }
    for right in [SourceRange { md5: None, ..right.clone() }, right] {
        blobs.put_pages_from(&blob, fence, PAGE, &right).await.expect("the source is whole");
        assert!(blobs.holds(&SourceRange { blob: blob.clone(), ..right }).await.expect("a comparison"));
    }
}

/// The range with the checksums that it has if a bit flips in transit: with and without an MD5.
fn damaged(right: &SourceRange) -> [SourceRange; 2] {
    let mut damaged = right.clone();
    spoil(&mut damaged);
    [SourceRange { md5: None, ..damaged.clone() }, damaged]
}

async fn page_blob(blobs: &dyn BlobStore, container: &Container) -> (BlobAddress, Fence) {
    let blob = unique(container, "proof");
    blobs.create_page_blob(&blob, 8 * PAGE, &BTreeMap::new()).await.expect("a page blob of a new name");
    let fence = blobs.take_fence(&blob).await.expect("a fence");
    (blob, fence)
}
