//! One reader a job, however many pages look at it: it reads the rows while somebody looks, and everybody sees the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use goldfleet_model::ids::JobId;
use tokio::sync::watch;

use super::throughput::Throughput;
use super::view::JobView;
use crate::control::context::{ControlContext, ControlError};
use crate::control::status::{ReportedState, status_of};

/// The time between two looks at a job that runs. It grows with what a look takes, so that reading is never all there is.
const MIN_POLL: Duration = Duration::from_millis(700);

/// The time between two looks at a job that has ended: it may be tried again.
const ENDED_POLL: Duration = Duration::from_secs(4);

/// How many times longer than a look the pause after it is, at least.
const PAUSE_FACTOR: u32 = 4;

/// What a page sees: the newest view, and how often a look failed since.
#[derive(Clone)]
pub struct FeedState {
    /// The newest view.
    pub view: Arc<JobView>,
    /// Why the last look failed, if it did.
    pub failed_reads: Option<Arc<str>>,
}

type Feeds = HashMap<JobId, watch::Sender<FeedState>>;

/// The jobs that somebody looks at.
#[derive(Clone, Default)]
pub struct JobFeeds(Arc<Mutex<Feeds>>);

impl JobFeeds {
    fn feeds(&self) -> MutexGuard<'_, Feeds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins those who look at a job, or is the first.
    ///
    /// # Errors
    /// Where there is no such job, or the table can't be reached.
    pub async fn subscribe(
        &self,
        control: &ControlContext,
        id: &JobId,
    ) -> Result<watch::Receiver<FeedState>, ControlError> {
        if let Some(sender) = self.feeds().get(id) {
            return Ok(sender.subscribe());
        }
        let mut history = Throughput::default();
        let view = Arc::new(read_view(control, id, &mut history).await?);
        let mut feeds = self.feeds();
        // Somebody may have been as fast.
        if let Some(sender) = feeds.get(id) {
            return Ok(sender.subscribe());
        }
        let (sender, receiver) = watch::channel(FeedState { view, failed_reads: None });
        feeds.insert(id.clone(), sender);
        drop(feeds);
        let (watching, control, id) = (self.clone(), control.clone(), id.clone());
        tokio::spawn(async move { watching.poll(&control, &id, history).await });
        Ok(receiver)
    }

    /// Looks again and again until nobody cares.
    async fn poll(&self, control: &ControlContext, id: &JobId, mut history: Throughput) {
        let mut wait = MIN_POLL;
        loop {
            tokio::time::sleep(wait).await;
            {
                // Under the lock, so that nobody joins what has just been given up.
                let mut feeds = self.feeds();
                if feeds.get(id).is_none_or(|sender| sender.receiver_count() == 0) {
                    feeds.remove(id);
                    return;
                }
            }
            let began = Instant::now();
            let looked = read_view(control, id, &mut history).await;
            let took = began.elapsed();
            let running = looked.as_ref().is_ok_and(|view| view.status.state == ReportedState::Running);
            wait = (took * PAUSE_FACTOR).max(if running { MIN_POLL } else { ENDED_POLL });
            let feeds = self.feeds();
            let Some(sender) = feeds.get(id) else { return };
            match looked {
                Ok(view) => drop(sender.send_replace(FeedState { view: Arc::new(view), failed_reads: None })),
                Err(error) => sender.send_modify(|seen| seen.failed_reads = Some(error.to_string().into())),
            }
        }
    }
}

/// Looks at a job's rows.
///
/// # Errors
/// Where there is no such job, or the table can't be reached.
pub async fn read_view(
    control: &ControlContext,
    id: &JobId,
    history: &mut Throughput,
) -> Result<JobView, ControlError> {
    let job = control.job(id).await?.value;
    let rows = control.operations(&job).await?;
    let status = status_of(control, &job, &rows).await?;
    let now = control.ports.clock.now();
    history.observe(&rows, now);
    let begun = rows.iter().filter_map(|row| row.value.started).min().unwrap_or(job.created);
    let throughput = history.series(begun, status.finished.unwrap_or(now));
    Ok(JobView::new(&control.registry, status, &rows, throughput))
}
