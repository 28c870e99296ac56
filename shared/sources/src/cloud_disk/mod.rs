//! The sources `disk:` and `snapshot:`: a managed disk or snapshot, read by a SAS.

mod access;
mod facts;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use goldfleet_disk::{DiskError, DiskType, FOOTER_SIZE, Footer, OpenDisk, OpenOptions, StatedFormat, open_reader};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::image::ImageRef;
use goldfleet_model::origin::Origin;
use goldfleet_ports::clock::Clock;
use goldfleet_ports::disk_content::ContentLayout;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::resources::ResourceService;
use goldfleet_ports::retry::retry_transient;

pub use access::ContentAccess;
pub use facts::DiskFacts;
pub(crate) use facts::system;

use crate::codes::{self, Refusal};
use crate::remote::{READERS, RemoteContent as _, RemoteDisk, Requests};
use crate::{ArtifactSource, EarlierContent, OpenArtifact, Revision, SourceError};

const FOOTER: u64 = FOOTER_SIZE as u64;

/// A managed disk or snapshot. It is the OS disk.
pub struct CloudDisk {
    location: PathBuf,
    facts: DiskFacts,
    origin: Origin,
    resources: Arc<dyn ResourceService>,
    clock: Arc<dyn Clock>,
    access: Arc<ContentAccess>,
    layout: ContentLayout,
    /// The size of the disk in the content.
    size: u64,
    requests: Requests,
    earlier: Option<EarlierContent>,
}

impl std::fmt::Debug for CloudDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudDisk").field("id", &self.facts.id).field("size", &self.size).finish_non_exhaustive()
    }
}

impl CloudDisk {
    /// Opens the content of a disk or snapshot, and checks its length and its footer. `origin` is recorded with the
    /// upload. The caller ends the access.
    ///
    /// # Errors
    /// [`codes::SOURCE_DAMAGED`], or if the service refuses or cannot be reached.
    pub async fn open(
        facts: DiskFacts,
        origin: Origin,
        (resources, clock): (Arc<dyn ResourceService>, Arc<dyn Clock>),
        access: Arc<ContentAccess>,
        requests: Requests,
    ) -> Result<Self, SourceError> {
        let layout = access.layout().await?;
        let size = disk_size(&facts, &layout, &access).await?;
        let location = PathBuf::from(&origin.source);
        Ok(Self { location, facts, origin, resources, clock, access, layout, size, requests, earlier: None })
    }

    /// The disk, of which an earlier content is known. `version` is the version with that content.
    #[must_use]
    pub fn with_earlier(mut self, version: &ImageRef, earlier: EarlierContent) -> Self {
        self.origin.earlier = Some(version.clone());
        self.earlier = Some(earlier);
        self
    }

    async fn present(&self) -> PortResult<Revision> {
        let (id, resources) = (&self.facts.id, &self.resources);
        let get = || resources.get(id, None);
        let found = retry_transient(self.clock.as_ref(), PortError::is_retryable, get).await?;
        let disk = found.as_ref().and_then(|found| found.body.properties.disk());
        let is_same = disk.is_some_and(|disk| {
            let state = disk.disk_state.as_ref();
            // A machine that gets the disk changes its content. Access by a SAS does not.
            disk.unique_id == self.facts.unique_id
                && !state.is_some_and(|state| state.is_attached() || state.awaits_upload())
        });
        // The ranges with data were listed before this is called for the first time.
        Ok(if is_same { Revision::new(format!("{:?}", self.facts.unique_id)) } else { Revision::unequal() })
    }
}

/// The size of the disk in a content. The content of an exported disk is a fixed VHD: its footer must be that of the
/// disk. It is not used, because the service makes another one for each export, and equal disks must have equal
/// digests.
async fn disk_size(facts: &DiskFacts, layout: &ContentLayout, access: &ContentAccess) -> Result<u64, SourceError> {
    let length = layout.length;
    let refuse = |reason: String| Err(Refusal::new(&codes::SOURCE_DAMAGED, &facts.location, reason).into());
    match facts.size {
        Some(size) if size == length => return Ok(size),
        Some(size) if length.checked_sub(FOOTER) != Some(size) => {
            return refuse(format!("its disk has {size} bytes, and its content has {length}"));
        }
        _ => {}
    }
    let Some(size) = length.checked_sub(FOOTER).filter(|size| *size > 0) else { return Ok(length) };
    let last = access.read(size..length).await?;
    let footer = last[..].try_into().ok().and_then(|last: &[u8; FOOTER_SIZE]| Footer::parse(last).ok());
    match footer {
        Some(footer) if footer.disk_type() == DiskType::Fixed && footer.size() == size => Ok(size),
        // Without a size in the properties, the content may be a disk without a footer.
        None if facts.size.is_none() => Ok(length),
        Some(footer) => refuse(format!("the footer behind its {size} bytes is that of a disk of {}", footer.size())),
        None => refuse(format!("the {FOOTER} bytes behind its disk of {size} bytes are not the footer of a VHD")),
    }
}

impl ArtifactSource for CloudDisk {
    fn location(&self) -> &Path {
        &self.location
    }

    fn open(&self, options: &OpenOptions) -> OpenArtifact {
        let content = Arc::clone(&self.access) as _;
        let disk = RemoteDisk::new(self.size, &self.layout.data, content, self.requests.clone());
        // A managed disk has no format. Its first bytes may look like one.
        let options = OpenOptions { format: Some(StatedFormat::Raw), parents: Vec::new(), ..options.clone() };
        let os_disk: Result<OpenDisk, _> = open_reader(Arc::new(disk), &options);
        OpenArtifact { os_disk, data_disks: Vec::new() }
    }

    fn revision(&self) -> Result<Revision, DiskError> {
        self.requests.wait(self.present())
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }

    fn earlier(&self, role: DiskRole) -> Option<&EarlierContent> {
        self.earlier.as_ref().filter(|_| role == DiskRole::Os)
    }

    fn readers(&self) -> Option<usize> {
        Some(READERS)
    }
}
