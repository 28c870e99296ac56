//! The files of resources: their paths, their lock, and the JSON in them.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use goldfleet_file_lock::FileLock;
use goldfleet_model::ids::{ResourceGroup, SubscriptionId};
use goldfleet_model::resource::{Properties, ResourceId, ResourceType};
use goldfleet_ports::clock::Clock;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::Resource;
use goldfleet_ports::resources::emulation::luns_of;
use goldfleet_ports::resources::emulation::machines::check_delete;
use serde_json::Value;
use uuid::Uuid;

use super::machines;
use super::{copies, galleries, restore_points};
use crate::blob_store::paths::io_error;
use crate::links::check_inside;

/// The code of a file that holds no resource, or one that cannot be read.
pub(super) const UNREADABLE: &str = "resource-unreadable";

/// The files of resources under a root. All methods block.
#[derive(Clone)]
pub(super) struct ResourceFiles {
    root: Arc<PathBuf>,
    clock: Arc<dyn Clock>,
}

impl ResourceFiles {
    pub(super) fn new(root: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { root: Arc::new(root), clock }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a subscription.
    pub(super) fn subscription(&self, subscription: &SubscriptionId) -> PathBuf {
        self.root.join("subscriptions").join(subscription.to_string())
    }

    /// The folder with the resource groups of a subscription.
    pub(super) fn groups(&self, subscription: &SubscriptionId) -> PathBuf {
        self.subscription(subscription).join("resourceGroups")
    }

    /// The folder of the resources of one type in a resource group.
    pub(super) fn folder(&self, subscription: &SubscriptionId, group: &str, resource_type: ResourceType) -> PathBuf {
        existing_spelling(&self.groups(subscription), group).join(resource_type.segment())
    }

    /// Checks that a resource group exists.
    pub(super) fn check_group(&self, subscription: &SubscriptionId, group: &ResourceGroup) -> PortResult<()> {
        let folder = existing_spelling(&self.groups(subscription), group.as_str());
        check_inside(&self.root, &folder)?;
        match fs::metadata(&folder) {
            Ok(found) if found.is_dir() => Ok(()),
            Err(error) if error.kind() != Io::NotFound => {
                Err(io_error(&format!("could not read {}", folder.display()), error))
            }
            _ => {
                let message = format!(
                    "there is no resource group {group} in subscription {subscription}: create the folder {}",
                    folder.display()
                );
                Err(PortError::new(ErrorKind::NotFound, message).with_code("resource-group-not-found"))
            }
        }
    }

    /// The folder of a resource: that of its type in its resource group, or in the resource that contains it.
    fn folder_of(&self, id: &ResourceId) -> PathBuf {
        let group = existing_spelling(&self.groups(&id.subscription), id.resource_group.as_str());
        let path = id.path();
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').fold(group, |folder, name| existing_spelling(&folder, name))
    }

    /// The folder in which the resources of a type are that another resource contains.
    pub(super) fn folder_in(&self, parent: &ResourceId, resource_type: ResourceType) -> PathBuf {
        self.json(parent).with_extension("").join(own_segment(resource_type))
    }

    /// The path of an existing or new resource.
    pub(super) fn json(&self, id: &ResourceId) -> PathBuf {
        existing_spelling(&self.folder_of(id), &format!("{}.json", id.name.own()))
    }

    /// The path of the content of a disk or snapshot.
    pub(super) fn content(&self, id: &ResourceId) -> PathBuf {
        self.json(id).with_extension("disk")
    }

    /// The path of the content of a data disk of an image.
    pub(super) fn content_of_data_disk(&self, image: &ResourceId, lun: u32) -> PathBuf {
        self.json(image).with_extension(format!("disk-{lun}"))
    }

    /// Locks the resources of one type in a resource group for a read followed by a write.
    pub(super) fn lock(&self, id: &ResourceId) -> PortResult<FileLock> {
        let folder = self.folder_of(id);
        check_inside(&self.root, &folder)?;
        let locked =
            fs::create_dir_all(&folder).and_then(|()| FileLock::acquire(&folder.join(own_segment(id.resource_type))));
        locked.map_err(|error| io_error(&format!("could not lock {}", folder.display()), error))
    }

    /// Reads a resource. None if it does not exist.
    pub(super) fn read(&self, id: &ResourceId) -> PortResult<Option<Resource>> {
        self.read_file(&self.json(id), id)
    }

    /// Reads the file of a resource. None if it does not exist.
    pub(super) fn read_file(&self, path: &Path, id: &ResourceId) -> PortResult<Option<Resource>> {
        check_inside(&self.root, path)?;
        let Some(value) = read_value(path)? else { return Ok(None) };
        self.resource(path, id, value).map(Some).map_err(|error| unreadable(path, error))
    }

    /// The resource in a file with this content.
    pub(super) fn resource(&self, path: &Path, id: &ResourceId, value: Value) -> PortResult<Resource> {
        let mut resource = Resource::from_json(id.clone(), value)?;
        copies::show(path, &mut resource, self.clock.now())?;
        galleries::show(path, &mut resource, self.clock.now())?;
        Ok(resource)
    }

    /// Creates or replaces the file of a resource atomically.
    pub(super) fn write(&self, resource: &Resource) -> PortResult<()> {
        replace_file(&self.json(&resource.id), &resource.to_json())
    }

    /// Removes a resource, and then its content.
    pub(super) fn delete(&self, id: &ResourceId) -> PortResult<()> {
        self.check_deletion(id)?;
        if !self.folder_of(id).is_dir() {
            return Ok(());
        }
        let held = self.lock(id)?;
        // A lock may have been put before this process held the folder.
        self.check_deletion(id)?;
        let found = self.read(id)?;
        galleries::check_deletion(self, id)?;
        if let Some(found) = &found {
            check_delete(found)?;
            if found.body.properties.machine().is_some() {
                machines::detach(self, found)?;
            }
        }
        let content = self.content(id);
        self.forget_copy(id)?;
        galleries::forget(self, id, found.as_ref())?;
        restore_points::forget(self, id)?;
        let luns = found.iter().flat_map(|found| data_luns(&found.body.properties));
        let data: Vec<PathBuf> = luns.map(|lun| self.content_of_data_disk(id, lun)).collect();
        for path in [self.json(id), content].into_iter().chain(data) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != Io::NotFound => {
                    return Err(io_error(&format!("could not remove {}", path.display()), error));
                }
                _ => {}
            }
        }
        drop(held);
        let snapshot = found.filter(|found| found.id.resource_type == ResourceType::Snapshot);
        snapshot.map_or(Ok(()), |snapshot| self.fail_copies_of(&snapshot))
    }
}

