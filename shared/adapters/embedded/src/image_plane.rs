//! The managed images of the directory cloud: files in the format of Azure's resources.
//!
//! An image is the file `<root>/subscriptions/<subscription>/resourceGroups/<resource group>/images/<name>.json`. All
//! changes complete immediately. A missing folder of a resource group is created, because demonstrations have no other
//! way to create it. Accounts have no regions, so `vhd-in-other-region` never occurs. A storage account with the name
//! `subscriptions` would share its folder with the images, so do not use that name.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind as Io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use goldfleet_file_lock::FileLock;
use goldfleet_model::ids::Region;
use goldfleet_model::image::{ManagedImageId, ManagedImageSpec, VhdNames};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::image_plane::{ChangeStatus, ImageService, ManagedImage, Pending, Provisioning, check_unchanged};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::blob_store::paths::{BlobPath, io_error};
use super::blocking::blocking;

/// The size of the data in a VHD must be a multiple of this. Source: Azure, preparing a VHD: the virtual size is whole
/// MiB.
const MIB: u64 = 1024 * 1024;

/// The length of a VHD footer. Source: the VHD format, 512 bytes. The offsets below have the same source.
const FOOTER: usize = 512;

/// Managed images as files in a folder, created from the blobs of [`DirectoryBlobs`](super::blob_store::DirectoryBlobs)
/// in the same folder.
#[derive(Debug, Clone)]
pub struct DirectoryImages {
    root: Arc<PathBuf>,
}

impl DirectoryImages {
    /// Opens the images under `root`.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root: Arc::new(root) }
    }

    /// The path of an existing or new image. Blocks.
    fn path(&self, id: &ManagedImageId) -> PathBuf {
        existing_spelling(&self.folder(id), &format!("{}.json", id.name))
    }

    /// The folder of the images in a resource group. Blocks.
    fn folder(&self, id: &ManagedImageId) -> PathBuf {
        let groups = self.root.join("subscriptions").join(id.subscription.to_string()).join("resourceGroups");
        existing_spelling(&groups, id.resource_group.as_str()).join("images")
    }

    /// Locks the images of a resource group for a read followed by a write. Blocks.
    fn lock(&self, id: &ManagedImageId) -> PortResult<FileLock> {
        let folder = self.folder(id);
        let locked = fs::create_dir_all(&folder).and_then(|()| FileLock::acquire(&folder.join("images")));
        locked.map_err(|error| io_error(&format!("could not lock {}", folder.display()), error))
    }
}

/// The path of an entry in a folder whose name matches except for case, because names in Resource Manager are
/// case-insensitive. If no entry matches, the name is used as given.
fn existing_spelling(folder: &Path, name: &str) -> PathBuf {
    let exact = folder.join(name);
    if exact.exists() {
        return exact;
    }
    let same = |path: &PathBuf| path.file_name().is_some_and(|found| found.eq_ignore_ascii_case(name));
    // If the folder cannot be listed, opening the file reports the error.
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.into_iter().find(same).unwrap_or(exact)
}

#[async_trait]
impl ImageService for DirectoryImages {
    fn vhd_names(&self) -> VhdNames {
        VhdNames::Folders
    }

    async fn get(&self, id: &ManagedImageId, _tenant: Option<&str>) -> PortResult<Option<ManagedImage>> {
        let (images, id) = (self.clone(), id.clone());
        blocking(move || {
            let resource = read(&images.path(&id))?;
            Ok(resource.map(|resource| ManagedImage {
                id,
                region: resource.location,
                provisioning: Provisioning::Succeeded,
                tags: resource.tags,
            }))
        })
        .await
    }

    async fn put(&self, spec: &ManagedImageSpec) -> PortResult<ChangeStatus> {
        let (images, spec) = (self.clone(), spec.clone());
        blocking(move || {
            let resource = Resource::from(&spec);
            let _lock = images.lock(&spec.id)?;
            // The lock is held, because the name may exist in another case.
            let path = images.path(&spec.id);
            if let Some(present) = read(&path)? {
                check_unchanged(&spec, &present.location, &present.properties.storage_profile.os_disk.blob_uri)?;
            }
            check_vhd(&images.root, &spec.vhd)?;
            write(&path, &resource)?;
            Ok(ChangeStatus::Done)
        })
        .await
    }

