//! Opening an image of any format.

mod compressed;
mod format;
mod parent;
mod raw;
mod vhd;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use format::{Format, StatedFormat};
use format::{detect_format, ends_as_vhd, read_head};

use crate::codes;
use crate::file::FileDisk;
use crate::formats::compressed::Compression;
use crate::formats::qcow2::Qcow2;
use crate::formats::vhd::Footer;
use crate::formats::vhdx::Vhdx;
use crate::formats::vmdk::{self, Siblings, SparseExtent};
use crate::unsupported::UnsupportedFile;
use crate::{DiskError, DiskReader, Finding};

/// The maximum time for checking the tables of an image. Tables of a disk of 4 TiB take a few seconds; a sparse file
/// can refer to tables that would take hours.
const MAX_VERIFY_TIME: Duration = Duration::from_secs(120);

/// How to open an image.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The format, if it is not to be detected.
    pub format: Option<StatedFormat>,
    /// The parents of a differencing image, in any order.
    pub parents: Vec<PathBuf>,
    /// How long opening may take. This includes decompressing a stream to find its size, but not reading the disk
    /// later.
    pub time: Option<Duration>,
    /// Set to true to cancel opening.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// An open image.
#[derive(Debug, Clone)]
pub struct OpenDisk {
    /// The disk.
    pub disk: Arc<dyn DiskReader>,
    /// The format of the image.
    pub format: Format,
    /// How the file is compressed as a whole.
    pub compression: Option<Compression>,
    /// The image's footer, if it is a VHD.
    pub footer: Option<Footer>,
    /// The id by which differencing images name this one.
    pub id: Option<String>,
    /// The size of the sectors that the guest sees, in bytes: 512 or 4,096.
    pub sector_size: u64,
    /// Whether reading out of order is slow, because the file is a compressed stream.
    pub sequential: bool,
    /// Whether the changes in a VHDX log were applied.
    pub log_replayed: bool,
}

impl OpenDisk {
    fn new(disk: Arc<dyn DiskReader>, format: Format) -> Self {
        Self {
            disk,
            format,
            compression: None,
            footer: None,
            id: None,
            sector_size: 512,
            sequential: false,
            log_replayed: false,
        }
    }
}

/// Why a file cannot be opened as a disk.
#[derive(Debug, thiserror::Error)]
#[error("{}", finding.message)]
pub struct OpenError {
    /// The format of the file, as far as it is known.
    pub format: Format,
    /// The error as a finding, with its code and a remedy.
    pub finding: Box<Finding>,
}

impl OpenError {
    pub(crate) fn new(format: Format, finding: Finding) -> Self {
        Self { format, finding: Box::new(finding) }
    }

    fn unsupported(file: UnsupportedFile) -> Self {
        let message = format!("it is {}, not a disk image that can be read", file.name);
        Self::new(Format::Unknown, Finding::new(file.code, message).with_remedy(file.remedy))
    }

    pub(crate) fn disk(format: Format, error: &DiskError) -> Self {
        Self::new(format, Finding::new(error.code(), error.to_string()))
    }
}

/// Opens an image, detects its format, and checks its allocation tables. The file is not changed.
///
/// # Errors
/// [`OpenError`] with a finding that names the format, the fault and the remedy.
pub fn open(path: &Path, options: &OpenOptions) -> Result<OpenDisk, OpenError> {
    let source: Arc<dyn DiskReader> = Arc::new(open_file(path)?);
    Opener::new(options, Siblings::of(path)).open(source, &options.parents)
}

/// Opens an image that is already available as a reader, for example in memory. A VMDK cannot refer to other files.
///
/// # Errors
/// As [`open`].
pub fn open_reader(source: Arc<dyn DiskReader>, options: &OpenOptions) -> Result<OpenDisk, OpenError> {
    Opener::new(options, Siblings::none()).open(source, &options.parents)
}

fn open_file(path: &Path) -> Result<FileDisk, OpenError> {
    let refuse = |code, message: String| OpenError::new(Format::Unknown, Finding::new(code, message));
    let io_error = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            refuse(&codes::NOT_FOUND, "there is no such file".to_owned())
        }
        _ => refuse(&codes::UNREADABLE, format!("it cannot be read: {error}")),
    };
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    if metadata.is_dir() {
        return Err(refuse(&codes::NOT_A_FILE, "it is a folder".to_owned()));
    }
    if !metadata.is_file() {
        return Err(refuse(&codes::NOT_A_FILE, "it is not a regular file".to_owned()));
    }
    if metadata.len() == 0 {
        return Err(refuse(&codes::EMPTY, "it is empty".to_owned()));
    }
    let file = File::open(path).map_err(io_error)?;
    FileDisk::new(file).map_err(|error| OpenError::disk(Format::Unknown, &error))
}

/// The error for an image that is not of the format that was stated.
fn mismatch(stated: &str, source: &dyn DiskReader, head: &[u8]) -> OpenError {
    let other = match detect_format(head) {
        Some(detected) => format!("but by its first bytes it is {detected}"),
        None if ends_as_vhd(source) => "but it is a VHD: it ends with a footer".to_owned(),
        None => "but it does not begin like one".to_owned(),
    };
    let message = format!("its format is stated to be {stated}, {other}");
    OpenError::new(Format::Unknown, Finding::new(&codes::FORMAT_MISMATCH, message))
}

