//! The paths of the directory cloud, and the conversion of its I/O errors.

use std::fs;
use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};

use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::blob_store::no_blob;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use crate::links::check_inside;

/// The folder of an account that contains everything except blobs. It is not a valid name of a container or blob.
const PRIVATE_FOLDER: &str = ".goldfleet";

/// The maximum length of a blob name. Source: Azure, naming blobs, 1,024 characters.
const MAX_NAME: usize = 1024;

/// The paths of a container.
#[derive(Debug, Clone)]
pub(super) struct ContainerPath {
    /// The container, for messages.
    pub(super) container: Container,
    /// The account's folder.
    pub(super) account: PathBuf,
    /// The container's folder.
    pub(super) folder: PathBuf,
}

impl ContainerPath {
    /// # Errors
    /// `Denied` if a symbolic link leads out of the root.
    pub(super) fn new(root: &Path, container: &Container) -> PortResult<Self> {
        let account = root.join(container.account.as_str());
        let folder = account.join(container.container.as_str());
        check_inside(root, &folder)?;
        Ok(Self { container: container.clone(), account, folder })
    }

    /// The folder in which files are written before they become blobs. It is inside the account, because hard links do
    /// not work across file systems.
    pub(super) fn temporary(&self) -> PathBuf {
        self.account.join(PRIVATE_FOLDER).join("tmp")
    }

    /// Returns an error if the container does not exist. A write must not create it implicitly.
    pub(super) fn check_exists(&self) -> PortResult<()> {
        if self.optional("look at", fs::metadata(&self.folder))?.is_some_and(|found| found.is_dir()) {
            return Ok(());
        }
        self.check_usable()?;
        let message = format!("there is no container {}", self.container);
        Err(PortError::new(ErrorKind::NotFound, message).with_code("container-not-found"))
    }

    /// Converts the error of a missing file to None. Other errors remain errors.
    pub(super) fn optional<T>(&self, doing: &str, result: io::Result<T>) -> PortResult<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == Io::NotFound => Ok(None),
            // A path below a blob does not exist. A path below a file in place of an account or container is an error.
            Err(error) if error.kind() == Io::NotADirectory => self.check_usable().map(|()| None),
            Err(error) => Err(self.io_error(doing, error)),
        }
    }

    /// Converts an I/O error for this container.
    pub(super) fn io_error(&self, doing: &str, error: io::Error) -> PortError {
        if let Err(unusable) = self.check_usable() {
            return unusable.with_source(error);
        }
        io_error(&format!("could not {doing} in {}", self.container), error)
    }

    fn check_usable(&self) -> PortResult<()> {
        for path in [&self.account, &self.folder] {
            if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
                let message = format!("{}: expected a directory, found a file", path.display());
                return Err(PortError::new(ErrorKind::Denied, message).with_code("account-unusable"));
            }
        }
        Ok(())
    }
}

/// The paths of a blob.
#[derive(Debug, Clone)]
pub(crate) struct BlobPath {
    /// The blob, for messages.
    pub(super) blob: BlobAddress,
    /// The paths of its container.
    pub(super) container: ContainerPath,
    /// The path of its file.
    pub(crate) file: PathBuf,
    /// The path of the sidecar, which holds the metadata and the sequence number of a page blob.
    pub(super) sidecar: PathBuf,
}

impl BlobPath {
    /// # Errors
    /// `Invalid` if the name leads out of the container, or to a file that lists do not contain. `Denied` if a symbolic
    /// link leads out of it.
    pub(crate) fn parse(root: &Path, blob: &BlobAddress) -> PortResult<Self> {
        let hidden = |segment: &str| segment.is_empty() || segment.starts_with('.');
        if blob.name.len() > MAX_NAME || blob.name.contains('\0') || blob.name.split('/').any(hidden) {
            let message = format!(
                "{:?} is not a blob name here: use up to {MAX_NAME} bytes, without empty segments and without segments that begin with '.'",
                blob.name
            );
            return Err(PortError::new(ErrorKind::Invalid, message));
        }
        let home = ContainerPath::new(root, &blob.container)?;
        let file = home.folder.join(&blob.name);
        let sidecar = home
            .account
            .join(PRIVATE_FOLDER)
            .join(blob.container.container.as_str())
            .join(format!("{}.json", blob.name));
        check_inside(&home.folder, &file)?;
        check_inside(&home.account, &sidecar)?;
        Ok(Self { blob: blob.clone(), container: home, file, sidecar })
    }

    /// Opens the file of the blob and returns it with its metadata. Returns None if the blob does not exist.
    pub(crate) fn open(&self, options: &fs::OpenOptions) -> PortResult<Option<(fs::File, fs::Metadata)>> {
        // Opening a folder for writing fails with a different error, so this checks the path first.
        let Some(_) = self.stat()? else { return Ok(None) };
        let opened = options.open(&self.file).and_then(|file| file.metadata().map(|found| (file, found)));
        self.container.optional(&format!("open {}", self.blob.name), opened)
    }

    /// The metadata of the blob's file. None if the blob does not exist.
    pub(super) fn stat(&self) -> PortResult<Option<fs::Metadata>> {
        let found = self.container.optional(&format!("look at {}", self.blob.name), fs::metadata(&self.file))?;
        Ok(found.filter(fs::Metadata::is_file))
    }

    pub(super) fn io_error(&self, doing: &str, error: io::Error) -> PortError {
        self.container.io_error(&format!("{doing} {}", self.blob.name), error)
    }

    pub(crate) fn not_found(&self) -> PortError {
        let error = no_blob(&self.blob);
        if self.container.folder.is_dir() { error } else { error.with_code("container-not-found") }
    }

    /// Removes the empty folders above the blob and its sidecar. Folders that are not empty or cannot be removed
    /// remain, which does no harm.
    pub(super) fn remove_empty_folders(&self) {
        for (path, top) in [(&self.file, &self.container.folder), (&self.sidecar, &self.container.account)] {
            let folders = path.ancestors().skip(1).take_while(|folder| *folder != top);
            for folder in folders {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
        }
    }
}

/// Converts an I/O error.
pub(crate) fn io_error(what: &str, error: io::Error) -> PortError {
    let (kind, code) = match error.kind() {
        Io::NotFound => (ErrorKind::NotFound, None),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => (ErrorKind::Denied, Some("account-unusable")),
        Io::StorageFull | Io::QuotaExceeded => (ErrorKind::Unavailable, Some("disk-full")),
        Io::NotADirectory | Io::IsADirectory | Io::AlreadyExists => (ErrorKind::Invalid, Some("name-taken")),
        Io::InvalidFilename | Io::InvalidInput => (ErrorKind::Invalid, None),
        _ => (ErrorKind::Unavailable, None),
    };
    let fault = PortError::new(kind, format!("{what}: {error}"));
    match code {
        Some(code) => fault.with_code(code),
        None => fault,
    }
    .with_source(error)
}
