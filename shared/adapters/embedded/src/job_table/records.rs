//! Records as rows of their own table.

use async_trait::async_trait;
use goldfleet_model::document::Document;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::records::{Record, RecordName, Records, changed_or_missing, decode, encode, end_of_prefix};
use goldfleet_ports::{ETag, Versioned};
use rusqlite::{Row, params};

use super::rows::{corrupt_row, version};
use super::{SqliteJobTable, statements as sql};

type RawRecord = (String, i64, String);

fn raw_record(row: &Row<'_>) -> rusqlite::Result<RawRecord> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn record((name, version, body): RawRecord) -> PortResult<Record> {
    let name: RecordName = name.parse().map_err(|error| corrupt_row(&format!("record {name}"), &error))?;
    let value = decode(&name, body.as_bytes())?;
    Ok(Record { name, document: Versioned { value, etag: ETag(version.to_string()) } })
}

#[async_trait]
impl Records for SqliteJobTable {
    async fn get(&self, name: &RecordName) -> PortResult<Option<Versioned<Document>>> {
        let rows = self.select(sql::RECORD, [name.to_string()], raw_record).await?;
        rows.into_iter().next().map(|row| Ok(record(row)?.document)).transpose()
    }

    async fn put(&self, name: &RecordName, document: &Document, if_match: Option<&ETag>) -> PortResult<ETag> {
        let (name, body, expected) = (name.clone(), encode(name, document)?, if_match.map(version));
        let failed = self.database.sqlite_error();
        self.database
            .write(move |connection| {
                let text = name.as_str();
                if let Some(expected) = expected {
                    let mut remove = connection.prepare_cached(sql::REMOVE_RECORD).map_err(&failed)?;
                    if remove.execute(params![text, expected]).map_err(&failed)? == 0 {
                        let mut select = connection.prepare_cached(sql::RECORD_EXISTS).map_err(&failed)?;
                        return Err(changed_or_missing(&name, select.exists([text]).map_err(&failed)?));
                    }
                }
                let mut insert = connection.prepare_cached(sql::INSERT_RECORD).map_err(&failed)?;
                if insert.execute(params![text, body]).map_err(&failed)? == 0 {
                    return Err(PortError::new(ErrorKind::AlreadyExists, format!("record {name} already exists")));
                }
                Ok(ETag(connection.last_insert_rowid().to_string()))
            })
            .await
    }

    async fn remove(&self, name: &RecordName, if_match: &ETag) -> PortResult<()> {
        let (name, expected, failed) = (name.clone(), version(if_match), self.database.sqlite_error());
        self.database
            .write(move |connection| {
                let text = name.as_str();
                let mut remove = connection.prepare_cached(sql::REMOVE_RECORD).map_err(&failed)?;
                let removed = remove.execute(params![text, expected]).map_err(&failed)? > 0;
                let mut select = connection.prepare_cached(sql::RECORD_EXISTS).map_err(&failed)?;
                if !removed && select.exists([text]).map_err(&failed)? {
                    return Err(changed_or_missing(&name, true));
                }
                Ok(())
            })
            .await
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<Record>> {
        let range = (prefix.to_owned(), end_of_prefix(prefix)?);
        self.select(sql::RECORDS, range, raw_record).await?.into_iter().map(record).collect()
    }
}
