//! The tests of page blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use goldfleet_model::store::{BlobAddress, Container};

use super::helpers::{as_usize, body, crc, only_winner, put, refused, refused_as, source, spoil, unique};
use crate::blob_store::{BlobStore, CopyState, Fence, MAX_PAGE_WRITE, PAGE, SourceRange};
use crate::error::ErrorKind;

/// One mebibyte. The lengths of the page blobs are small multiples of it.
const MIB: u64 = 1024 * 1024;

/// Runs these tests in `container`, which must exist.
pub async fn all(blobs: &dyn BlobStore, container: &Container) {
    new_page_blob_is_zero_with_metadata(blobs, container).await;
    recreated_blob_keeps_nothing(blobs, container).await;
    concurrent_creates_of_page_blob_have_one_winner(blobs, container).await;
    page_writes_land_at_offset(blobs, container).await;
    page_writes_are_validated(blobs, container).await;
    pages_with_wrong_checksum_are_rejected(blobs, container).await;
    older_fence_is_rejected(blobs, container).await;
    fences_are_strictly_increasing(blobs, container).await;
    recreated_blob_rejects_old_fences(blobs, container).await;
    put_pages_from_copies_range(blobs, container).await;
    invalid_sources_write_no_pages(blobs, container).await;
    clear_pages_zeroes_range(blobs, container).await;
    page_ranges_cover_data(blobs, container).await;
    missing_blob_is_not_found(blobs, container).await;
    copy_blob_copies_page_blob(blobs, container).await;
}

/// A new page blob contains zeros, has its metadata, and is created only once.
pub async fn new_page_blob_is_zero_with_metadata(blobs: &dyn BlobStore, container: &Container) {
    let blob = unique(container, "pages");
    let metadata = BTreeMap::from([("digest".to_owned(), "b3:00".to_owned()), ("job".to_owned(), "x-1".to_owned())]);
    blobs.create_page_blob(&blob, 8 * PAGE, &metadata).await.expect("a page blob");
    let properties = blobs.properties(&blob).await.expect("properties").expect("a page blob");
    assert_eq!((properties.length, &properties.metadata), (8 * PAGE, &metadata));
    assert!(is_zero(&blobs.get(&blob, None).await.expect("the blob")), "a new page blob is not zero");
    refused(blobs.create_page_blob(&blob, PAGE, &BTreeMap::new()).await, ErrorKind::AlreadyExists);
    refused(blobs.put_blob(&blob, body(1, 10), crc(&body(1, 10)).into()).await, ErrorKind::AlreadyExists);
    assert_eq!(blobs.properties(&blob).await.expect("properties"), Some(properties), "a refusal changed the blob");
    refused(blobs.create_page_blob(&unique(container, "odd"), PAGE + 1, &metadata).await, ErrorKind::Invalid);
}

/// A fence does not change metadata; a deletion removes it.
pub async fn recreated_blob_keeps_nothing(blobs: &dyn BlobStore, container: &Container) {
    let blob = unique(container, "again");
    let metadata = BTreeMap::from([("digest".to_owned(), "b3:00".to_owned())]);
    blobs.create_page_blob(&blob, PAGE, &metadata).await.expect("a page blob");
    blobs.take_fence(&blob).await.expect("a fence");
    let after = blobs.properties(&blob).await.expect("properties").expect("a page blob");
    assert_eq!(after.metadata, metadata, "a fence changes metadata");
    assert!(blobs.delete(&blob, Some(&after.etag)).await.expect("a deletion"), "there was one");
    blobs.create_page_blob(&blob, 2 * PAGE, &BTreeMap::new()).await.expect("the same name again");
    let again = blobs.properties(&blob).await.expect("properties").expect("a page blob");
    assert!(again.metadata.is_empty(), "a new blob has the metadata of the old: {:?}", again.metadata);
    assert_eq!(again.length, 2 * PAGE);
}

