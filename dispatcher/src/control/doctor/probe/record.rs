//! The records of probes: results by place and date, and the probes that have not cleaned up.

use goldfleet_model::document::Document;
use goldfleet_model::hash::digest_of;
use goldfleet_model::ids::JobId;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::records::{RecordName, Records};
use goldfleet_snapshots::id::GroupRef;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::questions::Measurement;

const VERSION: u16 = 1;

/// The names of records with results begin with this.
const RESULTS: &str = "probe.";

/// The names of records of probes that may have left resources behind begin with this.
const OPEN: &str = "probe-run.";

/// The number of results that are kept for the same places.
const KEPT: usize = 10;

/// A probe takes minutes. One that began earlier has ended, or was killed.
const LONGEST: SignedDuration = SignedDuration::from_hours(6);

/// The results of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// The places, `SUBSCRIPTION/REGION/GROUP`.
    pub places: Vec<String>,
    /// When it ended.
    pub at: Timestamp,
    /// The answers.
    pub measurements: Vec<Measurement>,
}

/// A probe that may have left resources behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenProbe {
    /// The id that its resources have as the tag of their job.
    pub job: JobId,
    /// The groups in which it creates resources.
    pub groups: Vec<GroupRef>,
    /// When it began.
    pub since: Timestamp,
}

impl OpenProbe {
    /// Whether it has ended, so that its remaining resources can be deleted.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) > LONGEST
    }
}

fn document(value: &impl Serialize) -> PortResult<Document> {
    Document::new(VERSION, value).map_err(|error| PortError::new(ErrorKind::Invalid, error.to_string()))
}

fn name(text: &str) -> PortResult<RecordName> {
    text.parse().map_err(|error| PortError::new(ErrorKind::Invalid, format!("record {text}: {error}")))
}

/// Records that a probe begins.
///
/// # Errors
/// If the table cannot be reached.
pub async fn open(records: &dyn Records, probe: &OpenProbe) -> PortResult<()> {
    records.put(&name(&format!("{OPEN}{}", probe.job))?, &document(probe)?, None).await.map(drop)
}

/// Records that no resource of a probe remains.
///
/// # Errors
/// If the table cannot be reached.
pub async fn close(records: &dyn Records, job: &JobId) -> PortResult<()> {
    let name = name(&format!("{OPEN}{job}"))?;
    match records.get(&name).await? {
        Some(found) => records.remove(&name, &found.etag).await,
        None => Ok(()),
    }
}

/// The probes that may have left resources behind.
///
/// # Errors
/// If the table cannot be reached.
pub async fn open_probes(records: &dyn Records) -> PortResult<Vec<OpenProbe>> {
    let found = records.list(OPEN).await?;
    // A record of a newer version belongs to a newer program.
    Ok(found.iter().filter_map(|record| record.document.value.read(VERSION).ok()).collect())
}

/// Stores the results of a probe beside earlier ones of the same places.
///
/// # Errors
/// `Conflict` if another probe of these places ended at the same time. Others if the table cannot be reached.
pub async fn store(records: &dyn Records, result: &ProbeResult) -> PortResult<()> {
    let hash = digest_of(result.places.join(" ").to_ascii_lowercase().as_bytes()).to_string();
    let name = name(&format!("{RESULTS}{}", &hash.trim_start_matches("b3:")[..16]))?;
    let found = records.get(&name).await?;
    let earlier = found.as_ref().and_then(|found| found.value.read::<Vec<ProbeResult>>(VERSION).ok());
    let mut all = vec![result.clone()];
    all.extend(earlier.unwrap_or_default());
    all.truncate(KEPT);
    records.put(&name, &document(&all)?, found.as_ref().map(|found| &found.etag)).await.map(drop)
}

/// All stored results, the newest of each place first.
///
/// # Errors
/// If the table cannot be reached.
pub async fn results(records: &dyn Records) -> PortResult<Vec<ProbeResult>> {
    let found = records.list(RESULTS).await?;
    let results = found.iter().filter_map(|record| record.document.value.read::<Vec<ProbeResult>>(VERSION).ok());
    Ok(results.flatten().collect())
}
