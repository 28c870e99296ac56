//! The location of blobs: containers, stores of chunks, and addresses of blobs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::artifact::artifact_name;
use super::hash::{ChunkHash, Digest};
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
    /// The address of the blob `name` in this container.
    #[must_use]
    pub fn blob(&self, name: impl Into<String>) -> BlobAddress {
        BlobAddress { container: self.clone(), name: name.into() }
    }

    /// The address of a chunk in this store.
    #[must_use]
    pub fn chunk(&self, hash: &ChunkHash) -> BlobAddress {
        self.blob(chunk_name(hash))
    }

    /// The address of an image version's artifact record, if this is the source store.
    #[must_use]
    pub fn artifact(&self, image: &ImageName, version: &ImageVersion) -> BlobAddress {
        self.blob(artifact_name(image, version))
    }

    /// The address of the manifest with this digest of an image version's disk, if this is the source store.
    #[must_use]
    pub fn manifest(&self, image: &ImageName, version: &ImageVersion, digest: &Digest) -> BlobAddress {
        self.blob(manifest_name(image, version, digest))
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.container)
    }
}

impl FromStr for Container {
    type Err = InvalidName;

    /// Parses `ACCOUNT/CONTAINER`, the form in which a container is displayed.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (account, container) = text.split_once('/').ok_or_else(|| InvalidName {
            what: "store",
            given: text.to_owned(),
            rule: "write it as ACCOUNT/CONTAINER",
        })?;
        Ok(Self { account: account.parse()?, container: container.parse()? })
    }
}

/// The address of a blob: a container and a name. It contains no secret: the adapter provides the access.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobAddress {
    /// The container of the blob.
    #[serde(flatten)]
    pub container: Container,
    /// The name, with `/` between folders.
    pub name: String,
}

impl fmt::Display for BlobAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.name)
    }
}

impl FromStr for BlobAddress {
    type Err = InvalidName;

    /// Parses `ACCOUNT/CONTAINER/NAME`, the form in which a blob is displayed.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(account), Some(container), Some(name)) if !name.is_empty() => {
                Ok(Container { account: account.parse()?, container: container.parse()? }.blob(name))
            }
            _ => Err(InvalidName { what: "blob", given: text.to_owned(), rule: "write it as ACCOUNT/CONTAINER/NAME" }),
        }
    }
}

/// A container with `chunks/…` (and `artifacts/…` and `manifests/…` in the source account), and its region.
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
