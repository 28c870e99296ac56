//! Changes the targets file and preserves its comments and order.
//!
//! Several commands can change one file at the same time: each reads, changes and replaces it under a [`FileLock`].
//! Editors do not use the lock, so before the file is replaced, it is also compared with the text that was read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use goldfleet_diagnostics::{FieldError, read_text};
use goldfleet_file_lock::FileLock;
use goldfleet_model::selector::Selector;
use goldfleet_model::sink::Sink;
use goldfleet_model::target::{Target, TargetKey};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use super::error::TargetsFileError;
use super::located::Located;
use super::replace::replace;
use super::{Contents, TargetsFile, check};

/// The key of the array of targets.
const TARGET: &str = "target";

/// A targets file that is being changed. It is written by [`TargetsDocument::save`], or at the end of
/// [`TargetsDocument::edit`].
#[derive(Debug)]
pub struct TargetsDocument {
    path: PathBuf,
    /// The text of the file when it was last read or written. None if there was no file.
    read: Option<String>,
    contents: Contents,
    document: DocumentMut,
}

/// What a merge does with a target that exists with different fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDuplicate {
    /// It keeps the existing target.
    Keep,
    /// It replaces the existing target.
    Replace,
}

/// The result of a merge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergeResult {
    /// Targets that were added.
    pub added: Vec<TargetKey>,
    /// Targets that existed with equal fields.
    pub unchanged: Vec<TargetKey>,
    /// Targets that existed with different fields and were replaced.
    pub replaced: Vec<TargetKey>,
    /// Targets that existed with different fields and were kept.
    pub kept: Vec<TargetKey>,
}

/// The result of enabling or disabling targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToggleResult {
    /// Targets that changed.
    pub changed: Vec<TargetKey>,
    /// Selected targets that already had the state.
    pub unchanged: Vec<TargetKey>,
}

impl TargetsDocument {
    /// Changes the file at `path`. A missing file is read as an empty one. A lock serialises concurrent changes: the
    /// call waits for a change that is in progress.
    ///
    /// # Errors
    /// The error of `change`. [`TargetsFileError`] if the file cannot be read or written, if it is invalid, or if a
    /// program that does not use the lock changed it, such as an editor. After an error the file is unchanged.
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

    /// Opens the file at `path`. A missing file is read as an empty one.
    ///
    /// # Errors
    /// [`TargetsFileError`] if the file cannot be read or is invalid.
    pub fn open(path: &Path) -> Result<Self, TargetsFileError> {
        let read = read(path)?;
        let text = read.as_deref().unwrap_or_default();
        let contents = Contents::read(path, text)?;
        let mut document: DocumentMut =
            text.parse().map_err(|error| malformed(path, format!("this is not valid TOML: {error}")))?;
        make_array(&mut document).map_err(|message| malformed(path, message))?;
        Ok(Self { path: path.to_owned(), read, contents, document })
    }

    /// The content of the file, including the changes.
    #[must_use]
    pub fn file(&self) -> TargetsFile {
        self.contents.clone().into_file()
    }

    /// Merges targets into the file.
    ///
    /// # Errors
    /// [`TargetsFileError::Invalid`] if the targets conflict with each other or with those in the file; then nothing is
    /// changed.
    pub fn merge(&mut self, incoming: Vec<Located<Target>>, on: OnDuplicate) -> Result<MergeResult, TargetsFileError> {
        let existing = self.index();
        let mut merged = MergeResult::default();
        let mut contents = self.contents.clone();
        let mut edits = Vec::new();
        // Duplicates among the incoming targets are an error. The merge would hide them, so they are checked before.
        let mut problems = check::check(&incoming, &[], &[]);
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
            problems = check::check(&contents.targets, &contents.stores, &contents.galleries);
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

    /// Enables or disables the selected targets, or all targets if there is no selector.
    ///
    /// # Errors
    /// [`TargetsFileError::NothingMatches`] if a selector selects no target; then nothing is changed.
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

    /// Removes the selected targets, or all targets if there is no selector. Returns their keys.
    ///
    /// # Errors
    /// [`TargetsFileError::NothingMatches`] if a selector selects no target; then nothing is changed.
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

    /// Rejects selectors that select no target, because they are probably mistyped.
    fn refuse_idle(&self, selectors: &[Selector]) -> Result<(), TargetsFileError> {
        let targets = || self.contents.targets.iter().map(Located::value);
        let idle = |selector: &&Selector| !targets().any(|target| selector.matches(target));
        let idle: Vec<Selector> = selectors.iter().filter(idle).cloned().collect();
        if idle.is_empty() { Ok(()) } else { Err(TargetsFileError::NothingMatches(idle)) }
    }

    /// Replaces the file atomically if it still contains the text that was read.
    ///
    /// # Errors
    /// [`TargetsFileError::Changed`] or [`TargetsFileError::Unwritable`]; the file is then unchanged.
    pub fn save(&mut self) -> Result<(), TargetsFileError> {
        let lock = Self::lock(&self.path)?;
        self.replace(&lock)
    }

    fn lock(path: &Path) -> Result<FileLock, TargetsFileError> {
        // The target of a symbolic link is locked, because that file is replaced.
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

    /// Writes a target over the one at `index`, or appends it.
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

    /// The text before an appended target: an empty line, or the comments of a file without tables.
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

/// The text of the file. None if it does not exist.
fn read(path: &Path) -> Result<Option<String>, TargetsFileError> {
    match read_text(path, super::MAX_FILE) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TargetsFileError::Unreadable { path: path.to_owned(), source }),
    }
}

fn malformed(path: &Path, message: impl Into<String>) -> TargetsFileError {
    TargetsFileError::invalid(path, &[FieldError::new(message)])
}

/// Makes sure that the document has an array of tables for targets.
fn make_array(document: &mut DocumentMut) -> Result<(), String> {
    let tables = match document.remove(TARGET) {
        None => ArrayOfTables::new(),
        Some(Item::ArrayOfTables(tables)) => tables,
        Some(other) if other.as_array().is_some_and(Array::is_empty) => ArrayOfTables::new(),
        Some(other) => other.into_array_of_tables().map_err(|_| "write targets as [[target]]".to_owned())?,
    };
    document.insert(TARGET, Item::ArrayOfTables(tables));
    Ok(())
}

/// Sets the fields of a target. Fields with an equal value keep the notation of the operator.
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
    let sinks: Array = target.sinks.iter().map(Sink::as_str).collect();
    set_or_remove(table, "sinks", (!target.sinks.is_default()).then(|| value(sinks)));
}

fn set_or_remove(table: &mut Table, key: &str, item: Option<Item>) {
    match item {
        Some(item) => set(table, key, item),
        None => drop(table.remove(key)),
    }
}

/// Sets a key. The text around its old value is preserved, such as a comment after it.
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

/// Whether two simple values are equal, independent of their notation.
fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        (Value::Boolean(one), Value::Boolean(other)) => one.value() == other.value(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| same_value(one, other))
        }
        (Value::InlineTable(one), Value::InlineTable(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same_value(value, other)))
        }
        _ => false,
    }
}
