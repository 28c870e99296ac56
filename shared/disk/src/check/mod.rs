//! Checking an image before the first byte is sent.

mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::azure::AzureDisk;
use crate::codes::{self, Code};
use crate::formats::compressed::Compression;
use crate::open::{Format, OpenDisk, OpenError, OpenOptions, open};
use crate::unsupported;
use crate::{DataRanges, DiskError, DiskReader, FOOTER_SIZE, Finding, Footer, Generation, Severity};

/// The minimum size of an OS disk in bytes. Source: Azure's documentation gives 20 MiB as the minimum size of a VHD.
const MIN_SIZE: u64 = 20 << 20;

/// The maximum size of an OS disk in bytes. Source: Azure's documentation, 4,095 GiB.
const MAX_SIZE: u64 = 4095 << 30;

/// The maximum size of an OS disk of generation v1 in bytes. Source: Azure accepts an OS disk over 2 TiB only as
/// generation v2.
const MAX_SIZE_V1: u64 = 2 << 40;

/// The maximum size of a data disk in bytes. Source: Azure, scalability targets of Blob storage: a page blob has at
/// most 8 TiB, and its last MiB holds the footer.
const MAX_DATA_SIZE: u64 = (8 << 40) - (1 << 20);

/// The maximum time for counting the data of a disk, if the caller gives no limit.
const MAX_COUNTING_TIME: Duration = Duration::from_secs(60);

/// What to check, and how.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// How to open the image.
    pub open: OpenOptions,
    /// The generation that the image must be for. Without it, it is deduced from the partition table.
    pub generation: Option<Generation>,
    /// Codes of errors that become warnings, because the operator overrules the deduction. Facts, such as Azure's
    /// limits, cannot be accepted: see [`Code::deduced`].
    pub accept: Vec<String>,
    /// Whether a damaged first copy of the GPT is written again from the backup.
    pub repair_gpt: bool,
    /// What the image becomes.
    pub becomes: DiskPurpose,
}

/// What a disk image becomes. A data disk may hold anything, so only its container and its size are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskPurpose {
    /// A disk from which a machine boots.
    #[default]
    OsDisk,
    /// A disk that a machine has besides.
    DataDisk,
}

impl fmt::Display for DiskPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OsDisk => "OS disk",
            Self::DataDisk => "data disk",
        })
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file. In JSON, parts of its name that are not Unicode are replaced.
    #[serde(serialize_with = "serialize_lossy")]
    pub file: PathBuf,
    /// Its format.
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
    /// The findings, the most serious first.
    pub findings: Vec<Finding>,
}

/// Serializes a path with replacements. By default, serde fails for a name that is not Unicode.
fn serialize_lossy<S: serde::Serializer>(file: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&file.display())
}

impl Report {
    /// Whether the image can become what it was checked for.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

/// A report, and the disk that was checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The report.
    pub report: Report,
    /// The image, if it could be opened.
    pub image: Option<OpenDisk>,
    /// The disk as Azure accepts it, if the image could be opened.
    pub disk: Option<AzureDisk>,
}

/// Checks whether an image can become an OS disk or a data disk. The file is not changed. Of the disk's data, only
/// structures are read.
#[must_use]
pub fn check(path: &Path, options: &CheckOptions) -> Checked {
    check_opened(path, open(path, &options.open), options)
}

