//! Ports that fail at a chosen call: before its effect, as when a request is lost, or after it, as when the answer is; or
//! that have something else happen first.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use goldfleet_shared::model::event::Event;
use goldfleet_shared::model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_shared::model::image::{ManagedImageId, ManagedImageSpec, VhdNames};
use goldfleet_shared::model::job::Job;
use goldfleet_shared::model::message::QueueName;
use goldfleet_shared::model::operation::{Operation, OperationId};
use goldfleet_shared::model::store::{BlobAddress, Container};
use goldfleet_shared::model::upload::Upload;
use goldfleet_shared::ports::blob_store::{
    BlobPage, BlobProperties, BlobStore, CopyState, CopyStatus, Fence, SourceRange,
};
use goldfleet_shared::ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_shared::ports::image_plane::{ImagePlane, ManagedImage, Pending, Underway};
use goldfleet_shared::ports::job_table::{Change, JobTable};
use goldfleet_shared::ports::queue::{Queue, Receipt, Received};
use goldfleet_shared::ports::{ETag, Ports, Versioned};
use tokio::sync::Notify;

/// Which half of a call is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The request: nothing happens.
    Request,
    /// The answer: the effect is there, and the caller does not know.
    Answer,
    /// The caller: the effect is there, and nothing comes after it, as when a process is killed.
    Caller,
}

/// What happens before a chosen call has its effect, until it has happened.
struct Before {
    name: &'static str,
    nth: usize,
    what: BoxFuture<'static, ()>,
}

/// Counts calls by name, and makes one of them fail, its answer come late, or something else come before it.
#[derive(Default)]
pub struct Faults {
    failing: Option<(&'static str, usize, Lost)>,
    late: Mutex<Option<(&'static str, BoxFuture<'static, ()>)>>,
    before: Mutex<Option<Before>>,
    broken_copy: AtomicBool,
    calls: Mutex<BTreeMap<&'static str, usize>>,
    hit: AtomicUsize,
    reached: Notify,
}

impl Faults {
    /// Fails nothing, and counts.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::default()
    }

    /// Fails the `nth` call (from 0) of `name`.
    #[must_use]
    pub fn at(name: &'static str, nth: usize, lost: Lost) -> Arc<Self> {
        Arc::new(Self { failing: Some((name, nth, lost)), ..Self::default() })
    }

    /// Lets something happen between the effect of the first call of `name` and its answer.
    #[must_use]
    pub fn late(name: &'static str, meanwhile: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        Arc::new(Self { late: Mutex::new(Some((name, Box::pin(meanwhile)))), ..Self::default() })
    }

    /// Says of the first copy inside an account that it failed; and before the `nth` call (from 0) of `name`, something else
    /// happens.
    #[must_use]
    pub fn broken_copy(name: &'static str, nth: usize, what: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        let faults = Self::before(name, nth, what);
        faults.broken_copy.store(true, Ordering::SeqCst);
        faults
    }

    /// Before the `nth` call (from 0) of `name`, something else happens.
    #[must_use]
    pub fn before(name: &'static str, nth: usize, what: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        let before = Mutex::new(Some(Before { name, nth, what: Box::pin(what) }));
        Arc::new(Self { before, ..Self::default() })
    }

    /// Waits for the call whose caller was to be lost.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// How often each call was made.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<&'static str, usize> {
        self.calls.lock().unwrap().clone()
    }

    /// Whether the call that was to fail was made.
    #[must_use]
    pub fn was_hit(&self) -> bool {
        self.hit.load(Ordering::SeqCst) > 0
    }

    async fn call<T>(&self, name: &'static str, call: impl Future<Output = PortResult<T>> + Send) -> PortResult<T> {
        let nth = {
            let mut calls = self.calls.lock().unwrap();
            let count = calls.entry(name).or_default();
            *count += 1;
            *count - 1
        };
        let before = self.before.lock().unwrap().take_if(|before| before.name == name && before.nth == nth);
        if let Some(before) = before {
            self.hit.fetch_add(1, Ordering::SeqCst);
            before.what.await;
        }
        let lost = self.failing.filter(|(failing, at, _)| *failing == name && *at == nth).map(|(.., lost)| lost);
        if lost.is_some() {
            self.hit.fetch_add(1, Ordering::SeqCst);
        }
        let gone = || PortError::new(ErrorKind::Unavailable, format!("{name} {nth}: lost by the test"));
        match lost {
            Some(Lost::Request) => Err(gone()),
            Some(Lost::Answer) => call.await.and_then(|_| Err(gone())),
            Some(Lost::Caller) => {
                // Whether it succeeded nobody learns, as nobody is there any more.
                let _ = call.await;
                self.reached.notify_one();
                std::future::pending().await
            }
            None => {
                let answer = call.await;
                let meanwhile = self.late.lock().unwrap().take_if(|(late, _)| *late == name);
                if let Some((_, meanwhile)) = meanwhile {
                    meanwhile.await;
                }
                answer
            }
        }
    }

    /// What a service says of a copy, or that it failed.
    fn broken(&self, status: Option<CopyStatus>) -> Option<CopyStatus> {
        if !self.broken_copy.swap(false, Ordering::SeqCst) {
            return status;
        }
        Some(CopyStatus { id: "broken".to_owned(), state: CopyState::Failed("broken by the test".to_owned()) })
    }
}

