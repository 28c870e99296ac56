//! What an inspection is asked for, and what it returns.

use goldfleet_disk::Finding;
use serde::{Deserialize, Serialize};

use crate::budget::Limits;

/// What the disk becomes on Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// A managed image: generalised, x86-64, without Trusted Launch.
    #[default]
    ManagedImage,
    /// A gallery image version of a generalised definition.
    GalleryGeneralized,
    /// A gallery image version of a specialised definition.
    GallerySpecialized,
}

impl Destination {
    /// Whether virtual machines are provisioned from the disk: host name, user and keys are set at the first boot.
    #[must_use]
    pub fn is_generalized(self) -> bool {
        self != Self::GallerySpecialized
    }
}

/// The generation of Hyper-V virtual machines: 1 boots by BIOS, 2 by UEFI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generation {
    /// BIOS.
    #[serde(rename = "V1")]
    V1,
    /// UEFI.
    #[serde(rename = "V2")]
    V2,
}

impl Generation {
    /// `1` or `2`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
        }
    }
}

/// The processor architecture of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    X64,
    /// 64-bit ARM.
    Arm64,
    /// 32-bit x86, which Azure does not boot.
    X86,
}

impl Architecture {
    /// The name to show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "Arm64",
            Self::X86 => "32-bit x86",
        }
    }
}

/// Which virtual hardware the disk has to boot on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hardware {
    /// Azure: Hyper-V's VMBus with SCSI storage.
    #[default]
    HyperV,
    /// QEMU with virtio storage and network, to compare predictions with boots.
    Virtio,
    /// QEMU with NVMe storage, to compare predictions with boots.
    Nvme,
}

/// What to check, and how much may be used for it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the disk becomes.
    pub destination: Destination,
    /// The generation that the image is registered for. `None`: both are possible.
    pub generation: Option<Generation>,
    /// The destination takes Arm64 images.
    pub arm64: bool,
    /// The virtual machines have NVMe disks: a missing NVMe driver is an error.
    pub nvme: bool,
    /// The virtual machines use Secure Boot: an unsigned loader is an error.
    pub secure_boot: bool,
    /// What cannot be inspected is an error.
    pub require: bool,
    /// Codes whose errors become warnings that state it.
    pub accept: Vec<String>,
    /// What the inspection may use.
    pub limits: Limits,
    /// The virtual hardware to predict for.
    pub hardware: Hardware,
}

/// The operating system of a disk. Stored with an image version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// `linux` or `windows`.
    pub family: String,
    /// `ID` of os-release, or `windows`.
    pub id: String,
    /// The name to show: `PRETTY_NAME` of os-release, or Windows' product name.
    pub name: String,
    /// `VERSION_ID` of os-release, or Windows' build with its revision.
    pub version: String,
    /// Versions of the installed kernels, the default one first. Empty for Windows.
    pub kernels: Vec<String>,
    /// The programs that provision a virtual machine, with versions: `cloud-init 25.1.1`, `waagent 2.9.1.1`.
    pub agents: Vec<String>,
    /// The generations whose firmware finds a loader on the disk.
    pub generations: Vec<Generation>,
    /// The processor architecture. `None` if there is no kernel to tell it from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
}

/// What an inspection used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Usage {
    /// Bytes read from the disk.
    pub bytes_read: u64,
    /// The most memory that was reserved for buffers at one time, in bytes.
    pub memory: u64,
    /// Milliseconds.
    pub milliseconds: u64,
}

/// The result of an inspection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Inspection {
    /// The operating system, if one was found.
    pub system: Option<System>,
    /// What was found, errors first.
    pub findings: Vec<Finding>,
    /// What the inspection used.
    pub usage: Usage,
}