    async fn delete(&self, id: &ManagedImageId, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        let (images, id) = (self.clone(), id.clone());
        blocking(move || {
            if !images.folder(&id).is_dir() {
                return Ok(ChangeStatus::Done);
            }
            let _lock = images.lock(&id)?;
            let path = images.path(&id);
            match fs::remove_file(&path) {
                Ok(()) => Ok(ChangeStatus::Done),
                Err(error) if error.kind() == Io::NotFound => Ok(ChangeStatus::Done),
                Err(error) => Err(io_error(&format!("could not remove {}", path.display()), error)),
            }
        })
        .await
    }

    async fn poll(&self, _pending: &Pending) -> PortResult<ChangeStatus> {
        Ok(ChangeStatus::Done)
    }
}

/// The file of an image, in the format of Azure's Microsoft.Compute images.
#[derive(Debug, Serialize, Deserialize)]
struct Resource {
    id: String,
    name: String,
    location: Region,
    tags: BTreeMap<String, String>,
    properties: Properties,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    provisioning_state: String,
    hyper_v_generation: String,
    storage_profile: StorageProfile,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StorageProfile {
    os_disk: OsDisk,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OsDisk {
    os_type: String,
    os_state: String,
    blob_uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk_encryption_set: Option<ResourceRef>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ResourceRef {
    id: String,
}

impl From<&ManagedImageSpec> for Resource {
    fn from(spec: &ManagedImageSpec) -> Self {
        let os_type = match spec.os {
            OsType::Linux => "Linux",
            OsType::Windows => "Windows",
        };
        let generation = match spec.generation {
            Generation::V1 => "V1",
            Generation::V2 => "V2",
        };
        let os_disk = OsDisk {
            os_type: os_type.to_owned(),
            os_state: "Generalized".to_owned(),
            blob_uri: spec.vhd.to_string(),
            disk_encryption_set: spec.disk_encryption_set.clone().map(|id| ResourceRef { id }),
        };
        Self {
            id: spec.id.to_string(),
            name: spec.id.name.to_string(),
            location: spec.region.clone(),
            tags: spec.tags.clone(),
            properties: Properties {
                provisioning_state: "Succeeded".to_owned(),
                hyper_v_generation: generation.to_owned(),
                storage_profile: StorageProfile { os_disk },
            },
        }
    }
}

fn read(path: &Path) -> PortResult<Option<Resource>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == Io::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&format!("could not read {}", path.display()), error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| not_json(path, error))
}

/// Creates or replaces the file of an image atomically.
fn write(path: &Path, resource: &Resource) -> PortResult<()> {
    let text = serde_json::to_vec_pretty(resource).map_err(|error| not_json(path, error))?;
    let temporary = path.with_file_name(format!(".{}", Uuid::new_v4().simple()));
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is more useful than an error of this cleanup.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|error| io_error(&format!("could not write {}", path.display()), error))
}

fn not_json(path: &Path, error: serde_json::Error) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{} holds no image: {error}", path.display())).with_source(error)
}

/// Applies the checks of Azure to the VHD of an image.
fn check_vhd(root: &Path, vhd: &BlobAddress) -> PortResult<()> {
    let place = BlobPath::parse(root, vhd)?;
    let Some((file, found)) = place.open(OpenOptions::new().read(true))? else {
        return Err(PortError::new(ErrorKind::NotFound, format!("there is no VHD {vhd}")).with_code("vhd-not-found"));
    };
    let invalid = |why: &str| {
        PortError::new(ErrorKind::Invalid, format!("{vhd} is no VHD that Azure takes: {why}")).with_code("vhd-invalid")
    };
    match found.len().checked_sub(FOOTER as u64) {
        Some(size) if size > 0 && size.is_multiple_of(MIB) => check_footer(&place, &file, size, invalid),
        _ => Err(invalid(&format!("{} bytes are not whole MiB and a footer of {FOOTER} bytes", found.len()))),
    }
}

fn check_footer(place: &BlobPath, file: &File, offset: u64, invalid: impl Fn(&str) -> PortError) -> PortResult<()> {
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, offset)
        .map_err(|error| io_error(&format!("could not read {}", place.file.display()), error))?;
    if &footer[..8] != b"conectix" {
        return Err(invalid("its last 512 bytes are no footer"));
    }
    if footer[60..64] != 2_u32.to_be_bytes() {
        return Err(invalid("its size is not fixed"));
    }
    // The checksum is the complement of the sum of all other bytes.
    let sum = footer[..64].iter().chain(&footer[68..]).map(|byte| u32::from(*byte)).sum::<u32>();
    if footer[64..68] != (!sum).to_be_bytes() {
        return Err(invalid("its footer's checksum is wrong"));
    }
    Ok(())
}
