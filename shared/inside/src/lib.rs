//! What is inside a disk: volumes, file systems, boot chain, operating system, and the checks of them.
//!
//! [`inspect`] reads a disk through [`goldfleet_disk::DiskReader`], without mounting it, without privileges, and within
//! [`budget::Limits`]. It returns the operating system and what would keep the disk from booting or from being provisioned.

pub mod bcd;
pub mod budget;
mod bytes;
pub mod codes;
#[cfg(test)]
mod damaged;
pub mod finding;
pub mod fs;
pub mod hive;
pub mod initramfs;
mod inspection;
pub mod linux;
pub mod machine;
mod memory_file;
mod options;
pub mod pe;
pub mod root;
mod text;
pub mod volumes;
pub mod window;
pub mod windows;

pub use inspection::inspect;
pub use memory_file::MemoryFile;
pub use options::{Destination, Hardware, Inspection, InvalidDestination, Options, Requirements, Usage};
