//! FAT12, FAT16 and FAT32 with long names, read-only.
//!
//! Layout: Microsoft's "FAT: General Overview of On-Disk Format" 1.03, and its long-name supplement.

mod boot;
mod folder;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use goldfleet_disk::DiskReader;

use super::{DirEntry, FileKind, FileReader, FileSystem, FsError, FsInfo, FsKind, Stat};
use crate::budget::Budget;
use crate::text::same_name;
use boot::{Geometry, Width};
use folder::Entry;

/// The most fragments of one file: 3 MB in memory.
const MAX_RUNS: usize = 1 << 18;
/// The most bytes of one folder: 65,536 entries of 32 bytes, as the format limits it.
const MAX_FOLDER: u64 = 65_536 * 32;
/// The most folders that are kept in memory: 65,536 names each.
const MAX_FOLDERS: usize = 4;
/// The first cluster that holds data.
const FIRST_CLUSTER: u32 = 2;

/// An open FAT file system.
pub struct Fat {
    volume: Arc<dyn DiskReader>,
    budget: Arc<Budget>,
    geometry: Geometry,
    info: FsInfo,
    /// The folders that were read last, by their first cluster; 0 is the root.
    folders: RefCell<VecDeque<(u32, Rc<[Entry]>)>>,
}

impl fmt::Debug for Fat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fat").field("geometry", &self.geometry).field("info", &self.info).finish_non_exhaustive()
    }
}

/// Clusters that follow each other on the disk.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Index of the first cluster in the file.
    index: u32,
    /// Number of the first cluster on the disk.
    cluster: u32,
    count: u32,
}

impl Fat {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`FsError::Damaged`] if the boot sector is not one of FAT or contradicts itself, and errors of reading.
    pub fn open(volume: Arc<dyn DiskReader>, budget: Arc<Budget>) -> Result<Self, FsError> {
        let mut sector = [0; 512];
        volume.read_at(0, &mut sector)?;
        let geometry = Geometry::parse(&sector)?;
        let info =
            FsInfo { kind: FsKind::Fat, uuid: geometry.serial.clone(), label: geometry.label.clone(), dirty: None };
        let mut fat = Self { volume, budget, geometry, info, folders: RefCell::default() };
        fat.info.dirty = fat.dirty()?;
        // The label in the root folder is the one that is kept up to date.
        if let Some(label) = fat.entries(None)?.iter().find(|entry| entry.is_label) {
            fat.info.label = label.name.clone();
        }
        Ok(fat)
    }

    fn dirty(&self) -> Result<Option<String>, FsError> {
        // Windows clears a bit of the second table entry while the volume is in use, Linux sets a bit in the boot
        // sector.
        let clean_bit = match self.geometry.width {
            Width::Fat12 => return Ok(None),
            Width::Fat16 => 0x8000,
            Width::Fat32 => 0x0800_0000,
        };
        let in_use = self.geometry.dirty || self.table_entry(1)? & clean_bit == 0;
        Ok(in_use.then(|| "its dirty flag is set".to_owned()))
    }

    /// The table's entry of a cluster, not yet judged.
    fn table_entry(&self, cluster: u32) -> Result<u32, FsError> {
        let (offset, length) = match self.geometry.width {
            Width::Fat12 => (u64::from(cluster) * 3 / 2, 2),
            Width::Fat16 => (u64::from(cluster) * 2, 2),
            Width::Fat32 => (u64::from(cluster) * 4, 4),
        };
        let mut bytes = [0; 4];
        self.volume.read_at(self.geometry.table + offset, &mut bytes[..length])?;
        let word = u32::from_le_bytes(bytes);
        Ok(match self.geometry.width {
            Width::Fat12 if cluster % 2 == 1 => word >> 4,
            Width::Fat12 => word & 0xfff,
            Width::Fat16 => word,
            Width::Fat32 => word & 0x0fff_ffff,
        })
    }

    /// The runs of a chain of at most `limit` clusters.
    fn chain(&self, first: u32, limit: u32) -> Result<Vec<Run>, FsError> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut cluster, mut index) = (first, 0);
        while index < limit {
            if cluster < FIRST_CLUSTER || cluster - FIRST_CLUSTER >= self.geometry.clusters {
                return Err(FsError::Damaged(format!("a chain leads to cluster {cluster}, which does not exist")));
            }
            if index >= self.geometry.clusters {
                return Err(FsError::Damaged(format!("the chain of cluster {first} has no end")));
            }
            let count = runs.len();
            match runs.last_mut() {
                Some(run) if run.cluster + run.count == cluster => run.count += 1,
                _ if count == MAX_RUNS => {
                    return Err(FsError::Unsupported("a file of more than 262,144 fragments".into()));
                }
                _ => runs.push(Run { index, cluster, count: 1 }),
            }
            index += 1;
            let next = self.table_entry(cluster)?;
            if next >= self.geometry.width.end_of_chain() {
                break;
            }
            cluster = next;
            if index % 1024 == 0 {
                self.budget.check()?;
            }
        }
        Ok(runs)
    }

    /// FAT12 and FAT16 use the upper half of the field for something else.
    fn first_cluster(&self, entry: &Entry) -> u32 {
        if self.geometry.width == Width::Fat32 { entry.cluster } else { entry.cluster & 0xffff }
    }

    fn cluster_offset(&self, cluster: u32) -> u64 {
        self.geometry.data + u64::from(cluster - FIRST_CLUSTER) * u64::from(self.geometry.cluster_size)
    }

    /// Reads from a chain's runs; returns 0 after their end.
    fn read_runs(&self, runs: &[Run], offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let size = u64::from(self.geometry.cluster_size);
        let Ok(index) = u32::try_from(offset / size) else { return Ok(0) };
        let Some(run) = runs.partition_point(|run| run.index <= index).checked_sub(1).map(|i| runs[i]) else {
            return Ok(0);
        };
        let within = offset - u64::from(run.index) * size;
        let left = (u64::from(run.count) * size).saturating_sub(within);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.volume.read_at(self.cluster_offset(run.cluster) + within, &mut buffer[..count])?;
        Ok(count)
    }

    fn root_entries(&self) -> Result<Vec<Entry>, FsError> {
        if self.geometry.width == Width::Fat32 {
            return self.folder_at(self.geometry.root_cluster);
        }
        let length = u64::from(self.geometry.root_entries) * 32;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.volume.read_at(self.geometry.root, &mut bytes)?;
        Ok(folder::parse(&bytes))
    }

    fn folder_at(&self, cluster: u32) -> Result<Vec<Entry>, FsError> {
        let limit = MAX_FOLDER.div_ceil(u64::from(self.geometry.cluster_size));
        let runs = self.chain(cluster, u32::try_from(limit).unwrap_or(u32::MAX))?;
        let mut bytes = Vec::new();
        for run in runs {
            for cluster in run.cluster..run.cluster + run.count {
                self.budget.check()?;
                let start = bytes.len();
                bytes.resize(start + usize::try_from(self.geometry.cluster_size).unwrap_or(0), 0);
                self.volume.read_at(self.cluster_offset(cluster), &mut bytes[start..])?;
                if folder::has_end(&bytes[start..]) {
                    return Ok(folder::parse(&bytes));
                }
            }
        }
        Ok(folder::parse(&bytes))
    }

    /// The entries of a folder; `None` is the root.
    fn entries(&self, folder: Option<&Entry>) -> Result<Rc<[Entry]>, FsError> {
        let cluster = match folder {
            // An entry ".." of a folder in the root has cluster 0, but such entries are never followed.
            None => 0,
            Some(entry) if entry.is_folder => self.first_cluster(entry),
            Some(_) => return Err(FsError::WrongKind("folder")),
        };
        let mut folders = self.folders.borrow_mut();
        if let Some((_, entries)) = folders.iter().find(|(known, _)| *known == cluster) {
            return Ok(Rc::clone(entries));
        }
        let entries: Rc<[Entry]> = if folder.is_none() { self.root_entries() } else { self.folder_at(cluster) }?.into();
        folders.truncate(MAX_FOLDERS - 1);
        folders.push_front((cluster, Rc::clone(&entries)));
        Ok(entries)
    }

    /// The entry of a path; `None` is the root.
    fn find(&self, path: &str) -> Result<Option<Entry>, FsError> {
        let mut at: Option<Entry> = None;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if at.as_ref().is_some_and(|entry| !entry.is_folder) {
                return Err(FsError::NotFound);
            }
            let entries = self.entries(at.as_ref())?;
            let entry = entries.iter().find(|entry| !entry.is_label && entry.is_named(name));
            at = Some(entry.cloned().ok_or(FsError::NotFound)?);
        }
        Ok(at)
    }
}

