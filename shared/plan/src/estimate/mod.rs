//! The cost and the time of a rollout according to the rates, for a plan and for the alternatives without a plan.
//!
//! The time is the time of the image plus the longest time that any limit on the transfer needs. Chunks are forwarded
//! as they arrive, so the times of successive limits do not add up. The estimate is a lower bound: latency, throttling
//! and retries add to it.

mod baselines;
mod cost;
mod loads;

use std::fmt;
use std::time::Duration;

use goldfleet_model::ids::{AccountName, Region};
use goldfleet_rates::Money;
use serde::Serialize;

pub use baselines::{pre_copies, star};
pub(super) use cost::of_plan as cost_of_plan;
pub(super) use loads::{AccountLocation, Loads};

/// The cost and the time of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The bytes that cross between regions.
    pub wan_bytes: u128,
    /// The cost.
    pub cost: Cost,
    /// The time.
    pub time: Time,
}

/// The parts of a cost, in US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Egress between regions.
    pub egress: Money,
    /// Requests to blobs.
    pub requests: Money,
    /// Chunks and VHDs for the assumed number of days. It excludes the data that the source stores in any case.
    pub storage: Money,
}

impl Cost {
    /// The sum of all parts.
    #[must_use]
    pub fn total(&self) -> Money {
        self.egress + self.requests + self.storage
    }
}

/// A time, and the limit that determines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// The time from the first request to the last image.
    pub total: Duration,
    /// The binding limit: the one that takes longest.
    pub binds: Limit,
    /// The time that this limit alone needs.
    pub binds_for: Duration,
    /// The part of the total in which the image is created.
    pub image: Duration,
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut time = serializer.serialize_struct("Time", 5)?;
        time.serialize_field("seconds", &self.total.as_secs_f64())?;
        time.serialize_field("image_seconds", &self.image.as_secs_f64())?;
        time.serialize_field("limit", &self.binds)?;
        time.serialize_field("limit_in_words", &self.binds.to_string())?;
        time.serialize_field("limit_seconds", &self.binds_for.as_secs_f64())?;
        time.end()
    }
}

/// A limit of throughput or request rate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Limit {
    /// The rate at which one page blob is written.
    PageBlob,
    /// The requests per second to one page blob.
    PageBlobRequests,
    /// The rate at which the single source page blob is read.
    SourceBlob,
    /// The requests per second to the single source page blob.
    SourceBlobRequests,
    /// The requests per second to a chunk in a store.
    ChunkRequests,
    /// The copies in the source account, one after the other.
    PreCopies,
    /// The connection between two regions.
    Wan {
        /// The region that sends.
        from: Region,
        /// The region that receives.
        to: Region,
    },
    /// The egress rate of an account.
    Egress {
        /// The account.
        account: AccountName,
    },
    /// The ingress rate of an account.
    Ingress {
        /// The account.
        account: AccountName,
    },
    /// The requests per second to an account.
    AccountRequests {
        /// The account.
        account: AccountName,
    },
    /// The writes to Resource Manager in one subscription and region.
    ImageWrites,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageBlob => f.write_str("the rate of a page blob"),
            Self::PageBlobRequests => f.write_str("the requests to a page blob"),
            Self::SourceBlob => f.write_str("the rate of the one source page blob"),
            Self::SourceBlobRequests => f.write_str("the requests to the one source page blob"),
            Self::ChunkRequests => f.write_str("the requests to a chunk"),
            Self::PreCopies => f.write_str("the copies in the source account"),
            Self::Wan { from, to } => write!(f, "the WAN from {from} to {to}"),
            Self::Egress { account } => write!(f, "the egress of account {account}"),
            Self::Ingress { account } => write!(f, "the ingress of account {account}"),
            Self::AccountRequests { account } => write!(f, "the requests to account {account}"),
            Self::ImageWrites => f.write_str("Resource Manager's writes"),
        }
    }
}

impl Limit {
    /// Whether another tree of regions could reduce the time.
    pub(super) fn depends_on_the_tree(&self) -> bool {
        matches!(self, Self::Wan { .. })
    }
}
