//! Azure on this machine: Microsoft's storage emulator over TLS with a root certificate of its own.
//!
//! - [`azurite`]: starts and stops the emulator.
//! - [`certificates`]: what it, its clients and the doubles trust.
//! - [`proxy`]: stands in front of the storage emulator, and supplies what that lacks of Azure's Blob service.

pub mod azurite;
pub mod certificates;
pub mod proxy;
