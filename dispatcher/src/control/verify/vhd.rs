//! Whether a staged VHD is the disk of the version, whole.

use std::ops::Range;

use futures::stream::{self, StreamExt as _};
use goldfleet_disk::chunk::is_zero;
use goldfleet_model::checksum::crc64;
use goldfleet_model::image::VhdMetadata;
use goldfleet_model::manifest::Run;
use goldfleet_model::ranges::{pieces, without};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::PortResult;

use super::{Checking, Fault, Needed, Place, Verified};
use crate::control::desk::IN_FLIGHT;

impl Checking<'_> {
    pub(super) async fn vhd(
        &self,
        at: Place<'_>,
        vhd: &BlobAddress,
        needed: Needed,
        seen: &mut Verified,
    ) -> PortResult<()> {
        let blobs = self.desk.ports.blobs.as_ref();
        let Some(properties) = blobs.properties(vhd).await? else {
            match needed {
                Needed::NoLonger => seen.vhds_gone = 1,
                Needed::Still => seen.faults.push(at.wrong("is not there")),
            }
            return Ok(());
        };
        seen.vhds = 1;
        let footer = self.manifest.footer_range();
        if properties.length != footer.end {
            seen.faults.push(at.wrong(format!("has {} bytes, not {}", properties.length, footer.end)));
            return Ok(());
        }
        if properties.metadata.get(VhdMetadata::DIGEST) != Some(&self.image.digest.to_string()) {
            seen.faults.push(at.wrong("is of another version, or not goldfleet's"));
        }
        if blobs.get(vhd, Some(footer)).await?[..] != self.manifest.footer[..] {
            seen.faults.push(at.wrong("has no footer, or another one: it is not whole"));
        }
        if self.how.read {
            self.content(at, vhd, &mut seen.faults).await
        } else {
            seen.faults.extend(self.holes(vhd).await?.into_iter().map(|fault| at.wrong(fault)));
            Ok(())
        }
    }

    /// Where the VHD lacks pages that the disk has. (It may have more: services keep whole blocks of pages.)
    async fn holes(&self, vhd: &BlobAddress) -> PortResult<Vec<String>> {
        let ranges = self.desk.ports.blobs.page_ranges(vhd).await?;
        let runs = self.manifest.chunks.iter().flat_map(|entry| &entry.runs).map(Run::range);
        let lacking = runs.filter(|run| !without(run, &ranges).is_empty());
        Ok(lacking.map(|run| format!("has no data at {} to {}", run.start, run.end)).collect())
    }

    /// What the VHD has that is not the disk's.
    async fn content(&self, at: Place<'_>, vhd: &BlobAddress, faults: &mut Vec<Fault>) -> PortResult<()> {
        let blobs = self.desk.ports.blobs.as_ref();
        let mut reading = stream::iter(self.manifest.chunks.iter().flat_map(|entry| &entry.runs))
            .map(async |run| {
                let content = blobs.get(vhd, Some(run.range())).await?;
                PortResult::Ok((run, crc64(&content) == run.crc64))
            })
            .buffered(IN_FLIGHT);
        while let Some(read) = reading.next().await {
            let (run, right) = read?;
            self.read(run.length.into());
            if !right {
                let Range { start, end } = run.range();
                faults.push(at.wrong(format!("has other bytes than it should have at {start} to {end}")));
            }
        }
        drop(reading);
        self.zeros(at, vhd, faults).await
    }

    /// What the VHD holds where the disk is zero.
    async fn zeros(&self, at: Place<'_>, vhd: &BlobAddress, faults: &mut Vec<Fault>) -> PortResult<()> {
        const PIECE: usize = 4 << 20;
        let runs = self.manifest.chunks.iter().flat_map(|entry| &entry.runs);
        let data: Vec<Range<u64>> = runs.map(Run::range).collect();
        for range in self.desk.ports.blobs.page_ranges(vhd).await? {
            for gap in without(&(range.start..range.end.min(self.manifest.size)), &data) {
                for (start, length) in pieces(&gap, PIECE) {
                    let end = start + length as u64;
                    let content = self.desk.ports.blobs.get(vhd, Some(start..end)).await?;
                    self.read(length as u64);
                    if !is_zero(&content) {
                        faults.push(at.wrong(format!("has data at {start} to {end}, where the disk is zero")));
                    }
                }
            }
        }
        Ok(())
    }
}
