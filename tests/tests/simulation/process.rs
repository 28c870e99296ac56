//! A process of the fleet. Its calls go through the fault injector, it can be frozen or killed at any time, and it has
//! a separate clock.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::OperationId;
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::Clock;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::{Pending, PutRequest};
use goldfleet_tests::intercept::{Call, Interceptor, intercepted};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::faults::{CallFate, FaultInjector};

/// A process of the fleet, or an operator's command.
pub(crate) struct Process {
    pub(crate) name: String,
    /// Asks it to stop.
    pub(crate) stop: CancellationToken,
    faults: Arc<FaultInjector>,
    life: Mutex<ProcessState>,
}

#[derive(Default)]
struct ProcessState {
    is_dead: bool,
    frozen: Option<Instant>,
}

impl Process {
    pub(crate) fn new(name: String, faults: &Arc<FaultInjector>) -> Arc<Self> {
        Arc::new(Self { name, stop: CancellationToken::new(), faults: Arc::clone(faults), life: Mutex::default() })
    }

    /// Kills the process. Requests that it has already sent still arrive.
    pub(crate) fn kill(&self) {
        self.faults.trace.line(format_args!("{} is killed", self.name));
        self.life.lock().unwrap().is_dead = true;
    }

    /// Asks it to stop. It takes the time that it needs.
    pub(crate) fn end(&self) {
        self.faults.trace.line(format_args!("{} is asked to stop", self.name));
        self.stop.cancel();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life.lock().unwrap().is_dead
    }

    /// Suspends the process for a while, without its knowledge.
    pub(crate) fn freeze(&self, time: Duration) {
        self.faults.trace.line(format_args!("{} is frozen for {time:?}", self.name));
        self.life.lock().unwrap().frozen = Some(Instant::now() + time);
    }

    /// Returns while the process runs. Never returns once it is killed.
    async fn runs(&self) {
        loop {
            let (is_dead, frozen) = {
                let life = self.life.lock().unwrap();
                (life.is_dead, life.frozen)
            };
            match frozen {
                _ if is_dead => std::future::pending().await,
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// The ports of this process, whose clock is `ahead` of the simulation's clock.
    pub(crate) fn ports(self: &Arc<Self>, ports: &Ports, ahead: SignedDuration) -> Ports {
        let clock = OwnClock { process: Arc::clone(self), clock: Arc::clone(&ports.clock), ahead };
        Ports { clock: Arc::new(clock), ..intercepted(ports, self) }
    }

    fn told<T>(&self, what: &str, about: &str, fate: &str, answer: &PortResult<T>) {
        let answer = answer.as_ref().map_or_else(|error| error.kind.as_str(), |_| "ok");
        self.faults.trace.line(format_args!("{} {what}{about}{fate}: {answer}", self.name));
    }
}

impl Interceptor for Process {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let fate = self.faults.fate(name, arguments);
        self.runs().await;
        if name == "Queue.receive"
            && let CallFate::Made(before, _) = fate
        {
            // Polls are not written to the trace.
            sleep(before).await;
            let answer = make.await;
            self.runs().await;
            return answer;
        }
        let about = about(arguments);
        // A request that was sent arrives, even if its sender is killed.
        let faults = Arc::clone(&self.faults);
        let send = |after: Duration| {
            faults.under_way.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                sleep(after).await;
                let answer = make.await;
                faults.under_way.fetch_sub(1, Ordering::Relaxed);
                answer
            })
        };
        let answer = match fate {
            CallFate::Made(before, after) => {
                let answer = send(before).await.unwrap();
                self.told(name, &about, "", &answer);
                sleep(after).await;
                answer
            }
            CallFate::Unanswered(before, after, error) => {
                drop(send(before));
                sleep(after).await;
                let answer = Err(error);
                self.told(name, &about, " (but made)", &answer);
                answer
            }
            CallFate::Refused(after, error) => {
                sleep(after).await;
                let answer = Err(error);
                self.told(name, &about, " (not made)", &answer);
                answer
            }
        };
        self.runs().await;
        answer
    }
}

/// A description of a call's arguments for the trace.
pub(crate) fn about(arguments: &[&(dyn Any + Sync)]) -> String {
    let mut about = String::new();
    for argument in arguments {
        let argument: &dyn Any = *argument;
        if let Some(blob) = argument.downcast_ref::<BlobAddress>() {
            let name = blob.name.get(..24).unwrap_or(&blob.name);
            about += &format!(" {}/{name}", blob.container);
        } else if let Some(container) = argument.downcast_ref::<Container>() {
            about += &format!(" {container}");
        } else if let Some(queue) = argument.downcast_ref::<QueueName>() {
            about += &format!(" {queue}");
        } else if let Some(id) = argument.downcast_ref::<OperationId>() {
            about += &format!(" {id}");
        } else if let Some(id) = argument.downcast_ref::<ResourceId>() {
            about += &format!(" {}", id.name);
        } else if let Some(request) = argument.downcast_ref::<PutRequest>() {
            about += &format!(" {}", request.id.name);
        } else if let Some(pending) = argument.downcast_ref::<Pending>() {
            about += &format!(" {}", pending.id.name);
        }
    }
    about
}

/// The clock of a process. Time passes while the process is frozen, but its sleeps end only when it runs again.
struct OwnClock {
    process: Arc<Process>,
    clock: Arc<dyn Clock>,
    ahead: SignedDuration,
}

#[async_trait]
impl Clock for OwnClock {
    fn now(&self) -> Timestamp {
        self.clock.now() + self.ahead
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
        self.process.runs().await;
    }
}
