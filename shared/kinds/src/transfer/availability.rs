//! The chunks that a store already has. With it an assembly can start while its region's store is still being filled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::OperationState;
use goldfleet_model::store::Store;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::is_over;
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;

use crate::seed;

/// The maximum age of a cached store listing. All operations of a process share the cache, so a thousand operations
/// that wait for one store read its row no more often than one operation.
const MAX_LISTING_AGE: Duration = Duration::from_millis(250);

/// The number of cached listings from which stale ones are removed.
const MAX_LISTINGS: usize = 256;

/// The chunks of a job that a store has.
#[derive(Debug, Clone)]
enum StoreContents {
    /// All chunks: the source, or a store that is filled.
    All,
    /// Some chunks. More will follow unless its `seed` operation has ended.
    Some { done: ChunkSet, ended: bool },
}

/// The last listing of each store for each job and disk, with its time.
type StoreListings = HashMap<(JobId, Store, DiskRole), (Timestamp, Arc<StoreContents>)>;

/// The cached listings of stores, shared by the operations of a process.
#[derive(Default)]
pub struct ChunkAvailability {
    listings: Mutex<StoreListings>,
}

/// The contents of an operation's sources, nearest first.
pub struct ChunkSources<'a> {
    stores: Vec<(&'a Store, Arc<StoreContents>)>,
}

/// A chunk and the stores that it can be read from.
#[derive(Clone, Copy)]
pub struct WantedChunk<'w, 'a> {
    /// The index of the chunk in the manifest.
    pub chunk: u32,
    /// The stores, nearest first.
    pub sources: &'w ChunkSources<'a>,
    /// The stores that were found to lack the chunk.
    pub excluded: &'w [&'a Store],
}

impl<'a> WantedChunk<'_, 'a> {
    /// The nearest store that has the chunk and is not in `others` or `excluded`. None if it is better to wait for a
    /// nearer store.
    #[must_use]
    pub fn nearest_excluding(&self, others: &[&'a Store]) -> Option<&'a Store> {
        self.sources.nearest(self.chunk, &[self.excluded, others].concat())
    }
}

impl ChunkAvailability {
    /// Lists the stores from which an operation may read a disk: `from` is in the order of preference, with the source
    /// last.
    ///
    /// # Errors
    /// If the table cannot be reached.
    pub async fn list_sources<'a>(
        &self,
        ports: &Ports,
        (job, disk): (&JobId, DiskRole),
        from: &'a [Store],
    ) -> PortResult<ChunkSources<'a>> {
        let mut stores = Vec::with_capacity(from.len());
        for (n, store) in from.iter().enumerate() {
            let view = if n + 1 == from.len() {
                Arc::new(StoreContents::All)
            } else {
                self.list_store(ports, job, store, disk).await?
            };
            stores.push((store, view));
        }
        Ok(ChunkSources { stores })
    }

    async fn list_store(
        &self,
        ports: &Ports,
        job: &JobId,
        store: &Store,
        disk: DiskRole,
    ) -> PortResult<Arc<StoreContents>> {
        let key = (job.clone(), store.clone(), disk);
        let now = ports.clock.now();
        if let Some((at, view)) = self.lock().get(&key)
            && (matches!(&**view, StoreContents::All) || !is_over(*at, MAX_LISTING_AGE, now))
        {
            return Ok(Arc::clone(view));
        }
        let row = ports.table.operation(job, &seed::operation_id(store, disk)).await?;
        let view = Arc::new(match row {
            Some(row) if row.value.state == OperationState::Succeeded => StoreContents::All,
            Some(row) => StoreContents::Some { done: row.value.progress.done, ended: row.value.state.is_terminal() },
            None => StoreContents::Some { done: ChunkSet::default(), ended: true },
        });
        let mut looks = self.lock();
        if looks.len() >= MAX_LISTINGS {
            looks.retain(|_, (at, _)| !is_over(*at, MAX_LISTING_AGE, now));
        }
        // An operator may cancel or retry the `seed` operation, so a partial listing expires. A filled store stays
        // filled.
        looks.insert(key, (now, Arc::clone(&view)));
        Ok(view)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, StoreListings> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> ChunkSources<'a> {
    /// Stores with all chunks.
    #[cfg(test)]
    pub(crate) fn all_complete(stores: &'a [Store]) -> Self {
        Self { stores: stores.iter().map(|store| (store, Arc::new(StoreContents::All))).collect() }
    }

    /// The nearest store that has a chunk and is not in `lacking`. None if it is better to wait for a nearer store.
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
