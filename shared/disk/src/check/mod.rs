//! Checking an image before the first byte is sent.

mod table;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::azure::AzureDisk;
use crate::codes::{self, Code};
use crate::foreign;
use crate::formats::compressed::Compression;
use crate::open::{Format, OpenDisk, OpenError, OpenOptions, open};
use crate::{DataRanges, DiskError, DiskReader, FOOTER_SIZE, Finding, Footer, Generation, Severity};

/// The smallest OS disk. Source: Azure's documentation gives 20 MiB as the least size of a VHD.
const SMALLEST: u64 = 20 << 20;

/// The largest OS disk. Source: Azure, 4,095 GiB.
const LARGEST: u64 = 4095 << 30;

/// The largest OS disk of generation v1. Source: Azure accepts an OS disk over 2 TiB only as generation v2.
const LARGEST_V1: u64 = 2 << 40;

/// How long counting the data of a disk may take, if the caller gives no limit.
const COUNTING: Duration = Duration::from_secs(60);

/// What to check, and how.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// How to open the image.
    pub open: OpenOptions,
    /// The generation that the image must be for. Without it, it is deduced from the partition table.
    pub generation: Option<Generation>,
    /// Codes of errors that are only warnings, because the operator knows better. Facts, such as Azure's limits, cannot be
    /// accepted: see [`Code::deduced`].
    pub accept: Vec<String>,
    /// Whether a damaged first copy of the GPT is written again from the backup.
    pub repair_gpt: bool,
}

/// What a check found out about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file. In JSON, parts of its name that are not Unicode are replaced.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// What it is.
    pub format: Format,
    /// How it is compressed as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The size of the disk for Azure in bytes, if the image can be read.
    pub size: Option<u64>,
    /// Bytes of the disk that may hold data: holes and unwritten blocks are not counted.
    pub data_bytes: Option<u64>,
    /// The generation, as stated or as deduced from the partition table.
    pub generation: Option<Generation>,
    /// What was found, the most serious first.
    pub findings: Vec<Finding>,
}

/// By default, serde refuses names that are not Unicode, and with them the whole report.
fn lossy<S: serde::Serializer>(file: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&file.display())
}

impl Report {
    /// Whether the image can become an OS disk.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

/// A report with the disk that it is about.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What was found.
    pub report: Report,
    /// The image as it was opened, if it could be.
    pub image: Option<OpenDisk>,
    /// The disk as Azure accepts it, if the image could be opened.
    pub disk: Option<AzureDisk>,
}

/// Finds out whether an image can become an OS disk. The file is not changed, and of the data only structures are read.
#[must_use]
pub fn check(path: &Path, options: &CheckOptions) -> Checked {
    check_opened(path, open(path, &options.open), options)
}

/// The same for an image that is already open, or could not be opened. `path` is only shown.
#[must_use]
pub fn check_opened(path: &Path, opened: Result<OpenDisk, OpenError>, options: &CheckOptions) -> Checked {
    let mut check = Check {
        path,
        options,
        report: Report {
            file: path.to_owned(),
            format: Format::Unknown,
            compression: None,
            size: None,
            data_bytes: None,
            generation: options.generation,
            findings: Vec::new(),
        },
    };
    let (mut image, mut disk) = (None, None);
    match opened {
        Ok(open) => {
            disk = check.image(&open).unwrap_or_else(|error| {
                check.find(error.code(), error.to_string());
                None
            });
            image = Some(open);
        }
        Err(error) => {
            check.report.format = error.format;
            check.add(*error.finding);
        }
    }
    check.accept();
    check.report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Checked { report: check.report, image, disk }
}

struct Check<'a> {
    path: &'a Path,
    options: &'a CheckOptions,
    report: Report,
}

