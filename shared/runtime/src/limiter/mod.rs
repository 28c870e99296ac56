//! The concurrency limiter: the number of requests in flight, in total and per storage account.
//!
//! The limit of an account adapts: it grows while requests succeed as fast as before, and falls when the account
//! throttles (503, 429, no answer in time). Waiting callers are served in the order of their calls, so no operation
//! starves another. While an account demands a pause (Retry-After), no request is sent to it: callers wait for the end
//! of a short pause, and get an error in a long one, so that they can do other work.

mod adaptive_limit;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_model::ids::AccountName;
use goldfleet_ports::clock::{Clock, after, elapsed};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::timeout::MAX_WAIT_IN_PLACE;
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use adaptive_limit::AdaptiveLimit;

/// The initial limit of an account.
const INITIAL_LIMIT: usize = 16;

/// The number of accounts from which idle ones are forgotten: a job can have one account for each of 50,000 targets.
const MAX_ACCOUNTS: usize = 1024;

/// Admits requests that move data. Clones share the limits.
#[derive(Clone)]
pub struct ConcurrencyLimiter {
    clock: Arc<dyn Clock>,
    requests: usize,
    total: Arc<Semaphore>,
    accounts: Arc<Mutex<HashMap<AccountName, Arc<AccountLimiter>>>>,
}

impl std::fmt::Debug for ConcurrencyLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConcurrencyLimiter").field("requests", &self.requests).finish_non_exhaustive()
    }
}

/// The state of an account: its limit, and the requests in flight and waiting.
struct AccountLimiter {
    state: Mutex<AccountState>,
    /// Notified when another request may be admitted. The longest waiting caller is woken.
    freed: Notify,
}

struct AccountState {
    pace: AdaptiveLimit,
    in_flight: usize,
    /// When a pause began, and when it ends.
    pause: Option<(Timestamp, Timestamp)>,
}

impl AccountState {
    fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_until(now).is_some()
    }

    /// When the present pause ends. A pause that has not begun yet has ended: the clock was set back.
    fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.pause.filter(|(since, until)| *since <= now && now < *until).map(|(_, until)| until)
    }
}

impl AccountLimiter {
    fn state(&self) -> MutexGuard<'_, AccountState> {
        // Code that holds the lock does not panic except for bugs, and even then the counters are consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The permission to have one request in flight. It ends when it is dropped.
pub struct Permit {
    account: Arc<AccountLimiter>,
    clock: Arc<dyn Clock>,
    begun: Timestamp,
    _one_of_all: Option<OwnedSemaphorePermit>,
}

impl ConcurrencyLimiter {
    /// Creates a limiter that admits at most `requests` at once in this process.
    #[must_use]
    pub fn new(requests: usize, clock: Arc<dyn Clock>) -> Self {
        let requests = requests.max(1);
        Self { clock, requests, total: Arc::new(Semaphore::new(requests)), accounts: Arc::default() }
    }

    /// Waits for the permission to send a request to `account`.
    ///
    /// # Errors
    /// `Throttled`, with the rest of the pause, if the account demands a pause of more than [`MAX_WAIT_IN_PLACE`].
    pub async fn acquire(&self, account: &AccountName) -> PortResult<Permit> {
        let name = account;
        let account = self.account(account);
        if let Err(pause) = self.enter(&account).await {
            let message = format!("the account {name} asks to wait (Retry-After)");
            return Err(PortError::new(ErrorKind::Throttled, message).with_code("server-busy").with_retry_after(pause));
        }
        // From here on the slot is released even if this future is dropped.
        let mut permit = Permit { account, clock: Arc::clone(&self.clock), begun: self.clock.now(), _one_of_all: None };
        // The semaphore is never closed.
        permit._one_of_all = Arc::clone(&self.total).acquire_owned().await.ok();
        permit.begun = self.clock.now();
        Ok(permit)
    }

    /// As [`ConcurrencyLimiter::acquire`], but waits until the end of any pause.
    pub async fn acquire_patiently(&self, account: &AccountName) -> Permit {
        loop {
            match self.acquire(account).await {
                Ok(permit) => return permit,
                Err(error) => self.clock.sleep(error.retry_after.unwrap_or(MAX_WAIT_IN_PLACE)).await,
            }
        }
    }

    /// The present limit of requests in flight for an account.
    #[must_use]
    pub fn limit(&self, account: &AccountName) -> usize {
        self.account(account).state().pace.limit()
    }

    fn account(&self, account: &AccountName) -> Arc<AccountLimiter> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= MAX_ACCOUNTS && !accounts.contains_key(account) {
            let now = self.clock.now();
            // The other references belong to permits, and to callers that wait for one.
            accounts.retain(|_, known| Arc::strong_count(known) > 1 || known.state().is_paused(now));
        }
        let fresh = || {
            let gate =
                AccountState { pace: AdaptiveLimit::new(INITIAL_LIMIT, self.requests), in_flight: 0, pause: None };
            Arc::new(AccountLimiter { state: Mutex::new(gate), freed: Notify::new() })
        };
        Arc::clone(accounts.entry(account.clone()).or_insert_with(fresh))
    }

