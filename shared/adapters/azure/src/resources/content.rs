//! Reading the content of disks and snapshots: a page blob in an account of the platform, by the URL of
//! `beginGetAccess`.
//!
//! Requests carry no token and no condition. Such blobs support neither: only reads, page writes and page ranges.
//! Source: azure-storage-azcopy, `ste/sender-pageBlob.go`.

use std::num::NonZero;
use std::ops::Range;

use async_trait::async_trait;
use azure_core::http::headers::HeaderName;
use azure_core::http::pager::PagerOptions;
use azure_core::http::{Context, Url};
use azure_core::xml;
use azure_storage_blob::models::{BlobClientDownloadOptions, HttpRange, PageBlobClientListPageRangesOptions, PageList};
use azure_storage_blob::{BlobClient, BlobClientOptions};
use bytes::Bytes;
use futures::TryStreamExt as _;
use goldfleet_ports::disk_access::DiskSas;
use goldfleet_ports::disk_content::{
    ContentLayout, DiskContent, access_ended, check_ranges, check_read, no_difference,
};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use serde::Deserialize;

use super::AzureResources;
use crate::error::{incomplete, port_error};
use crate::policies::ExtraHeaders;

/// The name of the content in messages. Its URL contains the signature.
pub(super) const WHAT: &str = "the content of a disk or snapshot";

/// The length of a blob. Source: Azure, Get Page Ranges.
const BLOB_LENGTH: HeaderName = HeaderName::from_static("x-ms-blob-content-length");

/// The SAS of the earlier snapshot of a managed disk. Source: Azure, Get Page Ranges, version 2019-07-07.
const PREVIOUS_SNAPSHOT: &str = "x-ms-previous-snapshot-url";

/// A list of ranges that differ. The elements of both kinds alternate in the order of their offsets, which the type of
/// the SDK does not accept.
#[derive(Deserialize)]
struct Difference {
    #[serde(rename = "$value", default)]
    elements: Vec<Element>,
}

#[derive(Deserialize)]
enum Element {
    PageRange(Bounds),
    ClearRange(Bounds),
    #[serde(other)]
    Other,
}

/// The first and the last byte.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Bounds {
    start: u64,
    end: u64,
}

/// The ranges of a response with data or with cleared pages.
fn parse_difference(body: &[u8]) -> PortResult<Vec<Range<u64>>> {
    let list: Difference = xml::from_xml(body).map_err(|error| refusal(&error))?;
    let ranges = list.elements.into_iter().filter_map(|element| match element {
        Element::PageRange(Bounds { start, end }) | Element::ClearRange(Bounds { start, end }) => {
            Some(start..end.saturating_add(1))
        }
        Element::Other => None,
    });
    Ok(ranges.collect())
}

/// Source: Azure Storage, blob service error codes: `PreviousSnapshotNotFound`, `PreviousSnapshotCannotBeNewer`,
/// `PreviousSnapshotOperationNotSupported`.
fn difference_refusal(error: &azure_core::Error) -> PortError {
    let error = refusal(error);
    if !error.code.starts_with("previous-snapshot") {
        return error;
    }
    PortError { request_id: error.request_id.clone(), ..no_difference(WHAT, &error.code) }.with_source(error)
}

#[async_trait]
impl DiskContent for AzureResources {
    async fn layout(&self, sas: &DiskSas) -> PortResult<ContentLayout> {
        let failed = |error: azure_core::Error| refusal(&error);
        let mut pages = self.content(sas)?.page_blob_client().list_page_ranges(None).map_err(failed)?;
        let (mut length, mut data) = (None, Vec::new());
        // Each page has at most 10,000 ranges. Source: Azure, Get Page Ranges.
        while let Some(page) = pages.try_next().await.map_err(failed)? {
            length = page.headers().get_optional_str(&BLOB_LENGTH).and_then(|length| length.parse::<u64>().ok());
            let list: PageList = page.into_model().map_err(failed)?;
            for range in list.page_ranges {
                let bounds = (range.start.map(u64::try_from), range.end.map(u64::try_from));
                let (Some(Ok(start)), Some(Ok(last))) = bounds else {
                    return Err(incomplete(WHAT, "bounds of a range"));
                };
                data.push(start..last.saturating_add(1));
            }
        }
        ContentLayout::checked(WHAT, length.ok_or_else(|| incomplete(WHAT, "length"))?, data)
    }

