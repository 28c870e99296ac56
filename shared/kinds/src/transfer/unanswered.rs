//! Requests whose response is lost: they may still be written.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use goldfleet_model::manifest::ChunkEntry;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

/// The chunks with a request that may still be written, by their offset on the disk. The response to such a request is
/// lost.
#[derive(Default)]
pub(crate) struct Unanswered(Mutex<HashSet<u64>>);

/// A request in flight. If it is dropped before its end, it counts as unanswered.
pub(crate) struct Request<'a> {
    of: &'a Unanswered,
    place: Option<u64>,
}

impl Unanswered {
    /// Begins a request that writes a part of a chunk.
    pub(crate) fn begin(&self, entry: &ChunkEntry) -> Request<'_> {
        Request { of: self, place: place(entry) }
    }

    /// Whether a request for a chunk may still be written.
    pub(crate) fn has(&self, entry: &ChunkEntry) -> bool {
        place(entry).is_some_and(|place| self.places().contains(&place))
    }

    /// Forgets all requests.
    pub(crate) fn forget(&self) {
        self.places().clear();
    }

    fn places(&self) -> MutexGuard<'_, HashSet<u64>> {
        // Code that holds the lock does not panic. Even if it did, the set would be consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request<'_> {
    /// Records the end of the request.
    pub(crate) fn ended<T>(mut self, put: &PortResult<T>) {
        if !put.as_ref().is_err_and(may_still_land) {
            self.place = None;
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.of.places().extend(self.place.take());
    }
}

fn place(entry: &ChunkEntry) -> Option<u64> {
    entry.runs.first().map(|run| run.offset)
}

/// Whether a request with this error may take effect later: its response was lost, or the service reported an internal
/// error. A rejected request and a failure to read the source have no effect.
fn may_still_land(error: &PortError) -> bool {
    error.kind == ErrorKind::Unavailable && error.source_fault().is_none()
}

#[cfg(test)]
mod tests {
    use goldfleet_model::manifest::{ChunkHash, Md5Sum, Run};

    use super::*;

    fn entry(offset: u64) -> ChunkEntry {
        let run = Run { offset, length: 512, at: 0, crc64: 1, md5: Md5Sum::of(&[1]) };
        ChunkEntry { hash: ChunkHash::of(&[1]), length: 512, runs: vec![run] }
    }

    #[test]
    fn a_request_whose_end_is_not_seen_may_still_land() {
        let error = |kind| Err(PortError::new(kind, "it failed"));
        let source = || Err(PortError::new(ErrorKind::Unavailable, "busy").with_code("source-unavailable"));
        for (ended, settled) in [
            (Some(Ok(())), true),
            (Some(error(ErrorKind::Corrupt)), true),
            (Some(error(ErrorKind::Throttled)), true),
            (Some(source()), true),
            (Some(error(ErrorKind::Unavailable)), false),
            (None, false),
        ] {
            let unanswered = Unanswered::default();
            let request = unanswered.begin(&entry(0));
            assert!(!unanswered.has(&entry(0)), "it is under way");
            match &ended {
                Some(put) => request.ended(put),
                None => drop(request),
            }
            assert_eq!(!unanswered.has(&entry(0)), settled, "{ended:?}");
            assert!(!unanswered.has(&entry(4 << 20)), "another chunk");
            unanswered.forget();
            assert!(!unanswered.has(&entry(0)));
        }
    }
}
