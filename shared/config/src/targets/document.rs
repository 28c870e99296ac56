//! Changes to the targets file that leave comments and order as they are.
//!
//! Several commands may change one file at the same time: each reads, changes and replaces it under a [`FileLock`]. An editor
//! knows nothing of the lock, so the file is also compared with what was read before it is replaced.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use goldfleet_diagnostics::FieldError;
use goldfleet_file_lock::FileLock;
use goldfleet_model::selector::Selector;
use goldfleet_model::target::{Target, TargetKey};
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use super::error::TargetsFileError;
use super::located::Located;
use super::replace::replace;
use super::{Contents, TargetsFile, check};

/// The array of targets.
const TARGET: &str = "target";

/// A targets file that is being changed. Nothing is written before [`TargetsDocument::save`], or before the end of
/// [`TargetsDocument::edit`].
#[derive(Debug)]
pub struct TargetsDocument {
    path: PathBuf,
    /// What the file said when it was read or last written; none where there was no file.
    read: Option<String>,
    contents: Contents,
    document: DocumentMut,
}

/// What becomes of a target that is merged in and is there already, but otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The one that is there stays.
    Keep,
    /// The new one takes its place.
    Replace,
}

/// What a merge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergeResult {
    /// New targets.
    pub added: Vec<TargetKey>,
    /// Targets that were there, exactly so.
    pub unchanged: Vec<TargetKey>,
    /// Targets that were there and are now otherwise.
    pub replaced: Vec<TargetKey>,
    /// Targets that were there otherwise, and stayed so.
    pub kept: Vec<TargetKey>,
}

/// What enabling or disabling did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToggleResult {
    /// Targets that changed.
    pub changed: Vec<TargetKey>,
    /// Targets that were selected and were so already.
    pub unchanged: Vec<TargetKey>,
}

