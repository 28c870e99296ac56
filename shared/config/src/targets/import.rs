//! Imports targets from CSV and JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use goldfleet_diagnostics::{FieldError, Origin};
use goldfleet_diagnostics::{Node, Value};
use goldfleet_model::target::Target;

use super::error::TargetsFileError;
use super::located::Located;

/// The required fields, each with a valid value.
const REQUIRED: [(&str, &str); 5] = [
    ("subscription", "00000000-0000-0000-0000-000000000000"),
    ("region", "region"),
    ("resource_group", "group"),
    ("account", "account"),
    ("container", "container"),
];
const OPTIONAL: [&str; 7] = ["name", "ring", "enabled", "tags", "disk_encryption_set", "tenant", SINKS];
const TAG_COLUMN: &str = "tag.";
const SINKS: &str = "sinks";

/// The format of an import file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header and one row per target: the fields of a target, with tags as `env=prod;team=x` or in columns such as
    /// `tag.env`, and sinks as `image;snapshot`.
    Csv,
    /// A list of objects with the fields of a target.
    Json,
}

/// An unknown format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no format that targets can be imported from: use csv or json")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text.to_ascii_lowercase().as_str() {
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat(text.to_owned())),
        }
    }
}

impl Format {
    /// The format according to the extension of the file name.
    #[must_use]
    pub fn of(file: &Path) -> Option<Self> {
        file.extension()?.to_str()?.parse().ok()
    }
}

/// Reads targets from `text`, the content of `file`.
///
/// # Errors
/// [`TargetsFileError::Invalid`], with all errors of all rows.
pub fn import(file: &Path, text: &str, format: Format) -> Result<Vec<Located<Target>>, TargetsFileError> {
    // Spreadsheets and some editors write a byte order mark at the start.
    let text = text.trim_start_matches('\u{feff}');
    let rows = match format {
        Format::Csv => csv_rows(text),
        Format::Json => json_rows(text),
    };
    let mut targets = Vec::new();
    let mut faults = Vec::new();
    for (keys, row) in rows.map_err(|faults| TargetsFileError::invalid(file, &faults))? {
        match row.map_err(|fault| vec![fault]).and_then(|row| read_row(file, &keys, row)) {
            Ok(target) => targets.push(target),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(targets) } else { Err(TargetsFileError::invalid(file, &faults)) }
}

/// Reads a row. If it is invalid, every invalid field is reported: the field is replaced by a valid value, and the row
/// is read again.
fn read_row(file: &Path, keys: &[String], mut row: Node) -> Result<Located<Target>, Vec<FieldError>> {
    let mut faults = Vec::new();
    loop {
        let fault = match Located::read(file, keys.to_vec(), row.clone()) {
            Ok(target) if faults.is_empty() => return Ok(target),
            Ok(_) => return Err(faults),
            Err(fault) => fault,
        };
        let field = fault.keys().get(keys.len()).cloned();
        let known = faults.iter().any(|other: &FieldError| other.keys() == fault.keys());
        faults.push(fault);
        let Some(field) = field.filter(|_| !known) else { return Err(faults) };
        row.remove(std::slice::from_ref(&field));
        if let Some((_, valid)) = REQUIRED.iter().find(|(name, _)| *name == field) {
            row.set(&[field], Node { origin: None, value: Value::Untyped((*valid).to_owned()) });
        }
    }
}

/// A row: the keys that lead to it, and its fields or the error that prevents reading them.
type Row = (Vec<String>, Result<Node, FieldError>);

fn json_rows(text: &str) -> Result<Vec<Row>, Vec<FieldError>> {
    let rows: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        vec![FieldError::new(format!("this is not valid JSON: {error}")).with_origin(Some(&Origin::Line(error.line())))]
    })?;
    let serde_json::Value::Array(rows) = rows else {
        return Err(vec![FieldError::new("this is not a list of targets: write [{…}, {…}]")]);
    };
    let row = |(index, row)| (vec![format!("[{}]", index + 1)], Ok(node_from_json(row)));
    Ok(rows.into_iter().enumerate().map(row).collect())
}

fn node_from_json(value: serde_json::Value) -> Node {
    use serde_json::Value as Json;
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Boolean(truth),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Integer(number),
            None => Value::Float(number.as_f64().unwrap_or(f64::INFINITY)),
        },
        Json::String(text) => Value::Text(text),
        Json::Array(items) => Value::Array(items.into_iter().map(node_from_json).collect()),
        // A field that is null counts as missing.
        Json::Object(fields) => Value::Table(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, node_from_json(value)))
                .collect(),
        ),
    };
    Node { origin: None, value }
}

