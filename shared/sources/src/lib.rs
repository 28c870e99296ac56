//! Sources: where an artifact comes from. A source gives the disks of an artifact as readers.
//!
//! Each source is one folder:
//!
//! - [`disk_file`] is one or more disk images of any format on the local machine;
//! - [`cloud_disk`] is a managed disk or snapshot, read by a SAS;
//! - [`machine`] is a virtual machine with all its disks;
//! - [`version`] is a managed image or a gallery version, of which managed disks are created;
//! - [`cloud_blob`] is a disk image of any format in a blob, read by token.
//!
//! [`location`] is how an operator names a source in the cloud, [`codes`] are the reasons for which one is refused.

pub mod cloud_blob;
pub mod cloud_disk;
pub mod codes;
pub mod disk_file;
mod earlier;
pub mod location;
pub mod machine;
mod remote;
pub mod version;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use goldfleet_disk::{DiskError, OpenDisk, OpenError, OpenOptions};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::origin::Origin;
use goldfleet_ports::error::PortError;

pub use cloud_blob::CloudBlob;
pub use cloud_disk::CloudDisk;
pub use codes::Refusal;
pub use disk_file::{DataFile, DiskFile};
pub use earlier::{EarlierContent, EarlierWindow};
pub use location::SourceLocation;
pub use machine::Machine;
pub use remote::Requests;
pub use version::VersionFacts;

/// The place that an artifact comes from.
///
/// All methods may block. Call them on a thread on which blocking is possible.
pub trait ArtifactSource: fmt::Debug + Send + Sync {
    /// The location for messages, reports and the record of an upload: a path, or a resource id.
    fn location(&self) -> &Path;

    /// Opens the disks. A disk that cannot be opened has the reason. Nothing of the source is changed.
    fn open(&self, options: &OpenOptions) -> OpenArtifact;

    /// The revision of the content. Two equal revisions mean that nothing was written between them.
    ///
    /// # Errors
    /// If the source cannot be read.
    fn revision(&self) -> Result<Revision, DiskError>;

    /// Where the disks come from, for the record of the upload. None for a local file.
    fn origin(&self) -> Option<&Origin> {
        None
    }

    /// The earlier content of a disk, if it is known where the disk differs from that. Valid for the revision at which
    /// the source was opened.
    fn earlier(&self, _role: DiskRole) -> Option<&EarlierContent> {
        None
    }

    /// The number of threads that read a disk at the same time. None if the number of cores decides.
    fn readers(&self) -> Option<usize> {
        None
    }
}

/// Why a source in the cloud cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot become an image, or cannot be read.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A service refused or could not be reached.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The disks of an artifact as readers: size, ranges that may hold data, bytes.
#[derive(Debug)]
pub struct OpenArtifact {
    /// The OS disk.
    pub os_disk: Result<OpenDisk, OpenError>,
    /// The data disks, in the order of their LUNs. Each LUN occurs once.
    pub data_disks: Vec<DataDisk>,
}

/// A data disk of an artifact.
#[derive(Debug)]
pub struct DataDisk {
    /// The LUN of the disk in a machine, at most [`DiskRole::MAX_LUN`].
    pub lun: u8,
    /// The location of the disk for messages and reports.
    pub location: PathBuf,
    /// The disk.
    pub disk: Result<OpenDisk, OpenError>,
}

/// The revision of a source's content. It is opaque and only compared for equality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// A revision from what identifies it: a unique id, or the length and the time of the last write.
    #[must_use]
    pub fn new(identity: impl Into<String>) -> Self {
        Self(identity.into())
    }

    /// The revision of several contents together.
    #[must_use]
    pub fn joined(revisions: impl IntoIterator<Item = Self>) -> Self {
        Self(revisions.into_iter().map(|Self(identity)| identity).collect::<Vec<_>>().join("; "))
    }

    /// A revision that no other one equals: the source has changed since it was opened.
    #[must_use]
    pub fn unequal() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self(format!("changed {}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }
}