/// If many writers create one page blob, exactly one succeeds, and the blob has its metadata.
pub async fn concurrent_creates_of_page_blob_have_one_winner(blobs: &dyn BlobStore, container: &Container) {
    let blob = unique(container, "page-race");
    let metadata = |maker: usize| BTreeMap::from([("maker".to_owned(), maker.to_string())]);
    let all = (0..16).map(metadata).collect::<Vec<_>>();
    let results = join_all(all.iter().map(|metadata| blobs.create_page_blob(&blob, PAGE, metadata))).await;
    let properties = blobs.properties(&blob).await.expect("properties").expect("the winner's blob");
    assert_eq!(properties.metadata, metadata(only_winner(&results)), "not the winner's metadata");
}

/// Adjacent and overlapping writes change exactly the pages at their offsets.
pub async fn page_writes_land_at_offset(blobs: &dyn BlobStore, container: &Container) {
    let (blob, fence) = page_blob(blobs, container, MIB).await;
    let mut expected = vec![0; as_usize(&(0..MIB)).end];
    let writes = [(0, PAGE), (MIB - PAGE, PAGE), (256 * PAGE, 64 * PAGE), (300 * PAGE, 100 * PAGE)];
    for (seed, (offset, length)) in (1..).zip(writes) {
        let range = as_usize(&(offset..offset + length));
        let body = body(seed, range.len());
        blobs.put_pages(&blob, fence, offset, body.clone(), crc(&body)).await.expect("pages");
        expected[range].copy_from_slice(&body);
    }
    assert!(blobs.get(&blob, None).await.expect("the blob") == expected, "pages are not where they were written");
}

/// Alignment, size and the end of the blob are checked.
pub async fn page_writes_are_validated(blobs: &dyn BlobStore, container: &Container) {
    let (blob, fence) = page_blob(blobs, container, 6 * MIB).await;
    for (offset, length) in
        [(1, PAGE), (0, PAGE - 1), (0, 0), (0, MAX_PAGE_WRITE + PAGE), (6 * MIB, PAGE), (6 * MIB - PAGE, 2 * PAGE)]
    {
        let body = body(1, as_usize(&(0..length)).end);
        refused(blobs.put_pages(&blob, fence, offset, body.clone(), crc(&body)).await, ErrorKind::Invalid);
    }
    for range in [1..PAGE, 0..PAGE + 1, PAGE..PAGE, 6 * MIB..6 * MIB + PAGE] {
        refused(blobs.clear_pages(&blob, fence, range).await, ErrorKind::Invalid);
    }
    assert!(is_zero(&blobs.get(&blob, None).await.expect("the blob")), "a refused write was written");

    let largest = body(1, as_usize(&(0..MAX_PAGE_WRITE)).end);
    blobs.put_pages(&blob, fence, 0, largest.clone(), crc(&largest)).await.expect("the largest write");
    assert!(blobs.get(&blob, Some(0..MAX_PAGE_WRITE)).await.expect("the pages") == largest, "not what was written");
}

/// Pages with a wrong checksum are rejected, and nothing is written.
pub async fn pages_with_wrong_checksum_are_rejected(blobs: &dyn BlobStore, container: &Container) {
    let (blob, fence) = page_blob(blobs, container, 8 * PAGE).await;
    let body = body(1, as_usize(&(0..PAGE)).end);
    refused(blobs.put_pages(&blob, fence, 0, body.clone(), crc(&body) ^ 1).await, ErrorKind::Corrupt);
    assert!(is_zero(&blobs.get(&blob, None).await.expect("the blob")), "corrupt pages were written");
}

