//! Ports with an interceptor. It sees every call, and decides whether and when the call is made, and what it returns.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use goldfleet_model::document::Document;
use goldfleet_model::event::Event;
use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId, ResourceGroup, SubscriptionId};
use goldfleet_model::image::VhdNames;
use goldfleet_model::job::Job;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::{Operation, OperationId, OperationState, StateCount};
use goldfleet_model::resource::{Lock, LockId, ResourceId};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_model::upload::Upload;
use goldfleet_ports::blob_store::{BlobPage, BlobProperties, BlobStore, Checksums, CopyStatus, Fence, SourceRange};
use goldfleet_ports::disk_access::{AccessRequest, AccessStatus, DiskAccess, DiskSas};
use goldfleet_ports::disk_content::{ContentLayout, DiskContent};
use goldfleet_ports::disk_pages::{DiskPages, PageAnswer, PageSource};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::job_table::{Change, GateOpeners, JobTable};
use goldfleet_ports::listing::{Listing, UnreadableRow};
use goldfleet_ports::queue::{Queue, Receipt, Received};
use goldfleet_ports::records::{Record, RecordName, Records};
use goldfleet_ports::resource_locks::{LockRequest, ResourceLocks};
use goldfleet_ports::resources::{
    ChangeStatus, MachineAction, Pending, PutRequest, Resource, ResourcePage, ResourceQuery, ResourceService,
};
use goldfleet_ports::{ETag, Ports, Versioned};
use jiff::Timestamp;
use uuid::Uuid;

use crate::call_args::{AsArg, ToOwnedArg};

/// A call of a port, before it is made. It owns its arguments, because the caller may no longer exist when the call is
/// made.
pub struct Call<'a, T> {
    /// The port and its method, such as `Queue.send`.
    pub name: &'static str,
    /// The arguments.
    pub arguments: &'a [&'a (dyn Any + Sync)],
    /// Makes the call.
    pub make: BoxFuture<'static, PortResult<T>>,
}

/// Intercepts the calls of ports.
pub trait Interceptor: Send + Sync + 'static {
    /// Makes a call now, later, several times or not at all, and returns a result.
    fn call<T: Send + 'static>(&self, call: Call<'_, T>) -> impl Future<Output = PortResult<T>> + Send;

    /// The reported status of a copy that the service makes.
    fn copy_status(&self, status: Option<CopyStatus>) -> Option<CopyStatus> {
        status
    }
}

/// Wraps the ports with `interceptor`. The clock is not wrapped.
#[must_use]
pub fn intercepted<M: Interceptor>(ports: &Ports, interceptor: &Arc<M>) -> Ports {
    Ports {
        queue: Arc::new(Intercepted { interceptor: Arc::clone(interceptor), port: Arc::clone(&ports.queue) }),
        table: Arc::new(Intercepted { interceptor: Arc::clone(interceptor), port: Arc::clone(&ports.table) }),
        records: Arc::new(Intercepted { interceptor: Arc::clone(interceptor), port: Arc::clone(&ports.records) }),
        blobs: Arc::new(Intercepted { interceptor: Arc::clone(interceptor), port: Arc::clone(&ports.blobs) }),
        resources: Arc::new(Intercepted { interceptor: Arc::clone(interceptor), port: Arc::clone(&ports.resources) }),
        locks: Arc::new(Intercepted { interceptor: Arc::clone(interceptor), port: Arc::clone(&ports.locks) }),
        disk_access: Arc::new(Intercepted {
            interceptor: Arc::clone(interceptor),
            port: Arc::clone(&ports.disk_access),
        }),
        disk_pages: Arc::new(Intercepted { interceptor: Arc::clone(interceptor), port: Arc::clone(&ports.disk_pages) }),
        liveness: Arc::clone(&ports.liveness),
        clock: Arc::clone(&ports.clock),
        longest_wait: ports.longest_wait,
    }
}

/// A port and its interceptor.
struct Intercepted<M, P: ?Sized> {
    interceptor: Arc<M>,
    port: Arc<P>,
}

/// One call of a port's method, with owned arguments.
macro_rules! call {
    ($self:ident, $port:ident.$name:ident($($arg:ident),*)) => {{
        $(let $arg = ToOwnedArg::to_owned_arg($arg);)*
        let arguments: &[&(dyn Any + Sync)] = &[$(&$arg.clone()),*];
        let port = Arc::clone(&$self.port);
        let make = Box::pin(async move { port.$name($(AsArg::as_arg(&$arg)),*).await });
        let name = concat!(stringify!($port), ".", stringify!($name));
        $self.interceptor.call(Call { name, arguments, make }).await
    }};
}

/// Implements the methods of a port as intercepted calls, besides those that are implemented explicitly.
macro_rules! intercept {
    ($port:ident { $($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)* } $(also { $($method:item)* })?) => {
        #[async_trait]
        impl<M: Interceptor> $port for Intercepted<M, dyn $port> {
            $(async fn $name(&self, $($arg: $type),*) -> PortResult<$result> {
                call!(self, $port.$name($($arg),*))
            })*
            $($($method)*)?
        }
    };
}

intercept!(Queue {
    ensure() -> ();
    send(queue: QueueName, body: &str, delay: Duration) -> ();
    receive(queue: QueueName, max: usize, visibility: Duration) -> Vec<Received>;
    extend(queue: QueueName, receipt: &Receipt, visibility: Duration) -> Receipt;
    delete(queue: QueueName, receipt: &Receipt) -> ();
    depth(queue: QueueName) -> u64;
});

