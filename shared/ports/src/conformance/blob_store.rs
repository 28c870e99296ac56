//! The conformance suite of blob stores. Each test creates its own blobs, so runs do not affect each other, and it
//! requires only what all adapters guarantee.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a suite reports by panicking")]

mod helpers;
pub mod pages;
pub mod proof;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use goldfleet_model::store::Container;
use uuid::Uuid;

use self::helpers::{as_usize, body, crc, etag, list, only_winner, put, refused, refused_as, source, spoil, unique};
use crate::blob_store::{BlobStore, PAGE, SourceRange};
use crate::error::ErrorKind;

/// Runs the suite in `container`, which it creates if it does not exist.
pub async fn all(blobs: &dyn BlobStore, container: &Container) {
    ensure_container_is_idempotent(blobs, container).await;
    missing_container_is_empty_and_rejects_writes(blobs, container).await;
    put_then_get_round_trips(blobs, container).await;
    concurrent_puts_have_one_winner(blobs, container).await;
    wrong_checksum_is_rejected(blobs, container).await;
    range_reads_are_bounded(blobs, container).await;
    list_is_complete_ordered_and_prefixed(blobs, container).await;
    touch_requires_current_etag(blobs, container).await;
    delete_honours_etag(blobs, container).await;
    put_blob_from_copies_blob(blobs, container).await;
    invalid_sources_write_nothing(blobs, container).await;
    pages::all(blobs, container).await;
    proof::all(blobs, container).await;
}

/// A container can be created any number of times.
pub async fn ensure_container_is_idempotent(blobs: &dyn BlobStore, container: &Container) {
    for time in ["first", "second"] {
        blobs.ensure_container(container).await.unwrap_or_else(|error| panic!("the {time} time: {error}"));
    }
}

/// A missing container has an empty list; writes into it fail and do not create it.
pub async fn missing_container_is_empty_and_rejects_writes(blobs: &dyn BlobStore, container: &Container) {
    let name = format!("missing-{}", Uuid::new_v4().simple());
    let missing = Container { account: container.account.clone(), container: name.parse().expect("a name") };
    let blob = missing.blob("a");
    refused(blobs.put_blob(&blob, body(1, 10), crc(&body(1, 10)).into()).await, ErrorKind::NotFound);
    refused(blobs.create_page_blob(&blob, PAGE, &BTreeMap::new()).await, ErrorKind::NotFound);
    let page = blobs.list(&missing, "", None).await.expect("a list of a missing container");
    assert!(page.blobs.is_empty() && page.next.is_none(), "a missing container has blobs: {page:?}");
    assert_eq!(blobs.properties(&blob).await.expect("properties"), None);
}

/// A read returns the bytes, length and version that were written, also for an empty blob.
pub async fn put_then_get_round_trips(blobs: &dyn BlobStore, container: &Container) {
    for length in [0, 1, 70_000] {
        let blob = unique(container, "put/in/folders");
        let sent = put(blobs, &blob, length).await;
        assert_eq!(blobs.get(&blob, None).await.expect("the blob"), sent);
        let properties = blobs.properties(&blob).await.expect("properties").expect("a blob that was put");
        assert_eq!(properties.length, length as u64);
        assert!(properties.metadata.is_empty(), "metadata of nowhere: {:?}", properties.metadata);
        assert_eq!(properties.etag, etag(blobs, &blob).await, "the version changes by itself");
    }
}

/// If many writers write one name, exactly one succeeds, and the blob has its bytes.
pub async fn concurrent_puts_have_one_winner(blobs: &dyn BlobStore, container: &Container) {
    let blob = unique(container, "race");
    let bodies: Vec<Bytes> = (0..24).map(|seed| body(seed, 40_000)).collect();
    let results = join_all(bodies.iter().map(|body| blobs.put_blob(&blob, body.clone(), crc(body).into()))).await;
    let winner = only_winner(&results);
    assert_eq!(blobs.get(&blob, None).await.expect("the winner's blob"), bodies[winner], "not the winner's bytes");
}

/// A body with a wrong checksum is rejected, and nothing is written.
pub async fn wrong_checksum_is_rejected(blobs: &dyn BlobStore, container: &Container) {
    let blob = unique(container, "corrupt");
    let body = body(1, 1_000);
    refused(blobs.put_blob(&blob, body.clone(), (crc(&body) ^ 1).into()).await, ErrorKind::Corrupt);
    assert_eq!(blobs.properties(&blob).await.expect("properties"), None, "a corrupt body was written");
    blobs.put_blob(&blob, body.clone(), crc(&body).into()).await.expect("the name is still free");
}

/// Ranges are exact, and ranges outside the blob are rejected.
pub async fn range_reads_are_bounded(blobs: &dyn BlobStore, container: &Container) {
    let blob = unique(container, "ranges");
    let sent = put(blobs, &blob, 10_000).await;
    for range in [0..1, 17..4_099, 9_999..10_000, 0..10_000] {
        let got = blobs.get(&blob, Some(range.clone())).await.expect("a range");
        assert_eq!(got, sent.slice(as_usize(&range)), "{range:?}");
    }
    for range in [0..10_001, 9_999..20_000, 10_000..10_001, 20_000..20_001] {
        refused(blobs.get(&blob, Some(range)).await, ErrorKind::Invalid);
    }
}

