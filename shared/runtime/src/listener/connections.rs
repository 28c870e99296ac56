//! The connections of a server, and which of them gives way to a new one.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::task::AbortHandle;

/// The open connections.
#[derive(Default)]
pub(super) struct Connections(Mutex<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    /// By the order in which they were accepted.
    open: BTreeMap<u64, Arc<ConnectionState>>,
}

#[derive(Default)]
struct ConnectionState {
    /// The number of requests whose response has not been sent completely.
    requests: AtomicUsize,
    task: OnceLock<AbortHandle>,
}

/// An open connection. It is closed when its last clone is dropped.
#[derive(Clone)]
pub(super) struct Connection(Arc<OpenConnection>);

struct OpenConnection {
    all: Arc<Connections>,
    id: u64,
    state: Arc<ConnectionState>,
}

impl Connections {
    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is consistent after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. If there are `most` already, the oldest one without a request is ended. None if each has one.
    pub(super) fn admit(self: &Arc<Self>, most: usize) -> Option<Connection> {
        let mut table = self.table();
        if table.open.len() >= most {
            let idle = table.open.iter().find(|(_, state)| state.requests.load(Ordering::Relaxed) == 0);
            let (&id, state) = idle?;
            if let Some(task) = state.task.get() {
                task.abort();
            }
            table.open.remove(&id);
        }
        let (id, state) = (table.next, Arc::<ConnectionState>::default());
        table.next += 1;
        table.open.insert(id, Arc::clone(&state));
        Some(Connection(Arc::new(OpenConnection { all: Arc::clone(self), id, state })))
    }
}

impl Connection {
    /// Names the task that serves the connection.
    pub(super) fn set_task(&self, task: AbortHandle) {
        // It is set once, by the loop that accepts connections.
        let _ = self.0.state.task.set(task);
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn begin_request(&self) -> RequestGuard {
        self.0.state.requests.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(&self.0.state))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.all.table().open.remove(&self.id);
    }
}

/// A request whose response has not been sent completely.
pub(super) struct RequestGuard(Arc<ConnectionState>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a response. The request counts until it is sent.
pub(super) struct InUse {
    body: Body,
    _request: RequestGuard,
}

impl InUse {
    pub(super) fn new(body: Body, request: RequestGuard) -> Self {
        Self { body, _request: request }
    }
}

impl HttpBody for InUse {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
