//! Reading and writing the content of disks and snapshots by a SAS.
//!
//! A SAS gives access as at Azure: until it expires, until the access is ended by any process, and only to the resource
//! for which it was given. Another resource that gets the same name has another unique id.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_disk::sparse::data_ranges;
use goldfleet_model::checksum::crc64;
use goldfleet_model::hash::Md5Sum;
use goldfleet_model::resource::{DiskState, ResourceId};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::{Checksums, SourceRange};
use goldfleet_ports::clock::after;
use goldfleet_ports::disk_access::{Access, AccessRequest, DiskSas};
use goldfleet_ports::disk_content::{ContentLayout, DiskContent, access_ended, check_inside_content, check_read};
use goldfleet_ports::disk_pages::{DiskPages, PageAnswer, PageSource, check_inside, check_write};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::Resource;
use goldfleet_ports::resources::emulation::check_difference;
use jiff::Timestamp;
use uuid::Uuid;

use super::DirectoryResources;
use super::difference;
use super::files::ResourceFiles;
use crate::blob_store::buffers::Buffer;
use crate::blob_store::paths::io_error;
use crate::blob_store::source::SourceReader;
use crate::blocking::blocking;

/// What a SAS gives access to.
#[derive(Debug, Clone)]
struct Grant {
    id: ResourceId,
    unique_id: Option<String>,
    access: Access,
    expires: Timestamp,
}

/// The SAS that this process has given, by their signatures. They are kept in memory, as at every other place.
#[derive(Clone, Default)]
pub(super) struct Grants(Arc<Mutex<HashMap<String, Grant>>>);

impl Grants {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Grant>> {
        // No code panics while it holds the lock, and the map is consistent in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a SAS with the URL of the content.
    pub(super) fn give(&self, resource: &Resource, request: &AccessRequest, path: PathBuf, now: Timestamp) -> DiskSas {
        let signature = Uuid::new_v4().simple().to_string();
        let grant = Grant {
            id: request.id.clone(),
            unique_id: unique_id(resource).map(str::to_owned),
            access: request.access,
            expires: after(now, request.duration),
        };
        let mut grants = self.lock();
        grants.retain(|_, grant| grant.expires > now);
        grants.insert(signature.clone(), grant);
        DiskSas::new(format!("file://{}?sig={signature}", path.display()))
    }

    /// Ends all access to a resource.
    pub(super) fn end(&self, id: &ResourceId) {
        self.lock().retain(|_, grant| grant.id != *id);
    }

    /// The resource to which a SAS gives access at this time.
    fn find(&self, sas: &DiskSas, now: Timestamp) -> PortResult<Grant> {
        let signature = sas.expose().rsplit_once("?sig=").map(|(_, signature)| signature).unwrap_or_default();
        self.lock().get(signature).filter(|grant| grant.expires > now).cloned().ok_or_else(access_ended)
    }
}

fn unique_id(resource: &Resource) -> Option<&str> {
    resource.body.properties.disk()?.unique_id.as_deref()
}

/// Opens the content of a grant. Another process may have ended the access, or replaced the resource.
fn open(files: &ResourceFiles, grant: &Grant) -> PortResult<(File, u64)> {
    let (path, mut options) = (files.content(&grant.id), OpenOptions::new());
    let opened = options.read(true).write(grant.access == Access::Write).open(&path);
    let opened = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
    // The file is opened first. If the resource is the right one afterwards, so is the file.
    let resource = files.read(&grant.id)?.ok_or_else(access_ended)?;
    let state = resource.body.properties.disk().and_then(|disk| disk.disk_state.clone());
    let expected = match grant.access {
        Access::Read => DiskState::ActiveSas,
        Access::Write => DiskState::ActiveUpload,
    };
    if state != Some(expected) || unique_id(&resource) != grant.unique_id.as_deref() {
        return Err(access_ended());
    }
    opened.map(|(length, file)| (file, length)).map_err(|error| unreadable(&grant.id, error))
}

/// Writes to the content of a grant. Blocks.
fn write(files: &ResourceFiles, grant: &Grant, offset: u64, bytes: &[u8]) -> PortResult<PageAnswer> {
    if grant.access != Access::Write {
        let message = format!("{}: its SAS permits reading only", grant.id);
        return Err(PortError::new(ErrorKind::Denied, message).with_code("access-not-supported"));
    }
    let length = bytes.len() as u64;
    check_write(offset, length)?;
    let (file, size) = open(files, grant)?;
    check_inside(offset, length, size)?;
    let failed = |error| io_error(&format!("could not write the content of {}", grant.id), error);
    file.write_all_at(bytes, offset).map_err(failed)?;
    Ok(PageAnswer { md5: Some(Md5Sum::of(bytes)), crc64: None })
}

fn unreadable(id: &ResourceId, error: io::Error) -> PortError {
    io_error(&format!("could not read the content of {id}"), error)
}

#[async_trait]
impl DiskContent for DirectoryResources {
    async fn layout(&self, sas: &DiskSas) -> PortResult<ContentLayout> {
        let (files, grant) = (self.files.clone(), self.grants.find(sas, self.clock.now())?);
        blocking(move || {
            let (file, length) = open(&files, &grant)?;
            let data = data_ranges(&file, length).map_err(|error| unreadable(&grant.id, error))?;
            ContentLayout::checked(&grant.id.to_string(), length, data)
        })
        .await
    }