/// After a newer fence was taken, every kind of write under the older fence is rejected.
pub async fn older_fence_is_rejected(blobs: &dyn BlobStore, container: &Container) {
    let (blob, old) = page_blob(blobs, container, 8 * PAGE).await;
    let before = body(1, as_usize(&(0..8 * PAGE)).end);
    blobs.put_pages(&blob, old, 0, before.clone(), crc(&before)).await.expect("pages under the first fence");
    let new = blobs.take_fence(&blob).await.expect("a second fence");
    assert!(new > old, "{new:?} is not newer than {old:?}");

    let pages = body(2, as_usize(&(0..PAGE)).end);
    let from = unique(container, "from");
    let content = put(blobs, &from, as_usize(&(0..PAGE)).end).await;
    refused(blobs.put_pages(&blob, old, 0, pages.clone(), crc(&pages)).await, ErrorKind::Fenced);
    refused(blobs.put_pages_from(&blob, old, 0, &source(&from, &content, 0..PAGE)).await, ErrorKind::Fenced);
    refused(blobs.clear_pages(&blob, old, 0..PAGE).await, ErrorKind::Fenced);
    assert!(blobs.get(&blob, None).await.expect("the blob") == before, "a fenced write was written");

    blobs.put_pages(&blob, new, 0, pages.clone(), crc(&pages)).await.expect("pages under the newer fence");
    assert_eq!(blobs.get(&blob, Some(0..PAGE)).await.expect("the page"), pages);
}

/// No two callers get the same fence.
pub async fn fences_are_strictly_increasing(blobs: &dyn BlobStore, container: &Container) {
    let (blob, first) = page_blob(blobs, container, PAGE).await;
    let taken = join_all((0..8).map(|_| blobs.take_fence(&blob))).await;
    let fences = taken.into_iter().map(|fence| fence.expect("a fence")).collect::<BTreeSet<_>>();
    assert_eq!(fences.len(), 8, "a fence was taken twice: {fences:?}");
    assert!(fences.iter().all(|fence| *fence > first), "a fence is not newer than {first:?}: {fences:?}");
    let last = blobs.take_fence(&blob).await.expect("a fence");
    assert!(fences.iter().all(|fence| *fence < last), "{last:?} is not newer than {fences:?}");
}

/// A blob that is deleted and created again, as zeros or as a copy, rejects fences that were taken on the old one.
pub async fn recreated_blob_rejects_old_fences(blobs: &dyn BlobStore, container: &Container) {
    // The source of the copy has lower fences than the blob that the copy replaces.
    let (from, _) = page_blob(blobs, container, 4 * PAGE).await;
    let (blob, mut old) = page_blob(blobs, container, 4 * PAGE).await;
    let page = body(1, as_usize(&(0..PAGE)).end);
    for again in ["zeros", "a copy", "zeros after a copy"] {
        for _ in 0..4 {
            old = blobs.take_fence(&blob).await.expect("a fence");
        }
        assert!(blobs.delete(&blob, None).await.expect("a deletion"), "there was one");
        if again == "a copy" {
            copied(blobs, &blob, &from, &BTreeMap::new()).await;
        } else {
            blobs.create_page_blob(&blob, 4 * PAGE, &BTreeMap::new()).await.expect("the same name again");
            refused(blobs.put_pages(&blob, old, 0, page.clone(), crc(&page)).await, ErrorKind::Fenced);
        }
        let new = blobs.take_fence(&blob).await.expect("a fence");
        assert!(new > old, "{again}: {new:?} is not newer than {old:?}");
        refused(blobs.put_pages(&blob, old, 0, page.clone(), crc(&page)).await, ErrorKind::Fenced);
        assert!(is_zero(&blobs.get(&blob, None).await.expect("the blob")), "{again}: a fenced write was written");
    }
}

/// Waits until an asynchronous copy is done. Returns its id.
async fn copied(
    blobs: &dyn BlobStore,
    to: &BlobAddress,
    from: &BlobAddress,
    metadata: &BTreeMap<String, String>,
) -> String {
    let mut status = blobs.start_copy(to, from, metadata).await.expect("a copy");
    while matches!(status.state, CopyState::Pending { .. }) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        status = blobs.copy_status(to).await.expect("a status").expect("a copy under way");
    }
    assert_eq!(status.state, CopyState::Done);
    status.id
}

