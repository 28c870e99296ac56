//! The codes of refusals of sources.

/// Why a source is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code, in kebab case.
    pub name: &'static str,
    /// What it means.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($constant:ident = $name:literal, $cause:literal, $remedy:literal;)*) => {
        $(#[doc = $cause] pub static $constant: Code = Code { name: $name, cause: $cause, remedy: $remedy };)*

        /// All codes.
        pub static ALL: &[&Code] = &[$(&$constant),*];
    };
}

codes! {
    NAME_INVALID = "name-invalid",
        "The source is not named as one of `blob:URL`, `disk:ID`, `snapshot:ID`, `image:ID`, `gallery:ID` and `vm:ID`, or the blob is not in this cloud.",
        "Name it in one of the forms of `goldfleet help sources`, without a signature.";
    SOURCE_NOT_FOUND = "source-not-found",
        "The disk, snapshot, image, gallery version, machine or blob does not exist, or this identity may not see it.",
        "Check the name, and that the identity may read the source.";
    ADE_ENCRYPTED = "ade-encrypted",
        "The disk is encrypted inside the machine (Azure Disk Encryption). Its keys stay in a vault, so a copy does not boot.",
        "Disable Azure Disk Encryption in the machine, or use the image that the machine was created from.";
    CONFIDENTIAL = "confidential",
        "The disk belongs to a confidential machine. Its content is bound to that machine.",
        "Use the image that the machine was created from.";
    SECTOR_4096 = "sector-4096",
        "The disk has sectors of 4,096 bytes. A managed image has sectors of 512 bytes.",
        "Create the source as a disk with `logicalSectorSize` 512.";
    NOT_HYDRATED = "not-hydrated",
        "The content of the source is not complete: a copy, a replication, an upload or the creation has not ended, or has failed.",
        "Wait until `completionPercent` is 100 and the upload has ended, then run the command again. If the copy failed, create it again.";
    EXPORT_DENIED = "export-denied",
        "The source may not be exported: its network access policy, its public network access or its data access mode forbids a SAS.",
        "Copy it to a snapshot whose export is permitted, or change the property that the reason names.";
    SPECIALIZED = "specialized",
        "The image or gallery version is specialised: what is created from it is the same machine again, with its host name and accounts.",
        "Generalise a machine that was created from it, capture that, and use the capture.";
    VERSION_ELSEWHERE = "version-elsewhere",
        "The gallery version is in no region in which a temporary disk of it could be created: neither its gallery's resource group nor a hub is in one of its regions.",
        "Add a region of a hub to the version, or configure a hub in one of its regions.";
    SHARED_DISK = "shared-disk",
        "Several machines can write to the disk at the same time, so no point in time of it is consistent.",
        "Detach it from all machines, create a snapshot, and use `snapshot:ID`.";
    MACHINE_RUNNING = "machine-running",
        "The machine runs, so its disks would be read at different moments.",
        "Stop the machine and run the command again, or clone its disks with `goldfleet vm clone --disks-only --stop`.";
    UNMANAGED = "unmanaged",
        "A disk of the machine is no managed disk, or has a LUN that a version cannot have.",
        "Convert the machine to managed disks, or detach the disk.";
    SNAPSHOT_DENIED = "snapshot-denied",
        "The disk is attached to a machine, and the temporary snapshot of it that is read instead cannot be created or deleted.",
        "Remove what the reason names, or create a snapshot of the disk and use `snapshot:ID`.";
    TEMPORARY_DENIED = "temporary-denied",
        "A temporary gallery, gallery version or disk, by which an image or gallery version is read, cannot be created or deleted.",
        "Remove what the reason names: a missing right, a quota, a policy or a lock.";
    OS_MISMATCH = "os-mismatch",
        "`--os` contradicts the operating system that the source has.",
        "Leave the option out. If the property of the source is wrong, correct it there.";
    OS_UNKNOWN = "os-unknown",
        "The source does not state an operating system: it is a data disk or a blob.",
        "Name the operating system with `--os`.";
    HYPERV_MISMATCH = "hyperv-mismatch",
        "`--generation` contradicts the Hyper-V generation that the source has.",
        "Leave the option out. If the property of the source is wrong, correct it there.";
    GENERATION_UNKNOWN = "generation-unknown",
        "The source does not state a Hyper-V generation, and `dispatch --from` does not read its partition table.",
        "Name the generation with `--generation`.";
    VERSION_EXISTS = "version-exists",
        "The version was uploaded, or dispatched from another source. A version has one content.",
        "Use another version.";
    SOURCE_DAMAGED = "source-damaged",
        "The content of the source does not have the length of its disk, or the footer behind it is not that of the disk.",
        "Create a new snapshot of the disk and use that. If it is refused too, give the reason to Azure support.";
}

/// A source that is refused. Nothing was read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {reason} ({})", code.name)]
pub struct Refusal {
    /// The code.
    pub code: &'static Code,
    /// The source.
    pub location: String,
    /// Why it is refused.
    pub reason: String,
}

impl Refusal {
    /// A refusal of a source.
    #[must_use]
    pub fn new(code: &'static Code, location: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { code, location: location.into(), reason: reason.into() }
    }
}