/// A port behind which calls can get lost.
struct Faulty<P: ?Sized> {
    faults: Arc<Faults>,
    port: Arc<P>,
}

/// The same ports, with calls that can get lost.
#[must_use]
pub fn faulty(ports: &Ports, faults: &Arc<Faults>) -> Ports {
    Ports {
        queue: Arc::new(Faulty { faults: Arc::clone(faults), port: Arc::clone(&ports.queue) }),
        table: Arc::new(Faulty { faults: Arc::clone(faults), port: Arc::clone(&ports.table) }),
        blobs: Arc::new(Faulty { faults: Arc::clone(faults), port: Arc::clone(&ports.blobs) }),
        images: Arc::new(Faulty { faults: Arc::clone(faults), port: Arc::clone(&ports.images) }),
        clock: Arc::clone(&ports.clock),
    }
}

/// Writes the methods of a port, each as a call that can get lost, beside those that are written out.
macro_rules! lossy {
    ($port:ident { $($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)* } $(also { $($method:item)* })?) => {
        #[async_trait]
        impl $port for Faulty<dyn $port> {
            $(async fn $name(&self, $($arg: $type),*) -> PortResult<$result> {
                let name = concat!(stringify!($port), ".", stringify!($name));
                self.faults.call(name, self.port.$name($($arg),*)).await
            })*
            $($($method)*)?
        }
    };
}

lossy!(Queue {
    ensure() -> ();
    send(queue: QueueName, body: &str, delay: Duration) -> ();
    receive(queue: QueueName, max: usize, visibility: Duration) -> Vec<Received>;
    extend(queue: QueueName, receipt: &Receipt, visibility: Duration) -> Receipt;
    delete(queue: QueueName, receipt: &Receipt) -> ();
    depth(queue: QueueName) -> u64;
});

lossy!(JobTable {
    ensure() -> ();
    insert_job(job: &Job) -> ();
    job(id: &JobId) -> Option<Versioned<Job>>;
    jobs() -> Vec<Versioned<Job>>;
    newest_jobs(limit: usize) -> Vec<Versioned<Job>>;
    open_jobs() -> Vec<Versioned<Job>>;
    commit_job(job: &Job, if_match: &ETag, events: &[Event]) -> ETag;
    insert_operations(operations: &[Operation]) -> usize;
    operation(job: &JobId, id: &OperationId) -> Option<Versioned<Operation>>;
    group(job: &JobId, id: &OperationId) -> Vec<Versioned<Operation>>;
    operations(job: &JobId) -> Vec<Versioned<Operation>>;
    commit(changes: &[Change], events: &[Event]) -> Vec<ETag>;
    events(job: &JobId, operation: Option<&OperationId>) -> Vec<Event>;
    put_upload(upload: &Upload) -> ();
    newest_upload(image: &ImageName, version: &ImageVersion) -> Option<Upload>;
    uploads() -> Vec<Upload>;
});

lossy!(BlobStore {
    ensure_container(container: &Container) -> ();
    put_blob(blob: &BlobAddress, body: Bytes, crc64: u64) -> ();
    put_blob_from(blob: &BlobAddress, source: &SourceRange) -> ();
    get(blob: &BlobAddress, range: Option<Range<u64>>) -> Bytes;
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
        let status = self.faults.call("BlobStore.copy_status", self.port.copy_status(blob)).await?;
        Ok(self.faults.broken(status))
    }
});

lossy!(ImagePlane {
    get(id: &ManagedImageId, tenant: Option<&str>) -> Option<ManagedImage>;
    put(spec: &ManagedImageSpec) -> Underway;
    delete(id: &ManagedImageId, tenant: Option<&str>) -> Underway;
    poll(pending: &Pending) -> Underway;
} also {
    fn vhd_names(&self) -> VhdNames {
        self.port.vhd_names()
    }
});
