//! The copy engine under faults: seeds and copies of a fleet in this process, through the Azure adapter, to the storage
//! emulator behind a proxy in which things go wrong. Each fault ends with whole VHDs, byte for byte, or with its name.
#![expect(clippy::unwrap_used, reason = "tests")]

mod faults;
mod fixture;
mod flips;
mod sas;
mod slow_links;
