//! Fills a disk with the bytes of a version, and proves them.

use std::ops::Range;

use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::manifest::{ChunkEntry, Manifest};
use goldfleet_ports::disk_access::Access;
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_ports::resources::Resource;
use uuid::Uuid;

use super::pages::DiskPagesDestination;
use super::{FilledDisk, HubSpec};
use crate::access::SasAccess;
use crate::change::end_access;
use crate::context::{Attempt, source_of, write_spec};
use crate::disk::unique_id;
use crate::outcome::{StepError, StepOutcome};
use crate::transfer::transfer_chunks;

/// How often missing chunks are written again.
const PASSES: usize = 2;

/// Writes the missing bytes of the disk, proves that it has all bytes, and records this. The inner error is the outcome
/// of a step that must wait for chunks.
pub(super) async fn fill(
    attempt: Attempt<'_>,
    spec: &HubSpec,
    found: &Resource,
) -> Result<Result<FilledDisk, StepOutcome>, StepError> {
    let manifest = attempt.manifest(source_of(&spec.from)?, &spec.disk).await?;
    let unique_id = unique_id(found).unwrap_or_default().to_ascii_lowercase();
    // Progress belongs to one disk. Another disk of the same name has another unique id.
    let incarnation = unique_id.parse().ok();
    let (done, bytes) = recorded(attempt, &manifest, incarnation);
    attempt.lease.set_progress(incarnation, done, bytes, manifest.data_bytes());
    let access = SasAccess::begin(attempt, &spec.id, Access::Write).await?;
    let destination = DiskPagesDestination::new(attempt, &spec.id, &unique_id, &access)?;
    for pass in 1..=PASSES {
        match transfer_chunks(attempt, &manifest, &spec.from, &destination).await? {
            StepOutcome::Done => {}
            wait @ StepOutcome::RequeueAfter(_) => return Ok(Err(wait)),
        }
        let data = destination.data_ranges().await?;
        let (present, bytes) = present(&manifest, &data);
        if present.count() == present.len() {
            break;
        }
        let missing = present.len() - present.count();
        tracing::warn!(disk = %spec.id, missing, "the disk lacks chunks that were written");
        attempt.lease.set_progress(incarnation, present, bytes, manifest.data_bytes());
        if pass == PASSES {
            let message = format!("{}: {missing} chunks were written, and the disk has no data there", spec.id);
            return Err(PortError::new(ErrorKind::Corrupt, message).with_code("disk-incomplete").into());
        }
    }
    destination.write_footer(&manifest).await?;
    let filled = FilledDisk { id: spec.id.clone(), unique_id };
    attempt.lease.ensure_held()?;
    attempt.lease.put_output(write_spec(&filled)).await?;
    end_access(attempt, &spec.id).await?;
    Ok(Ok(filled))
}

/// The chunks that are in place according to the row, and their bytes.
fn recorded(attempt: Attempt<'_>, manifest: &Manifest, incarnation: Option<Uuid>) -> (ChunkSet, u64) {
    let (recorded, chunks) = (&attempt.operation.progress, manifest.chunk_count());
    if incarnation.is_some() && recorded.incarnation == incarnation && recorded.done.len() == chunks {
        return (recorded.done.clone(), recorded.bytes_done);
    }
    (ChunkSet::empty(chunks), 0)
}

/// The chunks with data at the place of each of their runs, and their bytes. A service may list whole pages of zeros
/// inside a run as empty, so a run is present if a part of it is.
fn present(manifest: &Manifest, data: &[Range<u64>]) -> (ChunkSet, u64) {
    let has_data = |range: Range<u64>| {
        let first = data.partition_point(|found| found.end <= range.start);
        data.get(first).is_some_and(|found| found.start < range.end)
    };
    let is_present = |entry: &ChunkEntry| entry.runs.iter().all(|run| has_data(run.range()));
    let (mut present, mut bytes) = (ChunkSet::empty(manifest.chunk_count()), 0);
    for (chunk, entry) in (0_u32..).zip(&manifest.chunks) {
        if is_present(entry) {
            present.insert(chunk);
            bytes += u64::from(entry.length);
        }
    }
    (present, bytes)
}
