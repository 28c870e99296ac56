//! NTFS, read-only: resident, fragmented and sparse files, attribute lists, folders of any size, links.
//!
//! Compressed and encrypted files cannot be read, and neither can files that a filter driver stores elsewhere
//! (CompactOS, deduplication): opening them fails with [`FsError::Unsupported`]. The journal is not replayed. The
//! layout is described by the documentation of the Linux-NTFS project.

mod boot;
mod folder;
mod record;
mod reparse;
mod runs;
mod stream;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use goldfleet_disk::DiskReader;

use super::{DirEntry, FileKind, FileReader, FileSystem, FsError, FsInfo, FsKind, Stat};
use crate::budget::Budget;
use crate::bytes::le16;
use crate::text::utf16;
use boot::Geometry;
use folder::{Entry, Folder, MAX_NAMES};
use record::{Body, NUMBER, Record, kind};
use reparse::Tag;
use stream::Stream;

/// Numbers of the file system's own records.
const MFT: u64 = 0;
const VOLUME: u64 = 3;
const ROOT: u64 = 5;
/// The most folders that are kept in memory; together they need at most [`MAX_NAMES`] bytes.
const MAX_FOLDERS: usize = 16;
/// The most bytes of a reparse point; Windows' limit.
const MAX_REPARSE: u64 = 16 << 10;

fn damaged(text: impl fmt::Display) -> FsError {
    FsError::Damaged(text.to_string())
}

/// An open NTFS file system.
pub struct Ntfs {
    volume: Arc<dyn DiskReader>,
    budget: Arc<Budget>,
    geometry: Geometry,
    /// The master file table: all file records.
    table: Stream,
    info: FsInfo,
    /// Most recently used first: record number and names.
    folders: RefCell<VecDeque<(u64, Rc<Folder>)>>,
}

impl fmt::Debug for Ntfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ntfs").field("geometry", &self.geometry).field("info", &self.info).finish_non_exhaustive()
    }
}

