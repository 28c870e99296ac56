//! What goes wrong, and what else happens, while chunks are collected.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::BlobPage;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_tests::intercept::{Call, Interceptor};

/// What goes wrong with the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request fails.
    Fails,
    /// A list's first page comes, and no further one.
    CutOff,
    /// A table or a list is answered late: what happens meanwhile is not in it.
    Late,
}

/// Counts the calls of a collection, lets things happen before them, and has one go wrong.
pub(crate) struct Interference {
    calls: AtomicUsize,
    fault: Option<(usize, Fault)>,
    /// What happens before the call of this number.
    steps: Mutex<Vec<(usize, BoxFuture<'static, ()>)>>,
    /// The calls that a fault befell.
    hit: AtomicUsize,
    /// The stores a list of which is cut off from now on.
    cut_off: Mutex<BTreeSet<String>>,
}

impl Interference {
    pub(crate) fn new(fault: Option<(usize, Fault)>, steps: Vec<(usize, BoxFuture<'static, ()>)>) -> Self {
        let (calls, hit) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { calls, fault, steps: Mutex::new(steps), hit, cut_off: Mutex::default() }
    }

    /// Whether a request has failed.
    pub(crate) fn has_hit(&self) -> bool {
        self.hit.load(Ordering::SeqCst) > 0
    }

    pub(crate) async fn steps_before(&self, call: usize) {
        loop {
            let next = {
                let mut steps = self.steps.lock().unwrap();
                if steps.first().is_some_and(|(at, _)| *at <= call) { Some(steps.remove(0).1) } else { None }
            };
            match next {
                Some(step) => step.await,
                None => return,
            }
        }
    }
}

impl Interceptor for Interference {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let gone = || PortError::new(ErrorKind::Unavailable, format!("{name}: lost by the test"));
        let listed = (name == "BlobStore.list").then(|| {
            let of = |argument: &&(dyn Any + Sync)| (*argument as &dyn Any).downcast_ref::<Container>().cloned();
            arguments.iter().find_map(of).unwrap().to_string()
        });
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = self.fault.filter(|(at, _)| *at == call).map(|(_, fault)| fault);
        let late = fault == Some(Fault::Late);
        if !late {
            self.steps_before(call).await;
        }
        if let Some(store) = &listed
            && self.cut_off.lock().unwrap().contains(store)
        {
            return Err(gone());
        }
        match fault {
            Some(Fault::Fails) => {
                self.hit.fetch_add(1, Ordering::SeqCst);
                Err(gone())
            }
            Some(Fault::CutOff) => {
                let mut answer = make.await?;
                if let (Some(store), Some(page)) = (listed, (&mut answer as &mut dyn Any).downcast_mut::<BlobPage>()) {
                    self.hit.fetch_add(1, Ordering::SeqCst);
                    page.blobs.truncate(page.blobs.len() / 2);
                    page.next = Some("more".to_owned());
                    self.cut_off.lock().unwrap().insert(store);
                }
                Ok(answer)
            }
            Some(Fault::Late) => {
                let answer = make.await;
                self.steps_before(call).await;
                answer
            }
            None => make.await,
        }
    }
}
