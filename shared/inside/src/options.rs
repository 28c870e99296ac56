//! What an inspection is asked for, and what it returns.

use goldfleet_disk::Finding;
use goldfleet_model::manifest::Generation;
use goldfleet_model::system::System;
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
    /// The operating system, if one was found. If the inspection was stopped, what it did not reach is empty.
    pub system: Option<System>,
    /// What was found, errors first.
    pub findings: Vec<Finding>,
    /// What the inspection used.
    pub usage: Usage,
}
