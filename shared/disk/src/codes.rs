//! The codes of all findings about files, disks and partition tables, in one table. `goldfleet explain` and parts of
//! the documentation are generated from it.

use crate::Severity;

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The stable name in kebab case.
    pub name: &'static str,
    /// The usual severity of such findings.
    pub severity: Severity,
    /// Whether it is deduced from the disk's content, so that an operator may overrule it with `--accept`. Other errors
    /// are facts, such as a limit of Azure or a file that cannot be read.
    pub deduced: bool,
    /// What it means, in one sentence.
    pub meaning: &'static str,
    /// How to fix it. Empty if nothing needs to be done.
    pub remedy: &'static str,
}

/// The code of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Code> {
    ALL.iter().copied().find(|code| code.name == name)
}

macro_rules! codes {
    ($($ident:ident = $name:literal, $severity:ident, $deduced:literal, $meaning:literal, $remedy:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $meaning)]
            pub const $ident: Code = Code {
                name: $name,
                severity: Severity::$severity,
                deduced: $deduced,
                meaning: $meaning,
                remedy: $remedy,
            };
        )*

        /// All codes, in the order of the documentation.
        pub const ALL: &[&Code] = &[$(&$ident),*];
    };
}

codes! {
    // The file.
    NOT_FOUND = "not-found", Error, false,
        "There is no file with this name.",
        "check the path";
    UNREADABLE = "unreadable", Error, false,
        "The file cannot be read.",
        "check the permissions of the file and the disk on which it is";
    NOT_A_FILE = "not-a-file", Error, false,
        "The path names a folder, a device or something else that is not a regular file.",
        "name the image file";
    EMPTY = "empty", Error, false,
        "The file is empty.",
        "export the disk again";
    CANCELLED = "cancelled", Error, false,
        "The operation was cancelled.",
        "";
    // The format.
    UNKNOWN_FORMAT = "unknown-format", Error, false,
        "The file is not a disk image of a known format.",
        "check that the right file was named; if it is a raw disk, state it: --format raw";
    OTHER_FORMAT = "other-format", Error, false,
        "The file is a disk image of a format that cannot be read.",
        "convert it to VHDX, qcow2 or raw with a tool that reads the format";
    NOT_A_DISK_IMAGE = "not-a-disk-image", Error, false,
        "The file is something other than a disk image, for example an archive or a web page.",
        "name the disk image itself";
    FORMAT_MISMATCH = "format-mismatch", Error, false,
        "The file is an image of another format than the stated one.",
        "leave --format out, so that the format is detected";
    WRAPPED_FILE = "wrapped-file", Error, true,
        "The VHD holds another file, for example a compressed one, in place of a disk.",
        "name the original file: goldfleet reads disk images of other formats and compressed ones itself";
    RAW = "raw", Error, false,
        "The file may be a raw disk, but nothing proves that it is complete: it could also be a VHD that is cut short.",
        "if it is a complete raw disk, state it: --format raw; otherwise copy or export it again";
    NO_FOOTER = "no-footer", Error, false,
        "The file has no VHD footer.",
        "export the disk again";
    FOOTER_CHECKSUM = "footer-checksum", Error, false,
        "The VHD footer is damaged.",
        "export the disk again; the copy may be damaged";
    FOOTER_TYPE = "footer-type", Error, false,
        "The VHD footer names a disk type that is not used.",
        "export the disk again as a fixed or dynamic VHD";
    FOOTER_SIZE_MISMATCH = "footer-size-mismatch", Error, false,
        "The disk size in the VHD footer does not match the length of the file.",
        "export the disk again; writing a VHD over or behind another file leaves such files";
    PADDED = "padded", Error, false,
        "Other bytes follow the VHD footer, as copying in large blocks leaves them.",
        "goldfleet convert --format vhd IN OUT.vhd writes the disk that the footer describes";
    SHORT_FOOTER = "footer-511", Error, false,
        "The VHD footer has 511 bytes, as programs before Virtual PC 2004 wrote it.",
        "goldfleet convert --format vhd IN OUT.vhd writes the same disk with a complete footer";
    TRUNCATED = "truncated", Error, false,
        "The file ends before the image does.",
        "copy or export the image again";
    DAMAGED = "damaged", Error, false,
        "The structures of the image contradict each other.",
        "copy or export the image again";
    UNSUPPORTED_FEATURE = "unsupported-feature", Error, false,
        "The image uses a feature of its format that cannot be read.",
        "convert it without this feature, with the program that made it";
    DIFFERENCING = "differencing", Error, false,
        "The image holds only the differences to a parent image.",
        "name the parent: --parent FILE (repeat it for a chain of parents)";
    PARENT_MISMATCH = "parent-mismatch", Error, false,
        "The parent image is not the one that the differencing image was made from, or has changed since.",
        "name the parent with the right id: --parent FILE";
    EXTERNAL_FILE = "external-file", Error, false,
        "The image refers to another file. Files named inside an image are not opened.",
        "merge it into one file first: test ! -e OUT.qcow2 && qemu-img convert -O qcow2 IN OUT.qcow2";
    EXTENT_MISSING = "extent-missing", Error, false,
        "The VMDK consists of several files, and one of them is missing or cannot be opened.",
        "copy all files of the VMDK to one folder, and name its descriptor file";
    ENCRYPTED_IMAGE = "encrypted-image", Error, false,
        "The image is encrypted.",
        "decrypt it first, with the program that made it";
    COMPRESSED_RANDOM_ACCESS = "compressed-random-access", Error, false,
        "The image is compressed as a whole, and its format cannot be read as a stream.",
        "decompress the file first";
    LIMIT_EXCEEDED = "limit-exceeded", Error, false,
        "Reading the image would take more memory or time than any real image needs.",
        "copy or export the image again; it is probably damaged";
    // The size.
    TOO_SMALL = "too-small", Error, false,
        "The disk is smaller than the 20 MiB that Azure accepts at least.",
        "enlarge the disk to at least 20 MiB in the virtual machine's settings, and export it again";
    TOO_LARGE = "too-large", Error, false,
        "The disk is larger than 4,095 GiB, the most that an OS disk may have.",
        "shrink the last partition and then the disk, and export it again";
    TOO_LARGE_FOR_V1 = "too-large-for-v1", Error, false,
        "The disk is larger than 2 TiB. Azure accepts this only for generation v2.",
        "use generation v2, which needs a GPT with an EFI system partition, or shrink the disk to 2 TiB";
    // The partition table.
    NO_PARTITION_TABLE = "no-partition-table", Warning, true,
        "The disk has no partition table: most machines do not boot from it.",
        "check that the right disk was exported, and state its generation (--generation)";
    GENERATION_UNKNOWN = "generation-unknown", Error, false,
        "The partition table does not show for which generation the disk is made.",
        "state it: --generation v1 or --generation v2";
    GENERATION_MISMATCH = "generation-mismatch", Error, true,
        "The partition table cannot be booted by the stated generation.",
        "state the other generation, or leave --generation out";
    NO_ESP = "no-efi-system-partition", Warning, true,
        "The GPT has no EFI system partition, from which generation v2 boots.",
        "add one, or use --generation v1 if the disk boots from BIOS";
    NO_BIOS_BOOT = "no-bios-boot-partition", Warning, true,
        "The GPT has no partition for a BIOS boot loader, but boot code in its first sector.",
        "check that the disk boots as generation v1 (BIOS)";
    MBR_EFI = "mbr-efi", Warning, true,
        "The disk has an EFI system partition in a master boot record. Whether generation v2 boots from it is not documented.",
        "convert the partition table to GPT if the machine does not boot";
    EITHER_GENERATION = "either-generation", Note, true,
        "The disk can be booted by both generations and is taken as v2.",
        "state --generation v1 if that is wanted";
    SECTOR_SIZE = "sector-size-4096", Error, true,
        "The partition table is made for sectors of 4,096 bytes. Azure presents OS disks with sectors of 512 bytes.",
        "install the system on a disk with sectors of 512 bytes (512 or 512e), and export that disk";
    GPT_DAMAGED = "gpt-damaged", Error, true,
        "The GPT is damaged.",
        "repair the partition table in the machine from which the disk was exported, and export it again";
    GPT_REPAIRABLE = "gpt-repairable", Error, true,
        "The first copy of the GPT is damaged, and the backup at the end of the disk is valid.",
        "goldfleet convert --repair-gpt IN OUT.vhd writes the first copy again from the backup";
    GPT_BACKUP_DAMAGED = "gpt-backup-damaged", Warning, true,
        "The backup of the GPT is missing, damaged or different, and cannot be written again in its place.",
        "check that the disk is complete; partitions may use the sectors in which the backup belongs";
    PARTITIONS_CUT_SHORT = "partitions-cut-short", Error, true,
        "The partition table belongs to a larger disk, whose end is missing.",
        "copy or export all of the disk again; to shrink a disk, shrink its last partition first";
    PARTITION_BEYOND_END = "partition-beyond-end", Error, true,
        "A partition extends beyond the end of the disk.",
        "shrink the partition or enlarge the disk where it was made, and export it again";
    PARTITION_EMPTY = "partition-empty", Error, true,
        "A partition has an empty range: its last sector is before its first one.",
        "delete or correct the partition where the disk was made, and export it again";
    PARTITIONS_OVERLAP = "partitions-overlap", Warning, true,
        "Two partitions use the same sectors.",
        "check the partition table";
    LOGICAL_PARTITIONS_DAMAGED = "logical-partitions-damaged", Warning, true,
        "The chain of logical partitions is damaged: systems see only the partitions before the damage.",
        "check the partition table";
    // Changes that are made to the disk.
    CONVERTED = "converted", Note, false,
        "The image is not a fixed VHD; the fixed VHD with the same disk is uploaded.",
        "";
    LOG_REPLAYED = "log-replayed", Note, false,
        "The VHDX was not closed properly; the changes in its log were applied in memory.",
        "";
    ROUNDED = "rounded", Note, false,
        "Zeros are appended to the disk, so that its size is a whole number of MiB, as Azure demands.",
        "";
    GPT_BACKUP_MOVED = "gpt-backup-moved", Note, false,
        "The backup of the GPT is written to the end of the disk, and the first copy is made to refer to it.",
        "";
    GPT_REPAIRED = "gpt-repaired", Note, false,
        "The first copy of the GPT is written again from the backup.",
        "";
    NEW_FOOTER = "new-footer", Note, false,
        "The VHD footer is generated; the same disk always gets the same footer.",
        "";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let mut names: Vec<&str> = ALL.iter().map(|code| code.name).collect();
        assert!(
            names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
        );
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(find("padded"), Some(&PADDED));
        assert_eq!(find("no-such-code"), None);
    }

    #[test]
    fn every_error_has_a_remedy() {
        for code in ALL.iter().filter(|code| code.severity == Severity::Error && code.name != "cancelled") {
            assert!(!code.remedy.is_empty(), "{}", code.name);
        }
        for code in ALL {
            assert!(code.meaning.ends_with('.'), "{}", code.name);
        }
    }
}
