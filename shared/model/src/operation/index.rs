//! The facts of an operation that job tables index, so that a query about a job does not read all its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::{KindId, Operation, OperationState};
use crate::graph::{GateCondition, GateKey};

/// What an operation means for a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GateRole {
    /// It opens the gate and has not ended.
    Pending,
    /// It opens the gate and failed.
    Failed,
    /// It opens the gate and was cancelled.
    Cancelled,
    /// It waits until the gate has opened.
    AwaitsOpened,
    /// It waits until all openers of the gate have ended.
    AwaitsEnded,
}

impl GateRole {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Failed, Self::Cancelled, Self::AwaitsOpened, Self::AwaitsEnded];

    /// The role of an operation that waits for a gate.
    #[must_use]
    pub fn awaiting(on: GateCondition) -> Self {
        match on {
            GateCondition::Opened => Self::AwaitsOpened,
            GateCondition::Ended => Self::AwaitsEnded,
        }
    }

    /// The digit that represents the role in the keys of job tables.
    #[must_use]
    pub fn digit(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Failed => 1,
            Self::Cancelled => 2,
            Self::AwaitsOpened => 3,
            Self::AwaitsEnded => 4,
        }
    }
}

impl fmt::Display for GateRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digit().fmt(f)
    }
}

/// The roles of an operation, each with its gate.
pub type GateRoles = BTreeSet<(GateKey, GateRole)>;

/// The number of operations of a kind in a state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateCount {
    /// The kind.
    pub kind: KindId,
    /// The state.
    pub state: OperationState,
    /// How many there are.
    pub count: u64,
    /// The latest [`Operation::state_time`] of them.
    pub latest: Timestamp,
}

/// Counts operations by kind and state, for tables that cannot do this themselves.
#[derive(Debug, Default)]
pub struct Census(BTreeMap<(KindId, OperationState), (u64, Timestamp)>);

impl Census {
    /// Counts an operation with this [`Operation::state_time`].
    pub fn add(&mut self, kind: KindId, state: OperationState, time: Timestamp) {
        let (count, latest) = self.0.entry((kind, state)).or_insert((0, time));
        (*count, *latest) = (*count + 1, time.max(*latest));
    }

    /// The counts, ordered by kind and state.
    #[must_use]
    pub fn into_counts(self) -> Vec<StateCount> {
        let count = |((kind, state), (count, latest))| StateCount { kind, state, count, latest };
        self.0.into_iter().map(count).collect()
    }
}

impl Operation {
    /// Its roles at gates. An opener that is done has none: only openers that have not ended or ended badly matter.
    #[must_use]
    pub fn gate_roles(&self) -> GateRoles {
        let opener = match self.state {
            OperationState::Failed => Some(GateRole::Failed),
            OperationState::Cancelled => Some(GateRole::Cancelled),
            state if state.is_terminal() => None,
            _ => Some(GateRole::Pending),
        };
        let mut roles: GateRoles =
            opener.into_iter().flat_map(|role| self.opens.iter().map(move |gate| (gate.clone(), role))).collect();
        if self.state == OperationState::Waiting && self.awaits_gate() {
            roles.extend(self.after.iter().map(|after| (after.gate.clone(), GateRole::awaiting(after.on))));
        }
        roles
    }

    /// The time that matters in its state: while it is leased, the expiry of the lease; while it is ready, when its
    /// message was last sent or when it may be claimed, whichever is later; otherwise its last change.
    #[must_use]
    pub fn state_time(&self) -> Timestamp {
        match self.state {
            state if state.is_leased() => self.lease.as_ref().map_or(Timestamp::UNIX_EPOCH, |lease| lease.expires),
            OperationState::Ready => self.not_before.max(self.queued).unwrap_or(self.created).max(self.updated),
            _ => self.updated,
        }
    }
}
