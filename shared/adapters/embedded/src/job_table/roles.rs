//! The roles of operations at gates, as rows of their own table. They are written in the transaction that writes the
//! operation, so they always agree with it.

use goldfleet_model::operation::{GateRoles, Operation};
use goldfleet_ports::job_table::Change;
use rusqlite::{Connection, params};

use super::statements as sql;

/// The changes of the roles of one operation.
pub(super) struct RoleChanges {
    job: String,
    plan: u32,
    id: String,
    removed: GateRoles,
    added: GateRoles,
}

impl RoleChanges {
    /// The changes that follow from a change of the operation.
    pub(super) fn of(change: &Change) -> Self {
        let (removed, added) = change.role_changes();
        Self { removed, added, ..Self::all_of(&change.operation) }
    }

    /// All roles of a new operation.
    pub(super) fn all_of(operation: &Operation) -> Self {
        Self {
            job: operation.job.to_string(),
            plan: operation.plan,
            id: operation.id.to_string(),
            removed: GateRoles::new(),
            added: operation.gate_roles(),
        }
    }

    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Self { job, plan, id, removed, added } = self;
        for (statement, roles) in
            [(sql::DELETE_ROLE, removed), (sql::INSERT_ROLE, added)].into_iter().filter(|(_, roles)| !roles.is_empty())
        {
            let mut statement = connection.prepare_cached(statement)?;
            for (gate, role) in roles {
                statement.execute(params![job, plan, role.digit(), gate.as_str(), id])?;
            }
        }
        Ok(())
    }
}

/// Removes the roles of planning attempts before `plan`.
pub(super) fn remove_earlier(connection: &Connection, job: &str, plan: u32) -> rusqlite::Result<()> {
    connection.prepare_cached(sql::DELETE_EARLIER_ROLES)?.execute(params![job, plan]).map(drop)
}
