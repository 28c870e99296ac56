//! Azure on this machine: Microsoft's storage emulator over TLS with a root certificate of its own.

pub mod azurite;
pub mod certificates;
