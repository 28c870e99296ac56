//! Blob Storage.

pub(super) mod checksum;
mod copy;
mod pages;
mod sas;
pub(super) mod source;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use azure_core::http::headers::HeaderName;
use azure_core::http::{ClientMethodOptions, Context, Etag, Url};
use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders as _,
    BlobClientSetPropertiesOptions, BlobContainerClientListBlobsOptions, BlobItem,
    BlockBlobClientUploadBlobFromUrlOptions, BlockBlobClientUploadOptions, HttpRange,
};
use azure_storage_blob::{BlobClient, BlobContainerClient, BlobServiceClient, BlobServiceClientOptions};
use bytes::Bytes;
use futures::TryStreamExt as _;
use goldfleet_azure_settings::AzureCloud;
use goldfleet_model::checksum::Crc64;
use goldfleet_model::ids::AccountName;
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::ETag;
use goldfleet_ports::blob_store::{
    BlobPage, BlobProperties, BlobStore, Checksums, CopyStatus, Fence, ListedBlob, SourceRange, check_clear,
    check_pages, check_pages_from,
};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};
use jiff::Timestamp;

use super::connection::{Connection, STORAGE_SCOPE};
use super::error::{incomplete, port_error};
use super::policies::ExtraHeaders;
use checksum::{Proof, Written};
pub use sas::SasTimes;
use sas::SasTokens;
use source::source_error;

/// The content type of chunks, manifests and VHDs.
const CONTENT_TYPE: &str = "application/octet-stream";

/// Blobs in the storage accounts of the configured endpoints.
pub struct AzureBlobs {
    connection: Connection,
    cloud: AzureCloud,
    services: Mutex<HashMap<AccountName, Arc<BlobServiceClient>>>,
    containers: Mutex<HashMap<Container, Arc<BlobContainerClient>>>,
    sas: SasTokens,
}

impl AzureBlobs {
    /// Opens the blobs of the accounts at the endpoints of `cloud`.
    #[must_use]
    pub fn new(connection: &Connection, cloud: &AzureCloud) -> Self {
        Self {
            connection: connection.clone(),
            cloud: cloud.clone(),
            services: Mutex::default(),
            containers: Mutex::default(),
            sas: SasTokens::default(),
        }
    }

    /// Returns the same store with other lifetimes for the SAS tokens of sources.
    #[must_use]
    pub fn with_sas_times(self, times: SasTimes) -> Self {
        Self { sas: SasTokens::new(times), ..self }
    }

    /// The Blob service endpoint of an account.
    pub(super) fn endpoint(&self, account: &AccountName) -> String {
        self.cloud.blobs_of(account)
    }

    fn service(&self, account: &AccountName) -> PortResult<Arc<BlobServiceClient>> {
        // Only a bug can cause a panic while this lock or the next is held. Even then the maps are consistent.
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = services.get(account) {
            return Ok(Arc::clone(service));
        }
        let endpoint = self.endpoint(account);
        let url = Url::parse(&endpoint)
            .map_err(|error| PortError::new(ErrorKind::Invalid, format!("blob endpoint {endpoint:?}: {error}")))?;
        let options = BlobServiceClientOptions {
            client_options: self.connection.options(STORAGE_SCOPE),
            ..BlobServiceClientOptions::default()
        };
        let service = BlobServiceClient::new(url, None, Some(options)).map_err(|error| port_error(account, &error))?;
        let service = Arc::new(service);
        services.insert(account.clone(), Arc::clone(&service));
        Ok(service)
    }

    fn container(&self, container: &Container) -> PortResult<Arc<BlobContainerClient>> {
        if let Some(client) = self.containers.lock().unwrap_or_else(PoisonError::into_inner).get(container) {
            return Ok(Arc::clone(client));
        }
        let client = self.service(&container.account)?.blob_container_client(container.container.as_str());
        let client = Arc::new(client);
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        containers.insert(container.clone(), Arc::clone(&client));
        Ok(client)
    }

    fn blob(&self, blob: &BlobAddress) -> PortResult<BlobClient> {
        Ok(self.container(&blob.container)?.blob_client(&blob.name))
    }

    /// Whether the service wrote the expected pages. Uses the checksum in the response, or reads the pages back if it
    /// has none.
    async fn are_right_pages(&self, written: &Written, range: &SourceRange) -> PortResult<bool> {
        match written.proves(range.checksums()) {
            Proof::Right => Ok(true),
            Proof::Wrong => Ok(false),
            Proof::None => self.holds(range).await,
        }
    }

