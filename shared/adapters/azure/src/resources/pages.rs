//! Writes to the content of a disk by a SAS. Such a blob supports no conditions. Source: azure-storage-azcopy,
//! `ste/sender-pageBlob.go`.

use std::ops::Range;

use async_trait::async_trait;
use azure_core::http::headers::{HeaderName, Headers};
use azure_storage_blob::models::{
    HttpRange, PageBlobClientUploadPagesFromUrlOptions, PageBlobClientUploadPagesOptions,
};
use bytes::Bytes;
use goldfleet_ports::disk_access::DiskSas;
use goldfleet_ports::disk_pages::{DiskPages, PageAnswer, PageSource};
use goldfleet_ports::error::PortResult;

use super::AzureResources;
use super::content::{WHAT, refusal};
use crate::blob_store::AzureBlobs;

const MD5: HeaderName = HeaderName::from_static("content-md5");
const CRC64: HeaderName = HeaderName::from_static("x-ms-content-crc64");

/// Writes to the contents of disks.
pub struct AzureDiskPages {
    resources: AzureResources,
    blobs: AzureBlobs,
}

impl AzureDiskPages {
    /// Writes with the connection of `resources`. Sources are blobs of `blobs`.
    #[must_use]
    pub fn new(resources: AzureResources, blobs: AzureBlobs) -> Self {
        Self { resources, blobs }
    }
}

fn answer(headers: &Headers) -> PageAnswer {
    let has = |name: &HeaderName| headers.get_optional_str(name).is_some();
    PageAnswer { md5: has(&MD5), crc64: has(&CRC64) }
}

#[async_trait]
impl DiskPages for AzureDiskPages {
    async fn write(&self, sas: &DiskSas, offset: u64, bytes: Bytes, crc64: Option<u64>) -> PortResult<PageAnswer> {
        let length = bytes.len() as u64;
        let options = PageBlobClientUploadPagesOptions {
            transactional_content_crc64: crc64.map(|crc64| crc64.to_le_bytes().to_vec()),
            ..PageBlobClientUploadPagesOptions::default()
        };
        let client = self.resources.content(sas)?.page_blob_client();
        let range = HttpRange::new(offset, length);
        let written = client.upload_pages(bytes.into(), length, range, Some(options)).await;
        written.map(|written| answer(written.headers())).map_err(|error| refusal(&error))
    }

    async fn write_from(
        &self,
        sas: &DiskSas,
        offset: u64,
        source: PageSource<'_>,
        range: Range<u64>,
        md5: Option<[u8; 16]>,
    ) -> PortResult<PageAnswer> {
        let url = match source {
            PageSource::Disk(sas) => sas.expose().to_owned(),
            PageSource::Blob(blob) => self.blobs.signed_url(blob).await?,
        };
        let options = PageBlobClientUploadPagesFromUrlOptions {
            source_content_md5: md5.map(|md5| md5.to_vec()),
            ..PageBlobClientUploadPagesFromUrlOptions::default()
        };
        let length = range.end - range.start;
        let (from, to) = (HttpRange::new(range.start, length), HttpRange::new(offset, length));
        let client = self.resources.content(sas)?.page_blob_client();
        let written = client.upload_pages_from_url(url, from, 0, to, Some(options)).await;
        // The message of the SDK could contain the URL of the source.
        written.map(|written| answer(written.headers())).map_err(|error| {
            let mut error = refusal(&error);
            error.message = format!("{WHAT}: the service did not write from the source");
            error.source = None;
            error
        })
    }
}