impl TargetsDocument {
    /// Changes the file at `path`; one that is missing is taken as empty. No other change to the file comes between reading
    /// and writing it: it waits for the one that is under way.
    ///
    /// # Errors
    /// The error of `change`, or [`TargetsFileError`] where the file cannot be read or written, is invalid as it is, or was
    /// changed by something that does not wait, such as an editor. The file is then as it was.
    pub fn edit<T, E: From<TargetsFileError>>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let lock = Self::lock(path)?;
        let mut document = Self::open(path)?;
        let changed = change(&mut document)?;
        document.replace(&lock)?;
        Ok(changed)
    }

    /// Opens the file at `path`; one that is missing is taken as empty.
    ///
    /// # Errors
    /// [`TargetsFileError`] where the file cannot be read or is invalid as it is.
    pub fn open(path: &Path) -> Result<Self, TargetsFileError> {
        let read = read(path)?;
        let text = read.as_deref().unwrap_or_default();
        let contents = Contents::read(path, text)?;
        let mut document: DocumentMut =
            text.parse().map_err(|error| malformed(path, format!("this is no valid TOML: {error}")))?;
        make_array(&mut document).map_err(|message| malformed(path, message))?;
        Ok(Self { path: path.to_owned(), read, contents, document })
    }

    /// What the file says with the changes so far.
    #[must_use]
    pub fn file(&self) -> TargetsFile {
        self.contents.clone().into_file()
    }

    /// Merges targets in.
    ///
    /// # Errors
    /// [`TargetsFileError::Invalid`] where the targets do not go together, with each other or with those in the file;
    /// then nothing is changed.
    pub fn merge(&mut self, incoming: Vec<Located<Target>>, on: OnDuplicate) -> Result<MergeResult, TargetsFileError> {
        let existing = self.index();
        let mut merged = MergeResult::default();
        let mut contents = self.contents.clone();
        let mut edits = Vec::new();
        // Two of the same among the incoming ones are an error, which they only show when seen by themselves.
        let mut problems = check::check(&incoming, &[]);
        for placed in incoming {
            let key = placed.value().key();
            match existing.get(&key).map(|&index| (index, contents.targets[index].value() == placed.value())) {
                None => {
                    merged.added.push(key);
                    edits.push((None, placed.value().clone()));
                    contents.targets.push(placed);
                }
                Some((_, true)) => merged.unchanged.push(key),
                Some((_, false)) if on == OnDuplicate::Keep => merged.kept.push(key),
                Some((index, false)) => {
                    merged.replaced.push(key);
                    edits.push((Some(index), placed.value().clone()));
                    contents.targets[index] = placed;
                }
            }
        }
        if problems.is_empty() {
            problems = check::check(&contents.targets, &contents.stores);
        }
        if !problems.is_empty() {
            return Err(TargetsFileError::Invalid(problems));
        }
        self.contents = contents;
        for (index, target) in edits {
            self.write(index, &target);
        }
        Ok(merged)
    }

    /// Enables or disables the targets that the selectors select, or all where there are none.
    ///
    /// # Errors
    /// [`TargetsFileError::NothingMatches`] where a selector selects no target; then nothing is changed.
    pub fn set_enabled(&mut self, selectors: &[Selector], enabled: bool) -> Result<ToggleResult, TargetsFileError> {
        self.refuse_idle(selectors)?;
        let mut switched = ToggleResult::default();
        for index in 0..self.contents.targets.len() {
            let target = self.contents.targets[index].value();
            if !Selector::any(selectors, target) {
                continue;
            }
            if target.enabled == enabled {
                switched.unchanged.push(target.key());
                continue;
            }
            switched.changed.push(target.key());
            self.contents.targets[index] =
                self.contents.targets[index].clone().map(|target| Target { enabled, ..target });
            if let Some(table) = self.tables().and_then(|tables| tables.get_mut(index)) {
                set(table, "enabled", value(enabled));
            }
        }
        Ok(switched)
    }

    /// Removes the targets that the selectors select, or all where there are none. Returns which.
    ///
    /// # Errors
    /// [`TargetsFileError::NothingMatches`] where a selector selects no target; then nothing is changed.
    pub fn remove(&mut self, selectors: &[Selector]) -> Result<Vec<TargetKey>, TargetsFileError> {
        self.refuse_idle(selectors)?;
        let mut removed = Vec::new();
        for index in (0..self.contents.targets.len()).rev() {
            let target = self.contents.targets[index].value();
            if Selector::any(selectors, target) {
                removed.push(target.key());
                self.contents.targets.remove(index);
                if let Some(tables) = self.tables() {
                    tables.remove(index);
                }
            }
        }
        removed.reverse();
        Ok(removed)
    }

    /// Refuses selectors that select no target: most likely they are mistyped.
    fn refuse_idle(&self, selectors: &[Selector]) -> Result<(), TargetsFileError> {
        let targets = || self.contents.targets.iter().map(Located::value);
        let idle = |selector: &&Selector| !targets().any(|target| selector.matches(target));
        let idle: Vec<Selector> = selectors.iter().filter(idle).cloned().collect();
        if idle.is_empty() { Ok(()) } else { Err(TargetsFileError::NothingMatches(idle)) }
    }

    /// Writes the file, in one step, if it still says what was read.
    ///
    /// # Errors
    /// [`TargetsFileError::Changed`] or [`TargetsFileError::Unwritable`]; the file is then left alone.
    pub fn save(&mut self) -> Result<(), TargetsFileError> {
        let lock = Self::lock(&self.path)?;
        self.replace(&lock)
    }

    fn lock(path: &Path) -> Result<FileLock, TargetsFileError> {
        // What a link points to is locked, as that is replaced.
        let file = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        FileLock::acquire(&file).map_err(|source| TargetsFileError::Unwritable { path: path.to_owned(), source })
    }

    fn replace(&mut self, _lock: &FileLock) -> Result<(), TargetsFileError> {
        if read(&self.path)? != self.read {
            return Err(TargetsFileError::Changed(self.path.clone()));
        }
        let text = self.document.to_string();
        if self.read.as_ref() != Some(&text) {
            replace(&self.path, &text)
                .map_err(|source| TargetsFileError::Unwritable { path: self.path.clone(), source })?;
        }
        self.read = Some(text);
        Ok(())
    }

    fn index(&self) -> HashMap<TargetKey, usize> {
        self.contents.targets.iter().enumerate().map(|(index, placed)| (placed.value().key(), index)).collect()
    }

    fn tables(&mut self) -> Option<&mut ArrayOfTables> {
        self.document.get_mut(TARGET).and_then(Item::as_array_of_tables_mut)
    }

    /// Writes a target over the one at `index`, or behind the last.
    fn write(&mut self, index: Option<usize>, target: &Target) {
        let before = self.before_next();
        let Some(tables) = self.tables() else { return };
        if let Some(table) = index.and_then(|index| tables.get_mut(index)) {
            fill(table, target);
            return;
        }
        let mut table = Table::new();
        table.decor_mut().set_prefix(before);
        fill(&mut table, target);
        tables.push(table);
    }

    /// What stands before a target that is added: an empty line, or all that a file without tables says.
    fn before_next(&mut self) -> String {
        let others = self.document.len() > 1;
        if others || self.tables().is_some_and(|tables| !tables.is_empty()) {
            return "\n".to_owned();
        }
        let remarks = self.document.trailing().as_str().unwrap_or_default().to_owned();
        self.document.set_trailing("");
        if remarks.trim().is_empty() { String::new() } else { format!("{}\n\n", remarks.trim_end()) }
    }
}