    /// The same check for a block blob, which must consist of exactly this range.
    async fn is_right_blob(&self, written: &Written, whole: &SourceRange) -> PortResult<bool> {
        match written.proves(whole.checksums()) {
            Proof::Right => Ok(true),
            Proof::Wrong => Ok(false),
            Proof::None => Ok(self.read_back(&whole.blob, None).await? == (whole.range.end, whole.crc64)),
        }
    }

    /// The length and CRC-64 of a blob or of a range of it. The bytes are not kept, because a worker may read back as
    /// many ranges at once as it has requests in flight.
    async fn read_back(&self, blob: &BlobAddress, range: Option<Range<u64>>) -> PortResult<(u64, u64)> {
        let failed = |error: azure_core::Error| port_error(blob, &error);
        let options =
            BlobClientDownloadOptions { range: range.map(http_range), ..BlobClientDownloadOptions::default() };
        let mut body = self.blob(blob)?.download(Some(options)).await.map_err(failed)?.body;
        let (mut length, mut crc64) = (0, Crc64::default());
        while let Some(part) = body.try_next().await.map_err(failed)? {
            length += part.len() as u64;
            crc64.update(&part);
        }
        Ok((length, crc64.finish()))
    }

    /// Deletes a block blob that was written with wrong bytes, but only in the version that was written.
    async fn delete_wrong_copy(&self, blob: &BlobAddress, etag: Option<Etag>) -> PortResult<()> {
        let options = BlobClientDeleteOptions { if_match: etag, ..BlobClientDeleteOptions::default() };
        let deleted = self.blob(blob)?.delete(Some(options)).await;
        deleted.map(drop).map_err(|error| port_error(format!("{blob}, which is corrupt,"), &error))
    }
}

