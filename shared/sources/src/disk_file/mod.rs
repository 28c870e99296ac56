//! The source `disk_file`: disk images of any format in local files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use goldfleet_disk::{DiskError, OpenOptions, StatedFormat, open};

use crate::{ArtifactSource, DataDisk, OpenArtifact, Revision};

/// A disk image in a local file. It is the OS disk. Other files may be its data disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFile {
    path: PathBuf,
    data: Vec<DataFile>,
}

/// A file that is a data disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// The LUN of the disk in a machine.
    pub lun: u8,
    /// Its format. None if it is detected.
    pub format: Option<StatedFormat>,
    /// The file.
    pub path: PathBuf,
}

impl DiskFile {
    /// The disk image at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), data: Vec::new() }
    }

    /// The same source with these data disks. Each LUN occurs once.
    #[must_use]
    pub fn with_data(mut self, mut data: Vec<DataFile>) -> Self {
        data.sort_by_key(|file| file.lun);
        self.data = data;
        self
    }

    /// The disk image at `path`, as a shared source.
    #[must_use]
    pub fn shared(path: impl Into<PathBuf>) -> Arc<dyn ArtifactSource> {
        Arc::new(Self::new(path))
    }
}

impl ArtifactSource for DiskFile {
    fn location(&self) -> &Path {
        &self.path
    }

    fn open(&self, options: &OpenOptions) -> OpenArtifact {
        // The format of the OS disk says nothing about the format of a data disk.
        let data_disks = self.data.iter().map(|file| DataDisk {
            lun: file.lun,
            location: file.path.clone(),
            disk: open(&file.path, &OpenOptions { format: file.format, ..options.clone() }),
        });
        OpenArtifact { os_disk: open(&self.path, options), data_disks: data_disks.collect() }
    }

    fn revision(&self) -> Result<Revision, DiskError> {
        let files = std::iter::once(&self.path).chain(self.data.iter().map(|file| &file.path));
        let revisions: Vec<String> = files.map(|path| revision_of(path)).collect::<Result<_, _>>()?;
        Ok(Revision::new(revisions.join("; ")))
    }
}

fn revision_of(path: &Path) -> Result<String, DiskError> {
    let metadata = std::fs::metadata(path).map_err(DiskError::Io)?;
    let written = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    Ok(format!("{} bytes, written at {written:?}", metadata.len()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::time::Duration;

    use goldfleet_disk::{DiskReader as _, Format, Generation, GoldenSpec};

    use super::*;

    #[test]
    fn disk_is_read_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden.vhd");
        GoldenSpec::spread(24 << 20, Generation::V1, 4 << 20, 3, 1).write(&path).unwrap();
        let source = DiskFile::shared(&path);
        let artifact = source.open(&OpenOptions::default());
        assert!(artifact.data_disks.is_empty());
        let (open, bytes) = (artifact.os_disk.unwrap(), fs::read(&path).unwrap());
        assert_eq!((open.format, open.disk.size() + 512), (Format::FixedVhd, bytes.len() as u64));
        let mut data = 0;
        for range in goldfleet_disk::DataRanges::new(&*open.disk) {
            let range = range.unwrap();
            let mut read = vec![0; usize::try_from(range.end - range.start).unwrap()];
            open.disk.read_at(range.start, &mut read).unwrap();
            assert!(read == bytes[usize::try_from(range.start).unwrap()..][..read.len()], "{range:?} differs");
            data += range.end - range.start;
        }
        assert!(data > 0 && data < open.disk.size(), "{data} bytes of data");
    }

    #[test]
    fn write_changes_revision() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        let source = DiskFile::new(&path);
        assert!(source.revision().is_err(), "there is no file");
        fs::write(&path, [0; 512]).unwrap();
        let before = source.revision().unwrap();
        assert_eq!(source.revision().unwrap(), before);
        let file = File::options().write(true).open(&path).unwrap();
        let later = fs::metadata(&path).unwrap().modified().unwrap() + Duration::from_nanos(1_000);
        file.set_times(FileTimes::new().set_modified(later)).unwrap();
        assert_ne!(source.revision().unwrap(), before);
        fs::write(&path, [0; 513]).unwrap();
        assert_ne!(source.revision().unwrap(), before);
    }

    #[test]
    fn disk_that_cannot_be_opened_has_reason() {
        let source = DiskFile::new("/nonexistent/golden.vhd");
        assert!(source.open(&OpenOptions::default()).os_disk.is_err());
        assert_eq!(source.location(), Path::new("/nonexistent/golden.vhd"));
    }
}
