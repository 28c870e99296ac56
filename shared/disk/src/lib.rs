//! Disk images of any format, read as the disks they hold.
//!
//! - [`open`] opens an image and detects its format. [`DiskReader`] is the interface to the disk in it: its size, its
//!   data ranges and its bytes.
//! - [`AzureDisk`] is the same disk as Azure accepts it, with every change reported.
//! - [`check`] checks whether an image can become an OS disk. [`Finding`] is one result; [`codes`] lists all kinds of
//!   findings.
//! - [`convert`] writes a disk to a fixed VHD; [`chunk`] divides it into chunks; [`sparse`] finds the data of sparse
//!   files;
//!   [`bytes`] reads numbers in binary structures.
//!
//! Images are only read, without child processes. An image may be damaged or hostile: every offset in it is checked
//! against the file's length, and memory is bounded. In memory are the allocation tables in use (a cache of 4 MiB), the
//! log of a VHDX (at most 64 MiB), and the window of a decompressor (at most 128 MiB).

mod azure;
mod bitset;
mod blocks;
pub mod bytes;
mod cache;
mod check;
pub mod chunk;
pub mod codes;
mod compare;
mod convert;
mod error;
mod file;
mod finding;
mod formats;
mod open;
mod partitions;
mod reader;
pub mod sparse;
mod synthetic;
mod unsupported;

pub use azure::AzureDisk;
pub use check::{CheckOptions, Checked, DiskPurpose, Report, check, check_opened};
pub use codes::Code;
pub use compare::{first_difference, same_disk};
pub use convert::{ConvertError, ConvertOptions, Converted, convert};
pub use error::DiskError;
pub use file::FileDisk;
pub use finding::{Finding, Severity};
pub use formats::compressed::Compression;
pub use formats::vhd::{DiskType, FOOTER_SIZE, Footer, FooterError};
pub use goldfleet_model::manifest::Generation;
pub use open::{Format, OpenDisk, OpenError, OpenOptions, StatedFormat, open, open_reader};
pub use partitions::{Backup, GptFault, Partition, PartitionTable, PartitionType, TableKind, types};
pub use reader::{DataRanges, DiskReader, MemoryDisk};
pub use synthetic::GoldenSpec;
