//! One reader a job, however many pages look at it: it reads the rows while somebody looks, and everybody sees the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use goldfleet_model::ids::JobId;
use tokio::sync::watch;

use super::history::History;
use super::view::View;
use crate::control::desk::{Desk, DeskError};
use crate::control::status::{Standing, status_of};

/// The time between two looks at a job that runs. It grows with what a look takes, so that reading is never all there is.
const LOOK: Duration = Duration::from_millis(700);

/// The time between two looks at a job that has ended: it may be tried again.
const ENDED_LOOK: Duration = Duration::from_secs(4);

/// How many times longer than a look the pause after it is, at least.
const PAUSE: u32 = 4;

/// What a page sees: the newest view, and how often a look failed since.
#[derive(Clone)]
pub struct Seen {
    /// The newest view.
    pub view: Arc<View>,
    /// Why the last look failed, if it did.
    pub trouble: Option<Arc<str>>,
}

type Feeds = HashMap<JobId, watch::Sender<Seen>>;

/// The jobs that somebody looks at.
#[derive(Clone, Default)]
pub struct Watching(Arc<Mutex<Feeds>>);

impl Watching {
    fn feeds(&self) -> MutexGuard<'_, Feeds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins those who look at a job, or is the first.
    ///
    /// # Errors
    /// Where there is no such job, or the table can't be reached.
    pub async fn join(&self, desk: &Desk, id: &JobId) -> Result<watch::Receiver<Seen>, DeskError> {
        if let Some(sender) = self.feeds().get(id) {
            return Ok(sender.subscribe());
        }
        let mut history = History::default();
        let view = Arc::new(look(desk, id, &mut history).await?);
        let mut feeds = self.feeds();
        // Somebody may have been as fast.
        if let Some(sender) = feeds.get(id) {
            return Ok(sender.subscribe());
        }
        let (sender, receiver) = watch::channel(Seen { view, trouble: None });
        feeds.insert(id.clone(), sender);
        drop(feeds);
        let (watching, desk, id) = (self.clone(), desk.clone(), id.clone());
        tokio::spawn(async move { watching.keep_looking(&desk, &id, history).await });
        Ok(receiver)
    }

    /// Looks again and again until nobody cares.
    async fn keep_looking(&self, desk: &Desk, id: &JobId, mut history: History) {
        let mut wait = LOOK;
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
            let looked = look(desk, id, &mut history).await;
            let took = began.elapsed();
            let running = looked.as_ref().is_ok_and(|view| view.status.state == Standing::Running);
            wait = (took * PAUSE).max(if running { LOOK } else { ENDED_LOOK });
            let feeds = self.feeds();
            let Some(sender) = feeds.get(id) else { return };
            match looked {
                Ok(view) => drop(sender.send_replace(Seen { view: Arc::new(view), trouble: None })),
                Err(error) => sender.send_modify(|seen| seen.trouble = Some(error.to_string().into())),
            }
        }
    }
}

/// Looks at a job's rows.
///
/// # Errors
/// Where there is no such job, or the table can't be reached.
pub async fn look(desk: &Desk, id: &JobId, history: &mut History) -> Result<View, DeskError> {
    let job = desk.job(id).await?.value;
    let rows = desk.ports.table.operations(id).await?;
    let status = status_of(desk, &job, &rows).await?;
    let now = desk.ports.clock.now();
    history.observe(&rows, now);
    let begun = rows.iter().filter_map(|row| row.value.started).min().unwrap_or(job.created);
    let throughput = history.series(begun, job.finished.unwrap_or(now));
    Ok(View::new(status, &rows, throughput))
}
