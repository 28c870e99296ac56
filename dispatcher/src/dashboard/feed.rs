//! Feeds of jobs. There is one reader per job, independently of the number of pages. It reads the rows while a page is
//! connected, and all pages get the same views.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use goldfleet_model::ids::JobId;
use tokio::sync::{Semaphore, watch};

use super::stream::encode;
use super::throughput::Throughput;
use super::view::JobView;
use crate::control::context::{ControlContext, ControlError};
use crate::control::job_store::JobStore;
use crate::control::status::{ReportedState, status_of};

/// The minimum interval between two reads of a running job. It grows with the duration of a read, so that reading does
/// not occupy all time.
const MIN_POLL: Duration = Duration::from_millis(700);

/// The minimum interval between two reads of a job that has ended. The job may be retried.
const ENDED_POLL: Duration = Duration::from_secs(4);

/// The minimum pause after a read, as a multiple of the duration of the read.
const PAUSE_FACTOR: u32 = 4;

/// What a page sees: the newest view, and the error of the last read.
#[derive(Clone)]
pub struct FeedState {
    /// The newest view.
    pub view: Arc<JobView>,
    /// The number of the view. It grows by one with each view.
    pub version: u64,
    /// The error of the last read. None if it succeeded.
    pub failed_reads: Option<Arc<str>>,
    /// Keeps the view before this one, so that a page that knows it gets the difference.
    _before: Option<Arc<JobView>>,
    events: Arc<Events>,
}

/// Events that several pages send. Each is made when it is first needed.
#[derive(Default)]
struct Events {
    whole: OnceLock<Bytes>,
    /// From the view before. None if nothing differs.
    change: OnceLock<Option<Bytes>>,
}

impl FeedState {
    fn first(view: JobView) -> Self {
        Self { view: Arc::new(view), version: 0, failed_reads: None, _before: None, events: Arc::default() }
    }

    fn followed_by(&self, view: JobView) -> Self {
        let before = Some(Arc::clone(&self.view));
        Self {
            view: Arc::new(view),
            version: self.version + 1,
            failed_reads: None,
            _before: before,
            events: Arc::default(),
        }
    }

    /// The event `whole`.
    pub fn whole(&self) -> Bytes {
        self.events.whole.get_or_init(|| encode("whole", &self.view.to_json())).clone()
    }

    /// The event `change` for a page that knows the view `last` with the number `version`. None if nothing differs.
    pub fn change_since(&self, version: u64, last: &JobView) -> Option<Bytes> {
        let change = || self.view.diff(last).map(|change| encode("change", &change));
        if version + 1 == self.version { self.events.change.get_or_init(change).clone() } else { change() }
    }
}

type Feeds = HashMap<JobId, watch::Sender<FeedState>>;

/// The number of jobs that are read at the same time. Many pages that open at once must not take the memory of a job
/// each.
const MAX_READS: usize = 2;

/// The jobs that pages are connected to.
#[derive(Clone)]
pub struct JobFeeds {
    feeds: Arc<Mutex<Feeds>>,
    reads: Arc<Semaphore>,
}

impl Default for JobFeeds {
    fn default() -> Self {
        Self { feeds: Arc::default(), reads: Arc::new(Semaphore::new(MAX_READS)) }
    }
}

impl JobFeeds {
    fn feeds(&self) -> MutexGuard<'_, Feeds> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to a job, and starts its reader if there is none.
    ///
    /// # Errors
    /// If the job does not exist, or the table cannot be reached.
    pub async fn subscribe(
        &self,
        control: &ControlContext,
        id: &JobId,
    ) -> Result<watch::Receiver<FeedState>, ControlError> {
        if let Some(sender) = self.feeds().get(id) {
            return Ok(sender.subscribe());
        }
        let read = self.reads.acquire().await;
        // Another page may have started the reader while this one waited.
        if let Some(sender) = self.feeds().get(id) {
            return Ok(sender.subscribe());
        }
        let mut history = Throughput::default();
        let view = read_view(&control.jobs, id, &mut history).await?;
        let mut feeds = self.feeds();
        // Another subscriber may have started a reader in the meantime.
        if let Some(sender) = feeds.get(id) {
            return Ok(sender.subscribe());
        }
        let (sender, receiver) = watch::channel(FeedState::first(view));
        feeds.insert(id.clone(), sender);
        drop(feeds);
        drop(read);
        let (watching, control, id) = (self.clone(), control.clone(), id.clone());
        tokio::spawn(async move { watching.poll(&control.jobs, &id, history).await });
        Ok(receiver)
    }

    /// Reads a job once.
    ///
    /// # Errors
    /// If the job does not exist, or the table cannot be reached.
    pub async fn read_once(&self, jobs: &JobStore, id: &JobId) -> Result<JobView, ControlError> {
        let _read = self.reads.acquire().await;
        read_view(jobs, id, &mut Throughput::default()).await
    }

    /// Reads the job repeatedly, until no page is connected.
    async fn poll(&self, jobs: &JobStore, id: &JobId, mut history: Throughput) {
        let mut wait = MIN_POLL;
        loop {
            tokio::time::sleep(wait).await;
            {
                // Check under the lock, so that no page subscribes to a reader that is ending.
                let mut feeds = self.feeds();
                if feeds.get(id).is_none_or(|sender| sender.receiver_count() == 0) {
                    feeds.remove(id);
                    return;
                }
            }
            let began = Instant::now();
            let looked = read_view(jobs, id, &mut history).await;
            let took = began.elapsed();
            let running = looked.as_ref().is_ok_and(|view| view.status.state == ReportedState::Running);
            wait = (took * PAUSE_FACTOR).max(if running { MIN_POLL } else { ENDED_POLL });
            let feeds = self.feeds();
            let Some(sender) = feeds.get(id) else { return };
            match looked {
                Ok(view) => sender.send_modify(|seen| *seen = seen.followed_by(view)),
                Err(error) => sender.send_modify(|seen| seen.failed_reads = Some(error.to_string().into())),
            }
        }
    }
}

/// Reads a job's rows.
///
/// # Errors
/// If the job does not exist, or the table cannot be reached.
pub async fn read_view(jobs: &JobStore, id: &JobId, history: &mut Throughput) -> Result<JobView, ControlError> {
    let job = jobs.job(id).await?.value;
    let listing = jobs.list_operations(&job).await?;
    let status = status_of(jobs, &job, &listing).await?;
    let rows = listing.rows;
    let now = jobs.ports.clock.now();
    history.observe(&rows, now);
    let begun = rows.iter().filter_map(|row| row.value.started).min().unwrap_or(job.created);
    let throughput = history.series(begun, status.finished.unwrap_or(now));
    Ok(JobView::new(&jobs.registry, status, &rows, throughput))
}
