//! Writes from URL, and checksums.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use goldfleet_model::checksum::crc64;
use goldfleet_tests::azure::proxy::crc64_header;
use md5::{Digest as _, Md5};
use reqwest::Method;

use crate::proxy::fixture::{ProxyFixture, pattern, zero};

const MIB: u64 = 1 << 20;

fn crc(bytes: &[u8]) -> String {
    crc64_header(crc64(bytes))
}

fn md5(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Md5::digest(bytes))
}

#[test]
fn crc64_matches_catalogue_in_little_endian() {
    // CRC-64/NVME's check value: https://reveng.sourceforge.io/crc-catalogue/17plus.htm
    assert_eq!(crc(b"123456789"), BASE64_STANDARD.encode(0xae8b_1486_0a79_9888_u64.to_le_bytes()));
}

#[tokio::test]
async fn put_blob_from_url_copies_content_type_and_checksum_once() {
    let fixture = ProxyFixture::new().await;
    let (bytes, source, blob) = (pattern(3_000_001, 1), fixture.source("a"), fixture.blob("b"));
    fixture.make(&source, bytes.clone()).await;
    let put = || fixture.put_from(&blob, &source).header("if-none-match", "*").header("x-ms-meta-job", "7");
    let reply = fixture.send(put()).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-ms-content-crc64")), (201, &*crc(&bytes)), "{reply:?}");
    assert!(!reply.header("etag").is_empty());
    let read = fixture.get(&blob).await;
    assert_eq!(read.body, bytes);
    assert_eq!((read.header("content-type"), read.header("x-ms-meta-job")), ("application/x-vhd", "7"));
    let reply = fixture.send(put()).await;
    assert_eq!(reply.error(), (409, "BlobAlreadyExists"));
    assert_eq!(reply.header("x-ms-content-crc64"), "");
}

#[tokio::test]
async fn put_blob_from_url_with_wrong_md5_is_rejected() {
    let fixture = ProxyFixture::new().await;
    let (source, blob) = (fixture.source("a"), fixture.blob("b"));
    fixture.make(&source, "here").await;
    let put = |md5: String| fixture.put_from(&blob, &source).header("x-ms-source-content-md5", md5);
    assert_eq!(fixture.send(put(md5(b"there"))).await.error(), (400, "Md5Mismatch"));
    assert_eq!(fixture.get(&blob).await.status, 404);
    let ranged = fixture.put_from(&blob, &source).header("x-ms-source-range", "bytes=0-1");
    assert_eq!(fixture.send(ranged).await.error(), (400, "UnsupportedHeader"));
    assert_eq!(fixture.send(put(md5(b"here"))).await.status, 201);
    assert_eq!(fixture.get(&blob).await.body, "here");
}

#[tokio::test]
async fn unreadable_source_returns_its_status() {
    let fixture = ProxyFixture::new().await;
    let (source, blob) = (fixture.source("a"), fixture.blob("b"));
    let reply = fixture.send(fixture.put_from(&blob, &source).header("x-ms-client-request-id", "me")).await;
    assert_eq!(reply.error(), (404, "CannotVerifyCopySource"));
    let xml = String::from_utf8(reply.body.to_vec()).unwrap();
    let begin = "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>CannotVerifyCopySource</Code><Message>";
    assert!(xml.starts_with(begin) && xml.ends_with("</Message></Error>"), "{xml}");
    assert_eq!((reply.header("x-ms-version"), reply.header("x-ms-client-request-id")), ("2024-11-04", "me"));
    assert_eq!(reply.header("x-ms-request-id").len(), 36);
    fixture.make(&source, pattern(512, 1)).await;
    fixture.make_pages(&blob, 512).await;
    let unknown = fixture.request(Method::PUT, &format!("{blob}?comp=page")).header("x-ms-page-write", "update");
    let unknown = unknown.header("x-ms-range", "bytes=0-511").header("x-ms-source-range", "bytes=0-511");
    let unknown = unknown.header("x-ms-copy-source", &source).header("content-length", 0);
    let reply = fixture.send(unknown.header("x-ms-copy-source-authorization", "Bearer bad")).await;
    assert!([401, 403].contains(&reply.status.as_u16()), "{reply:?}");
    assert_eq!(reply.header("x-ms-error-code"), "CannotVerifyCopySource");
}

