//! The resources of the directory cloud: files in the format of Azure's resources.
//!
//! A resource is the file `<root>/subscriptions/<subscription>/resourceGroups/<resource group>/<type>/<name>.json`,
//! where the type is `images`, `disks`, `snapshots`, `virtualMachines` or `galleries`; the module `galleries` states
//! what is in galleries. The content of a disk or snapshot, and of an image that is created from one, is the sparse
//! file `<name>.disk` beside it. The module `locks` states where locks are. All changes complete immediately, except
//! that copies from other regions can take time: see the module `copies`. A missing folder of a resource group is
//! created, because demonstrations have no other way to create it. Accounts have no regions, so `vhd-in-other-region`
//! never occurs. A storage account with the name `subscriptions` would share its folder with the resources, so do not
//! use that name.

mod access;
mod content;
mod copies;
mod difference;
mod files;
mod galleries;
mod listing;
mod locks;
mod machines;
mod reading;
mod restore_points;
mod vhd;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use goldfleet_model::image::VhdNames;
use goldfleet_model::resource::{Properties, ResourceId, ResourceType};
use goldfleet_model::store::BlobAddress;
use goldfleet_model::tenants::Tenants;
use goldfleet_ports::clock::Clock;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::galleries::version_of;
use goldfleet_ports::resources::emulation::{
    NewIdentity, RegionalCopy, check_copy_start, check_image_source, check_luns, check_put, check_tenants,
    data_sources_of, family_of, is_copy_start, luns_of, new_disk, source_of, updated,
};
use goldfleet_ports::resources::{
    ChangeStatus, MachineAction, Pending, Provisioning, PutRequest, Resource, ResourcePage, ResourceQuery,
    ResourceService,
};
use uuid::Uuid;

use self::files::ResourceFiles;
use self::reading::Grants;
use super::blocking::blocking;

/// The number of resources in one page of a list.
const LIST_PAGE: usize = 1_000;

/// Resources as files in a folder. Images are created from the blobs of
/// [`DirectoryBlobs`](super::blob_store::DirectoryBlobs) in the same folder.
#[derive(Clone)]
pub struct DirectoryResources {
    files: ResourceFiles,
    clock: Arc<dyn Clock>,
    list_page: usize,
    grants: Grants,
    tenants: Arc<Tenants>,
}

impl DirectoryResources {
    /// Opens the resources under `root`.
    #[must_use]
    pub fn new(root: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            files: ResourceFiles::new(root, Arc::clone(&clock)),
            clock,
            list_page: LIST_PAGE,
            grants: Grants::default(),
            tenants: Arc::default(),
        }
    }

    /// Returns the same service with the tenants of subscriptions. As at Azure, it copies nothing between tenants.
    #[must_use]
    pub fn with_tenants(self, tenants: &Tenants) -> Self {
        Self { tenants: Arc::new(tenants.clone()), ..self }
    }

    /// Returns the same service with shorter list pages, for tests of several pages.
    #[must_use]
    pub fn with_list_page(self, resources: usize) -> Self {
        Self { list_page: resources.max(1), ..self }
    }
}

impl std::fmt::Debug for DirectoryResources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectoryResources").field("root", &self.files.root()).finish_non_exhaustive()
    }
}

#[async_trait]
impl ResourceService for DirectoryResources {
    fn vhd_names(&self) -> VhdNames {
        VhdNames::Folders
    }

    fn blob_url(&self, blob: &BlobAddress) -> String {
        blob.to_string()
    }

    async fn get(&self, id: &ResourceId, _tenant: Option<&str>) -> PortResult<Option<Resource>> {
        let (files, id) = (self.files.clone(), id.clone());
        blocking(move || files.read(&id)).await
    }

    async fn list(&self, query: &ResourceQuery, marker: Option<&str>) -> PortResult<ResourcePage> {
        let (files, query, limit) = (self.files.clone(), query.clone(), self.list_page);
        let marker = marker.map(str::to_owned);
        blocking(move || listing::list(&files, &query, marker.as_deref(), limit)).await
    }

    async fn put(&self, request: &PutRequest) -> PortResult<ChangeStatus> {
        let (files, request) = (self.files.clone(), request.clone());
        let identity = NewIdentity { unique_id: Uuid::new_v4().to_string(), created: self.clock.now() };
        let tenants = Arc::clone(&self.tenants);
        let put = move || {
            check_tenants(&request, &tenants)?;
            put(&files, &request, identity)
        };
        blocking(move || put().map(|()| ChangeStatus::Done)).await
    }

    async fn delete(&self, id: &ResourceId, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        let (files, id) = (self.files.clone(), id.clone());
        blocking(move || files.delete(&id).map(|()| ChangeStatus::Done)).await
    }

