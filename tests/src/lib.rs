//! What goldfleet's tests across packages share.
//!
//! - [`fleet`]: a small fleet in this process, on the embedded adapters, in a folder of its own.
//! - [`azure`]: the emulator and the doubles that the Azure adapters run against.
//! - [`mod@bench`]: benchmarks that also run as short tests.
//! - [`intercept`]: ports with something in between; [`faults`]: calls that fail, before or after their effect.
//! - [`process_fixture`]: real processes of a fleet; [`terminal`]: one of them on a terminal; [`files`]: what they left, damaged.
//! - [`regions`]: thirty regions, and plans for them.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests report by panicking")]

pub mod azure;
pub mod bench;
mod call_args;
pub mod faults;
pub mod files;
pub mod fleet;
pub mod intercept;
pub mod process_fixture;
pub mod regions;
pub mod terminal;
