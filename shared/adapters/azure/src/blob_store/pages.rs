//! Page blobs. Every write carries its fence as a condition: the sequence number of the blob must not be higher.
//!
//! By default a new blob starts at 0 and a copy starts at the number of its source, so a fence of a deleted blob could
//! become valid again. For that reason sequence numbers follow the clock: a new blob starts at the current time, and
//! taking the first fence of a copy raises its number to the current time.
//!
//! One gap remains: a write for a deleted blob can reach a copy of the same name between the end of the copy and the
//! first fence, which is taken right after it. Until the copy ends, the service rejects all writes.

use std::collections::BTreeMap;
use std::ops::Range;

use azure_storage_blob::PageBlobClient;
use azure_storage_blob::models::{
    PageBlobClientClearPagesOptions, PageBlobClientCreateOptions, PageBlobClientSetSequenceNumberOptions,
    PageBlobClientSetSequenceNumberResultHeaders as _, PageBlobClientUploadPagesFromUrlOptions,
    PageBlobClientUploadPagesOptions, PageList, SequenceNumberActionType,
};
use bytes::Bytes;
use futures::TryStreamExt as _;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::{Fence, SourceRange};
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;

use super::checksum::{Written, crc64_bytes};
use super::{AzureBlobs, CONTENT_TYPE, http_range};
use crate::error::{incomplete, port_error};

/// A page blob and its client.
pub(super) struct Page<'a> {
    blob: &'a BlobAddress,
    client: PageBlobClient,
}

impl AzureBlobs {
    pub(super) fn page<'a>(&self, blob: &'a BlobAddress) -> PortResult<Page<'a>> {
        Ok(Page { blob, client: self.blob(blob)?.page_blob_client() })
    }
}

impl Page<'_> {
    pub(super) async fn create(&self, length: u64, metadata: &BTreeMap<String, String>) -> PortResult<()> {
        let options = PageBlobClientCreateOptions {
            blob_content_type: Some(CONTENT_TYPE.to_owned()),
            if_none_match: Some("*".into()),
            blob_sequence_number: number(now()),
            metadata: Some(metadata.clone().into_iter().collect()),
            ..PageBlobClientCreateOptions::default()
        };
        let created = self.client.create(length, Some(options)).await;
        created.map(drop).map_err(|error| port_error(self.blob, &error))
    }

    pub(super) async fn take_fence(&self) -> PortResult<Fence> {
        let failed = |error: azure_core::Error| port_error(self.blob, &error);
        let raise = PageBlobClientSetSequenceNumberOptions {
            blob_sequence_number: number(now()),
            ..PageBlobClientSetSequenceNumberOptions::default()
        };
        self.client.set_sequence_number(SequenceNumberActionType::Max, Some(raise)).await.map_err(failed)?;
        // The service increments the number, so two concurrent callers get different numbers.
        let response =
            self.client.set_sequence_number(SequenceNumberActionType::Increment, None).await.map_err(failed)?;
        let number = response.blob_sequence_number().map_err(failed)?;
        number
            .and_then(|number| u64::try_from(number).ok())
            .map(Fence)
            .ok_or_else(|| incomplete(self.blob, "sequence number"))
    }

    /// Returns the checksums in the response.
    pub(super) async fn put(&self, fence: Fence, offset: u64, body: Bytes, crc64: u64) -> PortResult<Written> {
        let length = body.len() as u64;
        let options = PageBlobClientUploadPagesOptions {
            if_sequence_number_less_than_or_equal_to: number(fence),
            transactional_content_crc64: Some(crc64_bytes(crc64)),
            ..PageBlobClientUploadPagesOptions::default()
        };
        let range = http_range(offset..offset + length);
        let put = self.client.upload_pages(body.into(), length, range, Some(options)).await;
        put.map(|answer| Written::of(answer.headers())).map_err(|error| port_error(self.blob, &error))
    }

    /// Returns the checksums in the response. The error is the SDK's error, because its meaning depends on the source.
    ///
    /// The request carries the source's MD5 instead of its CRC-64, which Azure does not verify here. A request with
    /// both is rejected with 400 (`BothCrc64AndMd5HeaderPresent`). Source: Azure, Put Page From URL,
    /// `x-ms-source-content-crc64`. The response has `Content-MD5` (recorded live by azure-sdk-for-js,
    /// `pageblobclient_nodejs_only`, `uploadPagesFromURL`).
    pub(super) async fn put_from(
        &self,
        fence: Fence,
        offset: u64,
        source: &SourceRange,
        url: String,
    ) -> azure_core::Result<Written> {
        let length = source.range.end - source.range.start;
        let options = PageBlobClientUploadPagesFromUrlOptions {
            if_sequence_number_less_than_or_equal_to: number(fence),
            source_content_md5: source.md5.map(|md5| md5.as_bytes().to_vec()),
            source_content_crc64: source.md5.is_none().then(|| crc64_bytes(source.crc64)),
            ..PageBlobClientUploadPagesFromUrlOptions::default()
        };
        let (from, to) = (http_range(source.range.clone()), http_range(offset..offset + length));
        let answer = self.client.upload_pages_from_url(url, from, 0, to, Some(options)).await?;
        Ok(Written::of(answer.headers()))
    }

    pub(super) async fn clear(&self, fence: Fence, range: Range<u64>) -> PortResult<()> {
        let options = PageBlobClientClearPagesOptions {
            if_sequence_number_less_than_or_equal_to: number(fence),
            ..PageBlobClientClearPagesOptions::default()
        };
        let cleared = self.client.clear_pages(http_range(range), Some(options)).await;
        cleared.map(drop).map_err(|error| port_error(self.blob, &error))
    }

    pub(super) async fn ranges(&self) -> PortResult<Vec<Range<u64>>> {
        let failed = |error: azure_core::Error| port_error(self.blob, &error);
        let mut pages = self.client.list_page_ranges(None).map_err(failed)?;
        let mut ranges = Vec::new();
        while let Some(page) = pages.try_next().await.map_err(failed)? {
            let list: PageList = page.into_model().map_err(failed)?;
            for range in list.page_ranges {
                let bounds = (range.start.map(u64::try_from), range.end.map(u64::try_from));
                let (Some(Ok(start)), Some(Ok(last))) = bounds else {
                    return Err(incomplete(self.blob, "bounds of a range"));
                };
                ranges.push(start..last + 1);
            }
        }
        Ok(ranges)
    }
}

/// A fence that is higher than all fences taken so far.
fn now() -> Fence {
    Fence::at(Timestamp::now())
}

/// A fence as a sequence number. Source: Azure, sequence numbers range from 0 to 2^63 - 1.
fn number(fence: Fence) -> Option<i64> {
    i64::try_from(fence.0).ok()
}
