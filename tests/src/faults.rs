//! Ports that fail at a chosen call: before its effect, as when a request is lost, or after it, as when the answer is; or
//! that have something else happen first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::{CopyState, CopyStatus};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use tokio::sync::Notify;

use crate::intercept::{Call, Interceptor, intercepted};

/// Which half of a call is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostPart {
    /// The request: nothing happens.
    Request,
    /// The answer: the effect is there, and the caller does not know.
    Answer,
    /// The caller: the effect is there, and nothing comes after it, as when a process is killed.
    Caller,
}

/// What happens before a chosen call has its effect, until it has happened.
struct Hook {
    name: &'static str,
    nth: usize,
    what: BoxFuture<'static, ()>,
}

/// Counts calls by name, and makes one of them fail, its answer come late, or something else come before it.
#[derive(Default)]
pub struct Faults {
    failing: Option<(&'static str, usize, LostPart)>,
    late: Mutex<Option<(&'static str, BoxFuture<'static, ()>)>>,
    before: Mutex<Option<Hook>>,
    broken_copy: AtomicBool,
    calls: Mutex<BTreeMap<&'static str, usize>>,
    hit: AtomicUsize,
    reached: Notify,
}

impl Faults {
    /// Fails nothing, and counts.
    #[must_use]
    pub fn counting() -> Arc<Self> {
        Arc::default()
    }

    /// Fails the `nth` call (from 0) of `name`.
    #[must_use]
    pub fn failing_at(name: &'static str, nth: usize, lost: LostPart) -> Arc<Self> {
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
        let before = Mutex::new(Some(Hook { name, nth, what: Box::pin(what) }));
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

    async fn lossy<T>(&self, name: &'static str, call: BoxFuture<'static, PortResult<T>>) -> PortResult<T> {
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
            Some(LostPart::Request) => Err(gone()),
            Some(LostPart::Answer) => call.await.and_then(|_| Err(gone())),
            Some(LostPart::Caller) => {
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
}

impl Interceptor for Faults {
    async fn call<T: Send + 'static>(&self, Call { name, make, .. }: Call<'_, T>) -> PortResult<T> {
        self.lossy(name, make).await
    }

    /// What a service says of a copy, or that it failed.
    fn copy_status(&self, status: Option<CopyStatus>) -> Option<CopyStatus> {
        if !self.broken_copy.swap(false, Ordering::SeqCst) {
            return status;
        }
        Some(CopyStatus { id: "broken".to_owned(), state: CopyState::Failed("broken by the test".to_owned()) })
    }
}

/// The same ports, with calls that can get lost.
#[must_use]
pub fn with_faults(ports: &Ports, faults: &Arc<Faults>) -> Ports {
    intercepted(ports, faults)
}