#[tokio::test]
async fn put_page_from_url_writes_correct_range() {
    let fixture = ProxyFixture::new().await;
    let (bytes, source, blob) = (pattern(5 << 20, 1), fixture.source("a"), fixture.blob("b"));
    fixture.make(&source, bytes.clone()).await;
    let etag = fixture.make_pages(&blob, 8 * MIB).await;
    let part = &bytes[512..512 + (4 << 20)];
    let put = || fixture.put_page_from(&blob, (MIB, 4 * MIB), &source, (512, 4 * MIB));
    let request = put().header("x-ms-source-content-crc64", crc(part)).header("if-match", etag);
    let reply = fixture.send(request).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-md5")), (201, &*md5(part)), "{reply:?}");
    assert_eq!(reply.header("x-ms-content-crc64"), "", "{reply:?}");
    let read = fixture.get(&blob).await.body;
    assert_eq!(read[1 << 20..5 << 20], *part);
    assert!(zero(&read[..1 << 20]) && zero(&read[5 << 20..]));
    assert_eq!(fixture.send(put().header("if-match", "\"0x1\"")).await.error(), (412, "ConditionNotMet"));
    // As the SDK does it.
    let request = fixture.request(Method::PUT, &format!("{blob}?comp=page")).header("x-ms-page-write", "update");
    let request = request.header("range", "bytes=0-511").header("x-ms-source-range", "bytes=1024-1535");
    let request = request.header("x-ms-source-content-md5", md5(&bytes[1024..1536])).header("content-length", 0);
    let request = request.header("x-ms-copy-source", &source);
    let reply = fixture.send(request.header("x-ms-copy-source-authorization", fixture.bearer())).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(fixture.get(&blob).await.body[..512], bytes[1024..1536]);
}