/// An asynchronous copy has the bytes of the source and its own metadata; a second copy to the same name is rejected.
pub async fn copy_blob_copies_page_blob(blobs: &dyn BlobStore, container: &Container) {
    let (from, fence) = page_blob(blobs, container, 8 * MIB).await;
    fill(blobs, &from, fence, MIB..3 * MIB).await;
    fill(blobs, &from, fence, 8 * MIB - PAGE..8 * MIB).await;
    let to = unique(container, "copied");
    assert_eq!(blobs.copy_status(&to).await.expect("a status"), None, "a copy of nowhere");
    let metadata = BTreeMap::from([("copied".to_owned(), "yes".to_owned())]);
    let id = copied(blobs, &to, &from, &metadata).await;
    let (copy, source) = (blobs.get(&to, None).await.expect("the copy"), blobs.get(&from, None).await.expect("bytes"));
    assert!(copy == source, "the copy is not its source");
    let properties = blobs.properties(&to).await.expect("properties").expect("the copy");
    assert_eq!((properties.length, properties.metadata), (8 * MIB, metadata.clone()));
    blobs.abort_copy(&to, &id).await.expect("a copy that has ended is no error");
    refused(blobs.start_copy(&to, &from, &metadata).await, ErrorKind::AlreadyExists);
    let fence = blobs.take_fence(&to).await.expect("a fence on a copy");
    fill(blobs, &to, fence, 0..PAGE).await;
    let (missing, other) = (unique(container, "missing"), unique(container, "other"));
    refused_as(blobs.start_copy(&other, &missing, &metadata).await, ErrorKind::NotFound, "source-not-found");
}

/// A range of any blob can be written as pages.
pub async fn put_pages_from_copies_range(blobs: &dyn BlobStore, container: &Container) {
    let (blob, fence) = page_blob(blobs, container, 16 * PAGE).await;
    let from = unique(container, "from");
    let content = put(blobs, &from, 10_000).await;
    let range = 3 * PAGE..7 * PAGE;
    blobs.put_pages_from(&blob, fence, 8 * PAGE, &source(&from, &content, range.clone())).await.expect("a copy");
    let got = blobs.get(&blob, None).await.expect("the blob");
    let written = as_usize(&(8 * PAGE..12 * PAGE));
    assert_eq!(got[written.clone()], content[as_usize(&range)], "not the source's bytes");
    assert!(is_zero(&got[..written.start]) && is_zero(&got[written.end..]), "a copy wrote too much");

    let (other, other_fence) = page_blob(blobs, container, 16 * PAGE).await;
    blobs.put_pages_from(&other, other_fence, 0, &source(&blob, &got, 0..16 * PAGE)).await.expect("a copy of pages");
    assert_eq!(blobs.get(&other, None).await.expect("the other blob"), got);
    for range in [0..PAGE - 1, 1..PAGE + 1] {
        refused(blobs.put_pages_from(&blob, fence, 0, &source(&from, &content, range)).await, ErrorKind::Invalid);
    }
}

/// A source that is missing or has another checksum writes no pages.
pub async fn invalid_sources_write_no_pages(blobs: &dyn BlobStore, container: &Container) {
    let (blob, fence) = page_blob(blobs, container, 8 * PAGE).await;
    let from = unique(container, "from");
    let content = put(blobs, &from, 10_000).await;
    let mut corrupt = source(&from, &content, 0..PAGE);
    spoil(&mut corrupt);
    let short = SourceRange { range: 15 * PAGE..20 * PAGE, ..source(&from, &content, 0..PAGE) };
    let missing = SourceRange { blob: unique(container, "missing"), range: 0..PAGE, crc64: 0, md5: None };
    refused_as(blobs.put_pages_from(&blob, fence, 0, &short).await, ErrorKind::Corrupt, "source-corrupt");
    refused_as(blobs.put_pages_from(&blob, fence, 0, &corrupt).await, ErrorKind::Corrupt, "source-corrupt");
    refused_as(blobs.put_pages_from(&blob, fence, 0, &missing).await, ErrorKind::NotFound, "source-not-found");
    assert!(is_zero(&blobs.get(&blob, None).await.expect("the blob")), "a bad source was written");
}

