//! Checking a file before the first byte is sent.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use goldfleet_model::manifest::Generation;

use super::disk::Disk;
use super::error::VhdError;
use super::findings::{Finding, Format, Report, Severity};
use super::footer::FooterError;
use super::partition::{Partitioning, partitioning};

const MIB: u64 = 1 << 20;

/// The smallest OS disk taken. Azure's documentation gives 20 MiB as the least size of a VHD that it takes.
const SMALLEST: u64 = 20 * MIB;

/// The largest OS disk. Source: Azure, 4,095 GiB.
const LARGEST: u64 = 4095 << 30;

/// The largest disk that a master boot record can describe: 2^32 sectors.
const LARGEST_MBR: u64 = 2 << 40;

/// Finds out whether a file can become an OS disk of the stated generation, or of the one that its partition table tells.
/// Nothing is written, and no data is read but structures.
#[must_use]
pub fn check(path: &Path, stated: Option<Generation>) -> Report {
    let mut check = Check {
        path,
        report: Report {
            file: path.to_owned(),
            format: Format::Unknown,
            size: None,
            data_bytes: None,
            generation: stated,
            findings: Vec::new(),
        },
    };
    match open(path) {
        Ok(file) => check.file(&file, stated),
        Err((code, message, remedy)) => check.find(Severity::Error, code, message, remedy),
    }
    check.report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    check.report
}

type Refusal = (&'static str, String, &'static str);

fn open(path: &Path) -> Result<File, Refusal> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ("not-found", "there is no such file".to_owned(), "check the path")
        }
        io::ErrorKind::PermissionDenied => {
            ("unreadable", format!("it can't be read: {error}"), "make it readable for you")
        }
        _ => ("unreadable", format!("it can't be read: {error}"), "check the path, and the disk that it lies on"),
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(("not-a-file", "it is a folder".to_owned(), "name the VHD itself"));
    }
    if !metadata.is_file() {
        return Err(("not-a-file", "it is no file".to_owned(), "name the VHD itself"));
    }
    if metadata.len() == 0 {
        return Err(("empty", "it is empty".to_owned(), "export the disk again"));
    }
    File::open(path).map_err(unreadable)
}

struct Check<'a> {
    path: &'a Path,
    report: Report,
}

