//! Writes the rows of a planning attempt.

use std::cmp::Ordering;
use std::collections::HashMap;

use goldfleet_model::operation::Operation;
use goldfleet_ports::ETag;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use super::{AzureJobTable, rows};
use crate::table::{Action, Entity, Key, MAX_ACTIONS, MAX_BATCH_BYTES};

impl AzureJobTable {
    /// Writes rows of a planning attempt into one partition, each with its index entries in the same transaction.
    /// Returns how many rows were written.
    pub(super) async fn insert_planned(&self, partition: &str, rows: Vec<PlannedRow>) -> PortResult<usize> {
        let mut left = rows;
        let mut written = 0;
        while !left.is_empty() {
            let count = rows_per_batch(&left);
            let actions: Vec<Action> = left[..count].iter().flat_map(PlannedRow::actions).collect();
            match self.operations.transact(&actions).await {
                Ok(_) => {
                    written += count;
                    left.drain(..count);
                }
                // Rows of this attempt or of earlier ones are in the table. In each round, more of them are known.
                Err(error) if matches!(error.kind, ErrorKind::AlreadyExists | ErrorKind::Conflict) => {
                    left = self.replace_earlier(partition, left).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Compares rows with those of a partition. Omits rows of the same attempt. Replaces rows of an earlier attempt if
    /// they still have the version that was read.
    async fn replace_earlier(&self, partition: &str, rows: Vec<PlannedRow>) -> PortResult<Vec<PlannedRow>> {
        let filter = format!("PartitionKey eq '{partition}' and {}", rows::OPERATIONS);
        let found = self.operations.query(&filter, None).await?;
        let by_key: HashMap<&str, &Entity> =
            found.iter().filter_map(|row| Some((row.get("RowKey")?.as_str()?, row))).collect();
        let mut left = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(present) = by_key.get(row.key.row.as_str()) else {
                left.push(PlannedRow { replaces: None, ..row });
                continue;
            };
            match rows::plan(present).cmp(&rows::plan(&row.entity)) {
                Ordering::Equal => {}
                Ordering::Less => left.push(PlannedRow { replaces: Some(rows::etag(present)?), ..row }),
                Ordering::Greater => {
                    let message = "the job was planned again by another dispatcher";
                    return Err(PortError::new(ErrorKind::Conflict, message));
                }
            }
        }
        Ok(left)
    }
}

/// A row of a planning attempt, and its index entries.
pub(super) struct PlannedRow {
    pub(super) key: Key,
    entity: Entity,
    /// The version of the row of an earlier attempt, if one is in the table.
    replaces: Option<ETag>,
    roles: Vec<(Key, Entity)>,
}

impl PlannedRow {
    pub(super) fn of(operation: &Operation) -> PortResult<Self> {
        let roles = operation.gate_roles();
        Ok(Self {
            key: rows::operation_key(&operation.job, &operation.id),
            entity: rows::of_operation(operation)?,
            replaces: None,
            roles: roles.iter().map(|(gate, role)| rows::role_entry(operation, gate, *role)).collect(),
        })
    }

    fn actions(&self) -> impl Iterator<Item = Action> + '_ {
        let (key, entity) = (self.key.clone(), self.entity.clone());
        let row = match &self.replaces {
            None => Action::Insert(key, entity),
            Some(etag) => Action::Merge(key, entity, etag.clone()),
        };
        let roles = self.roles.iter().map(|(key, entity)| Action::Insert(key.clone(), entity.clone()));
        std::iter::once(row).chain(roles)
    }
}

/// The number of rows that fit into one transaction with their index entries. A row has at most
/// [`GroupId::MAX_ENTITIES`](goldfleet_model::operation::GroupId::MAX_ENTITIES) of them.
fn rows_per_batch(rows: &[PlannedRow]) -> usize {
    let (mut actions, mut bytes) = (0, 0);
    let fits = rows.iter().take_while(|row| {
        actions += 1 + row.roles.len();
        bytes += rows::length(&row.entity) + row.roles.iter().map(|(_, entity)| rows::length(entity)).sum::<usize>();
        actions <= MAX_ACTIONS && bytes <= MAX_BATCH_BYTES
    });
    fits.count().max(1)
}
