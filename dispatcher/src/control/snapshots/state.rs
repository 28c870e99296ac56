//! The state that a sync stores between its runs, as a record of the table.

use goldfleet_model::document::{Document, DocumentError};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::records::{RecordName, Records};
use goldfleet_ports::{ETag, Versioned};
use goldfleet_snapshots::state::SyncState;

/// The largest number of absences that a record holds: each has about 200 bytes of JSON, and a record at most 512 KiB.
/// Replicas whose absence is not recorded are deleted by later runs.
const MAX_ABSENCES: usize = 2000;

/// The state of a sync, as it was read.
pub struct StoredState {
    name: RecordName,
    etag: Option<ETag>,
    /// The state. Empty if there is none, or if another version of the program wrote it.
    pub state: SyncState,
}

impl StoredState {
    /// Reads the state of a sync.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub async fn read(records: &dyn Records, sync: &str) -> PortResult<Self> {
        let name = record_name("sync-state", sync)?;
        let found = records.get(&name).await?;
        let state = found.as_ref().map(|found| found.value.read(SyncState::VERSION)).transpose();
        let state = state.unwrap_or_else(|error: DocumentError| {
            tracing::warn!(sync, %error, "the state of a sync cannot be read; deletions need two more runs");
            None
        });
        Ok(Self { name, etag: found.map(|Versioned { etag, .. }| etag), state: state.unwrap_or_default() })
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// `Conflict` or `AlreadyExists` if another process has written it since it was read. Others if the table cannot be
    /// reached.
    pub async fn replace(&self, records: &dyn Records, state: &SyncState) -> PortResult<()> {
        let document = Document::new(SyncState::VERSION, &limited(state))
            .map_err(|error| PortError::new(ErrorKind::Invalid, format!("record {}: {error}", self.name)))?;
        records.put(&self.name, &document, self.etag.as_ref()).await.map(drop)
    }
}

/// The state with as many absences as a record holds.
fn limited(state: &SyncState) -> SyncState {
    let mut room = MAX_ABSENCES;
    let mut kept = SyncState { rules: state.rules.clone(), ..SyncState::default() };
    for (destination, absences) in &state.absences {
        let some: std::collections::BTreeMap<_, _> =
            absences.iter().take(room).map(|(id, absence)| (id.clone(), absence.clone())).collect();
        room -= some.len();
        kept.absences.insert(destination.clone(), some);
    }
    kept
}

/// The name of a record of a sync. Names of syncs are compared without regard to case.
///
/// # Errors
/// `Invalid` if the name of the sync is not valid.
pub fn record_name(what: &str, sync: &str) -> PortResult<RecordName> {
    let name = format!("{what}.{}", sync.to_ascii_lowercase());
    name.parse().map_err(|error| PortError::new(ErrorKind::Invalid, format!("sync {sync:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use goldfleet_snapshots::state::{Absence, Cause};
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn largest_state_fits_into_a_record() {
        let run: goldfleet_model::ids::JobId = "20261129-120000-abcd".parse().unwrap();
        let absence = Absence { cause: Cause::Untagged, since: Timestamp::MAX, run };
        let absences = |n: usize| (0..n).map(|n| (format!("{n:036}"), absence.clone())).collect();
        let destination = |n: u32| format!("{n:036}/{}/region", "g".repeat(90));
        let state =
            SyncState { rules: "0".repeat(16), absences: (0..3).map(|n| (destination(n), absences(1500))).collect() };
        let kept = limited(&state);
        assert_eq!(kept.absences.values().map(std::collections::BTreeMap::len).sum::<usize>(), MAX_ABSENCES);
        let document = Document::new(SyncState::VERSION, &kept).unwrap();
        assert!(goldfleet_ports::records::encode(&record_name("sync-state", "a").unwrap(), &document).is_ok());
    }
}