    /// Waits for a slot of an account. The error is the rest of a pause that is too long to wait for.
    async fn enter(&self, account: &AccountLimiter) -> Result<(), Duration> {
        loop {
            // The notification is registered before the check, so that a slot that is released in between is not
            // missed.
            let freed = account.freed.notified();
            let now = self.clock.now();
            let pause = {
                let mut gate = account.state();
                match gate.paused_until(now) {
                    Some(until) => Some(until),
                    None if gate.in_flight < gate.pace.limit() => {
                        gate.in_flight += 1;
                        return Ok(());
                    }
                    None => None,
                }
            };
            match pause.map(|until| elapsed(now, until)) {
                Some(pause) if pause > MAX_WAIT_IN_PLACE => return Err(pause),
                Some(pause) => self.clock.sleep(pause).await,
                None => freed.await,
            }
        }
    }
}

impl Permit {
    /// Reports the result of the request, from which the account's limit is adapted. If a permit is dropped without a
    /// result, for example because the request was abandoned, the limit does not change.
    pub fn record_result<T>(self, result: &PortResult<T>) {
        let now = self.clock.now();
        let mut gate = self.account.state();
        let in_flight = gate.in_flight;
        match result {
            Ok(_) => gate.pace.on_success(self.begun, now, in_flight),
            Err(error) if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable) => {
                gate.pace.on_throttled(self.begun, now);
                if let Some(wait) = error.retry_after {
                    let until = after(now, wait);
                    let until = gate.paused_until(now).map_or(until, |earlier| earlier.max(until));
                    gate.pause = Some((now, until));
                }
            }
            // The account answered. The error is unrelated to the number of requests.
            Err(_) => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let free = {
            let mut gate = self.account.state();
            gate.in_flight -= 1;
            gate.pace.limit().saturating_sub(gate.in_flight)
        };
        // If the limit has grown, two requests can be admitted in place of this one.
        for _ in 0..free.min(2) {
            self.account.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use goldfleet_ports::clock::TokioClock;

    use super::*;

    fn limiter(requests: usize) -> ConcurrencyLimiter {
        ConcurrencyLimiter::new(requests, Arc::new(TokioClock::starting_at(Timestamp::UNIX_EPOCH)))
    }

    fn account(name: &str) -> AccountName {
        name.parse().unwrap()
    }

    fn busy(wait: u64) -> PortResult<()> {
        Err(PortError::new(ErrorKind::Throttled, "busy").with_retry_after(Duration::from_secs(wait)))
    }

    /// Sends `count` requests to an account that accepts `capacity` at once and needs 100 ms for each. Returns how many
    /// it refused.
    async fn send(limiter: &ConcurrencyLimiter, name: &str, count: usize, capacity: usize) -> usize {
        let (inside, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..count {
            let (limiter, account) = (limiter.clone(), account(name));
            let (inside, refused) = (Arc::clone(&inside), Arc::clone(&refused));
            tasks.spawn(async move {
                loop {
                    let permit = limiter.acquire(&account).await.unwrap();
                    let others = inside.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    if others < capacity {
                        permit.record_result(&PortResult::Ok(()));
                        return;
                    }
                    refused.fetch_add(1, Ordering::SeqCst);
                    permit.record_result(&busy(0));
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        refused.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn all_requests_complete_with_few_throttled() {
        let limiter = limiter(512);
        let begun = tokio::time::Instant::now();
        let refused = send(&limiter, "stage", 5_000, 40).await;
        let seconds = begun.elapsed().as_secs_f64();
        assert!(refused < 500, "{refused} refused");
        // 5,000 requests of 100 ms, 40 at once: at least 12.5 s.
        assert!(seconds < 17.0, "{seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn process_limit_is_enforced() {
        let limiter = limiter(3);
        let begun = tokio::time::Instant::now();
        assert_eq!(send(&limiter, "stage", 30, 100).await, 0);
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_pauses_only_its_account() {
        let limiter = limiter(64);
        let begun = tokio::time::Instant::now();
        limiter.acquire(&account("tired")).await.unwrap().record_result(&busy(4));
        drop(limiter.acquire(&account("fresh")).await.unwrap());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(limiter.acquire(&account("tired")).await.unwrap());
        assert_eq!(begun.elapsed(), Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn long_pause_is_an_error_with_its_rest() {
        let limiter = limiter(64);
        limiter.acquire(&account("tired")).await.unwrap().record_result(&busy(600));
        tokio::time::sleep(Duration::from_secs(100)).await;
        let error = limiter.acquire(&account("tired")).await.err().unwrap();
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Throttled, Some(Duration::from_secs(500))));
        tokio::time::sleep(Duration::from_secs(496)).await;
        drop(limiter.acquire(&account("tired")).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_permit_is_released() {
        let limiter = limiter(1);
        for _ in 0..3 {
            let waiting = tokio::time::timeout(Duration::from_millis(1), async {
                let _first = limiter.acquire(&account("stage")).await.unwrap();
                let _second = limiter.acquire(&account("stage")).await.unwrap();
            });
            assert!(waiting.await.is_err(), "a limit of one admitted two");
        }
        drop(limiter.acquire(&account("stage")).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_accounts_are_forgotten() {
        let limiter = limiter(64);
        limiter.acquire(&account("tired")).await.unwrap().record_result(&busy(9));
        let _in_flight = limiter.acquire(&account("used")).await.unwrap();
        for n in 0..5 * MAX_ACCOUNTS {
            drop(limiter.acquire(&account(&format!("stage{n}"))).await.unwrap());
        }
        let known = limiter.accounts.lock().unwrap();
        assert!(known.len() <= MAX_ACCOUNTS, "{}", known.len());
        assert!(known.contains_key(&account("tired")) && known.contains_key(&account("used")));
    }
}
