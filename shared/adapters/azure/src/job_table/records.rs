//! Records in the table of jobs. Their JSON is stored as bytes, because text takes two bytes a character.

use async_trait::async_trait;
use goldfleet_model::document::Document;
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::records::{Record, RecordName, Records, decode, encode, end_of_prefix};
use goldfleet_ports::{ETag, Versioned};
use serde_json::Value;

use super::{AzureJobTable, rows};
use crate::table::{Entity, Key};

/// The partition of all records.
const PARTITION: &str = "record";

/// The property of the document.
const DATA: &str = "Data";

fn key(name: &RecordName) -> Key {
    Key::new(PARTITION, format!("r.{name}"))
}

fn to_record(row: &Entity) -> PortResult<Record> {
    let name = || row.get("RowKey").and_then(Value::as_str)?.strip_prefix("r.")?.parse().ok();
    let name = name().ok_or_else(|| rows::corrupt_row(row, "its key is not that of a record"))?;
    Ok(Record { document: to_document(&name, row)?, name })
}

fn to_document(name: &RecordName, row: &Entity) -> PortResult<Versioned<Document>> {
    let data = rows::binary(row, DATA).ok_or_else(|| rows::corrupt_row(row, "a part is missing"))?;
    Ok(Versioned { value: decode(name, &data)?, etag: rows::etag(row)? })
}

#[async_trait]
impl Records for AzureJobTable {
    async fn get(&self, name: &RecordName) -> PortResult<Option<Versioned<Document>>> {
        let row = self.jobs.get(&key(name)).await?;
        row.map(|row| to_document(name, &row)).transpose()
    }

    async fn put(&self, name: &RecordName, document: &Document, if_match: Option<&ETag>) -> PortResult<ETag> {
        let mut row = Entity::new();
        rows::insert_binary(&mut row, DATA, encode(name, document)?.as_bytes());
        match if_match {
            None => self.jobs.insert(&key(name), row).await,
            Some(etag) => self.jobs.merge(&key(name), row, etag).await,
        }
    }

    async fn remove(&self, name: &RecordName, if_match: &ETag) -> PortResult<()> {
        match self.jobs.delete(&key(name), if_match).await {
            Err(error) if error.kind == ErrorKind::NotFound && error.code == "resource-not-found" => Ok(()),
            deleted => deleted,
        }
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<Record>> {
        let end = end_of_prefix(prefix)?;
        let filter = format!("PartitionKey eq '{PARTITION}' and RowKey ge 'r.{prefix}' and RowKey lt 'r.{end}'");
        self.jobs.query(&filter, None).await?.iter().map(to_record).collect()
    }
}
