//! The targets file: the targets of images, the configured stores, and galleries.
//!
//! - [`TargetsFile`] is the content; [`TargetsDocument`] changes the file and preserves its comments and order.
//! - [`import`] and [`Generate`] create targets to merge into the file.

mod blocks;
mod check;
mod document;
mod error;
mod generate;
mod import;
mod located;
mod replace;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use goldfleet_diagnostics::{FieldError, Node, Value, read_text};
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::ids::{AccountName, ContainerName, ImageName, Region, ResourceGroup, SubscriptionId};
use goldfleet_model::selector::Selector;
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_snapshots::id::GroupRef;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

pub use document::{MergeResult, OnDuplicate, TargetsDocument, ToggleResult};
pub use error::TargetsFileError;
pub use generate::{AccountPrefix, Generate, InvalidPrefix};
pub use import::{Format, UnknownFormat, import};
pub use located::Located;

/// The content of a targets file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetsFile {
    /// The targets, in file order.
    pub targets: Vec<Target>,
    /// The configured stores, in file order.
    pub stores: Vec<Store>,
    /// The configured hubs.
    pub hubs: BTreeMap<Region, Hub>,
    /// The galleries, in file order.
    pub galleries: Vec<Gallery>,
}

/// Where the snapshot of a region is created, from which its targets copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// The subscription and resource group.
    pub group: GroupRef,
    /// The resource id of the disk encryption set of the snapshot, if any.
    pub disk_encryption_set: Option<String>,
}

/// The fields of `[[store]]`. In contrast to [`Store`], unknown keys are rejected.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStore {
    region: Region,
    account: AccountName,
    container: ContainerName,
    #[serde(default)]
    subscription: Option<SubscriptionId>,
    #[serde(default)]
    resource_group: Option<ResourceGroup>,
    #[serde(default)]
    disk_encryption_set: Option<String>,
}

impl WrittenStore {
    fn store(&self) -> Store {
        Store { region: self.region.clone(), account: self.account.clone(), container: self.container.clone() }
    }

    /// The hub of the region, if the store has both keys that a hub needs.
    fn hub(&self) -> Option<Hub> {
        let group = GroupRef { subscription: self.subscription?, resource_group: self.resource_group.clone()? };
        Some(Hub { group, disk_encryption_set: self.disk_encryption_set.clone() })
    }
}

/// The largest size of a targets file in bytes, enough for 200,000 targets.
const MAX_FILE: u64 = 64 << 20;

