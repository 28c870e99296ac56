//! The VHD reader and the check, against images that qemu-img makes and against files that mean harm.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod corpus;
mod hostile;
mod images;
mod reader;
mod remedies;