/// A list contains all blobs with the prefix, each once, in order, across folders.
pub async fn list_is_complete_ordered_and_prefixed(blobs: &dyn BlobStore, container: &Container) {
    let run = Uuid::new_v4().simple().to_string();
    // '-' sorts before '/' and '0' after it, so an order by folders differs from an order by names.
    let names = ["a-b", "a/b-c", "a/b/c", "a0", "b/x", "b/y", "ba", "c"].map(|name| format!("{run}/d/{name}"));
    for name in names.iter().rev() {
        put(blobs, &container.blob(name), name.len()).await;
    }
    for prefix in ["", "d/a", "d/a/", "d/b", "d/b/", "nothing"].map(|prefix| format!("{run}/{prefix}")) {
        let expected = names.iter().filter(|name| name.starts_with(&prefix)).collect::<Vec<_>>();
        let listed = list(blobs, container, &prefix).await;
        assert_eq!(listed.iter().map(|blob| &blob.name).collect::<Vec<_>>(), expected, "prefix {prefix:?}");
    }
    for listed in list(blobs, container, &run).await {
        let properties = blobs.properties(&container.blob(&listed.name)).await.expect("properties").expect("listed");
        assert_eq!(listed.length, listed.name.len() as u64, "length of {}", listed.name);
        assert_eq!((listed.etag, listed.modified), (properties.etag, properties.modified), "{}", listed.name);
    }
}

/// A touch changes the version and not the bytes, and only if the given ETag is current.
pub async fn touch_requires_current_etag(blobs: &dyn BlobStore, container: &Container) {
    let blob = unique(container, "touch");
    let sent = put(blobs, &blob, 100).await;
    let first = blobs.properties(&blob).await.expect("properties").expect("a blob");
    blobs.touch(&blob, &first.etag).await.expect("a touch of the present version");
    let second = blobs.properties(&blob).await.expect("properties").expect("a blob");
    assert_ne!(first.etag, second.etag, "a touch makes a new version");
    assert!(second.modified >= first.modified, "a touch goes back in time");
    assert_eq!(blobs.get(&blob, None).await.expect("the blob"), sent, "a touch changes bytes");
    refused(blobs.touch(&blob, &first.etag).await, ErrorKind::Conflict);
    assert_eq!(etag(blobs, &blob).await, second.etag, "a refused touch makes a new version");

    let touches = join_all((0..16).map(|_| blobs.touch(&blob, &second.etag))).await;
    let done = touches.iter().filter(|touch| touch.is_ok()).count();
    assert_eq!(done, 1, "so many touches of one version succeed: {touches:?}");
}

/// A deletion removes only the version of the given ETag, or any version if none is given.
pub async fn delete_honours_etag(blobs: &dyn BlobStore, container: &Container) {
    let blob = unique(container, "delete");
    let sent = put(blobs, &blob, 100).await;
    let old = etag(blobs, &blob).await;
    blobs.touch(&blob, &old).await.expect("a touch");
    refused(blobs.delete(&blob, Some(&old)).await, ErrorKind::Conflict);
    assert_eq!(blobs.get(&blob, None).await.expect("a blob that was not deleted"), sent);
    assert!(blobs.delete(&blob, Some(&etag(blobs, &blob).await)).await.expect("a deletion"), "there was one");
    assert!(!blobs.delete(&blob, None).await.expect("a deletion of nothing"), "there was none");
    refused(blobs.get(&blob, None).await, ErrorKind::NotFound);

    put(blobs, &blob, 50).await;
    assert!(blobs.delete(&blob, None).await.expect("a deletion without a condition"));
    assert!(list(blobs, container, &blob.name).await.is_empty(), "a deleted blob is listed");
}

/// A blob is copied to a new name if no blob of that name exists.
pub async fn put_blob_from_copies_blob(blobs: &dyn BlobStore, container: &Container) {
    let (from, to) = (unique(container, "from"), unique(container, "to"));
    let sent = put(blobs, &from, 50_000).await;
    let part = source(&from, &sent, 0..40_000);
    refused(blobs.put_blob_from(&to, &part).await, ErrorKind::Corrupt);
    let source = source(&from, &sent, 0..50_000);
    blobs.put_blob_from(&to, &source).await.expect("a copy");
    assert_eq!(blobs.get(&to, None).await.expect("the copy"), sent);
    refused(blobs.put_blob_from(&to, &source).await, ErrorKind::AlreadyExists);

    let raced = unique(container, "raced");
    only_winner(&join_all((0..12).map(|_| blobs.put_blob_from(&raced, &source))).await);
}

/// A source that is missing or has another checksum creates no blob.
pub async fn invalid_sources_write_nothing(blobs: &dyn BlobStore, container: &Container) {
    let (from, to) = (unique(container, "from"), unique(container, "to"));
    let sent = put(blobs, &from, 1_000).await;
    let mut corrupt = source(&from, &sent, 0..1_000);
    spoil(&mut corrupt);
    let missing = SourceRange { blob: unique(container, "missing"), range: 0..1_000, crc64: crc(&sent), md5: None };
    refused_as(blobs.put_blob_from(&to, &corrupt).await, ErrorKind::Corrupt, "source-corrupt");
    refused_as(blobs.put_blob_from(&to, &missing).await, ErrorKind::NotFound, "source-not-found");
    assert_eq!(blobs.properties(&to).await.expect("properties"), None, "a bad source became a blob");
}
