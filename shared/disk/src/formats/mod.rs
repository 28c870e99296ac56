//! Readers of image formats. Each takes the image's file as a [`DiskReader`](crate::DiskReader), so that an image in
//! memory or inside another image is read by the same code.

pub(crate) mod compressed;
pub(crate) mod qcow2;
pub(crate) mod raw;
pub(crate) mod vhd;
pub(crate) mod vhdx;
pub(crate) mod vmdk;
