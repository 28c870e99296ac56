//! Reading the content of disks and snapshots: a page blob in an account of the platform, by the URL of
//! `beginGetAccess`.
//!
//! Requests carry no token and no condition. Such blobs support neither: only reads, page writes and page ranges.
//! Source: azure-storage-azcopy, `ste/sender-pageBlob.go`.

use std::num::NonZero;
use std::ops::Range;

use async_trait::async_trait;
use azure_core::http::Url;
use azure_core::http::headers::HeaderName;
use azure_storage_blob::models::{BlobClientDownloadOptions, HttpRange, PageList};
use azure_storage_blob::{BlobClient, BlobClientOptions};
use bytes::Bytes;
use futures::TryStreamExt as _;
use goldfleet_ports::disk_access::DiskSas;
use goldfleet_ports::disk_content::{ContentLayout, DiskContent, access_ended, check_read};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use super::AzureResources;
use crate::error::{incomplete, port_error};

/// The name of the content in messages. Its URL contains the signature.
pub(super) const WHAT: &str = "the content of a disk or snapshot";

/// The length of a blob. Source: Azure, Get Page Ranges.
const BLOB_LENGTH: HeaderName = HeaderName::from_static("x-ms-blob-content-length");

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
