//! The VHD reader and the check, against images that qemu-img makes and against files that mean harm.

mod corpus;
mod hostile;
mod images;
mod reader;
