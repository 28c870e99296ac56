//! Disks made of several extents.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::descriptor::{Descriptor, Extent};
use super::sparse::SparseExtent;
use crate::bytes::index;
use crate::file::{FileDisk, Section};
use crate::reader::check_range;
use crate::{DiskError, DiskReader};

/// The folder in which the extents of a descriptor are opened.
#[derive(Debug, Clone)]
pub(crate) struct Siblings(Option<PathBuf>);

impl Siblings {
    /// The folder of a descriptor.
    pub(crate) fn of(descriptor: &Path) -> Self {
        Self(descriptor.parent().map(Path::to_owned))
    }

    /// No folder: no extent can be opened.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Opens a regular file of the folder.
    fn open(&self, name: &str) -> Result<Arc<dyn DiskReader>, DiskError> {
        let shown = name.escape_debug().to_string();
        let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0']);
        let folder = match &self.0 {
            Some(folder) if plain => folder,
            _ => {
                return Err(DiskError::ExternalFile(format!(
                    "extent '{shown}', which is not a file beside the descriptor"
                )));
            }
        };
        // Links are not followed: they would lead to files outside the folder. Without NONBLOCK, opening a pipe would
        // wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(folder.join(name), flags, Mode::empty()).map_err(|error| match error {
            rustix::io::Errno::LOOP => DiskError::ExternalFile(format!("extent '{shown}', which is a symbolic link")),
            _ => {
                let error = std::io::Error::from(error);
                DiskError::ExtentMissing(format!("the extent '{shown}' of the VMDK cannot be opened: {error}"))
            }
        })?;
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Err(DiskError::ExternalFile(format!("extent '{shown}', which is not a regular file")));
        }
        Ok(Arc::new(FileDisk::new(file)?))
    }
}

/// Opens the disk that a descriptor file describes.
pub(crate) fn open_descriptor(bytes: &[u8], siblings: &Siblings) -> Result<Joined, DiskError> {
    let descriptor = Descriptor::parse(bytes)?;
    if descriptor.extents.is_empty() {
        return Err(DiskError::damaged("the VMDK descriptor names no extents"));
    }
    let mut joined = Joined { parts: Vec::new(), size: 0 };
    for extent in &descriptor.extents {
        let disk = open_extent(extent, siblings, &descriptor.create_type)?;
        joined.push(extent.size, disk)?;
    }
    Ok(joined)
}

fn open_extent(
    extent: &Extent,
    siblings: &Siblings,
    create_type: &str,
) -> Result<Option<Arc<dyn DiskReader>>, DiskError> {
    let file = || {
        let name = extent.file.as_deref();
        siblings.open(name.ok_or_else(|| DiskError::damaged("an extent of the VMDK names no file"))?)
    };
    match extent.kind.as_str() {
        "ZERO" => Ok(None),
        "FLAT" | "VMFS" => Ok(Some(Arc::new(Section::new(file()?, extent.offset, extent.size)?))),
        "SPARSE" => {
            let sparse = SparseExtent::open(file()?)?;
            if sparse.size() < extent.size {
                return Err(DiskError::damaged("an extent of the VMDK is smaller than the descriptor says"));
            }
            Ok(Some(Arc::new(sparse)))
        }
        kind => Err(DiskError::Unsupported(format!(
            "the VMDK ({}) has an extent of kind {}, which is not supported",
            create_type.escape_debug(),
            kind.escape_debug()
        ))),
    }
}

/// The start of a part, its size and its content.
type Part = (u64, u64, Option<Arc<dyn DiskReader>>);

/// Parts one after the other. A part without reader is zero.
#[derive(Debug)]
pub(crate) struct Joined {
    parts: Vec<Part>,
    size: u64,
}

impl Joined {
    fn push(&mut self, size: u64, disk: Option<Arc<dyn DiskReader>>) -> Result<(), DiskError> {
        self.parts.push((self.size, size, disk));
        self.size = self
            .size
            .checked_add(size)
            .filter(|size| *size <= super::sparse::MAX_DISK)
            .ok_or_else(|| DiskError::Limit("the extents of the VMDK are too large together".to_owned()))?;
        Ok(())
    }

    /// The number of the part in which an offset is.
    fn part(&self, offset: u64) -> usize {
        self.parts.partition_point(|(start, size, _)| start + size <= offset)
    }
}

impl DiskReader for Joined {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, buffer.len())?;
        let (mut at, mut rest) = (offset, buffer);
        for (start, size, disk) in self.parts.get(self.part(offset)..).unwrap_or_default() {
            if rest.is_empty() {
                break;
            }
            let length = index(start + size - at).min(rest.len());
            let (part, others) = rest.split_at_mut(length);
            match disk {
                Some(disk) => disk.read_at(at - start, part)?,
                None => part.fill(0),
            }
            at += length as u64;
            rest = others;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        for (start, size, disk) in self.parts.get(self.part(offset)..).unwrap_or_default() {
            let from = offset.max(*start) - start;
            let Some(disk) = disk else { continue };
            // A sparse extent may be larger than the descriptor says.
            if let Some(range) = disk.next_data(from)?.filter(|range| range.start < *size) {
                return Ok(Some(start + range.start..start + range.end.min(*size)));
            }
        }
        Ok(None)
    }

    fn verify(&self, check_limits: &dyn Fn() -> Result<(), DiskError>) -> Result<(), DiskError> {
        self.parts.iter().filter_map(|(_, _, disk)| disk.as_ref()).try_for_each(|disk| disk.verify(check_limits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(name: &str) -> Vec<u8> {
        format!("# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 2 FLAT \"{name}\" 1\nRW 1 ZERO\n")
            .into_bytes()
    }

    #[test]
    fn a_flat_file_beside_the_descriptor_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a-flat.vmdk"), [[1; 512], [2; 512], [3; 512]].concat()).unwrap();
        let disk = open_descriptor(&descriptor("a-flat.vmdk"), &Siblings(Some(folder.path().to_owned()))).unwrap();
        let mut bytes = vec![9; 1536];
        disk.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, [[2; 512], [3; 512], [0; 512]].concat());
        assert_eq!(disk.next_data(5).unwrap(), Some(5..1024));
        assert_eq!(disk.next_data(1024).unwrap(), None);
    }

    #[test]
    fn no_other_file_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, [7; 4096]).unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        let siblings = Siblings(Some(folder.path().join("inner")));
        std::os::unix::fs::symlink(&secret, folder.path().join("inner/link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("inner/pipe"), Mode::RUSR).unwrap();
        let absolute = secret.to_str().unwrap().to_owned();
        for name in ["../secret", &absolute, "link", "pipe", "..", ".", "", "C:secret", "..\\secret"] {
            let error = open_descriptor(&descriptor(name), &siblings).unwrap_err();
            assert!(matches!(error, DiskError::ExternalFile(_)), "{name}: {error}");
        }
        let error = open_descriptor(&descriptor("secret"), &Siblings::none()).unwrap_err();
        assert!(matches!(error, DiskError::ExternalFile(_)), "{error}");
    }
}