/// Opens one image, and those that it depends on.
struct Opener<'a> {
    options: &'a OpenOptions,
    /// Where the extents of a VMDK descriptor may be.
    siblings: Siblings,
    deadline: Option<Instant>,
}

impl<'a> Opener<'a> {
    fn new(options: &'a OpenOptions, siblings: Siblings) -> Self {
        Self { options, siblings, deadline: options.time.map(|time| Instant::now() + time) }
    }

    fn open(&self, source: Arc<dyn DiskReader>, parents: &[PathBuf]) -> Result<OpenDisk, OpenError> {
        let head = read_head(&*source).map_err(|error| OpenError::disk(Format::Unknown, &error))?;
        if head.is_empty() {
            return Err(OpenError::new(Format::Unknown, Finding::new(&codes::EMPTY, "it is empty")));
        }
        // Compression is detected even if a format is stated: the stated one is that of the decompressed file.
        match Compression::detect(&head) {
            Some(compression) if !ends_as_vhd(&*source) => self.open_compressed(source, compression),
            _ => self.open_plain(source, &head, parents),
        }
    }

    /// Fails if opening was cancelled or takes too long.
    fn check_limits(&self) -> Result<(), DiskError> {
        if self.options.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(DiskError::Cancelled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(DiskError::Limit("opening it takes too long".to_owned()));
        }
        Ok(())
    }

    fn open_plain(&self, source: Arc<dyn DiskReader>, head: &[u8], parents: &[PathBuf]) -> Result<OpenDisk, OpenError> {
        let format = match self.options.format {
            Some(StatedFormat::Raw) => return raw::open_stated(source, head),
            Some(StatedFormat::Vhd) => None,
            Some(StatedFormat::Vhdx) => Some(Format::Vhdx),
            Some(StatedFormat::Qcow2) => Some(Format::Qcow2),
            Some(StatedFormat::Vmdk) => Some(Format::Vmdk),
            // The first bytes of a fixed VHD are those of its disk, which may look like another format.
            None if ends_as_vhd(&*source) => None,
            None => detect_format(head),
        };
        if let Some(stated) = format.filter(|stated| detect_format(head) != Some(*stated)) {
            return Err(mismatch(&stated.to_string(), &*source, head));
        }
        let open = match format {
            Some(Format::Vhdx) => self.open_vhdx(source, parents)?,
            Some(Format::Qcow2) => {
                let image = Qcow2::open(source).map_err(|error| OpenError::disk(Format::Qcow2, &error))?;
                OpenDisk::new(Arc::new(image), Format::Qcow2)
            }
            Some(_) => self.open_vmdk(source, head).map_err(|error| OpenError::disk(Format::Vmdk, &error))?,
            None => self.open_vhd_or_raw(Arc::clone(&source), head, parents).map_err(|error| {
                let is_other = error.finding.code == codes::NO_FOOTER.name && detect_format(head).is_some();
                if is_other { mismatch("VHD", &*source, head) } else { error }
            })?,
        };
        let begin = Instant::now();
        let check_limits = || match self.check_limits() {
            Ok(()) if begin.elapsed() > MAX_VERIFY_TIME => {
                Err(DiskError::Limit("checking its tables takes too long".to_owned()))
            }
            result => result,
        };
        open.disk.verify(&check_limits).map_err(|error| OpenError::disk(open.format, &error))?;
        Ok(open)
    }

    fn open_vmdk(&self, source: Arc<dyn DiskReader>, head: &[u8]) -> Result<OpenDisk, DiskError> {
        if vmdk::looks_like_descriptor(head) {
            let length = source.size().min(vmdk::MAX_DESCRIPTOR);
            let bytes = crate::reader::read_part(&*source, 0, crate::bytes::index(length), "the descriptor")?;
            let disk = vmdk::open_descriptor(&bytes, &self.siblings)?;
            return Ok(OpenDisk::new(Arc::new(disk), Format::Vmdk));
        }
        let extent = SparseExtent::open(source)?;
        extent.require_whole_disk()?;
        Ok(OpenDisk::new(Arc::new(extent), Format::Vmdk))
    }

    fn open_vhdx(&self, source: Arc<dyn DiskReader>, parents: &[PathBuf]) -> Result<OpenDisk, OpenError> {
        let mut vhdx = Vhdx::open(source).map_err(|error| OpenError::disk(Format::Vhdx, &error))?;
        let (id, sector_size, log_replayed) = (vhdx.id().to_owned(), vhdx.logical_sector(), vhdx.log_was_replayed());
        let mut format = Format::Vhdx;
        if let Some(ids) = vhdx.parent_ids().map(<[String]>::to_vec) {
            format = Format::DifferencingVhdx;
            vhdx.set_parent(self.find_parent(format, &ids, parents)?);
        }
        let mut open = OpenDisk::new(Arc::new(vhdx), format);
        (open.id, open.sector_size, open.log_replayed) = (Some(id), sector_size, log_replayed);
        Ok(open)
    }
}