    async fn act(&self, id: &ResourceId, action: MachineAction, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        let (files, id) = (self.files.clone(), id.clone());
        blocking(move || machines::perform(&files, &id, action).map(|()| ChangeStatus::Done)).await
    }

    async fn is_soft_deleted(&self, version: &ResourceId) -> PortResult<bool> {
        let (files, version) = (self.files.clone(), version.clone());
        blocking(move || Ok(galleries::is_soft_deleted(&files, &version))).await
    }

    async fn poll(&self, _pending: &Pending) -> PortResult<ChangeStatus> {
        Ok(ChangeStatus::Done)
    }
}

/// Creates or updates a resource. Blocks.
fn put(files: &ResourceFiles, request: &PutRequest, identity: NewIdentity) -> PortResult<()> {
    let id = &request.id;
    check_put(request, None)?;
    files.check_change(id)?;
    let _lock = files.lock(id)?;
    // The lock is held, because the name may exist in another case.
    let existing = files.read(id)?;
    check_put(request, existing.as_ref())?;
    let source_id = source_of(request)?;
    match (&request.body.properties, existing) {
        (Properties::Image(image), existing) => {
            check_luns(id, luns_of(image))?;
            if existing.is_none() {
                put_sources(files, request, source_id.as_ref())?;
            }
            for blob in image.disks().filter_map(|disk| disk.blob_uri.as_deref()) {
                vhd::check_vhd(files.root(), blob)?;
            }
            write(files, id, request.body.clone())
        }
        (Properties::Machine(_), None) => machines::create(files, request, identity),
        (Properties::Gallery(_) | Properties::Definition(_) | Properties::GalleryVersion(_), existing) => {
            galleries::put(files, request, existing.as_ref(), &identity)
        }
        (Properties::RestorePointCollection(_), _) => restore_points::put_collection(files, request),
        (Properties::RestorePoint(_), existing) => {
            restore_points::put_point(files, request, existing.as_ref(), &identity)
        }
        (_, Some(existing)) => write(files, id, updated(&existing.body, &request.body)),
        (_, None) if version_of(request)?.is_some() => version_of(request)?
            .map_or(Ok(()), |(version, lun)| galleries::put_disk(files, request, (&version, lun), identity)),
        (_, None) => {
            let source = match &source_id {
                Some(source) => files.read(source)?,
                None => None,
            };
            if is_copy_start(request) {
                check_copy_start(request, source.as_ref(), &copies(files, request, source.as_ref())?)?;
            }
            let created = identity.created;
            let made = new_disk(request, source.as_ref(), identity)?;
            content::create(files, &made, source_id.as_ref())?;
            if is_copy_start(request) {
                files.begin_copy(&made, created)?;
            }
            files.write(&made)
        }
    }
}

/// Checks the disks and snapshots of a new image, and takes over their content.
fn put_sources(files: &ResourceFiles, request: &PutRequest, os_disk: Option<&ResourceId>) -> PortResult<()> {
    let data = data_sources_of(request)?;
    let sources = os_disk.map(|id| (None, id)).into_iter().chain(data.iter().map(|(lun, id)| (Some(*lun), id)));
    for (lun, source) in sources {
        let found = files.read(source)?;
        check_image_source(request, found.as_ref())?;
        if let Some(found) = &found {
            content::create_of_image(files, &request.id, lun, found)?;
        }
    }
    Ok(())
}

/// The copies from other regions in the subscription and region of a request. A source that does not exist any more, or
/// that is of another family than the source of the request, has no place in the order of its family.
fn copies(files: &ResourceFiles, request: &PutRequest, source: Option<&Resource>) -> PortResult<Vec<RegionalCopy>> {
    let family = source.and_then(|source| family_of(request, source));
    let query = ResourceQuery {
        resource_type: ResourceType::Snapshot,
        subscription: request.id.subscription,
        resource_group: None,
        parent: None,
        tags: BTreeMap::new(),
        tenant: None,
    };
    let mut copies = Vec::new();
    for found in listing::list(files, &query, None, usize::MAX)?.resources {
        if found.body.region != request.body.region {
            continue;
        }
        let Properties::Snapshot(snapshot) = &found.body.properties else { continue };
        // Reading the sources of all families would double the number of files that are read.
        let source = snapshot.disk.creation_data.source_resource_id.as_ref();
        let source = source.filter(|_| snapshot.incremental_snapshot_family_id == family);
        let source = source.and_then(|source| source.parse::<ResourceId>().ok());
        let source = source.map(|source| files.read(&source)).transpose()?.flatten();
        copies.extend(RegionalCopy::of(request, &found, source.as_ref()));
    }
    Ok(copies)
}

fn write(files: &ResourceFiles, id: &ResourceId, body: goldfleet_model::resource::ResourceBody) -> PortResult<()> {
    files.write(&Resource { id: id.clone(), provisioning: Provisioning::Succeeded, body })
}
