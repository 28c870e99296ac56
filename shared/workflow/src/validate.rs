//! The rules that a planner must follow, checked before a plan takes effect.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_model::graph::GateKey;
use goldfleet_model::operation::{GroupId, Operation, OperationId};

/// A graph that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A group has more rows than one batch of the table holds.
    #[error("group {group} has {rows} operations, and a group has at most {max}", max = GroupId::MAX_ROWS)]
    TooManyRows {
        /// The group.
        group: GroupId,
        /// The number of its rows.
        rows: usize,
    },
    /// A commit to a group could need more entities than one batch of the table holds.
    #[error(
        "group {group} has too many gates: a commit writes up to {entities} entities, and at most {max} are possible. \
         Use fewer rings",
        max = GroupId::MAX_ENTITIES
    )]
    TooManyGates {
        /// The group.
        group: GroupId,
        /// The largest number of entities of one commit.
        entities: usize,
    },
    /// The rows of a group do not form a chain.
    #[error("operation {0} is not part of its chain: its group or its position is wrong")]
    NotAChain(OperationId),
    /// A row expects another number of openers of a gate than there are.
    #[error("operation {operation} waits for gate {gate} with {expected} openers, and {found} operations open it")]
    WrongCount {
        /// The row that waits.
        operation: OperationId,
        /// The gate.
        gate: GateKey,
        /// The number of openers that the row expects.
        expected: u32,
        /// The number of openers that exist.
        found: u32,
    },
    /// A gate waits for itself.
    #[error("gate {0} can never open: its openers wait for it")]
    Cycle(GateKey),
}

/// Checks a graph group by group, and keeps only the facts about gates that it needs.
#[derive(Debug, Clone, Default)]
pub struct GraphCheck {
    openers: BTreeMap<GateKey, u32>,
    /// For each gate and expected count, one of the waiting rows.
    waits: BTreeMap<(GateKey, u32), OperationId>,
    /// The gates that an opener of a gate waits for.
    needs: BTreeMap<GateKey, BTreeSet<GateKey>>,
}

impl GraphCheck {
    /// Adds one group, in the order of its chain.
    ///
    /// # Errors
    /// [`GraphError`] if its rows are not a chain of at most [`GroupId::MAX_ROWS`] rows, or have too many gates.
    pub fn group(&mut self, rows: &[Operation]) -> Result<(), GraphError> {
        let Some(first) = rows.first() else { return Ok(()) };
        if rows.len() > GroupId::MAX_ROWS {
            return Err(GraphError::TooManyRows { group: first.id.group().clone(), rows: rows.len() });
        }
        // A row whose worker is lost for the last time has an event more.
        let entities = 1 + rows.iter().map(|row| 2 + 2 * row.opens.len() + row.after.len()).sum::<usize>();
        if entities > GroupId::MAX_ENTITIES {
            return Err(GraphError::TooManyGates { group: first.id.group().clone(), entities });
        }
        let mut behind: BTreeSet<GateKey> = BTreeSet::new();
        for (position, row) in (0..).zip(rows) {
            let is_repeated = rows.iter().filter(|other| other.id == row.id).count() > 1;
            if row.id.group() != first.id.group() || row.position != position || is_repeated {
                return Err(GraphError::NotAChain(row.id.clone()));
            }
            for after in &row.after {
                self.waits.entry((after.gate.clone(), after.count)).or_insert_with(|| row.id.clone());
                behind.insert(after.gate.clone());
            }
            for gate in &row.opens {
                *self.openers.entry(gate.clone()).or_default() += 1;
                self.needs.entry(gate.clone()).or_default().extend(behind.iter().cloned());
            }
        }
        Ok(())
    }

    /// Ends the check, after all groups were added.
    ///
    /// # Errors
    /// [`GraphError`] if a row expects another number of openers than there are, or if gates wait for each other.
    pub fn finish(&self) -> Result<(), GraphError> {
        for ((gate, expected), operation) in &self.waits {
            let found = self.openers.get(gate).copied().unwrap_or(0);
            if found != *expected || found == 0 {
                let (gate, operation, expected) = (gate.clone(), operation.clone(), *expected);
                return Err(GraphError::WrongCount { operation, gate, expected, found });
            }
        }
        match self.needs.keys().find(|gate| self.is_cyclic(gate)) {
            Some(gate) => Err(GraphError::Cycle(gate.clone())),
            None => Ok(()),
        }
    }

    fn is_cyclic(&self, gate: &GateKey) -> bool {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&GateKey> = self.needs.get(gate).into_iter().flatten().collect();
        while let Some(needed) = next.pop() {
            if needed == gate {
                return true;
            }
            if seen.insert(needed) {
                next.extend(self.needs.get(needed).into_iter().flatten());
            }
        }
        false
    }
}
