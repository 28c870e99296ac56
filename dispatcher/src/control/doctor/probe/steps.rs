//! The measurements.

use std::time::Duration;

use bytes::Bytes;
use goldfleet_disk::Footer;
use goldfleet_machines::request::Place;
use goldfleet_model::checksum::crc64;
use goldfleet_model::resource::{DiskState, ResourceId, ResourceType};
use goldfleet_ports::blob_store::Checksums;
use goldfleet_ports::disk_access::{Access, DiskSas, MAX_ACCESS};
use goldfleet_ports::disk_pages::{DiskPages, PageSource};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::inspector::Inspector;
use goldfleet_ports::linked_put::LinkedPut;
use serde_json::{Value, json};

use super::ProbeRequest;
use super::questions::{
    Answer, COPY_ACROSS_SUBSCRIPTIONS, COPY_START_ACROSS_SUBSCRIPTIONS, COPY_START_IN_REGION, ENCRYPTION_SET_AT_COPY,
    IMAGE_OUTLIVES_SNAPSHOT, Measurement, QUESTIONS,
};
use super::temporaries::Temporaries;
use crate::control::doctor::access;

/// The size of the disk: the smallest that the service permits. Source: DiskRP 2025-01-02, `uploadSizeBytes`.
pub(super) const SIZE: u64 = 20 << 20;

/// The bytes of one write.
const PAGE: usize = 4096;

/// The validity of the SAS whose end is observed.
const SHORT: Duration = Duration::from_secs(60);

/// The time after the end of a SAS at which the state is read.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// A running probe.
pub(super) struct Prober<'a> {
    pub(super) request: &'a ProbeRequest,
    pub(super) temporaries: Temporaries<'a>,
    pub(super) pages: Option<&'a dyn DiskPages>,
    pub(super) inspector: Option<&'a dyn Inspector>,
    pub(super) linked: Option<&'a dyn LinkedPut>,
    pub(super) measurements: Vec<Measurement>,
    pub(super) report: &'a (dyn Fn(&str) + Sync),
}

/// The answer from the result of a request: it succeeded, the service refused it, or the answer is not known.
pub(super) fn verdict(result: PortResult<String>) -> (Answer, String) {
    match result {
        Ok(detail) => (Answer::Yes, detail),
        Err(error) => {
            let is_refusal = matches!(error.kind, ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::NotFound);
            let is_about_place = error.code == "resource-group-not-found";
            let answer = if is_refusal && !is_about_place { Answer::No } else { Answer::Unmeasured };
            (answer, format!("{}: {error}", error.code))
        }
    }
}

