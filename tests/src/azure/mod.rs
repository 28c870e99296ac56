//! Azure on this machine: Microsoft's storage emulator over TLS with a root certificate of its own, and doubles of what
//! there is no emulator for.
//!
//! - [`arm`]: Resource Manager.
//! - [`azurite`]: starts and stops the emulator.
//! - [`certificates`]: what it, its clients and the doubles trust.
//! - [`proxy`]: stands in front of the storage emulator, and supplies what that lacks of Azure's Blob service.
//! - [`sas`]: shared access signatures.
//! - [`fixture`]: all of it for a small fleet, with configurations that lead there.

pub mod arm;
pub mod azurite;
pub mod certificates;
pub mod fixture;
pub mod proxy;
pub mod sas;
