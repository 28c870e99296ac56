//! Reading of single fields of a JSON object, with errors that name the field.

use goldfleet_model::ids::Region;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::SnapshotError;

/// An object with the path that leads to it, such as `properties.creationData.`.
pub(super) struct Fields<'a> {
    path: &'static str,
    members: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    /// The whole resource.
    pub(super) fn of(value: &'a Value) -> Self {
        Self { path: "", members: value.as_object() }
    }

    /// An object inside this one. A missing object has no members. `path` is its full path with a final dot.
    pub(super) fn inside(&self, name: &str, path: &'static str) -> Result<Self, SnapshotError> {
        let member = self.member(name);
        match member {
            None | Some(Value::Null) => Ok(Self { path, members: None }),
            Some(Value::Object(members)) => Ok(Self { path, members: Some(members) }),
            Some(_) => Err(self.invalid(name, "an object")),
        }
    }

    /// The member, unless it is missing or null.
    pub(super) fn member(&self, name: &str) -> Option<&'a Value> {
        self.members?.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, SnapshotError> {
        self.read(name, "text", Value::as_str)
    }

    /// A text that identifies something. An empty text counts as missing.
    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, SnapshotError> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| self.missing(name))
    }

    pub(super) fn owned(&self, name: &str) -> Result<Option<String>, SnapshotError> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    }

    /// A UUID or another id that is compared without regard to case, in lower case.
    pub(super) fn lower(&self, name: &str) -> Result<Option<String>, SnapshotError> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()).map(str::to_ascii_lowercase))
    }

    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, SnapshotError> {
        self.read(name, "true or false", Value::as_bool)
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, SnapshotError> {
        self.read(name, "a whole number that is not negative", Value::as_u64)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, SnapshotError> {
        self.read(name, "a number", Value::as_f64)
    }

    pub(super) fn time(&self, name: &str) -> Result<Timestamp, SnapshotError> {
        self.required_text(name)?.parse().map_err(|_| self.invalid(name, "a time in RFC 3339 format"))
    }

    /// A region by its programmatic or its display name: "West US" is `westus`.
    pub(super) fn region(&self, name: &str) -> Result<Region, SnapshotError> {
        let text = self.required_text(name)?;
        let normalised = text.to_ascii_lowercase().replace(' ', "");
        normalised.parse().map_err(|_| self.invalid(name, "the name of a region"))
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, SnapshotError> {
        self.member(name).map(|value| read(value).ok_or_else(|| self.invalid(name, expected))).transpose()
    }

    pub(super) fn missing(&self, name: &str) -> SnapshotError {
        SnapshotError::Missing(format!("{}{name}", self.path))
    }

    pub(super) fn invalid(&self, name: &str, expected: &'static str) -> SnapshotError {
        SnapshotError::Invalid { field: format!("{}{name}", self.path), expected }
    }
}
