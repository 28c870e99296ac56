//! Checking a file before the first byte is sent.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use goldfleet_model::manifest::Generation;

use super::disk::Disk;
use super::error::VhdError;
use super::findings::{Finding, Format, Report, Severity};
use super::footer::{FOOTER_SIZE, Footer, FooterError};
use super::partition::{Partitioning, partitioning};
use super::signature::{HEAD, Kind, Recognised, recognise};

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
        let mut head = vec![0; HEAD];
        let read = read_up_to(file, 0, &mut head);
        head.truncate(read);
        match Disk::open(self.path) {
            Ok(disk) => self.disk(&disk, stated),
            Err(error @ (VhdError::Footer(FooterError::Cookie) | VhdError::TooShort { .. })) => {
                match recognise(&head) {
                    Some(found) => self.other_file(file, found, &head),
                    None => self.unusable(&error, &head),
                }
            }
            Err(error) => self.unusable(&error, &head),
        }
    }

    /// Refuses a file of another format.
    fn other_file(&mut self, file: &File, found: Recognised, head: &[u8]) {
        let is_extent = found.kind == Kind::Vmdk && is_vmdk_extent(file, head);
        let (kind, name) =
            if is_extent { (Kind::VmdkExtent, "an extent of a VMDK disk") } else { (found.kind, found.name) };
        self.report.format = kind.format();
        let command = match kind {
            Kind::Vhdx => self.convert("vhdx"),
            Kind::Qcow2 => self.convert("qcow2"),
            Kind::Vmdk => self.convert("vmdk"),
            _ => None,
        };
        self.error(
            kind.code(),
            format!("it is {name}, not a VHD"),
            command.unwrap_or_else(|| kind.remedy().to_owned()),
        );
    }

    /// The command that makes a fixed VHD of an image in a format that qemu-img calls `from`; it does nothing where a file
    /// of the new name exists. None where a shell could not take the file's name as it is shown. Only for formats whose
    /// size qemu-img takes from the image: it rounds that of many VHDs, by the program that made them (`vpc_open` in
    /// `block/vpc.c`), and a raw disk has none that would show whether the file is whole.
    fn convert(&self, from: &str) -> Option<String> {
        let (file, target) = (quoted(self.path)?, quoted(&self.path.with_extension("fixed.vhd"))?);
        Some(format!(
            "convert it to a new file: test ! -e {target} && \
             qemu-img convert -f {from} -O vpc -o subformat=fixed,force_size {file} {target}"
        ))
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
                let message = "it has partitions but no VHD footer: it is a raw disk image, or a VHD that is cut short";
                self.error("raw", message, IF_RAW);
            }
            VhdError::Footer(footer) => {
                let code = match footer {
                    FooterError::Cookie => "no-footer",
                    FooterError::Checksum { .. } => "footer-checksum",
                    FooterError::Type(_) => "footer-type",
                };
                self.error(code, footer.to_string(), "export the disk again; the copy may be damaged or cut short");
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
        if !self.is_a_disk(disk) {
            // What else is wrong with it does not matter.
            return;
        }
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

    /// Refuses a disk that is a file of another format: one that was taken for a raw disk when the VHD was made.
    fn is_a_disk(&mut self, disk: &Disk) -> bool {
        let mut head = vec![0; HEAD.min(usize::try_from(disk.size()).unwrap_or(HEAD))];
        if disk.read_at(0, &mut head).is_err() {
            // Reading the partition table reports it.
            return true;
        }
        let (name, remedy) = match recognise(&head) {
            Some(found) if !found.kind.may_be_a_disk() => (found.name, found.kind.remedy()),
            _ if head.starts_with(b"conectix") || ends_with_a_footer(disk) => ("a VHD", "use that VHD itself"),
            _ => return true,
        };
        self.error(
            "not-a-disk",
            format!("its disk is {name}: a file of that format was taken for a raw disk when the VHD was made"),
            format!("go back to the original file: {remedy}"),
        );
        false
    }

    fn size(&mut self, size: u64) {
        if !size.is_multiple_of(MIB) {
            self.error(
                "not-whole-mib",
                format!("its disk has {size} bytes, which is not a whole number of MiB"),
                change_size(size),
            );
        }
        if size < SMALLEST {
            self.error(
                "too-small",
                format!("its disk has {size} bytes; Azure takes no less than {SMALLEST}"),
                change_size(size),
            );
        }
        if size > LARGEST {
            self.error(
                "too-large",
                format!("its disk has {size} bytes; an OS disk has at most {LARGEST} (4,095 GiB)"),
                change_size(size),
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
                let remedy = format!("export the disk again. {NOT_IN_THE_FILE}");
                self.error("gpt-damaged", "its partition table (GPT) is damaged", remedy);
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
                format!("if its end is missing, copy or export it again. {NOT_IN_THE_FILE}"),
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

/// What to do about a disk whose size has to change. No tool is named that would do that to the file: what it takes for the
/// disk's size, and what it does to the footer, depends on the tool and on the program that made the VHD.
fn change_size(size: u64) -> String {
    if size > LARGEST {
        return "shrink its partitions, then the disk, to at most 4,095 GiB in the machine that it is from, and export it again"
            .to_owned();
    }
    let mib = size.max(SMALLEST).div_ceil(MIB);
    format!("enlarge the disk to {mib} MiB with the program that made it, and export it again")
}

/// Where a partition table can be repaired.
const NOT_IN_THE_FILE: &str = "If it is damaged there too, repair it in a machine that has the disk attached, not in this \
                               file: a partition tool takes the VHD footer for the end of the disk, and overwrites it";

/// What to do about a file that may be a raw disk: nothing in it tells whether it is whole.
const IF_RAW: &str = "if it is a raw disk image, make a fixed VHD of it as docs/images.md describes; if it was a VHD, its end \
                      is missing: copy or export it again";

/// A path as a shell takes it, and then qemu-img, to which a dash is the beginning of an option, and what stands before a
/// colon a protocol. None where it cannot be shown as it is.
fn quoted(path: &Path) -> Option<String> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control))?;
    let here = if text.starts_with('-') || path.is_relative() && text.contains(':') { "./" } else { "" };
    Some(format!("'{here}{}'", text.replace('\'', r"'\''")))
}

fn read_up_to(file: &File, at: u64, buffer: &mut [u8]) -> usize {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) | Err(_) => break,
            Ok(n) => read += n,
        }
    }
    read
}

