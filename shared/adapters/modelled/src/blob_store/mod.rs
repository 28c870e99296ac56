//! The blobs of the modelled cloud. A request is checked when it begins, takes its modelled time, is checked again, and
//! only then takes effect: as with a real service, another request may have changed the state in between. A request
//! that is dropped before its end has no effect.

mod pages;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::ETag;
use goldfleet_ports::blob_store::{
    BlobPage, BlobProperties, BlobStore, Checksums, CopyState, CopyStatus, Fence, ListedBlob, PAGE, SourceRange,
    check_body, check_clear, check_pages, check_pages_from,
};
use goldfleet_ports::error::{PortResult, SourceFault};
use goldfleet_ports::timeout::TimeoutPolicy;

use super::extents::{Extents, Piece};
use super::pipe::{SimNanos, nanos};
use super::state::{BlobId, CloudState, NewBlob};
use super::traffic::RequestEnd;
use super::{Model, errors};

/// The number of blobs in one page of a list. Source: Azure, List Blobs, 5,000.
const LIST_PAGE: usize = 5_000;

/// The blobs of a modelled cloud.
#[derive(Clone)]
pub struct ModelledBlobs(Arc<Model>);

impl ModelledBlobs {
    /// Opens the blobs of `model`.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        Self(model)
    }

    async fn call<T: Send>(
        &self,
        begin: impl FnOnce(&mut CloudState, SimNanos) -> RequestEnd<T> + Send,
    ) -> PortResult<T> {
        self.0.run_request(begin).await
    }
}

#[async_trait]
impl BlobStore for ModelledBlobs {
    async fn ensure_container(&self, container: &Container) -> PortResult<()> {
        self.call(|world, now| world.plain(now, "create container", &container.blob(""), Ok(()))).await?;
        self.0.world().ensure_container(container);
        Ok(())
    }

    async fn put_blob(&self, blob: &BlobAddress, body: Bytes, checksums: Checksums) -> PortResult<()> {
        self.call(|world, now| {
            let checked = check_body(blob, &body, checksums.crc64).and_then(|()| world.is_free(blob));
            let mut request = world.request("put blob", blob);
            world.add_upload(&mut request, body.len() as u64);
            world.begin(now, &request, checked)
        })
        .await?;
        let length = body.len() as u64;
        let mut content = Extents::default();
        content.insert(0, length, Piece::of(body));
        self.0.add(blob, NewBlob { length, content: Arc::new(content), ..NewBlob::default() })
    }

    async fn put_blob_from(&self, blob: &BlobAddress, source: &SourceRange) -> PortResult<()> {
        let from = self
            .call(|world, now| {
                let checked = world.is_free(blob).and_then(|()| world.whole_source(source));
                world.copy(now, "put blob from url", blob, source, checked, |from| *from)
            })
            .await?;
        let content = self.0.world().blob(from).map(|blob| Arc::clone(&blob.content));
        let content = content.ok_or_else(|| errors::no_source(source))?;
        self.0.add(blob, NewBlob { length: source.range.end, content, ..NewBlob::default() })
    }

    async fn get(&self, blob: &BlobAddress, range: Option<Range<u64>>) -> PortResult<Bytes> {
        self.call(|world, now| {
            let mut request = world.request("get blob", blob);
            let read = world.read(blob, range);
            if let Ok(bytes) = &read {
                world.add_download(&mut request, bytes.len() as u64);
            }
            world.begin(now, &request, read)
        })
        .await
    }

    /// Takes as long as a read of the bytes, although the model stores only their checksums.
    async fn holds(&self, range: &SourceRange) -> PortResult<bool> {
        self.call(|world, now| {
            let mut request = world.request("get blob", &range.blob);
            let holds = world.holds(range);
            if holds.is_ok() {
                world.add_download(&mut request, range.range.end.saturating_sub(range.range.start));
            }
            world.begin(now, &request, holds)
        })
        .await
    }

    async fn properties(&self, blob: &BlobAddress) -> PortResult<Option<BlobProperties>> {
        self.call(|world, now| world.plain(now, "get properties", blob, Ok(()))).await?;
        let world = self.0.world();
        let found = world.find(blob).and_then(|id| world.blob(id));
        Ok(found.map(|blob| BlobProperties {
            length: blob.length,
            etag: blob.etag(),
            modified: blob.modified,
            metadata: blob.metadata.clone(),
        }))
    }

