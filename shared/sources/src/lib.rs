//! Sources: where an artifact comes from. A source gives the disks of an artifact as readers.
//!
//! Each source is one folder. [`disk_file`] is a disk image of any format on the local machine.

pub mod disk_file;

use std::fmt;
use std::path::Path;

use goldfleet_disk::{DiskError, OpenDisk, OpenError, OpenOptions};

pub use disk_file::DiskFile;

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
}

/// The disks of an artifact as readers: size, ranges that may hold data, bytes.
#[derive(Debug)]
pub struct OpenArtifact {
    /// The OS disk.
    pub os_disk: Result<OpenDisk, OpenError>,
    /// The data disks, in the order of their LUNs.
    pub data_disks: Vec<DataDisk>,
}

/// A data disk of an artifact.
#[derive(Debug)]
pub struct DataDisk {
    /// The LUN of the disk in a machine.
    pub lun: u16,
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
}
