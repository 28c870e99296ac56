//! Code that goldfleet's tests share across packages.
//!
//! - [`fleet`]: a small fleet in this process, on the embedded adapters, in a temporary directory.
//! - [`azure`]: the emulator and the test doubles for the Azure adapters.
//! - [`mod@bench`]: benchmarks that also run as short tests.
//! - [`intercept`]: ports with an interceptor; [`faults`]: calls that fail before or after their effect.
//! - [`process_fixture`]: real processes of a fleet; [`terminal`]: a process on a terminal; [`files`]: damages and
//!   visits files.
//! - [`linux_disk`]: a golden VHD with a small Linux system.
//! - [`regions`]: thirty regions, and plans for them.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests report by panicking")]

pub mod azure;
pub mod bench;
mod call_args;
pub mod faults;
pub mod files;
pub mod fleet;
pub mod intercept;
pub mod linux_disk;
pub mod process_fixture;
pub mod regions;
pub mod terminal;
