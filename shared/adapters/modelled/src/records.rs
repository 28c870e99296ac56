//! Records in memory, in the state of the job table.

use async_trait::async_trait;
use goldfleet_model::document::Document;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::records::{Record, RecordName, Records, changed_or_missing, encode, end_of_prefix};
use goldfleet_ports::{ETag, Versioned};

use super::job_table::{MemoryJobTable, etag, versioned};

#[async_trait]
impl Records for MemoryJobTable {
    async fn get(&self, name: &RecordName) -> PortResult<Option<Versioned<Document>>> {
        Ok(self.0.request().await.records.get(name).map(versioned))
    }

    async fn put(&self, name: &RecordName, document: &Document, if_match: Option<&ETag>) -> PortResult<ETag> {
        encode(name, document)?;
        let mut state = self.0.request().await;
        match (state.records.get(name), if_match) {
            (Some(_), None) => {
                return Err(PortError::new(ErrorKind::AlreadyExists, format!("record {name} already exists")));
            }
            (None, None) => {}
            (row, Some(if_match)) => {
                if row.is_none_or(|(version, _)| etag(*version) != *if_match) {
                    return Err(changed_or_missing(name, row.is_some()));
                }
            }
        }
        state.record_version += 1;
        let version = state.record_version;
        state.records.insert(name.clone(), (version, document.clone()));
        Ok(etag(version))
    }

    async fn remove(&self, name: &RecordName, if_match: &ETag) -> PortResult<()> {
        let mut state = self.0.request().await;
        match state.records.get(name) {
            Some((version, _)) if etag(*version) != *if_match => Err(changed_or_missing(name, true)),
            _ => {
                state.records.remove(name);
                Ok(())
            }
        }
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<Record>> {
        end_of_prefix(prefix)?;
        let state = self.0.request().await;
        let listed = state.records.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
        Ok(listed.map(|(name, row)| Record { name: name.clone(), document: versioned(row) }).collect())
    }
}
