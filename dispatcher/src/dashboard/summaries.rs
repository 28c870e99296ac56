//! The list of jobs with their counts. Counts are read again only if they may have changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use goldfleet_model::ids::JobId;
use goldfleet_model::job::JobState;
use goldfleet_ports::ETag;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::control::context::ControlError;
use crate::control::job_store::JobStore;
use crate::control::status::{ReportedState, Status, status};

/// The maximum age of the counts of an open job.
const MAX_AGE: Duration = Duration::from_secs(2);

/// The number of newest jobs in the list. The page does not show years of history.
const MAX_JOBS: usize = 200;

/// A job in the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The job.
    pub job: String,
    /// What the job does: the image and its version, or the title of other work.
    pub title: String,
    /// The image. None for other work.
    pub image: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The state as operators see it.
    pub state: ReportedState,
    /// The state of the job's row, which distinguishes requested and cancelling jobs from running ones.
    pub detail: JobState,
    /// The ring that waits for approval, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<u32>,
    /// Images that exist.
    pub images: usize,
    /// Images that the job creates in total.
    pub targets: usize,
    /// Operations that failed.
    pub failed: usize,
    /// 0 to 100, over all phases.
    pub percent: f64,
    /// When the job was requested.
    pub created: Timestamp,
    /// When the job ended.
    pub finished: Option<Timestamp>,
}

impl From<Status> for Summary {
    fn from(status: Status) -> Self {
        let phases = status.phases.named();
        let image = status.phases.delivery();
        Self {
            state: status.state,
            detail: status.detail,
            waits: status.approvals.as_ref().and_then(|approvals| approvals.waits),
            images: image.succeeded + image.skipped,
            targets: image.total,
            failed: phases.iter().map(|(_, phase)| phase.failed).sum(),
            percent: phases.iter().map(|(_, phase)| phase.percent).sum::<f64>() / phases.len().max(1) as f64,
            created: status.created,
            finished: status.finished,
            job: status.job,
            title: status.title,
            image: status.image,
            version: status.version,
        }
    }
}

/// The counts that were read last, and the ETag of the job's row at that time.
struct CachedSummary {
    etag: ETag,
    at: Instant,
    summary: Summary,
}

/// The counts of all jobs. Concurrent requests of pages share one read.
#[derive(Clone, Default)]
pub struct SummaryCache(Arc<Mutex<HashMap<JobId, CachedSummary>>>);

impl SummaryCache {
    /// The newest jobs.
    ///
    /// # Errors
    /// If the table cannot be reached.
    pub async fn all(&self, store: &JobStore) -> Result<Vec<Summary>, ControlError> {
        let mut known = self.0.lock().await;
        let jobs = store.ports.table.list_newest_jobs(MAX_JOBS).await?.rows;
        let mut all = Vec::with_capacity(jobs.len());
        for job in &jobs {
            let id = &job.value.id;
            let good = known.get(id).is_some_and(|known| {
                known.etag == job.etag && (job.value.state.is_terminal() || known.at.elapsed() < MAX_AGE)
            });
            if !good {
                let summary = Summary::from(status(store, &job.value).await?);
                known.insert(id.clone(), CachedSummary { etag: job.etag.clone(), at: Instant::now(), summary });
            }
            all.extend(known.get(id).map(|known| known.summary.clone()));
        }
        known.retain(|id, _| jobs.iter().any(|job| job.value.id == *id));
        Ok(all)
    }
}
