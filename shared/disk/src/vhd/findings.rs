//! What a check finds.

use std::fmt;
use std::path::{Path, PathBuf};

use goldfleet_model::manifest::Generation;
use serde::Serialize;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// The image may not do what is expected of it.
    Warning,
    /// The file can't become an OS disk.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A VHD that holds its disk as it is.
    FixedVhd,
    /// A VHD that holds blocks as they came to be written.
    DynamicVhd,
    /// A VHD that holds the difference to another.
    DifferencingVhd,
    /// Hyper-V's newer format.
    Vhdx,
    /// QEMU's format.
    Qcow2,
    /// VMware's format.
    Vmdk,
    /// VirtualBox's format.
    Vdi,
    /// Parallels' format.
    Parallels,
    /// An earlier format of QEMU's.
    Qed,
    /// A compressed file.
    Compressed,
    /// An archive, such as tar or zip.
    Archive,
    /// An image of an optical disc.
    Iso,
    /// A disk as it is, without a footer.
    Raw,
    /// None of these.
    Unknown,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// A stable code in kebab case, listed in `docs/vhd.md`.
    pub code: &'static str,
    /// What is wrong, naming the file and the numbers.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a check found out about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file. In JSON, what is no Unicode in its name is replaced.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// What it is.
    pub format: Format,
    /// The disk's size in bytes, if it is a VHD that can be read.
    pub size: Option<u64>,
    /// Bytes of the disk that may hold data: holes and unwritten blocks are not among them.
    pub data_bytes: Option<u64>,
    /// The generation, as stated or as the partition table tells.
    pub generation: Option<Generation>,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
}

/// By default serde refuses such names, and a report would come to nothing by its file's name.
fn lossy<S: serde::Serializer>(file: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&file.display())
}

impl Report {
    /// Whether the file can become an OS disk.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}