    async fn list(&self, container: &Container, prefix: &str, marker: Option<&str>) -> PortResult<BlobPage> {
        self.call(|world, now| world.plain(now, "list blobs", &container.blob(""), Ok(()))).await?;
        let world = self.0.world();
        let Some(names) = world.names(container) else { return Ok(BlobPage::default()) };
        let wanted = |name: &&String| name.starts_with(prefix) && marker.is_none_or(|marker| name.as_str() > marker);
        let mut found: Vec<&String> = names.keys().filter(wanted).collect();
        found.sort_unstable();
        let more = found.len() > LIST_PAGE;
        found.truncate(LIST_PAGE);
        let listed = |name: &String| {
            let blob = world.blob(*names.get(name)?)?;
            Some(ListedBlob { name: name.clone(), length: blob.length, etag: blob.etag(), modified: blob.modified })
        };
        let blobs: Vec<ListedBlob> = found.into_iter().filter_map(listed).collect();
        let next = blobs.last().filter(|_| more).map(|last| last.name.clone());
        Ok(BlobPage { blobs, next })
    }

    async fn touch(&self, blob: &BlobAddress, if_match: &ETag) -> PortResult<()> {
        self.call(|world, now| world.plain(now, "set metadata", blob, Ok(()))).await?;
        let (now, mut world) = (self.0.now(), self.0.world());
        let id = world.in_version(blob, Some(if_match))?.ok_or_else(|| errors::no_blob(blob))?;
        world.renew(id, now);
        Ok(())
    }

    async fn delete(&self, blob: &BlobAddress, if_match: Option<&ETag>) -> PortResult<bool> {
        self.call(|world, now| world.plain(now, "delete blob", blob, Ok(()))).await?;
        let mut world = self.0.world();
        let there = world.in_version(blob, if_match)?.is_some();
        world.remove(blob);
        Ok(there)
    }

    async fn create_page_blob(
        &self,
        blob: &BlobAddress,
        length: u64,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<()> {
        self.call(|world, now| {
            let whole = length.is_multiple_of(PAGE);
            let message = || errors::invalid(format!("{blob}: {length} bytes are no whole pages"));
            let checked = whole.then_some(()).ok_or_else(message).and_then(|()| world.is_free(blob));
            world.plain(now, "create page blob", blob, checked)
        })
        .await?;
        self.0.add(blob, NewBlob { length, metadata: metadata.clone(), is_page_blob: true, ..NewBlob::default() })
    }

    async fn take_fence(&self, blob: &BlobAddress) -> PortResult<Fence> {
        self.call(|world, now| {
            let checked = world.page_blob(blob, None).map(|_| ());
            world.plain(now, "set sequence number", blob, checked)
        })
        .await?;
        let (now, mut world) = (self.0.now(), self.0.world());
        world.raise_fence(blob, now)
    }

    async fn put_pages(
        &self,
        blob: &BlobAddress,
        fence: Fence,
        offset: u64,
        body: Bytes,
        crc64: u64,
    ) -> PortResult<()> {
        let length = body.len() as u64;
        let id = self
            .call(|world, now| {
                let checked = check_pages(blob, offset, length)
                    .and_then(|()| check_body(blob, &body, crc64))
                    .and_then(|()| world.pages(blob, fence, &(offset..offset.saturating_add(length))));
                let mut request = world.request("put page", blob);
                world.add_upload(&mut request, length);
                world.begin(now, &request, checked)
            })
            .await?;
        self.0.write(id, blob, fence, |content| content.insert(offset, length, Piece::of(body)))
    }

    async fn put_pages_from(
        &self,
        blob: &BlobAddress,
        fence: Fence,
        offset: u64,
        source: &SourceRange,
    ) -> PortResult<()> {
        let length = source.range.end.saturating_sub(source.range.start);
        let (id, from) = self
            .call(|world, now| {
                let pages = check_pages_from(blob, offset, source)
                    .and_then(|()| world.pages(blob, fence, &(offset..offset.saturating_add(length))));
                let checked = pages.and_then(|id| Ok((id, world.source(source)?)));
                world.copy(now, "put page from url", blob, source, checked, |(_, from)| *from)
            })
            .await?;
        let stretches = self.0.world().blob(from).map(|from| from.content.within(&source.range));
        let stretches = stretches.ok_or_else(|| errors::no_source(source))?;
        self.0.write(id, blob, fence, |content| {
            content.clear(offset..offset + length);
            for (at, length, piece) in stretches {
                content.insert(offset + at, length, piece);
            }
        })
    }

    async fn clear_pages(&self, blob: &BlobAddress, fence: Fence, range: Range<u64>) -> PortResult<()> {
        let id = self
            .call(|world, now| {
                let checked = check_clear(blob, &range).and_then(|()| world.pages(blob, fence, &range));
                let request = world.request("clear pages", blob);
                world.begin(now, &request, checked)
            })
            .await?;
        self.0.write(id, blob, fence, |content| content.clear(range))
    }

    /// Returns after the copy is complete, so no copy is ever pending. goldfleet copies only inside an account, where a
    /// copy takes seconds.
    async fn start_copy(
        &self,
        blob: &BlobAddress,
        source: &BlobAddress,
        metadata: &BTreeMap<String, String>,
    ) -> PortResult<CopyStatus> {
        let from = self
            .call(|world, now| {
                let no_source = || errors::no_blob(source).with_source_fault(SourceFault::Missing);
                let checked = world.is_free(blob).and_then(|()| world.find(source).ok_or_else(no_source));
                let request = world.request("copy blob", blob);
                world.begin(now, &request, checked)
            })
            .await?;
        let found = self.0.world().blob(from).map(|found| (found.length, Arc::clone(&found.content)));
        let (length, content) = found.ok_or_else(|| errors::no_blob(source).with_source_fault(SourceFault::Missing))?;
        self.0.add(blob, NewBlob { length, content, metadata: metadata.clone(), is_page_blob: true })?;
        self.0.wait_for_copy(from, source, blob, length).await;
        Ok(CopyStatus { id: "done".to_owned(), state: CopyState::Done })
    }

    async fn copy_status(&self, _blob: &BlobAddress) -> PortResult<Option<CopyStatus>> {
        Ok(None)
    }

    async fn abort_copy(&self, _blob: &BlobAddress, _id: &str) -> PortResult<()> {
        Ok(())
    }

    async fn page_ranges(&self, blob: &BlobAddress) -> PortResult<Vec<Range<u64>>> {
        let id = self
            .call(|world, now| {
                let checked = world.page_blob(blob, None);
                let request = world.request("get page ranges", blob);
                world.begin(now, &request, checked)
            })
            .await?;
        let world = self.0.world();
        Ok(world.blob(id).ok_or_else(|| errors::no_blob(blob))?.content.ranges())
    }
}

impl CloudState {
    /// Begins a request whose bytes are too few to count.
    fn plain(
        &mut self,
        now: SimNanos,
        kind: &'static str,
        to: &BlobAddress,
        checked: PortResult<()>,
    ) -> RequestEnd<()> {
        let request = self.request(kind, to);
        self.begin(now, &request, checked)
    }

