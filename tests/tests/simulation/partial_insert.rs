//! A job table that inserts operations group by group, like the one on Azure: a failure leaves some of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use goldfleet_model::event::Event;
use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{GroupId, Operation, OperationId, OperationState, StateCount};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::job_table::{Change, GateOpeners, JobTable};
use goldfleet_ports::listing::{Listing, UnreadableRow};
use goldfleet_ports::{ETag, Versioned};
use jiff::Timestamp;
use tokio::time::sleep;
use uuid::Uuid;

use crate::faults::FaultInjector;

/// A table that inserts group by group.
pub(crate) struct PartialInsertTable {
    pub(crate) faults: Arc<FaultInjector>,
    pub(crate) table: Arc<dyn JobTable>,
}

impl PartialInsertTable {
    async fn insert(&self, operations: &[Operation]) -> PortResult<usize> {
        let mut groups = BTreeMap::<GroupId, Vec<Operation>>::new();
        for operation in operations {
            groups.entry(operation.id.group().clone()).or_default().push(operation.clone());
        }
        let mut added = 0;
        for group in groups.into_values() {
            if self.faults.should_inject(self.faults.rates.insert_cut) {
                let added = format!("{added} of {} operations were added", operations.len());
                self.faults.trace.line(&added);
                return Err(PortError::new(ErrorKind::Unavailable, added));
            }
            added += self.table.insert_operations(&group).await?;
            sleep(self.faults.rng.millis(0..200)).await;
        }
        Ok(added)
    }
}

/// Implements methods by delegating to the wrapped table.
macro_rules! delegate {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        #[async_trait]
        impl JobTable for PartialInsertTable {
            async fn insert_operations(&self, operations: &[Operation]) -> PortResult<usize> {
                self.insert(operations).await
            }

            $(async fn $name(&self, $($arg: $type),*) -> PortResult<$result> {
                self.table.$name($($arg),*).await
            })*
        }
    };
}

delegate! {
    ensure() -> ();
    fleet() -> Uuid;
    insert_job(job: &Job) -> ();
    job(id: &JobId) -> Option<Versioned<Job>>;
    list_jobs() -> Listing<Versioned<Job>>;
    list_newest_jobs(limit: usize) -> Listing<Versioned<Job>>;
    list_open_jobs() -> Listing<Versioned<Job>>;
    commit_job(job: &Job, if_match: &ETag, events: &[Event]) -> ETag;
    remove_job(id: &JobId, if_match: &ETag) -> ();
    remove_earlier_plans(job: &JobId, plan: u32) -> usize;
    operation(job: &JobId, id: &OperationId) -> Option<Versioned<Operation>>;
    list_group(job: &JobId, id: &OperationId) -> Listing<Versioned<Operation>>;
    list_operations(job: &JobId) -> Listing<Versioned<Operation>>;
    unreadable_operations(job: &JobId) -> Vec<UnreadableRow>;
    census(job: &JobId, plan: u32) -> Vec<StateCount>;
    in_state_before(job: &JobId, plan: u32, state: OperationState, before: Timestamp, limit: usize) -> Vec<OperationId>;
    in_state_after(job: &JobId, plan: u32, state: OperationState, after: Timestamp, limit: usize) -> Vec<OperationId>;
    openers(job: &JobId, plan: u32, gate: &GateKey) -> GateOpeners;
    awaiting(job: &JobId, plan: u32, gate: &GateKey, on: GateCondition) -> Vec<OperationId>;
    awaited_gates(job: &JobId, plan: u32) -> Vec<(GateKey, GateCondition)>;
    commit(changes: &[Change], events: &[Event]) -> Vec<ETag>;
    list_events(job: &JobId, operation: Option<&OperationId>) -> Listing<Event>;
    put_upload(upload: &Upload) -> ();
    upload(id: &JobId) -> Option<Upload>;
    newest_upload(image: &ImageName, version: &ImageVersion) -> Option<Upload>;
    list_uploads() -> Listing<Upload>;
}