impl Ntfs {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`FsError::Damaged`] if the boot sector or the master file table is not valid, and errors of reading.
    pub fn open(volume: Arc<dyn DiskReader>, budget: Arc<Budget>) -> Result<Self, FsError> {
        let mut sector = [0; 512];
        volume.read_at(0, &mut sector)?;
        let geometry = Geometry::parse(&sector)?;
        let info =
            FsInfo { kind: FsKind::Ntfs, uuid: format!("{:016X}", geometry.serial), label: String::new(), dirty: None };
        let table = Stream::Resident(Vec::new());
        let mut ntfs = Self { volume, budget, geometry, table, info, folders: RefCell::default() };
        ntfs.open_table()?;
        ntfs.read_volume_record()?;
        Ok(ntfs)
    }

    /// Finds the master file table. Its own record may be continued in records that only its beginning locates.
    fn open_table(&mut self) -> Result<(), FsError> {
        let [first, copy] = self.geometry.tables;
        let record = self.table_record(first).or_else(|error| self.table_record(copy).map_err(|_| error))?;
        let clusters = self.geometry.clusters;
        let attribute =
            record.attribute(kind::DATA, "")?.ok_or_else(|| damaged("the master file table has no data"))?;
        self.table = Stream::of(&attribute, clusters)?;
        let Some(list) = record.attribute(kind::ATTRIBUTE_LIST, "")? else { return Ok(()) };
        let parts = self.listed(&list, kind::DATA, "")?;
        for listed in parts.into_iter().skip(1) {
            let mut table = self.table.clone();
            self.with_listed(&record, listed, kind::DATA, "", |attribute| table.extend(attribute, clusters))?;
            self.table = table;
        }
        Ok(())
    }

    fn table_record(&self, cluster: u64) -> Result<Record, FsError> {
        let mut bytes = vec![0; self.geometry.record];
        self.volume.read_at(self.geometry.offset(cluster)?, &mut bytes)?;
        Record::parse(MFT, bytes)
    }

    fn read_volume_record(&mut self) -> Result<(), FsError> {
        let record = self.record(VOLUME)?;
        for attribute in record.attributes()? {
            match (attribute.kind, attribute.body) {
                (kind::VOLUME_NAME, Body::Resident(name)) => self.info.label = utf16(name),
                (kind::VOLUME_INFORMATION, Body::Resident(bytes)) if le16(bytes, 10) & 1 != 0 => {
                    self.info.dirty = Some("its dirty flag is set: Windows checks it at the next start".into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The record that a reference names. A sequence number of 0 is not compared.
    fn record(&self, reference: u64) -> Result<Record, FsError> {
        let number = reference & NUMBER;
        let mut bytes = vec![0; self.geometry.record];
        let offset = number.checked_mul(bytes.len() as u64).ok_or_else(|| damaged("a file record does not exist"))?;
        self.read_exact(&self.table, offset, &mut bytes)?;
        let record = Record::parse(number, bytes)?;
        let sequence = reference >> 48;
        if sequence != 0 && sequence != record.sequence() {
            return Err(damaged(format_args!("file record {number} was used for another file")));
        }
        Ok(record)
    }

    /// The names of the folder that a reference names.
    fn folder(&self, reference: u64) -> Result<Rc<Folder>, FsError> {
        let number = reference & NUMBER;
        let mut folders = self.folders.borrow_mut();
        if let Some(position) = folders.iter().position(|(cached, _)| *cached == number)
            && let Some(entry) = folders.remove(position)
        {
            let folder = Rc::clone(&entry.1);
            folders.push_front(entry);
            return Ok(folder);
        }
        let record = self.record(reference)?;
        if !record.is_folder() {
            return Err(FsError::WrongKind("folder"));
        }
        let folder = Rc::new(self.read_folder(&record)?);
        folders.push_front((number, Rc::clone(&folder)));
        folders.truncate(MAX_FOLDERS);
        while folders.len() > 1 && folders.iter().map(|(_, folder)| folder.size).sum::<usize>() > MAX_NAMES {
            folders.pop_back();
        }
        Ok(folder)
    }

    /// The reference and kind of what a path names.
    fn find(&self, path: &str) -> Result<Entry, FsError> {
        let mut at = Entry { name: String::new(), reference: ROOT, kind: FileKind::Directory };
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if at.kind != FileKind::Directory {
                return Err(FsError::NotFound);
            }
            at = self.folder(at.reference)?.find(name).cloned().ok_or(FsError::NotFound)?;
        }
        Ok(at)
    }

    fn reparse_data(&self, record: &Record) -> Result<Option<Vec<u8>>, FsError> {
        let stream = self.stream(record, kind::REPARSE_POINT, "")?;
        stream.map(|stream| self.read_all(&stream, MAX_REPARSE)).transpose()
    }
}

impl FileSystem for Ntfs {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn list(&self, path: &str) -> Result<Vec<DirEntry>, FsError> {
        let entry = self.find(path)?;
        if entry.kind != FileKind::Directory {
            return Err(FsError::WrongKind("folder"));
        }
        let folder = self.folder(entry.reference)?;
        Ok(folder.entries.iter().map(|entry| DirEntry { name: entry.name.clone(), kind: entry.kind }).collect())
    }

    fn stat(&self, path: &str) -> Result<Stat, FsError> {
        let entry = self.find(path)?;
        let size = match entry.kind {
            FileKind::File => {
                self.stream(&self.record(entry.reference)?, kind::DATA, "")?.map_or(0, |stream| stream.size())
            }
            _ => 0,
        };
        Ok(Stat { kind: entry.kind, size, mode: 0 })
    }

    fn link(&self, path: &str) -> Result<String, FsError> {
        let entry = self.find(path)?;
        if entry.kind != FileKind::Symlink {
            return Err(FsError::WrongKind("symbolic link"));
        }
        let data = self.reparse_data(&self.record(entry.reference)?)?;
        data.and_then(|data| reparse::target(&data)).ok_or_else(|| damaged("a link has no target"))
    }

    fn open(&self, path: &str) -> Result<Box<dyn FileReader + '_>, FsError> {
        let entry = self.find(path)?;
        if entry.kind != FileKind::File {
            return Err(FsError::WrongKind("regular file"));
        }
        let record = self.record(entry.reference)?;
        if let Some(data) = self.reparse_data(&record)?
            && let Tag::Elsewhere(reason) = reparse::tag(reparse::number(&data))
        {
            return Err(FsError::Unsupported(reason.into()));
        }
        let stream = self.stream(&record, kind::DATA, "")?.unwrap_or(Stream::Resident(Vec::new()));
        if let Stream::NonResident { unreadable: Some(reason), .. } = &stream {
            return Err(FsError::Unsupported((*reason).into()));
        }
        Ok(Box::new(File { ntfs: self, stream }))
    }
}

struct File<'a> {
    ntfs: &'a Ntfs,
    stream: Stream,
}

impl FileReader for File<'_> {
    fn size(&self) -> u64 {
        self.stream.size()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        self.ntfs.read_stream(&self.stream, offset, buffer)
    }
}
