//! The sources `image:` and `gallery:`: temporary disks that are created from the disks of a gallery version. Of an
//! image, a temporary gallery version is created first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_galleries::temporary::{CapturedImage, DiskSettings, Scratch};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::manifest::Generation;
use goldfleet_model::origin::Origin;
use goldfleet_model::resource::{ResourceBody, VersionRef};
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_ports::resources::emulation::galleries::NOT_IN_REGION;
use goldfleet_sources::cloud_disk::DiskFacts;
use goldfleet_sources::version::VersionDisk;
use goldfleet_sources::{Machine, Refusal, VersionFacts, codes};

use super::temporary::{POLL, Temporary, remove_abandoned_of};
use super::{Session, retried};
use crate::control::context::ControlError;
use crate::control::upload::{UploadError, UploadRequest};
use crate::control::versions::{ScratchPlace, VersionSource, configured_hubs};

/// How long a version may be unusable after its replication is complete, which the service reports minutes before.
const MAX_LAG: Duration = Duration::from_secs(30 * 60);

impl Session<'_> {
    pub(super) async fn open_version(&mut self, source: &VersionSource) -> Result<UploadRequest, UploadError> {
        let location = self.request.from.to_string();
        let facts = source.read(self.control, &location).await?;
        let asked = (self.request.os, self.request.check.disk.generation);
        // The properties of a shared version are known only after a disk of it was created.
        let stated = facts.os.is_some() || self.request.os.is_some();
        let known = if stated { Some(facts.system(asked.0, asked.1)?) } else { None };
        let invalid = |error: ControlError| PortError::new(ErrorKind::Invalid, error.to_string());
        let hubs = configured_hubs(&self.control.config).map_err(invalid)?;
        let place = source.place(&facts, &hubs, &[&self.control.config.source.region])?;
        let identity = facts.identity.clone().unwrap_or_else(|| location.clone());
        let identity = format!("{}", blake3::hash(identity.as_bytes()).to_hex());
        let fleet = retried(&self.control.ports, || self.control.ports.table.fleet()).await?;
        let job = self.id.clone();
        let scratch = Scratch { fleet, job: &job, source: &identity, place: &place.group, region: &place.region };
        remove_abandoned_of(self.control, &place.group, &identity).await;

        let captured = match source {
            VersionSource::Image(id) => Some((id, known.and_then(|(_, generation)| generation))),
            VersionSource::Version(_) => None,
        };
        let sets: BTreeMap<DiskRole, String> =
            facts.disks.iter().filter_map(|disk| Some((disk.role, disk.encryption_set.clone()?))).collect();
        let items = captured.zip(known).map(|((id, generation), (os, _))| {
            // Images that state no generation are of generation 1.
            let generation = generation.unwrap_or(Generation::V1);
            let image = CapturedImage { id, os, generation, encryption_sets: &sets };
            scratch.resources(&image)
        });
        let version = match source {
            VersionSource::Image(_) => VersionRef::Own(scratch.version()),
            VersionSource::Version(version) => version.clone(),
        };
        let items = items.into_iter().flatten().collect::<Vec<_>>();
        let disks = facts.disks.iter().map(|disk| {
            let settings = DiskSettings {
                os: known.map(|(os, _)| os),
                generation: known.and_then(|(_, generation)| generation),
                security_type: facts.security_type.as_deref(),
                encryption_set: encryption_set(source, disk, &place),
                exportable: true,
            };
            (scratch.disk(disk.role), scratch.disk_body(&version, disk.role, &settings))
        });
        let disks: Vec<_> = disks.collect();

        let mut origin = Origin { source: location.clone(), unique_id: facts.identity.clone(), ..Origin::default() };
        for (id, _) in items.iter().chain(&disks) {
            self.temporaries.push(Temporary::named(fleet, id, &self.id));
            origin.add_temporary(id.clone());
        }
        // The row of a killed upload names all of them, because any of them may exist.
        self.record(&origin).await?;
        let temporaries = self.temporaries.clone();
        let (of_items, of_disks) = temporaries.split_at(items.len());
        if !items.is_empty() {
            tracing::info!(source = %location, "a temporary gallery version of the image is created");
        }
        for (temporary, (_, body)) in of_items.iter().zip(&items) {
            temporary.create_as(self.control, &location, body, self.stop).await?;
        }
        tracing::info!(source = %location, disks = disks.len(), "temporary disks of the version are read");
        let mut created = Vec::with_capacity(disks.len());
        for (temporary, (_, body)) in of_disks.iter().zip(&disks) {
            created.push(self.disk_of(temporary, &location, body, &facts).await?);
        }
        self.read_disks(&facts, created, &origin).await
    }

    /// Creates a disk of a version. Waits if the version cannot be used yet.
    async fn disk_of(
        &self,
        temporary: &Temporary,
        location: &str,
        body: &ResourceBody,
        facts: &VersionFacts,
    ) -> Result<DiskFacts, UploadError> {
        let clock = &self.control.ports.clock;
        let begun = clock.now();
        loop {
            let error = match temporary.create_as(self.control, location, body, self.stop).await {
                Ok(found) => return Ok(DiskFacts::of(location, &found)?),
                Err(error) => error,
            };
            let is_unusable = matches!(&error, UploadError::Port(error) if error.code == NOT_IN_REGION);
            // The regions of a shared version are not known.
            if is_unusable && facts.regions.is_empty() {
                let reason = format!("there is no such version in {}, or it may not be used", body.region);
                return Err(Refusal::new(&codes::VERSION_ELSEWHERE, location, reason).into());
            }
            if !is_unusable || elapsed(begun, clock.now()) > MAX_LAG {
                return Err(error);
            }
            tokio::select! {
                () = clock.sleep(POLL) => {}
                () = self.stop.cancelled() => return Err(UploadError::Interrupted),
            }
        }
    }

    async fn read_disks(
        &mut self,
        facts: &VersionFacts,
        created: Vec<DiskFacts>,
        origin: &Origin,
    ) -> Result<UploadRequest, UploadError> {
        let (mut os_disk, mut data_disks, mut system) = (None, Vec::new(), None);
        for (disk, found) in facts.disks.iter().zip(created) {
            if disk.role == DiskRole::Os {
                system = Some(found.system(self.request.os, self.request.check.disk.generation)?);
            }
            let content = self.content(found, origin.clone()).await?;
            match disk.role.lun() {
                None => os_disk = Some(content),
                Some(lun) => data_disks.push((lun, content)),
            }
        }
        let (Some(os_disk), Some((os, generation))) = (os_disk, system) else {
            return Err(UploadError::Changed(origin.source.clone().into()));
        };
        let mut upload = self.upload_request(Arc::new(Machine::new(os_disk, data_disks)), os);
        upload.check.disk.generation = generation;
        Ok(upload)
    }
}

/// The disk encryption set of a temporary disk: that of the image, which is in the same place, or that of the hub.
fn encryption_set<'a>(source: &VersionSource, disk: &'a VersionDisk, place: &'a ScratchPlace) -> Option<&'a str> {
    match source {
        VersionSource::Image(_) => disk.encryption_set.as_deref(),
        VersionSource::Version(_) => place.encryption_set.as_deref(),
    }
}