intercept!(JobTable {
    ensure() -> ();
    fleet() -> Uuid;
    insert_job(job: &Job) -> ();
    job(id: &JobId) -> Option<Versioned<Job>>;
    list_jobs() -> Listing<Versioned<Job>>;
    list_newest_jobs(limit: usize) -> Listing<Versioned<Job>>;
    list_open_jobs() -> Listing<Versioned<Job>>;
    commit_job(job: &Job, if_match: &ETag, events: &[Event]) -> ETag;
    remove_job(id: &JobId, if_match: &ETag) -> ();
    insert_operations(operations: &[Operation]) -> usize;
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
});

intercept!(Records {
    get(name: &RecordName) -> Option<Versioned<Document>>;
    put(name: &RecordName, document: &Document, if_match: Option<&ETag>) -> ETag;
    remove(name: &RecordName, if_match: &ETag) -> ();
    list(prefix: &str) -> Vec<Record>;
});

intercept!(BlobStore {
    ensure_container(container: &Container) -> ();
    put_blob(blob: &BlobAddress, body: Bytes, checksums: Checksums) -> ();
    put_blob_from(blob: &BlobAddress, source: &SourceRange) -> ();
    get(blob: &BlobAddress, range: Option<Range<u64>>) -> Bytes;
    holds(range: &SourceRange) -> bool;
    properties(blob: &BlobAddress) -> Option<BlobProperties>;
    list(container: &Container, prefix: &str, marker: Option<&str>) -> BlobPage;
    touch(blob: &BlobAddress, if_match: &ETag) -> ();
    delete(blob: &BlobAddress, if_match: Option<&ETag>) -> bool;
    create_page_blob(blob: &BlobAddress, length: u64, metadata: &BTreeMap<String, String>) -> ();
    take_fence(blob: &BlobAddress) -> Fence;
    put_pages(blob: &BlobAddress, fence: Fence, offset: u64, body: Bytes, crc64: u64) -> ();
    put_pages_from(blob: &BlobAddress, fence: Fence, offset: u64, source: &SourceRange) -> ();
    clear_pages(blob: &BlobAddress, fence: Fence, range: Range<u64>) -> ();
    start_copy(blob: &BlobAddress, source: &BlobAddress, metadata: &BTreeMap<String, String>) -> CopyStatus;
    abort_copy(blob: &BlobAddress, id: &str) -> ();
    page_ranges(blob: &BlobAddress) -> Vec<Range<u64>>;
} also {
    async fn copy_status(&self, blob: &BlobAddress) -> PortResult<Option<CopyStatus>> {
        let status = call!(self, BlobStore.copy_status(blob))?;
        Ok(self.interceptor.copy_status(status))
    }
});

intercept!(ResourceService {
    get(id: &ResourceId, tenant: Option<&str>) -> Option<Resource>;
    list(query: &ResourceQuery, marker: Option<&str>) -> ResourcePage;
    put(request: &PutRequest) -> ChangeStatus;
    delete(id: &ResourceId, tenant: Option<&str>) -> ChangeStatus;
    act(id: &ResourceId, action: MachineAction, tenant: Option<&str>) -> ChangeStatus;
    is_soft_deleted(version: &ResourceId) -> bool;
    poll(pending: &Pending) -> ChangeStatus;
} also {
    fn vhd_names(&self) -> VhdNames {
        self.port.vhd_names()
    }

    fn blob_url(&self, blob: &BlobAddress) -> String {
        self.port.blob_url(blob)
    }
});

intercept!(ResourceLocks {
    locks(id: &ResourceId, tenant: Option<&str>) -> Vec<Lock>;
    group_locks(subscription: &SubscriptionId, group: &ResourceGroup, tenant: Option<&str>) -> Vec<Lock>;
    put_lock(request: &LockRequest) -> ();
    delete_lock(id: &LockId, tenant: Option<&str>) -> ();
});

#[async_trait]
impl<M: Interceptor> DiskContent for Intercepted<M, dyn DiskAccess> {
    async fn layout(&self, sas: &DiskSas) -> PortResult<ContentLayout> {
        call!(self, DiskContent.layout(sas))
    }

    async fn changes_since(&self, sas: &DiskSas, earlier: &DiskSas) -> PortResult<Vec<Range<u64>>> {
        call!(self, DiskContent.changes_since(sas, earlier))
    }

    async fn read(&self, sas: &DiskSas, range: Range<u64>) -> PortResult<Bytes> {
        call!(self, DiskContent.read(sas, range))
    }
}

intercept!(DiskPages {
    write(sas: &DiskSas, offset: u64, bytes: Bytes, crc64: Option<u64>) -> PageAnswer;
    write_from(sas: &DiskSas, offset: u64, source: &PageSource, range: Range<u64>, checksums: Option<Checksums>) -> PageAnswer;
    holds(sas: &DiskSas, range: Range<u64>, checksums: Checksums) -> bool;
});

intercept!(DiskAccess {
    begin(request: &AccessRequest) -> AccessStatus;
    poll_begin(pending: &Pending) -> AccessStatus;
    end(id: &ResourceId, tenant: Option<&str>) -> ChangeStatus;
    poll_end(pending: &Pending) -> ChangeStatus;
});
