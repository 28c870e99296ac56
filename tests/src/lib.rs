//! What goldfleet's tests across packages share.
//!
//! - [`azure`]: doubles of Azure's services.
//! - [`fleet`]: a small fleet in this process, on the embedded adapters, in a folder of its own.
//! - [`azure`]: the emulator and the doubles that the Azure adapters run against.
//! - [`faults`]: ports that fail at a chosen call, before or after its effect.
//! - [`place`]: real processes of a fleet.
//! - [`azure`]: what tests of the Azure adapters stand on.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests report by panicking")]

pub mod azure;
pub mod faults;
pub mod fleet;
pub mod place;
pub mod terminal;
