//! The targets file: where images must be bootable, and which stores are set by hand.
//!
//! - [`TargetsFile`] is what it says; [`TargetsDocument`] changes it and leaves comments and order as they are.
//! - [`import`] and [`Generate`] make targets from elsewhere, to be merged in.

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
use goldfleet_model::ids::{AccountName, ContainerName, Region};
use goldfleet_model::selector::Selector;
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

pub use document::{MergeResult, OnDuplicate, TargetsDocument, ToggleResult};
pub use error::TargetsFileError;
pub use generate::{AccountPrefix, Generate, InvalidPrefix};
pub use import::{Format, UnknownFormat, import};
pub use located::Located;

/// What a targets file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetsFile {
    /// The targets, in the file's order.
    pub targets: Vec<Target>,
    /// The stores that are set by hand, in the file's order.
    pub stores: Vec<Store>,
}

/// `[[store]]`, which unlike a [`Store`] elsewhere must have no other keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStore {
    region: Region,
    account: AccountName,
    container: ContainerName,
}

impl TargetsFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`TargetsFileError`], with everything that is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, TargetsFileError> {
        match fs::read_to_string(path) {
            Ok(text) => Contents::read(path, &text).map(Contents::into_file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TargetsFileError::NoSuchFile(path.to_owned())),
            Err(source) => Err(TargetsFileError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// The stores that are set by hand, those of each region in the file's order.
    #[must_use]
    pub fn stores_by_region(&self) -> BTreeMap<Region, Vec<Store>> {
        let mut by_region: BTreeMap<Region, Vec<Store>> = BTreeMap::new();
        for store in &self.stores {
            by_region.entry(store.region.clone()).or_default().push(store.clone());
        }
        by_region
    }

    /// The enabled targets that one of the selectors selects, or all enabled targets where there is no selector.
    #[must_use]
    pub fn selected(&self, selectors: &[Selector]) -> Vec<&Target> {
        self.targets.iter().filter(|target| target.enabled && Selector::any(selectors, target)).collect()
    }
}

/// What a targets file says, and on which lines.
#[derive(Debug, Clone, Default)]
struct Contents {
    targets: Vec<Located<Target>>,
    stores: Vec<Located<Store>>,
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
        let stores = stores.into_iter().map(|placed| placed.map(store)).collect();
        let contents = Self { targets, stores };
        let problems = check::check(&contents.targets, &contents.stores);
        if problems.is_empty() { Ok(contents) } else { Err(TargetsFileError::Invalid(problems)) }
    }

    fn into_file(self) -> TargetsFile {
        TargetsFile {
            targets: self.targets.into_iter().map(Located::into_value).collect(),
            stores: self.stores.into_iter().map(Located::into_value).collect(),
        }
    }
}

fn store(written: WrittenStore) -> Store {
    let WrittenStore { region, account, container } = written;
    Store { region, account, container }
}

/// Reads each table of an array by itself, so that all that are wrong are told of at once.
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
