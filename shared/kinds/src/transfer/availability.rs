//! Which chunks a store already has: what lets a copy begin while its region's store is still being filled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::OperationState;
use goldfleet_model::store::Store;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::after;
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;

use crate::seed;

/// How old a look at a store may be. All operations of a process share it, so that a thousand copies that wait for one
/// store ask for its row no more often than one.
const MAX_LISTING_AGE: Duration = Duration::from_millis(250);

/// How many looks are kept before stale ones are thrown out.
const MAX_LISTINGS: usize = 256;

/// What a store has of a job's chunks.
#[derive(Debug, Clone)]
enum StoreContents {
    /// Everything: the source, or a store that is filled.
    All,
    /// Some; more will come unless its seed has ended.
    Some { done: ChunkSet, ended: bool },
}

/// When each store of each job was looked at, and what was seen.
type StoreListings = HashMap<(JobId, Store), (Timestamp, Arc<StoreContents>)>;

/// Looks at stores, shared by the operations of a process.
#[derive(Default)]
pub struct ChunkAvailability {
    listings: Mutex<StoreListings>,
}

/// What an operation's sources have, nearest first.
pub struct ChunkSources<'a> {
    stores: Vec<(&'a Store, Arc<StoreContents>)>,
}

/// A chunk, and where it is to be had from.
#[derive(Clone, Copy)]
pub struct WantedChunk<'w, 'a> {
    /// The chunk, by its order in the manifest.
    pub chunk: u32,
    /// The stores, nearest first.
    pub sources: &'w ChunkSources<'a>,
    /// Those of them that it can't be had from, as was found out.
    pub excluded: &'w [&'a Store],
}

impl<'a> WantedChunk<'_, 'a> {
    /// The nearest store that has the chunk, leaving out `others` too; none where it is worth waiting for a nearer one.
    #[must_use]
    pub fn nearest_excluding(&self, others: &[&'a Store]) -> Option<&'a Store> {
        self.sources.nearest(self.chunk, &[self.excluded, others].concat())
    }
}

impl ChunkAvailability {
    /// Looks at the stores that an operation may read from: `from` in order of preference, the source last.
    ///
    /// # Errors
    /// Where the table can't be reached.
    pub async fn list_sources<'a>(
        &self,
        ports: &Ports,
        job: &JobId,
        from: &'a [Store],
    ) -> PortResult<ChunkSources<'a>> {
        let mut stores = Vec::with_capacity(from.len());
        for (n, store) in from.iter().enumerate() {
            let view = if n + 1 == from.len() {
                Arc::new(StoreContents::All)
            } else {
                self.list_store(ports, job, store).await?
            };
            stores.push((store, view));
        }
        Ok(ChunkSources { stores })
    }

    async fn list_store(&self, ports: &Ports, job: &JobId, store: &Store) -> PortResult<Arc<StoreContents>> {
        let key = (job.clone(), store.clone());
        let now = ports.clock.now();
        if let Some((at, view)) = self.lock().get(&key)
            && (matches!(&**view, StoreContents::All) || now < after(*at, MAX_LISTING_AGE))
        {
            return Ok(Arc::clone(view));
        }
        let row = ports.table.operation(job, &seed::operation_id(store)).await?;
        let view = Arc::new(match row {
            Some(row) if row.value.state == OperationState::Succeeded => StoreContents::All,
            Some(row) => StoreContents::Some { done: row.value.progress.done, ended: row.value.state.is_terminal() },
            None => StoreContents::Some { done: ChunkSet::default(), ended: true },
        });
        let mut looks = self.lock();
        if looks.len() >= MAX_LISTINGS {
            looks.retain(|_, (at, _)| now < after(*at, MAX_LISTING_AGE));
        }
        // A seed that an operator cancels or retries is looked at again: only what is filled stays filled.
        looks.insert(key, (now, Arc::clone(&view)));
        Ok(view)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, StoreListings> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> ChunkSources<'a> {
    /// Stores that all have everything.
    #[cfg(test)]
    pub(crate) fn all_complete(stores: &'a [Store]) -> Self {
        Self { stores: stores.iter().map(|store| (store, Arc::new(StoreContents::All))).collect() }
    }

    /// The nearest store that has a chunk, leaving out those that `excluded` names; none where it is worth waiting for a
    /// nearer one.
    #[must_use]
    pub fn nearest(&self, chunk: u32, lacking: &[&Store]) -> Option<&'a Store> {
        for (store, view) in &self.stores {
            if lacking.contains(store) {
                continue;
            }
            match &**view {
                StoreContents::All => return Some(store),
                StoreContents::Some { done, .. } if done.contains(chunk) => return Some(store),
                StoreContents::Some { ended: true, .. } => {}
                StoreContents::Some { ended: false, .. } => return None,
            }
        }
        None
    }
}