impl Check<'_> {
    fn find(&mut self, severity: Severity, code: &'static str, message: impl AsRef<str>, remedy: impl Into<String>) {
        let message = format!("{}: {}", self.path.display(), message.as_ref());
        self.report.findings.push(Finding { severity, code, message, remedy: remedy.into() });
    }

    fn error(&mut self, code: &'static str, message: impl AsRef<str>, remedy: impl Into<String>) {
        self.find(Severity::Error, code, message, remedy);
    }

    fn file(&mut self, file: &File, stated: Option<Generation>) {
        let mut head = [0; 1024];
        let read = read_up_to(file, &mut head);
        if let Some((format, name, from)) = foreign(&head[..read]) {
            self.report.format = format;
            let code = match format {
                Format::Vhdx => "vhdx",
                Format::Qcow2 => "qcow2",
                _ => "vmdk",
            };
            return self.error(code, format!("it is a {name} image, not a VHD"), self.convert(from));
        }
        match Disk::open(self.path) {
            Ok(disk) => self.disk(&disk, stated),
            Err(error) => self.unusable(&error, &head[..read]),
        }
    }

    /// The command that makes a fixed VHD of it.
    fn convert(&self, from: &str) -> String {
        let (file, target) = (quoted(self.path), quoted(&self.path.with_extension("fixed.vhd")));
        format!("convert it: qemu-img convert -f {from} -O vpc -o subformat=fixed,force_size {file} {target}")
    }

    /// The commands that make a fixed VHD of `mib` MiB of it.
    fn resize(&self, mib: u64) -> String {
        format!("resize it: {}", self.rebuild(mib, ""))
    }

    /// The commands that write the backup of its GPT anew. Not in the file itself: tools would take the footer for the disk's
    /// end, and write over it.
    fn renew_backup(&self, size: u64) -> String {
        format!("write it anew: {}", self.rebuild(size.div_ceil(MIB), "sgdisk -e"))
    }

    /// The commands that make a raw disk of `mib` MiB of it, have a `tool` change that, if one is named, and make a fixed VHD
    /// of it again.
    fn rebuild(&self, mib: u64, tool: &str) -> String {
        let raw = quoted(&self.path.with_extension("raw"));
        let (file, target) = (quoted(self.path), quoted(&self.path.with_extension("fixed.vhd")));
        let change = if tool.is_empty() { String::new() } else { format!("{tool} {raw} && ") };
        format!(
            "qemu-img convert -f vpc -O raw {file} {raw} && qemu-img resize -f raw {raw} {mib}M && \
             {change}qemu-img convert -f raw -O vpc -o subformat=fixed,force_size {raw} {target}"
        )
    }

    fn unusable(&mut self, error: &VhdError, head: &[u8]) {
        match error {
            VhdError::Footer(FooterError::Cookie) | VhdError::TooShort { .. } if head.starts_with(b"conectix") => {
                self.report.format = Format::DynamicVhd;
                self.error(
                    "truncated",
                    "it begins as a dynamic VHD, but its footer is missing: it is cut short",
                    "copy or export it again",
                );
            }
            VhdError::Footer(FooterError::Cookie) | VhdError::TooShort { .. } if looks_raw(head) => {
                self.report.format = Format::Raw;
                let remedy = format!("if it is whole, {}; else copy or export it again", self.convert("raw"));
                let message = "it has partitions but no VHD footer: it is a raw disk image, or a VHD that is cut short";
                self.error("raw", message, remedy);
            }
            VhdError::Footer(footer) => {
                let again = "export the disk again; the copy may be damaged or cut short";
                let (code, remedy) = match footer {
                    FooterError::Cookie => {
                        ("no-footer", format!("{again}. If it is a raw disk image, {}", self.convert("raw")))
                    }
                    FooterError::Checksum { .. } => ("footer-checksum", again.to_owned()),
                    FooterError::Type(_) => ("footer-type", again.to_owned()),
                };
                self.error(code, footer.to_string(), remedy);
            }
            VhdError::TooShort { .. } => self.error("no-footer", error.to_string(), "export the disk again"),
            VhdError::Truncated { .. } => self.error("truncated", error.to_string(), "copy or export it again"),
            VhdError::Differencing => {
                self.report.format = Format::DifferencingVhd;
                let remedy = "merge it with its parent first (Hyper-V: Merge-VHD or Convert-VHD)";
                self.error("differencing", error.to_string(), remedy);
            }
            VhdError::Damaged { .. } => self.error("damaged", error.to_string(), "export the disk again"),
            VhdError::Open { .. } | VhdError::Read { .. } => {
                self.error("unreadable", error.to_string(), "make it readable for you");
            }
        }
    }

    fn disk(&mut self, disk: &Disk, stated: Option<Generation>) {
        self.report.format = if disk.is_dynamic() { Format::DynamicVhd } else { Format::FixedVhd };
        self.report.size = Some(disk.size());
        self.size(disk.size());
        if disk.is_dynamic() {
            let message = "it is dynamic: what is uploaded is the fixed VHD it stands for";
            self.find(Severity::Note, "dynamic", message, "");
        }
        match disk.data_ranges() {
            Ok(ranges) => self.report.data_bytes = Some(ranges.iter().map(|range| range.end - range.start).sum()),
            Err(error) => self.unusable(&error, &[]),
        }
        match partitioning(disk) {
            Ok(found) => self.generation(disk.size(), found, stated),
            Err(error) => self.unusable(&error, &[]),
        }
    }

    fn size(&mut self, size: u64) {
        if !size.is_multiple_of(MIB) {
            self.error(
                "not-whole-mib",
                format!("its disk has {size} bytes, which is not a whole number of MiB"),
                self.resize(size.div_ceil(MIB)),
            );
        }
        if size < SMALLEST {
            self.error(
                "too-small",
                format!("its disk has {size} bytes; Azure takes no less than {SMALLEST}"),
                "make the disk larger",
            );
        }
        if size > LARGEST {
            self.error(
                "too-large",
                format!("its disk has {size} bytes; an OS disk has at most {LARGEST} (4,095 GiB)"),
                "shrink the disk",
            );
        }
    }

    fn cut_short(&mut self, table: &str, needed: u64, size: u64) {
        self.error(
            "partitions-cut-short",
            format!("its {table} is that of a disk of at least {needed} bytes, and it has {size}: its end is missing"),
            "copy or export all of it again; if it was to be shrunk, shrink the last partition before the disk",
        );
    }

    fn generation(&mut self, size: u64, found: Partitioning, stated: Option<Generation>) {
        let deduced = found.generation();
        self.report.generation = stated.or(deduced);
        match (found, stated) {
            (Partitioning::None, _) => {
                self.find(
                    Severity::Warning,
                    "no-partition-table",
                    "its disk has no partition table: most machines will not boot from it",
                    "check that the right disk was exported, and state its generation (--generation)",
                );
            }
            (Partitioning::DamagedGpt, _) => {
                self.error("gpt-damaged", "its partition table (GPT) is damaged", "repair it (gdisk, sgdisk --verify)");
            }
            (Partitioning::LongerGpt { needed }, _) => self.cut_short("partition table (GPT)", needed, size),
            (Partitioning::LongerMbr { needed }, _) => self.cut_short("master boot record", needed, size),
            (Partitioning::Gpt { esp: false, .. }, Some(Generation::V2)) => {
                self.error(
                    "no-efi-system-partition",
                    "its partition table (GPT) has no EFI system partition, which generation v2 boots from",
                    "add one, or use --generation v1 if the disk boots from BIOS",
                );
            }
            (Partitioning::Gpt { esp: false, bios_boot: false, .. }, None) => {
                self.find(
                    Severity::Warning,
                    "no-efi-system-partition",
                    "its partition table (GPT) has no EFI system partition",
                    "state the generation (--generation v1 if the disk boots from BIOS)",
                );
            }
            (Partitioning::Mbr, Some(Generation::V2)) => self.error(
                "generation-mismatch",
                "it has a master boot record, which generation v2 does not boot from",
                "use --generation v1, or convert the disk to GPT with an EFI system partition",
            ),
            (Partitioning::Gpt { esp: true, bios_boot: false, .. }, Some(Generation::V1)) => self.error(
                "generation-mismatch",
                "it has an EFI system partition and no BIOS boot partition: it is made for generation v2",
                "use --generation v2, or leave --generation out",
            ),
            (Partitioning::Gpt { esp: true, bios_boot: true, .. }, None) => self.find(
                Severity::Note,
                "either-generation",
                "it has an EFI system partition and a BIOS boot partition: taken as generation v2, it may boot as v1 too",
                "state --generation v1 if that is wanted",
            ),
            _ => {}
        }
        if let Partitioning::Gpt { backup: false, .. } = found {
            self.find(
                Severity::Warning,
                "gpt-backup-damaged",
                "the backup of its partition table (GPT) is missing or damaged, or differs from the first one: systems boot by \
                 the first one, but the disk may have lost its end, and nothing is left to repair the first one from",
                self.renew_backup(size),
            );
        }
        if self.report.generation.is_none() && self.report.is_usable() {
            self.error(
                "generation-unknown",
                "its generation can't be told from its partition table",
                "state it: --generation v1 or --generation v2",
            );
        }
        if found == Partitioning::Mbr && (LARGEST_MBR + 1..=LARGEST).contains(&size) {
            self.error(
                "too-large-for-mbr",
                format!(
                    "its disk has {size} bytes; a disk with a master boot record has at most {LARGEST_MBR} (2 TiB)"
                ),
                "shrink the disk, or convert it to GPT",
            );
        }
    }
}

