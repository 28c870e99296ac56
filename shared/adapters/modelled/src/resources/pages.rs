//! Writes to the content of a disk that awaits an upload. The disk takes bytes and requests at the rates of a page
//! blob.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::checksum::crc64;
use goldfleet_model::ids::Region;
use goldfleet_model::resource::DiskState;
use goldfleet_ports::blob_store::{Checksums, SourceRange, missing_source};
use goldfleet_ports::disk_access::{Access, DiskSas};
use goldfleet_ports::disk_content::access_ended;
use goldfleet_ports::disk_pages::{DiskPages, PageAnswer, PageSource, check_inside, check_write};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::emulation::not_found;
use jiff::Timestamp;

use super::ModelledResources;
use super::content::Grant;
use crate::extents::{Extent, Piece};
use crate::pipe::{SimNanos, nanos};
use crate::state::{BlobId, CloudState};

/// The length of the footer that follows the data of an uploaded disk. Its bytes are not a part of the disk.
const FOOTER: u64 = 512;

/// A disk to which a SAS permits writes.
struct Writable {
    grant: Grant,
    size: u64,
    region: Region,
}

impl CloudState {
    fn writable(&self, sas: &DiskSas, offset: u64, length: u64, now: Timestamp) -> PortResult<Writable> {
        check_write(offset, length)?;
        let (grant, size, _) = self.accessed(sas, now)?;
        let found = self.arm.resources.get(&grant.id).ok_or_else(|| not_found(&grant.id))?;
        let state = found.resource.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
        if grant.access != Access::Write || state != Some(&DiskState::ActiveUpload) {
            return Err(access_ended());
        }
        check_inside(offset, length, size.saturating_add(FOOTER))?;
        Ok(Writable { region: found.resource.body.region.clone(), grant, size })
    }

    /// The time at which a write of `bytes` that has reached the disk's account at `until` has passed the disk's own
    /// limits.
    fn write_content(&mut self, now: SimNanos, until: SimNanos, disk: &Writable, bytes: u64) -> SimNanos {
        let (rate, requests) = (self.pace.page_blob(), self.pace.blob_requests());
        self.arm.contents.write(&disk.grant.unique_id, (rate, requests), now, bytes).max(until)
    }

    fn store_pages(&mut self, disk: &Writable, offset: u64, pieces: Vec<Extent>, length: u64) {
        // What is behind the disk is the footer of its VHD.
        if offset >= disk.size {
            return;
        }
        let extents = self.arm.contents.extents_mut(&disk.grant.unique_id);
        let extents = Arc::make_mut(extents);
        extents.clear(offset..offset + length);
        for (at, length, piece) in pieces {
            extents.insert(offset + at, length, piece);
        }
    }

    /// The source of a write, with its checksum.
    fn page_source(&self, source: &SourceRange, checksums: Option<Checksums>) -> PortResult<BlobId> {
        match checksums {
            Some(_) => self.source(source),
            None => self.find(&source.blob).ok_or_else(|| missing_source(&source.blob)),
        }
    }
}

#[async_trait]
impl DiskPages for ModelledResources {
    async fn write(&self, sas: &DiskSas, offset: u64, bytes: Bytes, expected: Option<u64>) -> PortResult<PageAnswer> {
        let (time, length, sum) = (self.0.now(), bytes.len() as u64, crc64(&bytes));
        if expected.is_some_and(|expected| expected != sum) {
            return Err(PortError::new(ErrorKind::Corrupt, "the bytes do not have the expected checksum"));
        }
        let disk = self
            .0
            .run_request(|world, now| match world.writable(sas, offset, length, time) {
                Ok(disk) => {
                    let until = now.saturating_add(nanos(world.pace.request()));
                    *world.requests_served.entry("put page").or_default() += 1;
                    (world.write_content(now, until, &disk, length), Ok(disk))
                }
                Err(error) => (now, Err(error)),
            })
            .await?;
        let mut world = self.0.world();
        // The access may have ended in the meantime.
        world.writable(sas, offset, length, self.0.now())?;
        world.store_pages(&disk, offset, vec![(0, length, Piece::of(bytes))], length);
        Ok(PageAnswer { md5: None, crc64: Some(sum) })
    }

    async fn write_from(
        &self,
        sas: &DiskSas,
        offset: u64,
        source: &PageSource,
        range: Range<u64>,
        checksums: Option<Checksums>,
    ) -> PortResult<PageAnswer> {
        let PageSource::Blob(blob) = source else {
            let message = "the modelled cloud writes to disks from block blobs only";
            return Err(PortError::new(ErrorKind::Invalid, message));
        };
        let (time, length) = (self.0.now(), range.end.saturating_sub(range.start));
        let expected = checksums.unwrap_or_else(|| 0.into());
        let source = SourceRange { blob: blob.clone(), range, crc64: expected.crc64, md5: expected.md5 };
        let (disk, from) = self
            .0
            .run_request(|world, now| {
                let checked = world
                    .writable(sas, offset, length, time)
                    .and_then(|disk| Ok((disk, world.page_source(&source, checksums)?)));
                let region = checked.as_ref().map(|(disk, _)| disk.region.clone()).ok();
                let (until, checked) = world.copy_to_disk(now, &source, region.as_ref(), checked, |(_, from)| *from);
                match checked {
                    Ok((disk, from)) => (world.write_content(now, until, &disk, length), Ok((disk, from))),
                    Err(error) => (until, Err(error)),
                }
            })
            .await?;
        let mut world = self.0.world();
        let content = world.blob(from).map(|from| Arc::clone(&from.content));
        let content = content.ok_or_else(|| missing_source(&source.blob))?;
        world.writable(sas, offset, length, self.0.now())?;
        world.store_pages(&disk, offset, content.within(&source.range), length);
        Ok(PageAnswer { md5: None, crc64: content.crc64(&source.range) })
    }

    async fn holds(&self, sas: &DiskSas, range: Range<u64>, checksums: Checksums) -> PortResult<bool> {
        let time = self.0.now();
        self.0
            .run_request(|world, now| match world.accessed(sas, time) {
                Ok((grant, size, extents)) => {
                    let until = world.read_content(now, &grant.unique_id, range.end.saturating_sub(range.start));
                    // The footer has no place in the content: see `store_pages`.
                    (until, Ok(range.start >= size || extents.crc64(&range) == Some(checksums.crc64)))
                }
                Err(error) => (now, Err(error)),
            })
            .await
    }
}
