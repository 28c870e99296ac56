//! Where blobs lie: containers, stores of chunks, and addresses in them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::hash::ChunkHash;
use super::ids::{AccountName, ContainerName, ImageName, ImageVersion, InvalidName, Region};
use super::manifest::{chunk_name, manifest_name};

/// A container of a storage account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Container {
    /// The storage account.
    pub account: AccountName,
    /// The container in it.
    pub container: ContainerName,
}

impl Container {
    /// The address of the blob called `name` in this container.
    #[must_use]
    pub fn blob(&self, name: impl Into<String>) -> BlobAddress {
        BlobAddress { container: self.clone(), name: name.into() }
    }

    /// The place of a chunk in this store.
    #[must_use]
    pub fn chunk(&self, hash: &ChunkHash) -> BlobAddress {
        self.blob(chunk_name(hash))
    }

    /// The place of an image version's manifest, if this is the source.
    #[must_use]
    pub fn manifest(&self, image: &ImageName, version: &ImageVersion) -> BlobAddress {
        self.blob(manifest_name(image.as_str(), version.as_str()))
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.container)
    }
}

impl FromStr for Container {
    type Err = InvalidName;

    /// Reads `ACCOUNT/CONTAINER`, as a container is displayed.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (account, container) = text.split_once('/').ok_or_else(|| InvalidName {
            what: "store",
            given: text.to_owned(),
            rule: "write it as ACCOUNT/CONTAINER",
        })?;
        Ok(Self { account: account.parse()?, container: container.parse()? })
    }
}

/// A blob: a container and a name in it. It holds no secret: access comes with the adapter, never with an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobAddress {
    /// Where the blob lies.
    #[serde(flatten)]
    pub container: Container,
    /// Its name, with `/` between folders.
    pub name: String,
}

impl fmt::Display for BlobAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.name)
    }
}

/// A container with `chunks/…` (and, in the source account, `manifests/…`), and the region it lies in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Store {
    /// The region of the storage account.
    pub region: Region,
    /// The storage account.
    pub account: AccountName,
    /// The container.
    pub container: ContainerName,
}

impl Store {
    /// The container, without its region.
    #[must_use]
    pub fn container(&self) -> Container {
        Container { account: self.account.clone(), container: self.container.clone() }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ({})", self.account, self.container, self.region)
    }
}
