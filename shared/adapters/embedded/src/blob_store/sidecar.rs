//! Sidecars: what the file of a page blob can't hold, and the lock that makes its fence hold.
//!
//! Writers lock the sidecar together, look at the sequence number and write; who takes a fence locks it alone. So a
//! writer that is stopped between looking and writing holds up whoever wants to fence it off, instead of writing later.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;

use goldfleet_ports::blob_store::Fence;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use serde::{Deserialize, Serialize};

use super::locks::{self, LockMode};
use super::paths::BlobPath;

/// A sidecar's content.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SidecarData {
    /// The sequence number in 16 hex digits. Its width never changes and it comes first, so that a kill in the middle
    /// of a write can't damage what follows.
    sequence: String,
    /// The blob's metadata.
    pub(super) metadata: BTreeMap<String, String>,
}

/// A sidecar, open and locked until dropped.
pub(super) struct Sidecar {
    file: File,
}

/// A blob's sidecar without a lock: right for metadata, which never changes. None where there is none.
pub(super) fn read(place: &BlobPath) -> PortResult<Option<SidecarData>> {
    let read = place.container.optional("read the sidecar", fs::read(&place.sidecar))?;
    read.map(|bytes| parse(place, &bytes)).transpose()
}

impl Sidecar {
    /// Locks a blob's sidecar; none where there is none.
    pub(super) fn open(place: &BlobPath, mode: LockMode) -> PortResult<Option<Self>> {
        let opened = locks::open_locked(place, &place.sidecar, OpenOptions::new().read(true).write(true), mode)?;
        Ok(opened.map(|file| Self { file }))
    }

    /// Locks a page blob's sidecar.
    ///
    /// # Errors
    /// `NotFound` where there is no blob, `Invalid` where it is no page blob.
    pub(super) fn of_page_blob(place: &BlobPath, mode: LockMode) -> PortResult<Self> {
        let sidecar = Self::open(place, mode)?;
        // Looking at the blob under the lock, as the sidecar goes after the blob.
        match (sidecar, place.stat()?) {
            (Some(sidecar), Some(_)) => Ok(sidecar),
            (None, Some(_)) => {
                let message = format!("{} is no page blob", place.blob);
                Err(PortError::new(ErrorKind::Invalid, message).with_code("not-a-page-blob"))
            }
            (_, None) => Err(place.not_found()),
        }
    }

    /// Makes (or takes over) the sidecar of a blob that is not there yet, with its first sequence number, and locks it alone.
    pub(super) fn create(place: &BlobPath, first: Fence, metadata: &BTreeMap<String, String>) -> PortResult<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let sidecar = loop {
            if let Some(parent) = place.sidecar.parent() {
                fs::create_dir_all(parent).map_err(|error| place.io_error("write the sidecar of", error))?;
            }
            // None only where the folder, empty, was removed at this moment.
            if let Some(file) = locks::open_locked(place, &place.sidecar, &options, LockMode::Exclusive)? {
                break Self { file };
            }
        };
        if place.stat()?.is_some() {
            return Err(super::temp_blob::already_exists(place));
        }
        sidecar.file.set_len(0).map_err(|error| place.io_error("write the sidecar of", error))?;
        sidecar.write(place, first, metadata.clone())?;
        Ok(sidecar)
    }

    /// The blob's sequence number.
    pub(super) fn fence(&self, place: &BlobPath) -> PortResult<Fence> {
        Ok(self.load(place)?.0)
    }

    /// Raises the sequence number and returns it.
    pub(super) fn advance_fence(&self, place: &BlobPath) -> PortResult<Fence> {
        let (fence, metadata) = self.load(place)?;
        let raised = Fence(fence.0.saturating_add(1));
        self.write(place, raised, metadata)?;
        Ok(raised)
    }

    fn load(&self, place: &BlobPath) -> PortResult<(Fence, BTreeMap<String, String>)> {
        let mut bytes = Vec::new();
        (&self.file).read_to_end(&mut bytes).map_err(|error| place.io_error("read the sidecar of", error))?;
        let content = parse(place, &bytes)?;
        let sequence = u64::from_str_radix(&content.sequence, 16).map_err(|error| corrupt_sidecar(place, error))?;
        Ok((Fence(sequence), content.metadata))
    }

    fn write(&self, place: &BlobPath, fence: Fence, metadata: BTreeMap<String, String>) -> PortResult<()> {
        let content = SidecarData { sequence: format!("{:016x}", fence.0), metadata };
        let bytes = serde_json::to_vec_pretty(&content).map_err(|error| corrupt_sidecar(place, error))?;
        self.file.write_all_at(&bytes, 0).map_err(|error| place.io_error("write the sidecar of", error))
    }
}

fn parse(place: &BlobPath, bytes: &[u8]) -> PortResult<SidecarData> {
    serde_json::from_slice(bytes).map_err(|error| corrupt_sidecar(place, error))
}

fn corrupt_sidecar(place: &BlobPath, error: impl std::error::Error + Send + Sync + 'static) -> PortError {
    let message = format!("{}: {} is no sidecar: {error}", place.blob, place.sidecar.display());
    PortError::new(ErrorKind::Invalid, message).with_code("sidecar-damaged").with_source(error)
}
