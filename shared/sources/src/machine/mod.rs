//! The source `vm:`: all disks of a virtual machine, each read as a managed disk.

use std::path::Path;

use goldfleet_disk::{DiskError, OpenOptions};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::origin::Origin;

use crate::{ArtifactSource, CloudDisk, DataDisk, EarlierContent, OpenArtifact, Revision};

/// The disks of a machine. The caller ensures that they are from one moment.
#[derive(Debug)]
pub struct Machine {
    os_disk: CloudDisk,
    data_disks: Vec<(u8, CloudDisk)>,
}

impl Machine {
    /// The machine with this OS disk and these data disks, each with its LUN. Each LUN occurs once.
    #[must_use]
    pub fn new(os_disk: CloudDisk, mut data_disks: Vec<(u8, CloudDisk)>) -> Self {
        data_disks.sort_by_key(|(lun, _)| *lun);
        Self { os_disk, data_disks }
    }
}

impl ArtifactSource for Machine {
    fn location(&self) -> &Path {
        self.os_disk.location()
    }

    fn open(&self, options: &OpenOptions) -> OpenArtifact {
        let data_disks = self.data_disks.iter().map(|(lun, disk)| DataDisk {
            lun: *lun,
            location: disk.location().to_owned(),
            disk: disk.open(options).os_disk,
        });
        OpenArtifact { os_disk: self.os_disk.open(options).os_disk, data_disks: data_disks.collect() }
    }

    fn revision(&self) -> Result<Revision, DiskError> {
        let disks = std::iter::once(&self.os_disk).chain(self.data_disks.iter().map(|(_, disk)| disk));
        let revisions: Vec<Revision> = disks.map(ArtifactSource::revision).collect::<Result<_, _>>()?;
        Ok(Revision::joined(revisions))
    }

    fn origin(&self) -> Option<&Origin> {
        self.os_disk.origin()
    }

    fn earlier(&self, role: DiskRole) -> Option<&EarlierContent> {
        let disk = match role {
            DiskRole::Os => Some(&self.os_disk),
            DiskRole::Data(lun) => self.data_disks.iter().find(|(other, _)| *other == lun).map(|(_, disk)| disk),
        };
        disk?.earlier(DiskRole::Os)
    }

    fn readers(&self) -> Option<usize> {
        self.os_disk.readers()
    }
}