/// The last segment of a type, such as `versions`.
fn own_segment(resource_type: ResourceType) -> &'static str {
    let segment = resource_type.segment();
    segment.rsplit('/').next().unwrap_or(segment)
}

/// The LUNs of the data disks of an image or gallery version.
fn data_luns(properties: &Properties) -> Vec<u32> {
    match properties {
        Properties::Image(image) => luns_of(image).collect(),
        Properties::GalleryVersion(version) => version.data_disks().iter().map(|data| data.lun).collect(),
        _ => Vec::new(),
    }
}

/// Creates or replaces a JSON file atomically.
pub(super) fn replace_file(path: &Path, value: &Value) -> PortResult<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| unreadable(path, error))?;
    let temporary = path.with_file_name(format!(".{}", Uuid::new_v4().simple()));
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is more useful than an error of this cleanup.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|error| io_error(&format!("could not write {}", path.display()), error))
}

/// Reads a JSON file. None if it does not exist.
pub(super) fn read_value(path: &Path) -> PortResult<Option<Value>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == Io::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&format!("could not read {}", path.display()), error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(path, error))
}

pub(super) fn unreadable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> PortError {
    let fault = PortError::new(ErrorKind::Invalid, format!("{} holds no resource: {error}", path.display()));
    fault.with_code(UNREADABLE).with_source(error)
}

/// The path of an entry in a folder whose name matches except for case, because names in Resource Manager are
/// case-insensitive. If no entry matches, the name is used as given.
pub(super) fn existing_spelling(folder: &Path, name: &str) -> PathBuf {
    let exact = folder.join(name);
    if exact.exists() {
        return exact;
    }
    let same = |path: &PathBuf| path.file_name().is_some_and(|found| found.eq_ignore_ascii_case(name));
    // If the folder cannot be listed, opening the file reports the error.
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.into_iter().find(same).unwrap_or(exact)
}