#[tokio::test]
async fn put_page_from_url_errors_match_azure() {
    let fixture = ProxyFixture::new().await;
    let (source, blob) = (fixture.source("a"), fixture.blob("b"));
    fixture.make(&source, pattern(6 << 20, 1)).await;
    fixture.make_pages(&blob, 8 * MIB).await;
    let put = |to, from| fixture.put_page_from(&blob, to, &source, from);
    let invalid = (400, "InvalidPageRange");
    let cases = [
        (put((0, 512), (0, 512)).header("x-ms-source-content-crc64", crc(b"other")), (400, "Crc64Mismatch")),
        (put((0, 512), (0, 512)).header("x-ms-source-content-md5", md5(b"other")), (400, "Md5Mismatch")),
        (put((0, 512), (0, 512)).header("x-ms-source-content-crc64", "AAAA"), (400, "InvalidHeaderValue")),
        (
            put((0, 512), (0, 512))
                .header("x-ms-source-content-crc64", crc(b"other"))
                .header("x-ms-source-content-md5", md5(b"other")),
            (400, "BothCrc64AndMd5HeaderPresent"),
        ),
        (put((1, 512), (0, 512)), invalid),
        (put((0, 512), (1, 512)), invalid),
        (put((0, 511), (0, 511)), invalid),
        (put((0, 512), (0, 1024)), invalid),
        (put((0, 4 * MIB + 512), (0, 4 * MIB + 512)), (413, "RequestBodyTooLarge")),
        (put((0, 1024), (6 * MIB - 512, 1024)), (416, "InvalidRange")),
    ];
    for (n, (request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(fixture.send(request).await.error(), expected, "case {n}");
    }
    assert!(zero(&fixture.get(&blob).await.body));
}

#[tokio::test]
async fn put_page_from_url_honours_sequence_number() {
    let fixture = ProxyFixture::new().await;
    let (source, blob) = (fixture.source("a"), fixture.blob("b"));
    fixture.make(&source, pattern(512, 1)).await;
    let request = fixture.request(Method::PUT, &blob).header("x-ms-blob-type", "PageBlob").header("content-length", 0);
    let request = request.header("x-ms-blob-content-length", 512).header("x-ms-blob-sequence-number", 5);
    assert_eq!(fixture.send(request).await.status, 201);
    let put =
        |n: u64| fixture.put_page_from(&blob, (0, 512), &source, (0, 512)).header("x-ms-if-sequence-number-le", n);
    assert_eq!(fixture.send(put(4)).await.error(), (412, "SequenceNumberConditionNotMet"));
    assert_eq!(fixture.send(put(5)).await.status, 201);
}

#[tokio::test]
async fn put_block_from_url_has_range_and_checksum() {
    let fixture = ProxyFixture::new().await;
    let (bytes, source) = (pattern(2000, 1), fixture.source("a"));
    fixture.make(&source, bytes.clone()).await;
    let url = format!("{}?comp=block&blockid=MDAw", fixture.blob("b"));
    let put = |crc: String| {
        let request =
            fixture.request(Method::PUT, &url).header("content-length", 0).header("x-ms-copy-source", &source);
        let request = request.header("x-ms-copy-source-authorization", fixture.bearer());
        request.header("x-ms-source-range", "bytes=7-1006").header("x-ms-source-content-crc64", crc)
    };
    assert_eq!(fixture.send(put(crc(b"other"))).await.error(), (400, "Crc64Mismatch"));
    let reply = fixture.send(put(crc(&bytes[7..1007]))).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-ms-content-crc64")), (201, &*crc(&bytes[7..1007])));
}

#[tokio::test]
async fn client_writes_are_verified_and_checksummed() {
    let fixture = ProxyFixture::new().await;
    let bytes: Bytes = pattern(4 << 20, 1);
    let (block, blob, pages) =
        (format!("{}?comp=block&blockid=MDAw", fixture.blob("b")), fixture.blob("a"), fixture.blob("p"));
    fixture.make_pages(&pages, 8 * MIB).await;
    let writes = || {
        [
            fixture.put(&blob, bytes.clone()),
            fixture.request(Method::PUT, &block).body(bytes.clone()),
            fixture.put_page(&pages, MIB, bytes.clone()),
        ]
    };
    for write in writes() {
        let reply = fixture.send(write.header("x-ms-content-crc64", crc(b"other"))).await;
        assert_eq!(reply.error(), (400, "Crc64Mismatch"));
    }
    assert_eq!(fixture.get(&blob).await.status, 404);
    let both = writes().map(|write| write.header("x-ms-content-crc64", crc(&bytes)));
    for write in both.into_iter().chain(writes()) {
        let reply = fixture.send(write).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-ms-content-crc64")), (201, &*crc(&bytes)), "{reply:?}");
    }
    assert_eq!(fixture.get(&blob).await.body, bytes);
    assert_eq!(fixture.get(&pages).await.body[1 << 20..5 << 20], bytes);
    if let Some(stand_in) = &fixture.stand_in {
        assert!(stand_in.seen().iter().all(|head| !head.headers.contains_key("x-ms-content-crc64")));
    }
    let both = fixture.put(&blob, "x").header("x-ms-content-crc64", crc(b"x")).header("content-md5", md5(b"x"));
    assert_eq!(fixture.send(both).await.error(), (400, "BothCrc64AndMd5HeaderPresent"));
}

#[tokio::test]
async fn page_write_over_4_mib_is_rejected() {
    let fixture = ProxyFixture::new().await;
    let pages = fixture.blob("p");
    fixture.make_pages(&pages, 8 * MIB).await;
    let reply = fixture.send(fixture.put_page(&pages, 0, pattern((4 << 20) + 512, 1))).await;
    assert_eq!(reply.error(), (413, "RequestBodyTooLarge"));
    assert!(zero(&fixture.get(&pages).await.body));
}
