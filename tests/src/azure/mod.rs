//! What tests of the Azure adapters stand on.
//!
//! - [`proxy`]: stands in front of the storage emulator, and supplies what that lacks of Azure's Blob service.

pub mod proxy;