/// Checks an image that is already open, or the error of opening it. `path` is used only in messages.
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
            generation: options.generation.filter(|_| options.becomes == DiskPurpose::OsDisk),
            findings: Vec::new(),
        },
    };
    let (mut image, mut disk) = (None, None);
    match opened {
        Ok(open) => {
            disk = check.image(&open).unwrap_or_else(|error| {
                check.push(error.code(), error.to_string());
                None
            });
            image = Some(open);
        }
        Err(error) => {
            check.report.format = error.format;
            check.push_finding(*error.finding);
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
    fn push(&mut self, code: &'static Code, message: impl Into<String>) {
        self.push_finding(Finding::new(code, message));
    }

    /// Adds a finding. The message begins with the file's name, and the commands of the remedy contain it.
    fn push_finding(&mut self, mut finding: Finding) {
        finding.message = format!("{}: {}", self.path.display(), finding.message);
        let outputs = [
            ("OUT.vhd", self.path.with_extension("fixed.vhd")),
            ("OUT.qcow2", beside(self.path, "qcow2")),
            ("OUT.image", decompressed(self.path)),
        ];
        if finding.remedy.contains(" IN ")
            && let Some(input) = quoted(self.path)
        {
            let mut remedy = finding.remedy.replace(" IN ", &format!(" {input} "));
            for (placeholder, path) in outputs {
                // A path that can be displayed has only displayable variants.
                let output = quoted(&path).unwrap_or_else(|| placeholder.to_owned());
                remedy = remedy.replace(&format!(" {placeholder}"), &format!(" {output}"));
            }
            finding.remedy = remedy;
        }
        self.report.findings.push(finding);
    }

    fn image(&mut self, image: &OpenDisk) -> Result<Option<AzureDisk>, DiskError> {
        self.report.format = image.format;
        self.report.compression = image.compression;
        let azure = AzureDisk::new(image, self.options.repair_gpt)?;
        self.report.size = Some(azure.size());
        if let Some(inner) = wrapped(&*image.disk)? {
            self.push(&codes::WRAPPED_FILE, format!("it holds {inner} in place of a disk"));
            return Ok(Some(azure));
        }
        for change in azure.changes() {
            self.push_finding(change.clone());
        }
        self.size(azure.size());
        self.report.data_bytes = Some(self.count(&azure)?);
        if self.options.becomes == DiskPurpose::OsDisk {
            self.table(image, &azure)?;
        }
        Ok(Some(azure))
    }

    fn size(&mut self, size: u64) {
        if size < MIN_SIZE {
            self.push(
                &codes::TOO_SMALL,
                format!("its disk has {size} bytes; Azure accepts no less than {MIN_SIZE} (20 MiB)"),
            );
        }
        let (most, words) = match self.options.becomes {
            DiskPurpose::OsDisk => (MAX_SIZE, "4,095 GiB"),
            DiskPurpose::DataDisk => (MAX_DATA_SIZE, "8 TiB less 1 MiB"),
        };
        if size > most {
            let purpose = self.options.becomes;
            let article = if purpose == DiskPurpose::OsDisk { "an" } else { "a" };
            let message = format!("its disk has {size} bytes; {article} {purpose} has at most {most} ({words})");
            self.push(&codes::TOO_LARGE, message);
        }
    }

    /// Counts the bytes that may hold data.
    fn count(&self, disk: &AzureDisk) -> Result<u64, DiskError> {
        let deadline = Instant::now() + self.options.open.time.unwrap_or(MAX_COUNTING_TIME);
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

/// The name of the format if the disk is in fact another file, which was taken for a raw disk when the image was made.
fn wrapped(disk: &dyn DiskReader) -> Result<Option<String>, DiskError> {
    let length = crate::bytes::index(disk.size().min(unsupported::HEAD_SIZE as u64));
    let mut head = vec![0; length];
    disk.read_at(0, &mut head)?;
    if ends_with_footer(disk)? {
        return Ok(Some("a VHD".to_owned()));
    }
    if let Some(compression) = Compression::detect(&head) {
        return Ok(Some(format!("a file compressed with {compression}")));
    }
    // A disk may have been an installation medium before, and a whole disk may be encrypted.
    if let Some(unsupported) = unsupported::detect(&head).filter(|unsupported| !unsupported.may_be_a_disk()) {
        return Ok(Some(unsupported.name.to_owned()));
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

/// A name beside the file with this extension, and not the file itself.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let named = path.with_extension(extension);
    if named == path { path.with_extension(format!("new.{extension}")) } else { named }
}

/// The name for the decompressed content of a file.
fn decompressed(path: &Path) -> PathBuf {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if ["gz", "xz", "zst", "bz2", "lz4", "lz", "lzo", "lzma", "z"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
    {
        return path.with_extension("");
    }
    path.with_extension("decompressed")
}

/// A path quoted for a shell. It begins with `./` if programs could take it for an option or a protocol. `None` if the
/// path cannot be displayed.
fn quoted(path: &Path) -> Option<String> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control))?;
    let here = if text.starts_with('-') || path.is_relative() && text.contains(':') { "./" } else { "" };
    Some(format!("'{here}{}'", text.replace('\'', r"'\''")))
}