    async fn changes_since(&self, sas: &DiskSas, earlier: &DiskSas) -> PortResult<Vec<Range<u64>>> {
        let now = self.clock.now();
        let (files, grant, earlier) =
            (self.files.clone(), self.grants.find(sas, now)?, self.grants.find(earlier, now)?);
        blocking(move || {
            let resource = |id: &ResourceId| files.read(id)?.ok_or_else(access_ended);
            check_difference(&resource(&grant.id)?, &resource(&earlier.id)?)?;
            let ((file, length), (before, _)) = (open(&files, &grant)?, open(&files, &earlier)?);
            difference::between(&file, &before, length).map_err(|error| unreadable(&grant.id, error))
        })
        .await
    }

    async fn read(&self, sas: &DiskSas, range: Range<u64>) -> PortResult<Bytes> {
        check_read(&range)?;
        let (files, grant) = (self.files.clone(), self.grants.find(sas, self.clock.now())?);
        blocking(move || {
            let (file, length) = open(&files, &grant)?;
            check_inside_content(&range, length)?;
            let length = usize::try_from(range.end - range.start).map_err(io::Error::other);
            let read = length.and_then(|length| {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, range.start)?;
                Ok(bytes)
            });
            read.map(Bytes::from).map_err(|error| unreadable(&grant.id, error))
        })
        .await
    }
}

#[async_trait]
impl DiskPages for DirectoryResources {
    async fn write(&self, sas: &DiskSas, offset: u64, bytes: Bytes, sum: Option<u64>) -> PortResult<PageAnswer> {
        let (files, grant) = (self.files.clone(), self.grants.find(sas, self.clock.now())?);
        blocking(move || {
            if sum.is_some_and(|expected| crc64(&bytes) != expected) {
                let message = format!("{}: the bytes do not have the expected checksum", grant.id);
                return Err(PortError::new(ErrorKind::Corrupt, message));
            }
            write(&files, &grant, offset, &bytes)
        })
        .await
    }

    async fn write_from(
        &self,
        sas: &DiskSas,
        offset: u64,
        source: &PageSource,
        range: Range<u64>,
        checksums: Option<Checksums>,
    ) -> PortResult<PageAnswer> {
        check_write(offset, range.end.saturating_sub(range.start))?;
        let (files, grant) = (self.files.clone(), self.grants.find(sas, self.clock.now())?);
        match source {
            PageSource::Disk(from) => {
                let bytes = self.read(from, range).await?;
                blocking(move || write(&files, &grant, offset, &bytes)).await
            }
            PageSource::Blob(blob) => {
                let mut buffer = Buffer::acquire().await?;
                let blob = blob.clone();
                blocking(move || {
                    let bytes = read_source(&files, blob, range, checksums, buffer.bytes())?;
                    write(&files, &grant, offset, bytes)
                })
                .await
            }
        }
    }

    async fn holds(&self, sas: &DiskSas, range: Range<u64>, checksums: Checksums) -> PortResult<bool> {
        Ok(crc64(&self.read(sas, range).await?) == checksums.crc64)
    }
}

/// Reads a range of a block blob, and verifies its checksum if it is known. Blocks.
fn read_source<'b>(
    files: &ResourceFiles,
    blob: BlobAddress,
    range: Range<u64>,
    checksums: Option<Checksums>,
    buffer: &'b mut [u8],
) -> PortResult<&'b [u8]> {
    let crc64 = checksums.map(|sums| sums.crc64);
    let source = SourceRange { blob, range, crc64: crc64.unwrap_or_default(), md5: None };
    let reader = SourceReader::open(files.root(), &source)?;
    match crc64 {
        Some(_) => reader.read_whole(buffer),
        None => reader.read_unverified(buffer),
    }
}
