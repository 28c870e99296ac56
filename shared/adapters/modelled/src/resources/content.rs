//! The content of disks and snapshots. It is zero unless a test places bytes, and a copy has the content of its source.
//!
//! A resource is read at the rate of a page blob.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::clock::after;
use goldfleet_ports::disk_access::{Access, AccessRequest, DiskSas};
use goldfleet_ports::disk_content::{ContentLayout, DiskContent, access_ended, check_inside_content, check_read};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::Resource;
use goldfleet_ports::resources::emulation::{check_difference, not_found};
use jiff::Timestamp;

use super::ModelledResources;
use crate::Model;
use crate::extents::{Extents, Piece};
use crate::limits::Rate;
use crate::pipe::{Pipe, SimNanos, nanos};
use crate::state::CloudState;

/// What a SAS gives access to.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) id: ResourceId,
    pub(super) unique_id: String,
    pub(super) access: Access,
    expires: Timestamp,
}

/// The content of a resource.
#[derive(Debug, Clone, Default)]
struct Content {
    extents: Arc<Extents>,
    reads: Pipe,
    writes: Option<WritePipes>,
}

/// The limits of the page blob of a disk that is written.
#[derive(Debug, Clone)]
struct WritePipes {
    bytes: Pipe,
    requests: Pipe,
}

/// The contents of all resources by their unique ids, and the SAS by their signatures.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    by_unique_id: BTreeMap<String, Content>,
    grants: BTreeMap<String, Grant>,
    given: u64,
}

impl Contents {
    /// Gives a copy the content of its source.
    pub(super) fn copy(&mut self, source: &str, copy: &str) {
        if let Some(content) = self.by_unique_id.get(source) {
            let content = Content { extents: Arc::clone(&content.extents), ..Content::default() };
            self.by_unique_id.insert(copy.to_owned(), content);
        }
    }

    /// The content of the resource with this unique id.
    pub(crate) fn extents(&self, unique_id: &str) -> Option<&Extents> {
        self.by_unique_id.get(unique_id).map(|content| content.extents.as_ref())
    }

    /// The extents of a disk that is written.
    pub(super) fn extents_mut(&mut self, unique_id: &str) -> &mut Arc<Extents> {
        &mut self.by_unique_id.entry(unique_id.to_owned()).or_default().extents
    }

    /// Sends a write through the limits of a disk, which are bytes and requests per second. Returns when it is through.
    pub(super) fn write(&mut self, unique_id: &str, limits: (Rate, Rate), now: SimNanos, bytes: u64) -> SimNanos {
        let content = self.by_unique_id.entry(unique_id.to_owned()).or_default();
        let (rate, requests) = limits;
        let pipes =
            content.writes.get_or_insert_with(|| WritePipes { bytes: Pipe::new(rate), requests: Pipe::new(requests) });
        pipes.bytes.take(now, bytes).max(pipes.requests.take(now, 1))
    }

    /// Forgets the content of a removed resource.
    pub(super) fn remove(&mut self, unique_id: &str) {
        self.by_unique_id.remove(unique_id);
    }

    /// Gives a SAS.
    pub(super) fn give(&mut self, resource: &Resource, request: &AccessRequest, now: Timestamp) -> DiskSas {
        self.given += 1;
        let signature = format!("{:016x}", self.given);
        let unique_id = unique_id(resource).unwrap_or_default().to_owned();
        let expires = after(now, request.duration);
        let grant = Grant { id: request.id.clone(), unique_id, access: request.access, expires };
        self.grants.retain(|_, grant| grant.expires > now);
        self.grants.insert(signature.clone(), grant);
        DiskSas::new(format!("modelled:{}?sig={signature}", request.id))
    }

    /// Ends all access to a resource.
    pub(super) fn end(&mut self, id: &ResourceId) {
        self.grants.retain(|_, grant| grant.id != *id);
    }
}

fn unique_id(resource: &Resource) -> Option<&str> {
    resource.body.properties.disk()?.unique_id.as_deref()
}

