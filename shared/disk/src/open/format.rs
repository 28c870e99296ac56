//! The formats, and how they are detected.

use std::fmt;

use serde::Serialize;

use crate::formats::vhd::{DiskType, FOOTER_SIZE, Footer};
use crate::formats::{qcow2, vhdx, vmdk};
use crate::unsupported::HEAD_SIZE;
use crate::{DiskError, DiskReader};

/// The format of an image.
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
    /// A VHD, also if zero bytes follow its footer or its footer has only 511 bytes.
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

/// The first bytes of a file.
pub(super) fn read_head(source: &dyn DiskReader) -> Result<Vec<u8>, DiskError> {
    let length = crate::bytes::index(source.size().min(HEAD_SIZE as u64));
    let mut head = vec![0; length];
    source.read_at(0, &mut head)?;
    Ok(head)
}

/// The format by the first bytes of a file. VHDs and raw disks cannot be detected by them.
pub(super) fn detect_format(head: &[u8]) -> Option<Format> {
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
pub(super) fn ends_as_vhd(source: &dyn DiskReader) -> bool {
    let mut last = [0; FOOTER_SIZE];
    let at = source.size().checked_sub(FOOTER_SIZE as u64);
    at.is_some_and(|at| source.read_at(at, &mut last).is_ok()) && Footer::parse(&last).is_ok()
}

/// The format of a VHD with this footer.
pub(super) fn vhd_format(footer: &Footer) -> Format {
    match footer.disk_type() {
        DiskType::Fixed => Format::FixedVhd,
        DiskType::Dynamic => Format::DynamicVhd,
        DiskType::Differencing => Format::DifferencingVhd,
    }
}