/// What a VMDK descriptor begins with.
const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";

/// Whether a VMDK file holds only a part of a disk: it is no descriptor and has none in it. Source: VMware's "Virtual Disk
/// Format 5.0", `SparseExtentHeader`: the descriptor's sector is at byte 28, 0 where there is none.
fn is_vmdk_extent(file: &File, head: &[u8]) -> bool {
    let Some(sector) = head.get(28..36).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) else { return false };
    let at = u64::from_le_bytes(sector).saturating_mul(super::SECTOR);
    let mut descriptor = [0; DESCRIPTOR.len()];
    let found = read_up_to(file, at.min(u64::from(u32::MAX)), &mut descriptor);
    !head.starts_with(DESCRIPTOR) && (at == 0 || descriptor[..found] != *DESCRIPTOR)
}

/// Whether the last sector of a disk is the footer of a fixed VHD of all that lies before it.
fn ends_with_a_footer(disk: &Disk) -> bool {
    let Some(at) = disk.size().checked_sub(FOOTER_SIZE as u64) else { return false };
    let mut last = [0; FOOTER_SIZE];
    disk.read_at(at, &mut last).is_ok() && Footer::parse(&last).is_ok_and(|footer| footer.size() == at)
}

/// Whether the first sectors are those of a partitioned disk.
fn looks_raw(head: &[u8]) -> bool {
    head.get(510..512) == Some(&[0x55, 0xaa]) || head.get(512..520) == Some(b"EFI PART")
}
