//! The probe: measures behaviour of the platform that is not documented, with a disk of 20 MiB, on the user's own
//! Azure.
//!
//! - [`questions`]: what is measured. - `steps`, `copies`, `gallery`: how. - `temporaries`: the resources, and their
//!   removal in any case.
//! - [`record`]: the stored results. - [`known`]: the answers for the planner. Without an answer, the planner uses the
//!   safe request.

mod copies;
mod gallery;
pub mod known;
pub mod questions;
pub mod record;
mod steps;
mod temporaries;

use goldfleet_machines::request::Place;
use goldfleet_model::ids::JobId;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::disk_pages::DiskPages;
use goldfleet_ports::error::PortError;
use goldfleet_ports::inspector::Inspector;
use goldfleet_ports::linked_put::LinkedPut;
use goldfleet_ports::rng;
use tokio_util::sync::CancellationToken;

use crate::control::context::{ControlContext, ControlError};
use record::{OpenProbe, ProbeResult};
use steps::Prober;
use temporaries::Temporaries;

/// What to probe.
#[derive(Debug, Clone)]
pub struct ProbeRequest {
    /// The place of the disk.
    pub first: Place,
    /// The place of copies.
    pub second: Option<Place>,
    /// The place of copies that are made at the same time as those to the second place, in another region.
    pub third: Option<Place>,
    /// A disk encryption set of the first place.
    pub encryption_set: Option<String>,
    /// A block blob with at least 4 KiB that the service can read.
    pub block_blob: Option<BlobAddress>,
    /// The MD5 of its first 4 KiB.
    pub block_blob_md5: Option<[u8; 16]>,
}

impl ProbeRequest {
    /// All places.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.first).chain(&self.second).chain(&self.third)
    }
}

/// The ports that only the probe needs. None for a cloud without them.
#[derive(Clone, Copy)]
pub struct ProbePorts<'a> {
    /// Writes to the contents of disks.
    pub pages: Option<&'a dyn DiskPages>,
    /// The rights of the identity.
    pub inspector: Option<&'a dyn Inspector>,
    /// Requests with tokens of two tenants.
    pub linked: Option<&'a dyn LinkedPut>,
}

/// What a probe found and left.
#[derive(Debug)]
pub struct ProbeReport {
    /// The id that its resources have as the tag of their job.
    pub job: JobId,
    /// The results. They are stored if the probe was not interrupted and no step failed.
    pub result: ProbeResult,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Why it ended early.
    pub failure: Option<PortError>,
    /// The resources that could not be deleted, with the reason.
    pub left: Vec<(String, PortError)>,
}

/// Runs a probe. Everything that it creates is deleted at the end, also if it fails or `stop` is cancelled. `report` is
/// called with descriptions of the progress.
///
/// # Errors
/// If the table cannot be reached before anything was created. A later failure is part of the report.
pub async fn probe(
    control: &ControlContext,
    ports: ProbePorts<'_>,
    request: &ProbeRequest,
    stop: &CancellationToken,
    report: &(dyn Fn(&str) + Sync),
) -> Result<ProbeReport, ControlError> {
    let records = control.ports.records.as_ref();
    let fleet = control.ports.table.fleet().await?;
    let since = control.ports.clock.now();
    let job = JobId::new(since, rng::random_u64());
    let places: Vec<&Place> = request.places().collect();
    let groups = places.iter().map(|place| place.group()).collect();
    record::open(records, &OpenProbe { job: job.clone(), groups, since }).await?;
    let mut prober = Prober {
        request,
        temporaries: Temporaries::new(control, fleet, job.clone()),
        pages: ports.pages,
        inspector: ports.inspector,
        linked: ports.linked,
        measurements: Vec::new(),
        report,
    };
    let ended = tokio::select! {
        ended = prober.run() => Some(ended),
        () = stop.cancelled() => None,
    };
    report("deleting what the probe created");
    let left = prober.temporaries.remove_all().await;
    let result = ProbeResult {
        places: places.iter().map(ToString::to_string).collect(),
        at: control.ports.clock.now(),
        measurements: prober.measurements,
    };
    if left.is_empty() {
        record::close(records, &job).await?;
    }
    if matches!(ended, Some(Ok(()))) {
        record::store(records, &result).await?;
    }
    let left = left.into_iter().map(|(id, error)| (id.to_string(), error)).collect();
    Ok(ProbeReport { job, result, interrupted: ended.is_none(), failure: ended.and_then(Result::err), left })
}