/// A path as a shell takes it, and then qemu-img, to which a dash is the beginning of an option, and what stands before a
/// colon a protocol.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let here = if text.starts_with('-') || path.is_relative() && text.contains(':') { "./" } else { "" };
    format!("'{here}{}'", text.replace('\'', r"'\''"))
}

fn read_up_to(file: &File, buffer: &mut [u8]) -> usize {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], read as u64) {
            Ok(0) | Err(_) => break,
            Ok(n) => read += n,
        }
    }
    read
}

/// Another format by its first bytes: what it is, and what qemu-img calls it.
fn foreign(head: &[u8]) -> Option<(Format, &'static str, &'static str)> {
    let starts = |magic: &[u8]| head.starts_with(magic);
    if starts(b"vhdxfile") {
        Some((Format::Vhdx, "VHDX", "vhdx"))
    } else if starts(b"QFI\xfb") {
        Some((Format::Qcow2, "QCOW2", "qcow2"))
    } else if starts(b"KDMV") || starts(b"# Disk DescriptorFile") {
        Some((Format::Vmdk, "VMDK", "vmdk"))
    } else {
        None
    }
}

/// Whether the first sectors are those of a partitioned disk.
fn looks_raw(head: &[u8]) -> bool {
    head.get(510..512) == Some(&[0x55, 0xaa]) || head.get(512..520) == Some(b"EFI PART")
}
