//! The targets file: the targets of images, and the configured stores.
//!
//! - [`TargetsFile`] is the content; [`TargetsDocument`] changes the file and preserves its comments and order.
//! - [`import`] and [`Generate`] create targets to merge into the file.

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
use std::fs;
use std::io;
use std::path::Path;

use goldfleet_diagnostics::FieldError;
use goldfleet_diagnostics::{Node, Value};
use goldfleet_model::ids::{AccountName, ContainerName, Region, ResourceGroup, SubscriptionId};
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetsFile {
    /// The targets, in file order.
    pub targets: Vec<Target>,
    /// The configured stores, in file order.
    pub stores: Vec<Store>,
    /// The configured hubs.
    pub hubs: BTreeMap<Region, Hub>,
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

impl TargetsFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`TargetsFileError`], with all errors of the file.
    pub fn load(path: &Path) -> Result<Self, TargetsFileError> {
        match fs::read_to_string(path) {
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

    /// The enabled targets that at least one selector selects, or all enabled targets if there is no selector.
    #[must_use]
    pub fn selected(&self, selectors: &[Selector]) -> Vec<&Target> {
        self.targets.iter().filter(|target| target.enabled && Selector::any(selectors, target)).collect()
    }
}

/// The content of a targets file, with line numbers.
#[derive(Debug, Clone, Default)]
struct Contents {
    targets: Vec<Located<Target>>,
    stores: Vec<Located<WrittenStore>>,
}

impl Contents {
    fn read(path: &Path, text: &str) -> Result<Self, TargetsFileError> {
        let mut faults = Vec::new();
        let mut tables = match Node::from_toml(text).map(|node| node.value) {
            Ok(Value::Table(tables)) => tables,
            Ok(_) => BTreeMap::new(),
            Err(fault) => return Err(TargetsFileError::invalid(path, &[fault])),
        };
        let targets = read_all(path, "target", tables.remove("target"), &mut faults);
        let stores = read_all(path, "store", tables.remove("store"), &mut faults);
        for (key, node) in tables {
            let fault = FieldError::unknown_field(&key, &["[[target]]", "[[store]]"]);
            faults.push(fault.with_origin(node.origin.as_ref()).with_parent_key(&key));
        }
        if !faults.is_empty() {
            return Err(TargetsFileError::invalid(path, &faults));
        }
        let contents = Self { targets, stores };
        let problems = check::check(&contents.targets, &contents.stores);
        if problems.is_empty() { Ok(contents) } else { Err(TargetsFileError::Invalid(problems)) }
    }

    fn into_file(self) -> TargetsFile {
        let stores = || self.stores.iter().map(Located::value);
        TargetsFile {
            stores: stores().map(WrittenStore::store).collect(),
            hubs: stores().filter_map(|store| Some((store.region.clone(), store.hub()?))).collect(),
            targets: self.targets.into_iter().map(Located::into_value).collect(),
        }
    }
}

/// Reads each table of an array separately, so that all errors are reported together.
fn read_all<T: DeserializeOwned>(
    path: &Path,
    name: &str,
    array: Option<Node>,
    faults: &mut Vec<FieldError>,
) -> Vec<Located<T>> {
    let Some(Node { origin, value }) = array else { return Vec::new() };
    let Value::Array(items) = value else {
        faults.push(
            FieldError::new(format!("write [[{name}]], in double brackets"))
                .with_origin(origin.as_ref())
                .with_parent_key(name),
        );
        return Vec::new();
    };
    let mut read = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let keys = vec![name.to_owned(), format!("[{}]", index + 1)];
        match Located::read(path, keys, item) {
            Ok(placed) => read.push(placed),
            Err(fault) => faults.push(fault),
        }
    }
    read
}
