//! Reading the content of disks and snapshots by a SAS.
//!
//! A SAS gives access as at Azure: until it expires, until the access is ended by any process, and only to the resource
//! for which it was given. Another resource that gets the same name has another unique id.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_disk::sparse::data_ranges;
use goldfleet_model::resource::{DiskState, ResourceId};
use goldfleet_ports::clock::after;
use goldfleet_ports::disk_access::{AccessRequest, DiskSas};
use goldfleet_ports::disk_content::{ContentLayout, DiskContent, access_ended, check_inside_content, check_read};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::Resource;
use jiff::Timestamp;
use uuid::Uuid;

use super::DirectoryResources;
use super::files::ResourceFiles;
use crate::blob_store::paths::io_error;
use crate::blocking::blocking;

/// What a SAS gives access to.
#[derive(Debug, Clone)]
struct Grant {
    id: ResourceId,
    unique_id: Option<String>,
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
    let resource = files.read(&grant.id)?.ok_or_else(access_ended)?;
    let state = resource.body.properties.disk().and_then(|disk| disk.disk_state.clone());
    if state != Some(DiskState::ActiveSas) || unique_id(&resource) != grant.unique_id.as_deref() {
        return Err(access_ended());
    }
    let opened = File::open(files.content(&grant.id)).and_then(|file| Ok((file.metadata()?.len(), file)));
    opened.map(|(length, file)| (file, length)).map_err(|error| unreadable(&grant.id, error))
}

fn unreadable(id: &ResourceId, error: io::Error) -> goldfleet_ports::error::PortError {
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
