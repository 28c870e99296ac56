//! All kinds of operations.

use std::fmt;
use std::sync::Arc;

use goldfleet_model::operation::{KindId, Operation};
use goldfleet_ports::Ports;

use crate::kind::{Kind, TemporaryBlob};
use crate::{
    capture, copy, deallocate, disk, export, gallery, hub, image, lock, machine, publish, remove, restore, seed,
    snapshot, start,
};

/// The kinds that a process knows, in the order in which status shows them.
#[derive(Clone)]
pub struct Registry(Vec<Arc<dyn Kind>>);

impl Default for Registry {
    /// All kinds of goldfleet.
    fn default() -> Self {
        Self(vec![
            Arc::new(seed::Seed), //
            Arc::new(copy::Copy),
            Arc::new(hub::Hub),
            Arc::new(export::Export),
            Arc::new(image::Image),
            Arc::new(gallery::Gallery),
            Arc::new(disk::Disk),
            Arc::new(deallocate::Deallocate),
            Arc::new(restore::Restore),
            Arc::new(snapshot::Snapshot),
            Arc::new(publish::Publish),
            Arc::new(lock::Lock),
            Arc::new(start::Start),
            Arc::new(machine::Machine),
            Arc::new(capture::Capture),
            Arc::new(remove::Remove),
        ])
    }
}

impl Registry {
    /// Returns the same registry with one more kind.
    #[must_use]
    pub fn with(mut self, kind: impl Kind + 'static) -> Self {
        self.0.push(Arc::new(kind));
        self
    }

    /// The kind with this id. None if the program does not know it.
    #[must_use]
    pub fn get(&self, id: &KindId) -> Option<&dyn Kind> {
        self.find(id.as_str())
    }

    fn find(&self, id: &str) -> Option<&dyn Kind> {
        self.0.iter().find(|kind| kind.id() == id).map(Arc::as_ref)
    }

    /// The kind of an operation, if this program knows the kind and the version of its specification.
    #[must_use]
    pub fn of(&self, operation: &Operation) -> Option<&dyn Kind> {
        self.get(&operation.kind).filter(|kind| operation.spec.v <= kind.spec_version())
    }

    /// Whether a target has what its job delivers once this operation is done there.
    #[must_use]
    pub fn delivers(&self, operation: &Operation) -> bool {
        self.get(&operation.kind).is_some_and(|kind| kind.is_delivery(operation))
    }

    /// The blob that an operation creates and that is no longer needed after the job has ended.
    #[must_use]
    pub fn temporary_blob(&self, ports: &Ports, operation: &Operation) -> Option<TemporaryBlob> {
        self.get(&operation.kind)?.temporary_blob(ports, operation)
    }

    /// Whether an operation creates a resource that a later operation of its group deletes.
    #[must_use]
    pub fn creates_temporary(&self, operation: &Operation) -> bool {
        self.get(&operation.kind).is_some_and(|kind| kind.creates_temporary(operation))
    }

    /// The ids of all kinds, in order.
    pub fn ids(&self) -> impl Iterator<Item = &'static str> {
        self.iter().map(Kind::id)
    }

    /// All kinds, in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Kind> {
        self.0.iter().map(Arc::as_ref)
    }

    /// The position of a kind in the registry. Unknown kinds come last.
    #[must_use]
    pub fn order(&self, id: &KindId) -> usize {
        self.0.iter().position(|kind| kind.id() == id.as_str()).unwrap_or(self.0.len())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|kind| kind.id())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_id_that_rows_can_hold() {
        let registry = Registry::default();
        let ids: Vec<&str> = registry.iter().map(Kind::id).collect();
        for id in &ids {
            assert_eq!(registry.get(&id.parse().unwrap()).unwrap().id(), *id);
            assert_eq!(ids.iter().filter(|other| *other == id).count(), 1, "{id} is listed twice");
        }
    }
}
