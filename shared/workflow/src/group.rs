//! A change to the rows of one group, decided in memory and written in one commit.

use goldfleet_model::event::Event;
use goldfleet_model::operation::{Operation, OperationId, OperationState};
use goldfleet_model::state::{IllegalTransition, OperationEvent};
use goldfleet_ports::Versioned;
use goldfleet_ports::commit::Commit;
use jiff::Timestamp;

use crate::chain;

/// The rows of a group in the order of their chain, with transitions to commit together.
#[derive(Debug, Clone)]
pub struct GroupChange<'a> {
    rows: Vec<Row<'a>>,
    /// Whether these are all rows of the group. Otherwise nothing follows from the end of a row.
    is_whole: bool,
    now: Timestamp,
    who: &'a str,
}

#[derive(Debug, Clone)]
struct Row<'a> {
    read: &'a Versioned<Operation>,
    operation: Operation,
    events: Vec<Event>,
    changed: bool,
}

impl<'a> GroupChange<'a> {
    /// Starts a change without transitions. `group` must contain all rows of the group.
    pub fn new(group: impl IntoIterator<Item = &'a Versioned<Operation>>, now: Timestamp, who: &'a str) -> Self {
        let row = |read: &'a Versioned<Operation>| Row {
            read,
            operation: read.value.clone(),
            events: Vec::new(),
            changed: false,
        };
        let mut rows: Vec<Row<'a>> = group.into_iter().map(row).collect();
        rows.sort_by_key(|row| row.operation.position);
        Self { rows, is_whole: true, now, who }
    }

    /// Starts a change of a group of which another row cannot be read. Because that row may be between any two others,
    /// [`GroupChange::advance`] changes nothing.
    pub fn of_part(rows: impl IntoIterator<Item = &'a Versioned<Operation>>, now: Timestamp, who: &'a str) -> Self {
        Self { is_whole: false, ..Self::new(rows, now, who) }
    }

    /// The rows after the change, in the order of the chain.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.rows.iter().map(|row| &row.operation)
    }

    /// The row with this id after the change.
    #[must_use]
    pub fn operation(&self, id: &OperationId) -> Option<&Operation> {
        self.operations().find(|operation| operation.id == *id)
    }

    /// Changes fields of a row other than its state. An id that is not in the group is ignored.
    pub fn edit(&mut self, id: &OperationId, change: impl FnOnce(&mut Operation)) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.operation.id == *id) {
            change(&mut row.operation);
            row.changed = true;
        }
    }

    /// Applies an event to the row at `index` of the chain.
    ///
    /// # Errors
    /// [`IllegalTransition`] if its state does not allow the event; nothing is changed then.
    pub fn apply_at(&mut self, index: usize, event: OperationEvent) -> Result<(), IllegalTransition> {
        let (now, who) = (self.now, self.who);
        let Some(row) = self.rows.get_mut(index) else { return Ok(()) };
        let line = row.operation.apply(event, now, who)?;
        row.note(vec![line], now);
        Ok(())
    }

    /// Applies an event to the row with this id.
    ///
    /// # Errors
    /// [`IllegalTransition`] if its state does not allow the event; nothing is changed then.
    pub fn apply(&mut self, id: &OperationId, event: OperationEvent) -> Result<(), IllegalTransition> {
        match self.rows.iter().position(|row| row.operation.id == *id) {
            Some(index) => self.apply_at(index, event),
            None => Ok(()),
        }
    }

    /// Adds a reason to the last transition of the row with this id, if it has none.
    pub fn explain(&mut self, id: &OperationId, why: String) {
        let row = self.rows.iter_mut().find(|row| row.operation.id == *id);
        if let Some(event) = row.and_then(|row| row.events.last_mut()) {
            event.why.get_or_insert(why);
        }
    }

    /// Applies several transitions to the row with this id, through another function.
    ///
    /// # Errors
    /// The error of `change`. Transitions that were applied before the error are kept.
    pub fn transform(
        &mut self,
        id: &OperationId,
        change: impl FnOnce(&mut Operation, Timestamp, &str) -> Result<Vec<Event>, IllegalTransition>,
    ) -> Result<(), IllegalTransition> {
        let (now, who) = (self.now, self.who);
        let Some(row) = self.rows.iter_mut().find(|row| row.operation.id == *id) else { return Ok(()) };
        let lines = change(&mut row.operation, now, who)?;
        row.note(lines, now);
        Ok(())
    }

    /// Releases and blocks the waiting rows whose fate the earlier rows now decide.
    pub fn advance(&mut self) {
        if !self.is_whole {
            return;
        }
        for index in 0..self.rows.len() {
            if let Some(event) = chain::next_event(&self.rows, index, self.now, |row| &row.operation)
                && let Err(illegal) = self.apply_at(index, event)
            {
                // `next_event` returns events only for waiting rows, which can be released and blocked.
                tracing::error!(%illegal, "a waiting operation could not follow its group");
            }
        }
    }

    /// The commit that writes the changes. It is empty if nothing has changed.
    #[must_use]
    pub fn into_commit(self) -> Commit {
        let mut commit = Commit::default();
        for row in self.rows.into_iter().filter(|row| row.changed) {
            commit.push(row.read, row.operation, row.events);
        }
        commit
    }
}

impl Row<'_> {
    fn note(&mut self, lines: Vec<Event>, now: Timestamp) {
        self.events.extend(lines);
        self.changed = true;
        if self.operation.state == OperationState::Ready {
            self.operation.queued = Some(now);
        }
    }
}
