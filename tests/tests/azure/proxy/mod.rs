//! The proxy in front of the storage emulator.
//!
//! By default against a stand-in for the emulator. Against the emulator itself, whose certificate is in a file:
//! `GOLDFLEET_EMULATOR=https://127.0.0.1:10000 GOLDFLEET_EMULATOR_ROOT=root.pem cargo test -p goldfleet-tests --test
//! azure proxy`; it must know the accounts `srcacct` and `dstacct`, and must have been started with `--oauth basic`. All tests
//! pass on Azurite 3.37.0; 3.35.0 refuses the SDK's version and does not know its form of user delegation SAS.

#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

mod copies;
mod emulator_stub;
mod faults;
mod fixture;
mod forwarding;
mod sas;
mod writes;