#[async_trait]
impl BlobStore for AzureBlobs {
    async fn ensure_container(&self, container: &Container) -> PortResult<()> {
        // A container that is created without a level of public access is private.
        match self.container(container)?.create(None).await {
            Ok(_) => Ok(()),
            Err(error) => match port_error(container, &error) {
                error if error.kind == ErrorKind::AlreadyExists => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn put_blob(&self, blob: &BlobAddress, body: Bytes, checksums: Checksums) -> PortResult<()> {
        let checksum = checksum::header(self.cloud.checksum(), blob, &body, checksums).await?;
        let Checksums { crc64, md5 } = checksums;
        let sent = SourceRange { blob: blob.clone(), range: 0..body.len() as u64, crc64, md5 };
        let options = BlockBlobClientUploadOptions {
            blob_content_type: Some(CONTENT_TYPE.to_owned()),
            method_options: extra_headers(vec![checksum]),
            // One Put Blob for any size, because the checksum covers the whole body.
            partition_size: NonZero::new(body.len().max(1) as u64),
            ..BlockBlobClientUploadOptions::default()
        }
        .if_not_exists();
        let upload = self.blob(blob)?.block_blob_client().upload(body.into(), Some(options)).await;
        let answer = upload.map_err(|error| port_error(blob, &error))?;
        if self.is_right_blob(&Written::of(answer.raw_response.headers()), &sent).await? {
            return Ok(());
        }
        self.delete_wrong_copy(blob, answer.etag).await?;
        Err(PortError::new(ErrorKind::Corrupt, format!("{blob}: the service wrote other bytes than were sent")))
    }

    async fn put_blob_from(&self, blob: &BlobAddress, source: &SourceRange) -> PortResult<()> {
        if source.range.start != 0 {
            let message = format!("{blob}: a blob is made from the whole of {}, not from a part of it", source.blob);
            return Err(PortError::new(ErrorKind::Invalid, message));
        }
        let options = BlockBlobClientUploadBlobFromUrlOptions {
            blob_content_type: Some(CONTENT_TYPE.to_owned()),
            if_none_match: Some("*".into()),
            ..BlockBlobClientUploadBlobFromUrlOptions::default()
        };
        let client = self.blob(blob)?.block_blob_client();
        let send = |url| client.upload_blob_from_url(url, Some(options.clone()));
        let response = self.with_signed_source(&source.blob, send, |error| source_error(blob, source, error)).await?;
        // The request cannot carry a CRC-64. Without an MD5 in the request, the response contains the CRC-64 of the
        // written bytes (recorded live by Microsoft's SDK for .NET). It is not known whether the response still has it
        // if the request has an MD5, so no MD5 is sent.
        let written = SourceRange { blob: blob.clone(), ..source.clone() };
        if self.is_right_blob(&Written::of(response.headers()), &written).await? {
            return Ok(());
        }
        let etag = response.headers().get_optional_str(&HeaderName::from_static("etag")).map(Etag::from);
        self.delete_wrong_copy(blob, etag).await?;
        Err(damaged_source(blob, source))
    }

    async fn get(&self, blob: &BlobAddress, range: Option<Range<u64>>) -> PortResult<Bytes> {
        let failed = |error: azure_core::Error| port_error(blob, &error);
        let options =
            BlobClientDownloadOptions { range: range.clone().map(http_range), ..BlobClientDownloadOptions::default() };
        let body = self.blob(blob)?.download(Some(options)).await.map_err(failed)?.body;
        let body = body.collect().await.map_err(failed)?;
        match range {
            Some(range) if body.len() as u64 != range.end - range.start => Err(outside(blob, &range)),
            _ => Ok(body),
        }
    }

    async fn holds(&self, range: &SourceRange) -> PortResult<bool> {
        let (length, crc64) = self.read_back(&range.blob, Some(range.range.clone())).await?;
        if length == range.range.end - range.range.start {
            Ok(crc64 == range.crc64)
        } else {
            Err(outside(&range.blob, &range.range))
        }
    }

    async fn properties(&self, blob: &BlobAddress) -> PortResult<Option<BlobProperties>> {
        let failed = |error: azure_core::Error| port_error(blob, &error);
        let response = match self.blob(blob)?.get_properties(None).await.map_err(failed) {
            Ok(response) => response,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let etag = response.etag().map_err(failed)?;
        let modified = response.last_modified().map_err(failed)?;
        let metadata = response.metadata().map_err(failed)?;
        Ok(Some(BlobProperties {
            length: response.content_length().map_err(failed)?.ok_or_else(|| incomplete(blob, "length"))?,
            etag: ETag(etag.ok_or_else(|| incomplete(blob, "ETag"))?.to_string()),
            modified: timestamp(modified).ok_or_else(|| incomplete(blob, "time of its last change"))?,
            metadata: metadata.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect(),
        }))
    }

    async fn list(&self, container: &Container, prefix: &str, marker: Option<&str>) -> PortResult<BlobPage> {
        let failed = |error: azure_core::Error| port_error(container, &error);
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(prefix.to_owned()),
            marker: marker.map(str::to_owned),
            ..BlobContainerClientListBlobsOptions::default()
        };
        let mut pages = self.container(container)?.list_blobs(Some(options)).map_err(failed)?.into_pages();
        let page = match pages.try_next().await.map_err(failed) {
            Ok(Some(page)) => page.into_model().map_err(failed)?,
            Ok(None) => return Ok(BlobPage::default()),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(BlobPage::default()),
            Err(error) => return Err(error),
        };
        let blobs = page
            .blob_items
            .into_iter()
            .map(|item| listed(item).ok_or_else(|| incomplete(container, "name, length, ETag or time of a blob")));
        Ok(BlobPage {
            blobs: blobs.collect::<PortResult<_>>()?,
            next: page.next_marker.filter(|marker| !marker.is_empty()),
        })
    }

    async fn touch(&self, blob: &BlobAddress, if_match: &ETag) -> PortResult<()> {
        // Setting a property to its current value creates a new version and leaves the metadata unchanged.
        let options = BlobClientSetPropertiesOptions {
            blob_content_type: Some(CONTENT_TYPE.to_owned()),
            if_match: Some(Etag::from(if_match.0.as_str())),
            ..BlobClientSetPropertiesOptions::default()
        };
        let set = self.blob(blob)?.set_properties(Some(options)).await;
        set.map(drop).map_err(|error| port_error(blob, &error))
    }

    async fn delete(&self, blob: &BlobAddress, if_match: Option<&ETag>) -> PortResult<bool> {
        let options = BlobClientDeleteOptions {
            if_match: if_match.map(|etag| Etag::from(etag.0.as_str())),
            ..BlobClientDeleteOptions::default()
        };
        match self.blob(blob)?.delete(Some(options)).await {
            Ok(_) => Ok(true),
            Err(error) => match port_error(blob, &error) {
                error if error.kind == ErrorKind::NotFound => Ok(false),
                error => Err(error),
            },
        }
    }

    async fn create_page_blob(
        &self,
        blob: &BlobAddress,
        length: u64,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<()> {
        self.page(blob)?.create(length, metadata).await
    }

    async fn take_fence(&self, blob: &BlobAddress) -> PortResult<Fence> {
        self.page(blob)?.take_fence().await
    }

    async fn put_pages(
        &self,
        blob: &BlobAddress,
        fence: Fence,
        offset: u64,
        body: Bytes,
        crc64: u64,
    ) -> PortResult<()> {
        check_pages(blob, offset, body.len() as u64)?;
        let range = offset..offset + body.len() as u64;
        let written = SourceRange { blob: blob.clone(), range, crc64, md5: None };
        let answer = self.page(blob)?.put(fence, offset, body, crc64).await?;
        if self.are_right_pages(&answer, &written).await? {
            return Ok(());
        }
        Err(PortError::new(ErrorKind::Corrupt, format!("{blob}: the service wrote other pages than were sent")))
    }

    async fn put_pages_from(
        &self,
        blob: &BlobAddress,
        fence: Fence,
        offset: u64,
        source: &SourceRange,
    ) -> PortResult<()> {
        check_pages_from(blob, offset, source)?;
        let page = self.page(blob)?;
        let send = |url| page.put_from(fence, offset, source, url);
        let answer = self.with_signed_source(&source.blob, send, |error| source_error(blob, source, error)).await?;
        let range = offset..offset + (source.range.end - source.range.start);
        let written = SourceRange { blob: blob.clone(), range, ..source.clone() };
        if self.are_right_pages(&answer, &written).await? { Ok(()) } else { Err(damaged_source(blob, source)) }
    }

    async fn clear_pages(&self, blob: &BlobAddress, fence: Fence, range: Range<u64>) -> PortResult<()> {
        check_clear(blob, &range)?;
        self.page(blob)?.clear(fence, range).await
    }

    async fn start_copy(
        &self,
        blob: &BlobAddress,
        source: &BlobAddress,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<CopyStatus> {
        let client = self.blob(blob)?;
        let send = |url| copy::start(&client, url, metadata);
        let begun = self.with_signed_source(source, send, |error| copy::start_error(blob, source, error)).await?;
        copy::started(blob, source, &begun)
    }

    async fn copy_status(&self, blob: &BlobAddress) -> PortResult<Option<CopyStatus>> {
        copy::status(&self.blob(blob)?, blob).await
    }

    async fn abort_copy(&self, blob: &BlobAddress, id: &str) -> PortResult<()> {
        copy::abort(&self.blob(blob)?, blob, id).await
    }

    async fn page_ranges(&self, blob: &BlobAddress) -> PortResult<Vec<Range<u64>>> {
        self.page(blob)?.ranges().await
    }
}

/// The service truncates a range that ends beyond the blob.
fn outside(blob: &BlobAddress, range: &Range<u64>) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{blob}: the range {}..{} is not in it", range.start, range.end))
}

/// The error for bytes that differ from the source's checksum. The cause may be the source or the transfer.
fn damaged_source(blob: &BlobAddress, source: &SourceRange) -> PortError {
    let SourceRange { blob: from, range, .. } = source;
    let message = format!("{blob}: bytes {} to {} of {from} arrived with a wrong checksum", range.start, range.end);
    PortError::new(ErrorKind::Corrupt, message).with_source_fault(SourceFault::Corrupt)
}

fn extra_headers(headers: Vec<(&'static str, String)>) -> ClientMethodOptions<'static> {
    ClientMethodOptions { context: Context::new().with_value(ExtraHeaders(headers)) }
}

fn http_range(range: Range<u64>) -> HttpRange {
    HttpRange::new(range.start, range.end.saturating_sub(range.start))
}

fn timestamp(time: Option<OffsetDateTime>) -> Option<Timestamp> {
    Timestamp::from_nanosecond(time?.unix_timestamp_nanos()).ok()
}

fn listed(item: BlobItem) -> Option<ListedBlob> {
    let properties = item.properties?;
    Some(ListedBlob {
        name: item.name?,
        length: properties.content_length?,
        etag: ETag(quote_etag(properties.etag?.as_ref())),
        modified: timestamp(properties.last_modified)?,
    })
}

/// An ETag in the form of headers. Lists return it without quotes.
fn quote_etag(etag: &str) -> String {
    if etag.starts_with('"') || etag.starts_with("W/") { etag.to_owned() } else { format!("\"{etag}\"") }
}