impl Model {
    /// Writes bytes to the content of a disk or snapshot, as a machine would.
    ///
    /// # Errors
    /// `NotFound` if the resource does not exist.
    pub fn put_disk_content(&self, id: &ResourceId, offset: u64, bytes: Bytes) -> PortResult<()> {
        let mut world = self.world();
        let arm = &mut world.arm;
        let found = arm.resources.get(id).ok_or_else(|| not_found(id))?;
        let unique_id = unique_id(&found.resource).unwrap_or_default().to_owned();
        let content = arm.contents.by_unique_id.entry(unique_id).or_default();
        Arc::make_mut(&mut content.extents).insert(offset, bytes.len() as u64, Piece::of(bytes));
        Ok(())
    }
}

impl CloudState {
    /// The resource to which a SAS gives access, its length, and its content.
    pub(super) fn accessed(&self, sas: &DiskSas, now: Timestamp) -> PortResult<(Grant, u64, Arc<Extents>)> {
        let signature = sas.expose().rsplit_once("?sig=").map(|(_, signature)| signature).unwrap_or_default();
        let grant = self.arm.contents.grants.get(signature).filter(|grant| grant.expires > now);
        let grant = grant.ok_or_else(access_ended)?;
        let found =
            self.arm.resources.get(&grant.id).filter(|found| unique_id(&found.resource) == Some(&grant.unique_id));
        let length =
            found.ok_or_else(access_ended)?.resource.body.properties.disk().and_then(|disk| disk.disk_size_bytes);
        let content = self.arm.contents.by_unique_id.get(&grant.unique_id);
        let extents = content.map(|content| Arc::clone(&content.extents)).unwrap_or_default();
        Ok((grant.clone(), length.unwrap_or_default(), extents))
    }

    /// The time at which a read of `bytes` ends.
    pub(super) fn read_content(&mut self, now: SimNanos, unique_id: &str, bytes: u64) -> SimNanos {
        let (rate, request) = (self.pace.page_blob(), nanos(self.pace.request()));
        let content = self.arm.contents.by_unique_id.get_mut(unique_id);
        // What is zero is sent from no disk.
        let Some(content) = content else { return now.saturating_add(request) };
        if content.reads.backlog(now) == 0 && content.reads.busy() == 0 {
            content.reads = Pipe::new(rate);
        }
        content.reads.take(now, bytes).saturating_add(request)
    }
}

#[async_trait]
impl DiskContent for ModelledResources {
    async fn layout(&self, sas: &DiskSas) -> PortResult<ContentLayout> {
        let time = self.0.now();
        self.0
            .run_request(|world, now| match world.accessed(sas, time) {
                Ok((grant, length, extents)) => {
                    let layout = ContentLayout::checked(&grant.id.to_string(), length, extents.ranges());
                    (now.saturating_add(nanos(world.pace.request())), layout)
                }
                Err(error) => (now, Err(error)),
            })
            .await
    }

    async fn changes_since(&self, sas: &DiskSas, earlier: &DiskSas) -> PortResult<Vec<Range<u64>>> {
        let time = self.0.now();
        self.0
            .run_request(|world, now| {
                let found = world.accessed(sas, time).and_then(|to| Ok((to, world.accessed(earlier, time)?)));
                let listed = found.and_then(|((grant, _, content), (before, _, earlier))| {
                    let resource = |id: &ResourceId| {
                        world.arm.resources.get(id).map(|found| found.at(now)).ok_or_else(access_ended)
                    };
                    check_difference(&resource(&grant.id)?, &resource(&before.id)?)?;
                    Ok(content.differences(&earlier))
                });
                (now.saturating_add(nanos(world.pace.request())), listed)
            })
            .await
    }

    async fn read(&self, sas: &DiskSas, range: Range<u64>) -> PortResult<Bytes> {
        check_read(&range)?;
        let time = self.0.now();
        self.0
            .run_request(|world, now| {
                let read = world.accessed(sas, time).and_then(|(grant, length, extents)| {
                    check_inside_content(&range, length)?;
                    let unknown = || PortError::new(ErrorKind::Invalid, format!("{}: no bytes are stored", grant.id));
                    Ok((extents.bytes(&range).ok_or_else(unknown)?, grant))
                });
                match read {
                    Ok((bytes, grant)) => {
                        let until = world.read_content(now, &grant.unique_id, range.end - range.start);
                        (until, Ok(bytes))
                    }
                    Err(error) => (now, Err(error)),
                }
            })
            .await
    }
}
