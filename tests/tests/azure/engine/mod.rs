//! The copy engine under faults: seeds and copies of a fleet in this process, with the Azure adapter and the storage
//! emulator behind a proxy that injects faults. Each case ends with correct VHDs, byte for byte, or with a named
//! failure.
#![expect(clippy::unwrap_used, reason = "tests")]

mod aborted_seeds;
mod aborted_uploads;
mod faults;
mod fixture;
mod flips;
mod sas;
mod slow_links;