fn csv_rows(text: &str) -> Result<Vec<Row>, Vec<FieldError>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| vec![csv_fault(&error)])?.clone();
    check_separator(&header)?;
    check_header(&header)?;
    let rows = reader.records().filter_map(|record| match record {
        // Spreadsheets often write empty rows at the end.
        Ok(record) if record.iter().all(str::is_empty) => None,
        Ok(record) => Some((Vec::new(), csv_row(&header, &record))),
        Err(error) => Some((Vec::new(), Err(csv_fault(&error)))),
    });
    Ok(rows.collect())
}

fn names(fields: &[(&'static str, &str); 5]) -> [&'static str; 5] {
    fields.map(|(name, _)| name)
}

/// Reports a wrong separator or a missing header once, instead of an error for each missing column.
fn check_separator(header: &csv::StringRecord) -> Result<(), Vec<FieldError>> {
    let message = match header.iter().collect::<Vec<_>>()[..] {
        [] | [""] => {
            format!("there is no header: the first line names the columns, at least {}", names(&REQUIRED).join(","))
        }
        [only] if only.contains([';', '\t']) => {
            let by = if only.contains(';') { "semicolons" } else { "tabs" };
            format!("the cells are separated by {by}: save the file with commas between them")
        }
        _ => return Ok(()),
    };
    Err(vec![FieldError::new(message).with_origin(Some(&Origin::Line(1)))])
}

fn check_header(header: &csv::StringRecord) -> Result<(), Vec<FieldError>> {
    let mut faults = Vec::new();
    for required in names(&REQUIRED).into_iter().filter(|required| !header.iter().any(|column| column == *required)) {
        faults.push(FieldError::new(format!("there is no column {required}, which every target needs")));
    }
    for (index, column) in header.iter().enumerate() {
        let tag = column.strip_prefix(TAG_COLUMN).is_some_and(|name| !name.is_empty());
        if !tag && !names(&REQUIRED).contains(&column) && !OPTIONAL.contains(&column) {
            let known = [names(&REQUIRED).as_slice(), OPTIONAL.as_slice()].concat().join(", ");
            faults.push(FieldError::new(format!(
                "there is no such column as {column:?}; the columns are {known}, tag.NAME"
            )));
        } else if header.iter().take(index).any(|earlier| earlier == column) {
            faults.push(FieldError::new(format!("the column {column} is there twice: remove one")));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.into_iter().map(|fault| fault.with_origin(Some(&Origin::Line(1)))).collect())
}

fn csv_row(header: &csv::StringRecord, record: &csv::StringRecord) -> Result<Node, FieldError> {
    let line = Origin::Line(record.position().map_or(0, |position| usize::try_from(position.line()).unwrap_or(0)));
    if record.len() != header.len() {
        let message = format!("this row has {} cells, and the header {}", record.len(), header.len());
        return Err(
            FieldError::new(format!("{message}: put cells that hold a comma in quotes")).with_origin(Some(&line))
        );
    }
    let cell = |text: &str| Node::new(line.clone(), Value::Untyped(text.to_owned()));
    let mut fields = BTreeMap::new();
    let mut tags = BTreeMap::new();
    for (column, text) in header.iter().zip(record).filter(|(_, text)| !text.is_empty()) {
        if let Some(name) = column.strip_prefix(TAG_COLUMN) {
            tags.insert(name.to_owned(), cell(text));
        } else if column == "tags" {
            for tag in text.split(';').map(str::trim).filter(|tag| !tag.is_empty()) {
                let (name, value) = tag.split_once('=').ok_or_else(|| {
                    FieldError::new(format!("{tag:?} is not a tag: write 'env=prod;team=x'"))
                        .with_origin(Some(&line))
                        .with_parent_key("tags")
                })?;
                tags.insert(name.trim().to_owned(), cell(value.trim()));
            }
        } else if column == SINKS {
            let names = text.split(';').map(str::trim).filter(|name| !name.is_empty()).map(cell).collect();
            fields.insert(column.to_owned(), Node::new(line.clone(), Value::Array(names)));
        } else {
            let text = match (column, text.to_ascii_lowercase().as_str()) {
                // The words that `goldfleet targets list` prints.
                ("enabled", "yes") => "true",
                ("enabled", "no") => "false",
                _ => text,
            };
            fields.insert(column.to_owned(), cell(text));
        }
    }
    fields.insert("tags".to_owned(), Node::new(line.clone(), Value::Table(tags)));
    Ok(Node::new(line, Value::Table(fields)))
}

fn csv_fault(error: &csv::Error) -> FieldError {
    let line = error.position().map(|position| Origin::Line(usize::try_from(position.line()).unwrap_or(0)));
    FieldError::new(format!("this is not valid CSV: {error}")).with_origin(line.as_ref())
}
