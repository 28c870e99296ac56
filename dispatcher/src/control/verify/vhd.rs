//! Verifies that a staged VHD contains the complete disk of the version.

use std::ops::Range;

use futures::stream::{self, StreamExt as _};
use goldfleet_disk::chunk::is_zero;
use goldfleet_model::artifact::DiskRef;
use goldfleet_model::checksum::crc64;
use goldfleet_model::image::VhdMetadata;
use goldfleet_model::manifest::{Manifest, Run};
use goldfleet_model::ranges::{split, subtract};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::PortResult;

use super::{Location, VerifyFault, VerifyReport, VerifyRun, VhdRequirement};
use crate::control::context::MAX_IN_FLIGHT;

impl VerifyRun<'_> {
    pub(super) async fn vhd(
        &self,
        at: Location<'_>,
        vhd: &BlobAddress,
        disk: &DiskRef,
        needed: VhdRequirement,
        seen: &mut VerifyReport,
    ) -> PortResult<()> {
        let blobs = self.control.ports.blobs.as_ref();
        let Some(properties) = blobs.properties(vhd).await? else {
            match needed {
                VhdRequirement::Optional => seen.vhds_gone = 1,
                VhdRequirement::Required => seen.faults.push(at.describe_fault("is not there")),
            }
            return Ok(());
        };
        seen.vhds = 1;
        let Some(manifest) = self.version()?.manifest(disk) else {
            seen.faults.push(at.describe_fault("belongs to another version"));
            return Ok(());
        };
        let footer = manifest.footer_range();
        if properties.length != footer.end {
            seen.faults.push(at.describe_fault(format!("has {} bytes, not {}", properties.length, footer.end)));
            return Ok(());
        }
        if properties.metadata.get(VhdMetadata::DIGEST) != Some(&disk.manifest.to_string()) {
            seen.faults.push(at.describe_fault("was written by another version or another program"));
        }
        if blobs.get(vhd, Some(footer)).await?[..] != manifest.footer[..] {
            seen.faults.push(at.describe_fault("has no footer, or a wrong one: it is not complete"));
        }
        if self.how.read {
            self.compare_content(at, vhd, manifest, &mut seen.faults).await
        } else {
            let missing = self.missing_pages(vhd, manifest).await?;
            seen.faults.extend(missing.into_iter().map(|fault| at.describe_fault(fault)));
            Ok(())
        }
    }

    /// The ranges in which the disk has data but the VHD has no pages. The VHD may have more pages than the disk has
    /// data, because services allocate whole blocks of pages.
    async fn missing_pages(&self, vhd: &BlobAddress, manifest: &Manifest) -> PortResult<Vec<String>> {
        let ranges = self.control.ports.blobs.page_ranges(vhd).await?;
        let runs = manifest.chunks.iter().flat_map(|entry| &entry.runs).map(Run::range);
        let lacking = runs.filter(|run| !subtract(run, &ranges).is_empty());
        Ok(lacking.map(|run| format!("has no data at {} to {}", run.start, run.end)).collect())
    }

    /// Compares the content of the VHD with the disk.
    async fn compare_content(
        &self,
        at: Location<'_>,
        vhd: &BlobAddress,
        manifest: &Manifest,
        faults: &mut Vec<VerifyFault>,
    ) -> PortResult<()> {
        let blobs = self.control.ports.blobs.as_ref();
        let mut reading = stream::iter(manifest.chunks.iter().flat_map(|entry| &entry.runs))
            .map(async |run| {
                let content = blobs.get(vhd, Some(run.range())).await?;
                PortResult::Ok((run, crc64(&content) == run.crc64))
            })
            .buffered(MAX_IN_FLIGHT);
        while let Some(read) = reading.next().await {
            let (run, right) = read?;
            self.add_bytes_read(run.length.into());
            if !right {
                let Range { start, end } = run.range();
                faults.push(at.describe_fault(format!("has wrong bytes at {start} to {end}")));
            }
        }
        drop(reading);
        self.unexpected_data(at, vhd, manifest, faults).await
    }

    /// Reports data in the VHD where the disk is zero.
    async fn unexpected_data(
        &self,
        at: Location<'_>,
        vhd: &BlobAddress,
        manifest: &Manifest,
        faults: &mut Vec<VerifyFault>,
    ) -> PortResult<()> {
        const PIECE: usize = 4 << 20;
        let runs = manifest.chunks.iter().flat_map(|entry| &entry.runs);
        let data: Vec<Range<u64>> = runs.map(Run::range).collect();
        for range in self.control.ports.blobs.page_ranges(vhd).await? {
            for gap in subtract(&(range.start..range.end.min(manifest.size)), &data) {
                for (start, length) in split(&gap, PIECE) {
                    let end = start + length as u64;
                    let content = self.control.ports.blobs.get(vhd, Some(start..end)).await?;
                    self.add_bytes_read(length as u64);
                    if !is_zero(&content) {
                        faults.push(at.describe_fault(format!("has data at {start} to {end}, where the disk is zero")));
                    }
                }
            }
        }
        Ok(())
    }
}
