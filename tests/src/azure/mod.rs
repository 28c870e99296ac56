//! Azure on this machine: Microsoft's storage emulator over TLS with a generated root certificate, and test doubles of
//! services without an emulator.
//!
//! - [`arm`]: Resource Manager.
//! - [`azurite`]: starts and stops the emulator.
//! - [`certificates`]: the certificates of the emulator, its clients and the doubles.
//! - [`proxy`]: a proxy in front of the storage emulator, which adds features of Azure's Blob service that the emulator
//!   lacks.
//! - [`sas`]: shared access signatures.
//! - [`fixture`]: all of these for a small fleet, with configurations.

pub mod arm;
pub mod azurite;
pub mod certificates;
pub mod fixture;
pub mod proxy;
pub mod sas;