impl Check<'_> {
    fn find(&mut self, code: &'static Code, message: impl Into<String>) {
        self.add(Finding::new(code, message));
    }

    /// Adds a finding; the file's name is put before its message, and into the commands of its remedy.
    fn add(&mut self, mut finding: Finding) {
        finding.message = format!("{}: {}", self.path.display(), finding.message);
        let quoted = |extension| quoted(&self.path.with_extension(extension));
        if finding.remedy.contains(" IN ")
            && let (Some(input), Some(vhd), Some(qcow2)) =
                (self::quoted(self.path), quoted("fixed.vhd"), quoted("qcow2"))
        {
            finding.remedy = finding
                .remedy
                .replace(" OUT.vhd", &format!(" {vhd}"))
                .replace(" OUT.qcow2", &format!(" {qcow2}"))
                .replace(" IN ", &format!(" {input} "));
        }
        self.report.findings.push(finding);
    }

    fn image(&mut self, image: &OpenDisk) -> Result<Option<AzureDisk>, DiskError> {
        self.report.format = image.format;
        self.report.compression = image.compression;
        let azure = AzureDisk::new(image, self.options.repair_gpt)?;
        self.report.size = Some(azure.size());
        if let Some(inner) = wrapped(&*image.disk)? {
            self.find(&codes::WRAPPED_FILE, format!("it holds {inner} in place of a disk"));
            return Ok(Some(azure));
        }
        for change in azure.changes() {
            self.add(change.clone());
        }
        self.size(azure.size());
        self.report.data_bytes = Some(self.count(&azure)?);
        self.table(image, &azure)?;
        Ok(Some(azure))
    }

    fn size(&mut self, size: u64) {
        if size < SMALLEST {
            self.find(
                &codes::TOO_SMALL,
                format!("its disk has {size} bytes; Azure accepts no less than {SMALLEST} (20 MiB)"),
            );
        }
        if size > LARGEST {
            let message = format!("its disk has {size} bytes; an OS disk has at most {LARGEST} (4,095 GiB)");
            self.find(&codes::TOO_LARGE, message);
        }
    }

    /// The bytes that may hold data.
    fn count(&self, disk: &AzureDisk) -> Result<u64, DiskError> {
        let deadline = Instant::now() + self.options.open.time.unwrap_or(COUNTING);
        let mut bytes = 0_u64;
        for (n, range) in DataRanges::new(disk).enumerate() {
            let range = range?;
            bytes = bytes.saturating_add(range.end - range.start);
            if n % 1024 == 0 && Instant::now() > deadline {
                return Err(DiskError::Limit("reading its tables takes too long".to_owned()));
            }
        }
        Ok(bytes)
    }

    /// Turns errors that the operator accepts into warnings.
    fn accept(&mut self) {
        for finding in &mut self.report.findings {
            let accepted = self.options.accept.iter().any(|code| code == finding.code);
            let deduced = codes::find(finding.code).is_some_and(|code| code.deduced);
            if accepted && deduced && finding.severity == Severity::Error {
                finding.severity = Severity::Warning;
                finding.message.push_str(" (accepted)");
            }
        }
    }
}

/// What a disk is that is really another file: one that was taken for a raw disk when the image was made.
fn wrapped(disk: &dyn DiskReader) -> Result<Option<String>, DiskError> {
    let length = crate::bytes::index(disk.size().min(foreign::LOOKED_AT as u64));
    let mut head = vec![0; length];
    disk.read_at(0, &mut head)?;
    if ends_with_footer(disk)? {
        return Ok(Some("a VHD".to_owned()));
    }
    if let Some(compression) = Compression::detect(&head) {
        return Ok(Some(format!("a file compressed with {compression}")));
    }
    // A disk may have been an installation medium before, and the whole of it may be encrypted.
    if let Some(foreign) = foreign::detect(&head).filter(|foreign| !foreign.may_be_a_disk()) {
        return Ok(Some(foreign.name.to_owned()));
    }
    let image =
        [(&b"vhdxfile"[..], "a VHDX"), (b"QFI\xfb", "a qcow2 image"), (b"KDMV", "a VMDK"), (b"conectix", "a VHD")];
    Ok(image.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| (*name).to_owned()))
}

/// Whether the last sector of a disk is the footer of a VHD of all that precedes it.
fn ends_with_footer(disk: &dyn DiskReader) -> Result<bool, DiskError> {
    let Some(at) = disk.size().checked_sub(FOOTER_SIZE as u64) else { return Ok(false) };
    let mut last = [0; FOOTER_SIZE];
    disk.read_at(at, &mut last)?;
    Ok(Footer::parse(&last).is_ok_and(|footer| footer.size() == at))
}

/// A path as a shell takes it, also where programs would take it for an option or, before a colon, for a protocol. `None` if it
/// cannot be shown as it is.
fn quoted(path: &Path) -> Option<String> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control))?;
    let here = if text.starts_with('-') || path.is_relative() && text.contains(':') { "./" } else { "" };
    Some(format!("'{here}{}'", text.replace('\'', r"'\''")))
}
