//! Opening an image of any format.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::codes;
use crate::file::{FileDisk, Section};
use crate::foreign::{self, Foreign};
use crate::formats::compressed::{self, CompressedDisk, Compression};
use crate::formats::vhd::{self, DiskType, DynamicVhd, FOOTER_SIZE, Footer, FooterError, Located};
use crate::formats::vhdx::{self, Vhdx};
use crate::formats::vmdk::{self, Siblings, SparseExtent};
use crate::formats::{qcow2, raw};
use crate::{DiskError, DiskReader, Finding};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A VHD that holds the whole disk.
    FixedVhd,
    /// A VHD that holds the blocks that were written.
    DynamicVhd,
    /// A VHD that holds the differences to a parent.
    DifferencingVhd,
    /// Hyper-V's newer format.
    Vhdx,
    /// A VHDX that holds the differences to a parent.
    DifferencingVhdx,
    /// QEMU's format.
    Qcow2,
    /// VMware's format.
    Vmdk,
    /// A disk without header and footer.
    Raw,
    /// None of these.
    Unknown,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FixedVhd => "fixed VHD",
            Self::DynamicVhd => "dynamic VHD",
            Self::DifferencingVhd => "differencing VHD",
            Self::Vhdx => "VHDX",
            Self::DifferencingVhdx => "differencing VHDX",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "VMDK",
            Self::Raw => "raw disk",
            Self::Unknown => "unknown format",
        })
    }
}

/// A format as the caller states it (`--format`). Without it, the format is detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatedFormat {
    /// The bytes of the file are the disk.
    Raw,
    /// A VHD, also if bytes follow its footer or its footer has only 511 bytes.
    Vhd,
    /// A VHDX.
    Vhdx,
    /// A qcow2 image.
    Qcow2,
    /// A VMDK.
    Vmdk,
}

impl std::str::FromStr for StatedFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "raw" => Ok(Self::Raw),
            "vhd" | "vpc" => Ok(Self::Vhd),
            "vhdx" => Ok(Self::Vhdx),
            "qcow2" => Ok(Self::Qcow2),
            "vmdk" => Ok(Self::Vmdk),
            _ => Err(format!("unknown format '{text}': use raw, vhd, vhdx, qcow2 or vmdk")),
        }
    }
}

/// How to open an image.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The format, if it is not to be detected.
    pub format: Option<StatedFormat>,
    /// The parents of a differencing image, in any order.
    pub parents: Vec<PathBuf>,
    /// How long opening may take. Decompressing a whole stream counts, reading the disk later does not.
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

/// Why a file cannot be opened as a disk.
#[derive(Debug, thiserror::Error)]
#[error("{}", finding.message)]
pub struct OpenError {
    /// What the file is, as far as it is known.
    pub format: Format,
    /// The error as a finding, with its code and what to do.
    pub finding: Box<Finding>,
}

impl OpenError {
    pub(crate) fn new(format: Format, finding: Finding) -> Self {
        Self { format, finding: Box::new(finding) }
    }

    fn foreign(foreign: Foreign) -> Self {
        let message = format!("it is {}, not a disk image that can be read", foreign.name);
        Self::new(Format::Unknown, Finding::new(foreign.code, message).with_remedy(foreign.remedy))
    }

    pub(crate) fn disk(format: Format, error: &DiskError) -> Self {
        Self::new(format, Finding::new(error.code(), error.to_string()))
    }
}

/// Opens an image, detects its format, and checks its allocation tables. The file is not changed.
///
/// # Errors
/// [`OpenError`] with a finding that says what the file is, and what to do.
pub fn open(path: &Path, options: &OpenOptions) -> Result<OpenDisk, OpenError> {
    let source: Arc<dyn DiskReader> = Arc::new(open_file(path)?);
    let opener =
        Opener { options, siblings: Siblings::of(path), deadline: options.time.map(|time| Instant::now() + time) };
    opener.open(source, &options.parents)
}

/// Opens an image that is already available as a reader, for example in memory. A VMDK cannot refer to other files.
///
/// # Errors
/// As [`open`].
pub fn open_reader(source: Arc<dyn DiskReader>, options: &OpenOptions) -> Result<OpenDisk, OpenError> {
    let opener =
        Opener { options, siblings: Siblings::none(), deadline: options.time.map(|time| Instant::now() + time) };
    opener.open(source, &options.parents)
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

struct Opener<'a> {
    options: &'a OpenOptions,
    siblings: Siblings,
    deadline: Option<Instant>,
}

