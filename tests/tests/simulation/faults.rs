//! Faults between a process and the services.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_model::ids::AccountName;
use goldfleet_ports::blob_store::SourceRange;
use goldfleet_ports::error::{ErrorKind, PortError};
use tokio::time::Instant;

use crate::rng::SimRng;
use crate::trace::Trace;

/// The rate of each fault, as a share of all calls.
#[derive(Debug)]
pub(crate) struct Rates {
    /// The maximum latency of a request and of its response, in milliseconds.
    pub(crate) latency: u64,
    /// A request is lost.
    pub(crate) lost_request: f64,
    /// The response of a request that had its effect is lost.
    pub(crate) lost_answer: f64,
    /// A request is throttled, with a time to wait.
    pub(crate) throttled: f64,
    /// A request takes so long that leases and visibility timeouts may expire.
    pub(crate) late: f64,
    /// A request takes so long that its caller abandons it. It still has its effect later.
    pub(crate) given_up: f64,
    /// Resource Manager is busy with the resource.
    pub(crate) conflict: f64,
    /// Only some of the operations of a batch are inserted.
    pub(crate) insert_cut: f64,
    /// A message is lost.
    pub(crate) message_lost: f64,
    /// A message is duplicated.
    pub(crate) message_doubled: f64,
    /// A received message becomes visible again at once.
    pub(crate) message_again: f64,
}

impl Rates {
    pub(crate) fn draw(rng: &SimRng) -> Self {
        Self {
            latency: *rng.pick(&[5, 20, 100, 500, 2000]).unwrap(),
            lost_request: rng.rate(0.12),
            lost_answer: rng.rate(0.12),
            throttled: rng.rate(0.06),
            late: rng.rate(0.03),
            given_up: rng.rate(0.05),
            conflict: rng.rate(0.20),
            insert_cut: rng.rate(0.15),
            message_lost: rng.rate(0.20),
            message_doubled: rng.rate(0.20),
            message_again: rng.rate(0.10),
        }
    }
}

/// A fault of a store that services read from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StoreFault {
    /// It does not answer.
    Silent,
    /// Every request takes this long.
    Slow(Duration),
}

/// What happens to a call.
#[derive(Debug)]
pub(crate) enum CallFate {
    /// It is made after the first time, and answered after the second.
    Made(Duration, Duration),
    /// It is made after the first time. After the second, the caller gets an error.
    Unanswered(Duration, Duration, PortError),
    /// It is not made.
    Refused(Duration, PortError),
}

/// The state that all parts of a simulation share.
pub(crate) struct FaultInjector {
    pub(crate) rng: SimRng,
    pub(crate) rates: Rates,
    pub(crate) trace: Trace,
    on: AtomicBool,
    /// The number of calls that were sent and have not arrived.
    pub(crate) under_way: AtomicUsize,
    troubles: Mutex<BTreeMap<AccountName, (StoreFault, Instant)>>,
}

impl FaultInjector {
    pub(crate) fn new(rng: SimRng, trace: Trace) -> Arc<Self> {
        let rates = Rates::draw(&rng);
        Arc::new(Self {
            rng,
            rates,
            trace,
            on: AtomicBool::new(true),
            under_way: AtomicUsize::new(0),
            troubles: Mutex::default(),
        })
    }

    /// Ends all faults, except for calls that are already sent.
    pub(crate) fn end(&self) {
        self.on.store(false, Ordering::Relaxed);
        self.troubles.lock().unwrap().clear();
    }

    /// Whether to inject a fault with this rate.
    pub(crate) fn should_inject(&self, rate: f64) -> bool {
        self.rng.chance(rate) && self.is_active()
    }

    /// Whether faults are active.
    pub(crate) fn is_active(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Makes a store faulty for a while.
    pub(crate) fn trouble(&self, account: &AccountName, trouble: StoreFault, time: Duration) {
        self.trace.line(format_args!("{account} is in trouble for {time:?}: {trouble:?}"));
        self.troubles.lock().unwrap().insert(account.clone(), (trouble, Instant::now() + time));
    }

    /// Decides what happens to a call.
    pub(crate) fn fate(&self, name: &str, arguments: &[&(dyn Any + Sync)]) -> CallFate {
        // When faults have ended, latencies are low.
        let latency = if self.is_active() { self.rates.latency } else { 5 };
        let (before, after) = (self.rng.millis(0..latency), self.rng.millis(0..latency));
        let (rates, unavailable) = (&self.rates, |what| PortError::new(ErrorKind::Unavailable, what));
        if let Some(trouble) = self.store_fault(arguments) {
            return match trouble {
                StoreFault::Silent => {
                    CallFate::Refused(Duration::from_secs(60), unavailable("the source says nothing"))
                }
                StoreFault::Slow(time) => CallFate::Made(before + time, after),
            };
        }
        if self.should_inject(rates.lost_request) {
            return CallFate::Refused(self.rng.millis(0..3000), unavailable("the request was lost"));
        }
        if self.should_inject(rates.lost_answer) {
            return CallFate::Unanswered(before, self.rng.millis(0..3000), unavailable("the answer was lost"));
        }
        if self.should_inject(rates.throttled) {
            let busy = PortError::new(ErrorKind::Throttled, "too many requests");
            return CallFate::Refused(before, busy.with_retry_after(self.rng.seconds(1..20)));
        }
        if self.should_inject(rates.late) {
            return CallFate::Made(self.rng.seconds(1..240), after);
        }
        if self.should_inject(rates.given_up) {
            let (arrives, given_up) = (self.rng.seconds(1..400), self.rng.seconds(1..60));
            return CallFate::Unanswered(arrives, given_up, unavailable("the request was given up"));
        }
        if name.starts_with("ResourceService.") && self.should_inject(rates.conflict) {
            return CallFate::Refused(before, PortError::new(ErrorKind::Conflict, "another request changes the image"));
        }
        CallFate::Made(before, after)
    }

    /// The fault of the store from which a call makes a service read.
    fn store_fault(&self, arguments: &[&(dyn Any + Sync)]) -> Option<StoreFault> {
        let range = arguments.iter().find_map(|argument| {
            let argument: &dyn Any = *argument;
            argument.downcast_ref::<SourceRange>()
        })?;
        let troubles = self.troubles.lock().unwrap();
        let (trouble, until) = troubles.get(&range.blob.container.account)?;
        (Instant::now() < *until).then_some(*trouble)
    }
}
