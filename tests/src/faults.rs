//! Ports that fail at a chosen call: before its effect, like a lost request, or after it, like a lost response. They
//! can also run other code at that call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::{CopyState, CopyStatus};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use tokio::sync::Notify;

use crate::intercept::{Call, Interceptor, intercepted};

/// Which part of a call is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostPart {
    /// The request: it has no effect.
    Request,
    /// The response: the call has its effect, but the caller gets an error.
    Answer,
    /// The caller: the call has its effect, and the caller does nothing afterwards, like a killed process.
    Caller,
}

/// The code to run before a chosen call, until it has run.
struct Hook {
    name: &'static str,
    nth: usize,
    what: BoxFuture<'static, ()>,
}

/// Counts calls by name. At one of them, it injects a failure, delays the response, or runs other code first.
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
    /// Only counts calls.
    #[must_use]
    pub fn counting() -> Arc<Self> {
        Arc::default()
    }

    /// Fails the `nth` call (from 0) of `name`.
    #[must_use]
    pub fn failing_at(name: &'static str, nth: usize, lost: LostPart) -> Arc<Self> {
        Arc::new(Self { failing: Some((name, nth, lost)), ..Self::default() })
    }

    /// Runs `meanwhile` between the effect of the first call of `name` and its response.
    #[must_use]
    pub fn late(name: &'static str, meanwhile: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        Arc::new(Self { late: Mutex::new(Some((name, Box::pin(meanwhile)))), ..Self::default() })
    }

    /// Reports the first copy inside an account as failed, and runs `what` before the `nth` call (from 0) of `name`.
    #[must_use]
    pub fn broken_copy(name: &'static str, nth: usize, what: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        let faults = Self::before(name, nth, what);
        faults.broken_copy.store(true, Ordering::SeqCst);
        faults
    }

    /// Runs `what` before the `nth` call (from 0) of `name`.
    #[must_use]
    pub fn before(name: &'static str, nth: usize, what: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        let before = Mutex::new(Some(Hook { name, nth, what: Box::pin(what) }));
        Arc::new(Self { before, ..Self::default() })
    }

    /// Waits for the call whose caller is lost.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// The number of calls by name.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<&'static str, usize> {
        self.calls.lock().unwrap().clone()
    }

    /// Whether the chosen call was made.
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
                // The result is not used, because the caller is lost.
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

    /// The status of a copy as the service reports it, or failed.
    fn copy_status(&self, status: Option<CopyStatus>) -> Option<CopyStatus> {
        if !self.broken_copy.swap(false, Ordering::SeqCst) {
            return status;
        }
        Some(CopyStatus { id: "broken".to_owned(), state: CopyState::Failed("broken by the test".to_owned()) })
    }
}

/// Wraps the ports so that calls can be lost.
#[must_use]
pub fn with_faults(ports: &Ports, faults: &Arc<Faults>) -> Ports {
    intercepted(ports, faults)
}
