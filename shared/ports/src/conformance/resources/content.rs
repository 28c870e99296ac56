//! The content of disks and snapshots.

use std::time::Duration;

use bytes::Bytes;
use goldfleet_model::resource::ResourceId;

use super::ResourceSuite;
use super::access::request;
use crate::disk_access::{Access, AccessRequest, DiskSas};
use crate::disk_content::{ACCESS_ENDED, ContentLayout, MAX_READ, NO_DIFFERENCE};
use crate::error::{ErrorKind, PortError};

/// Writes the content of a disk, as a machine does. An adapter has no other way to write it.
pub trait DiskWriter: Sync {
    /// Writes bytes to a disk at an offset that is a multiple of 512.
    fn write(&self, id: &ResourceId, offset: u64, bytes: Bytes);
}

/// The places of the data that the suite writes, in pages of 512 bytes.
const PLACES: [(u64, u64); 3] = [(0, 8), (8192, 2048), (40_952, 8)];

fn pattern(seed: u64, length: u64) -> Bytes {
    (0..length).map(|n| u8::try_from((n * 7 + seed) % 251).expect("less than 251") | 1).collect()
}

impl ResourceSuite<'_> {
    /// Runs the part of the suite about content.
    pub async fn content_of_disks(self, writer: &dyn DiskWriter) {
        self.content_of_copy_is_read(writer).await;
        self.difference_of_snapshots_is_listed(writer).await;
        self.ended_access_reads_nothing().await;
        self.reads_are_limited().await;
    }

    async fn read_access(self, id: &ResourceId) -> DiskSas {
        self.begin(&request(id, Access::Read)).await.expect("access")
    }

    /// A snapshot has the content that its disk had, in ranges that contain all of it, and nothing written later.
    pub async fn content_of_copy_is_read(self, writer: &dyn DiskWriter) {
        let disk = self.new_disk().await.id;
        for (page, pages) in PLACES {
            writer.write(&disk, page * 512, pattern(page, pages * 512));
        }
        let snapshot = self.snapshot_of(&disk, false);
        self.put(&snapshot).await.expect("a snapshot");
        self.arrived(&snapshot.id).await;
        writer.write(&disk, 0, pattern(9, 512));
        let sas = self.read_access(&snapshot.id).await;
        let ContentLayout { length, data } = self.access.layout(&sas).await.expect("a layout");
        let with_footer = super::DISK_SIZE + 512;
        assert!(length == super::DISK_SIZE || length == with_footer, "{length}");
        assert!(data.is_sorted_by(|one, next| one.end <= next.start) && data.iter().all(|range| !range.is_empty()));
        for (page, pages) in PLACES {
            let range = page * 512..(page + pages) * 512;
            let within = |data: &std::ops::Range<u64>| data.start <= range.start && range.end <= data.end;
            assert!(data.iter().any(within), "{range:?} is not in {data:?}");
            let read = self.access.read(&sas, range.clone()).await.expect("bytes");
            assert!(read == pattern(page, pages * 512), "{range:?} has other bytes");
        }
        let between = self.access.read(&sas, 1 << 20..2 << 20).await.expect("bytes");
        assert!(between.len() == 1 << 20 && between.iter().all(|byte| *byte == 0), "what was not written is zero");
        self.end(&snapshot.id).await.expect("the end of access");
    }

    /// The difference of two incremental snapshots of a disk has every byte that differs, also one that is zero now,
    /// and not the whole disk. Other contents have none.
    pub async fn difference_of_snapshots_is_listed(self, writer: &dyn DiskWriter) {
        let disk = self.new_disk().await.id;
        for (page, pages) in PLACES {
            writer.write(&disk, page * 512, pattern(page, pages * 512));
        }
        let snapshot = async |disk: &ResourceId, incremental: bool| {
            let request = self.snapshot_of(disk, incremental);
            self.put(&request).await.expect("a snapshot");
            self.arrived(&request.id).await.id
        };
        let one = snapshot(&disk, true).await;
        let full = snapshot(&disk, false).await;
        writer.write(&disk, 0, pattern(1, 512));
        writer.write(&disk, 1024, vec![0; 512].into());
        writer.write(&disk, 30_000 * 512, pattern(3, 1024));
        let two = snapshot(&disk, true).await;
        let other = self.new_disk().await.id;
        let other = snapshot(&other, true).await;
        let (first, second) = (self.read_access(&one).await, self.read_access(&two).await);
        let changes = self.access.changes_since(&second, &first).await.expect("a difference");
        assert!(
            changes.is_sorted_by(|one, next| one.end <= next.start) && changes.iter().all(|range| !range.is_empty())
        );
        for page in [0, 2, 30_000, 30_001] {
            let range = page * 512..(page + 1) * 512;
            let is_within = |change: &std::ops::Range<u64>| change.start <= range.start && range.end <= change.end;
            assert!(changes.iter().any(is_within), "{range:?} is not in {changes:?}");
        }
        let untouched = 40_952 * 512;
        assert!(!changes.iter().any(|change| change.contains(&untouched)), "{changes:?}");
        let none = self.access.changes_since(&second, &second).await.expect("no difference");
        assert!(none.iter().all(|range| range.start >= super::DISK_SIZE), "{none:?}");
        let (full, other) = (self.read_access(&full).await, self.read_access(&other).await);
        for refused in [&full, &other] {
            let refusal = self.access.changes_since(&second, refused).await.expect_err("a refusal");
            assert_eq!((refusal.kind, refusal.code.as_str()), (ErrorKind::Invalid, NO_DIFFERENCE), "{refusal:?}");
            assert!(!format!("{refusal:?}").contains("sig="), "{refusal:?}");
        }
        self.end(&one).await.expect("the end of access");
        ended(self.access.changes_since(&second, &first).await.map(drop));
        self.end(&two).await.expect("the end of access");
        ended(self.access.changes_since(&second, &first).await.map(drop));
    }

    /// A SAS gives no access after its end.
    pub async fn ended_access_reads_nothing(self) {
        let disk = self.new_disk().await.id;
        let first = self.read_access(&disk).await;
        self.access.layout(&first).await.expect("a layout");
        self.end(&disk).await.expect("the end of access");
        let other = self.read_access(&disk).await;
        self.access.read(&other, 0..512).await.expect("bytes");
        self.end(&disk).await.expect("the end of access");
        for sas in [&first, &other] {
            ended(self.access.layout(sas).await.map(drop));
            ended(self.access.read(sas, 0..512).await.map(drop));
        }
    }

    /// A SAS gives no access after it has expired. `elapse` makes a second pass.
    pub async fn expired_access_reads_nothing(self, elapse: &(dyn super::super::clock::Advance + Sync)) {
        let disk = self.new_disk().await.id;
        let brief = AccessRequest { duration: Duration::from_secs(1), ..request(&disk, Access::Read) };
        let sas = self.begin(&brief).await.expect("access");
        elapse.elapse(Duration::from_millis(1100)).await;
        ended(self.access.read(&sas, 0..512).await.map(drop));
        ended(self.access.layout(&sas).await.map(drop));
        let renewed = self.read_access(&disk).await;
        self.access.read(&renewed, 0..512).await.expect("bytes");
        self.end(&disk).await.expect("the end of access");
    }

    /// A read has at least one byte, at most [`MAX_READ`], and none outside of the content.
    pub async fn reads_are_limited(self) {
        let disk = self.new_disk().await.id;
        let sas = self.read_access(&disk).await;
        let ContentLayout { length, .. } = self.access.layout(&sas).await.expect("a layout");
        for bad in [0..0, 0..MAX_READ + 512, length - 512..length + 512] {
            let refusal = self.access.read(&sas, bad.clone()).await.expect_err("a refusal");
            assert_eq!(refusal.kind, ErrorKind::Invalid, "{bad:?}: {refusal:?}");
        }
        assert_eq!(self.access.read(&sas, 0..MAX_READ).await.expect("bytes").len() as u64, MAX_READ);
        self.end(&disk).await.expect("the end of access");
    }
}

#[track_caller]
fn ended(result: Result<(), PortError>) {
    let refusal = result.expect_err("a refusal");
    assert_eq!((refusal.kind, refusal.code.as_str()), (ErrorKind::Denied, ACCESS_ENDED), "{refusal:?}");
    assert!(!format!("{refusal:?}").contains("sig="), "{refusal:?}");
}
