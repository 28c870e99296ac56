//! Single writes to the content of a disk that awaits an upload, with what the service returns. The probe of the platform uses
//! them.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::store::BlobAddress;

use super::disk_access::DiskSas;
use super::error::PortResult;

/// From where the service reads the bytes of a write.
#[derive(Debug, Clone, Copy)]
pub enum PageSource<'a> {
    /// Another disk or snapshot.
    Disk(&'a DiskSas),
    /// A block blob.
    Blob(&'a BlobAddress),
}

/// The checksums in the response to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageAnswer {
    /// Whether it has the MD5 of the written bytes.
    pub md5: bool,
    /// Whether it has the CRC-64 of the written bytes.
    pub crc64: bool,
}

/// Writes to the content of a disk. Ranges are multiples of 512 bytes.
#[async_trait]
pub trait DiskPages: Send + Sync {
    /// Writes bytes. With `crc64`, the request carries this checksum.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached. `Corrupt` or `Invalid` if it finds another checksum.
    async fn write(&self, sas: &DiskSas, offset: u64, bytes: Bytes, crc64: Option<u64>) -> PortResult<PageAnswer>;

    /// Has the service read a range of a source, and write it at `offset`. With `md5`, the request carries this checksum of the
    /// source's bytes.
    ///
    /// # Errors
    /// As [`DiskPages::write`].
    async fn write_from(
        &self,
        sas: &DiskSas,
        offset: u64,
        source: PageSource<'_>,
        range: Range<u64>,
        md5: Option<[u8; 16]>,
    ) -> PortResult<PageAnswer>;
}
