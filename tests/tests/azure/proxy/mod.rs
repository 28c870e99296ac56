//! The proxy in front of the storage emulator.
//!
//! By default, the tests use a stub of the emulator. To use the emulator itself, whose certificate is in a file:
//! `GOLDFLEET_EMULATOR=https://127.0.0.1:10000 GOLDFLEET_EMULATOR_ROOT=root.pem cargo test -p goldfleet-tests --test
//! azure proxy`. It must have the accounts `srcacct` and `dstacct`, and must run with `--oauth basic`. All tests pass
//! on Azurite 3.37.0. Version 3.35.0 rejects the SDK's API version and does not support its form of user delegation
//! SAS.

#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

mod copies;
mod emulator_stub;
mod faults;
mod fixture;
mod forwarding;
mod sas;
mod writes;
