//! What an inspection is asked for, and what it returns.

use std::fmt;
use std::str::FromStr;

use goldfleet_disk::Finding;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::system::System;
use serde::Serialize;

use crate::budget::Limits;

/// What the disk becomes on Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    /// All destinations.
    pub const ALL: [Self; 3] = [Self::ManagedImage, Self::GalleryGeneralized, Self::GallerySpecialized];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ManagedImage => "image",
            Self::GalleryGeneralized => "gallery",
            Self::GallerySpecialized => "gallery-specialised",
        }
    }

    /// Whether virtual machines are provisioned from the disk: host name, user and keys are set at the first boot.
    #[must_use]
    pub fn is_generalized(self) -> bool {
        self != Self::GallerySpecialized
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not one of image, gallery and gallery-specialised")]
pub struct InvalidDestination(String);

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, InvalidDestination> {
        let found = Self::ALL.into_iter().find(|destination| destination.name() == text);
        found.ok_or_else(|| InvalidDestination(text.to_owned()))
    }
}

/// What the virtual machines have, beside what all have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requirements {
    /// NVMe disks: a missing NVMe driver is an error.
    pub nvme: bool,
    /// Secure Boot: an unsigned loader is an error.
    pub secure_boot: bool,
    /// Processors of the architecture Arm64, for which a gallery's definition can be.
    pub arm64: bool,
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
    /// The operating system that the image is registered for, if it is stated.
    pub os: Option<OsType>,
    /// The generation that the image is registered for. `None`: both are possible.
    pub generation: Option<Generation>,
    /// What the virtual machines have.
    pub requirements: Requirements,
    /// What cannot be inspected is an error.
    pub require: bool,
    /// Codes whose errors become warnings that state it.
    pub accept: Vec<String>,
    /// What the inspection may use.
    pub limits: Limits,
    /// The virtual hardware to predict for.
    pub hardware: Hardware,
}

impl Options {
    /// Whether a system for Arm64 is what the destination takes. Managed images have no architecture.
    #[must_use]
    pub fn takes_arm64(&self) -> bool {
        self.requirements.arm64 && self.destination != Destination::ManagedImage
    }
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