impl TargetsFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`TargetsFileError`], with all errors of the file.
    pub fn load(path: &Path) -> Result<Self, TargetsFileError> {
        match read_text(path, MAX_FILE) {
            Ok(text) => Contents::read(path, &text).map(Contents::into_file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TargetsFileError::NoSuchFile(path.to_owned())),
            Err(source) => Err(TargetsFileError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// The configured stores by region, each region in file order.
    #[must_use]
    pub fn stores_by_region(&self) -> BTreeMap<Region, Vec<Store>> {
        let mut by_region: BTreeMap<Region, Vec<Store>> = BTreeMap::new();
        for store in &self.stores {
            by_region.entry(store.region.clone()).or_default().push(store.clone());
        }
        by_region
    }

    /// The galleries that receive versions of an image. A selection of targets selects no gallery.
    #[must_use]
    pub fn galleries_of(&self, image: &ImageName, selectors: &[Selector]) -> Vec<&Gallery> {
        let all = self.galleries.iter().filter(|gallery| selectors.is_empty() && gallery.receives(image));
        all.collect()
    }

    /// The enabled targets that at least one selector selects, or all enabled targets if there is no selector.
    #[must_use]
    pub fn selected(&self, selectors: &[Selector]) -> Vec<&Target> {
        self.targets.iter().filter(|target| is_selected(target, selectors)).collect()
    }

    /// As [`Self::selected`], without a copy of the targets.
    #[must_use]
    pub fn into_selected(self, selectors: &[Selector]) -> Vec<Target> {
        let mut targets = self.targets;
        targets.retain(|target| is_selected(target, selectors));
        targets
    }
}

fn is_selected(target: &Target, selectors: &[Selector]) -> bool {
    target.enabled && Selector::any(selectors, target)
}

/// The content of a targets file, with line numbers.
#[derive(Debug, Clone, Default)]
struct Contents {
    targets: Vec<Located<Target>>,
    stores: Vec<Located<WrittenStore>>,
    galleries: Vec<Located<Gallery>>,
}

impl Contents {
    fn read(path: &Path, text: &str) -> Result<Self, TargetsFileError> {
        let tables = match Tables::read_blocks(path, text) {
            Some(tables) => tables,
            // Parsed as a whole, so that all errors of the file are reported.
            None => Tables::read(path, text)?,
        };
        let contents = Self { targets: tables.targets, stores: tables.stores, galleries: tables.galleries };
        let problems = check::check(&contents.targets, &contents.stores, &contents.galleries);
        if problems.is_empty() { Ok(contents) } else { Err(TargetsFileError::Invalid(problems)) }
    }

    fn into_file(self) -> TargetsFile {
        let stores = || self.stores.iter().map(Located::value);
        TargetsFile {
            stores: stores().map(WrittenStore::store).collect(),
            hubs: stores().filter_map(|store| Some((store.region.clone(), store.hub()?))).collect(),
            galleries: self.galleries.into_iter().map(Located::into_value).collect(),
            targets: self.targets.into_iter().map(Located::into_value).collect(),
        }
    }
}

/// The tables of a file, before they are checked against each other.
#[derive(Default)]
struct Tables {
    targets: Vec<Located<Target>>,
    stores: Vec<Located<WrittenStore>>,
    galleries: Vec<Located<Gallery>>,
}

impl Tables {
    /// Reads a large file block by block. None if the file is small, or is not valid.
    fn read_blocks(path: &Path, text: &str) -> Option<Self> {
        let (mut tables, mut faults) = (Self::default(), Vec::new());
        for block in blocks::blocks(text)? {
            let node = Node::from_toml_after(block.lines_before, block.text).ok()?;
            tables.add(path, node, &mut faults);
            if !faults.is_empty() {
                return None;
            }
        }
        Some(tables)
    }

    fn read(path: &Path, text: &str) -> Result<Self, TargetsFileError> {
        let (mut tables, mut faults) = (Self::default(), Vec::new());
        match Node::from_toml(text) {
            Ok(node) => tables.add(path, node, &mut faults),
            Err(fault) => faults.push(fault),
        }
        if faults.is_empty() { Ok(tables) } else { Err(TargetsFileError::invalid(path, &faults)) }
    }

    fn add(&mut self, path: &Path, node: Node, faults: &mut Vec<FieldError>) {
        let Value::Table(mut tables) = node.value else { return };
        read_all(path, "target", tables.remove("target"), &mut self.targets, faults);
        read_all(path, "store", tables.remove("store"), &mut self.stores, faults);
        read_all(path, "gallery", tables.remove("gallery"), &mut self.galleries, faults);
        for (key, node) in tables {
            let fault = FieldError::unknown_field(&key, &["[[target]]", "[[store]]", "[[gallery]]"]);
            faults.push(fault.with_origin(node.origin.as_ref()).with_parent_key(&key));
        }
    }
}

/// Reads each table of an array separately, so that all errors are reported together, and adds them to `read`.
fn read_all<T: DeserializeOwned>(
    path: &Path,
    name: &str,
    array: Option<Node>,
    read: &mut Vec<Located<T>>,
    faults: &mut Vec<FieldError>,
) {
    let Some(Node { origin, value }) = array else { return };
    let Value::Array(items) = value else {
        faults.push(
            FieldError::new(format!("write [[{name}]], in double brackets"))
                .with_origin(origin.as_ref())
                .with_parent_key(name),
        );
        return;
    };
    let before = read.len();
    for (index, item) in items.into_iter().enumerate() {
        let keys = vec![name.to_owned(), format!("[{}]", before + index + 1)];
        match Located::read(path, keys, item) {
            Ok(placed) => read.push(placed),
            Err(fault) => faults.push(fault),
        }
    }
}
