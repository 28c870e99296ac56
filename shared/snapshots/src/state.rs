//! What a sync remembers from one run to the next.

use std::collections::BTreeMap;

use goldfleet_model::ids::JobId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rules::{Rules, Run};

/// Why a replica has no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Its source does not exist. A snapshot with the name of the source is another one.
    Gone,
    /// Its source exists and lost the tag that selects it.
    Untagged,
    /// Newer replicas of the family exist, as many as `keep` names.
    Surplus,
}

/// The first time that a replica had no use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Why.
    pub cause: Cause,
    /// The time of the run that found it.
    pub since: Timestamp,
    /// That run.
    pub run: JobId,
}

/// The state of a sync. The caller stores it with a compare-and-swap after each run is planned and before its rows are
/// written. If it is lost, deletions take two more runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncState {
    /// The fingerprint of the rules that the absences were found with.
    #[serde(default)]
    pub rules: String,
    /// The absences by destination and by the unique id of the replica.
    #[serde(default)]
    pub absences: BTreeMap<String, BTreeMap<String, Absence>>,
}

impl SyncState {
    /// The version of the format.
    pub const VERSION: u16 = 1;

    /// The state after a run that proved nothing: no absence is remembered.
    #[must_use]
    pub fn reset(rules: &Rules) -> Self {
        Self { rules: rules.fingerprint(), absences: BTreeMap::new() }
    }

    /// The absence to remember for a replica that has no use in this run. An earlier one is kept if it was found with
    /// the same rules, for the same cause, and not at a later time. A later time means that a clock was wrong.
    #[must_use]
    pub fn absence(&self, rules: &Rules, run: &Run, destination: &str, unique_id: &str, cause: Cause) -> Absence {
        let earlier = self.absences.get(destination).and_then(|absences| absences.get(unique_id));
        let is_valid = |absence: &&Absence| absence.cause == cause && absence.since <= run.now;
        match earlier.filter(is_valid) {
            Some(absence) if self.rules == rules.fingerprint() => absence.clone(),
            _ => Absence { cause, since: run.now, run: run.job.clone() },
        }
    }
}

impl Absence {
    /// Whether this run is another one, at least the grace period after the first.
    #[must_use]
    pub fn is_proven(&self, rules: &Rules, run: &Run) -> bool {
        self.run != run.job && run.now.duration_since(self.since) >= rules.grace
    }
}