    /// Begins a request that copies from a checked source. `from` returns the source blob.
    fn copy<T>(
        &mut self,
        now: SimNanos,
        kind: &'static str,
        to: &BlobAddress,
        source: &SourceRange,
        checked: PortResult<T>,
        from: impl Fn(&T) -> BlobId,
    ) -> RequestEnd<T> {
        if self.stalled.get(&source.blob.container.account).is_some_and(|since| now >= *since) {
            let given_up = now.saturating_add(nanos(TimeoutPolicy::default().response_timeout(0, true)));
            return (given_up, Err(errors::no_answer(to, source)));
        }
        let mut request = self.request(kind, to);
        if let Ok(checked) = &checked {
            self.add_copy(&mut request, from(checked), source.range.end - source.range.start);
        }
        self.begin(now, &request, checked)
    }

    /// The blob at an address, if it has the version of `if_match`.
    fn in_version(&self, address: &BlobAddress, if_match: Option<&ETag>) -> PortResult<Option<BlobId>> {
        let Some(id) = self.find(address) else { return Ok(None) };
        let same = |etag: &ETag| self.blob(id).is_some_and(|blob| blob.etag() == *etag);
        if if_match.is_none_or(same) { Ok(Some(id)) } else { Err(errors::changed(address)) }
    }

    /// The bytes of a blob, or of a range of it.
    fn read(&self, address: &BlobAddress, range: Option<Range<u64>>) -> PortResult<Bytes> {
        let found = self.find(address).and_then(|id| self.blob(id));
        let blob = found.ok_or_else(|| errors::no_blob(address))?;
        let range = range.unwrap_or(0..blob.length);
        check_inside(address, blob.length, &range)?;
        blob.content.bytes(&range).ok_or_else(|| errors::bytes_not_stored(address))
    }

    /// Whether a range has its expected checksum. False if the content of the range is unknown.
    fn holds(&self, range: &SourceRange) -> PortResult<bool> {
        let found = self.find(&range.blob).and_then(|id| self.blob(id));
        let blob = found.ok_or_else(|| errors::no_blob(&range.blob))?;
        check_inside(&range.blob, blob.length, &range.range)?;
        Ok(blob.content.crc64(&range.range) == Some(range.crc64))
    }
}

fn check_inside(address: &BlobAddress, length: u64, range: &Range<u64>) -> PortResult<()> {
    if range.start <= range.end && range.end <= length {
        return Ok(());
    }
    Err(errors::invalid(format!("{address} has {length} bytes, not {} to {}", range.start, range.end)))
}

/// Starts the transfer of one piece of Copy Blob. Returns the time of its completion.
pub(super) fn copy_piece(model: &Model, from: BlobId, to: &BlobAddress, bytes: u64) -> SimNanos {
    let now = model.moment();
    let mut world = model.world();
    let mut request = world.request("copy blob", to);
    world.add_copy(&mut request, from, bytes);
    world.pass_all(now, &request)
}