impl Opener<'_> {
    fn open(&self, source: Arc<dyn DiskReader>, parents: &[PathBuf]) -> Result<OpenDisk, OpenError> {
        let head = head(&*source).map_err(|error| OpenError::disk(Format::Unknown, &error))?;
        if head.is_empty() {
            return Err(OpenError::new(Format::Unknown, Finding::new(&codes::EMPTY, "it is empty")));
        }
        // A stated format is not overruled by what the first bytes look like, except for compression.
        match Compression::detect(&head) {
            Some(compression) if !ends_as_vhd(&*source) => self.open_compressed(&source, compression),
            _ => self.open_plain(source, &head, parents),
        }
    }

    fn go_on(&self) -> Result<(), DiskError> {
        if self.options.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(DiskError::Cancelled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(DiskError::Limit("opening it takes too long".to_owned()));
        }
        Ok(())
    }

    /// Opens a raw disk or a fixed VHD inside a compressed stream.
    fn open_compressed(&self, source: &Arc<dyn DiskReader>, compression: Compression) -> Result<OpenDisk, OpenError> {
        let failed = |error: DiskError| {
            let mut failed = OpenError::disk(Format::Unknown, &error);
            if let DiskError::Limit(_) = error {
                failed.finding.remedy = format!("decompress it first ({}), and name the result", compression.command());
            }
            failed
        };
        let head = compressed::head(source, compression).map_err(failed)?;
        let random_access = |what: &str| {
            let message = format!("it is {what} compressed with {compression}, which cannot be read as a stream");
            let remedy = format!("decompress it first ({}), and name the result", compression.command());
            OpenError::new(Format::Unknown, Finding::new(&codes::COMPRESSED_RANDOM_ACCESS, message).with_remedy(remedy))
        };
        if let Some(inner) = Compression::detect(&head) {
            return Err(random_access(&format!("a {inner} file")));
        }
        if let Some(format) = detect_format(&head) {
            let article = if format == Format::Qcow2 { "a qcow2 image" } else { &format!("a {format}") };
            return Err(random_access(article));
        }
        if let Some(foreign) = foreign::detect(&head) {
            let mut error = OpenError::foreign(foreign);
            error.finding.message = format!("it is {} compressed with {compression}", foreign.name);
            return Err(error);
        }
        if head.starts_with(vhd::COOKIE) {
            return Err(random_access("a dynamic or differencing VHD"));
        }
        let disk = CompressedDisk::open(Arc::clone(source), compression, &|| self.go_on()).map_err(failed)?;
        if disk.size() == 0 {
            return Err(OpenError::new(Format::Unknown, Finding::new(&codes::EMPTY, "the compressed file is empty")));
        }
        let mut open = self.open_plain(Arc::new(disk), &head, &[])?;
        open.compression = Some(compression);
        open.sequential = true;
        Ok(open)
    }

    fn open_plain(&self, source: Arc<dyn DiskReader>, head: &[u8], parents: &[PathBuf]) -> Result<OpenDisk, OpenError> {
        let format = match self.options.format {
            Some(StatedFormat::Raw) => return open_as_raw(source, head),
            Some(StatedFormat::Vhd) => None,
            Some(StatedFormat::Vhdx) => Some(Format::Vhdx),
            Some(StatedFormat::Qcow2) => Some(Format::Qcow2),
            Some(StatedFormat::Vmdk) => Some(Format::Vmdk),
            // The footer of a VHD counts more than how its disk begins.
            None if ends_as_vhd(&*source) => None,
            None => detect_format(head),
        };
        let open = match format {
            Some(Format::Vhdx) => self.open_vhdx(source, parents)?,
            Some(Format::Qcow2) => {
                let image = qcow2::Qcow2::open(source).map_err(|error| OpenError::disk(Format::Qcow2, &error))?;
                OpenDisk::new(Arc::new(image), Format::Qcow2)
            }
            Some(_) => self.open_vmdk(source, head).map_err(|error| OpenError::disk(Format::Vmdk, &error))?,
            None => self.open_vhd_or_raw(source, head, parents)?,
        };
        open.disk.verify().map_err(|error| OpenError::disk(open.format, &error))?;
        Ok(open)
    }

    fn open_vmdk(&self, source: Arc<dyn DiskReader>, head: &[u8]) -> Result<OpenDisk, DiskError> {
        if vmdk::looks_like_descriptor(head) {
            let length = source.size().min(vmdk::LARGEST_DESCRIPTOR);
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

    fn open_vhd_or_raw(
        &self,
        source: Arc<dyn DiskReader>,
        head: &[u8],
        parents: &[PathBuf],
    ) -> Result<OpenDisk, OpenError> {
        let stated = self.options.format == Some(StatedFormat::Vhd);
        let failed = |error: DiskError| OpenError::disk(Format::Unknown, &error);
        let length = source.size();
        match vhd::locate(&*source).map_err(failed)? {
            Located::Last(footer) => self.open_vhd(source, footer, length - FOOTER_SIZE as u64, parents),
            Located::Padded { footer, at, zeros } if stated && zeros => self.open_vhd(source, footer, at, parents),
            Located::Short(footer) if stated => self.open_vhd(source, footer, length - FOOTER_SIZE as u64 + 1, parents),
            Located::Padded { footer, at, zeros } => {
                let behind = length - at - FOOTER_SIZE as u64;
                let what = if zeros { "zero bytes" } else { "bytes that are not zero" };
                let finding = Finding::new(
                    &codes::PADDED,
                    format!(
                        "it is a VHD, but {behind} {what} follow its footer, which ends at byte {}",
                        length - behind
                    ),
                );
                let finding = if zeros {
                    finding
                } else {
                    finding.with_remedy("copy or export it again: something was written behind the VHD")
                };
                Err(OpenError::new(vhd_format(&footer), finding))
            }
            Located::Short(footer) => {
                let message = "its footer has 511 bytes in place of 512: programs before Virtual PC 2004 wrote it so, or the \
                     last byte is missing";
                Err(OpenError::new(vhd_format(&footer), Finding::new(&codes::SHORT_FOOTER, message)))
            }
            Located::Invalid(error) => {
                let code =
                    if matches!(error, FooterError::Type(_)) { &codes::FOOTER_TYPE } else { &codes::FOOTER_CHECKSUM };
                Err(OpenError::new(Format::Unknown, Finding::new(code, error.to_string())))
            }
            Located::HeadOnly => {
                let message = "it begins as a dynamic VHD, but its footer is missing: it is cut short";
                Err(OpenError::new(Format::DynamicVhd, Finding::new(&codes::TRUNCATED, message)))
            }
            Located::Absent if stated => {
                let message = FooterError::Cookie.to_string();
                Err(OpenError::new(Format::Unknown, Finding::new(&codes::NO_FOOTER, message)))
            }
            Located::Absent => open_raw(source, head),
        }
    }

    fn open_vhd(
        &self,
        source: Arc<dyn DiskReader>,
        footer: Footer,
        footer_at: u64,
        parents: &[PathBuf],
    ) -> Result<OpenDisk, OpenError> {
        let format = vhd_format(&footer);
        let failed = |error: DiskError| OpenError::disk(format, &error);
        let disk: Arc<dyn DiskReader> = if footer.disk_type() == DiskType::Fixed {
            check_fixed_size(&footer, footer_at)?;
            Arc::new(Section::new(source, 0, footer.size()).map_err(failed)?)
        } else {
            let mut disk = DynamicVhd::open(source, footer.clone(), footer_at).map_err(failed)?;
            if let Some(id) = disk.parent_id() {
                disk.set_parent(self.find_parent(format, &[crate::bytes::guid_text_be(&id)], parents)?);
            }
            Arc::new(disk)
        };
        let mut open = OpenDisk::new(disk, format);
        open.id = Some(crate::bytes::guid_text_be(&footer.unique_id()));
        open.footer = Some(footer);
        Ok(open)
    }

    /// The parent with one of the ids, among the files that the caller has named.
    fn find_parent(
        &self,
        format: Format,
        ids: &[String],
        parents: &[PathBuf],
    ) -> Result<Arc<dyn DiskReader>, OpenError> {
        let expected = ids.join(" or ");
        if parents.is_empty() {
            return Err(OpenError::disk(format, &DiskError::ParentMissing { id: expected }));
        }
        let mut found = Vec::new();
        let mut failure = None;
        for (n, path) in parents.iter().enumerate() {
            // A parent is not its own parent, so that each step leaves fewer files.
            let others: Vec<PathBuf> = [&parents[..n], &parents[n + 1..]].concat();
            let options = OpenOptions { format: None, ..self.options.clone() };
            let opener = Opener { options: &options, siblings: Siblings::of(path), deadline: self.deadline };
            let source: Arc<dyn DiskReader> = Arc::new(open_file(path).map_err(|error| of_parent(path, error))?);
            match opener.open(source, &others) {
                Ok(parent) if parent.id.as_ref().is_some_and(|id| ids.contains(id)) => return Ok(parent.disk),
                Ok(parent) => found.push(parent.id.unwrap_or_else(|| format!("none ({})", parent.format))),
                Err(error) => failure = Some(of_parent(path, error)),
            }
        }
        match failure {
            Some(failure) if found.is_empty() => Err(failure),
            _ => Err(OpenError::disk(format, &DiskError::WrongParent { expected, found: found.join(", ") })),
        }
    }
}

fn of_parent(path: &Path, mut error: OpenError) -> OpenError {
    error.finding.message = format!("parent {}: {}", path.display(), error.finding.message);
    error
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

/// The first bytes of a file.
fn head(source: &dyn DiskReader) -> Result<Vec<u8>, DiskError> {
    let length = crate::bytes::index(source.size().min(foreign::LOOKED_AT as u64));
    let mut head = vec![0; length];
    source.read_at(0, &mut head)?;
    Ok(head)
}

/// The formats that are known by their first bytes.
fn detect_format(head: &[u8]) -> Option<Format> {
    if head.starts_with(vhdx::SIGNATURE) {
        Some(Format::Vhdx)
    } else if head.starts_with(qcow2::MAGIC) {
        Some(Format::Qcow2)
    } else if head.starts_with(vmdk::MAGIC) || vmdk::looks_like_descriptor(head) {
        Some(Format::Vmdk)
    } else {
        None
    }
}

/// Whether the last bytes are a valid footer of a VHD.
fn ends_as_vhd(source: &dyn DiskReader) -> bool {
    let mut last = [0; FOOTER_SIZE];
    let at = source.size().checked_sub(FOOTER_SIZE as u64);
    at.is_some_and(|at| source.read_at(at, &mut last).is_ok()) && Footer::parse(&last).is_ok()
}

fn vhd_format(footer: &Footer) -> Format {
    match footer.disk_type() {
        DiskType::Fixed => Format::FixedVhd,
        DiskType::Dynamic => Format::DynamicVhd,
        DiskType::Differencing => Format::DifferencingVhd,
    }
}

/// A fixed VHD is exactly the disk and the footer.
fn check_fixed_size(footer: &Footer, footer_at: u64) -> Result<(), OpenError> {
    let size = footer.size();
    if size > footer_at {
        let error = DiskError::Truncated {
            what: "the VHD".to_owned(),
            needed: size.saturating_add(FOOTER_SIZE as u64),
            length: footer_at + FOOTER_SIZE as u64,
        };
        return Err(OpenError::disk(Format::FixedVhd, &error));
    }
    if size < footer_at {
        let message = format!("its footer gives a disk of {size} bytes, but {footer_at} bytes precede the footer");
        return Err(OpenError::new(Format::FixedVhd, Finding::new(&codes::FOOTER_SIZE_MISMATCH, message)));
    }
    Ok(())
}

/// Opens a file that is stated to be a raw disk. An image of another format read as raw would give a disk that no machine boots.
fn open_as_raw(source: Arc<dyn DiskReader>, head: &[u8]) -> Result<OpenDisk, OpenError> {
    let boot_sector = head.get(510..512) == Some(&[0x55, 0xaa]);
    let other = if ends_as_vhd(&*source) {
        Some("a VHD: it ends with a footer")
    } else {
        match detect_format(head).filter(|_| !boot_sector) {
            Some(Format::Vhdx) => Some("a VHDX by its first bytes"),
            Some(Format::Qcow2) => Some("a qcow2 image by its first bytes"),
            Some(_) => Some("a VMDK by its first bytes"),
            None => None,
        }
    };
    match other {
        Some(other) => {
            let message = format!("it is stated to be a raw disk, but it is {other}");
            Err(OpenError::new(Format::Unknown, Finding::new(&codes::FORMAT_MISMATCH, message)))
        }
        None => Ok(OpenDisk::new(source, Format::Raw)),
    }
}

/// A file without any sign of another format is a raw disk if its content proves where it ends.
fn open_raw(source: Arc<dyn DiskReader>, head: &[u8]) -> Result<OpenDisk, OpenError> {
    let failed = |error: DiskError| OpenError::disk(Format::Unknown, &error);
    if let Some(foreign) = foreign::detect(head) {
        return Err(OpenError::foreign(foreign));
    }
    if let Some(at) = source.size().checked_sub(512) {
        let mut tail = [0; 512];
        source.read_at(at, &mut tail).map_err(failed)?;
        if let Some(foreign) = foreign::detect_trailer(&tail) {
            return Err(OpenError::foreign(foreign));
        }
    }
    if raw::has_proven_end(&*source).map_err(failed)? {
        return Ok(OpenDisk::new(source, Format::Raw));
    }
    if raw::looks_partitioned(head) {
        let message = "it has partitions but no VHD footer, and no backup of a GPT in its last sector: it is a raw disk, or a VHD \
             that is cut short";
        return Err(OpenError::new(Format::Raw, Finding::new(&codes::RAW, message)));
    }
    let message =
        "it is not a disk image of a known format: it has no VHD footer, no known first bytes and no partition table";
    Err(OpenError::new(Format::Unknown, Finding::new(&codes::UNKNOWN_FORMAT, message)))
}