    async fn changes_since(&self, sas: &DiskSas, earlier: &DiskSas) -> PortResult<Vec<Range<u64>>> {
        let headers = ExtraHeaders(vec![(PREVIOUS_SNAPSHOT, earlier.expose().to_owned())]);
        let options = PageBlobClientListPageRangesOptions {
            method_options: PagerOptions { context: Context::new().with_value(headers), ..PagerOptions::default() },
            ..PageBlobClientListPageRangesOptions::default()
        };
        let failed = |error: azure_core::Error| difference_refusal(&error);
        let mut pages = self.content(sas)?.page_blob_client().list_page_ranges(Some(options)).map_err(failed)?;
        let (mut length, mut changes) = (None, Vec::new());
        while let Some(page) = pages.try_next().await.map_err(failed)? {
            length = page.headers().get_optional_str(&BLOB_LENGTH).and_then(|length| length.parse::<u64>().ok());
            changes.extend(parse_difference(&page.into_body())?);
        }
        check_ranges(WHAT, length.ok_or_else(|| incomplete(WHAT, "length"))?, &changes)?;
        Ok(changes)
    }

    async fn read(&self, sas: &DiskSas, range: Range<u64>) -> PortResult<Bytes> {
        check_read(&range)?;
        let length = range.end - range.start;
        let options = BlobClientDownloadOptions {
            range: Some(HttpRange::new(range.start, length)),
            // One request. A second one would carry the ETag of the first as a condition.
            partition_size: usize::try_from(length).ok().and_then(NonZero::new),
            ..BlobClientDownloadOptions::default()
        };
        let body = self.content(sas)?.download(Some(options)).await.map_err(|error| refusal(&error))?.body;
        let body = body.collect().await.map_err(|error| refusal(&error))?;
        if body.len() as u64 == length {
            return Ok(body);
        }
        let message = format!("{WHAT}: {} of {length} bytes from {} arrived", body.len(), range.start);
        Err(PortError::new(ErrorKind::Invalid, message))
    }
}

impl AzureResources {
    pub(super) fn content(&self, sas: &DiskSas) -> PortResult<BlobClient> {
        let unusable = |why: &str| PortError::new(ErrorKind::Invalid, format!("{WHAT}: its URL is {why}"));
        // The error of the parser could contain a part of the URL.
        let url = Url::parse(sas.expose()).map_err(|_| unusable("not valid"))?;
        if url.scheme() != "https" {
            return Err(unusable("not an https one"));
        }
        let options = BlobClientOptions { client_options: self.arm.signed_options(), ..BlobClientOptions::default() };
        BlobClient::new(url, None, Some(options)).map_err(|error| refusal(&error))
    }
}

/// The error of a read. A SAS that has expired and one that was ended are refused with 403. Source: Azure Storage,
/// status and error codes: `AuthenticationFailed`.
pub(super) fn refusal(error: &azure_core::Error) -> PortError {
    let error = port_error(WHAT, error);
    match error.kind {
        ErrorKind::Denied => PortError { request_id: error.request_id.clone(), ..access_ended() }.with_source(error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternating_ranges_are_read_in_order() {
        let range =
            |kind: &str, start: u64, end: u64| format!("<{kind}><Start>{start}</Start><End>{end}</End></{kind}>");
        let (one, two, three) =
            (range("PageRange", 0, 511), range("ClearRange", 512, 1023), range("PageRange", 4096, 8191));
        let list = |text: &str| format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList>{text}</PageList>");
        let read = |text: &str| parse_difference(list(text).as_bytes()).unwrap();
        assert_eq!(read(&format!("{one}{two}{three}<NextMarker/>")), [0..512, 512..1024, 4096..8192]);
        assert_eq!(read(&format!("{one}<NextMarker>x</NextMarker>")), std::slice::from_ref(&(0..512)));
        assert_eq!(read(""), []);
        assert!(parse_difference(list("<PageRange><Start>1</Start></PageRange>").as_bytes()).is_err());
    }
}
