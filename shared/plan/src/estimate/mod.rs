//! What a rollout costs and how long it takes, by the rates: for a plan, and for what one would do without.
//!
//! The time is the image's, and what the slowest of all limits takes that the bytes have to pass: chunks go on as they
//! arrive, so limits on the way do not add up. It is a lower bound: latency, throttling and retries come on top.

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

/// What a rollout costs and how long it takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Bytes between regions.
    pub wan_bytes: u128,
    /// The cost.
    pub cost: Cost,
    /// The time.
    pub time: Time,
}

/// The parts of a cost, in US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Bytes that leave a region.
    pub egress: Money,
    /// Requests to blobs.
    pub requests: Money,
    /// Chunks and VHDs, for the days that they are taken to lie there. What the source holds anyway is not in it.
    pub storage: Money,
}

impl Cost {
    /// All parts together.
    #[must_use]
    pub fn total(&self) -> Money {
        self.egress + self.requests + self.storage
    }
}

/// How long something takes, and why not less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// From the first request to the last image.
    pub total: Duration,
    /// The limit that takes longest, and how long.
    pub binds: Limit,
    /// How long that limit takes, alone.
    pub binds_for: Duration,
    /// The part of the total that making the image takes.
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

/// Something that only so much fits through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Limit {
    /// The rate at which one page blob takes bytes.
    PageBlob,
    /// The requests a second that one page blob takes.
    PageBlobRequests,
    /// The rate at which the one source page blob is read.
    SourceBlob,
    /// The requests a second to the one source page blob.
    SourceBlobRequests,
    /// The requests a second to a store's chunk.
    ChunkRequests,
    /// Copies in the source account, one after the other.
    PreCopies,
    /// The connection between two regions.
    Wan {
        /// From this region,
        from: Region,
        /// to that one.
        to: Region,
    },
    /// What an account can send.
    Egress {
        /// The account.
        account: AccountName,
    },
    /// What an account can take.
    Ingress {
        /// The account.
        account: AccountName,
    },
    /// The requests a second to an account.
    AccountRequests {
        /// The account.
        account: AccountName,
    },
    /// Resource Manager's writes for one subscription and region.
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
    /// Whether another tree between the regions could do better.
    pub(super) fn depends_on_the_tree(&self) -> bool {
        matches!(self, Self::Wan { .. })
    }
}