/// What the file says; none where there is no file.
fn read(path: &Path) -> Result<Option<String>, TargetsFileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TargetsFileError::Unreadable { path: path.to_owned(), source }),
    }
}

fn malformed(path: &Path, message: impl Into<String>) -> TargetsFileError {
    TargetsFileError::invalid(path, &[FieldError::new(message)])
}

/// Makes sure that there is an array of tables to write targets into.
fn make_array(document: &mut DocumentMut) -> Result<(), String> {
    let tables = match document.remove(TARGET) {
        None => ArrayOfTables::new(),
        Some(Item::ArrayOfTables(tables)) => tables,
        Some(other) if other.as_array().is_some_and(toml_edit::Array::is_empty) => ArrayOfTables::new(),
        Some(other) => other.into_array_of_tables().map_err(|_| "write targets as [[target]]".to_owned())?,
    };
    document.insert(TARGET, Item::ArrayOfTables(tables));
    Ok(())
}

/// Sets a target's fields, and leaves alone those that say so already, as their spelling may be the operator's own.
fn fill(table: &mut Table, target: &Target) {
    set(table, "subscription", value(target.subscription.to_string()));
    set(table, "region", value(target.region.as_str()));
    set(table, "resource_group", value(target.resource_group.as_str()));
    set(table, "account", value(target.account.as_str()));
    set(table, "container", value(target.container.as_str()));
    set_or_remove(table, "name", target.name.as_deref().map(value));
    set(table, "ring", value(i64::from(target.ring)));
    set(table, "enabled", value(target.enabled));
    let tags: InlineTable = target.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    set_or_remove(table, "tags", (!tags.is_empty()).then(|| value(tags)));
    set_or_remove(table, "disk_encryption_set", target.disk_encryption_set.as_deref().map(value));
    set_or_remove(table, "tenant", target.tenant.as_deref().map(value));
}

fn set_or_remove(table: &mut Table, key: &str, item: Option<Item>) {
    match item {
        Some(item) => set(table, key, item),
        None => drop(table.remove(key)),
    }
}

/// Sets a key; what stands around its old value, such as a comment behind it, stays.
fn set(table: &mut Table, key: &str, item: Item) {
    match (table.get_mut(key).and_then(Item::as_value_mut), item) {
        (Some(old), Item::Value(new)) if same_value(old, &new) => {}
        (Some(old), Item::Value(new)) => {
            let around = old.decor().clone();
            *old = new;
            *old.decor_mut() = around;
        }
        (_, item) => drop(table.insert(key, item)),
    }
}

/// Whether two plain values are the same, however they are spelled.
fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        (Value::Boolean(one), Value::Boolean(other)) => one.value() == other.value(),
        (Value::InlineTable(one), Value::InlineTable(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same_value(value, other)))
        }
        _ => false,
    }
}
