//! The interface of a kind of operation.

use async_trait::async_trait;
use goldfleet_model::artifact::{DiskRef, DiskRole};
use goldfleet_model::ids::Region;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;

use crate::context::Attempt;
use crate::outcome::{StepError, StepOutcome};

/// A kind of operation: how it runs, and how the other parts of goldfleet show and use it.
///
/// The engine, status, dashboard, retry, verify and history use only this trait. None of them names a kind.
#[async_trait]
pub trait Kind: Send + Sync {
    /// The id in rows, metrics and JSON: see [`KindId`](goldfleet_model::operation::KindId).
    fn id(&self) -> &'static str;

    /// The newest version of the specification that this program supports. A row with a newer version is kept and
    /// shown, but not claimed.
    fn spec_version(&self) -> u16 {
        1
    }

    /// The queue for messages of this kind. Kinds share three queues, each with its own rate: `seed` for transfers
    /// between regions, `copy` for transfers within a region, `image` for calls of Resource Manager.
    fn queue(&self) -> QueueName;

    /// The title on the dashboard: a few words about what the operations accomplish, for example "Images made".
    fn title(&self) -> &'static str;

    /// The name of an operation's product, if it has one: a store, an image.
    fn produces(&self, _operation: &Operation) -> Option<String> {
        None
    }

    /// Whether a target has what the job delivers once an operation of this kind is done there.
    fn delivers(&self) -> bool {
        false
    }

    /// As [`Kind::delivers`], for one operation. A kind whose operations also create temporaries distinguishes them.
    fn is_delivery(&self, _operation: &Operation) -> bool {
        self.delivers()
    }

    /// The source and destination of an operation's bytes, if it transfers chunks.
    fn transfer(&self, _operation: &Operation) -> Option<Transfer> {
        None
    }

    /// The disk of the version that an operation transfers. None if it transfers no single disk.
    fn disk(&self, _operation: &Operation) -> Option<DiskRole> {
        None
    }

    /// The blob that an operation creates and that is no longer needed after the job has ended.
    fn temporary_blob(&self, _ports: &Ports, _operation: &Operation) -> Option<TemporaryBlob> {
        None
    }

    /// Whether an operation creates a resource that a later operation of its group deletes. A retry of an operation
    /// between them creates it again.
    fn creates_temporary(&self, _operation: &Operation) -> bool {
        false
    }

    /// Whether a failure with this code means that the output of the previous operation in the group no longer exists,
    /// so that a retry must start with that operation.
    fn lacks_input(&self, _code: &str) -> bool {
        false
    }

    /// The action of an operation that succeeded, and the reason, if its state does not show them: for example, what
    /// was deleted. The log of the job and its status contain it.
    fn remark(&self, _operation: &Operation) -> Option<String> {
        None
    }

    /// The text about an operation in the status: its remark. Some kinds also give the states of the parts of their
    /// effect while the operation runs and after it failed.
    fn report(&self, operation: &Operation) -> Option<String> {
        operation.state.is_done().then(|| self.remark(operation))?
    }

    /// What `verify` checks for an operation that is done.
    fn verification(&self, _ports: &Ports, _operation: &Operation) -> Verification {
        Verification::Probe
    }

    /// Checks whether the effect of an operation is in place. Changes nothing.
    ///
    /// # Errors
    /// If the services refuse the requests or cannot be reached.
    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe>;

    /// Runs an attempt. It must be repeatable after an interruption at any point: after a worker is killed, another
    /// worker runs it again.
    ///
    /// # Errors
    /// [`StepError`] if it was stopped or the attempt failed.
    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError>;
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Nothing exists.
    Absent,
    /// A part exists, or a change is in progress.
    Underway,
    /// The effect is in place.
    Done,
    /// Something exists that goldfleet created with other content.
    Stale,
    /// Something exists that goldfleet did not create, or that belongs to another image. It is not changed.
    Foreign,
}

/// The source and destination of chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The store that is filled. None if the chunks go to a target.
    pub fills: Option<Store>,
    /// The stores that chunks are read from, nearest first.
    pub from: Vec<Store>,
}

/// A blob that an operation creates and that is no longer needed after the job has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporaryBlob {
    /// Its address.
    pub blob: BlobAddress,
    /// The disk that it contains.
    pub disk: DiskRef,
}

/// What `verify` checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// A store that should have every chunk.
    Store(Store),
    /// A VHD that should be complete. It may be deleted once the target has what the job delivers.
    Vhd(TemporaryBlob),
    /// A managed image that should contain the version.
    Image {
        /// The image.
        id: ResourceId,
        /// The region of the image.
        region: Region,
        /// The tenant of its subscription, if it differs from the tenant of the credential.
        tenant: Option<String>,
    },
    /// The probe of the kind, which should find its effect.
    Probe,
}
