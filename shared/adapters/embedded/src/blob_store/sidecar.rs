//! Sidecars: files with the metadata and sequence number of a page blob, whose locks enforce its fences.
//!
//! A writer takes a shared lock on the sidecar, checks the sequence number and writes. Taking a fence requires an
//! exclusive lock. A writer that is stopped between the check and the write therefore blocks the new fence, instead of
//! writing after it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;

use goldfleet_ports::blob_store::Fence;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use serde::{Deserialize, Serialize};

use super::locks::{self, LockMode};
use super::paths::BlobPath;

/// The content of a sidecar.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SidecarData {
    /// The sequence number in 16 hexadecimal digits. Its width is constant and it is the first field, so a kill during
    /// a write cannot damage the fields after it.
    sequence: String,
    /// The blob's metadata.
    pub(super) metadata: BTreeMap<String, String>,
}

/// An open sidecar. It is locked until it is dropped.
pub(super) struct Sidecar {
    file: File,
}

/// Reads a blob's sidecar without a lock. This is safe for metadata, which never change. Returns None if the sidecar
/// does not exist.
pub(super) fn read(blob_path: &BlobPath) -> PortResult<Option<SidecarData>> {
    let read = blob_path.container.optional("read the sidecar", fs::read(&blob_path.sidecar))?;
    read.map(|bytes| parse(blob_path, &bytes)).transpose()
}

impl Sidecar {
    /// Locks a blob's sidecar. Returns None if it does not exist.
    pub(super) fn open(blob_path: &BlobPath, mode: LockMode) -> PortResult<Option<Self>> {
        let opened =
            locks::open_locked(blob_path, &blob_path.sidecar, OpenOptions::new().read(true).write(true), mode)?;
        Ok(opened.map(|file| Self { file }))
    }

    /// Locks a page blob's sidecar.
    ///
    /// # Errors
    /// `NotFound` if the blob does not exist, `Invalid` if it is not a page blob.
    pub(super) fn of_page_blob(blob_path: &BlobPath, mode: LockMode) -> PortResult<Self> {
        let sidecar = Self::open(blob_path, mode)?;
        // The blob is checked under the lock, because the sidecar is deleted after the blob.
        match (sidecar, blob_path.stat()?) {
            (Some(sidecar), Some(_)) => Ok(sidecar),
            (None, Some(_)) => {
                let message = format!("{} is no page blob", blob_path.blob);
                Err(PortError::new(ErrorKind::Invalid, message).with_code("not-a-page-blob"))
            }
            (_, None) => Err(blob_path.not_found()),
        }
    }

    /// Creates or takes over the sidecar of a new blob with its first sequence number, and locks it exclusively.
    pub(super) fn create(blob_path: &BlobPath, first: Fence, metadata: &BTreeMap<String, String>) -> PortResult<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let sidecar = loop {
            if let Some(parent) = blob_path.sidecar.parent() {
                fs::create_dir_all(parent).map_err(|error| blob_path.io_error("write the sidecar of", error))?;
            }
            // This is None only if the empty folder was removed at this moment.
            if let Some(file) = locks::open_locked(blob_path, &blob_path.sidecar, &options, LockMode::Exclusive)? {
                break Self { file };
            }
        };
        if blob_path.stat()?.is_some() {
            return Err(super::temp_blob::already_exists(blob_path));
        }
        sidecar.file.set_len(0).map_err(|error| blob_path.io_error("write the sidecar of", error))?;
        sidecar.write(blob_path, first, metadata.clone())?;
        Ok(sidecar)
    }

    /// The blob's sequence number.
    pub(super) fn fence(&self, blob_path: &BlobPath) -> PortResult<Fence> {
        Ok(self.load(blob_path)?.0)
    }

    /// Increments the sequence number and returns it.
    pub(super) fn advance_fence(&self, blob_path: &BlobPath) -> PortResult<Fence> {
        let (fence, metadata) = self.load(blob_path)?;
        let raised = Fence(fence.0.saturating_add(1));
        self.write(blob_path, raised, metadata)?;
        Ok(raised)
    }

    fn load(&self, blob_path: &BlobPath) -> PortResult<(Fence, BTreeMap<String, String>)> {
        let mut bytes = Vec::new();
        (&self.file).read_to_end(&mut bytes).map_err(|error| blob_path.io_error("read the sidecar of", error))?;
        let content = parse(blob_path, &bytes)?;
        let sequence = u64::from_str_radix(&content.sequence, 16).map_err(|error| corrupt_sidecar(blob_path, error))?;
        Ok((Fence(sequence), content.metadata))
    }

    fn write(&self, blob_path: &BlobPath, fence: Fence, metadata: BTreeMap<String, String>) -> PortResult<()> {
        let content = SidecarData { sequence: format!("{:016x}", fence.0), metadata };
        let bytes = serde_json::to_vec_pretty(&content).map_err(|error| corrupt_sidecar(blob_path, error))?;
        self.file.write_all_at(&bytes, 0).map_err(|error| blob_path.io_error("write the sidecar of", error))
    }
}

fn parse(blob_path: &BlobPath, bytes: &[u8]) -> PortResult<SidecarData> {
    serde_json::from_slice(bytes).map_err(|error| corrupt_sidecar(blob_path, error))
}

fn corrupt_sidecar(blob_path: &BlobPath, error: impl std::error::Error + Send + Sync + 'static) -> PortError {
    let message = format!("{}: {} is no sidecar: {error}", blob_path.blob, blob_path.sidecar.display());
    PortError::new(ErrorKind::Invalid, message).with_code("sidecar-damaged").with_source(error)
}
