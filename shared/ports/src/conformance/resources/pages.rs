//! Writes to the content of a disk that awaits an upload.

use std::ops::Range;

use bytes::Bytes;
use goldfleet_model::checksum::crc64;
use goldfleet_model::hash::Md5Sum;
use goldfleet_model::store::BlobAddress;

use super::ResourceSuite;
use super::access::request;
use crate::blob_store::Checksums;
use crate::disk_access::{Access, DiskSas};
use crate::disk_content::ACCESS_ENDED;
use crate::disk_pages::{DiskPages, PageAnswer, PageSource};
use crate::error::{ErrorKind, SourceFault};

/// The number of bytes of a block blob that the part about writes needs.
pub const SOURCE_LENGTH: usize = 8192;

/// What the part about writes needs besides the resources.
#[derive(Clone, Copy)]
pub struct PagePorts<'a> {
    /// The port under test.
    pub pages: &'a dyn DiskPages,
    /// A block blob with [`SOURCE_LENGTH`] bytes.
    pub blob: &'a BlobAddress,
    /// The bytes of the blob.
    pub bytes: &'a Bytes,
}

fn sums(bytes: &[u8]) -> Checksums {
    Checksums { crc64: crc64(bytes), md5: Some(Md5Sum::of(bytes)) }
}

impl ResourceSuite<'_> {
    /// Runs the part of the suite about writes.
    pub async fn pages_of_disks(self, ports: PagePorts<'_>) {
        self.written_pages_are_copied(ports).await;
        self.sources_are_checked(ports).await;
        self.ended_access_writes_nothing(ports).await;
    }

    /// Whether the answer to a write or a read of the range proves its bytes.
    async fn is_proven(
        self,
        ports: PagePorts<'_>,
        sas: &DiskSas,
        range: Range<u64>,
        bytes: &[u8],
        by: PageAnswer,
    ) -> bool {
        let read = ports.pages.holds(sas, range, sums(bytes)).await.expect("a read");
        by.proves(&sums(bytes)).unwrap_or(read) && read
    }

    /// Bytes of the caller and of a blob are in the disk, and in a snapshot of it after the access has ended.
    pub async fn written_pages_are_copied(self, ports: PagePorts<'_>) {
        let disk = self.upload_disk();
        self.put(&disk).await.expect("a disk");
        let sas = self.write(&disk.id).await.expect("access");
        let own = Bytes::from(vec![0x5a; 1024]);
        let answer = ports.pages.write(&sas, 512, own.clone(), Some(crc64(&own))).await.expect("a write");
        assert!(self.is_proven(ports, &sas, 512..1536, &own, answer).await);
        let part = ports.bytes.slice(512..4096);
        let source = PageSource::Blob(ports.blob.clone());
        let write = ports.pages.write_from(&sas, 1 << 20, &source, 512..4096, Some(sums(&part)));
        let answer = write.await.expect("a write from a blob");
        let at = 1 << 20..(1 << 20) + part.len() as u64;
        assert!(self.is_proven(ports, &sas, at.clone(), &part, answer).await);
        assert!(!ports.pages.holds(&sas, at.clone(), sums(b"other")).await.expect("a read"));
        let layout = self.access.layout(&sas).await.expect("a layout");
        for range in [512..1536, at.clone()] {
            let within = |data: &Range<u64>| data.start <= range.start && range.end <= data.end;
            assert!(layout.data.iter().any(within), "{range:?} is not in {:?}", layout.data);
        }
        self.end(&disk.id).await.expect("the end of access");
        let snapshot = self.snapshot_of(&disk.id, true);
        self.put(&snapshot).await.expect("a snapshot");
        self.arrived(&snapshot.id).await;
        let read = self.begin(&request(&snapshot.id, Access::Read)).await.expect("access");
        for (range, bytes) in [(512..1536, own), (at, part)] {
            assert!(ports.pages.holds(&read, range.clone(), sums(&bytes)).await.expect("a read"), "{range:?}");
        }
        self.end(&snapshot.id).await.expect("the end of access");
    }

    /// A source that is missing is named as the fault. Bytes with another checksum are refused, or the answer does not
    /// prove them.
    pub async fn sources_are_checked(self, ports: PagePorts<'_>) {
        let disk = self.upload_disk();
        self.put(&disk).await.expect("a disk");
        let sas = self.write(&disk.id).await.expect("access");
        let missing = PageSource::Blob(ports.blob.container.blob("chunks/missing"));
        let sums_of = |bytes: &[u8]| Some(sums(bytes));
        let error = ports.pages.write_from(&sas, 0, &missing, 0..512, sums_of(b"")).await.expect_err("no source");
        assert_eq!(error.source_fault(), Some(SourceFault::Missing), "{error:?}");
        let source = PageSource::Blob(ports.blob.clone());
        match ports.pages.write_from(&sas, 0, &source, 0..512, sums_of(b"other")).await {
            Ok(answer) => assert_ne!(answer.proves(&sums(b"other")), Some(true)),
            Err(error) => assert_eq!(error.source_fault(), Some(SourceFault::Corrupt), "{error:?}"),
        }
        for (offset, length) in [(1, 512), (0, 511), (0, 0)] {
            let bytes = Bytes::from(vec![1; length]);
            let error = ports.pages.write(&sas, offset, bytes, None).await.expect_err("no whole pages");
            assert_eq!(error.kind, ErrorKind::Invalid, "{offset} {length}: {error:?}");
        }
        self.end(&disk.id).await.expect("the end of access");
    }

    /// After the end of access, and with a SAS for reading, nothing is written.
    pub async fn ended_access_writes_nothing(self, ports: PagePorts<'_>) {
        let disk = self.upload_disk();
        self.put(&disk).await.expect("a disk");
        let sas = self.write(&disk.id).await.expect("access");
        self.end(&disk.id).await.expect("the end of access");
        let page = Bytes::from(vec![1; 512]);
        let error = ports.pages.write(&sas, 0, page.clone(), None).await.expect_err("no access");
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Denied, ACCESS_ENDED), "{error:?}");
        let source = PageSource::Blob(ports.blob.clone());
        let error = ports.pages.write_from(&sas, 0, &source, 0..512, None).await.expect_err("no access");
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Denied, ACCESS_ENDED), "{error:?}");
        let read = self.begin(&request(&disk.id, Access::Read)).await.expect("access");
        let error = ports.pages.write(&read, 0, page, None).await.expect_err("a SAS for reading");
        assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
        self.end(&disk.id).await.expect("the end of access");
    }
}
