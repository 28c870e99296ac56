//! What a kind of operation implements.

use async_trait::async_trait;
use goldfleet_model::ids::Region;
use goldfleet_model::image::ManagedImageId;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;

use crate::context::Attempt;
use crate::outcome::{StepError, StepOutcome};

/// A kind of operation: how it runs, and what the rest of goldfleet shows and does with it.
///
/// The engine, status, dashboard, retry, verify and history use this trait only. None of them names a kind.
#[async_trait]
pub trait Kind: Send + Sync {
    /// The id in rows, metrics and JSON: see [`KindId`](goldfleet_model::operation::KindId).
    fn id(&self) -> &'static str;

    /// The newest version of the specification that this program reads. A row with a newer one is kept and shown, and never
    /// claimed.
    fn spec_version(&self) -> u16 {
        1
    }

    /// The queue that its operations are announced in. Kinds share three queues, each with its own rate: `seed` for
    /// transfers between regions, `copy` for transfers within a region, `image` for calls of Resource Manager.
    fn queue(&self) -> QueueName;

    /// What its operations accomplish, in a few words, for the dashboard: "Images made".
    fn title(&self) -> &'static str;

    /// What an operation produces, if that has a name: a store, an image.
    fn produces(&self, _operation: &Operation) -> Option<String> {
        None
    }

    /// Whether a target has what the job delivers when an operation of this kind is done there.
    fn delivers(&self) -> bool {
        false
    }

    /// Where the bytes of an operation come from and go to, if it transfers chunks.
    fn transfer(&self, _operation: &Operation) -> Option<Transfer> {
        None
    }

    /// The blob that an operation leaves behind and that nothing needs when the job has ended.
    fn temporary_blob(&self, _ports: &Ports, _operation: &Operation) -> Option<BlobAddress> {
        None
    }

    /// Whether a failure with this code means that the output of the operation before it in its group is gone, so that a
    /// retry has to begin there.
    fn lacks_input(&self, _code: &str) -> bool {
        false
    }

    /// What `verify` looks at for an operation that is done.
    fn verification(&self, _ports: &Ports, _operation: &Operation) -> Verification {
        Verification::Probe
    }

    /// Looks whether the effect of an operation is in place, and changes nothing.
    ///
    /// # Errors
    /// If the services refuse or cannot be reached.
    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe>;

    /// Runs an attempt. It can be repeated at any point: the successor of a killed worker runs it again.
    ///
    /// # Errors
    /// [`StepError`] if it was stopped or the attempt failed.
    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError>;
}

/// What a probe finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Nothing is in place.
    Absent,
    /// A part is in place, or a change is in progress.
    Underway,
    /// The effect is in place.
    Done,
    /// There is something of ours with other content.
    Stale,
    /// There is something that goldfleet did not make, or another image's. It is left alone.
    Foreign,
}

/// Where chunks come from and go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The store that is filled. None if the chunks go to a target.
    pub fills: Option<Store>,
    /// The stores that chunks are read from, the nearest first.
    pub from: Vec<Store>,
}

/// What `verify` looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// A store that should have every chunk.
    Store(Store),
    /// A VHD that should be complete. It may be gone once the target has what the job delivers.
    Vhd(BlobAddress),
    /// A managed image that should be made of the version.
    Image {
        /// The image.
        id: ManagedImageId,
        /// Its region.
        region: Region,
        /// The tenant of its subscription, if it differs from the credential's.
        tenant: Option<String>,
    },
    /// The kind's own probe should find its effect.
    Probe,
}
