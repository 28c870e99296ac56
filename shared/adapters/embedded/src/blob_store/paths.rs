//! Where things lie in the directory cloud, and what its errors mean there.

use std::fs;
use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};

use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::blob_store::no_blob;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

/// The folder of an account that holds what is not a blob. No container and no blob can be called so.
const PRIVATE_FOLDER: &str = ".goldfleet";

/// The longest name of a blob. Source: Azure, naming blobs, 1,024 characters.
const MAX_NAME: usize = 1024;

/// A container's place.
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
    pub(super) fn new(root: &Path, container: &Container) -> Self {
        let account = root.join(container.account.as_str());
        let folder = account.join(container.container.as_str());
        Self { container: container.clone(), account, folder }
    }

    /// Where files are written before they become blobs: in the account, as files cannot be linked across disks.
    pub(super) fn temporary(&self) -> PathBuf {
        self.account.join(PRIVATE_FOLDER).join("tmp")
    }

    /// Says that the container is missing, if it is: writes must not make one by the way.
    pub(super) fn check_exists(&self) -> PortResult<()> {
        if self.optional("look at", fs::metadata(&self.folder))?.is_some_and(|found| found.is_dir()) {
            return Ok(());
        }
        self.check_usable()?;
        let message = format!("there is no container {}", self.container);
        Err(PortError::new(ErrorKind::NotFound, message).with_code("container-not-found"))
    }

    /// Tells a thing that is not there from one that can't be looked at.
    pub(super) fn optional<T>(&self, doing: &str, result: io::Result<T>) -> PortResult<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == Io::NotFound => Ok(None),
            // Below a blob there is nothing; below an account or container that is a file there should be something.
            Err(error) if error.kind() == Io::NotADirectory => self.check_usable().map(|()| None),
            Err(error) => Err(self.io_error(doing, error)),
        }
    }

    /// What an operating system's error means for this container.
    pub(super) fn io_error(&self, doing: &str, error: io::Error) -> PortError {
        if let Err(unusable) = self.check_usable() {
            return unusable.with_source(error);
        }
        io_error(&format!("could not {doing} in {}", self.container), error)
    }

    fn check_usable(&self) -> PortResult<()> {
        for path in [&self.account, &self.folder] {
            if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
                let message = format!("{} should be a folder, and is not", path.display());
                return Err(PortError::new(ErrorKind::Denied, message).with_code("account-unusable"));
            }
        }
        Ok(())
    }
}

/// A blob's place.
#[derive(Debug, Clone)]
pub(crate) struct BlobPath {
    /// The blob, for messages.
    pub(super) blob: BlobAddress,
    /// Its container's place.
    pub(super) container: ContainerPath,
    /// Its file.
    pub(crate) file: PathBuf,
    /// What the file of a page blob can't hold: metadata and sequence number.
    pub(super) sidecar: PathBuf,
}

impl BlobPath {
    /// # Errors
    /// `Invalid` where the blob's name would lead out of its container, or to what no list shows.
    pub(crate) fn parse(root: &Path, blob: &BlobAddress) -> PortResult<Self> {
        let hidden = |segment: &str| segment.is_empty() || segment.starts_with('.');
        if blob.name.len() > MAX_NAME || blob.name.contains('\0') || blob.name.split('/').any(hidden) {
            let message = format!(
                "{:?} is no blob name here: use up to {MAX_NAME} bytes, without empty segments and without segments that begin with '.'",
                blob.name
            );
            return Err(PortError::new(ErrorKind::Invalid, message));
        }
        let home = ContainerPath::new(root, &blob.container);
        let file = home.folder.join(&blob.name);
        let sidecar = home
            .account
            .join(PRIVATE_FOLDER)
            .join(blob.container.container.as_str())
            .join(format!("{}.json", blob.name));
        Ok(Self { blob: blob.clone(), container: home, file, sidecar })
    }

    /// The blob's file and what is known of it; none where there is no such blob.
    pub(crate) fn open(&self, options: &fs::OpenOptions) -> PortResult<Option<(fs::File, fs::Metadata)>> {
        // Looking first, as opening a folder for writing fails in a way of its own.
        let Some(_) = self.stat()? else { return Ok(None) };
        let opened = options.open(&self.file).and_then(|file| file.metadata().map(|found| (file, found)));
        self.container.optional(&format!("open {}", self.blob.name), opened)
    }

    /// What is known of the blob's file; none where there is no such blob.
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

    /// Removes the folders above the blob and its sidecar that are empty now. A folder that is not, stays; so does one
    /// that can't be removed, as it does no harm.
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

/// What an operating system's error means.
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
