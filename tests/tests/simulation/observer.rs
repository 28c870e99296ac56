//! Observes every effect when it happens, with the process that caused it, and records it in the reference model.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use goldfleet_model::event::Event;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::Job;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::job_table::Change;
use goldfleet_ports::resources::PutRequest;
use goldfleet_tests::intercept::{Call, Interceptor};

use crate::reference_model::ReferenceModel;

/// The wrapper that is closest to the services.
pub(crate) struct Observer {
    /// The process that makes the calls.
    pub(crate) process: String,
    pub(crate) reference: Arc<ReferenceModel>,
}

impl Interceptor for Observer {
    async fn call<T: Send + 'static>(&self, Call { name, arguments, make }: Call<'_, T>) -> PortResult<T> {
        let effect = Effect::of(name, arguments);
        let answer = make.await;
        if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Fenced) {
            self.reference.faults.trace.line(format_args!("{} is fenced", self.process));
        }
        // Services answer at the same virtual time, so nothing else has happened since the effect.
        if let (Some(effect), Ok(answer)) = (effect, &answer) {
            let answer: &dyn Any = answer;
            self.reference.record_effect(&self.process, effect, answer.downcast_ref::<bool>().copied());
        }
        answer
    }
}

/// The change that a call makes.
pub(crate) enum Effect {
    Jobs(Box<Job>, Vec<Event>),
    Inserted(Vec<Operation>),
    /// Rows of earlier planning attempts were removed.
    Replanned(JobId, u32),
    Changed(Vec<Change>, Vec<Event>),
    Written(BlobAddress, Option<Bytes>),
    Deleted(BlobAddress),
    ImagePut(Box<PutRequest>),
    ImageDeleted(ResourceId),
}

impl Effect {
    fn of(name: &str, arguments: &[&(dyn Any + Sync)]) -> Option<Self> {
        let argument = Arguments(arguments);
        Some(match name {
            "JobTable.insert_job" => Self::Jobs(Box::new(argument.get()?), Vec::new()),
            "JobTable.commit_job" => Self::Jobs(Box::new(argument.get()?), argument.get()?),
            "JobTable.insert_operations" => Self::Inserted(argument.get()?),
            "JobTable.remove_earlier_plans" => Self::Replanned(argument.get()?, argument.get()?),
            "JobTable.commit" => Self::Changed(argument.get()?, argument.get()?),
            "BlobStore.put_blob" | "BlobStore.put_blob_from" => Self::Written(argument.get()?, argument.get()),
            "BlobStore.delete" => Self::Deleted(argument.get()?),
            "ResourceService.put" => Self::ImagePut(Box::new(argument.get()?)),
            "ResourceService.delete" => Self::ImageDeleted(argument.get()?),
            _ => return None,
        })
    }
}

/// The arguments of a call.
struct Arguments<'a>(&'a [&'a (dyn Any + Sync)]);

impl Arguments<'_> {
    /// The first argument of a type.
    fn get<T: Any + Clone>(&self) -> Option<T> {
        self.0.iter().find_map(|argument| {
            let argument: &dyn Any = *argument;
            argument.downcast_ref::<T>().cloned()
        })
    }
}
