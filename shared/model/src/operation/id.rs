//! What an operation does, and which of its job it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidName, Region};
use crate::serde_as_string;
use crate::store::Store;
use crate::target::TargetKey;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Fill a region's store with chunks.
    #[serde(rename = "seed")]
    Replicate,
    /// Assemble a target's VHD from its region's store.
    #[serde(rename = "copy")]
    Assemble,
    /// Make a managed image from a target's VHD.
    Image,
}

impl Kind {
    /// All kinds, in the order in which a job goes through them.
    pub const ALL: [Self; 3] = [Self::Replicate, Self::Assemble, Self::Image];

    /// The kind's name, as in ids, messages and the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replicate => "seed",
            Self::Assemble => "copy",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| InvalidName {
            what: "phase",
            given: text.to_owned(),
            rule: "use seed, copy or image",
        })
    }
}

/// An operation's identifier in its job. Written `seed.REGION.ACCOUNT.CONTAINER`, `copy.SUBSCRIPTION.REGION` or
/// `image.SUBSCRIPTION.REGION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OperationId {
    /// Fills this store.
    Replicate(Store),
    /// Assembles this target's VHD.
    Assemble(TargetKey),
    /// Makes this target's managed image.
    Image(TargetKey),
}

impl OperationId {
    /// What the operation does.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Replicate(_) => Kind::Replicate,
            Self::Assemble(_) => Kind::Assemble,
            Self::Image(_) => Kind::Image,
        }
    }

    /// The operation's group: the rows that one commit may change together. A target's copy and image are one group,
    /// each seed is its own.
    #[must_use]
    pub fn group(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Replicate(_) => text,
            Self::Assemble(_) | Self::Image(_) => {
                text.split_once('.').map_or_else(String::new, |(_, group)| group.to_owned())
            }
        }
    }

    /// The region in which the operation's effect lies.
    #[must_use]
    pub fn region(&self) -> &Region {
        match self {
            Self::Replicate(store) => &store.region,
            Self::Assemble(key) | Self::Image(key) => &key.region,
        }
    }

    /// What an operator calls the place: `subscription/region` of a target, account and region of a store.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Replicate(store) => store.to_string(),
            Self::Assemble(key) | Self::Image(key) => key.to_string(),
        }
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicate(store) => write!(f, "seed.{}.{}.{}", store.region, store.account, store.container),
            Self::Assemble(key) => write!(f, "copy.{}.{}", key.subscription, key.region),
            Self::Image(key) => write!(f, "image.{}.{}", key.subscription, key.region),
        }
    }
}

impl FromStr for OperationId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let target = |subscription: &str, region: &str| -> Result<TargetKey, InvalidName> {
            Ok(TargetKey { subscription: subscription.parse()?, region: region.parse()? })
        };
        match text.split('.').collect::<Vec<_>>()[..] {
            ["seed", region, account, container] => Ok(Self::Replicate(Store {
                region: region.parse()?,
                account: account.parse()?,
                container: container.parse()?,
            })),
            ["copy", subscription, region] => Ok(Self::Assemble(target(subscription, region)?)),
            ["image", subscription, region] => Ok(Self::Image(target(subscription, region)?)),
            _ => Err(InvalidName {
                what: "operation",
                given: text.to_owned(),
                rule: "it is written seed.REGION.ACCOUNT.CONTAINER, copy.SUBSCRIPTION.REGION or image.SUBSCRIPTION.REGION",
            }),
        }
    }
}

serde_as_string!(OperationId);