impl FileSystem for Fat {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn list(&self, path: &str) -> Result<Vec<DirEntry>, FsError> {
        let entries = self.entries(self.find(path)?.as_ref())?;
        let named = entries.iter().filter(|entry| !entry.is_label && entry.name != "." && entry.name != "..");
        Ok(named.map(|entry| DirEntry { kind: entry.kind(), name: entry.name.clone() }).collect())
    }

    fn stat(&self, path: &str) -> Result<Stat, FsError> {
        Ok(match self.find(path)? {
            None => Stat { kind: FileKind::Directory, size: 0, mode: 0 },
            Some(entry) => Stat { kind: entry.kind(), size: u64::from(entry.size), mode: 0 },
        })
    }

    fn link(&self, path: &str) -> Result<String, FsError> {
        self.find(path)?;
        Err(FsError::WrongKind("symbolic link"))
    }

    fn open(&self, path: &str) -> Result<Box<dyn FileReader + '_>, FsError> {
        let entry = self.find(path)?.filter(|entry| !entry.is_folder).ok_or(FsError::WrongKind("regular file"))?;
        let wanted = entry.size.div_ceil(self.geometry.cluster_size);
        let runs = if wanted == 0 { Vec::new() } else { self.chain(self.first_cluster(&entry), wanted)? };
        let found = runs.last().map_or(0, |run| run.index + run.count);
        if found < wanted {
            return Err(FsError::Damaged(format!("a file of {} bytes has {found} of {wanted} clusters", entry.size)));
        }
        Ok(Box::new(File { fat: self, runs, size: u64::from(entry.size) }))
    }
}

struct File<'a> {
    fat: &'a Fat,
    runs: Vec<Run>,
    size: u64,
}

impl FileReader for File<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        if count == 0 {
            return Ok(0);
        }
        self.fat.read_runs(&self.runs, offset, &mut buffer[..count])
    }
}

impl Entry {
    fn kind(&self) -> FileKind {
        if self.is_folder { FileKind::Directory } else { FileKind::File }
    }

    fn is_named(&self, name: &str) -> bool {
        same_name(&self.name, name) || same_name(&self.short_name, name)
    }
}
