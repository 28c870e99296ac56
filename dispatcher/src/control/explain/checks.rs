//! Codes of `goldfleet check`, which runs before every upload.

use super::Code;

pub(super) static CODES: &[Code] = &[
    Code {
        codes: &["not-found", "unreadable", "not-a-file", "empty"],
        cause: "There is no file, or it cannot be read.",
        remedy: "Check the path and its permissions.",
    },
    Code {
        codes: &["vhdx", "qcow2", "vmdk"],
        cause: "The file has another image format.",
        remedy: "Convert it with the `qemu-img` command that `goldfleet check` prints.",
    },
    Code {
        codes: &["raw"],
        cause: "The file has partitions but no VHD footer: it is a raw disk, or a VHD that is cut short.",
        remedy: "Convert it with the command that `goldfleet check` prints, or copy the VHD again.",
    },
    Code {
        codes: &["no-footer", "footer-checksum", "footer-type"],
        cause: "The last 512 bytes are not a valid VHD footer.",
        remedy: "Copy or export the VHD again.",
    },
    Code {
        codes: &["truncated", "damaged"],
        cause: "The file ends too early, or the header, block table and blocks of a dynamic disk contradict each other.",
        remedy: "Copy or export the VHD again.",
    },
    Code {
        codes: &["differencing"],
        cause: "The VHD contains only the difference to a parent disk.",
        remedy: "Merge it with its parent.",
    },
    Code {
        codes: &["not-whole-mib", "too-small", "too-large", "too-large-for-mbr"],
        cause: "Azure does not accept this disk size: it must be a whole number of MiB, from 20 MiB to 4,095 GiB, and at most \
                2 TiB with a master boot record.",
        remedy: "Resize the disk with the command that `goldfleet check` prints.",
    },
    Code {
        codes: &["generation-mismatch", "no-efi-system-partition", "generation-unknown"],
        cause: "The partition table does not fit the Hyper-V generation, or does not show which one is meant.",
        remedy: "State the generation with `--generation`, or build the image for that generation (`goldfleet help vhd`).",
    },
    Code {
        codes: &["gpt-damaged", "gpt-backup-damaged", "partitions-cut-short"],
        cause: "The partition table is damaged, or belongs to a larger disk whose end is missing.",
        remedy: "Copy or export the disk again, or repair its partition table.",
    },
    Code {
        codes: &["no-partition-table"],
        cause: "The disk has no partition table, so the firmware finds nothing to boot.",
        remedy: "Check that this is the OS disk.",
    },
    Code {
        codes: &["either-generation", "dynamic"],
        cause: "For information: the disk boots with either generation; or it is dynamic and is uploaded as a fixed VHD.",
        remedy: "Nothing needs to be done.",
    },
];
