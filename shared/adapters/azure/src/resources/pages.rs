//! Writes to the content of a disk by a SAS. Such a blob supports no conditions. Source: azure-storage-azcopy,
//! `ste/sender-pageBlob.go`.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use azure_storage_blob::models::{
    HttpRange, PageBlobClientUploadPagesFromUrlOptions, PageBlobClientUploadPagesOptions,
};
use bytes::Bytes;
use goldfleet_model::checksum::crc64;
use goldfleet_ports::blob_store::Checksums;
use goldfleet_ports::disk_access::DiskSas;
use goldfleet_ports::disk_content::{DiskContent as _, access_ended};
use goldfleet_ports::disk_pages::{DiskPages, PageAnswer, PageSource, check_write};
use goldfleet_ports::error::{PortError, PortResult};

use super::AzureResources;
use super::content::{WHAT, refusal};
use crate::blob_store::AzureBlobs;
use crate::blob_store::checksum::Written;
use crate::blob_store::source::source_error_of;
use crate::error::{port_error, source_error};

/// Writes to the contents of disks.
pub struct AzureDiskPages {
    resources: Arc<AzureResources>,
    blobs: Arc<AzureBlobs>,
}

impl AzureDiskPages {
    /// Writes with the connection of `resources`. Sources are blobs of `blobs`.
    #[must_use]
    pub fn new(resources: impl Into<Arc<AzureResources>>, blobs: impl Into<Arc<AzureBlobs>>) -> Self {
        Self { resources: resources.into(), blobs: blobs.into() }
    }
}

/// The error of a write from a source. The message of the SDK could contain the URL of the source.
///
/// The request itself has a SAS and no token, so `AuthenticationFailed` is about the disk unless the response has the
/// status of the source.
fn write_error(what: &str, error: &azure_core::Error) -> PortError {
    let plain = port_error(what, error);
    if plain.code == "authentication-failed" && source_error(what, error).is_none() {
        return PortError { request_id: plain.request_id, ..access_ended() };
    }
    let error = source_error_of(what, error);
    PortError { message: format!("{what}: the service did not write from the source"), source: None, ..error }
}

#[async_trait]
impl DiskPages for AzureDiskPages {
    async fn write(&self, sas: &DiskSas, offset: u64, bytes: Bytes, crc64: Option<u64>) -> PortResult<PageAnswer> {
        let length = bytes.len() as u64;
        check_write(offset, length)?;
        let options = PageBlobClientUploadPagesOptions {
            transactional_content_crc64: crc64.map(|crc64| crc64.to_le_bytes().to_vec()),
            ..PageBlobClientUploadPagesOptions::default()
        };
        let client = self.resources.content(sas)?.page_blob_client();
        let range = HttpRange::new(offset, length);
        let written = client.upload_pages(bytes.into(), length, range, Some(options)).await;
        written.map(|written| Written::of(written.headers()).page_answer()).map_err(|error| refusal(&error))
    }

    /// The request carries only the MD5 of `checksums`: Azure does not verify a CRC-64 here, and rejects both together.
    async fn write_from(
        &self,
        sas: &DiskSas,
        offset: u64,
        source: &PageSource,
        range: Range<u64>,
        checksums: Option<Checksums>,
    ) -> PortResult<PageAnswer> {
        let length = range.end.saturating_sub(range.start);
        check_write(offset, length)?;
        let client = self.resources.content(sas)?.page_blob_client();
        let send = async |url: String| {
            let options = PageBlobClientUploadPagesFromUrlOptions {
                source_content_md5: checksums.and_then(|sums| sums.md5).map(|md5| md5.as_bytes().to_vec()),
                ..PageBlobClientUploadPagesFromUrlOptions::default()
            };
            let (from, to) = (HttpRange::new(range.start, length), HttpRange::new(offset, length));
            client.upload_pages_from_url(url, from, 0, to, Some(options)).await
        };
        let written = match source {
            PageSource::Disk(sas) => send(sas.expose().to_owned()).await.map_err(|error| write_error(WHAT, &error))?,
            PageSource::Blob(blob) => {
                let what = format!("{WHAT} from {blob}");
                self.blobs.with_signed_source(blob, &send, |error| write_error(&what, error)).await?
            }
        };
        Ok(Written::of(written.headers()).page_answer())
    }

    async fn holds(&self, sas: &DiskSas, range: Range<u64>, checksums: Checksums) -> PortResult<bool> {
        Ok(crc64(&self.resources.read(sas, range).await?) == checksums.crc64)
    }
}