impl Prober<'_> {
    /// Makes all measurements.
    ///
    /// # Errors
    /// If the disk or its snapshot, which all measurements need, cannot be created.
    pub(super) async fn run(&mut self) -> PortResult<()> {
        self.rights().await;
        let first = &self.request.first;
        self.say(&format!("creating a disk of 20 MiB and a snapshot of it in {first}"));
        let disk = self.disk("disk").await?;
        let snapshot = self.snapshot(first, "base", "Copy", &disk, None).await?;
        self.access(&snapshot).await;
        self.images(&snapshot).await;
        self.encryption(&snapshot).await;
        self.gallery(&snapshot).await;
        if let Some(second) = &self.request.second {
            self.copies(&snapshot, second).await;
        }
        self.fill_in();
        Ok(())
    }

    pub(super) fn say(&self, text: &str) {
        (self.report)(text);
    }

    pub(super) fn record(&mut self, id: &'static str, (answer, detail): (Answer, String)) {
        self.say(&format!("{id}: {}", answer.as_str()));
        self.measurements.push(Measurement { id: id.to_owned(), answer, detail });
    }

    /// Records why the other questions were not measured.
    fn fill_in(&mut self) {
        for question in QUESTIONS {
            if self.measurements.iter().any(|found| found.id == question.id) {
                continue;
            }
            let why = match question.id {
                "rights" => "the rights of the identity cannot be read",
                "gallery-shallow-disk" => "no gallery version was created",
                "auxiliary-tokens" => "name a second place in another tenant",
                ENCRYPTION_SET_AT_COPY => "name a disk encryption set with --des",
                "image-across-subscriptions" | COPY_ACROSS_SUBSCRIPTIONS | COPY_START_IN_REGION => {
                    "name a second place in the same region and another subscription"
                }
                COPY_START_ACROSS_SUBSCRIPTIONS => "name a second place in another region and another subscription",
                "copy-start-two-regions" => "name a second and a third place in two other regions",
                _ => "name a second place in another region",
            };
            let (id, detail) = (question.id.to_owned(), why.to_owned());
            self.measurements.push(Measurement { id, answer: Answer::Unmeasured, detail });
        }
        let order = |id: &str| QUESTIONS.iter().position(|question| question.id == id);
        self.measurements.sort_by_key(|found| order(&found.id));
    }

    /// The rights of the identity at both places.
    async fn rights(&mut self) {
        let Some(inspector) = self.inspector else { return };
        let mut missing = Vec::new();
        for place in self.request.places() {
            let scope = format!("/subscriptions/{}/resourceGroups/{}", place.subscription, place.resource_group);
            match inspector.permissions(&scope, None).await {
                Ok(found) => {
                    let lacking = access::missing(&found, access::of_probe());
                    missing.extend(lacking.into_iter().map(|action| format!("{action} in {place}")));
                }
                Err(error) => return self.record("rights", (Answer::Unmeasured, format!("{}: {error}", error.code))),
            }
        }
        let answer = match missing.is_empty() {
            true => (Answer::Yes, "all that snapshots, temporaries, images, galleries and locks need".to_owned()),
            false => (Answer::No, format!("missing: {}", missing.join(", "))),
        };
        self.record("rights", answer);
    }

    /// Creates a disk with some data by an upload, and measures the writes.
    async fn disk(&mut self, part: &str) -> PortResult<ResourceId> {
        let place = &self.request.first;
        let id = self.temporaries.id(place, ResourceType::Disk, part)?;
        let body = json!({
            "location": place.region, "sku": { "name": "Standard_LRS" },
            "properties": {
                "osType": "Linux", "hyperVGeneration": "V2",
                "creationData": { "createOption": "Upload", "uploadSizeBytes": SIZE + 512 },
            },
        });
        self.temporaries.create(&id, body).await?;
        let sas = self.temporaries.begin(&id, Access::Write, MAX_ACCESS).await?;
        if let Some(pages) = self.pages {
            self.writes(pages, &sas).await;
            let footer = Footer::fixed_for(SIZE, u128::from(SIZE)).to_bytes().to_vec();
            pages.write(&sas, SIZE, Bytes::from(footer), None).await?;
        }
        self.temporaries.end(&id).await?;
        Ok(id)
    }

    /// Measures what writes to the content of a disk verify and return.
    async fn writes(&mut self, pages: &dyn DiskPages, sas: &DiskSas) {
        let bytes = Bytes::from(vec![0x5a; PAGE]);
        let sum = crc64(&bytes);
        let plain = pages.write(sas, 0, bytes.clone(), None).await;
        let right = pages.write(sas, 0, bytes.clone(), Some(sum)).await;
        let wrong = pages.write(sas, 0, bytes.clone(), Some(sum ^ 1)).await;
        self.record("page-crc64", verifies("CRC-64", right.map(drop), wrong.map(drop)));
        self.record(
            "page-md5-returned",
            match plain {
                Ok(found) if found.md5.is_some() => (Answer::Yes, format!("with CRC-64: {}", found.crc64.is_some())),
                Ok(found) => (Answer::No, format!("with CRC-64: {}", found.crc64.is_some())),
                Err(error) => (Answer::Unmeasured, format!("{}: {error}", error.code)),
            },
        );
        self.source_md5(pages, sas).await;
        let (address, blob) = (self.request.block_blob.clone(), "page-block-blob");
        match address {
            Some(address) => {
                let length = PAGE as u64;
                let written =
                    pages.write_from(sas, 2 * length, &PageSource::Blob(address.clone()), 0..length, None).await;
                self.record(blob, verdict(written.map(|_| format!("from {address}"))));
            }
            None => self.record(blob, (Answer::Unmeasured, "the source store has no chunk to read".to_owned())),
        }
    }

    /// Whether the MD5 of a source is verified.
    async fn source_md5(&mut self, pages: &dyn DiskPages, sas: &DiskSas) {
        let id = "page-source-md5";
        let Some(address) = self.request.block_blob.clone() else {
            return self.record(id, (Answer::Unmeasured, "the source store has no chunk to read".to_owned()));
        };
        let Some(md5) = self.request.block_blob_md5 else {
            return self.record(id, (Answer::Unmeasured, "the checksum of the chunk is not known".to_owned()));
        };
        let (length, mut other) = (PAGE as u64, md5);
        other[0] ^= 1;
        // The service gets the MD5 only.
        let sums = |md5: [u8; 16]| Some(Checksums { crc64: 0, md5: Some(md5.into()) });
        let source = PageSource::Blob(address);
        let right = pages.write_from(sas, length, &source, 0..length, sums(md5)).await;
        let wrong = pages.write_from(sas, length, &source, 0..length, sums(other)).await;
        self.record(id, verifies("MD5", right.map(drop), wrong.map(drop)));
    }

    /// Creates a snapshot and waits for its content.
    pub(super) async fn snapshot(
        &mut self,
        place: &Place,
        part: &str,
        option: &str,
        source: &ResourceId,
        encryption: Option<&str>,
    ) -> PortResult<ResourceId> {
        let id = self.begin_snapshot(place, part, option, source, encryption).await?;
        self.temporaries.arrived(&id).await?;
        Ok(id)
    }

    pub(super) async fn begin_snapshot(
        &mut self,
        place: &Place,
        part: &str,
        option: &str,
        source: &ResourceId,
        encryption: Option<&str>,
    ) -> PortResult<ResourceId> {
        let (id, body) = self.snapshot_request(place, part, option, source, encryption)?;
        self.temporaries.create(&id, body).await?;
        Ok(id)
    }

    /// The id and the body of an incremental snapshot.
    pub(super) fn snapshot_request(
        &self,
        place: &Place,
        part: &str,
        option: &str,
        source: &ResourceId,
        encryption: Option<&str>,
    ) -> PortResult<(ResourceId, Value)> {
        let id = self.temporaries.id(place, ResourceType::Snapshot, part)?;
        let mut properties = json!({
            "incremental": true, "creationData": { "createOption": option, "sourceResourceId": source.to_string() },
        });
        if let Some(set) = encryption {
            let kind = "EncryptionAtRestWithCustomerKey";
            properties["encryption"] = json!({ "type": kind, "diskEncryptionSetId": set });
        }
        let body = json!({ "location": place.region, "sku": { "name": "Standard_LRS" }, "properties": properties });
        Ok((id, body))
    }

    /// Measures a second SAS, and the state of a snapshot after its SAS has expired.
    async fn access(&mut self, snapshot: &ResourceId) {
        let renewal = self.renewal(snapshot).await;
        self.record(
            "sas-renewal",
            match renewal {
                Ok(answer) => answer,
                Err(error) => verdict(Err(error)),
            },
        );
        self.say("waiting for the end of a SAS of one minute");
        let expiry = self.expiry(snapshot).await;
        self.record(
            "sas-expiry",
            match expiry {
                Ok(answer) => answer,
                Err(error) => (Answer::Unmeasured, format!("{}: {error}", error.code)),
            },
        );
        if let Err(error) = self.temporaries.end(snapshot).await {
            tracing::warn!(%error, "access to a snapshot of the probe could not be ended");
        }
    }

    async fn renewal(&mut self, snapshot: &ResourceId) -> PortResult<(Answer, String)> {
        let first = self.temporaries.begin(snapshot, Access::Read, MAX_ACCESS).await?;
        let second = self.temporaries.begin(snapshot, Access::Read, MAX_ACCESS).await?;
        let content = &self.temporaries.control.ports.disk_access;
        let (one, other) = (content.layout(&first).await, content.layout(&second).await);
        let url = if first.expose() == second.expose() { "the same URL" } else { "another URL" };
        self.temporaries.end(snapshot).await?;
        Ok(match (one, other) {
            (Ok(_), Ok(_)) => (Answer::Yes, format!("{url}; both are valid")),
            (Err(error), Ok(_)) if error.kind == ErrorKind::Denied => {
                (Answer::No, format!("{url}; the first one ended"))
            }
            (Err(error), _) | (_, Err(error)) => (Answer::Unmeasured, format!("{}: {error}", error.code)),
        })
    }

    async fn expiry(&mut self, snapshot: &ResourceId) -> PortResult<(Answer, String)> {
        self.temporaries.begin(snapshot, Access::Read, SHORT).await?;
        self.temporaries.control.ports.clock.sleep(SHORT + AFTERWARDS).await;
        let found = self.temporaries.existing(snapshot).await?;
        let state = found.body.properties.disk().and_then(|disk| disk.disk_state.clone());
        Ok(match state {
            Some(DiskState::Unattached) => (Answer::Yes, "Unattached after 30 seconds".to_owned()),
            Some(state) => (Answer::No, format!("{} after 30 seconds", state.as_str())),
            None => (Answer::Unmeasured, "the service reports no state".to_owned()),
        })
    }

    /// Images of an incremental snapshot.
    async fn images(&mut self, snapshot: &ResourceId) {
        let first = &self.request.first;
        let source = match self.snapshot(first, "for-image", "Copy", snapshot, None).await {
            Ok(source) => source,
            Err(error) => {
                let detail = format!("a copy of the snapshot could not be made: {}: {error}", error.code);
                return self.record("image-from-incremental", (Answer::Unmeasured, detail));
            }
        };
        let made = self.image(first, "image", &source).await;
        let image = made.as_ref().ok().cloned();
        self.record("image-from-incremental", verdict(made.map(|id| id.to_string())));
        let Some(image) = image else { return };
        let removed = self.temporaries.remove(&source).await;
        let outlives = match removed {
            Ok(()) => {
                self.temporaries.existing(&image).await.map(|_| "it is readable; no machine was created".to_owned())
            }
            Err(error) => Err(error),
        };
        self.record(IMAGE_OUTLIVES_SNAPSHOT, verdict(outlives));
    }

    pub(super) async fn image(&mut self, place: &Place, part: &str, snapshot: &ResourceId) -> PortResult<ResourceId> {
        let id = self.temporaries.id(place, ResourceType::Image, part)?;
        let disk = json!({
            "osType": "Linux", "osState": "Generalized", "snapshot": { "id": snapshot.to_string() },
            "storageAccountType": "Standard_LRS",
        });
        let body: Value = json!({
            "location": place.region,
            "properties": { "hyperVGeneration": "V2", "storageProfile": { "osDisk": disk } },
        });
        self.temporaries.create(&id, body).await?;
        Ok(id)
    }

    async fn encryption(&mut self, snapshot: &ResourceId) {
        let Some(set) = self.request.encryption_set.clone() else { return };
        let made = self.snapshot(&self.request.first, "encrypted", "Copy", snapshot, Some(&set)).await;
        self.record(ENCRYPTION_SET_AT_COPY, verdict(made.map(|id| id.to_string())));
    }
}

pub(super) fn unmeasured(error: &PortError) -> (Answer, String) {
    (Answer::Unmeasured, format!("{}: {error}", error.code))
}

/// Whether the service refused a checksum. Other code sends such a request again, because bytes may have changed in
/// transit.
fn is_mismatch(error: &PortError) -> bool {
    matches!(error.code.as_str(), "crc64-mismatch" | "md5-mismatch" | "source-corrupt")
}

/// Whether a checksum is verified: a request with the right one succeeds, and one with a wrong one is refused.
fn verifies(what: &str, right: PortResult<()>, wrong: PortResult<()>) -> (Answer, String) {
    match (right, wrong) {
        (Ok(()), Err(error)) if is_mismatch(&error) || (!error.is_retryable() && error.kind != ErrorKind::Denied) => {
            (Answer::Yes, format!("a wrong {what} is refused: {}", error.code))
        }
        (Ok(()), Ok(())) => (Answer::No, format!("a wrong {what} is accepted")),
        (Err(error), _) if !error.is_retryable() && error.kind != ErrorKind::Denied => {
            (Answer::No, format!("a request with {what} is refused: {}", error.code))
        }
        (Err(error), _) | (_, Err(error)) => unmeasured(&error),
    }
}