/// Clearing zeroes exactly the given range, of any length, in one call.
pub async fn clear_pages_zeroes_range(blobs: &dyn BlobStore, container: &Container) {
    let (blob, fence) = page_blob(blobs, container, 8 * MIB).await;
    let content = fill(blobs, &blob, fence, 0..8 * MIB).await;
    let cleared = 3 * PAGE..8 * MIB - 5 * PAGE;
    blobs.clear_pages(&blob, fence, cleared.clone()).await.expect("a clearing of more than one write takes");
    let got = blobs.get(&blob, None).await.expect("the blob");
    let cleared = as_usize(&cleared);
    assert!(is_zero(&got[cleared.clone()]), "cleared pages are not zero");
    assert!(got[..cleared.start] == content[..cleared.start], "a clearing reached too far to the front");
    assert!(got[cleared.end..] == content[cleared.end..], "a clearing reached too far to the back");
}

/// All data is within a range. Ranges are whole pages, sorted, disjoint, and inside the blob.
pub async fn page_ranges_cover_data(blobs: &dyn BlobStore, container: &Container) {
    let length = 16 * MIB + PAGE;
    let (blob, fence) = page_blob(blobs, container, length).await;
    let empty = blobs.page_ranges(&blob).await.expect("ranges of an empty blob");
    assert!(empty.iter().all(|range| range.end <= length), "{empty:?}");

    let written = [0..PAGE, 5 * MIB..7 * MIB, 16 * MIB..length];
    for range in &written {
        fill(blobs, &blob, fence, range.clone()).await;
    }
    let ranges = blobs.page_ranges(&blob).await.expect("ranges");
    for range in &written {
        let covers = |found: &Range<u64>| found.start <= range.start && range.end <= found.end;
        assert!(ranges.iter().any(covers), "{range:?} is not in {ranges:?}");
    }
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "not in order: {ranges:?}");
    let whole = |range: &Range<u64>| range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
    assert!(ranges.iter().all(|range| whole(range) && !range.is_empty() && range.end <= length), "{ranges:?}");
}

/// Every call that needs a blob returns `NotFound` if it does not exist.
pub async fn missing_blob_is_not_found(blobs: &dyn BlobStore, container: &Container) {
    let missing = unique(container, "missing");
    let page = body(1, as_usize(&(0..PAGE)).end);
    refused(blobs.take_fence(&missing).await, ErrorKind::NotFound);
    refused(blobs.put_pages(&missing, Fence(1), 0, page.clone(), crc(&page)).await, ErrorKind::NotFound);
    refused(blobs.clear_pages(&missing, Fence(1), 0..PAGE).await, ErrorKind::NotFound);
    refused(blobs.page_ranges(&missing).await, ErrorKind::NotFound);
    let touched = blobs.touch(&missing, &crate::ETag("\"0x1\"".to_owned())).await;
    let kind = touched.expect_err("what is missing can't be touched").kind;
    assert!(matches!(kind, ErrorKind::NotFound | ErrorKind::Conflict), "{kind:?}");
}

async fn page_blob(blobs: &dyn BlobStore, container: &Container, length: u64) -> (BlobAddress, Fence) {
    let blob = unique(container, "pages");
    blobs.create_page_blob(&blob, length, &BTreeMap::new()).await.expect("a page blob of a new name");
    let fence = blobs.take_fence(&blob).await.expect("a fence");
    (blob, fence)
}

/// Fills a range with non-zero bytes and returns them.
async fn fill(blobs: &dyn BlobStore, blob: &BlobAddress, fence: Fence, range: Range<u64>) -> Bytes {
    let content = body(range.start, as_usize(&range).len());
    let step = as_usize(&(0..MAX_PAGE_WRITE)).end;
    for at in (0..content.len()).step_by(step) {
        let piece = content.slice(at..content.len().min(at + step));
        let offset = range.start + at as u64;
        blobs.put_pages(blob, fence, offset, piece.clone(), crc(&piece)).await.expect("pages");
    }
    content
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
